"""A user's files: depth, transparency, EXIF, resolution; and paintings that keep them."""

import io
import itertools
import struct
import zlib

import imagecodecs
import numpy as np
import pytest
import tifffile
import torch
from conftest import Fake, make_photo
from PIL import Image, ImageCms, ImageOps
from skimage.color import rgb2lab

from colorize.inference.colorizer import Colorizer
from colorize.io.high_bit_depth import encode_png, to_8_bit
from colorize.io.image import FORMAT_BY_SUFFIX, PhotoError
from colorize.io.image_file import (
    encode,
    read_image_file,
    read_provenance,
    write_image_file,
    write_provenance,
)

CAMERA, DATE, SOFTWARE = 0x8769, 0x9003, 0x0131
RNG = np.random.default_rng(0)
DEEP = RNG.integers(0, 65536, (12, 20, 3), dtype=np.uint16)
SHALLOW = RNG.integers(0, 256, (12, 20, 3), dtype=np.uint8)


def values(original):
    """The pixels of an original, (H, W, 3)."""
    return original.rgb.permute(1, 2, 0).numpy()


def exif(orientation=None):
    tags = Image.Exif()
    tags[0x010E], tags[SOFTWARE] = "Grandma, 1931", "Scan 2"
    tags.get_ifd(CAMERA)[DATE] = "1931:05:01 12:00:00"
    if orientation:
        tags[0x0112] = orientation
    return tags


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".avif", ".tif"])
def test_a_painting_is_of_the_same_kind_and_tells_the_same(tmp_path, suffix):
    source, target = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    tags = exif()
    if suffix in (".webp", ".avif"):  # their resolution stands in EXIF alone
        tags.update({0x011A: 300.0, 0x011B: 240.0, 0x0128: 2})
    make_photo().save(source, exif=tags, dpi=(300, 240))
    if suffix == ".tif":  # Pillow's own TIFFs lose the camera's tags; ours do not
        write_image_file(read_image_file(source), read_image_file(source).rgb, source)
    original = read_image_file(source)
    write_provenance(original, "by a test")
    write_image_file(original, original.rgb, target)
    with Image.open(target) as painted:
        assert painted.format == FORMAT_BY_SUFFIX[suffix] and painted.mode == "RGB"
        told = painted.getexif()
        assert told[0x010E] == "Grandma, 1931"
        assert told[SOFTWARE] == "Scan 2; colorize: by a test"
        if suffix != ".tif":
            assert told.get_ifd(CAMERA)[DATE] == "1931:05:01 12:00:00"
        difference = np.asarray(painted, int) - values(original)
    assert read_image_file(target).dpi == pytest.approx((300, 240), abs=0.02)
    assert np.abs(difference).mean() <= {".png": 0, ".tif": 0}.get(suffix, 2.5)
    assert read_provenance(target) == "by a test" and read_provenance(source) is None


def test_of_several_pictures_the_first_is_read_and_they_are_counted(tmp_path):
    pages = [make_photo(), make_photo().rotate(180), ImageOps.mirror(make_photo())]
    for name in ("a.gif", "a.tif", "a.webp"):
        pages[0].save(tmp_path / name, save_all=True, append_images=pages[1:], lossless=True)
        assert read_image_file(tmp_path / name).pictures == 3
    tifffile.imwrite(tmp_path / "deep.tif", np.stack([DEEP, DEEP[::-1]]), photometric="rgb")
    found = read_image_file(tmp_path / "deep.tif")
    assert found.pictures == 2 and np.array_equal(values(found), DEEP)
    assert read_png(DEEP).pictures == read_png(SHALLOW).pictures == 1


def test_what_was_said_before_of_a_painting_is_replaced():
    original = read_image_file(io.BytesIO(encode(read_png(SHALLOW), read_png(SHALLOW).rgb, "PNG")))
    write_provenance(original, "one")
    write_provenance(original, "two")
    assert original.exif[SOFTWARE] == "colorize: two"


def read_png(array):
    return read_image_file(io.BytesIO(imagecodecs.png_encode(array)))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("deep", [False, True])
