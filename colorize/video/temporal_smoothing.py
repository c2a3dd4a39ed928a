"""Temporal smoothing of predicted colors along the optical flow of a video."""

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from colorize.color.curves import AB_SCALE, to_uint8

if TYPE_CHECKING:
    import cv2

_TOLERANCE = 0.1  # difference in lightness (5 L*) at which the confidence has fallen to 1/e
_WINDOW = 9  # px; the difference is averaged over it, so that grain does not count
_SAME_SHOT = 0.5  # mean confidence below which a new shot begins
_EXPLAINED = 0.9  # mean confidence below which a frame needs a prediction of its own
_FILL_BLOCK = 24  # px; what came into view takes the mean color of blocks of this size


class TemporalSmoother:
    """Smooth the colors of consecutive frames.

    Each frame's ab is a running mean over the previous frames, warped along the optical flow. Where
    the previous frame does not explain the current one (a disocclusion), the mean restarts; where
    it explains less than half of the frame, a new shot begins. A frame that is explained nearly
    everywhere needs no prediction, see `propagate`.

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
        # The previous frame warped to the next one, and the confidence in it.
        self._match: tuple[Tensor, Tensor] | None = None
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
        self._match = None
        return smoothed

    def propagate(self, lightness: Tensor) -> Tensor | None:
        """Carry the colors of the previous frame to the next one, along the optical flow.

        Small regions that have come into view take the mean color around them.

        Args:
            lightness: (1, h, w) in [-1, 1].

        Returns:
            The ab of the frame, (2, h, w); None if the previous frame explains too little of it:
            then predict it, and call the smoother with the prediction.
        """
        self._match = self._matched(lightness)
        if self._match is None:
            return None
        warped, confidence = self._match
        if confidence.mean() < _EXPLAINED:
            return None
        _, pred_ab, smoothed, count = warped.split((1, 2, 2, 1))
        smoothed = _fill(smoothed, confidence)
        self._previous = torch.cat((lightness, pred_ab, smoothed, confidence * count))
        self._match = None
        self._compared += 1
        self.frames += 1
        return smoothed

    def state(self) -> dict[str, Any]:
        """Return what is needed to go on with the next frame."""
        return {
            "frames": self.frames,
            "shots": self.shots,
            "previous": self._previous,
            "flicker": self._flicker.clone(),
            "compared": self._compared,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on after the frame at which `state` was called."""
        self.frames, self.shots = state["frames"], state["shots"]
        self._previous, self._match = state["previous"], None
        self._flicker, self._compared = state["flicker"].clone(), state["compared"]

    @property
    def flicker(self) -> tuple[float, float]:
        """Mean color change from frame to frame before and after smoothing, in CIELAB units.

        Measured along the optical flow, where consecutive frames explain each other, and never
        across a cut. Colors that were propagated count as unchanged.
        """
        before, after = (self._flicker * (AB_SCALE / max(1, self._compared))).tolist()
        return before, after

    def _smooth(self, lightness: Tensor, pred_ab: Tensor) -> tuple[Tensor, Tensor]:
        """Return the smoothed ab and the number of frames in each mean, (1, h, w)."""
        match = self._match or self._matched(lightness)
        if match is not None:
            warped, confidence = match
            _, prev_ab, prev_smoothed, count = warped.split((1, 2, 2, 1))
            if confidence.mean() >= _SAME_SHOT:
                weight = confidence * (count / (count + 1)).clamp(max=self.momentum)
                smoothed = torch.lerp(pred_ab, prev_smoothed, weight)
                self._measure_flicker(pred_ab - prev_ab, smoothed - prev_smoothed, confidence)
                return smoothed, confidence * count + 1
        self.shots += 1
        return pred_ab, torch.ones_like(lightness)

    def _matched(self, lightness: Tensor) -> tuple[Tensor, Tensor] | None:
        """Return the previous frame, warped, and the confidence in it, (1, h, w)."""
        if self._previous is None or self._previous.shape[1:] != lightness.shape[1:]:
            return None
        warped, is_inside = _warp(self._previous, optical_flow(self._previous[:1], lightness))
        return warped, _confidence(lightness - warped[:1]) * is_inside

    def _measure_flicker(self, before: Tensor, after: Tensor, confidence: Tensor) -> None:
        changes = torch.stack([before.norm(dim=0), after.norm(dim=0)])
        self._flicker += (changes * confidence).mean((1, 2)) / confidence.mean()
        self._compared += 1


def optical_flow(previous: Tensor, current: Tensor) -> Tensor:
    """Estimate where each pixel of a frame was in the previous frame.

    Dense inverse search (Kroeger et al., 2016), as in OpenCV.

    Args:
        previous: lightness (1, h, w).
        current: lightness (1, h, w).

    Returns:
        Displacement down and to the right in pixels, (2, h, w).
    """
    now, before = (to_uint8((frame[0] + 1) / 2).numpy() for frame in (current, previous))
    flow = np.zeros((*now.shape, 2), np.float32)  # to the right and down
    flow = _flow_estimator().calc(now, before, flow)
    return torch.from_numpy(np.asarray(flow)).permute(2, 0, 1).flip(0)


@functools.cache
def _flow_estimator() -> "cv2.DISOpticalFlow":
    try:
        import cv2
    except ImportError as error:
        raise ImportError(
            "videos need the package opencv-python-headless: pip install 'colorize-photos[video]'"
        ) from error
    return cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)


def _fill(ab: Tensor, confidence: Tensor) -> Tensor:
    """Replace colors (2, h, w) of little confidence (1, h, w) by the mean of those around them."""
    weighted = torch.cat((ab * confidence, confidence)).unsqueeze(0)
    blocks = F.avg_pool2d(weighted, _FILL_BLOCK, ceil_mode=True)
    blocks = blocks + 0.01 * weighted.mean((2, 3), keepdim=True)  # where a block has no color
    means = F.interpolate(blocks, ab.shape[1:], mode="bilinear")[0]
    return torch.lerp(means[:2] / means[2:], ab, confidence)


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
