"""Benchmarks of inference: from the file of a photo to that of its colorized version."""

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
import torch.nn.functional as F
from PIL import Image

from benches.timing import Row, all_in_turn, in_a_process, in_turn, sized
from colorize.color.lab import rgb_to_lab, rgb_to_lightness
from colorize.data.folder import load_samples
from colorize.inference import Colorizer, colorize_file, colorize_files, plan_jobs
from colorize.inference.guided_upsampling import guided_upsample
from colorize.io.image import photo_to_rgb, resize, rgb_to_photo
from colorize.io.image_file import ImageFile, read_image_file
from colorize.io.image_writer import encode_image_file
from colorize.io.photo import read_photo
from colorize.losses.classification import downsample_ab
from colorize.metrics.image import ab_error, bleeding
from colorize.models import create_model
from colorize.models.layers import pad_to_multiple, upsample_like
from colorize.models.pretrained import bundled
from colorize.utils.device import tune_malloc

_FOLDER_SIDE = 512  # px; long side of the photos of `folder`


def photo_time() -> Row:
    """A gray 12-megapixel JPEG to a colorized one, in memory.

    Plain: Pillow, scikit-image in float64 at full size, colors upsampled bilinearly, the same
    network in fp32.
    """
    data = _large_jpeg()
    with in_a_process(_make_plain, data) as plain:
        plain()  # loads the network
        _colorize(data)
        times = in_turn({"plain": plain, "ours": lambda: _colorize(data)}, 5)
    return _row(times["plain"] * 1000, times["ours"] * 1000, "ms")


def photo_memory() -> Row:
    """The peak memory of the same, beyond that of a process with the network loaded.

    As Linux counts resident pages.
    """
    with tempfile.TemporaryDirectory() as directory:
        small, large = Path(directory, "small.jpg"), Path(directory, "large.jpg")
        small.write_bytes(_jpeg(400, 300))
        large.write_bytes(_large_jpeg())
        plain, ours = (
            _peak_memory(way, small, large) for way in ("_colorize_plainly", "_colorize")
        )
    return _row(plain, ours, "MB")


def folder() -> Row:
    """A folder of 96 photos of 512 px, files read and written; plain is the network alone.

    The ratio is the share of the time that the network needs: 1 is what it alone would allow.
    """
    count = sized(96, 2)
    with tempfile.TemporaryDirectory() as directory:
        photos = itertools.islice(itertools.cycle(load_samples().photos), count)
        for number, photo in enumerate(photos):
            enlarged = _enlarge(read_photo(photo.path), _FOLDER_SIDE)
            enlarged.convert("L").save(Path(directory, f"{number}.jpg"), quality=92)
        tune_malloc()
        colorizer = _colorizer()
        divisibility = colorizer.network.size_divisibility
        files = sorted(Path(directory).glob("*.jpg"))
        rgbs = [read_image_file(path).as_rgb8() for path in files]
        inputs = [colorizer.predict([rgb])[0].lightness for rgb in rgbs]

        def run_network() -> None:
            with torch.no_grad():
                for lightness in inputs:
                    colorizer.network(pad_to_multiple(lightness.unsqueeze(0), divisibility))

        def ours() -> None:
            with tempfile.TemporaryDirectory() as out:
                results = list(colorize_files(colorizer, plan_jobs([directory], out)))
            assert all(result.state == "colored" for result in results)

        ours()  # starts threads and fills tables
        times = all_in_turn({"plain": run_network, "ours": ours}, 9)
    ratios = [plain / ours for plain, ours in zip(times["plain"], times["ours"], strict=True)]
    plain_ms, ours_ms = (statistics.median(seconds) * 1000 / count for seconds in times.values())
    return _row(plain_ms, ours_ms, "ms/photo") | {"lowest": min(ratios), "highest": max(ratios)}


