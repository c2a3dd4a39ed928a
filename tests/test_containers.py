"""What a file states of its own channels, pictures and colors decides how it is read."""

import io
import logging
import shutil
import struct
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
import torch
from conftest import make_photo
from PIL import Image, ImageCms

from colorize.color.lab import rgb_to_lightness
from colorize.io.containers import Block, insert_chunks
from colorize.io.grayscale import classify_photo
from colorize.io.image import PhotoError
from colorize.io.image_file import read_image_file
from colorize.io.photo import read_photo, read_rgb
from colorize.io.tiff import open_tiff

CASES = Path(__file__).parent / "data" / "cases"
RNG = np.random.default_rng(0)


def mean_lightness(rgb):
    """Of uint8 (3, H, W), L* in [0, 100]."""
    return 50 * (rgb_to_lightness(rgb).mean().item() + 1)


def test_the_infrared_of_a_scanner_is_no_transparency():
    image = read_image_file(CASES / "infrared-rgbi16.tif")
    assert image.alpha is None and image.rgb.dtype == torch.uint16
    assert image.losses("TIFF").endswith("leaves out: 1 channel beside the colors")
    array = tifffile.imread(CASES / "infrared-rgbi16.tif")
    assert np.array_equal(image.rgb.permute(1, 2, 0).numpy(), array[..., :3])


def test_photometric_interpretation_decides_what_is_gray():
    image = read_image_file(CASES / "gray-2masks16.tif")
    array = tifffile.imread(CASES / "gray-2masks16.tif")
    assert np.array_equal(image.rgb.numpy(), np.stack([array[..., 0]] * 3))
    assert classify_photo(image.as_rgb8()) == "gray" and image.alpha is None
    assert "2 channels beside the colors" in image.losses("TIFF")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    ("channels", "extra", "alpha", "unused"),
    [
        (1, ["unspecified"], None, 1),
        (1, ["unassalpha"], 1, 0),
        (1, ["unspecified", "unassalpha"], 2, 1),
        (3, ["unspecified"], None, 1),
        (3, ["unassalpha"], 3, 0),
        (3, ["unspecified", "unassalpha"], 4, 1),
        (3, ["unassalpha", "unspecified"], 3, 1),
        (4, ["unspecified"], None, 1),
    ],
)
def test_extra_channels_are_what_the_file_declares(tmp_path, dtype, channels, extra, alpha, unused):
    full = np.iinfo(dtype).max
    array = RNG.integers(0, full, (6, 7, channels + len(extra)), dtype=dtype)
    photometric = {1: "minisblack", 3: "rgb", 4: "separated"}[channels]
    options = {"photometric": photometric, "extrasamples": extra, "planarconfig": "contig"}
    tifffile.imwrite(tmp_path / "a.tif", array, **options)
    image = read_image_file(tmp_path / "a.tif")
    assert image.unused_channels == unused
    if alpha is None:
        assert image.alpha is None
    else:
        assert np.array_equal(image.alpha[0].numpy(), array[..., alpha])
    if channels < 4:
        colors = np.moveaxis(np.broadcast_to(array[..., :channels], (6, 7, 3)), 2, 0)
        assert np.array_equal(image.rgb.numpy(), colors)


def pages(*described):
    """A TIFF of gray pages; each is (size, options)."""
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as tiff:
        for size, options in described:
            is_mask = options.get("subfiletype") == 4
            array = np.full((size, size + 1), size, bool if is_mask else np.uint16)
            photometric = "mask" if is_mask else "minisblack"
            tiff.write(array, photometric=photometric, metadata=None, **options)
    return io.BytesIO(file.getvalue())


@pytest.mark.parametrize(
    ("described", "size", "count"),
    [
        ([(8, {"subfiletype": 1}), (32, {"subfiletype": 0})], 32, 1),
        ([(8, {"subfiletype": 4}), (32, {})], 32, 1),
        ([(8, {"extratags": [(255, "H", 1, 2, True)]}), (32, {})], 32, 1),
        ([(8, {"subfiletype": 1, "subifds": 1}), (32, {})], 32, 1),
        ([(8, {}), (32, {})], 8, 2),
        ([(8, {}), (4, {"subfiletype": 1})], 8, 1),
        ([(8, {"subfiletype": 1}), (16, {"subfiletype": 1})], 16, 1),
    ],
    ids=["preview", "mask", "old", "below", "two", "thumbnail", "all-reduced"],
)
def test_the_photo_is_colored_and_not_its_preview(described, size, count):
    image = read_image_file(pages(*described))
    assert image.rgb.shape == (3, size, size + 1) and image.image_count == count
    assert (image.rgb.int() == size).all()


def test_a_preview_in_8_bits_before_the_photo_is_skipped_too():
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as tiff:
        tiff.write(np.zeros((8, 9), np.uint8), subfiletype=1, photometric="minisblack")
        tiff.write(np.full((32, 33), 7, np.uint8), photometric="minisblack")
    image = read_image_file(io.BytesIO(file.getvalue()))
    assert image.rgb.shape == (3, 32, 33) and (image.rgb == 7).all()
    assert read_rgb(io.BytesIO(file.getvalue())).shape == (3, 32, 33)


@pytest.mark.parametrize("page", [0, 1])
def test_a_chain_of_pages_that_leads_back_ends(page):
    data = bytearray(pages((8, {}), (9, {})).getvalue())
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        offset = tiff.pages[1].offset
        (count,) = struct.unpack_from("<H", data, offset)
        struct.pack_into("<I", data, offset + 2 + 12 * count, tiff.pages[page].offset)
    image = read_image_file(io.BytesIO(data))
    assert image.rgb.shape == (3, 8, 9) and image.image_count == 2


