"""The components of the web page."""

from dataclasses import dataclass

import gradio as gr
from gradio.components import Component

from colorize.app.session import SAMPLES, remove_result
from colorize.data.folder import load_samples
from colorize.inference.colorizer import Colorizer
from colorize.io.photo_files import READABLE_SUFFIXES
from colorize.models.base import DistributionModel

UPLOAD_SECONDS = 3600  # uploads are deleted after that
_EXAMPLES = ("bridge", "cat", "dahlia")
_WELCOME = """# colorize
Drop a photo to colorize it. Its lightness stays unchanged; the colors are **invented** by the model
{name}. Photos never leave the machine that serves this page.
"""
_HOW_TO_HINT = """Choose a color, then click where it belongs. Each hint is a line `x,y,color`, in
pixels of the photo, and can be edited or deleted."""


@dataclass(frozen=True)
class Widgets:
    """The components of the page that events read or change."""

    file: gr.File
    vividness: gr.Slider
    download: gr.DownloadButton
    comparison: gr.ImageSlider
    divider: gr.Slider
    color: gr.ColorPicker
    hints: gr.Textbox
    marked: gr.Image
    draw: gr.Button
    samples: gr.Gallery
    uncertainty: gr.Image
    result: gr.State  # path of the colorized photo
    seed: gr.State  # of the next draw of samples

    @property
    def inputs(self) -> list[Component]:
        """What a result depends on, and the result that it replaces."""
        return [self.file, self.vividness, self.hints, self.result]

    @property
    def outputs(self) -> list[Component]:
        """What a new result changes."""
        return [self.comparison, self.marked, self.download, self.result]


def build_layout(colorizer: Colorizer) -> Widgets:
    """Create the components of the page in the current `gr.Blocks`."""
    has_distribution = colorizer.predicts_distribution
    result = gr.State(time_to_live=UPLOAD_SECONDS, delete_callback=remove_result)
    seed = gr.State(0)
    gr.Markdown(_WELCOME.format(name=colorizer.name))
    with gr.Row():
        with gr.Column(scale=1, min_width=300):
            file, vividness, download = _build_controls(colorizer)
        with gr.Column(scale=3, min_width=320):
            with gr.Tab("Before and after"):
                comparison = gr.ImageSlider(
                    label="Photo and result", max_height=620, elem_id="comparison"
                )
                divider = gr.Slider(
                    0,
                    100,
                    50,
                    step=1,
                    label="Divider",
                    elem_id="divider",
                    buttons=[],
                )
            with gr.Tab("Hints", visible=colorizer.supports_hints):
                color, hints, marked = _build_hints()
            with gr.Tab("Samples", visible=has_distribution):
                draw, samples = _build_samples()
            with gr.Tab("Uncertainty", visible=has_distribution):
                gr.Markdown("White where the model can only guess, black where it is certain.")
                uncertainty = gr.Image(
                    label="Uncertainty",
                    interactive=False,
                    elem_id="uncertainty",
                    buttons=["download", "fullscreen"],
                )
    return Widgets(
        file=file,
        vividness=vividness,
        download=download,
        comparison=comparison,
        divider=divider,
        color=color,
        hints=hints,
        marked=marked,
        draw=draw,
        samples=samples,
        uncertainty=uncertainty,
        result=result,
        seed=seed,
    )


def _build_controls(colorizer: Colorizer) -> tuple[gr.File, gr.Slider, gr.DownloadButton]:
    file = gr.File(
        label="Photo", file_types=list(READABLE_SUFFIXES), type="filepath", elem_id="photo"
    )
    paths = {photo.id: str(photo.path) for photo in load_samples().photos}
    gr.Examples([[paths[name]] for name in _EXAMPLES], file, label="Or try one of these")
    network = colorizer.network
    vividness = gr.Slider(
        0,
        1,
        value=1 - network.temperature if isinstance(network, DistributionModel) else None,
        step=0.01,
        label="Vividness",
        info="0: mean of the plausible colors, dull; 1: most likely color, vivid but spotty",
        visible=colorizer.predicts_distribution,
        elem_id="vividness",
    )
    download = gr.DownloadButton(
        "Download at full size", variant="primary", elem_id="download", interactive=False
    )
    return file, vividness, download


def _build_hints() -> tuple[gr.ColorPicker, gr.Textbox, gr.Image]:
    gr.Markdown(_HOW_TO_HINT)
    with gr.Row():
        color = gr.ColorPicker("#aa3311", label="Color", elem_id="color", min_width=260)
        hints = gr.Textbox(label="Hints", lines=3, elem_id="hints", scale=2)
    marked = gr.Image(
        label="Result", interactive=False, elem_id="marked", buttons=["download", "fullscreen"]
    )
    return color, hints, marked


def _build_samples() -> tuple[gr.Button, gr.Gallery]:
    draw = gr.Button(f"Draw {SAMPLES} samples", elem_id="draw")
    gr.Markdown("Click a sample to make it the result, which can then be downloaded.")
    samples = gr.Gallery(
        label="Samples",
        columns=2,
        height="auto",
        object_fit="contain",
        elem_id="samples",
        allow_preview=False,
    )
    return draw, samples
