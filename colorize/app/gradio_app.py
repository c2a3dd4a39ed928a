"""A web page on which a photo is colored, led by hints, and taken home."""

import contextlib
import dataclasses
import functools
import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from colorize.data.folder import load_samples
from colorize.inference.batch import SUFFIXES, colorize_file
from colorize.inference.colorizer import ColorizeOptions, Colorizer
from colorize.inference.guided_upsampling import guided_upsample
from colorize.io.grayscale import classify_photo
from colorize.io.image import FORMAT_BY_SUFFIX, PhotoError, limit_long_side, rgb_to_photo
from colorize.io.image_file import read_image_file, write_image_file
from colorize.models.hints import Hint, parse_hint

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # gradio reads it when it is imported
try:
    import gradio as gr
except ImportError as error:
    raise ImportError(f"{error}: pip install 'colorize-photos[demo]'") from error

SAMPLES = 4
_SHOWN = 1280  # px; the long side of what the page shows; what is taken home is whole
_KEPT = 3600  # seconds after which uploads are deleted
_HERE = "127.0.0.1,localhost,::1"
_LAST_PORT = 65535
_EXAMPLES = ("bridge", "cat", "dahlia")
_BUTTONS = ["download", "fullscreen"]
_CSS = """
.gradio-container {max-width: 1180px !important; margin: 0 auto !important}
footer {display: none !important}
"""
_WELCOME = """# colorize
Drop a photo, and it is colored. Its lightness stays as it is; the colors are **invented** by
{name}. All of it happens on the machine that serves this page.
"""
_HOW_TO_HINT = """Choose a color, then click where it belongs. Each hint is a line `x,y,color`, in
pixels of the photo, and may be written or deleted there."""


class DemoSession:
    """What is done with a visitor's photo. Nothing is kept between two calls but files.

    Attributes:
        colorizer: paints.
        folder: where the paintings lie until they are taken home.
    """

    def __init__(self, colorizer: Colorizer, folder: Path):
        self.colorizer, self.folder = colorizer, folder

    def paint(
        self,
        file: str | None,
        vividness: float | None,
        hints: str,
        last: str | None,
        drawn: tuple[int, int] | None = None,
    ) -> tuple[tuple[Image.Image, Image.Image] | None, Image.Image | None, str | None, str | None]:
        """Paint a photo.

        Args:
            file: the photo; None where it was taken away.
            vividness: None where the network has none.
            hints: a line "x,y,color" each.
            last: the painting that was to be taken home, which is deleted.
            drawn: instead of the likeliest painting, of the samples of a seed that of a number.

        Returns:
            The photo and its painting, at the size of the page; the painting with the places of
            the hints; the file to be taken home, twice.

        Raises:
            ValueError: if the file is no photo, or a line no hint.
        """
        if last is not None:
            _remove(last)
        if file is None:
            return None, None, None, None
        original = read_image_file(file)
        placed = _read_hints(hints)
        options, number = ColorizeOptions(vividness=vividness, hints=placed), 0
        if drawn is not None:
            seed, number = drawn
            options = dataclasses.replace(options, seed=seed, samples=SAMPLES)
        painted = colorize_file(self.colorizer, original, options, True, number)
        target = self._target(file)
        write_image_file(original, painted, target)
        before = limit_long_side(original.seen, _SHOWN)
        after = limit_long_side(dataclasses.replace(original, rgb=painted).seen, _SHOWN)
        k = before.shape[2] / painted.shape[2]
        grey = rgb_to_photo(guided_upsample(before, torch.zeros(2, 1, 1)))
        after = rgb_to_photo(after)
        return (grey, after), _marked(after, placed, k), str(target), str(target)

    def sample(
        self, file: str | None, vividness: float | None, hints: str, seed: int
    ) -> tuple[list[Image.Image], int]:
        """Some of the paintings that the network holds possible, and the seed of the next ones."""
        if file is None:
            return [], seed
        options = ColorizeOptions(seed, vividness, hints=_read_hints(hints), samples=SAMPLES)
        return [rgb_to_photo(one) for one in self._shown(file, options)[0]], seed + 1

    def doubt(self, file: str | None, hints: str) -> Image.Image | None:
        """Where the network does not know: white where all colors are alike to it."""
        if file is None:
            return None
        options = ColorizeOptions(hints=_read_hints(hints), uncertainty=True)
        _, unsure = self._shown(file, options)
        return unsure

    def add_hint(self, hints: str, file: str, color: str, click: tuple[int, int]) -> str:
        """The lines of the hints and one more, where the painting on the page was clicked."""
        seen = read_image_file(file).seen
        k = seen.shape[2] / limit_long_side(seen, _SHOWN).shape[2]
        x, y = (int((at + 0.5) * k) for at in click)
        return f"{hints.rstrip()}\n{x},{y},{color}".lstrip()

    def _shown(
        self, file: str, options: ColorizeOptions
    ) -> tuple[list[Tensor], Image.Image | None]:
        """Paintings at the size of the page, and the map of doubt where it is wished."""
        seen = read_image_file(file).seen
        (colors,) = self.colorizer.predict([seen], options)
        small = limit_long_side(seen, _SHOWN)
        unsure = None if colors.uncertainty is None else colors.map(*small.shape[1:])
        return colors.paint(small), unsure

    def _target(self, file: str) -> Path:
        """A new file, of the photo's kind, for its painting."""
        name = Path(file)
        suffix = name.suffix if name.suffix.lower() in FORMAT_BY_SUFFIX else ".png"
        return Path(tempfile.mkdtemp(dir=self.folder)) / f"{name.stem}-colored{suffix}"


