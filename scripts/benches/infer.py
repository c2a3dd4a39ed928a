"""From a photo's file to its painting's, in one run against the plain way."""

import functools
import io
import itertools
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benches.timing import all_in_turn, in_a_process, in_turn
from colorize.color.lab import rgb_to_lab, rgb_to_lightness
from colorize.data.folder import load_samples
from colorize.inference.batch import colorize_file, colorize_files, plan_jobs
from colorize.inference.colorizer import Colorizer
from colorize.inference.guided_upsampling import guided_upsample
from colorize.io.image import photo_to_rgb, read_photo, resize, rgb_to_photo
from colorize.io.image_file import ImageFile, encode, read_image_file
from colorize.losses.classification import downsample_ab
from colorize.metrics.image import ab_error, bleeding
from colorize.models import create_model
from colorize.models.layers import pad_to_multiple, upsample_like
from colorize.models.pretrained import bundled
from colorize.utils.device import tune_malloc

_LARGE = (4000, 3000)  # 12 megapixels
_SMALL, _COUNT = 512, 96  # long side and number of the folder's photos


def photo_time() -> dict:
    """A grey 12-megapixel JPEG to a colored one, in memory.

    Plain: Pillow, scikit-image in float64 at full size, colors upsampled bilinearly, the same
    network in fp32.
    """
    data = _photo(*_LARGE)
    with in_a_process(_plain_way, data) as plain:
        plain()  # loads the network
        _ours(data)
        times = in_turn({"plain": plain, "ours": lambda: _ours(data)}, 5)
    return _row(times["plain"] * 1000, times["ours"] * 1000, "ms")


def photo_memory() -> dict:
    """The memory that it takes at its peak, beyond what the process holds with a network loaded.

    By Linux's count of resident pages.
    """
    with tempfile.TemporaryDirectory() as place:
        small, large = Path(place, "small.jpg"), Path(place, "large.jpg")
        small.write_bytes(_photo(400, 300))
        large.write_bytes(_photo(*_LARGE))
        plain, ours = (_peak(way, small, large) for way in ("_plain", "_ours"))
    return _row(plain, ours, "MB")


def folder() -> dict:
    """A folder of 96 photos of 512 px, files read and written; plain is the network alone.

    The ratio is the share of the time that the network needs: 1 is what it alone would allow.
    """
    with tempfile.TemporaryDirectory() as place:
        for number, photo in zip(
            range(_COUNT), itertools.cycle(load_samples().photos), strict=False
        ):
            shown = _grown(read_photo(photo.path), _SMALL)
            shown.convert("L").save(Path(place, f"{number}.jpg"), quality=92)
        tune_malloc()
        colorizer = _colorizer()
        seen = [read_image_file(path).seen for path in sorted(Path(place).glob("*.jpg"))]
        multiple = colorizer.network.size_divisibility
        lightness = [colorizer.predict([rgb])[0].lightness for rgb in seen]

        def network():
            with torch.no_grad():
                for one in lightness:
                    colorizer.network(pad_to_multiple(one.unsqueeze(0), multiple))

        def ours():
            with tempfile.TemporaryDirectory() as out:
                reports = list(colorize_files(colorizer, plan_jobs([place], out)))
            assert all(report.state == "colored" for report in reports)

        ours()  # threads and tables are there
        times = all_in_turn({"plain": network, "ours": ours}, 9)
    ratios = [a / b for a, b in zip(*times.values(), strict=True)]
    medians = (statistics.median(taken) * 1000 / len(seen) for taken in times.values())
    return _row(*medians, "ms/photo") | {"lowest": min(ratios), "highest": max(ratios)}