def test_a_picture_stands_upright_as_pillow_would_turn_it(tmp_path, orientation, deep):
    photo = Image.fromarray(SHALLOW)
    photo.save(tmp_path / "a.png", exif=exif(orientation))
    with Image.open(tmp_path / "a.png") as turned:
        expected = np.asarray(ImageOps.exif_transpose(turned))
    path = tmp_path / "a.png"
    if deep:
        path = tmp_path / "a.tif"
        array = SHALLOW.astype(np.uint16) * 257
        tifffile.imwrite(
            path, array, photometric="rgb", extratags=[(274, "H", 1, orientation, True)]
        )
    original = read_image_file(path)
    assert np.array_equal(values(original) // (257 if deep else 1), expected)
    assert 0x0112 not in original.exif


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bits_stay_16_bits(tmp_path, channels, kind):
    array = RNG.integers(0, 65535, (9, 7, channels), dtype=np.uint16)
    path = tmp_path / "a"
    if kind == "PNG":
        path.write_bytes(imagecodecs.png_encode(array.squeeze()))
    else:
        photometric = "minisblack" if channels < 3 else "rgb"
        extra = ["unassalpha"] if channels in (2, 4) else None
        tifffile.imwrite(
            path,
            array.squeeze(),
            photometric=photometric,
            extrasamples=extra,
            planarconfig="contig",
        )
    original = read_image_file(path)
    assert original.kind == kind and original.rgb.dtype == torch.uint16
    colors = array[..., :3] if channels > 2 else array[..., :1].repeat(3, axis=2)
    assert np.array_equal(values(original), colors)
    if channels in (2, 4):
        assert np.array_equal(original.alpha[0].numpy(), array[..., -1])
    # And in the file again, read by another program.
    data = encode(original, original.rgb, kind)
    again = imagecodecs.png_decode(data) if kind == "PNG" else tifffile.imread(io.BytesIO(data))
    assert again.dtype == np.uint16 and np.array_equal(again[..., :3], colors)
    if channels in (2, 4):
        assert np.array_equal(again[..., 3], array[..., -1])
    # Where there are no 16 bits, they are rounded.
    eight = read_image_file(io.BytesIO(encode(original, original.rgb, "WEBP")))
    assert eight.rgb.dtype == torch.uint8 and (eight.alpha is None) == (original.alpha is None)


@pytest.mark.parametrize(
    ("array", "options"),
    [
        (DEEP[..., 0].astype(np.float32) / 65535, {}),
        (DEEP[..., 0].astype(np.float64) / 257, {}),  # floats up to 255
        (DEEP[..., 0].astype(np.uint32) * 65537, {}),
        (65535 - DEEP[..., 0], {"photometric": "miniswhite"}),
        (np.moveaxis(DEEP[..., :1].repeat(3, 2), -1, 0), {"planarconfig": "separate"}),
        (DEEP[..., 0], {"compression": "lzw"}),
        (DEEP[..., 0], {"byteorder": ">"}),
        (DEEP[..., 0], {"bigtiff": True}),
    ],
)
def test_deep_tiffs_of_many_kinds_hold_the_same_picture(tmp_path, array, options):
    options = {"photometric": "rgb" if array.ndim == 3 else "minisblack", **options}
    tifffile.imwrite(tmp_path / "a.tif", array, **options)
    found = values(read_image_file(tmp_path / "a.tif"))
    assert np.abs(found[..., 1].astype(int) - DEEP[..., 0]).max() <= 1


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_a_deep_picture_that_is_nearly_black_stays_so(kind, tmp_path):
    dark = DEEP // 400  # all below 164 of 65535
    if kind == "PNG":
        found = read_png(dark)
    else:
        tifffile.imwrite(tmp_path / "dark.tif", dark, photometric="rgb")
        found = read_image_file(tmp_path / "dark.tif")
    assert np.array_equal(values(found), dark)


def test_deep_pictures_that_pillow_reads_are_deep_too(tmp_path):
    Image.fromarray(DEEP[..., 0]).save(tmp_path / "a.pgm")
    original = read_image_file(tmp_path / "a.pgm")
    assert original.kind == "PNG" and np.array_equal(values(original)[..., 2], DEEP[..., 0])


@pytest.mark.parametrize("grey", [False, True])
def test_a_profile_is_applied_to_deep_colors_within_one_8_bit_level(grey):
    # A display with a gamma of 1.8: sRGB lies elsewhere.
    space = "GRAY" if grey else "RGB"
    profile = gamma_profile(space)
    array = DEEP[..., :1] if grey else DEEP
    data = imagecodecs.png_encode(np.ascontiguousarray(array.squeeze()))
    data = with_profile(data, profile)
    original = read_image_file(io.BytesIO(data))
    light = (array / 65535.0) ** 1.8
    expected = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    found = values(original) / 65535
    assert np.abs(found - expected).max() < 1.5 / 255
    assert np.abs(array / 65535 - expected).max() > 10 / 255  # it matters
    assert len(np.unique(found)) > 200  # more than 8 bits


def fixed(number):
    """As profiles have numbers (s15Fixed16)."""
    return struct.pack(">i", round(number * 65536))


def gamma_profile(space):
    """A minimal profile of sRGB's primaries, or of grey, with a gamma of 1.8."""
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(1.8 * 256)) + bytes(2)
    tags = {}
    if space == "GRAY":
        tags[b"kTRC"] = curve
    else:
        primaries = {
            b"rXYZ": (0.43607, 0.22249, 0.01392),
            b"gXYZ": (0.38515, 0.71687, 0.09708),
            b"bXYZ": (0.14307, 0.06061, 0.71410),
        }
        tags |= {n: b"XYZ " + bytes(4) + b"".join(map(fixed, p)) for n, p in primaries.items()}
        tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    return icc_profile(space, "XYZ", "mntr", tags)


