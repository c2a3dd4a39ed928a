"""Conversion of sRGB to (lightness, ab) and back.

CIELAB for the D65 white and the 2 degree observer with the constants of scikit-image, whose
float64 functions are the reference of the tests. All arithmetic is element-wise float32 on the
tensor's device, under autocast too: in bfloat16 the colors would be off by up to 4 dE.
"""

import torch
from torch import Tensor

from colorize.color.curves import (
    AB_SCALE,
    L_SCALE,
    RELATIVE_XYZ_FROM_RGB,
    cached_table,
    gamma_levels,
    lab_f,
    lab_f_inverse,
    linear_light_of_uint8,
    linear_rgb,
    take,
    to_gamma,
    to_linear_light,
    weighted_sum,
)
from colorize.color.gamut import chroma_factor, chroma_factor_by_table


def rgb_to_lab(rgb: Tensor) -> tuple[Tensor, Tensor]:
    """Convert sRGB to lightness, the models' input, and ab, their target.

    Args:
        rgb: sRGB, shape (..., 3, H, W); uint8, or floating in [0, 1].

    Returns:
        Lightness (..., 1, H, W) as L*/50 - 1 and ab (..., 2, H, W) as a*b*/110, float32.

    Raises:
        ValueError: if the third dimension from the end is not 3, the dtype is neither, or a
            floating value is above 1.

    Example:
        >>> lightness, ab = rgb_to_lab(torch.tensor([255, 0, 0], dtype=torch.uint8).view(3, 1, 1))
        >>> print(f"{lightness.item() * 50 + 50:.1f}", (ab.flatten() * 110).round().tolist())
        53.2 [80.0, 67.0]
    """
    _check_channels(rgb, 3, "rgb")
    if rgb.dim() > 3 and rgb.dtype == torch.uint8 and rgb.device.type == "cpu":
        return _photo_by_photo(rgb)
    channels = to_linear_light(rgb).unbind(-3)
    fx, fy, fz = (lab_f(weighted_sum(channels, row)) for row in RELATIVE_XYZ_FROM_RGB)
    lightness = fy * (116 / L_SCALE) - (16 / L_SCALE + 1)
    ab = torch.stack(((fx - fy) * (500 / AB_SCALE), (fy - fz) * (200 / AB_SCALE)), dim=-3)
    return lightness.unsqueeze(-3), ab


def rgb_to_lightness(rgb: Tensor) -> Tensor:
    """Convert sRGB to the lightness of `rgb_to_lab` alone, in a fraction of its time.

    Args:
        rgb: sRGB (..., 3, H, W); uint8, or floating in [0, 1].

    Returns:
        (..., 1, H, W) as L*/50 - 1, float32.
    """
    _check_channels(rgb, 3, "rgb")
    f = lab_f(weighted_sum(to_linear_light(rgb).unbind(-3), RELATIVE_XYZ_FROM_RGB[1]))
    return (f * (116 / L_SCALE) - (16 / L_SCALE + 1)).unsqueeze(-3)


def gray_to_lightness(gray: Tensor) -> Tensor:
    """Convert 8-bit gray values of any shape to the lightness in [-1, 1] of `rgb_to_lab`."""
    return take(_gray_table(gray.device), gray)


@cached_table
def _gray_table(device: torch.device) -> Tensor:
    grays = torch.arange(256, dtype=torch.uint8).expand(3, 1, -1)
    return rgb_to_lab(grays)[0].flatten().to(device)


