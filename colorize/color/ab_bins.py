"""Color classes: the bins of the a*b* plane, encoding of colors and decoding of distributions.

Zhang, Isola, Efros: Colorful Image Colorization, ECCV 2016, section 2.
"""

import functools

import torch
import torch.nn.functional as F
from torch import Tensor

from colorize.color.curves import AB_SCALE
from colorize.color.lab import rgb_to_lab

GRID = 10  # side of a bin, in CIELAB units
NEIGHBORS = 5  # bins among which a color is distributed
SIGMA = 5.0  # of the Gaussian of the soft encoding and of the prior's smoothing


@functools.cache
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
    cells = []
    for face in range(3):
        axes = [ends if axis == face else values for axis in range(3)]
        rgb = torch.stack(torch.meshgrid(*axes, indexing="ij")).flatten(1).unsqueeze(-1)
        cells.append((rgb_to_lab(rgb)[1].squeeze(-1) * (AB_SCALE / GRID)).round())
    return torch.cat(cells, dim=1).unique(dim=1).T * (GRID / AB_SCALE)


def soft_encode(ab: Tensor) -> tuple[Tensor, Tensor]:
    """Distribute each color among its nearest bins, by a Gaussian of the distance (section 2.1).

    Args:
        ab: (N, 2, H, W), as ab / 110.

    Returns:
        The indices of the 5 nearest bins (N, 5, H, W), nearest first, and their shares, of the same
        shape, which add up to 1. (The paper says 5; its Caffe code uses 10.)
    """
    centers = bin_centers().to(ab.device)
    colors = ab.float().permute(0, 2, 3, 1)
    # From differences: the faster matrix product is too inexact for a Gaussian of 5.
    exact = "donot_use_mm_for_euclid_dist"
    distances = torch.cdist(colors.flatten(0, 2), centers, compute_mode=exact)
    nearest, bins = distances.topk(NEIGHBORS, largest=False, sorted=True)
    # Relative to the nearest, so that a color far outside all bins does not underflow.
    square = (nearest * AB_SCALE).square()
    shares = torch.softmax(-square / (2 * SIGMA**2), dim=-1)
    shape = (*colors.shape[:3], NEIGHBORS)
    return bins.view(shape).permute(0, 3, 1, 2), shares.view(shape).permute(0, 3, 1, 2)


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
