"""The web page: its layout and its events."""

import contextlib
import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from colorize.app.session import SAMPLES, DemoSession, remove_result
from colorize.data.folder import load_samples
from colorize.inference.colorizer import Colorizer
from colorize.inference.jobs import READABLE_SUFFIXES
from colorize.io.grayscale import classify_photo
from colorize.io.image import PhotoError
from colorize.io.image_file import read_image_file
from colorize.models.base import DistributionModel

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # gradio reads it when it is imported
try:
    import gradio as gr
    from gradio.events import Dependency
except ImportError as error:
    raise ImportError(f"{error}: pip install 'colorize-photos[demo]'") from error

_UPLOAD_SECONDS = 3600  # uploads are deleted after that
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


def page(colorizer: Colorizer, folder: Path) -> gr.Blocks:
    """Build the page.

    Args:
        colorizer: the model; controls that it does not support are hidden.
        folder: holds the colorized photos until they are downloaded.
    """
    with gr.Blocks(title="colorize", delete_cache=(_UPLOAD_SECONDS, _UPLOAD_SECONDS)) as blocks:
        connect(build_layout(colorizer), DemoSession(colorizer, folder))
    return blocks


def build_layout(colorizer: Colorizer) -> Widgets:
    """Create the components of the page in the current `gr.Blocks`."""
    has_distribution = colorizer.predicts_distribution
    result = gr.State(time_to_live=_UPLOAD_SECONDS, delete_callback=remove_result)
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
                # The divider in the image follows mouse and touch only, this one keys too.
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


def connect(widgets: Widgets, session: DemoSession) -> None:
    """Connect the components of the page to what the session does."""
    colorize = _errors_on_page(functools.partial(_colorize, session))

    def choose_sample(
        file: str | None,
        vividness: float | None,
        hints: str,
        previous: str | None,
        next_seed: int,
        event: gr.SelectData,
    ) -> tuple:
        return colorize(file, vividness, hints, previous, (next_seed - 1, event.index))

    def add_hint(hints: str, file: str, color: str, event: gr.SelectData) -> str:
        return session.add_hint(hints, file, color, event.index)

    # One photo at a time goes through the model, whoever uploaded it.
    def on_model(event: Callable[..., Dependency], *args: Any, **kwargs: Any) -> Dependency:
        return event(
            *args,
            **kwargs,
            concurrency_limit=1,
            concurrency_id="network",
            api_visibility="private",
        )

    inputs = [widgets.file, widgets.vividness, widgets.hints]
    outputs = [widgets.comparison, widgets.marked, widgets.download, widgets.result]

    def colorize_on(event: Callable[..., Dependency]) -> Dependency:
        # "always_last": changes made while a photo is colorized are not lost.
        return on_model(
            event,
            fn=colorize,
            inputs=[*inputs, widgets.result],
            outputs=outputs,
            trigger_mode="always_last",
            show_progress_on=widgets.comparison,
        )

    widgets.divider.change(
        lambda position: gr.ImageSlider(slider_position=position),
        widgets.divider,
        widgets.comparison,
        queue=False,
        api_visibility="private",
        trigger_mode="always_last",
    )
    cleared = [widgets.hints, widgets.samples, widgets.uncertainty, widgets.download]
    uploaded = on_model(widgets.file.change, _reset, widgets.file, cleared)
    # Outside the queue: the next click needs the line of this one.
    clicked = widgets.marked.select(
        add_hint,
        [widgets.hints, widgets.file, widgets.color],
        widgets.hints,
        queue=False,
        api_visibility="private",
        trigger_mode="multiple",
    )
    colorize_on(widgets.vividness.change)
    refreshed = [
        colorize_on(uploaded.then),
        colorize_on(functools.partial(gr.on, [widgets.hints.submit, widgets.hints.blur])),
        colorize_on(clicked.then),
    ]
    on_model(
        widgets.draw.click,
        _errors_on_page(session.sample),
        [*inputs, widgets.seed],
        [widgets.samples, widgets.seed],
    )
    on_model(
        widgets.samples.select,
        choose_sample,
        [*inputs, widgets.result, widgets.seed],
        outputs,
        trigger_mode="once",
        show_progress_on=widgets.comparison,
    )
    if session.colorizer.predicts_distribution:
        for event in refreshed:
            on_model(
                event.success,
                _errors_on_page(session.uncertainty),
                [widgets.file, widgets.hints],
                widgets.uncertainty,
                show_progress="hidden",
            )


def _colorize(
    session: DemoSession,
    file: str | None,
    vividness: float | None,
    hints: str,
    previous: str | None,
    sample: tuple[int, int] | None = None,
) -> tuple:
    """Replace the previous result; return values of the outputs, for no file empty ones."""
    remove_result(previous)
    if file is None:
        return None, None, gr.DownloadButton(value=None, interactive=False), None
    result = session.colorize(file, vividness, hints, sample)
    path = str(result.file)
    button = gr.DownloadButton(value=path, interactive=True)
    return (result.gray, result.colorized), result.marked, button, path


def _errors_on_page(call: Callable) -> Callable:
    """Show errors of a call on the page, with file names instead of paths of the server."""

    @functools.wraps(call)
    def wrapper(*args: Any) -> Any:
        try:
            return call(*args)
        except (ValueError, OSError) as error:
            message = str(error)
            for path in (arg for arg in args if isinstance(arg, str) and Path(arg).is_file()):
                message = message.replace(path, Path(path).name)
            raise gr.Error(message, print_exception=False) from error

    return wrapper


def _reset(file: str | None) -> tuple:
    """Clear what belongs to the previous photo; label the hints with the size of the new one."""
    label = "Hints"
    with contextlib.suppress(PhotoError):  # colorizing the photo reports the error
        if file is not None:
            rgb = read_image_file(file).as_rgb8()
            label = f"Hints, in a photo of {rgb.shape[2]} x {rgb.shape[1]}"
            if classify_photo(rgb) == "color":
                gr.Info("The photo is in color; its colors are ignored.")
    return gr.Textbox("", label=label), [], None, gr.DownloadButton(interactive=False)
