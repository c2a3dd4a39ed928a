"""Compare views, prior strengths and temperatures on validation photos.

    python scripts/tune_views.py --data PHOTOS -o FILE   measure the photos, and print the tables
    python scripts/tune_views.py -o FILE                 print the tables of what is measured

A setting is a set of views (sides in px at which the model sees the photo, with `m` for its mirror
image too, whose logits are averaged), a prior strength and a temperature. `PHOTOS` is as of
`scripts/release_model.py`; the test photos are not used. The validation photos are measured in the
order of the hashes of their names, and some of them degraded as well: all of these are faded, and
half of them stand in an oval on a gray backdrop.
"""

import argparse
import hashlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from release_model import VALIDATION, release_split
from skimage.color import deltaE_ciede2000
from torch import Tensor
from tqdm import tqdm

from colorize.color.ab_bins import decode
from colorize.color.curves import AB_SCALE, L_SCALE, to_uint8
from colorize.color.lab import lab_to_rgb, rgb_to_lab
from colorize.data.degradations import degrade
from colorize.evaluation.baselines import GROUND_TRUTH
from colorize.inference.colorizer import Colorizer
from colorize.io.image import resize
from colorize.io.photo import read_rgb
from colorize.metrics.image import ab_error, ab_mae, colorfulness, stains
from colorize.models.classifier import ColorClassifier
from colorize.models.layers import upsample_like
from colorize.models.pretrained import DEFAULT
from colorize.utils.files import atomic_write

SIDE, STEP = 192, 3  # px: the squares to measure; every third pixel counts, of stains each
CHUNK = 4  # photos at a time

SETS = ("160", "224", "160m", "224m", "128+224m", "128+160+224", "128+160+224m")
PRIOR_STRENGTHS = (1.0, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)
TEMPERATURES = (0.2, 0.38, 0.7, 1.0)
MEAN_AB = (2.5, 8.0)  # CIELAB units: the same color everywhere, a baseline
BASELINES = (GROUND_TRUTH, "gray", "mean-ab")
SHARES, RULE = (0.85, 0.8, 0.75, 0.7), 0.8  # of the ground truth's colorfulness

DIGITS = {  # of the measures in tables
    "mean ab distance": 2,
    "ab MAE": 2,
    "ΔE2000": 2,
    "colorfulness": 1,
    "per-image ΔCF": 1,
    "stains": 3,
}
View = tuple[int, bool]  # side in px, whether it is mirrored
Table = dict[str, dict[str, float]]  # the mean of each measure, of each baseline and setting


def views_of(name: str) -> list[View]:
    """List the views of a set in `SETS`."""
    sides = [int(side) for side in name.removesuffix("m").split("+")]
    return [(side, mirrored) for side in sides for mirrored in (False, True)[: 1 + ("m" in name)]]


def validation_photos(data: Path) -> list[Path]:
    """List the validation photos of a prepared folder, by the hashes of their names in the list."""
    names = set(VALIDATION.read_text().split())

    def digest(path: Path) -> bytes:
        name = path.name if path.name in names else path.stem
        return hashlib.sha256(name.encode()).digest()

    return sorted((photo.path for photo in release_split(data)["val"]), key=digest)


