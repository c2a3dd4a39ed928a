import io
import pickle
import random
import struct
import zlib

import numpy as np
import pytest
import torch
from conftest import make_photo
from PIL import Image, ImageCms, JpegImagePlugin, features

import colorize.io.photo as photos_module
from colorize.io.image import (
    PhotoError,
    composite_on_white,
    photo_to_rgb,
    resize,
    rgb_to_photo,
    to_srgb,
    white_level,
    write_photo,
)
from colorize.io.photo import photo_size, read_photo, read_rgb

# How a file of each EXIF orientation stores an upright image (EXIF 2.3, 4.6.4, by hand).
STORED = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: upright[:, ::-1].swapaxes(0, 1),
    7: lambda upright: upright[::-1, ::-1].swapaxes(0, 1),
    8: lambda upright: upright[::-1].swapaxes(0, 1),
}


def saved(image, kind, **options):
    """The image as an open file of that kind."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    file.seek(0)
    return file


def flat(mode, color):
    return Image.new(mode, (16, 16), color)


def first_pixel(file):
    photo = read_photo(file)
    assert photo.mode == "RGB"
    return photo.getpixel((0, 0))


def orientation(number):
    exif = Image.Exif()
    exif[0x0112] = number
    return exif


def png(bits, color_type, pixel_bytes):
    """A 1x1 PNG by hand; Pillow cannot write 16-bit colors."""

    data = b"\x89PNG\r\n\x1a\n"
    header = struct.pack(">IIBBBBB", 1, 1, bits, color_type, 0, 0, 0)
    pixels = zlib.compress(b"\0" + pixel_bytes)
    for name, body in ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b"")):
        data += struct.pack(">I", len(body)) + name + body
        data += struct.pack(">I", zlib.crc32(name + body))
    return io.BytesIO(data)


def srgb_profile():
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def swapped_profile():
    """sRGB with the names of red and green exchanged in the profile's table."""
    parts = srgb_profile().replace(b"rXYZ", b"?XYZ").replace(b"gXYZ", b"rXYZ")
    return parts.replace(b"?XYZ", b"gXYZ")


def linear_gray_profile():
    """A gray profile whose values are linear light (ICC.1, 8.4.3: white point and curve)."""
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061)  # D50
    curve = b"curv\0\0\0\0" + struct.pack(">I", 0)  # no entries: the identity
    table, tags = struct.pack(">I", 2), b""
    for name, data in ((b"wtpt", white), (b"kTRC", curve)):
        table += name + struct.pack(">II", 128 + 4 + 24 + len(tags), len(data))
        tags += data
    size = 128 + len(table) + len(tags)
    header = struct.pack(">I4xI4s4s4s", size, 0x02100000, b"mntr", b"GRAY", b"XYZ ")
    header += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + table + tags


@pytest.mark.parametrize("number", STORED)
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_every_exif_orientation_comes_out_upright(kind, number):
    upright = np.zeros((32, 48, 3), np.uint8)
    upright[:16, :16] = 200, 0, 0  # three corners of four differ
    upright[:16, -16:] = 0, 200, 0
    upright[-16:, :16] = 0, 0, 200
    stored = Image.fromarray(np.ascontiguousarray(STORED[number](upright)))
    options = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {})
    file = saved(stored, kind, exif=orientation(number), **options)
    assert photo_size(file) == (48, 32)
    photo = read_photo(file)
    assert photo.size == (48, 32)
    assert np.abs(np.asarray(photo, int) - upright).mean() < 2


def test_an_rgb_profile_is_converted_to_srgb():
    photo = flat("RGB", (200, 30, 90))
    file = saved(photo, "PNG", icc_profile=swapped_profile())
    assert first_pixel(file) == pytest.approx((30, 200, 90), abs=2)
    once = read_photo(file)
    assert to_srgb(once).getpixel((0, 0)) == once.getpixel((0, 0))  # and not twice
    transparent = flat("RGBA", (200, 30, 90, 51))
    file = saved(transparent, "PNG", icc_profile=swapped_profile())
    assert first_pixel(file) == pytest.approx((210, 244, 222), abs=2)  # a fifth of it on white
    # A gray image that was made from a color one often keeps its profile.
    file = saved(flat("L", 77), "JPEG", icc_profile=srgb_profile())
    assert first_pixel(file) == pytest.approx((77, 77, 77), abs=1)


