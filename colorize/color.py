"""The one module that knows LAB: sRGB photos to (lightness, ab) and back.

CIELAB for the D65 white and the 2 degree observer with the constants of scikit-image, whose
float64 functions are the reference of the tests. All arithmetic is element-wise float32 on the
tensor's device, also under autocast: in bfloat16 the colors would be off by up to 4 dE.
"""

import functools
from collections.abc import Sequence

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
_RELATIVE_XYZ_FROM_RGB = tuple(
    tuple(weight / white for weight in row)
    for row, white in zip(_XYZ_FROM_RGB, _WHITE, strict=True)
)
_GAMMA_KNEE = 0.04045
_LINEAR_KNEE = 0.0031308
_T_KNEE = 0.008856
_F_KNEE = 0.2068966

# A neutral color of these constants overshoots 1 by up to 7e-5 in linear light (the rounded
# white is not exactly the sum of the matrix rows); it counts as existing.
_GAMUT_TOLERANCE = 1e-4
_GAMUT_STEPS = 16  # halvings of the chroma's interval: it is found to 1 part in 65,536


def rgb_to_lab(rgb: Tensor) -> tuple[Tensor, Tensor]:
    """Split RGB photos into the networks' input and their target.

    Args:
        rgb: sRGB, shape (..., 3, H, W); uint8, or floating in [0, 1].

    Returns:
        Lightness (..., 1, H, W) as L*/50 - 1 and ab (..., 2, H, W) as a*b*/110, float32.

    Raises:
        ValueError: if the third dimension from the end is not 3, or the dtype is another.

    Example:
        >>> lightness, ab = rgb_to_lab(torch.tensor([255, 0, 0], dtype=torch.uint8).view(3, 1, 1))
        >>> print(f"{lightness.item() * 50 + 50:.1f}", (ab.flatten() * 110).round().tolist())
        53.2 [80.0, 67.0]
    """
    _check_channels(rgb, 3, "rgb")
    if rgb.dim() > 3 and rgb.dtype == torch.uint8 and rgb.device.type == "cpu":
        return _one_by_one(rgb)
    channels = _linear(rgb).unbind(-3)
    fx, fy, fz = (_f(_weighted(channels, row)) for row in _RELATIVE_XYZ_FROM_RGB)
    lightness = fy * (116 / L_SCALE) - (16 / L_SCALE + 1)
    ab = torch.stack(((fx - fy) * (500 / AB_SCALE), (fy - fz) * (200 / AB_SCALE)), dim=-3)
    return lightness.unsqueeze(-3), ab


def rgb_to_lightness(rgb: Tensor) -> Tensor:
    """The lightness of `rgb_to_lab` alone, in a fraction of its time.

    Args:
        rgb: sRGB (..., 3, H, W); uint8, or floating in [0, 1].

    Returns:
        (..., 1, H, W) as L*/50 - 1, float32.
    """
    _check_channels(rgb, 3, "rgb")
    f = _f(_weighted(_linear(rgb).unbind(-3), _RELATIVE_XYZ_FROM_RGB[1]))
    return (f * (116 / L_SCALE) - (16 / L_SCALE + 1)).unsqueeze(-3)


def grey_to_lightness(grey: Tensor) -> Tensor:
    """The lightness in [-1, 1] of 8-bit grey values of any shape: that of `rgb_to_lab`."""
    return _taken(_grey_table(grey.device), grey)


@functools.cache
def _grey_table(device: torch.device) -> Tensor:
    greys = torch.arange(256, dtype=torch.uint8).expand(3, 1, -1)
    return rgb_to_lab(greys)[0].flatten().to(device)


def _linear(rgb: Tensor) -> Tensor:
    """Linear light of 8-bit or floating colors."""
    if rgb.dtype == torch.uint8:
        return _look_up(rgb)
    if rgb.is_floating_point():
        return _to_linear(rgb.float())
    raise ValueError(f"rgb must be uint8 or floating in [0, 1], got {rgb.dtype}")


