"""The web page: its components connected to a session."""

import contextlib
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.events import Dependency

from colorize.app.layout import UPLOAD_SECONDS, Widgets, build_layout
from colorize.app.session import DemoSession, remove_result
from colorize.inference.colorizer import Colorizer
from colorize.io.image import PhotoError
from colorize.io.image_file import read_image_file
from colorize.io.prints import analyze_tone


def page(colorizer: Colorizer, folder: Path) -> gr.Blocks:
    """Build the page.

    Args:
        colorizer: the model; controls that it does not support are hidden.
        folder: holds the colorized photos until they are downloaded.
    """
    with gr.Blocks(title="colorize", delete_cache=(UPLOAD_SECONDS, UPLOAD_SECONDS)) as blocks:
        connect(build_layout(colorizer), DemoSession(colorizer, folder))
    return blocks


def connect(widgets: Widgets, session: DemoSession) -> None:
    """Connect the components of the page to what the session does."""
    colorize = _errors_on_page(functools.partial(_colorize, session))
    # The divider in the image follows mouse and touch only, the slider below it keys too.
    widgets.divider.change(
        lambda position: gr.ImageSlider(slider_position=position),
        widgets.divider,
        widgets.comparison,
        queue=False,
        api_visibility="private",
        trigger_mode="always_last",
    )
    colorized = _connect_photo(widgets, session, colorize)
    _connect_samples(widgets, session, colorize)
    if session.colorizer.predicts_distribution:
        for event in colorized:
            _on_model(
                event.success,
                _errors_on_page(session.uncertainty),
                [widgets.file, widgets.hints],
                widgets.uncertainty,
                show_progress="hidden",
            )


def _connect_photo(
    widgets: Widgets, session: DemoSession, colorize: Callable[..., tuple]
) -> list[Dependency]:
    """Colorize after an upload and after changes; return the events that change colors locally."""

    def add_hint(hints: str, file: str, color: str, event: gr.SelectData) -> str:
        return session.add_hint(hints, file, color, event.index)

    def colorize_on(event: Callable[..., Dependency]) -> Dependency:
        return _on_model(
            event,
            colorize,
            widgets.inputs,
            widgets.outputs,
            # Changes made while a photo is colorized are not lost.
            trigger_mode="always_last",
            show_progress_on=widgets.comparison,
        )

    cleared = [widgets.hints, widgets.samples, widgets.uncertainty, widgets.download]
    uploaded = _on_model(widgets.file.change, _reset, widgets.file, cleared)
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
    edited = functools.partial(gr.on, [widgets.hints.submit, widgets.hints.blur])
    return [colorize_on(uploaded.then), colorize_on(edited), colorize_on(clicked.then)]


def _connect_samples(
    widgets: Widgets, session: DemoSession, colorize: Callable[..., tuple]
) -> None:
    def choose(
        file: str | None,
        vividness: float | None,
        hints: str,
        previous: str | None,
        next_seed: int,
        event: gr.SelectData,
    ) -> tuple:
        return colorize(file, vividness, hints, previous, (next_seed - 1, event.index))

    _on_model(
        widgets.draw.click,
        _errors_on_page(session.sample),
        [widgets.file, widgets.vividness, widgets.hints, widgets.seed],
        [widgets.samples, widgets.seed],
    )
    _on_model(
        widgets.samples.select,
        choose,
        [*widgets.inputs, widgets.seed],
        widgets.outputs,
        trigger_mode="once",
        show_progress_on=widgets.comparison,
    )


def _on_model(event: Callable[..., Dependency], *args: Any, **kwargs: Any) -> Dependency:
    """Connect an event that needs the model; one photo at a time, whoever uploaded it."""
    return event(
        *args,
        **kwargs,
        concurrency_limit=1,
        concurrency_id="network",
        api_visibility="private",
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
            if analyze_tone(rgb).is_colored:
                gr.Info("The photo is in color; its colors are ignored.")
    return gr.Textbox("", label=label), [], None, gr.DownloadButton(interactive=False)
