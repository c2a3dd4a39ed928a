"""Make a small black-and-white video of the embedded photos, to try `colorize video` with.

    python scripts/make_sample_video.py output/sample.mp4
    colorize video output/sample.mp4 -o output/sample-colored.mp4

The camera pans over one photo, zooms into the next one, and so on, to a constant tone.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

try:
    import av
except ImportError as error:
    sys.exit(f"videos need the package av ({error}): pip install 'colorize-photos[video]'")
import numpy as np
from torch import Tensor

from colorize import load_samples
from colorize.color.curves import to_uint8
from colorize.color.lab import lightness_to_gray, rgb_to_lightness
from colorize.io.image import resize
from colorize.io.photo import read_rgb

RATE = 25  # frames per second
_AUDIO_RATE = 48000  # audio samples per second
_AUDIO_FRAME = 1024  # audio samples per frame, as AAC has


def camera(rgb: Tensor, frames: int, zoom: bool, size: Sequence[int]) -> Iterator[Tensor]:
    """Yield frames (3, *size) of a camera that pans over a square photo, or zooms into it.

    The camera moves by 30 % of the photo's side.
    """
    side = rgb.shape[1]
    for index in range(frames):
        moved = 0.3 * side * index / max(1, frames - 1)
        crop = round(side - moved if zoom else 0.7 * side)
        left = round(moved / 2 if zoom else moved)
        top = round(moved / 2 if zoom else 0.15 * side)
        yield resize(rgb[:, top : top + crop, left : left + crop], *size)


def gray(rgb: Tensor) -> Tensor:
    """Remove the colors of a frame."""
    return to_uint8(lightness_to_gray(rgb_to_lightness(rgb))).expand(3, -1, -1)


def write_video(
    path: Path,
    frames: Iterable[Tensor],
    times: Sequence[int] | None = None,
    audio: str | None = "aac",
) -> Path:
    """Write frames, uint8 (3, H, W), as H.264, with a tone as long as the video.

    Args:
        path: its suffix selects the format.
        frames: all of one size.
        times: of the frames in milliseconds; None for 25 frames per second.
        audio: codec of the tone; None for silence.
    """
    frames = list(frames)
    times = times or [index * 1000 // RATE for index in range(len(frames))]
    height, width = frames[0].shape[1:]
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=RATE, options={"crf": "10"})
        video.width, video.height = width, height
        video.pix_fmt = "yuv420p" if height % 2 == width % 2 == 0 else "yuv444p"
        video.codec_context.time_base = Fraction(1, 1000)
        tone = container.add_stream(audio, rate=_AUDIO_RATE, layout="mono") if audio else None
        for rgb, time in zip(frames, times, strict=True):
            pixels = rgb.permute(1, 2, 0).contiguous().numpy()
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        if tone:
            count = _AUDIO_RATE * (times[-1] + 1000 // RATE) // 1000
            for frame in _tone_frames(count):
                container.mux(tone.encode(frame))
            container.mux(tone.encode())
    return path


def _tone_frames(count: int) -> Iterator[av.AudioFrame]:
    """Yield so many audio samples of a tone of 440 Hz."""
    wave = (np.sin(np.arange(count) * 2 * np.pi * 440 / _AUDIO_RATE) / 8).astype(np.float32)
    for start in range(0, count, _AUDIO_FRAME):
        values = wave[None, start : start + _AUDIO_FRAME]
        frame = av.AudioFrame.from_ndarray(values, format="fltp", layout="mono")
        frame.sample_rate, frame.pts = _AUDIO_RATE, start
        yield frame


def main() -> None:
    usage = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=usage)
    parser.add_argument("output", type=Path, metavar="OUT")
    parser.add_argument("--photos", type=int, default=6, help="number of shots (default: 6)")
    parser.add_argument("--frames", type=int, default=50, help="frames per shot (default: 50)")
    args = parser.parse_args()
    args.output.parent.mkdir(parents=True, exist_ok=True)
    shots = [
        gray(rgb)
        for index, photo in enumerate(load_samples().photos[: args.photos])
        for rgb in camera(read_rgb(photo.path), args.frames, index % 2 == 1, (240, 320))
    ]
    print(write_video(args.output, shots))


if __name__ == "__main__":
    main()
