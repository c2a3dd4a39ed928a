"""Make a small black-and-white film of the embedded photos, to try `colorize video` with.

    python scripts/clip.py output/clip.mp4
    colorize video output/clip.mp4 -o output/clip-colored.mp4

A camera pans over a photo, moves into the next one, and so on; a tone is heard.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

try:
    import av
except ImportError as error:
    sys.exit(f"films need the package av ({error}): pip install 'colorize-photos[video]'")
import numpy as np
from torch import Tensor

from colorize import load_samples
from colorize.color.curves import to_uint8
from colorize.color.lab import lightness_to_gray, rgb_to_lightness
from colorize.io.image import read_rgb, resize

RATE = 25  # frames a second
_HEARD = 48000  # samples of sound a second


def camera(rgb: Tensor, frames: int, zoom: bool, size: Sequence[int]) -> Iterator[Tensor]:
    """Frames (3, *size) of a camera that pans over a square photo, or moves into it.

    It goes over 30 % of the photo's side.
    """
    side = rgb.shape[1]
    for number in range(frames):
        gone = 0.3 * side * number / max(1, frames - 1)
        cut = round(side - gone if zoom else 0.7 * side)
        left = round(gone / 2 if zoom else gone)
        top = round(gone / 2 if zoom else 0.15 * side)
        yield resize(rgb[:, top : top + cut, left : left + cut], *size)


def grey(rgb: Tensor) -> Tensor:
    """A frame without its colors."""
    return to_uint8(lightness_to_gray(rgb_to_lightness(rgb))).expand(3, -1, -1)


def write_film(
    path: Path,
    frames: Iterable[Tensor],
    times: Sequence[int] | None = None,
    sound: str | None = "aac",
) -> Path:
    """Write frames, uint8 (3, H, W), as H.264, with a tone as long as they last.

    Args:
        path: its suffix tells the kind of file.
        frames: of one size.
        times: of the frames, in thousandths of a second; None for 25 a second.
        sound: the codec of the tone; None for silence.
    """
    frames = list(frames)
    times = times or [number * 1000 // RATE for number in range(len(frames))]
    height, width = frames[0].shape[1:]
    with av.open(str(path), "w") as film:
        video = film.add_stream("libx264", rate=RATE, options={"crf": "10"})
        video.width, video.height = width, height
        video.pix_fmt = "yuv420p" if height % 2 == width % 2 == 0 else "yuv444p"
        video.codec_context.time_base = Fraction(1, 1000)
        tone = film.add_stream(sound, rate=_HEARD, layout="mono") if sound else None
        for rgb, time in zip(frames, times, strict=True):
            pixels = rgb.permute(1, 2, 0).contiguous().numpy()
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            film.mux(video.encode(frame))
        film.mux(video.encode())
        if tone:
            heard = np.arange(_HEARD * (times[-1] + 1000 // RATE) // 1000)
            wave = (np.sin(heard * 2 * np.pi * 440 / _HEARD) / 8).astype(np.float32)
            for begin in range(0, len(wave), 1024):
                part = wave[None, begin : begin + 1024]
                some = av.AudioFrame.from_ndarray(part, format="fltp", layout="mono")
                some.sample_rate, some.pts = _HEARD, begin
                film.mux(tone.encode(some))
            film.mux(tone.encode())
    return path


def main() -> None:
    usage = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=usage)
    parser.add_argument("output", type=Path, metavar="OUT")
    parser.add_argument("--photos", type=int, default=6, help="one shot of each (6)")
    parser.add_argument("--frames", type=int, default=50, help="of each shot (50)")
    args = parser.parse_args()
    args.output.parent.mkdir(parents=True, exist_ok=True)
    shots = [
        grey(rgb)
        for number, photo in enumerate(load_samples().photos[: args.photos])
        for rgb in camera(read_rgb(photo.path), args.frames, number % 2 == 1, (240, 320))
    ]
    print(write_film(args.output, shots))


if __name__ == "__main__":
    main()