def _one_by_one(rgb: Tensor) -> tuple[Tensor, Tensor]:
    """`rgb_to_lab` of a batch on the CPU: a photo at a time stays in the cache."""
    *leading, _, height, width = rgb.shape
    lightness = torch.empty(*leading, 1, height, width)
    ab = torch.empty(*leading, 2, height, width)
    for photo, *lab in zip(
        rgb.flatten(0, -4), lightness.flatten(0, -4), ab.flatten(0, -4), strict=True
    ):
        for out, channels in zip(lab, rgb_to_lab(photo), strict=True):
            out.copy_(channels)
    return lightness, ab


def lab_to_rgb(lightness: Tensor, ab: Tensor, gamut: str = "chroma") -> Tensor:
    """Join lightness and ab into RGB photos.

    Not every (L*, a*, b*) is a color that sRGB has, and painted ones often are not.

    Args:
        lightness: L*/50 - 1 in [-1, 1], shape (..., 1, H, W); values outside are clamped.
        ab: a*b*/110, shape (..., 2, H, W).
        gamut: what becomes of a color outside sRGB. "chroma" reduces its chroma at constant L*
            and hue until the color exists, so that the lightness stays the photo's (within
            0.01 L*); "table" does so by a table, in a fraction of the time: colors near the border
            lose some chroma too (0.1 CIELAB units in the mean, below 1 for 99 of 100 colors), the
            lightness stays within 0.2 L*; "clip" cuts each channel at 0 and 1, which shifts hue
            and lightness.

    Returns:
        sRGB (..., 3, H, W), float32 in [0, 1]; `to_uint8` rounds it.

    Raises:
        ValueError: if the channels are not 1 and 2, or `gamut` is another word.

    Example:
        >>> grey = lab_to_rgb(torch.zeros(1, 1, 1), torch.zeros(2, 1, 1))  # L* = 50
        >>> to_uint8(grey).flatten().tolist()
        [119, 119, 119]
    """
    _check_channels(lightness, 1, "lightness")
    _check_channels(ab, 2, "ab")
    if gamut not in ("chroma", "table", "clip"):
        raise ValueError(f'gamut must be "chroma", "table" or "clip", got {gamut!r}')
    if gamut == "table":
        ab = ab * _chroma_by_table(lightness, ab).unsqueeze(-3)
    fy = (lightness.float().clamp(-1, 1).squeeze(-3) * L_SCALE + L_SCALE + 16) / 116
    a, b = (ab.float() * AB_SCALE).unbind(-3)
    dx, dz = a / 500, b / 200
    if gamut == "chroma":
        scale = _chroma_in_gamut(fy.detach(), dx.detach(), dz.detach())
        dx, dz = dx * scale, dz * scale
    linear = torch.stack(_linear_rgb(fy, dx, dz), dim=-3)
    return _to_gamma(linear).clamp(0, 1)


def lab_to_rgb8(lightness: Tensor, ab: Tensor) -> Tensor:
    """`lab_to_rgb` by the table of the gamut, in 8 bits: the fast way to large paintings.

    Args:
        lightness: (1, H, W) in [-1, 1].
        ab: (2, H, W), as ab / 110.

    Returns:
        sRGB (3, H, W), uint8.
    """
    fy = lightness[0].clamp(-1, 1) * (L_SCALE / 116) + (L_SCALE + 16) / 116
    a, b = (ab * _chroma_by_table(lightness, ab)).mul_(AB_SCALE)
    levels = len(_gamma_levels(ab.device)) - 1
    rgb = torch.empty(3, *fy.shape, dtype=torch.uint8, device=ab.device)
    for channel, linear in zip(rgb, _linear_rgb(fy, a / 500, b / 200), strict=True):
        level = linear.mul_(levels).clamp_(0, levels).int()
        channel.copy_(_taken(_gamma_levels(ab.device), level))
    return rgb


def to_uint8(rgb: Tensor) -> Tensor:
    """Round floating RGB in [0, 1] to uint8; so 8-bit colors survive the way to LAB and back."""
    return (rgb * 255).round().clamp(0, 255).to(torch.uint8)


def lightness_to_grey(lightness: Tensor) -> Tensor:
    """The sRGB grey value in [0, 1] that a lightness in [-1, 1] stands for, shape unchanged."""
    fy = (lightness.float() * L_SCALE + L_SCALE + 16) / 116
    return _to_gamma(_f_inverse(fy)).clamp(0, 1)