def center_square(path: Path) -> Tensor:
    """Read the middle of a photo, resized: uint8 (3, SIDE, SIDE)."""
    rgb = read_rgb(path)
    height, width = rgb.shape[1:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return resize(rgb[:, top : top + side, left : left + side].contiguous(), SIDE, SIDE)


def degraded_photo(rgb: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Turn a photo (3, H, W) into an old one: its lightness (1, H, W), and the target ab (2, H, W).

    With an odd seed it stands in a soft oval on a backdrop, whose target is gray. Then it is
    degraded, and faded once more.
    """
    generator = torch.Generator().manual_seed(seed)
    _, target_ab = rgb_to_lab(rgb)
    if seed % 2:
        height, width = rgb.shape[1:]
        y = torch.linspace(-1, 1, height).view(-1, 1) / 0.92
        x = torch.linspace(-1, 1, width) / 0.72
        oval = torch.sigmoid((1 - torch.hypot(x, y)) * 25)
        top, bottom = (70 + 120 * torch.rand(2, generator=generator)).tolist()  # gray levels
        backdrop = torch.linspace(top, bottom, height).view(1, -1, 1)
        rgb = (rgb * oval + backdrop * (1 - oval)).round().to(torch.uint8)
        target_ab = target_ab * oval
    dark, light = torch.rand(2, generator=generator).tolist()
    black, white = 0.4 * dark - 0.9, 0.9 - 0.4 * light
    return black + (degrade(rgb, generator) + 1) / 2 * (white - black), target_ab


@torch.no_grad()
def view_logits(network: ColorClassifier, lightness: Tensor) -> dict[View, Tensor]:
    """Predict logits (N, bins, h, w) of all views of squares (N, 1, H, H), mirrored back."""
    logits = {}
    for side, mirrored in sorted({view for name in SETS for view in views_of(name)}):
        view = lightness
        if side != lightness.shape[-1]:
            view = F.interpolate(lightness, (side, side), mode="bilinear", antialias=True)
        output = network.logits(view.flip(-1)).flip(-1) if mirrored else network.logits(view)
        logits[side, mirrored] = output.float()
    return logits


def predict_settings(
    logits: dict[View, Tensor], class_weights: Tensor
) -> Iterator[tuple[str, Tensor]]:
    """Predict ab (N, 2, h, w) by each setting, on the grid of its finest view."""
    log_weights = class_weights.log().view(-1, 1, 1)
    for name in SETS:
        views = views_of(name)
        finest = logits[max(views)]
        mean = torch.stack([upsample_like(logits[view], finest) for view in views]).mean(0)
        for prior_strength in PRIOR_STRENGTHS:
            corrected = mean - (1 - prior_strength) * log_weights
            for temperature in TEMPERATURES:
                setting = f"{name} {prior_strength:g} {temperature:g}"
                yield setting, decode(corrected, temperature)


def measurer(lightness: Tensor, target_ab: Tensor) -> Callable[[Tensor], Tensor]:
    """Return a function that computes the measures in `DIGITS` of ab (N, 2, H, W): (N, 6).

    All except stains are computed from photos in 8 bits, as they would be saved.
    """
    target = target_ab[..., 1::STEP, 1::STEP]
    light = lightness[..., 1::STEP, 1::STEP]
    target_colorfulness = colorfulness(to_uint8(lab_to_rgb(light, target, gamut="table")))

    def measure(ab: Tensor) -> Tensor:
        rgb = to_uint8(lab_to_rgb(light, ab[..., 1::STEP, 1::STEP], gamut="table"))
        saved, pred = rgb_to_lab(rgb)
        pair = [torch.cat(((saved + 1) * L_SCALE, x * AB_SCALE), 1) for x in (pred, target)]
        delta_e = deltaE_ciede2000(*(lab.numpy() for lab in pair), channel_axis=1).mean((1, 2))
        color = colorfulness(rgb)
        errors = (ab_error(pred, target), ab_mae(pred, target), torch.from_numpy(delta_e).float())
        colors = (color, (color - target_colorfulness).abs(), stains(lightness, ab))
        return torch.stack((*errors, *colors), dim=1)

    return measure


def measure_photos(data: Path, output: Path, model: str, counts: dict[bool, int]) -> None:
    """Measure the baselines and all settings; what is measured is stored after each chunk.

    Args:
        data: the prepared photos.
        output: file of the results.
        model: a model that predicts a distribution.
        counts: the number of clean photos (False) and of degraded ones (True), at most.
    """
    network = Colorizer.from_pretrained(model, device="cpu").network
    if not isinstance(network, ColorClassifier):
        raise ValueError(f"{model} predicts no distribution over color bins")
    network.prior_strength, class_weights = 1, network.get_buffer("class_weights")
    paths = validation_photos(data)
    mean_ab = torch.tensor(MEAN_AB).view(1, 2, 1, 1) / AB_SCALE
    jobs = [(key, i) for key, count in counts.items() for i in range(min(count, len(paths)))]
    is_degraded: list[bool] = []
    values: dict[str, list[Tensor]] = {}
    for start in tqdm(range(0, len(jobs), CHUNK), "chunks", mininterval=20):
        pairs = []
        for degraded, index in jobs[start : start + CHUNK]:
            rgb = center_square(paths[index])
            pairs.append(degraded_photo(rgb, seed=index) if degraded else rgb_to_lab(rgb))
            is_degraded.append(degraded)
        lightness, target_ab = (torch.stack(tensors) for tensors in zip(*pairs, strict=True))
        measure = measurer(lightness, target_ab)
        baselines = (target_ab, torch.zeros_like(target_ab), mean_ab.expand_as(target_ab))
        predictions = predict_settings(view_logits(network, lightness), class_weights)
        for name, ab in (*zip(BASELINES, baselines, strict=True), *predictions):
            values.setdefault(name, []).append(measure(upsample_like(ab, lightness)))
        table = {name: torch.cat(tensors) for name, tensors in values.items()}
        with atomic_write(output) as tmp:
            torch.save({"is_degraded": torch.tensor(is_degraded), "values": table}, tmp)


def choose(table: Table, share: float, views: str | None = None) -> str | None:
    """Choose the setting of lowest ab error that reaches a share of the true colorfulness."""
    least = share * table[GROUND_TRUTH]["colorfulness"]
    names = [
        name
        for name in table.keys() - set(BASELINES)
        if table[name]["colorfulness"] >= least and views in (None, name.split()[0])
    ]
    return min(names, key=lambda name: table[name]["mean ab distance"], default=None)


def markdown(rows: list[list[str]]) -> str:
    """Format a table: the first row is its header, the first column is text."""
    rows = [rows[0], ["---", *["---:"] * (len(rows[0]) - 1)], *rows[1:]]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def frontier(table: Table) -> str:
    """Compare sets of views at equal colorfulness, interpolated between their prior strengths.

    A cell holds the mean ab distance and the stains, and is empty where a set does not reach it.
    """
    target_colors = [share * table[GROUND_TRUTH]["colorfulness"] for share in SHARES]
    groups: dict[str, list[dict[str, float]]] = {}
    for name in table.keys() - set(BASELINES):
        views, _, temperature = name.split()
        groups.setdefault(f"{views}, {temperature}", []).append(table[name])
    rows = [["views, temperature \\ colorfulness", *(f"{color:.1f}" for color in target_colors)]]
    for group, points in sorted(groups.items()):
        points.sort(key=lambda point: point["colorfulness"])
        colors = [point["colorfulness"] for point in points]
        errors = [point["mean ab distance"] for point in points]
        patches = [point["stains"] for point in points]
        cells = [
            f"{np.interp(color, colors, errors):.2f} / {np.interp(color, colors, patches):.3f}"
            if colors[0] <= color <= colors[-1]
            else ""
            for color in target_colors
        ]
        if any(cells):
            rows.append([group, *cells])
    return markdown(rows)


def report(output: Path) -> str:
    """Format the tables of clean and of degraded photos, and the rule's choices."""
    record = torch.load(output)
    is_degraded = record["is_degraded"]
    texts = []
    for title, mask in (("Validation photos", ~is_degraded), ("Degraded photos", is_degraded)):
        if not mask.any():
            continue
        # Stains are NaN without plain surfaces.
        means = {name: v[mask].nanmean(0).tolist() for name, v in record["values"].items()}
        table = {name: dict(zip(DIGITS, mean, strict=True)) for name, mean in means.items()}
        best = [choose(table, share, views) for share in SHARES for views in SETS]
        rows = [["views, prior strength, temperature", *DIGITS]]
        for name in dict.fromkeys([*BASELINES, *filter(None, best)]):
            rows.append([name, *(f"{table[name][key]:.{DIGITS[key]}f}" for key in DIGITS)])
        texts += [
            f"## {title}: {int(mask.sum())}",
            markdown(rows),
            frontier(table),
            f"Best at {RULE:.0%} of the true colorfulness or more: {choose(table, RULE)}",
        ]
    return "\n\n".join(texts)


def main() -> int:
    """Measure if there are photos, and report; returns the exit status."""
    usage = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=usage)
    parser.add_argument("--data", type=Path, metavar="PHOTOS", help="prepared folder of photos")
    parser.add_argument("-o", "--output", type=Path, required=True, help="file of the results")
    parser.add_argument("--model", default=DEFAULT, help=f"model to tune (default: {DEFAULT})")
    parser.add_argument("--photos", type=int, default=300, help="clean photos (default: 300)")
    parser.add_argument("--degraded", type=int, default=100, help="degraded ones (default: 100)")
    args = parser.parse_args()
    if args.data is not None:
        counts = {False: args.photos, True: args.degraded}
        measure_photos(args.data, args.output, args.model, counts)
    print(report(args.output))
    return 0


if __name__ == "__main__":
    sys.exit(main())
