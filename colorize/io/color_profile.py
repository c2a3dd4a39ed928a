"""Convert colors from an embedded ICC profile to sRGB, in 8 and in 16 bits.

There are two converters, both of Little CMS: Pillow's knows 8-bit modes only, among them LAB, and
that of imagecodecs converts 16 bits without the optimizations that are off by up to two 8-bit
levels in dark colors.
"""

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageChops, ImageCms

_WHITE = 65535
_SRGB_GAMMA = 1 / 2.2  # which stands for sRGB's curve in the chunk gAMA
# x and y of white, red, green and blue.
_SRGB_PRIMARIES = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
_CODEC_ROUNDING = 2  # levels between the channels of gray in a lossy WebP
_MODES = {"GRAY": "L", "RGB": "RGB", "CMYK": "CMYK", "Lab": "LAB"}  # Pillow's, by color space
# The color space of a profile's header, as imagecodecs calls it, with its number of channels.
_SPACES = {b"GRAY": ("gray", 1), b"RGB ": ("rgb", 3), b"CMYK": ("cmyk", 4)}


def photo_to_srgb(photo: Image.Image, icc: bytes | None, name: str = "photo") -> Image.Image:
    """Convert an 8-bit photo from its profile to sRGB.

    A photo without a profile is returned as it is, except LAB, which becomes RGB. A profile that
    is damaged or does not fit is ignored with a warning that names the photo.
    """
    if not icc:
        if photo.mode != "LAB":
            return photo
        return _to_rgb(photo, ImageCms.createProfile("LAB"))
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        space = profile.profile.xcolor_space.strip()
        mode = _MODES.get(space)
        if (mode, photo.mode) == ("RGB", "L"):  # a desaturated photo often keeps its profile
            photo = photo.convert("RGB")
        elif (mode, photo.mode) == ("L", "RGB") and _has_gray_channels(photo):
            photo = photo.getchannel(0)  # WebP and AVIF store gray photos as RGB
        if mode != photo.mode:
            raise OSError(f"a {space} profile in a {photo.mode} image")
        return _to_rgb(photo, profile)
    except (OSError, ImageCms.PyCMSError) as error:
        warnings.warn(f"{name}: color profile ignored, sRGB assumed: {error}", stacklevel=3)
        return photo_to_srgb(photo, None)


def png_profile(info: Mapping[Any, Any], *, is_gray: bool) -> bytes | None:
    """Make the profile of a PNG that tells its gamma and primaries instead of embedding one.

    Args:
        info: of Pillow, with the values of the chunks gAMA and cHRM.
        is_gray: whether the pixels are gray.

    Returns:
        The profile; None if the chunks are missing or mean sRGB (PNG, third edition, 13.13).
    """
    gamma, chromaticity = info.get("gamma"), info.get("chromaticity")
    if "icc_profile" in info or "srgb" in info or not gamma:
        return None
    is_srgb = abs(gamma - _SRGB_GAMMA) < 0.001
    if is_gray or not chromaticity or _is_close(chromaticity, _SRGB_PRIMARIES):
        chromaticity = None
    if is_srgb and chromaticity is None:
        return None
    import imagecodecs

    white, *primaries = zip(*[iter(chromaticity or _SRGB_PRIMARIES)] * 2, strict=True)
    return imagecodecs.cms_profile(
        "gray" if is_gray else "rgb",
        whitepoint=(*white, 1.0),
        primaries=[number for x, y in primaries for number in (x, y, 1.0)],
        gamma=1 / gamma,
    )


def _is_close(values: Sequence[float], others: Sequence[float]) -> bool:
    return all(abs(a - b) < 0.001 for a, b in zip(values, others, strict=True))


def _has_gray_channels(photo: Image.Image) -> bool:
    """Whether the channels are equal but for the rounding of a lossy codec."""
    red, green, blue = photo.split()
    histograms = (ImageChops.difference(green, other).histogram() for other in (red, blue))
    return not any(any(counts[_CODEC_ROUNDING + 1 :]) for counts in histograms)


def _to_rgb(
    photo: Image.Image, profile: ImageCms.ImageCmsProfile | ImageCms.core.CmsProfile
) -> Image.Image:
    srgb = ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(photo, profile, srgb, outputMode="RGB")
    assert converted is not None  # it is None of conversions in place only
    return converted


def uint16_to_srgb(
    icc: bytes | None, channels: int, name: str = "photo"
) -> Callable[[np.ndarray], np.ndarray]:
    """Return the conversion of uint16 colors (h, w, channels) of a profile to sRGB (h, w, 3).

    Args:
        icc: the profile; None for sRGB, or for plain CMYK with four channels.
        channels: 1 (gray), 3 (RGB) or 4 (CMYK). A profile that does not fit them, or that is
            damaged, is ignored with a warning.
        name: of the photo, for the warning.
    """
    if icc is None:
        return _cmyk_to_rgb if channels == 4 else lambda colors: np.repeat(colors, 3 // channels, 2)
    import imagecodecs  # here, because 8-bit photos need none of it

    space, profile_channels = _SPACES.get(icc[16:20], (None, 0))
    is_desaturated = channels == 1 and space == "rgb"  # such a photo often keeps its profile
    srgb = imagecodecs.cms_profile("srgb")

    def convert(colors: np.ndarray) -> np.ndarray:
        colors = np.ascontiguousarray(np.repeat(colors, 3, 2) if is_desaturated else colors)
        return imagecodecs.cms_transform(
            colors[..., 0] if space == "gray" else colors,
            icc,
            srgb,
            colorspace=space,
            outcolorspace="rgb",
            flags=imagecodecs.CMS.FLAGS.NOOPTIMIZE,
        )

    try:
        if profile_channels != (3 if is_desaturated else channels):
            raise ValueError(f"a {icc[16:20]!r} profile in an image of {channels} channels")
        convert(np.zeros((1, 1, channels), np.uint16))
    except (ValueError, imagecodecs.CmsError) as error:
        warnings.warn(f"{name}: color profile ignored, sRGB assumed: {error}", stacklevel=4)
        return uint16_to_srgb(None, channels)
    return convert


def is_gray_profile(icc: bytes | None) -> bool:
    """Whether a profile is one of gray."""
    return icc is not None and icc[16:20] == b"GRAY"


def _cmyk_to_rgb(inks: np.ndarray) -> np.ndarray:
    """Convert CMYK without a profile, uint16 (h, w, 4), as Pillow does: inks absorb light."""
    light = np.float32(_WHITE) - inks
    return (light[..., :3] * (light[..., 3:] / _WHITE)).round().astype(np.uint16)
