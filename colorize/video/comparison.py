"""Show what was done to a video: gray and colorized side by side, and a sheet of its shots."""

import contextlib
from dataclasses import replace
from pathlib import Path

import av
import torch
from av.container import InputContainer
from torch import Tensor

from colorize.io.image import limit_long_side, rgb_to_photo, write_photo
from colorize.utils.files import atomic_write
from colorize.video.reader import VideoInfo
from colorize.video.writer import ENCODINGS, VideoWriter, create_video

_SHOTS, _COLUMNS = 60, 6  # on the sheet, at most
_THUMBNAIL = 320  # px; long side


def comparison_paths(target: Path) -> tuple[Path, Path]:
    """Return the paths of the video and of the sheet that `Comparison` writes beside a video."""
    video = target.with_name(f"{target.stem}-compared{target.suffix}")
    return video, target.with_name(f"{target.stem}-shots.jpg")


class Comparison(contextlib.AbstractContextManager):
    """A video without audio of both, `NAME-compared.EXT`, and a photo, `NAME-shots.jpg`.

    The files are complete when the block ends without an error, and else there are none.
    """

    def __init__(
        self, target: Path, source: InputContainer, video: av.VideoStream, info: VideoInfo
    ):
        """Start the video.

        Args:
            target: the colorized video.
            source: the open source.
            video: its main stream.
            info: of that stream.
        """
        path, self._sheet = comparison_paths(target)
        self._thumbnails: list[Tensor] = []
        encoding = ENCODINGS[target.suffix.lower()]
        with contextlib.ExitStack() as stack:
            tmp = stack.enter_context(atomic_write(path))
            output = stack.enter_context(create_video(tmp, encoding))
            wide = replace(info, width=2 * info.width)
            self._writer = VideoWriter(output, encoding, source, video, wide, copies_audio=False)
            self._stack = stack.pop_all()

    def write(self, rgb: Tensor, colorized: Tensor, frame: av.VideoFrame, *, is_new: bool) -> None:
        """Add a frame.

        Args:
            rgb: uint8 (3, H, W), of the source.
            colorized: uint8 (3, H, W).
            frame: of the source, for its time.
            is_new: whether a shot begins with it.
        """
        self._writer.write(torch.cat((rgb, colorized), 2), frame)
        if is_new and len(self._thumbnails) < _SHOTS:
            self._thumbnails.append(limit_long_side(colorized, _THUMBNAIL))

    def __exit__(self, *error: object) -> None:
        if error[0] is None:
            self._writer.finish()
            write_photo(rgb_to_photo(_sheet(self._thumbnails)), self._sheet)
        self._stack.__exit__(*error)  # type: ignore[arg-type]


def _sheet(thumbnails: list[Tensor]) -> Tensor:
    """Arrange images (3, h, w) of one size on a white sheet."""
    _, height, width = thumbnails[0].shape
    columns = min(_COLUMNS, len(thumbnails))
    rows = -(-len(thumbnails) // columns)
    sheet = torch.full((3, rows * height, columns * width), 255, dtype=torch.uint8)
    for number, thumbnail in enumerate(thumbnails):
        top, left = number // columns * height, number % columns * width
        sheet[:, top : top + height, left : left + width] = thumbnail
    return sheet
