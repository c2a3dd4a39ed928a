"""The gamut of sRGB: by how much a color's chroma must shrink to fit, exactly and by a table."""

import torch
from torch import Tensor

from colorize.color.curves import AB_SCALE, L_SCALE, cached_table, linear_rgb, take

# A neutral color of these constants overshoots 1 by up to 7e-5 in linear light (the rounded white
# is not exactly the sum of the matrix rows); it counts as inside.
_GAMUT_TOLERANCE = 1e-4
_GAMUT_STEPS = 16  # of the bisection: the chroma is exact to 1 part in 65,536


@torch.no_grad()
def chroma_factor(fy: Tensor, dx: Tensor, dz: Tensor) -> Tensor:
    """Compute by bisection the largest factor of the chroma with which each color is in sRGB.

    It is a constant for the gradient.

    Args:
        fy: f(Y) of the colors, as `linear_rgb` takes it; any shape.
        dx: f(X) - f(Y).
        dz: f(Y) - f(Z).

    Returns:
        Factors in [0, 1], of the same shape; 1 for the colors inside.
    """
    scale = torch.ones_like(dx)
    outside = ~is_in_gamut(fy, dx, dz)
    if outside.any():
        fy, dx, dz = fy[outside], dx[outside], dz[outside]
        low, high = torch.zeros_like(dx), torch.ones_like(dx)
        for _ in range(_GAMUT_STEPS):
            middle = (low + high) / 2
            inside = is_in_gamut(fy, dx * middle, dz * middle)
            low, high = torch.where(inside, middle, low), torch.where(inside, high, middle)
        scale[outside] = low
    return scale


_LEVELS, _ANGLES = 512, 1024  # cells of the table, by lightness and by direction


@cached_table
def _gamut_table(device: torch.device) -> Tensor:
    """Tabulate the largest |a| + |b| inside sRGB, as ab / 110, for each lightness and direction.

    A direction is b / (|a| + |b|), continued from 1 to 3 where a is negative: it grows with the hue
    and needs no arc tangent. A cell holds the smallest value of its four corners.
    """
    fy = ((torch.linspace(-1, 1, _LEVELS + 1) * L_SCALE + L_SCALE + 16) / 116).unsqueeze(1)
    angle = torch.linspace(-1, 3, _ANGLES + 1)
    b = torch.where(angle <= 1, angle, 2 - angle)
    a = torch.where(angle <= 1, 1 - b.abs(), b.abs() - 1)
    dx, dz = a * AB_SCALE / 500, b * AB_SCALE / 200
    # Some levels at a time stay in the processor's cache, which halves the time.
    reach = torch.cat([_reach(levels, dx, dz) for levels in fy.split(64)])
    rows = torch.minimum(reach[1:], reach[:-1])
    return torch.minimum(rows[:, 1:], rows[:, :-1]).flatten().to(device)


def _reach(fy: Tensor, dx: Tensor, dz: Tensor) -> Tensor:
    """Compute by bisection the largest multiple of (dx, dz) in [0, 2] that is inside sRGB.

    Args:
        fy: (levels, 1).
        dx: (directions,).
        dz: (directions,).

    Returns:
        (levels, directions).
    """
    reach, step = torch.zeros(len(fy), len(dx)), 1.0
    for _ in range(_GAMUT_STEPS):
        larger = reach + step
        reach = torch.where(is_in_gamut(fy, dx * larger, dz * larger), larger, reach)
        step /= 2
    return reach


@torch.no_grad()
def chroma_factor_by_table(lightness: Tensor, ab: Tensor) -> Tensor:
    """Look up the factor of `chroma_factor`, or a slightly smaller one, in a table.

    Args:
        lightness: (..., 1, H, W) in [-1, 1].
        ab: (..., 2, H, W), as a*b* / 110.

    Returns:
        Factors in [0, 1], (..., H, W).
    """
    a, b = ab.float().unbind(-3)
    radius = a.abs().add_(b.abs()).clamp_(min=1e-9)
    angle = b / radius
    angle = torch.where(a < 0, 2 - angle, angle).add_(1).mul_(_ANGLES / 4)
    level = lightness.squeeze(-3).float().add(1).mul_(_LEVELS / 2).int().clamp_(0, _LEVELS - 1)
    cell = level.mul_(_ANGLES).add_(angle.int().clamp_(max=_ANGLES - 1))
    return take(_gamut_table(ab.device), cell).div_(radius).clamp_(max=1)


def is_in_gamut(fy: Tensor, dx: Tensor, dz: Tensor) -> Tensor:
    """Whether sRGB has each color, within the rounding of float32; arguments of `linear_rgb`."""
    r, g, b = linear_rgb(fy, dx, dz)
    low = torch.minimum(torch.minimum(r, g), b)
    high = torch.maximum(torch.maximum(r, g), b)
    # Below 0 only float32 noise is tolerated: near black, 1e-4 would be 0.09 L*.
    noise = (high * 2e-6).clamp(min=1e-7)
    return (low >= -noise) & (high <= 1 + _GAMUT_TOLERANCE)