def edges() -> dict:
    """How much color lies off the photo's edges (%), of true colors that a network would see.

    Of each embedded photo, 320 px, the true ab at 32 px, as classes have them at 128 px, are
    brought to the photo's size: plain bilinearly, ours along the edges. Beside it how far both
    are from the true colors (dab), and how much of the truth's own color lies off the edges.
    """
    found = {"plain": [], "ours": [], "truth": [], "plain_dab": [], "ours_dab": []}
    for photo in load_samples().photos:
        rgb = photo_to_rgb(read_photo(photo.path))
        lightness, ab = rgb_to_lab(rgb)
        k = 128 / min(rgb.shape[1:])
        guide, _ = rgb_to_lab(resize(rgb, *(round(side * k / 4) * 4 for side in rgb.shape[1:])))
        coarse = downsample_ab(ab.unsqueeze(0), [side // 4 for side in guide.shape[1:]])
        small = upsample_like(coarse, guide.unsqueeze(0))[0]
        for name, painted in (
            ("plain", guided_upsample(rgb, small)),
            ("ours", guided_upsample(rgb, small, guide)),
        ):
            _, colors = rgb_to_lab(painted)
            found[name].append(100 * bleeding(lightness, colors).item())
            found[f"{name}_dab"].append(ab_error(colors, ab).item())
        found["truth"].append(100 * bleeding(lightness, ab).item())
    means = {name: float(np.mean(values)) for name, values in found.items()}
    row = _row(means.pop("plain"), means.pop("ours"), "%")
    return row | means | {"network": "none"}


def lossy() -> dict:
    """How far the stored lightness is off in the mean, in L*: Pillow's own JPEG quality, and ours.

    Of the embedded photos, painted by a network; PNG and TIFF lose nothing beyond rounding.
    """
    colorizer = _colorizer()
    off = {name: [] for name in ("plain", "JPEG", "WEBP", "AVIF", "PNG")}
    for photo in load_samples().photos:
        original = ImageFile(photo_to_rgb(read_photo(photo.path).convert("L")))
        (colors,) = colorizer.predict([original.seen])
        (painted,) = colors.paint(original.rgb)
        files = {name: encode(original, painted, name) for name in off if name != "plain"}
        default = io.BytesIO()
        rgb_to_photo(painted).save(default, "JPEG")
        truth = rgb_to_lightness(original.rgb)
        for name, data in (files | {"plain": default.getvalue()}).items():
            stored = rgb_to_lightness(photo_to_rgb(read_photo(io.BytesIO(data))))
            off[name].append(50 * (stored - truth).abs().mean().item())
    means = {name: float(np.mean(values)) for name, values in off.items()}
    row = _row(means.pop("plain"), means.pop("JPEG"), "L*")
    return row | {name.lower(): value for name, value in means.items()}


def _row(plain: float, ours: float, unit: str) -> dict:
    network = "bundled" if bundled() else "of random weights"
    return {"plain": plain, "ours": ours, "unit": unit, "ratio": plain / ours, "network": network}


@functools.cache
def _colorizer() -> Colorizer:
    """The bundled network; one of its shape where there is none."""
    if bundled():
        return Colorizer.from_pretrained(device="cpu")
    network = create_model("color_classifier", encoder_name="mobilenet_v2", width=128, hints=True)
    return Colorizer(network, 256, "cpu")


def _grown(photo: Image.Image, side: int) -> Image.Image:
    k = side / max(photo.size)
    return photo.resize((round(photo.width * k), round(photo.height * k)), Image.Resampling.BICUBIC)


def _photo(width: int, height: int) -> bytes:
    """A JPEG in grey, with grain."""
    photo = read_photo(load_samples().photos[0].path).convert("L")
    values = np.asarray(photo.resize((width, height), Image.Resampling.BICUBIC), np.int16)
    grain = np.random.default_rng(0).integers(-6, 7, values.shape, dtype=np.int16)
    file = io.BytesIO()
    Image.fromarray((values + grain).clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=92)
    return file.getvalue()


def _ours(data: bytes) -> bytes:
    tune_malloc()  # as the command does
    original = read_image_file(io.BytesIO(data))
    return encode(original, colorize_file(_colorizer(), original), "JPEG")


def _plain_way(data: bytes) -> Callable[[], int]:
    return lambda: len(_plain(data))


def _plain(data: bytes) -> bytes:
    painted = plain_painting(_colorizer(), Image.open(io.BytesIO(data)))
    file = io.BytesIO()
    painted.save(file, "JPEG", quality=95, subsampling=0)
    return file.getvalue()


def plain_painting(colorizer: Colorizer, photo: Image.Image) -> Image.Image:
    """Pillow and scikit-image around the network, colors upsampled bilinearly."""
    from skimage.color import lab2rgb, rgb2lab

    lab = rgb2lab(np.asarray(photo.convert("RGB")))
    height, width = lab.shape[:2]
    size = tuple(colorizer.size * side // min(height, width) for side in (width, height))
    star = Image.fromarray(lab[..., 0].astype(np.float32))
    small = star.resize(size, Image.Resampling.BILINEAR)
    seen = torch.from_numpy(np.array(small))[None, None] / 50 - 1
    pads = [0, -seen.shape[-1] % 32, 0, -seen.shape[-2] % 32]
    with torch.no_grad():
        ab = colorizer.network(torch.nn.functional.pad(seen, pads, mode="reflect"))
    ab = ab[..., : seen.shape[-2], : seen.shape[-1]]
    wide = torch.nn.functional.interpolate(ab, (height, width), mode="bilinear")[0]
    lab[..., 1:] = wide.permute(1, 2, 0).numpy() * 110
    return Image.fromarray((lab2rgb(lab) * 255).round().astype(np.uint8))


def _peak(way: str, small: Path, large: Path) -> float:
    """Megabytes that a way takes at most, in a process of its own."""
    code = f"""
import re
from pathlib import Path
from benches import infer

def now(name):
    return int(re.search(name + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024

infer.{way}(Path({str(small)!r}).read_bytes())  # all is loaded
Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
before = now("VmRSS")
infer.{way}(Path({str(large)!r}).read_bytes())
print(now("VmHWM") - before)
"""
    command = [sys.executable, "-W", "ignore", "-c", code]
    place = Path(__file__).parents[1]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=True)
    return float(done.stdout)


ROWS = {row.__name__: row for row in (photo_time, photo_memory, folder, edges, lossy)}
