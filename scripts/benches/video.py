"""Video: a plain frame-by-frame loop against ours, and how much the colors flicker."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import av
import torch
from make_sample_video import camera, gray, write_video
from torch import Tensor

from benches.infer import colorize_plainly
from benches.timing import Row, in_turn, sized
from colorize import Colorizer, load_samples
from colorize.color.lab import rgb_to_lab
from colorize.inference.options import ColorizeOptions
from colorize.io.photo import read_rgb
from colorize.metrics.image import ab_error
from colorize.models.layers import upsample_like
from colorize.utils.device import tune_malloc
from colorize.video.colorize_video import colorize_video
from colorize.video.frame_colors import FrameColors
from colorize.video.temporal_smoothing import TemporalSmoother


def video() -> Row:
    """Time a 720p video from file to file; plain is frame by frame, without temporal smoothing.

    Plain: scikit-image in float64, colors upsampled bilinearly, the same network in fp32, the same
    codec.
    """
    frames, size = sized((24, (720, 1280)), (2, (72, 128)))
    tune_malloc()
    colorizer = Colorizer.from_pretrained(device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "video.mp4"), Path(folder, "colored.mp4")
        photo = read_rgb(load_samples().photos[0].path)
        write_video(source, map(gray, camera(photo, frames, False, size)))
        ways = {
            "plain": lambda: _colorize_plainly(colorizer, source, target),
            "ours": lambda: colorize_video(colorizer, source, target),
        }
        times = in_turn(ways, 1)
    plain, ours = (times[way] * 1000 / frames for way in ways)
    return {"plain": plain, "ours": ours, "unit": "ms/frame", "ratio": plain / ours}


def flicker() -> Row:
    """Measure the color change from frame to frame, as predicted and after smoothing (ours).

    In CIELAB units along the optical flow, over pans and zooms over embedded photos; beside it that
    of the true colors, the distance of both from the true colors, and both for other shares of
    predicted frames.
    """
    colorizer = Colorizer.from_pretrained(device="cpu")
    frames = list(_shots())
    truth = _Changes()
    for rgb in frames:
        truth.add(rgb, *rgb_to_lab(rgb))
    plain = _changes(colorizer, frames, temporal_smoothing=0.0, interval=1)
    ours = {
        interval: _changes(colorizer, frames, temporal_smoothing=0.9, interval=interval)
        for interval in sized((1, 2, 4, 8), (4,))
    }
    return {
        "plain": plain.flicker,
        "ours": ours[4].flicker,
        "unit": "dE/frame",
        "ratio": plain.flicker / ours[4].flicker,
        "truth": truth.flicker,
        "unsmoothed_dab": plain.error,
        "smoothed_dab": ours[4].error,
        "shots": ours[4].shots,
        "intervals": {
            str(key): [round(value.flicker, 3), round(value.error, 3)]
            for key, value in ours.items()
        },
    }


class _Changes:
    """How much the colors of a video change, and how far they are from the true ones."""

    def __init__(self) -> None:
        self._unsmoothed = TemporalSmoother(0)  # measures only
        self._errors: list[Tensor] = []
        self.shots = 0

    def add(self, rgb: Tensor, lightness: Tensor, ab: Tensor) -> None:
        self._unsmoothed(lightness, ab)
        full, target_ab = rgb_to_lab(rgb)
        self._errors.append(ab_error(upsample_like(ab[None], full[None]), target_ab[None]))

    @property
    def flicker(self) -> float:
        return self._unsmoothed.flicker[0]

    @property
    def error(self) -> float:
        return torch.cat(self._errors).mean().item()


def _changes(
    colorizer: Colorizer, frames: list[Tensor], *, temporal_smoothing: float, interval: int
) -> _Changes:
    smoother, changes = TemporalSmoother(temporal_smoothing), _Changes()
    colors = FrameColors(colorizer, ColorizeOptions(views=1), smoother, interval)
    for start in range(0, len(frames), 8):
        batch = frames[start : start + 8]
        predicted = colors.predict([gray(rgb).contiguous() for rgb in batch])
        for rgb, (ab, lightness) in zip(batch, predicted, strict=True):
            changes.add(rgb, lightness, ab)
    changes.shots = smoother.shots
    return changes


def _shots() -> Iterator[Tensor]:
    shots, frames = sized((6, 50), (1, 12))
    for index, photo in enumerate(load_samples().photos[:shots]):
        yield from camera(read_rgb(photo.path), frames, index % 2 == 1, (240, 320))


def _colorize_plainly(colorizer: Colorizer, source: Path, target: Path) -> None:
    with av.open(str(source)) as container, av.open(str(target), "w") as output:
        stream = container.streams.video[0]
        new = output.add_stream("libx264", rate=stream.average_rate, options={"crf": "16"})
        new.width, new.height, new.pix_fmt = stream.width, stream.height, "yuv420p"
        for frame in container.decode(stream):
            colorized = colorize_plainly(colorizer, frame.to_image())
            output.mux(new.encode(av.VideoFrame.from_image(colorized)))
        output.mux(new.encode())


ROWS = {row.__name__: row for row in (video, flicker)}