@pytest.mark.parametrize(("mode", "color"), [("L", 128), ("LA", (128, 255))])
def test_a_gray_profile_is_converted_to_srgb(mode, color):
    file = saved(flat(mode, color), "PNG", icc_profile=linear_gray_profile())
    linear = 128 / 255
    gray = (1.055 * linear ** (1 / 2.4) - 0.055) * 255  # IEC 61966-2-1: 188
    assert first_pixel(file) == pytest.approx((gray,) * 3, abs=2)


def test_a_gray_profile_of_a_lossy_webp_is_converted_to_srgb():
    values = np.linspace(60, 250, 128 * 64).astype(np.uint8).reshape(128, 64)
    photo = Image.fromarray(values).convert("RGB")
    file = saved(photo, "WEBP", quality=95, icc_profile=linear_gray_profile())
    stored = np.asarray(Image.open(file).convert("RGB"), int)
    assert np.ptp(stored, axis=2).max() == 1, "the codec rounds each channel apart"
    linear = stored[..., 0] / 255
    gray = (1.055 * linear ** (1 / 2.4) - 0.055) * 255
    file.seek(0)
    assert np.abs(np.asarray(read_photo(file), int) - gray[..., None]).max() < 2


def test_a_lab_image_is_converted_with_its_profile_and_without():
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    lab = ImageCms.profileToProfile(flat("RGB", (200, 50, 50)), *profiles, outputMode="LAB")
    assert first_pixel(saved(lab, "TIFF")) == pytest.approx((200, 50, 50), abs=2)
    lab.info.clear()
    assert first_pixel(saved(lab, "TIFF")) == pytest.approx((200, 50, 50), abs=2)


@pytest.mark.parametrize(
    ("mode", "color", "profile"),
    [
        ("RGB", (200, 30, 90), b"no profile at all"),
        ("RGB", (200, 30, 90), linear_gray_profile()),
        ("CMYK", (0, 255, 255, 0), srgb_profile()),
    ],
)
def test_a_profile_that_does_not_fit_is_ignored_with_a_warning(mode, color, profile):
    image = flat(mode, color)
    with pytest.warns(UserWarning, match="color profile ignored, sRGB assumed"):
        read = first_pixel(saved(image, "TIFF", icc_profile=profile))
    assert read == image.convert("RGB").getpixel((0, 0))


def palette(**info):
    image = Image.new("P", (16, 16), 1)
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.info.update(info)
    return image


@pytest.mark.parametrize(
    ("image", "kind", "expected"),
    [
        (flat("1", 1), "PNG", (255, 255, 255)),
        (flat("1", 0), "PNG", (0, 0, 0)),
        (flat("L", 77), "PNG", (77, 77, 77)),
        (flat("LA", (77, 51)), "PNG", (219.4,) * 3),  # 0.2 * 77 + 0.8 * 255
        (flat("RGBA", (200, 0, 100, 51)), "PNG", (244, 204, 224)),
        (flat("RGBA", (200, 0, 100, 0)), "WEBP", (255, 255, 255)),
        (palette(), "PNG", (200, 100, 50)),
        (palette(transparency=0), "PNG", (200, 100, 50)),
        (palette(transparency=1), "PNG", (255, 255, 255)),
        (palette(transparency=b"\xff\x33"), "PNG", (244, 224, 214)),
        (flat("CMYK", (255, 0, 0, 51)), "TIFF", (0, 204, 204)),
        (flat("CMYK", (255, 0, 0, 51)), "JPEG", (0, 204, 204)),
        (flat("YCbCr", (128, 128, 128)), "JPEG", (128, 128, 128)),
        (flat("I;16", 49800), "PNG", (193.8,) * 3),  # 49800 / 65535 * 255
        (flat("I;16", 49800), "TIFF", (193.8,) * 3),
        (flat("I;16", 65535), "PNG", (255, 255, 255)),
        (flat("I", 49800), "TIFF", (193.8,) * 3),
        (flat("I", 2**30), "TIFF", (128, 128, 128)),
        (flat("I", 200), "TIFF", (200, 200, 200)),
        (flat("F", 0.31), "TIFF", (79.05,) * 3),
        (flat("F", 1.0), "TIFF", (255, 255, 255)),
        (flat("F", 120.4), "TIFF", (120, 120, 120)),
        (flat("F", -3.0), "TIFF", (0, 0, 0)),
    ],
    ids=lambda value: value.mode if isinstance(value, Image.Image) else None,
)
def test_every_mode_becomes_the_rgb_that_arithmetic_says(image, kind, expected):
    # A CMYK JPEG is stored as YCCK or inverted, and loses a little.
    tolerance = 3 if kind == "JPEG" else 0.5
    assert first_pixel(saved(image, kind)) == pytest.approx(expected, abs=tolerance)