def _photo_by_photo(rgb: Tensor) -> tuple[Tensor, Tensor]:
    """Apply `rgb_to_lab` to a batch on the CPU: one photo at a time stays in the cache."""
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
    """Convert lightness and ab to sRGB.

    Not every (L*, a*, b*) is in the gamut of sRGB, and predicted ones often are not.

    Args:
        lightness: L*/50 - 1 in [-1, 1], shape (..., 1, H, W); values outside are clamped.
        ab: a*b*/110, shape (..., 2, H, W).
        gamut: what to do with colors outside sRGB. "chroma" reduces their chroma at constant L*
            and hue until they are inside, so that the photo's lightness is kept (within 0.01 L*);
            "table" does so by a table, in a fraction of the time: colors near the border lose some
            chroma too (0.1 CIELAB units in the mean, below 1 for 99 of 100 colors), and the
            lightness is kept within 0.2 L*; "clip" clips each channel to [0, 1], which shifts hue
            and lightness.

    Returns:
        sRGB (..., 3, H, W), float32 in [0, 1]; `to_uint8` rounds it.

    Raises:
        ValueError: if the channels are not 1 and 2, or `gamut` is none of these.

    Example:
        >>> gray = lab_to_rgb(torch.zeros(1, 1, 1), torch.zeros(2, 1, 1))  # L* = 50
        >>> (gray * 255).round().int().flatten().tolist()
        [119, 119, 119]
    """
    _check_channels(lightness, 1, "lightness")
    _check_channels(ab, 2, "ab")
    if gamut not in ("chroma", "table", "clip"):
        raise ValueError(f'gamut must be "chroma", "table" or "clip", got {gamut!r}')
    if gamut == "table":
        ab = ab * chroma_factor_by_table(lightness, ab).unsqueeze(-3)
    fy = (lightness.float().clamp(-1, 1).squeeze(-3) * L_SCALE + L_SCALE + 16) / 116
    a, b = (ab.float() * AB_SCALE).unbind(-3)
    dx, dz = a / 500, b / 200
    if gamut == "chroma":
        scale = chroma_factor(fy.detach(), dx.detach(), dz.detach())
        dx, dz = dx * scale, dz * scale
    linear = torch.stack(linear_rgb(fy, dx, dz), dim=-3)
    return to_gamma(linear).clamp(0, 1)


def lab_to_rgb_uint8(lightness: Tensor, ab: Tensor) -> Tensor:
    """Convert to 8-bit sRGB by the table of the gamut: the fast way for large photos.

    Args:
        lightness: (1, H, W) in [-1, 1].
        ab: (2, H, W), as ab / 110.

    Returns:
        sRGB (3, H, W), uint8.
    """
    fy = lightness[0].clamp(-1, 1) * (L_SCALE / 116) + (L_SCALE + 16) / 116
    a, b = (ab * chroma_factor_by_table(lightness, ab)).mul_(AB_SCALE)
    levels = len(gamma_levels(ab.device)) - 1
    rgb = torch.empty(3, *fy.shape, dtype=torch.uint8, device=ab.device)
    for channel, linear in zip(rgb, linear_rgb(fy, a / 500, b / 200), strict=True):
        level = linear.mul_(levels).clamp_(0, levels).int()
        channel.copy_(take(gamma_levels(ab.device), level))
    return rgb


def lightness_to_gray(lightness: Tensor) -> Tensor:
    """Convert a lightness in [-1, 1] to the sRGB gray value in [0, 1], of the same shape."""
    fy = (lightness.float() * L_SCALE + L_SCALE + 16) / 116
    return to_gamma(lab_f_inverse(fy)).clamp(0, 1)


def orthochromatic_lightness(rgb: Tensor) -> Tensor:
    """Compute the lightness that an emulsion blind to red records, as plates before about 1920.

    Linear green counts 0.55 and blue 0.45 (such emulsions were very sensitive to blue); white stays
    white.

    Args:
        rgb: uint8 (..., 3, H, W).

    Returns:
        (..., 1, H, W) in [-1, 1].
    """
    _check_channels(rgb, 3, "rgb")
    _, green, blue = linear_light_of_uint8(rgb).unbind(-3)
    return (lab_f(0.55 * green + 0.45 * blue) * (116 / L_SCALE) - (16 / L_SCALE + 1)).unsqueeze(-3)


def mean_chroma(ab: Tensor) -> Tensor:
    """Average the CIELAB chroma sqrt(a*^2 + b*^2) of each photo: ab (..., 2, H, W) to (...)."""
    _check_channels(ab, 2, "ab")
    a, b = (ab.float() * AB_SCALE).unbind(-3)
    return torch.hypot(a, b).mean(dim=(-2, -1))


def is_grayscale(rgb: Tensor) -> bool:
    """Whether the three channels of a photo (3, H, W) are equal everywhere."""
    return torch.equal(rgb[0], rgb[1]) and torch.equal(rgb[1], rgb[2])


def _check_channels(tensor: Tensor, channels: int, name: str) -> None:
    if tensor.dim() < 3 or tensor.shape[-3] != channels:
        raise ValueError(
            f"{name} must have the shape (..., {channels}, H, W), got {tuple(tensor.shape)}"
        )