def page(colorizer: Colorizer, folder: Path) -> "gr.Blocks":
    """The page, for a network.

    Args:
        colorizer: paints; of what it does not have, the page has nothing.
        folder: where paintings lie until they are taken home.
    """
    studio = DemoSession(colorizer, folder)
    # One photo at a time goes through the network, whoever sent it.
    one = {"concurrency_limit": 1, "concurrency_id": "network", "api_visibility": "private"}
    samples = {photo.id: str(photo.path) for photo in load_samples().photos}
    with gr.Blocks(title="colorize", delete_cache=(_KEPT, _KEPT)) as blocks:
        last = gr.State(time_to_live=_KEPT, delete_callback=_remove)
        seed = gr.State(0)
        gr.Markdown(_WELCOME.format(name=colorizer.name))
        with gr.Row():
            with gr.Column(scale=1, min_width=300):
                file = gr.File(
                    label="Photo", file_types=list(SUFFIXES), type="filepath", elem_id="photo"
                )
                gr.Examples([[samples[name]] for name in _EXAMPLES], file, label="Or one of these")
                vividness = gr.Slider(
                    *(0, 1),
                    value=1 - colorizer.network.temperature
                    if colorizer.predicts_distribution
                    else None,
                    step=0.01,
                    label="Vividness",
                    info="from the mean of all colors, dull, to the likeliest, spotty",
                    visible=colorizer.predicts_distribution,
                    elem_id="vividness",
                )
                home = gr.DownloadButton(
                    "Download at full size", variant="primary", elem_id="home", interactive=False
                )
            with gr.Column(scale=3, min_width=320):
                with gr.Tab("Before and after"):
                    pair = gr.ImageSlider(
                        label="Photo and painting", max_height=620, elem_id="pair"
                    )
                    # The line in the picture follows a mouse or a finger, this one keys too.
                    line = gr.Slider(
                        0,
                        100,
                        50,
                        step=1,
                        label="Left of here the photo as it was",
                        elem_id="line",
                        buttons=[],
                    )
                with gr.Tab("Hints", visible=colorizer.supports_hints):
                    gr.Markdown(_HOW_TO_HINT)
                    with gr.Row():
                        color = gr.ColorPicker(
                            "#aa3311", label="Color", elem_id="color", min_width=260
                        )
                        hints = gr.Textbox(label="Hints", lines=3, elem_id="hints", scale=2)
                    marked = gr.Image(
                        label="Painting", interactive=False, elem_id="marked", buttons=_BUTTONS
                    )
                with gr.Tab("Samples", visible=colorizer.predicts_distribution):
                    draw = gr.Button(f"Draw {SAMPLES} paintings", elem_id="draw")
                    gr.Markdown("A click on one makes it the painting, to be taken home too.")
                    drawn = gr.Gallery(
                        label="Samples",
                        columns=2,
                        height="auto",
                        object_fit="contain",
                        elem_id="drawn",
                        allow_preview=False,
                    )
                with gr.Tab("Doubt", visible=colorizer.predicts_distribution):
                    gr.Markdown("White where the network only guesses, black where it is sure.")
                    unsure = gr.Image(
                        label="Doubt", interactive=False, elem_id="unsure", buttons=_BUTTONS
                    )

        def painted(*wishes) -> tuple:
            shown, marked, target, last = studio.paint(*wishes)
            return shown, marked, gr.DownloadButton(value=target, interactive=bool(target)), last

        told = _in_words(painted)

        def chosen(file, vividness, hints, last, seed, event: gr.SelectData) -> tuple:
            # The seed is by now that of the next draw.
            return told(file, vividness, hints, last, (seed - 1, event.index))

        wishes = [file, vividness, hints]
        paint = one | {
            "fn": told,
            "inputs": [*wishes, last],
            "outputs": [pair, marked, home, last],
            # What is wished while a photo is painted is not forgotten, nor is a click swallowed.
            "trigger_mode": "always_last",
            "show_progress_on": pair,
        }
        doubt = one | {
            "fn": _in_words(studio.doubt),
            "inputs": [file, hints],
            "outputs": unsure,
            "show_progress": "hidden",
        }

        def clicked(hints: str, file: str, color: str, event: gr.SelectData) -> str:
            return studio.add_hint(hints, file, color, event.index)

        moves = {"queue": False, "api_visibility": "private", "trigger_mode": "always_last"}
        line.change(lambda at: gr.ImageSlider(slider_position=at), line, pair, **moves)
        renewed = file.change(_renewed, file, [hints, drawn, unsure, home], **one).then(**paint)
        vividness.change(**paint)
        typed = gr.on([hints.submit, hints.blur], **paint)
        # Without waiting for the network: the next click needs the line of this one.
        click = moves | {"trigger_mode": "multiple"}
        hinted = marked.select(clicked, [hints, file, color], hints, **click).then(**paint)
        draw.click(_in_words(studio.sample), [*wishes, seed], [drawn, seed], **one)
        choice = {"inputs": [*wishes, last, seed], "trigger_mode": "once"}
        drawn.select(**paint | {"fn": chosen} | choice)
        if colorizer.predicts_distribution:
            for change in (renewed, hinted, typed):
                change.success(**doubt)
    return blocks


