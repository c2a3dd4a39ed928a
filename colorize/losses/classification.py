"""Classification over ab bins: class rebalancing and its cross-entropy.

Zhang, Isola, Efros: Colorful Image Colorization, ECCV 2016, section 2.2.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from colorize.color.ab_bins import SIGMA, bin_centers, soft_encode
from colorize.color.curves import AB_SCALE

LAMBDA = 0.5  # share of the uniform distribution in the mixture with the prior


def count_bins(ab: Tensor) -> Tensor:
    """Count the pixels of ab (N, 2, H, W) in each bin, softly: (bins,) in float64."""
    bins, shares = soft_encode(ab)
    counts = torch.zeros(len(bin_centers()), dtype=torch.float64, device=ab.device)
    return counts.index_add_(0, bins.flatten(), shares.flatten().double())


def rebalancing_weights(counts: Tensor) -> Tensor:
    """Compute the weights of the bins in the loss, larger for rare colors (equation 4).

    The prior, smoothed over the plane by a Gaussian of 5, is mixed with the uniform distribution;
    the weights are the inverse of that, with mean 1 under the prior.

    Args:
        counts: (bins,), of the training photos, by `count_bins`.

    Returns:
        (bins,) in float32.

    Raises:
        ValueError: if all counts are 0.
    """
    if not counts.sum() > 0:
        raise ValueError("no colors were counted: there are no training photos")
    centers = bin_centers().to(counts.device).double() * AB_SCALE
    kernel = torch.exp(-torch.cdist(centers, centers).square() / (2 * SIGMA**2))
    prior = kernel @ (counts / counts.sum() / kernel.sum(0))  # each bin keeps its total
    weights = 1 / ((1 - LAMBDA) * prior + LAMBDA / len(prior))
    return (weights / (prior * weights).sum()).float()


def rebalanced_cross_entropy(logits: Tensor, target_ab: Tensor, class_weights: Tensor) -> Tensor:
    """Compute the loss of Colorful Image Colorization (equation 2), as a mean over the pixels.

    Args:
        logits: (N, bins, h, w).
        target_ab: (N, 2, H, W), of the logits' size or larger; it is averaged down.
        class_weights: (bins,), by `rebalancing_weights`; a pixel has that of its nearest bin.

    Returns:
        A scalar.
    """
    bins, shares = soft_encode(downsample_ab(target_ab, (logits.shape[-2], logits.shape[-1])))
    # Bins last, as channels-last networks have them in memory: nothing is copied.
    bins, shares = bins.movedim(1, -1), shares.movedim(1, -1)
    log_prob = F.log_softmax(logits.float().movedim(1, -1), dim=-1).gather(-1, bins)
    return -(class_weights[bins[..., 0]] * (shares * log_prob).sum(-1)).mean()


def downsample_ab(ab: Tensor, size: tuple[int, int]) -> Tensor:
    """Average ab (N, 2, H, W) over the cells of a coarser grid of `size` (h, w)."""
    return F.adaptive_avg_pool2d(ab, size)