def test_16_bit_colors_are_scaled_and_their_transparency_laid_on_white():
    color = struct.pack(">3H", 65535, 32896, 0)
    assert first_pixel(png(16, 2, color)) == (255, 128, 0)
    assert first_pixel(png(16, 6, color + struct.pack(">H", 0))) == (255, 255, 255)
    assert first_pixel(png(16, 0, struct.pack(">H", 32896))) == (128, 128, 128)


def test_a_float_picture_with_holes_keeps_its_values():
    values = np.array([[0.5, np.nan], [1.0, 0.0]], np.float32)
    read = np.asarray(read_photo(saved(Image.fromarray(values), "TIFF")))[..., 0]
    np.testing.assert_allclose(read, [[127.5, 0], [255, 0]], atol=0.5)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_an_animation_the_first_frame_is_read(kind):
    frames = {"save_all": True, "append_images": [flat("RGB", (0, 0, 250))]}
    options = {"lossless": True} if kind == "WEBP" else {}
    file = saved(flat("RGB", (250, 0, 0)), kind, **frames, **options)
    assert first_pixel(file) == (250, 0, 0)


def test_a_jpeg_is_decoded_small_but_never_below_the_side_asked_for(tmp_path, photo):
    path = write_photo(photo.resize((640, 480)), tmp_path / "wide.jpg")
    sizes = {None: 480, 481: 480, 241: 480, 240: 240, 121: 240, 120: 120, 60: 60, 1: 60}
    assert {side: read_photo(path, side).height for side in sizes} == sizes
    odd = write_photo(photo.resize((637, 411)), tmp_path / "odd.jpg")
    for side in range(20, 411, 17):
        assert side <= min(read_photo(odd, side).size) <= 411
    turned = tmp_path / "turned.jpg"
    photo.resize((640, 480)).save(turned, exif=orientation(6))
    assert read_photo(turned, 240).size == (240, 320)
    whole = np.asarray(read_photo(path).reduce(4), int)
    assert np.abs(np.asarray(read_photo(path, 120), int) - whole).mean() < 1
    png = write_photo(photo, tmp_path / "never.png")
    assert read_photo(png, min_side=8).size == photo.size


def broken_files(folder, photo):
    whole = write_photo(photo, folder / "whole.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    whole = write_photo(photo, folder / "whole.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.jpg").touch()
    (folder / "text.jpg").write_text("To be or not to be")
    (folder / "folder.jpg").mkdir()
    (folder / "nowhere.jpg").symlink_to(folder / "gone.jpg")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("cut.jpg", "damaged or truncated"),
        ("cut.png", "damaged or truncated"),
        ("empty.jpg", "not an image"),
        ("text.jpg", "not an image"),
        ("folder.jpg", "a folder, not a photo"),
        ("missing.jpg", "no such file"),
        ("nowhere.jpg", "no such file"),
    ],
)
def test_unreadable_files_are_named_with_a_reason(tmp_path, photo, name, reason):
    broken_files(tmp_path, photo)
    path = tmp_path / name
    for file in (path, str(path)):
        with pytest.raises(PhotoError, match=reason) as caught:
            read_photo(file)
        assert str(caught.value).startswith(f"{path}: ")
    # A loader's process hands it to the main one in this form.
    again = pickle.loads(pickle.dumps(caught.value))
    assert (type(again), str(again)) == (PhotoError, str(caught.value))
    if not name.startswith("cut"):  # a header alone does not show that
        with pytest.raises(PhotoError) as caught:
            photo_size(path)
        assert str(path) in str(caught.value)