def edges() -> Row:
    """How much color lies off the photo's edges (%), of true colors at a network's resolution.

    Of each embedded photo, 320 px, the true ab at 32 px, as classification has it at 128 px, are
    upsampled to the photo's size: plain bilinearly, ours along the edges. Beside it the distance
    of both from the true colors (dab), and how much true color lies off the edges.
    """
    samples: dict[str, list[float]] = {
        name: [] for name in ("plain", "ours", "truth", "plain_dab", "ours_dab")
    }
    photos = load_samples().photos
    for photo in photos[: sized(len(photos), 2)]:
        rgb = photo_to_rgb(read_photo(photo.path))
        lightness, target_ab = rgb_to_lab(rgb)
        k = 128 / min(rgb.shape[1:])
        height, width = (round(side * k / 4) * 4 for side in rgb.shape[1:])
        guide, _ = rgb_to_lab(resize(rgb, height, width))
        coarse = downsample_ab(target_ab.unsqueeze(0), [side // 4 for side in guide.shape[1:]])
        ab = upsample_like(coarse, guide.unsqueeze(0))[0]
        for name, colorized in (
            ("plain", guided_upsample(rgb, ab)),
            ("ours", guided_upsample(rgb, ab, guide)),
        ):
            _, upsampled_ab = rgb_to_lab(colorized)
            samples[name].append(100 * bleeding(lightness, upsampled_ab).item())
            samples[f"{name}_dab"].append(ab_error(upsampled_ab, target_ab).item())
        samples["truth"].append(100 * bleeding(lightness, target_ab).item())
    means = {name: float(np.mean(values)) for name, values in samples.items()}
    row = _row(means.pop("plain"), means.pop("ours"), "%")
    return row | means | {"network": "none"}


def lossy() -> Row:
    """Mean error of the stored lightness, in L*: Pillow's default JPEG quality, and ours.

    Of the embedded photos, colorized; PNG and TIFF lose nothing beyond rounding.
    """
    colorizer = _colorizer()
    errors: dict[str, list[float]] = {name: [] for name in ("plain", "JPEG", "WEBP", "AVIF", "PNG")}
    photos = load_samples().photos
    for photo in photos[: sized(len(photos), 2)]:
        image = ImageFile(photo_to_rgb(read_photo(photo.path).convert("L")))
        (prediction,) = colorizer.predict([image.as_rgb8()])
        (colorized,) = prediction.apply_to(image.rgb)
        files = {
            name: encode_image_file(image, colorized, name) for name in errors if name != "plain"
        }
        default = io.BytesIO()
        rgb_to_photo(colorized).save(default, "JPEG")
        files["plain"] = default.getvalue()
        target = rgb_to_lightness(image.rgb)
        for name, data in files.items():
            stored = rgb_to_lightness(photo_to_rgb(read_photo(io.BytesIO(data))))
            errors[name].append(50 * (stored - target).abs().mean().item())
    means = {name: float(np.mean(values)) for name, values in errors.items()}
    row = _row(means.pop("plain"), means.pop("JPEG"), "L*")
    return row | {name.lower(): value for name, value in means.items()}


ROWS = {row.__name__: row for row in (photo_time, photo_memory, folder, edges, lossy)}


def _row(plain: float, ours: float, unit: str) -> Row:
    network = "bundled" if bundled() else "of random weights"
    return {"plain": plain, "ours": ours, "unit": unit, "ratio": plain / ours, "network": network}


@functools.cache
def _colorizer() -> Colorizer:
    """Load the bundled model, or build one of its shape."""
    if bundled():
        return Colorizer.from_pretrained(device="cpu")
    network = create_model("color_classifier", encoder_name="mobilenet_v2", width=128, hints=True)
    return Colorizer(network, 256, "cpu")


def _enlarge(photo: Image.Image, side: int) -> Image.Image:
    k = side / max(photo.size)
    return photo.resize((round(photo.width * k), round(photo.height * k)), Image.Resampling.BICUBIC)


def _large_jpeg() -> bytes:
    return _jpeg(*sized((4000, 3000), (800, 600)))


def _jpeg(width: int, height: int) -> bytes:
    """Encode a gray photo with grain."""
    photo = read_photo(load_samples().photos[0].path).convert("L")
    values = np.asarray(photo.resize((width, height), Image.Resampling.BICUBIC), np.int16)
    grain = np.random.default_rng(0).integers(-6, 7, values.shape, dtype=np.int16)
    file = io.BytesIO()
    Image.fromarray((values + grain).clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=92)
    return file.getvalue()


def _colorize(data: bytes) -> bytes:
    tune_malloc()  # as the command does
    image = read_image_file(io.BytesIO(data))
    return encode_image_file(image, colorize_file(_colorizer(), image), "JPEG")


def _make_plain(data: bytes) -> Callable[[], int]:
    return lambda: len(_colorize_plainly(data))


def _colorize_plainly(data: bytes) -> bytes:
    colorized = colorize_plainly(_colorizer(), Image.open(io.BytesIO(data)))
    file = io.BytesIO()
    colorized.save(file, "JPEG", quality=95, subsampling=0)
    return file.getvalue()


def colorize_plainly(colorizer: Colorizer, photo: Image.Image) -> Image.Image:
    """Colorize with Pillow and scikit-image around the network, and bilinear upsampling."""
    from skimage.color import lab2rgb, rgb2lab

    lab = rgb2lab(np.asarray(photo.convert("RGB")))
    height, width = lab.shape[:2]
    size = tuple(colorizer.size * side // min(height, width) for side in (width, height))
    l_star = Image.fromarray(lab[..., 0].astype(np.float32))
    small = l_star.resize(size, Image.Resampling.BILINEAR)
    lightness = torch.from_numpy(np.array(small))[None, None] / 50 - 1
    padding = [0, -lightness.shape[-1] % 32, 0, -lightness.shape[-2] % 32]
    with torch.no_grad():
        ab = colorizer.network(F.pad(lightness, padding, mode="reflect"))
    ab = ab[..., : lightness.shape[-2], : lightness.shape[-1]]
    wide = F.interpolate(ab, (height, width), mode="bilinear")[0]
    lab[..., 1:] = wide.permute(1, 2, 0).numpy() * 110
    return Image.fromarray((lab2rgb(lab) * 255).round().astype(np.uint8))


def _peak_memory(way: str, small: Path, large: Path) -> float:
    """Measure the peak memory of a function in MB, in another process."""
    code = f"""
import re
from pathlib import Path
from benches import infer

def read_status(name):
    return int(re.search(name + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024

infer.{way}(Path({str(small)!r}).read_bytes())  # loads everything
Path("/proc/self/clear_refs").write_text("5")  # resets the peak
before = read_status("VmRSS")
infer.{way}(Path({str(large)!r}).read_bytes())
print(read_status("VmHWM") - before)
"""
    command = [sys.executable, "-W", "ignore", "-c", code]
    scripts = Path(__file__).parents[1]
    done = subprocess.run(command, cwd=scripts, capture_output=True, text=True, check=True)
    return float(done.stdout)