def serve(
    colorizer: Colorizer, host: str = "127.0.0.1", port: int | None = None, megabytes: int = 50
) -> None:
    """Serve the page until it is stopped.

    Args:
        colorizer: paints.
        host: address to listen at; the default is reached from this machine alone.
        port: None takes a free one from 7860 on.
        megabytes: the largest upload.

    Raises:
        ValueError: if there is no such port.
        OSError: if it cannot listen there.
    """
    if port is not None and port > _LAST_PORT:
        raise ValueError(f"port must be 1 to {_LAST_PORT}, got {port}")
    where = host if port is None else f"{host}, port {port}"
    refusal = f"cannot listen at {where}: try another --port or --host"
    try:  # gradio would try again and again
        family, _, _, _, address = socket.getaddrinfo(host, port or 0, type=socket.SOCK_STREAM)[0]
        socket.create_server(address[:2], family=family).close()
    except OSError as error:
        raise OSError(refusal) from error
    with (
        tempfile.TemporaryDirectory(prefix="colorize-") as folder,
        # gradio's copies of photos go with the folder, and it asks itself without a proxy.
        _environment(
            GRADIO_TEMP_DIR=f"{folder}/uploads",
            NO_PROXY=f"{host},{_HERE}",
            no_proxy=f"{host},{_HERE}",
        ),
    ):
        paintings = Path(folder, "paintings")
        paintings.mkdir()
        blocks = page(colorizer, paintings).queue()
        before = set(threading.enumerate())
        try:
            _, address, _ = blocks.launch(
                server_name=host,
                server_port=port,
                max_file_size=f"{megabytes}mb",
                allowed_paths=[str(paintings)],
                share=False,
                ssr_mode=False,
                css=_CSS,
                footer_links=[],
                quiet=True,
                prevent_thread_lock=True,
            )
        except OSError as error:
            raise OSError(refusal) from error
        print(f"The page is at {address} (Ctrl-C ends it)", flush=True)
        try:
            blocks.block_thread()
        finally:
            blocks.close(verbose=False)
            # What is being painted is written before the folder goes, or it would come after.
            for thread in set(threading.enumerate()) - before:
                if not thread.daemon:
                    thread.join()


@contextlib.contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Meanwhile variables of the environment have other values."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _in_words(call: Callable) -> Callable:
    """What goes wrong is said on the page."""

    @functools.wraps(call)
    def told(*args):
        try:
            return call(*args)
        except (ValueError, OSError) as error:
            said = str(error)
            for path in (word for word in args if isinstance(word, str) and Path(word).is_file()):
                said = said.replace(path, Path(path).name)
            raise gr.Error(said, print_exception=False) from error

    return told


def _renewed(file: str | None) -> tuple:
    """What belonged to another photo is taken away; hints are told the size of this one."""
    label = "Hints"
    with contextlib.suppress(PhotoError):  # painting says what is wrong
        if file is not None:
            seen = read_image_file(file).seen
            label = f"Hints, in a photo of {seen.shape[2]} x {seen.shape[1]}"
            if classify_photo(seen) == "color":
                gr.Info("The photo is in color; its colors are not looked at.")
    return gr.Textbox("", label=label), [], None, gr.DownloadButton(interactive=False)


def _remove(painting: str | None) -> None:
    """Delete a painting that waited to be taken home, and its folder."""
    if painting is not None and Path(painting).exists():
        shutil.rmtree(Path(painting).parent)


def _read_hints(text: str) -> tuple[Hint, ...]:
    return tuple(parse_hint(line) for line in text.splitlines() if line.strip())


def _marked(photo: Image.Image, hints: tuple[Hint, ...], k: float) -> Image.Image:
    """A picture with a ring of its color at each hint."""
    marked = photo.copy()
    draw = ImageDraw.Draw(marked)
    side = max(photo.size)
    radius, line = max(4, side // 60), max(1, side // 400)  # to be seen on a phone too
    for x, y, color in hints:
        at = [(x + 0.5) * k, (y + 0.5) * k]
        for grown, fill in ((2 * line, "white"), (line, "black"), (0, color)):
            draw.circle(at, radius + grown, fill=fill)
    return marked