def test_a_cameras_raw_data_is_refused_in_words(tmp_path):
    options = {"photometric": 32803, "extratags": [(33421, "H", 2, (2, 2), True)]}
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((8, 8), np.uint16), **options)
    with pytest.raises(PhotoError, match=r"a\.tif: camera raw; develop it"):
        read_image_file(tmp_path / "a.tif")


def test_what_tifffile_logs_is_hidden_while_a_photo_is_read_only(caplog):
    log = logging.getLogger("tifffile")
    with open_tiff(pages((8, {}))):
        log.error("of damage that is raised as well")
    log.error("of somebody else")
    assert [record.message for record in caplog.records] == ["of somebody else"]
    assert log.level == logging.NOTSET


@pytest.mark.parametrize("compression", ["jpeg2000", "lerc", "jpegxl", "zstd", "webp", "png"])
def test_tiffs_with_other_codecs_inside_are_read(tmp_path, compression):
    photo = np.asarray(make_photo())
    args = {"lossless": True} if compression == "webp" else None
    options = {"compression": compression, "compressionargs": args, "photometric": "rgb"}
    tifffile.imwrite(tmp_path / "a.tif", photo, **options)
    rgb = read_image_file(tmp_path / "a.tif").rgb.permute(1, 2, 0).numpy()
    tolerance = 12 if compression == "jpegxl" else 0
    assert rgb.dtype == np.uint8
    assert np.abs(rgb.astype(int) - tifffile.imread(tmp_path / "a.tif")).max() == 0
    assert np.abs(rgb.astype(int) - photo).mean() <= tolerance


def test_jpeg_2000_inside_a_tiff_is_read():
    image = read_image_file(CASES / "jpeg2000-inside.tif")
    array = tifffile.imread(CASES / "jpeg2000-inside.tif")
    assert np.array_equal(image.rgb[0].numpy(), array)


@pytest.mark.parametrize(
    ("name", "lightness"),
    [("png-gama-1.0.png", 70.2), ("icc-linear.jp2", 70.2), ("icc-linear.webp", 70.2)],
)
@pytest.mark.parametrize("read", [read_rgb, lambda file: read_image_file(file).as_rgb8()])
def test_a_linear_file_is_as_light_as_it_was_meant(name, lightness, read):
    assert mean_lightness(read(CASES / name)) == pytest.approx(lightness, abs=0.2)


def png_with(array, *chunks):
    png = bytes(imagecodecs.png_encode(np.ascontiguousarray(array)))
    return io.BytesIO(insert_chunks(png, chunks))


def gama(gamma):
    return Block(b"gAMA", struct.pack(">I", round(gamma * 1e5)))


ADOBE_RGB = (0.3127, 0.329, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
SRGB = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)


def chrm(primaries):
    return Block(b"cHRM", struct.pack(">8I", *(round(n * 1e5) for n in primaries)))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_gamma_of_a_png_is_applied(dtype, channels):
    """By hand: light = value ^ (1 / gamma), then sRGB's curve."""
    full = np.iinfo(dtype).max
    levels = np.linspace(0.02, 1, 64)
    array = np.broadcast_to((levels * full).round()[None, :, None], (4, 64, channels)).astype(dtype)
    image = read_image_file(png_with(array.squeeze(), gama(0.7)))
    light = (array[0, :, 0] / full) ** (1 / 0.7)
    srgb = np.where(light < 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    result = image.rgb[0, 0].numpy() / full
    assert np.abs(result - srgb).max() < 1.5 / 255
    unchanged = [(gama(1 / 2.2),), (gama(1 / 2.2), chrm(SRGB)), (gama(0.7), Block(b"sRGB", b"\0"))]
    for chunks in unchanged:
        same = read_image_file(png_with(array.squeeze(), *chunks)).rgb[0, 0].numpy()
        assert np.array_equal(same, array[0, :, 0])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_primaries_of_a_png_are_applied(dtype):
    """Compared with Little CMS on a profile with the same numbers."""
    full = np.iinfo(dtype).max
    array = RNG.integers(full // 4, 3 * full // 4, (8, 8, 3)).astype(dtype)
    result = read_image_file(png_with(array, gama(1 / 2.2), chrm(ADOBE_RGB))).rgb
    profile = ImageCms.ImageCmsProfile(io.BytesIO(imagecodecs.cms_profile("adobergb")))
    eight = Image.fromarray((array // (257 if dtype == np.uint16 else 1)).astype(np.uint8))
    expected = ImageCms.profileToProfile(eight, profile, ImageCms.createProfile("sRGB"))
    difference = result.permute(1, 2, 0).numpy() / full - np.asarray(expected) / 255
    assert np.abs(difference).max() < 3 / 255


def test_a_profile_that_does_not_fit_is_ignored_with_the_name_of_the_file(tmp_path):
    gray = imagecodecs.cms_profile("gray", gamma=1.0)
    make_photo().save(tmp_path / "colored.webp", icc_profile=gray)
    with pytest.warns(UserWarning, match=r"colored\.webp: color profile ignored, sRGB assumed"):
        read_image_file(tmp_path / "colored.webp")
    make_photo().save(tmp_path / "b.jpg", icc_profile=b"damaged")
    for read in (read_photo, read_image_file):
        with pytest.warns(UserWarning, match=r"b\.jpg: color profile ignored"):
            read(tmp_path / "b.jpg")


def test_a_file_given_open_is_read_like_its_path(tmp_path):
    for name in ("infrared-rgbi16.tif", "icc-linear.jp2", "caption-utf8.png"):
        shutil.copy(CASES / name, tmp_path / name)
        with (tmp_path / name).open("rb") as file:
            opened = read_image_file(file)
        by_path = read_image_file(tmp_path / name)
        assert torch.equal(opened.rgb, by_path.rgb) and opened.metadata == by_path.metadata
