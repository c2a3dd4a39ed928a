"""How good are the colors: a few measures, and the rows that every table of them needs."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from colorize.color import AB_SCALE, lab_to_rgb, rgb_to_lab, to_uint8
from colorize.losses import DISTANCES
from colorize.runtime import seed_all

Painter = Callable[[Tensor], Tensor]


def ab_error(painted: Tensor, ab: Tensor) -> Tensor:
    """Mean distance in the a*b* plane, in CIELAB units, of each photo: (N, 2, H, W) to (N,)."""
    return torch.linalg.vector_norm((painted - ab).float() * AB_SCALE, dim=1).mean(dim=(1, 2))


def psnr(rgb: Tensor, truth: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of each uint8 photo (N, 3, H, W): (N,).

    Rewards dull colors: plain grey beats many a colorizer. Never the headline.
    """
    mse = (rgb.float() - truth.float()).square().mean(dim=(1, 2, 3))
    return 10 * torch.log10(255**2 / mse)


def colorfulness(rgb: Tensor) -> Tensor:
    """Colorfulness M3 of each uint8 photo (N, 3, H, W): (N,).

    Hasler and Süsstrunk, Measuring Colourfulness in Natural Images, 2003: about 15 is slightly,
    45 averagely, 82 highly colorful. With signed opponent differences, as in the paper; the
    DDColor line of work takes their absolute values and gets smaller numbers.
    """
    r, g, b = rgb.float().unbind(1)
    rg, yb = r - g, (r + g) / 2 - b
    deviation = torch.hypot(_std(rg), _std(yb))
    mean = torch.hypot(rg.mean(dim=(1, 2)), yb.mean(dim=(1, 2)))
    return deviation + 0.3 * mean


def cast_ratio(ab: Tensor) -> Tensor:
    """How much of the color of photos (N, 2, H, W) is one and the same tint: a number in [0, 1].

    The length of the mean ab over the mean length of ab: 1 where every pixel of every photo has
    the same hue, near 0 where the colors of many photos balance. Grey photos have 0.
    """
    mean = torch.linalg.vector_norm(ab.float().mean(dim=(0, 2, 3)))
    length = torch.linalg.vector_norm(ab.float(), dim=1).mean()
    return mean / length.clamp(min=1e-6)


def _std(x: Tensor) -> Tensor:
    return x.std(dim=(1, 2), correction=0)


def mean_ab(batches: Iterable[Tensor]) -> Tensor:
    """The mean color of uint8 batches (N, 3, H, W), as ab (2, 1, 1): what a lazy painter learns."""
    total, count = torch.zeros(2, dtype=torch.float64), 0
    for rgb in batches:
        ab = rgb_to_lab(rgb)[1]
        total += ab.mean(dim=(2, 3)).sum(0).cpu()
        count += len(ab)
    return (total / count).float().view(2, 1, 1)


def baselines(mean: Tensor, seed: int = 0) -> dict[str, Painter]:
    """Painters that look at nothing, for the rows that every table needs.

    `grey`; `mean-ab`, everything in the one color `mean` (of the training photos: `mean_ab`);
    and `random`, each pixel's ab uniform in [-1, 1].
    """
    generator = torch.Generator().manual_seed(seed)

    def one_color(lightness: Tensor, color: Tensor) -> Tensor:
        return color.to(lightness).expand(len(lightness), 2, *lightness.shape[-2:])

    def random(lightness: Tensor) -> Tensor:
        shape = (len(lightness), 2, *lightness.shape[-2:])
        return (torch.rand(shape, generator=generator) * 2 - 1).to(lightness)

    return {
        "grey": lambda lightness: one_color(lightness, torch.zeros(2, 1, 1)),
        "mean-ab": lambda lightness: one_color(lightness, mean),
        "random": random,
    }


@torch.no_grad()
def evaluate(
    painters: dict[str, Painter], batches: Iterable[Tensor], device: torch.device | str = "cpu"
) -> dict[str, dict[str, float]]:
    """Let each painter color the same photos and measure it, with the row `truth` above them.

    Args:
        painters: by name, a function from lightness (N, 1, H, W) to ab (N, 2, H, W); a network
            in eval mode is one.
        batches: the true photos, uint8 (N, 3, H, W).
        device: where the painters work.

    Returns:
        For each name the means over all photos: `ab_error` (CIELAB units), `psnr` (dB),
        `colorfulness`, and the training losses `mse` and `l1` in normalized ab.
    """
    sums: dict[str, dict[str, float]] = {}
    count = 0
    batches = iter(batches)  # before seeding: a loader draws a number when it begins
    seed_all(0)  # networks with noise give the same paintings each time
    for batch in batches:
        truth = batch.to(device)
        lightness, ab = rgb_to_lab(truth)
        count += len(truth)
        _add(sums, "truth", {"colorfulness": colorfulness(truth)})
        for name, paint in painters.items():
            painted = paint(lightness)
            rgb = to_uint8(lab_to_rgb(lightness, painted))
            losses = {
                key: loss(painted, ab, reduction="none").mean(dim=(1, 2, 3))
                for key, loss in DISTANCES.items()
            }
            measures = {
                "ab_error": ab_error(painted, ab),
                "psnr": psnr(rgb, truth),
                "colorfulness": colorfulness(rgb),
            }
            _add(sums, name, measures | losses)
    if not count:
        raise ValueError("no photos to measure")
    return {name: {key: total / count for key, total in row.items()} for name, row in sums.items()}


def _add(sums: dict[str, dict[str, float]], name: str, measures: dict[str, Tensor]) -> None:
    row = sums.setdefault(name, {})
    for key, values in measures.items():
        row[key] = row.get(key, 0.0) + values.cpu().double().sum().item()


_HEADINGS = {
    "ab_error": "ab error ↓",
    "colorfulness": "colorfulness",
    "psnr": "PSNR dB ↑",
    "mse": "MSE ↓",
    "l1": "L1 ↓",
}


def as_table(
    rows: dict[str, dict[str, float]],
    columns: Sequence[str] = ("ab_error", "colorfulness", "psnr"),
) -> str:
    """Some columns of `evaluate`'s rows as a Markdown table."""
    headings = " | ".join(_HEADINGS[key] for key in columns)
    lines = [f"| | {headings} |", "|---|" + "---:|" * len(columns)]
    for name, row in rows.items():
        # The losses are small numbers in normalized units.
        cells = [
            f"{row[key]:.{4 if key in DISTANCES else 2}f}" if key in row else "" for key in columns
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