def ink_profile():
    """A minimal profile of four inks: a table from the corners of their cube to CIELAB."""
    corners = [
        (255 * (1 - k) * (1 - (c + m + y) / 4), 128 + 40 * (m - c), 128 + 40 * (y - (c + m) / 2))
        for c, m, y, k in itertools.product((0, 1), repeat=4)
    ]
    table = bytes(round(number) for corner in corners for number in corner)
    matrix = b"".join(map(fixed, np.eye(3).ravel()))
    curve = bytes(range(256))
    table = b"mft1" + bytes(4) + bytes((4, 3, 2, 0)) + matrix + curve * 4 + table + curve * 3
    return icc_profile("CMYK", "Lab", "prtr", {b"A2B0": table})


def icc_profile(space, connection, kind, tags):
    """A profile of version 2.4 with these tags (ICC.1:2001-04)."""
    white = (0.9642, 1.0, 0.8249)
    tags = tags | {b"wtpt": b"XYZ " + bytes(4) + b"".join(map(fixed, white))}
    tags[b"desc"] = b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\0" + bytes(78)
    tags[b"cprt"] = b"text" + bytes(4) + b"none\0" + bytes(3)
    table, body, offset = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        data += bytes(-len(data) % 4)
        table += name + struct.pack(">II", offset + len(body), len(data))
        body += data
    size = struct.pack(">I", offset + len(body))
    head = size + bytes(4) + struct.pack(">I", 0x02400000) + kind.encode()
    head += (
        (space.ljust(4) + connection.ljust(4)).encode()
        + bytes(12)
        + b"acsp"
        + bytes(28)
        + b"".join(map(fixed, white))
    )
    return head.ljust(128, b"\0") + table + body


@pytest.mark.parametrize("profile", [None, ink_profile()])
@pytest.mark.parametrize("has_alpha", [False, True])
def test_a_deep_tiff_of_inks_is_as_pillow_has_it_in_8_bits_and_finer(tmp_path, profile, has_alpha):
    """By lcms through Pillow, on the levels that 8 bits know; between them are others."""
    inks = RNG.integers(0, 256, (30, 30, 4), np.uint8)
    shallow = Image.fromarray(inks, "CMYK")
    expected = shallow.convert("RGB")
    if profile is not None:
        kinds = (io.BytesIO(profile), ImageCms.createProfile("sRGB"), "CMYK", "RGB")
        exact = ImageCms.buildTransform(*kinds, flags=ImageCms.Flags.NOOPTIMIZE)
        expected = ImageCms.applyTransform(shallow, exact)
    expected = np.asarray(expected, int)
    array = inks.astype(np.uint16) * 257
    if has_alpha:
        array = np.concatenate((array, np.full_like(array[..., :1], 3000)), 2)
    tags = [(0x8773, "B", len(profile), profile, True)] if profile else []
    options = {"photometric": "separated", "extratags": tags}
    if has_alpha:
        options["extrasamples"] = ["unassalpha"]
    tifffile.imwrite(tmp_path / "inks.tif", array, **options)
    original = read_image_file(tmp_path / "inks.tif")
    assert original.kind == "TIFF" and original.rgb.dtype == torch.uint16 and not original.left
    assert np.abs(values(original)[..., :3] / 257 - expected).max() < 1.01
    assert (original.alpha is not None) == has_alpha
    assert not has_alpha or bool((original.alpha.int() == 3000).all())
    between = RNG.integers(0, 2000, (100, 100, 4), np.uint16)
    tifffile.imwrite(tmp_path / "inks.tif", between, photometric="separated", extratags=tags)
    assert len(np.unique(values(read_image_file(tmp_path / "inks.tif")))) > 256