def test_an_open_file_is_named_too(tmp_path):
    with pytest.raises(PhotoError, match="the given file: not an image"):
        read_photo(io.BytesIO(b"text"))
    path = tmp_path / "text.jpg"
    path.write_text("text")
    with path.open("rb") as file, pytest.raises(PhotoError, match=r"text\.jpg: not an image"):
        read_photo(file)


def test_a_decompression_bomb_is_refused_with_the_way_out(tmp_path, photo, monkeypatch):
    path = write_photo(photo, tmp_path / "huge.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(
        PhotoError, match=r"larger than 0\..* megapixels.*MAX_IMAGE_PIXELS"
    ) as caught:
        read_photo(path)
    assert str(path) in str(caught.value)
    with pytest.raises(PhotoError, match="megapixels"):
        photo_size(path)
    with pytest.raises(PhotoError, match="megapixels"):
        read_rgb(write_photo(photo, tmp_path / "huge.jpg"))


@pytest.mark.filterwarnings("ignore")  # Pillow's, on the damage
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "GIF", "AVIF"])
def test_any_damage_ends_in_a_photo_or_in_a_photo_error(photo, kind):
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    exif = {} if kind == "GIF" else {"exif": orientation(6)}
    whole = saved(photo, kind, **exif).getvalue()
    rng = random.Random(kind)
    failures = 0
    for trial in range(60):
        damaged = bytearray(whole)
        if trial % 2:
            del damaged[rng.randrange(len(whole)) :]
        else:
            for place in rng.sample(range(len(whole)), 5):
                damaged[place] = rng.randrange(256)
        for read in (read_photo, photo_size):
            try:
                read(io.BytesIO(damaged))
            except PhotoError:
                failures += 1
    assert failures > 10


@pytest.mark.parametrize("name", ["a.png", "a.tiff", "a.jpg", "b.JPEG", "deep/er/c.webp", "a.avif"])
def test_what_is_written_can_be_read(tmp_path, photo, name):
    path = write_photo(photo, tmp_path / name)
    assert path == tmp_path / name
    with Image.open(path) as image:
        assert f".{image.format.lower()}" in (path.suffix.lower(), ".jpeg")
        if image.format == "JPEG":
            assert JpegImagePlugin.get_sampling(image) == 0  # 4:4:4, chroma whole
    difference = np.abs(np.asarray(read_photo(path), int) - np.asarray(photo, int))
    assert difference.mean() < (1e-9 if path.suffix in (".png", ".tiff") else 3)


@pytest.mark.parametrize("name", ["a.jpg", "a.avif"])
def test_chroma_is_stored_whole(tmp_path, name):
    colors = np.array([[200, 90, 90], [60, 140, 140]], np.uint8)  # of about one lightness
    stripes = np.tile(colors, (48, 32, 1))  # a pixel wide
    read = np.asarray(read_photo(write_photo(Image.fromarray(stripes), tmp_path / name)), int)
    assert np.abs(read - stripes).mean() < 12  # with chroma halved 40 and more


def test_a_png_is_compressed(tmp_path):
    photo = Image.linear_gradient("L").convert("RGB")
    assert write_photo(photo, tmp_path / "a.png").stat().st_size < 256 * 256 * 3 / 10


def test_an_unknown_suffix_is_refused_with_the_known_ones(tmp_path, photo):
    with pytest.raises(PhotoError, match=r"a\.bmp: unknown file format.*\.jpg, .*\.png, \.webp"):
        write_photo(photo, tmp_path / "a.bmp")
    assert not any(tmp_path.iterdir())


