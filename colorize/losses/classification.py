"""Classification over ab bins: class rebalancing and its cross-entropy.

Zhang, Isola, Efros: Colorful Image Colorization, ECCV 2016, section 2.2.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from colorize.color.ab_bins import SIGMA, bin_centers, soft_encode
from colorize.color.curves import AB_SCALE

LAMBDA = 0.5  # how much of the uniform distribution is mixed into the prior


def count_bins(ab: Tensor) -> Tensor:
    """How much color of (N, 2, H, W) fell into each bin, softly: (bins,) in float64."""
    bins, weights = soft_encode(ab)
    counts = torch.zeros(len(bin_centers()), dtype=torch.float64, device=ab.device)
    return counts.index_add_(0, bins.flatten(), weights.flatten().double())


def rebalancing_weights(counts: Tensor) -> Tensor:
    """How much a color's rarity makes it count (equation 4): (bins,) in float32.

    The prior, smoothed over the plane by a Gaussian of 5, is mixed with the uniform distribution;
    the weights are one over that, with the mean 1 under the prior.

    Args:
        counts: of the training photos, by `count_bins`.

    Raises:
        ValueError: if nothing was counted.
    """
    if not counts.sum() > 0:
        raise ValueError("no colors were counted: there are no training photos to weigh them by")
    centers = bin_centers().to(counts.device).double() * AB_SCALE
    kernel = torch.exp(-torch.cdist(centers, centers).square() / (2 * SIGMA**2))
    prior = kernel @ (counts / counts.sum() / kernel.sum(0))  # each bin hands out all it has
    weights = 1 / ((1 - LAMBDA) * prior + LAMBDA / len(prior))
    return (weights / (prior * weights).sum()).float()


def rebalanced_cross_entropy(logits: Tensor, ab: Tensor, weights: Tensor) -> Tensor:
    """The loss of Colorful Image Colorization (equation 2), as a mean over the pixels.

    Args:
        logits: (N, bins, h, w).
        ab: the truth (N, 2, H, W), of the logits' size or larger; it is averaged down.
        weights: (bins,), by `rebalancing_weights`; a pixel counts by that of its nearest bin.
    """
    bins, shares = soft_encode(downsample_ab(ab, logits.shape[-2:]))
    likelihood = F.log_softmax(logits.float(), dim=1).gather(1, bins)
    return -(weights[bins[:, 0]] * (shares * likelihood).sum(1)).mean()


def downsample_ab(ab: Tensor, size: tuple[int, int]) -> Tensor:
    """The mean ab of each cell of a coarser grid."""
    return F.adaptive_avg_pool2d(ab, size)