def orthochromatic_lightness(rgb: Tensor) -> Tensor:
    """Lightness as an emulsion sees it that is blind to red, as plates were before about 1920.

    Of linear light, green counts 0.55 and blue 0.45 (such emulsions saw blue strongly): white stays
    white.

    Args:
        rgb: uint8 (..., 3, H, W).

    Returns:
        (..., 1, H, W) in [-1, 1].
    """
    _check_channels(rgb, 3, "rgb")
    _, green, blue = _look_up(rgb).unbind(-3)
    return (_f(0.55 * green + 0.45 * blue) * (116 / L_SCALE) - (16 / L_SCALE + 1)).unsqueeze(-3)


def mean_chroma(ab: Tensor) -> Tensor:
    """Mean CIELAB chroma sqrt(a*^2 + b*^2) of each photo in ab (..., 2, H, W), shape (...)."""
    _check_channels(ab, 2, "ab")
    a, b = (ab.float() * AB_SCALE).unbind(-3)
    return torch.hypot(a, b).mean(dim=(-2, -1))


def is_grey(rgb: Tensor) -> bool:
    """Whether the three channels of a photo (3, H, W) are alike throughout."""
    return torch.equal(rgb[0], rgb[1]) and torch.equal(rgb[1], rgb[2])


def _check_channels(tensor: Tensor, channels: int, name: str) -> None:
    if tensor.dim() < 3 or tensor.shape[-3] != channels:
        raise ValueError(
            f"{name} must have the shape (..., {channels}, H, W), got {tuple(tensor.shape)}"
        )


@functools.cache
def _gamma_table(device: torch.device) -> Tensor:
    """Linear light of the 256 8-bit values: a look-up is exact and cheaper than a power."""
    return _to_linear(torch.arange(256, dtype=torch.float64) / 255).float().to(device)


@functools.cache
def _gamma_levels(device: torch.device) -> Tensor:
    """The 8-bit values of linear light in steps so fine that the steepest is a twentieth of one.

    Each stands for the middle of its step: who looks up cuts the fraction off.
    """
    return to_uint8(_to_gamma((torch.arange(65536) + 0.5) / 65535)).to(device)


def _look_up(rgb: Tensor) -> Tensor:
    """Linear light of 8-bit colors."""
    return _taken(_gamma_table(rgb.device), rgb)


def _taken(table: Tensor, index: Tensor) -> Tensor:
    """The entries of a table that an index of uint8 or int32 names, in its shape."""
    if index.device.type == "cpu":  # numpy does it in a third of the time
        return torch.from_numpy(table.numpy().take(index.numpy(), mode="clip"))
    return table.index_select(0, index.flatten().int()).view(index.shape)