def test_what_is_read_with_8_bits_and_has_more_says_so(tmp_path):
    deep = np.ascontiguousarray(DEEP)
    (tmp_path / "a.ppm").write_bytes(b"P6\n# of a scanner\n20 12\n65535\n" + deep.tobytes())
    (tmp_path / "a.jp2").write_bytes(imagecodecs.jpeg2k_encode(deep, bitspersample=12))
    data = imagecodecs.avif_encode(deep // 64, bitspersample=10)
    (tmp_path / "a.avif").write_bytes(data)
    for name, bits in (("a.ppm", 16), ("a.jp2", 12), ("a.avif", 10)):
        assert read_image_file(tmp_path / name).left == f"has {bits} bits a channel, its painting 8"
    for kind in ("PPM", "JPEG2000", "AVIF"):
        make_photo().save(tmp_path / "a", kind)
        assert read_image_file(tmp_path / "a").left == ""


def with_profile(png, profile):
    chunk = b"iCCP" + b"test\0\0" + zlib.compress(profile)
    packed = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return png[:33] + packed + png[33:]


def test_the_minimal_profile_of_these_tests_is_one():
    assert ImageCms.ImageCmsProfile(io.BytesIO(gamma_profile("RGB"))).profile.version == 2.4


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_painting_stored_without_loss_has_the_lightness_of_its_photo(kind, deep, channels):
    dtype = np.uint16 if deep else np.uint8
    array = RNG.integers(0, np.iinfo(dtype).max, (37, 53, channels), dtype=dtype)
    original = read_image_file(io.BytesIO(imagecodecs.png_encode(array.squeeze())))
    (colors,) = Colorizer(
        Fake(lambda _: torch.tensor([0.6, -0.7]).view(1, 2, 1, 1)), 16, "cpu"
    ).predict([original.seen])
    (painted,) = colors.paint(original.rgb)
    data = encode(original, painted, kind)
    stored = imagecodecs.png_decode(data) if kind == "PNG" else tifffile.imread(io.BytesIO(data))
    white = np.iinfo(dtype).max
    assert stored.dtype == dtype
    before, after = (rgb2lab(v[..., :3] / white) for v in (values(original), stored))
    assert np.abs(after[..., 0] - before[..., 0]).max() <= 100 / 255
    assert np.abs(after - before)[..., 1:].max() > 20


@pytest.mark.parametrize(
    "data", [b"", b"\x89PNG\r\n\x1a\n", b"II*\0", b"no picture", b"\xff\xd8\xff"]
)
def test_what_is_no_picture_is_named(tmp_path, data):
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(PhotoError, match=r"a\.png"):
        read_image_file(tmp_path / "a.png")


def test_a_deep_bomb_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "a.tif", DEEP, photometric="rgb")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    monkeypatch.setattr(tifffile.TiffPage, "asarray", None)
    with pytest.raises(
        PhotoError, match=r"a\.tif.*larger than 0\.0002 megapixels.*MAX_IMAGE_PIXELS"
    ):
        read_image_file(tmp_path / "a.tif")


def test_a_kind_that_is_not_written_and_a_full_disk_are_named(tmp_path, monkeypatch):
    original = read_png(SHALLOW)
    with pytest.raises(PhotoError, match=r"a\.gif: unknown kind of file; use one of \.jpg"):
        write_image_file(original, original.rgb, tmp_path / "a.gif")
    (tmp_path / "file").write_text("")
    with pytest.raises(PhotoError, match="cannot be written"):
        write_image_file(original, original.rgb, tmp_path / "file" / "a.png")


def test_a_tiff_whose_damage_asks_for_all_memory_is_refused(tmp_path):
    options = {"compression": "lzw", "byteorder": "<", "bigtiff": True}
    tifffile.imwrite(tmp_path / "a.tif", DEEP, photometric="rgb", **options)
    data = bytearray((tmp_path / "a.tif").read_bytes())
    entry = data.index(struct.pack("<HH", 279, 16)) + 12  # of StripByteCounts
    data[entry : entry + 8] = struct.pack("<Q", 2**60)
    (tmp_path / "a.tif").write_bytes(data)
    with pytest.raises(PhotoError, match=r"a\.tif: damaged or cut short"):
        read_image_file(tmp_path / "a.tif")


