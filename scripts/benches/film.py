"""Films: frame by frame the plain way against ours, and how steady the colors are."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import av
import torch
from clip import camera, grey, write_film
from torch import Tensor

from benches.infer import plain_painting
from benches.timing import in_turn
from colorize import Colorizer, load_samples
from colorize.color.lab import rgb_to_lab
from colorize.io.image import read_rgb
from colorize.metrics.image import ab_error
from colorize.models.layers import upsample_like
from colorize.utils.device import tune_malloc
from colorize.video.colorize_video import colorize_video
from colorize.video.temporal_smoothing import TemporalSmoother

_FRAMES, _SIZE = 24, (720, 1280)
_SHOTS, _SHOT = 6, 50


def film() -> dict:
    """A film of 720 lines, from file to file; plain is frame by frame, without steady colors.

    Plain: scikit-image in float64, colors upsampled bilinearly, the same network in fp32, the same
    codec.
    """
    tune_malloc()
    colorizer = Colorizer.from_pretrained(device="cpu")
    with tempfile.TemporaryDirectory() as place:
        source, target = Path(place, "film.mp4"), Path(place, "colored.mp4")
        photo = read_rgb(load_samples().photos[0].path)
        write_film(source, map(grey, camera(photo, _FRAMES, False, _SIZE)))
        ways = {
            "plain": lambda: _plain(colorizer, source, target),
            "ours": lambda: colorize_video(colorizer, source, target),
        }
        times = in_turn(ways, 1)
    plain, ours = (times[way] * 1000 / _FRAMES for way in ways)
    return {"plain": plain, "ours": ours, "unit": "ms/frame", "ratio": plain / ours}


def flicker() -> dict:
    """How much the colors change from frame to frame: painted one by one, and steady (ours).

    In CIELAB units, along the motion, over pans and zooms over embedded photos; beside it that of
    the true colors, and how far both are from these.
    """
    colorizer = Colorizer.from_pretrained(device="cpu")
    steady, truth = TemporalSmoother(), TemporalSmoother(0)
    errors = []
    for rgb in _shots():
        (colors,) = colorizer.predict([grey(rgb).contiguous()])
        ab = steady(colors.lightness, colors.ab[0])
        lightness, true = rgb_to_lab(rgb)
        truth(lightness, true)
        both = upsample_like(torch.stack((colors.ab[0], ab)), lightness[None])
        errors.append(ab_error(both, true[None].expand(2, -1, -1, -1)))
    painted, ours = steady.flicker
    painted_dab, steady_dab = torch.stack(errors).mean(0).tolist()
    row = {"plain": painted, "ours": ours, "unit": "dE/frame", "ratio": painted / ours}
    more = {"painted_dab": painted_dab, "steady_dab": steady_dab, "shots": steady.shots}
    return row | {"truth": truth.flicker[0]} | more


def _shots() -> Iterator[Tensor]:
    for number, photo in enumerate(load_samples().photos[:_SHOTS]):
        yield from camera(read_rgb(photo.path), _SHOT, number % 2 == 1, (240, 320))


def _plain(colorizer: Colorizer, source: Path, target: Path) -> None:
    with av.open(str(source)) as film, av.open(str(target), "w") as out:
        video = film.streams.video[0]
        new = out.add_stream("libx264", rate=video.average_rate, options={"crf": "16"})
        new.width, new.height, new.pix_fmt = video.width, video.height, "yuv420p"
        for frame in film.decode(video):
            painted = plain_painting(colorizer, frame.to_image())
            out.mux(new.encode(av.VideoFrame.from_image(painted)))
        out.mux(new.encode())


ROWS = {row.__name__: row for row in (film, flicker)}