def test_a_write_that_fails_leaves_the_old_photo_and_nothing_else(tmp_path, photo, monkeypatch):
    path = write_photo(photo, tmp_path / "a.png")
    before = path.read_bytes()

    def half(self, file, **options):
        file.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(Image.Image, "save", half)
    with pytest.raises(PhotoError, match=r"a\.png: cannot be written .*No space left"):
        write_photo(photo, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_photo_survives_as_a_tensor(photo):
    rgb = photo_to_rgb(photo)
    assert rgb.dtype == torch.uint8
    assert rgb.shape == (3, photo.height, photo.width)
    assert tuple(rgb[:, 7, 11].tolist()) == photo.getpixel((11, 7))
    assert rgb_to_photo(rgb).tobytes() == photo.tobytes()
    for wrong in (rgb.float(), rgb[None], rgb[:1]):
        with pytest.raises(ValueError, match="rgb must be uint8"):
            rgb_to_photo(wrong)


@pytest.mark.parametrize("size", [(20, 15), (61, 47), (160, 120)])
def test_a_photo_is_resized_as_pillow_does_it(photo, size):
    ours = resize(photo_to_rgb(photo), size[1], size[0])
    theirs = photo_to_rgb(photo.resize(size, Image.Resampling.BILINEAR))
    assert ours.dtype == torch.uint8
    assert (ours.int() - theirs.int()).abs().max() <= 1


# The fast road to a tensor.


@pytest.mark.parametrize("min_side", [None, 1, 30, 60, 61])
@pytest.mark.parametrize("subsampling", [0, 2])
def test_a_plain_jpeg_is_decoded_alike_by_both_decoders(
    tmp_path, monkeypatch, subsampling, min_side
):
    path = tmp_path / "a.jpg"
    make_photo(161, 120).save(path, quality=90, subsampling=subsampling)
    with monkeypatch.context() as patch:
        patch.setattr(photos_module, "read_photo", None)  # not needed
        fast = read_rgb(path, min_side)
        assert torch.equal(read_rgb(io.BytesIO(path.read_bytes()), min_side), fast)
    monkeypatch.setattr(photos_module, "simplejpeg", None)
    slow = read_rgb(path, min_side)
    assert fast.dtype == torch.uint8
    assert fast.shape == slow.shape
    assert (fast.int() - slow.int()).abs().max() <= 1


def test_other_jpegs_are_decoded_by_pillow(tmp_path, photo):
    exif = Image.Exif()
    exif[0x0112] = 6
    photo.save(tmp_path / "turned.jpg", exif=exif)
    photo.save(tmp_path / "profile.jpg", icc_profile=b"none")
    photo.convert("L").save(tmp_path / "gray.jpg")
    photo.convert("CMYK").save(tmp_path / "cmyk.jpg")
    photo.save(tmp_path / "photo.png")
    with pytest.warns(UserWarning, match="color profile ignored"):
        shapes = {path.stem: tuple(read_rgb(path).shape) for path in tmp_path.iterdir()}
    assert shapes.pop("turned") == (3, 80, 60)
    assert set(shapes.values()) == {(3, 60, 80)}
    cut = tmp_path / "cut.jpg"
    photo.save(cut)
    cut.write_bytes(cut.read_bytes()[:-200])
    with pytest.raises(PhotoError, match=r"cut\.jpg: damaged or truncated"):
        read_rgb(cut)
    with pytest.raises(PhotoError, match="no such file"):
        read_rgb(tmp_path / "nowhere.jpg")


def test_a_profile_is_applied_once():
    color = flat("RGB", (200, 90, 30))
    twice = to_srgb(read_photo(saved(color, "PNG", icc_profile=swapped_profile())))
    assert twice.getpixel((0, 0)) == pytest.approx((90, 200, 30), abs=1)
    with pytest.warns(UserWarning, match="color profile ignored"):
        photo = read_photo(saved(color, "PNG", icc_profile=b"none"))
    assert photo_to_rgb(photo)[:, 0, 0].tolist() == [200, 90, 30]  # and warns no more


def test_compositing_on_white_is_rounded():
    levels = np.arange(256)
    light = levels[:, None] * levels + 255 * (255 - levels)  # 255 times as much
    rgb = torch.from_numpy(levels.astype(np.uint8)).view(1, 256, 1).expand(3, 256, 256)
    alpha = torch.from_numpy(levels.astype(np.uint8)).view(1, 1, 256)
    assert np.array_equal(composite_on_white(rgb, alpha)[1], (2 * light + 255) // 510)


@pytest.mark.parametrize(
    ("peak", "white"),
    [(1.0, 1), (16.0, 1), (16.1, 255), (510.0, 255), (131070.0, 65535), (2e5, 2e5)],
)
def test_the_white_level_of_floats(peak, white):
    assert white_level(np.array([0.2, peak, np.nan])) == white
