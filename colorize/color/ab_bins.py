"""Color classes: the bins of the a*b* plane, encoding of colors and decoding of distributions.

Zhang, Isola, Efros: Colorful Image Colorization, ECCV 2016, section 2.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from colorize.color.curves import AB_SCALE, cached_table
from colorize.color.lab import rgb_to_lab

GRID = 10  # side of a bin, in CIELAB units
NEIGHBORS = 5  # bins among which a color is distributed
SIGMA = 5.0  # of the Gaussian of the soft encoding and of the prior's smoothing

_CELLS = 44  # of the table of candidate bins along a and along b, from -110 to 110: half a bin each


@cached_table
def bin_centers() -> Tensor:
    """Return the centers of the bins that sRGB can fill, as ab / 110: (261, 2).

    The plane is divided into squares of 10 x 10 around the multiples of 10. A bin counts if at
    least one of the 256^3 8-bit colors lies in it: there are 261. The paper has 313 bins and does
    not say by which rule. The gamut of sRGB does not give that number (229 squares have their
    center in it, 261 any color at all), so the paper's list must contain bins that no photo fills.
    """
    # The outermost colors lie on the cube's faces, and the inner ones fill the area between them.
    values = torch.arange(256, dtype=torch.uint8)
    ends = torch.tensor([0, 255], dtype=torch.uint8)
    half = 12  # of the side of the plane, in bins: |a*| and |b*| are below 115
    is_filled = torch.zeros(2 * half, 2 * half, dtype=torch.bool)
    for face in range(3):
        axes = [ends if axis == face else values for axis in range(3)]
        rgb = torch.stack(torch.meshgrid(*axes, indexing="ij")).flatten(1).unsqueeze(-1)
        a, b = (rgb_to_lab(rgb)[1].squeeze(-1) * (AB_SCALE / GRID)).round().int()
        is_filled[a + half, b + half] = True
    cells = torch.stack(is_filled.nonzero(as_tuple=True), dim=1) - half
    return cells * (GRID / AB_SCALE)


def soft_encode(ab: Tensor) -> tuple[Tensor, Tensor]:
    """Distribute each color among its nearest bins, by a Gaussian of the distance (section 2.1).

    Args:
        ab: (N, 2, H, W), as ab / 110.

    Returns:
        The indices of the 5 nearest bins (N, 5, H, W), nearest first, and their shares, of the same
        shape, which add up to 1. (The paper says 5; its Caffe code uses 10.)
    """
    colors = ab.float().permute(0, 2, 3, 1).flatten(0, 2)
    all_bins = torch.arange(len(bin_centers()), device=ab.device).unsqueeze(0)
    if ab.device.type == "cpu":
        cell = ((colors + 1) * (_CELLS / 2)).long().clamp(0, _CELLS - 1)
        squares, bins = _nearest_bins(colors, _candidate_bins()[cell[:, 0] * _CELLS + cell[:, 1]])
        is_outside = (colors.abs() > 1).any(1)  # of the table: no photo has such colors
        if is_outside.any():
            squares[is_outside], bins[is_outside] = _nearest_bins(colors[is_outside], all_bins)
    else:  # to look for colors outside would wait for the device
        squares, bins = _nearest_bins(colors, all_bins)
    # Softmax subtracts the largest exponent, so a color far outside all bins does not underflow.
    shares = torch.softmax(squares * (-(AB_SCALE**2) / (2 * SIGMA**2)), dim=-1)
    shape = (len(ab), *ab.shape[2:], NEIGHBORS)
    return bins.view(shape).permute(0, 3, 1, 2), shares.view(shape).permute(0, 3, 1, 2)


def _nearest_bins(colors: Tensor, candidates: Tensor) -> tuple[Tensor, Tensor]:
    """Find the 5 nearest bins: their squared distances and their indices, (N, 5) each, sorted.

    Args:
        colors: (N, 2), as ab / 110.
        candidates: indices of bins (N, K), or (1, K) for all colors.
    """
    a, b = bin_centers().to(colors.device)[candidates].unbind(-1)
    # From differences: the faster matrix product is too inexact for a Gaussian of 5.
    squares = (a - colors[:, :1]).square() + (b - colors[:, 1:]).square()
    nearest, positions = squares.topk(NEIGHBORS, largest=False, sorted=True)
    return nearest, candidates.expand(len(colors), -1).gather(1, positions)


@cached_table
def _candidate_bins() -> Tensor:
    """List, for each cell of the table, the bins that can be among the 5 nearest of a color in it.

    A color is at most half a cell's diagonal away from the cell's center. So its 5 nearest bins are
    not farther from the center than the center's fifth nearest bin plus a whole diagonal.

    Returns:
        Indices of bins (cells, K), K the most that a cell needs.
    """
    axis = (torch.arange(_CELLS, dtype=torch.float64) + 0.5) * (2 / _CELLS) - 1
    distances, bins = torch.cdist(torch.cartesian_prod(axis, axis), bin_centers().double()).sort(
        dim=1
    )
    diagonal = 2 / _CELLS * 2**0.5
    reach = distances[:, NEIGHBORS - 1] + diagonal + 1e-5  # for rounding at a cell's border
    most = int((distances <= reach.unsqueeze(1)).sum(1).max())
    return bins[:, :most].contiguous()


def decode(logits: Tensor, temperature: float = 0.38, noise: Tensor | None = None) -> Tensor:
    """Decode ab from a distribution over the bins: the annealed mean (equation 5), or a sample.

    Args:
        logits: (N, bins, h, w).
        temperature: 1 gives the distribution's mean, of low colorfulness; 0 its mode, vivid and
            spotty; values between them a compromise. The paper's is 0.38.
        noise: (N, bins, 1, 1), drawn from a Gumbel distribution: gives, instead of the mean, a
            sample of the distribution sharpened by the temperature. The noise is the same all over
            the photo, so that similar areas get the same color.

    Returns:
        ab (N, 2, h, w).

    Raises:
        ValueError: if the temperature is not from 0 to 1.
    """
    if not 0 <= temperature <= 1:
        raise ValueError(f"temperature must be from 0 (mode) to 1 (mean), got {temperature}")
    centers = bin_centers().to(logits.device)
    logits = logits.float()
    if noise is not None:
        logits = logits + noise * temperature
    if noise is not None or temperature == 0:
        return centers[logits.argmax(1)].permute(0, 3, 1, 2)
    shares = torch.softmax((logits / temperature).movedim(1, -1), dim=-1)  # faster along the last
    return (shares @ centers).movedim(-1, 1)


def entropy(logits: Tensor) -> Tensor:
    """Compute the normalized entropy of each position: logits (N, bins, h, w) to (N, h, w).

    It is in [0, 1]: 0 where one bin has all the probability, 1 where all bins are equally likely.
    """
    log_prob = F.log_softmax(logits.float(), dim=1)
    nats = -(log_prob.exp() * log_prob).sum(1)
    return nats / torch.log(torch.tensor(float(logits.shape[1]), device=logits.device))
