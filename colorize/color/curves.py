"""Constants and transfer curves of sRGB and CIELAB, element by element in float32."""

import functools
from collections.abc import Callable, Sequence
from typing import ParamSpec, cast

import torch
from torch import Tensor

L_SCALE = 50.0  # lightness = L* / 50 - 1 lies in [-1, 1]
AB_SCALE = 110.0  # ab = a*b* / 110; over all sRGB colors a* and b* lie in [-107.9, 98.3]

# sRGB (IEC 61966-2-1) and CIE 15, rounded as in scikit-image.
_XYZ_FROM_RGB = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)
_RGB_FROM_XYZ = torch.linalg.inv(torch.tensor(_XYZ_FROM_RGB, dtype=torch.float64)).tolist()
_WHITE = (0.95047, 1.0, 1.08883)
RELATIVE_XYZ_FROM_RGB = tuple(
    tuple(weight / white for weight in row)
    for row, white in zip(_XYZ_FROM_RGB, _WHITE, strict=True)
)
_LARGEST = 1.001  # of floating RGB: rounding may exceed 1
_GAMMA_KNEE = 0.04045
_LINEAR_KNEE = 0.0031308
_T_KNEE = 0.008856
_F_KNEE = 0.2068966


P = ParamSpec("P")


def cached_table(compute: Callable[P, Tensor]) -> Callable[P, Tensor]:
    """Cache the results of a function, computed outside of the caller's modes and default device.

    A tensor that is made in inference mode could never take part in training.
    """

    @functools.wraps(compute)
    def plain(*args: P.args, **kwargs: P.kwargs) -> Tensor:
        with torch.inference_mode(False), torch.no_grad(), torch.device("cpu"):
            return compute(*args, **kwargs)

    return cast(Callable[P, Tensor], functools.cache(plain))


def to_linear_light(rgb: Tensor) -> Tensor:
    """Convert sRGB, uint8 or floating in [0, 1], to linear light of the same shape."""
    if rgb.dtype == torch.uint8:
        return linear_light_of_uint8(rgb)
    if rgb.is_floating_point():
        _check_range(rgb)
        return to_linear(rgb.float())
    raise ValueError(f"rgb must be uint8 or floating in [0, 1], got {rgb.dtype}")


def _check_range(rgb: Tensor) -> None:
    if torch.compiler.is_compiling() or rgb.is_meta or not rgb.numel():
        return
    if rgb.requires_grad:  # a prediction in training may exceed the range
        return
    largest = rgb.detach().amax().item()
    if not largest <= _LARGEST:
        raise ValueError(
            f"floating rgb must be in [0, 1], got {largest:g}: divide by the value of white, or "
            "convert to uint8"
        )


def to_uint8(rgb: Tensor) -> Tensor:
    """Round floating RGB in [0, 1] to uint8, so that 8-bit colors survive a round trip to LAB."""
    return (rgb * 255).round().clamp(0, 255).to(torch.uint8)


@cached_table
def gamma_table(device: torch.device) -> Tensor:
    """Return the linear light of the 256 8-bit values: a look-up is exact and cheap."""
    return to_linear(torch.arange(256, dtype=torch.float64) / 255).float().to(device)


@cached_table
def gamma_levels(device: torch.device) -> Tensor:
    """Return the 8-bit values of 65,536 levels of linear light, at most a twentieth apart.

    Indices are truncated, so each entry holds the value of its bin's center.
    """
    return to_uint8(to_gamma((torch.arange(65536) + 0.5) / 65535)).to(device)


def linear_light_of_uint8(rgb: Tensor) -> Tensor:
    """Convert uint8 sRGB to linear light of the same shape."""
    return take(gamma_table(rgb.device), rgb)


def take(table: Tensor, index: Tensor) -> Tensor:
    """Look up entries of a table by an index, uint8 or int32; returns the index's shape."""
    if index.device.type == "cpu":  # numpy takes a third of torch's time
        return torch.from_numpy(table.numpy().take(index.numpy(), mode="clip"))
    return table.index_select(0, index.flatten().int()).view(index.shape)


def weighted_sum(channels: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Sum channels with weights; a matrix product may have less than float32's precision."""
    first, second, third = channels
    total = (first * weights[0]).add_(second, alpha=weights[1])
    return total.add_(third, alpha=weights[2])


def _power(v: Tensor, exponent: float) -> Tensor:
    """Raise v > 0 to an exponent, in a third of torch.pow's time and as exact on these values."""
    return torch.log2(v).mul_(exponent).exp2_()


# Each of these curves is a power above a knee and a straight line below it, and the two meet at the
# knee within 1e-7. So the curve is the power of the part above plus the line of the part below: no
# branch is computed in vain, and no slope is infinite or NaN, not even at black.
def to_linear(v: Tensor) -> Tensor:
    """Convert sRGB in [0, 1] to linear light."""
    power = _power((v.clamp(min=_GAMMA_KNEE) + 0.055) / 1.055, 2.4)
    return power + (v.clamp(max=_GAMMA_KNEE) - _GAMMA_KNEE) / 12.92


def to_gamma(v: Tensor) -> Tensor:
    """Convert linear light to sRGB in [0, 1]."""
    power = _power(v.clamp(min=_LINEAR_KNEE), 1 / 2.4)
    line = v.clamp(max=_LINEAR_KNEE) - _LINEAR_KNEE
    return torch.add(power * 1.055 - 0.055, line, alpha=12.92)


def lab_f(t: Tensor) -> Tensor:
    """Compute f(t) of CIE 15, equation 8.6: the cube root, with a straight line near black."""
    line = t.clamp(max=_T_KNEE).sub_(_T_KNEE)
    return torch.add(_power(t.clamp(min=_T_KNEE), 1 / 3), line, alpha=7.787)


def lab_f_inverse(f: Tensor) -> Tensor:
    """Invert `lab_f`."""
    return torch.where(f > _F_KNEE, f * f * f, (f - 16 / 116) / 7.787)


def linear_rgb(fy: Tensor, dx: Tensor, dz: Tensor) -> tuple[Tensor, ...]:
    """Compute linear R, G and B from f(Y) and the differences f(X) - f(Y) and f(Y) - f(Z)."""
    x = lab_f_inverse(fy + dx) * _WHITE[0]
    y = lab_f_inverse(fy) * _WHITE[1]
    z = lab_f_inverse((fy - dz).clamp(min=0)) * _WHITE[2]  # clamped before, as in scikit-image
    return tuple(weighted_sum((x, y, z), row) for row in _RGB_FROM_XYZ)