@pytest.mark.parametrize(("white", "peak"), [(1, 1.2), (1, 3.0), (255, 255.0), (65535, 60000.0)])
def test_floats_that_go_beyond_white_do_not_blacken_the_rest(tmp_path, white, peak):
    values = np.linspace(0, 0.5 * white, 64 * 64, dtype=np.float32).reshape(64, 64)
    values[0, 0] = peak
    tifffile.imwrite(tmp_path / "a.tif", values)
    found = read_image_file(tmp_path / "a.tif").rgb[0].float() / 65535
    expected = torch.from_numpy(values / white).clamp(0, 1)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_colors_that_are_multiplied_by_their_alpha_are_freed_of_it(tmp_path):
    straight, alpha = np.full((8, 8, 3), 0.8), np.linspace(0.25, 1, 64).reshape(8, 8, 1)
    values = (np.concatenate((straight * alpha, alpha), 2) * 65535).astype(np.uint16)
    options = {"photometric": "rgb", "extrasamples": ["assocalpha"]}
    tifffile.imwrite(tmp_path / "a.tif", values, **options)
    found = read_image_file(tmp_path / "a.tif")
    assert (found.rgb.float() / 65535 - 0.8).abs().max() < 1e-3
    assert torch.equal(found.alpha[0].int(), torch.from_numpy(values[..., 3].astype(np.int32)))


def test_what_is_said_of_the_layout_does_not_go_with_the_painting(tmp_path):
    values = np.zeros((2, 8, 8), np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", values, imagej=True)
    original = read_image_file(tmp_path / "a.tif")
    assert original.dpi is None and original.pictures == 2
    write_image_file(original, original.rgb, tmp_path / "b.tif")
    assert tifffile.imread(tmp_path / "b.tif").shape == (8, 8, 3)
    with tifffile.TiffFile(tmp_path / "b.tif") as written:
        assert "ImageDescription" not in written.pages.first.tags


def test_a_tiff_that_says_no_resolution_gets_none(tmp_path):
    Image.new("L", (8, 8)).save(tmp_path / "a.tif")
    assert read_image_file(tmp_path / "a.tif").dpi is None


def test_16_bits_are_brought_to_8_and_white_stays_white():
    levels = torch.arange(256).view(1, 16, 16)
    assert torch.equal(to_8_bit((levels * 257).to(torch.uint16)), levels.to(torch.uint8))
    assert to_8_bit(torch.tensor([[[128, 129, 65406, 65407]]]).to(torch.uint16)).tolist() == [
        [[0, 1, 254, 255]]
    ]


@pytest.mark.parametrize("orientation", [3, 6])
def test_a_deep_png_is_set_upright_and_keeps_what_it_tells(tmp_path, orientation):
    tags = exif(orientation)
    (tmp_path / "a.png").write_bytes(encode_png(DEEP, tags, (300, 240)))
    original = read_image_file(tmp_path / "a.png")
    assert np.array_equal(values(original), np.rot90(DEEP, {3: 2, 6: -1}[orientation]))
    assert original.dpi == pytest.approx((300, 240), abs=0.02)
    assert original.exif[0x010E] == "Grandma, 1931" and 0x0112 not in original.exif


def test_resolutions_per_centimeter_are_brought_to_inches(tmp_path):
    options = {"photometric": "rgb", "resolution": (100, 50), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(tmp_path / "a.tif", DEEP, **options)
    tags = exif()
    tags.update({0x011A: 100.0, 0x011B: 50.0, 0x0128: 3})
    make_photo().save(tmp_path / "a.webp", exif=tags)
    for name in ("a.tif", "a.webp"):
        assert read_image_file(tmp_path / name).dpi == pytest.approx((254, 127))


def test_a_deep_picture_whose_alpha_is_full_everywhere_is_opaque():
    full = np.full_like(DEEP[..., :1], 65535)
    assert read_png(np.concatenate((DEEP, full), 2)).alpha is None
    full[0, 0] = 65534
    assert read_png(np.concatenate((DEEP, full), 2)).alpha is not None


def test_in_a_jpeg_what_was_transparent_lies_on_white():
    values = np.zeros((16, 16, 4), np.uint8)
    values[:8, :, 3] = 255
    original = read_png(values)
    found = np.asarray(Image.open(io.BytesIO(encode(original, original.rgb, "JPEG"))))
    assert found[:7].max() < 10 and found[9:].min() > 245


def test_the_previews_in_a_cameras_jpeg_are_no_pictures(tmp_path):
    photo = make_photo()
    photo.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[photo.reduce(2)])
    original = read_image_file(tmp_path / "a.jpg")
    assert (original.kind, original.pictures, original.left) == ("JPEG", 1, "")


def test_what_exif_says_of_the_pixels_does_not_go_with_the_painting(tmp_path):
    tags = exif()
    tags.get_ifd(CAMERA).update({0xA001: 1, 0xA002: 4000, 0xA003: 3000})
    make_photo().save(tmp_path / "a.jpg", exif=tags)
    assert dict(read_image_file(tmp_path / "a.jpg").exif.get_ifd(CAMERA)) == {
        DATE: "1931:05:01 12:00:00"
    }