def _weighted(channels: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """A weighted sum. Not a matrix product: that may be less than float32, by torch's settings."""
    first, second, third = channels
    total = (first * weights[0]).add_(second, alpha=weights[1])
    return total.add_(third, alpha=weights[2])


def _power(v: Tensor, exponent: float) -> Tensor:
    """Raise v > 0 to an exponent: a third of torch.pow's time, as exact on the values met here."""
    return torch.log2(v).mul_(exponent).exp2_()


# Each of these curves is a power above a knee and a straight line below it, and the two meet at the
# knee within 1e-7. So the power of what is above plus the line of what is below is the curve: no
# branch is computed for nothing, and no slope is infinite or NaN, at black neither.
def _to_linear(v: Tensor) -> Tensor:
    power = _power((v.clamp(min=_GAMMA_KNEE) + 0.055) / 1.055, 2.4)
    return power + (v.clamp(max=_GAMMA_KNEE) - _GAMMA_KNEE) / 12.92


def _to_gamma(v: Tensor) -> Tensor:
    power = _power(v.clamp(min=_LINEAR_KNEE), 1 / 2.4)
    line = v.clamp(max=_LINEAR_KNEE) - _LINEAR_KNEE
    return torch.add(power * 1.055 - 0.055, line, alpha=12.92)


def _f(t: Tensor) -> Tensor:
    """CIE 15, equation 8.6: the cube root, with a straight line near black."""
    line = t.clamp(max=_T_KNEE).sub_(_T_KNEE)
    return torch.add(_power(t.clamp(min=_T_KNEE), 1 / 3), line, alpha=7.787)


def _f_inverse(f: Tensor) -> Tensor:
    return torch.where(f > _F_KNEE, f * f * f, (f - 16 / 116) / 7.787)


def _linear_rgb(fy: Tensor, dx: Tensor, dz: Tensor) -> tuple[Tensor, ...]:
    """Linear RGB of f(Y) and the differences f(X) - f(Y) and f(Y) - f(Z)."""
    x = _f_inverse(fy + dx) * _WHITE[0]
    y = _f_inverse(fy) * _WHITE[1]
    z = _f_inverse((fy - dz).clamp(min=0)) * _WHITE[2]  # clamped before, as in scikit-image
    return tuple(_weighted((x, y, z), row) for row in _RGB_FROM_XYZ)


@torch.no_grad()
def _chroma_in_gamut(fy: Tensor, dx: Tensor, dz: Tensor) -> Tensor:
    """Factor in [0, 1] by which each color's chroma must shrink for the color to exist in sRGB.

    Found by halving, for the colors outside only. Constant for the gradient.
    """
    scale = torch.ones_like(dx)
    outside = ~_exists(fy, dx, dz)
    if outside.any():
        fy, dx, dz = fy[outside], dx[outside], dz[outside]
        low, high = torch.zeros_like(dx), torch.ones_like(dx)
        for _ in range(_GAMUT_STEPS):
            middle = (low + high) / 2
            inside = _exists(fy, dx * middle, dz * middle)
            low, high = torch.where(inside, middle, low), torch.where(inside, high, middle)
        scale[outside] = low
    return scale


_LEVELS, _ANGLES = 512, 1024  # of the table


@functools.cache
def _gamut_table(device: torch.device) -> Tensor:
    """How far the colors of sRGB reach: |a| + |b|, as ab / 110, for each lightness and direction.

    A direction is b / (|a| + |b|), counted on from 1 to 3 where a is negative: it grows with the
    hue, and costs no arc tangent. Of a cell's four corners the least counts.
    """
    fy = ((torch.linspace(-1, 1, _LEVELS + 1) * L_SCALE + L_SCALE + 16) / 116).unsqueeze(1)
    angle = torch.linspace(-1, 3, _ANGLES + 1)
    b = torch.where(angle <= 1, angle, 2 - angle)
    a = torch.where(angle <= 1, 1 - b.abs(), b.abs() - 1)
    shape = (_LEVELS + 1, _ANGLES + 1)
    fy, dx, dz = (t.expand(shape) for t in (fy, a * AB_SCALE / 500, b * AB_SCALE / 200))
    reach, step = torch.zeros(shape), 1.0
    for _ in range(_GAMUT_STEPS):
        reach = torch.where(
            _exists(fy, dx * (reach + step), dz * (reach + step)), reach + step, reach
        )
        step /= 2
    rows = torch.minimum(reach[1:], reach[:-1])
    return torch.minimum(rows[:, 1:], rows[:, :-1]).flatten().to(device)


@torch.no_grad()
def _chroma_by_table(lightness: Tensor, ab: Tensor) -> Tensor:
    """Factor in [0, 1] by which each color's chroma shrinks, by the table of the gamut."""
    a, b = ab.float().unbind(-3)
    radius = a.abs().add_(b.abs()).clamp_(min=1e-9)
    angle = b / radius
    angle = torch.where(a < 0, 2 - angle, angle).add_(1).mul_(_ANGLES / 4)
    level = lightness.squeeze(-3).float().add(1).mul_(_LEVELS / 2).int().clamp_(0, _LEVELS - 1)
    cell = level.mul_(_ANGLES).add_(angle.int().clamp_(max=_ANGLES - 1))
    return _taken(_gamut_table(ab.device), cell).div_(radius).clamp_(max=1)


def _exists(fy: Tensor, dx: Tensor, dz: Tensor) -> Tensor:
    r, g, b = _linear_rgb(fy, dx, dz)
    low = torch.minimum(torch.minimum(r, g), b)
    high = torch.maximum(torch.maximum(r, g), b)
    # Below 0 nothing but float32 noise is tolerated: near black, 1e-4 would be 0.09 L*.
    noise = (high * 2e-6).clamp(min=1e-7)
    return (low >= -noise) & (high <= 1 + _GAMUT_TOLERANCE)
