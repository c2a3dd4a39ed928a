"""Colors that stay from frame to frame of a film, as long as the picture does."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from skimage.registration import optical_flow_ilk
from torch import Tensor

from colorize.color.curves import AB_SCALE

_SIDE = 128  # px; the short side at which motion is looked for
_DOUBT = 0.1  # difference of lightness, 5 L*, at which the past is trusted by 1/e
_WINDOW = 9  # px; over which that difference is averaged, so that grain is no doubt
_EXPLAINED = 0.5  # of a frame, by the one before it; below that another shot begins


class TemporalSmoother:
    """Follows the colors of a film's frames, one after the other.

    Each frame's colors are a running mean with those before, along the motion of the picture. Where
    the frame before does not explain a place, because it came into view, the mean begins anew;
    where it explains less than half of the frame, a new shot begins.

    Attributes:
        memory: the largest share of the past in a frame's colors, from 0 to below 1.
        frames, shots: seen so far.
    """

    def __init__(self, memory: float = 0.9):
        """Before the first frame.

        Raises:
            ValueError: if the memory is not from 0 to below 1.
        """
        if not 0 <= memory < 1:
            raise ValueError(f"steadiness must be from 0 to below 1, got {memory}")
        self.memory = memory
        self.frames = self.shots = 0
        self._past: Tensor | None = None  # lightness, colors, steady colors, age: (6, h, w)
        self._flicker = torch.zeros(2)
        self._compared = 0

    def __call__(self, lightness: Tensor, ab: Tensor) -> Tensor:
        """The steady colors of the next frame.

        Args:
            lightness: (1, h, w) in [-1, 1].
            ab: what the network painted, (2, h, w).

        Returns:
            ab (2, h, w).
        """
        self.frames += 1
        steady, age = self._followed(lightness, ab)
        self._past = torch.cat((lightness, ab, steady, age))
        return steady

    @property
    def flicker(self) -> tuple[float, float]:
        """Mean change of color from frame to frame, as painted and steady, in CIELAB units.

        Along the motion, where the frames explain each other; not from shot to shot.
        """
        painted, steady = (self._flicker * (AB_SCALE / max(1, self._compared))).tolist()
        return painted, steady

    def _followed(self, lightness: Tensor, ab: Tensor) -> tuple[Tensor, Tensor]:
        """Steady colors, and over how many frames they are a mean: (1, h, w)."""
        if self._past is not None and self._past.shape[1:] == ab.shape[1:]:
            past, is_inside = _carried(self._past, optical_flow(self._past[:1], lightness))
            before, painted, steady, age = past.split((1, 2, 2, 1))
            trust = _trust(lightness - before) * is_inside
            if trust.mean() >= _EXPLAINED:
                share = trust * (age / (age + 1)).clamp(max=self.memory)
                mixed = torch.lerp(ab, steady, share)
                changes = torch.stack([(ab - painted).norm(dim=0), (mixed - steady).norm(dim=0)])
                self._flicker += (changes * trust).mean((1, 2)) / trust.mean()
                self._compared += 1
                return mixed, trust * age + 1
        self.shots += 1
        return ab, torch.ones_like(lightness)


def optical_flow(past: Tensor, now: Tensor) -> Tensor:
    """Where each place of a frame was in the frame before.

    By iterative Lucas and Kanade (Le Besnerais, Champagnat 2005), of scikit-image.

    Args:
        past: lightness (1, h, w).
        now: lightness (1, h, w).

    Returns:
        How far down and to the right it was, in pixels: (2, h, w).
    """
    sides = now.shape[1:]
    small = [math.ceil(side * min(1, _SIDE / min(sides))) for side in sides]
    frames = F.interpolate(torch.stack((now, past)), small, mode="area").squeeze(1).numpy()
    flow = np.stack(optical_flow_ilk(*frames, dtype=np.float32))
    flow = F.interpolate(torch.from_numpy(flow).unsqueeze(0), sides, mode="bilinear")[0]
    return flow * (torch.tensor(sides) / torch.tensor(small)).view(2, 1, 1)


def _carried(past: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
    """What was (C, h, w), moved to where it is now; and (1, h, w) where it was in view."""
    height, width = flow.shape[1:]
    y = torch.arange(height).view(-1, 1) + flow[0]
    x = torch.arange(width) + flow[1]
    # From -1 to 1 between the centers of the outermost pixels.
    grid = torch.stack((x * (2 / max(1, width - 1)) - 1, y * (2 / max(1, height - 1)) - 1), dim=-1)
    moved = F.grid_sample(
        past.unsqueeze(0), grid.unsqueeze(0), padding_mode="border", align_corners=True
    )
    is_inside = (y > -1) & (y < height) & (x > -1) & (x < width)
    return moved[0], is_inside.unsqueeze(0)


def _trust(change: Tensor) -> Tensor:
    """How far (1, h, w), from 0 to 1, a change of lightness leaves a place the same.

    A change of the whole picture, as where an old film flickers, is none.
    """
    change = (change - change.median()).abs().unsqueeze(0)
    around = F.avg_pool2d(change, _WINDOW, 1, _WINDOW // 2, count_include_pad=False)[0]
    return torch.exp(-((around / _DOUBT) ** 2))
