"""Temporal smoothing of predicted colors along the optical flow of a video."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from skimage.registration import optical_flow_ilk
from torch import Tensor

from colorize.color.curves import AB_SCALE

_FLOW_SIDE = 128  # px; the short side at which optical flow is estimated
_TOLERANCE = 0.1  # difference in lightness (5 L*) at which the confidence has fallen to 1/e
_WINDOW = 9  # px; the difference is averaged over it, so that grain does not count
_SAME_SHOT = 0.5  # mean confidence below which a new shot begins


class TemporalSmoother:
    """Smooth the colors of consecutive frames.

    Each frame's ab is a running mean over the previous frames, warped along the optical flow. Where
    the previous frame does not explain the current one (a disocclusion), the mean restarts; where
    it explains less than half of the frame, a new shot begins.

    Attributes:
        momentum: largest weight of the past in a frame's colors, in [0, 1).
        frames, shots: number of frames and shots processed so far.
    """

    def __init__(self, momentum: float = 0.9):
        """Start before the first frame.

        Args:
            momentum: largest weight of the past, in [0, 1); 0 leaves every frame as predicted.

        Raises:
            ValueError: if the momentum is out of range.
        """
        if not 0 <= momentum < 1:
            raise ValueError(f"temporal smoothing must be from 0 to below 1, got {momentum}")
        self.momentum = momentum
        self.frames = self.shots = 0
        # The previous frame: lightness, predicted ab, smoothed ab, frames averaged; (6, h, w).
        self._previous: Tensor | None = None
        self._flicker = torch.zeros(2)
        self._compared = 0

    def __call__(self, lightness: Tensor, pred_ab: Tensor) -> Tensor:
        """Smooth the colors of the next frame.

        Args:
            lightness: (1, h, w) in [-1, 1].
            pred_ab: the network's prediction, (2, h, w).

        Returns:
            Smoothed ab, (2, h, w).
        """
        self.frames += 1
        smoothed, count = self._smooth(lightness, pred_ab)
        self._previous = torch.cat((lightness, pred_ab, smoothed, count))
        return smoothed

    @property
    def flicker(self) -> tuple[float, float]:
        """Mean color change from frame to frame before and after smoothing, in CIELAB units.

        Measured along the optical flow, where consecutive frames explain each other, and never
        across a cut.
        """
        before, after = (self._flicker * (AB_SCALE / max(1, self._compared))).tolist()
        return before, after

    def _smooth(self, lightness: Tensor, pred_ab: Tensor) -> tuple[Tensor, Tensor]:
        """Return the smoothed ab and the number of frames in each mean, (1, h, w)."""
        if self._previous is not None and self._previous.shape[1:] == pred_ab.shape[1:]:
            flow = optical_flow(self._previous[:1], lightness)
            warped, is_inside = _warp(self._previous, flow)
            prev_lightness, prev_ab, prev_smoothed, count = warped.split((1, 2, 2, 1))
            confidence = _confidence(lightness - prev_lightness) * is_inside
            if confidence.mean() >= _SAME_SHOT:
                weight = confidence * (count / (count + 1)).clamp(max=self.momentum)
                smoothed = torch.lerp(pred_ab, prev_smoothed, weight)
                self._measure_flicker(pred_ab - prev_ab, smoothed - prev_smoothed, confidence)
                return smoothed, confidence * count + 1
        self.shots += 1
        return pred_ab, torch.ones_like(lightness)

    def _measure_flicker(self, before: Tensor, after: Tensor, confidence: Tensor) -> None:
        changes = torch.stack([before.norm(dim=0), after.norm(dim=0)])
        self._flicker += (changes * confidence).mean((1, 2)) / confidence.mean()
        self._compared += 1


def optical_flow(previous: Tensor, current: Tensor) -> Tensor:
    """Estimate where each pixel of a frame was in the previous frame.

    Iterative Lucas-Kanade (Le Besnerais and Champagnat 2005), as in scikit-image.

    Args:
        previous: lightness (1, h, w).
        current: lightness (1, h, w).

    Returns:
        Displacement down and to the right in pixels, (2, h, w).
    """
    size = current.shape[1:]
    small = [math.ceil(side * min(1, _FLOW_SIDE / min(size))) for side in size]
    frames = F.interpolate(torch.stack((current, previous)), small, mode="area").squeeze(1).numpy()
    small_flow = np.stack(optical_flow_ilk(*frames, dtype=np.float32))
    flow = F.interpolate(torch.from_numpy(small_flow).unsqueeze(0), size, mode="bilinear")[0]
    return flow * (torch.tensor(size) / torch.tensor(small)).view(2, 1, 1)


def _warp(previous: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
    """Warp (C, h, w) to the current frame; also return where it was in view, (1, h, w)."""
    height, width = flow.shape[1:]
    y = torch.arange(height).view(-1, 1) + flow[0]
    x = torch.arange(width) + flow[1]
    # From -1 to 1 between the centers of the outermost pixels.
    grid = torch.stack((x * (2 / max(1, width - 1)) - 1, y * (2 / max(1, height - 1)) - 1), dim=-1)
    warped = F.grid_sample(
        previous.unsqueeze(0), grid.unsqueeze(0), padding_mode="border", align_corners=True
    )
    is_inside = (y > -1) & (y < height) & (x > -1) & (x < width)
    return warped[0], is_inside.unsqueeze(0)


def _confidence(change: Tensor) -> Tensor:
    """Turn a change in lightness, (1, h, w), into the confidence in [0, 1] that nothing changed.

    A change of the whole frame, such as the flicker of old footage, does not count.
    """
    local = (change - change.median()).abs().unsqueeze(0)
    mean = F.avg_pool2d(local, _WINDOW, 1, _WINDOW // 2, count_include_pad=False)[0]
    return torch.exp(-((mean / _TOLERANCE) ** 2))
