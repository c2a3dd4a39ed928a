"""Image files: bit depth, transparency, EXIF, resolution, and outputs that keep them."""

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
from colorize.io.containers import Block, insert_chunks
from colorize.io.high_bit_depth import to_8_bit
from colorize.io.image import FORMAT_BY_SUFFIX, PhotoError
from colorize.io.image_file import read_image_file, read_provenance
from colorize.io.image_writer import encode_image_file, write_image_file

CAMERA, DATE, SOFTWARE = 0x8769, 0x9003, 0x0131
RNG = np.random.default_rng(0)
HIGH_BIT = RNG.integers(0, 65536, (12, 20, 3), dtype=np.uint16)
EIGHT_BIT = RNG.integers(0, 256, (12, 20, 3), dtype=np.uint8)


def values(image):
    """The pixels of an image, (H, W, 3)."""
    return image.rgb.permute(1, 2, 0).numpy()


def exif(orientation=None):
    tags = Image.Exif()
    tags[0x010E], tags[SOFTWARE] = "Grandma, 1931", "Scan 2"
    tags.get_ifd(CAMERA)[DATE] = "1931:05:01 12:00:00"
    if orientation:
        tags[0x0112] = orientation
    return tags


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".avif", ".tif"])
def test_an_output_has_the_format_and_the_metadata_of_its_source(tmp_path, suffix):
    source, target = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    tags = exif()
    if suffix in (".webp", ".avif"):  # their resolution stands in EXIF alone
        tags.update({0x011A: 300.0, 0x011B: 240.0, 0x0128: 2})
    make_photo().save(source, exif=tags, dpi=(300, 240))
    image = read_image_file(source)
    image.metadata.write_provenance("by a test")
    write_image_file(image, image.rgb, target)
    with Image.open(target) as colorized:
        assert colorized.format == FORMAT_BY_SUFFIX[suffix] and colorized.mode == "RGB"
        message = colorized.getexif()
        assert message[0x010E] == "Grandma, 1931"
        assert message[SOFTWARE] == "Scan 2; colorize: by a test"
        if suffix != ".tif":  # Pillow's own TIFFs lose the camera's tags
            assert message.get_ifd(CAMERA)[DATE] == "1931:05:01 12:00:00"
        difference = np.asarray(colorized, int) - values(image)
    assert read_image_file(target).dpi == pytest.approx((300, 240), abs=0.02)
    assert np.abs(difference).mean() <= {".png": 0, ".tif": 0}.get(suffix, 2.5)
    assert read_provenance(target) == "by a test" and read_provenance(source) is None


def test_the_first_of_several_images_is_read_and_they_are_counted(tmp_path):
    pages = [make_photo(), make_photo().rotate(180), ImageOps.mirror(make_photo())]
    for name in ("a.gif", "a.tif", "a.webp"):
        pages[0].save(tmp_path / name, save_all=True, append_images=pages[1:], lossless=True)
        assert read_image_file(tmp_path / name).image_count == 3
    tifffile.imwrite(
        tmp_path / "is_high_bit.tif", np.stack([HIGH_BIT, HIGH_BIT[::-1]]), photometric="rgb"
    )
    result = read_image_file(tmp_path / "is_high_bit.tif")
    assert result.image_count == 2 and np.array_equal(values(result), HIGH_BIT)
    assert read_png(HIGH_BIT).image_count == read_png(EIGHT_BIT).image_count == 1


def test_earlier_provenance_is_replaced():
    image = read_image_file(
        io.BytesIO(encode_image_file(read_png(EIGHT_BIT), read_png(EIGHT_BIT).rgb, "PNG"))
    )
    image.metadata.write_provenance("one")
    image.metadata.write_provenance("two")
    assert image.metadata.provenance == "two"
    assert image.metadata.exif.image[SOFTWARE].value == b"colorize: two\0"
    assert image.metadata.xmp.count(b"DigitalSourceType") == 1


def read_png(array):
    return read_image_file(io.BytesIO(imagecodecs.png_encode(array)))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("is_high_bit", [False, True])
def test_orientations_are_applied_as_pillow_does(tmp_path, orientation, is_high_bit):
    photo = Image.fromarray(EIGHT_BIT)
    photo.save(tmp_path / "a.png", exif=exif(orientation))
    with Image.open(tmp_path / "a.png") as rotated:
        expected = np.asarray(ImageOps.exif_transpose(rotated))
    path = tmp_path / "a.png"
    if is_high_bit:
        path = tmp_path / "a.tif"
        array = EIGHT_BIT.astype(np.uint16) * 257
        tifffile.imwrite(
            path, array, photometric="rgb", extratags=[(274, "H", 1, orientation, True)]
        )
    image = read_image_file(path)
    assert np.array_equal(values(image) // (257 if is_high_bit else 1), expected)
    assert 0x0112 not in image.metadata.exif.image


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
    image = read_image_file(path)
    assert image.format == kind and image.rgb.dtype == torch.uint16
    colors = array[..., :3] if channels > 2 else array[..., :1].repeat(3, axis=2)
    assert np.array_equal(values(image), colors)
    if channels in (2, 4):
        assert np.array_equal(image.alpha[0].numpy(), array[..., -1])
    # And in the file again, read by another program.
    data = encode_image_file(image, image.rgb, kind)
    again = imagecodecs.png_decode(data) if kind == "PNG" else tifffile.imread(io.BytesIO(data))
    assert again.dtype == np.uint16 and np.array_equal(again[..., :3], colors)
    if channels in (2, 4):
        assert np.array_equal(again[..., 3], array[..., -1])
    # Where there are no 16 bits, they are rounded.
    eight = read_image_file(io.BytesIO(encode_image_file(image, image.rgb, "WEBP")))
    assert eight.rgb.dtype == torch.uint8 and (eight.alpha is None) == (image.alpha is None)


@pytest.mark.parametrize(
    ("array", "options"),
    [
        (HIGH_BIT[..., 0].astype(np.float32) / 65535, {}),
        (HIGH_BIT[..., 0].astype(np.float64) / 257, {}),  # floats up to 255
        (HIGH_BIT[..., 0].astype(np.uint32) * 65537, {}),
        (65535 - HIGH_BIT[..., 0], {"photometric": "miniswhite"}),
        (np.moveaxis(HIGH_BIT[..., :1].repeat(3, 2), -1, 0), {"planarconfig": "separate"}),
        (HIGH_BIT[..., 0], {"compression": "lzw"}),
        (HIGH_BIT[..., 0], {"byteorder": ">"}),
        (HIGH_BIT[..., 0], {"bigtiff": True}),
    ],
)
def test_high_bit_tiffs_of_many_kinds_hold_the_same_image(tmp_path, array, options):
    options = {"photometric": "rgb" if array.ndim == 3 else "minisblack", **options}
    tifffile.imwrite(tmp_path / "a.tif", array, **options)
    result = values(read_image_file(tmp_path / "a.tif"))
    assert np.abs(result[..., 1].astype(int) - HIGH_BIT[..., 0]).max() <= 1


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_a_nearly_black_high_bit_image_stays_so(kind, tmp_path):
    dark = HIGH_BIT // 400  # all below 164 of 65535
    if kind == "PNG":
        result = read_png(dark)
    else:
        tifffile.imwrite(tmp_path / "dark.tif", dark, photometric="rgb")
        result = read_image_file(tmp_path / "dark.tif")
    assert np.array_equal(values(result), dark)


def test_high_bit_images_that_pillow_reads_keep_their_bits(tmp_path):
    Image.fromarray(HIGH_BIT[..., 0]).save(tmp_path / "a.pgm")
    image = read_image_file(tmp_path / "a.pgm")
    assert image.format == "PNG" and np.array_equal(values(image)[..., 2], HIGH_BIT[..., 0])


@pytest.mark.parametrize("gray", [False, True])
def test_a_profile_is_applied_to_high_bit_colors_within_one_8_bit_level(gray):
    # A display with a gamma of 1.8: sRGB lies elsewhere.
    space = "GRAY" if gray else "RGB"
    profile = gamma_profile(space)
    array = HIGH_BIT[..., :1] if gray else HIGH_BIT
    data = imagecodecs.png_encode(np.ascontiguousarray(array.squeeze()))
    data = with_profile(data, profile)
    image = read_image_file(io.BytesIO(data))
    light = (array / 65535.0) ** 1.8
    expected = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    result = values(image) / 65535
    assert np.abs(result - expected).max() < 1.5 / 255
    assert np.abs(array / 65535 - expected).max() > 10 / 255  # it matters
    assert len(np.unique(result)) > 200  # more than 8 bits


def fixed(number):
    """As profiles have numbers (s15Fixed16)."""
    return struct.pack(">i", round(number * 65536))


def gamma_profile(space):
    """A minimal profile of sRGB's primaries, or of gray, with a gamma of 1.8."""
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
def test_a_high_bit_cmyk_tiff_is_converted_as_pillow_does_in_8_bits_and_finer(
    tmp_path, profile, has_alpha
):
    """By lcms through Pillow, on the levels that 8 bits know; between them are others."""
    inks = RNG.integers(0, 256, (30, 30, 4), np.uint8)
    eight_bit = Image.fromarray(inks, "CMYK")
    expected = eight_bit.convert("RGB")
    if profile is not None:
        kinds = (io.BytesIO(profile), ImageCms.createProfile("sRGB"), "CMYK", "RGB")
        exact = ImageCms.buildTransform(*kinds, flags=ImageCms.Flags.NOOPTIMIZE)
        expected = ImageCms.applyTransform(eight_bit, exact)
    expected = np.asarray(expected, int)
    array = inks.astype(np.uint16) * 257
    if has_alpha:
        array = np.concatenate((array, np.full_like(array[..., :1], 3000)), 2)
    tags = [(0x8773, "B", len(profile), profile, True)] if profile else []
    options = {"photometric": "separated", "extratags": tags}
    if has_alpha:
        options["extrasamples"] = ["unassalpha"]
    tifffile.imwrite(tmp_path / "inks.tif", array, **options)
    image = read_image_file(tmp_path / "inks.tif")
    assert image.format == "TIFF" and image.rgb.dtype == torch.uint16 and not image.losses("TIFF")
    assert np.abs(values(image)[..., :3] / 257 - expected).max() < 1.01
    assert (image.alpha is not None) == has_alpha
    assert not has_alpha or bool((image.alpha.int() == 3000).all())
    between = RNG.integers(0, 2000, (100, 100, 4), np.uint16)
    tifffile.imwrite(tmp_path / "inks.tif", between, photometric="separated", extratags=tags)
    assert len(np.unique(values(read_image_file(tmp_path / "inks.tif")))) > 256


def test_a_reduced_bit_depth_is_reported(tmp_path):
    is_high_bit = np.ascontiguousarray(HIGH_BIT)
    (tmp_path / "a.ppm").write_bytes(b"P6\n# of a scanner\n20 12\n65535\n" + is_high_bit.tobytes())
    (tmp_path / "a.jp2").write_bytes(imagecodecs.jpeg2k_encode(is_high_bit, bitspersample=12))
    data = imagecodecs.avif_encode(is_high_bit // 64, bitspersample=10)
    (tmp_path / "a.avif").write_bytes(data)
    for name, bits in (("a.ppm", 16), ("a.jp2", 12), ("a.avif", 10)):
        assert (
            read_image_file(tmp_path / name).losses("PNG")
            == f"has {bits} bits per channel, the output has 8"
        )
    for kind in ("PPM", "JPEG2000", "AVIF"):
        make_photo().save(tmp_path / "a", kind)
        assert read_image_file(tmp_path / "a").losses("PNG") == ""


def with_profile(png, profile):
    chunk = b"iCCP" + b"test\0\0" + zlib.compress(profile)
    packed = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return png[:33] + packed + png[33:]


def test_the_minimal_profile_of_these_tests_is_one():
    assert ImageCms.ImageCmsProfile(io.BytesIO(gamma_profile("RGB"))).profile.version == 2.4


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("is_high_bit", [False, True])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_losslessly_stored_output_has_the_lightness_of_its_photo(kind, is_high_bit, channels):
    dtype = np.uint16 if is_high_bit else np.uint8
    array = RNG.integers(0, np.iinfo(dtype).max, (37, 53, channels), dtype=dtype)
    image = read_image_file(io.BytesIO(imagecodecs.png_encode(array.squeeze())))
    (colors,) = Colorizer(
        Fake(lambda _: torch.tensor([0.6, -0.7]).view(1, 2, 1, 1)), 16, "cpu"
    ).predict([image.as_rgb8()])
    (colorized,) = colors.apply_to(image.rgb)
    data = encode_image_file(image, colorized, kind)
    stored = imagecodecs.png_decode(data) if kind == "PNG" else tifffile.imread(io.BytesIO(data))
    white = np.iinfo(dtype).max
    assert stored.dtype == dtype
    before, after = (rgb2lab(v[..., :3] / white) for v in (values(image), stored))
    assert np.abs(after[..., 0] - before[..., 0]).max() <= 100 / 255
    assert np.abs(after - before)[..., 1:].max() > 20


@pytest.mark.parametrize(
    "data", [b"", b"\x89PNG\r\n\x1a\n", b"II*\0", b"no image", b"\xff\xd8\xff"]
)
def test_a_file_that_is_not_an_image_is_named(tmp_path, data):
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(PhotoError, match=r"a\.png"):
        read_image_file(tmp_path / "a.png")


def test_a_high_bit_decompression_bomb_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "a.tif", HIGH_BIT, photometric="rgb")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    monkeypatch.setattr(tifffile.TiffPage, "asarray", None)
    with pytest.raises(
        PhotoError, match=r"a\.tif.*larger than 0\.0002 megapixels.*MAX_IMAGE_PIXELS"
    ):
        read_image_file(tmp_path / "a.tif")


def test_an_unknown_format_and_an_impossible_path_are_named(tmp_path, monkeypatch):
    image = read_png(EIGHT_BIT)
    with pytest.raises(PhotoError, match=r"a\.gif: unknown file format; use one of \.jpg"):
        write_image_file(image, image.rgb, tmp_path / "a.gif")
    (tmp_path / "file").write_text("")
    with pytest.raises(PhotoError, match="cannot be written"):
        write_image_file(image, image.rgb, tmp_path / "file" / "a.png")


def test_a_tiff_whose_damage_asks_for_all_memory_is_refused(tmp_path):
    options = {"compression": "lzw", "byteorder": "<", "bigtiff": True}
    tifffile.imwrite(tmp_path / "a.tif", HIGH_BIT, photometric="rgb", **options)
    data = bytearray((tmp_path / "a.tif").read_bytes())
    entry = data.index(struct.pack("<HH", 279, 16)) + 12  # of StripByteCounts
    data[entry : entry + 8] = struct.pack("<Q", 2**60)
    (tmp_path / "a.tif").write_bytes(data)
    with pytest.raises(PhotoError, match=r"a\.tif: damaged or truncated"):
        read_image_file(tmp_path / "a.tif")


@pytest.mark.parametrize(("white", "peak"), [(1, 1.2), (1, 3.0), (255, 255.0), (65535, 60000.0)])
def test_floats_that_go_beyond_white_do_not_blacken_the_rest(tmp_path, white, peak):
    values = np.linspace(0, 0.5 * white, 64 * 64, dtype=np.float32).reshape(64, 64)
    values[0, 0] = peak
    tifffile.imwrite(tmp_path / "a.tif", values)
    result = read_image_file(tmp_path / "a.tif").rgb[0].float() / 65535
    expected = torch.from_numpy(values / white).clamp(0, 1)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-4)


def test_premultiplied_alpha_is_divided_out(tmp_path):
    straight, alpha = np.full((8, 8, 3), 0.8), np.linspace(0.25, 1, 64).reshape(8, 8, 1)
    values = (np.concatenate((straight * alpha, alpha), 2) * 65535).astype(np.uint16)
    options = {"photometric": "rgb", "extrasamples": ["assocalpha"]}
    tifffile.imwrite(tmp_path / "a.tif", values, **options)
    result = read_image_file(tmp_path / "a.tif")
    assert (result.rgb.float() / 65535 - 0.8).abs().max() < 1e-3
    assert torch.equal(result.alpha[0].int(), torch.from_numpy(values[..., 3].astype(np.int32)))


def test_descriptions_of_the_storage_are_not_copied(tmp_path):
    values = np.zeros((2, 8, 8), np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", values, imagej=True)
    image = read_image_file(tmp_path / "a.tif")
    assert image.dpi is None and image.image_count == 2
    write_image_file(image, image.rgb, tmp_path / "b.tif")
    assert tifffile.imread(tmp_path / "b.tif").shape == (8, 8, 3)
    with tifffile.TiffFile(tmp_path / "b.tif") as written:
        assert "ImageDescription" not in written.pages.first.tags


def test_a_tiff_without_resolution_gets_none(tmp_path):
    Image.new("L", (8, 8)).save(tmp_path / "a.tif")
    assert read_image_file(tmp_path / "a.tif").dpi is None


def test_16_bits_are_brought_to_8_and_white_stays_white():
    levels = torch.arange(256).view(1, 16, 16)
    assert torch.equal(to_8_bit((levels * 257).to(torch.uint16)), levels.to(torch.uint8))
    assert to_8_bit(torch.tensor([[[128, 129, 65406, 65407]]]).to(torch.uint16)).tolist() == [
        [[0, 1, 254, 255]]
    ]


@pytest.mark.parametrize("orientation", [3, 6])
def test_a_high_bit_png_is_turned_upright_and_keeps_its_metadata(tmp_path, orientation):
    tags = exif(orientation)
    chunks = [
        Block(b"eXIf", tags.tobytes().removeprefix(b"Exif\0\0")),
        Block(b"pHYs", struct.pack(">IIB", round(300 / 0.0254), round(240 / 0.0254), 1)),
    ]
    (tmp_path / "a.png").write_bytes(insert_chunks(imagecodecs.png_encode(HIGH_BIT), chunks))
    image = read_image_file(tmp_path / "a.png")
    assert np.array_equal(values(image), np.rot90(HIGH_BIT, {3: 2, 6: -1}[orientation]))
    assert image.dpi == pytest.approx((300, 240), abs=0.02)
    tags = image.metadata.exif.image
    assert tags[0x010E].value == b"Grandma, 1931\0" and 0x0112 not in tags


def test_resolutions_per_centimeter_are_brought_to_inches(tmp_path):
    options = {"photometric": "rgb", "resolution": (100, 50), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(tmp_path / "a.tif", HIGH_BIT, **options)
    tags = exif()
    tags.update({0x011A: 100.0, 0x011B: 50.0, 0x0128: 3})
    make_photo().save(tmp_path / "a.webp", exif=tags)
    for name in ("a.tif", "a.webp"):
        assert read_image_file(tmp_path / name).dpi == pytest.approx((254, 127))


def test_a_high_bit_image_with_full_alpha_everywhere_is_opaque():
    full = np.full_like(HIGH_BIT[..., :1], 65535)
    assert read_png(np.concatenate((HIGH_BIT, full), 2)).alpha is None
    full[0, 0] = 65534
    assert read_png(np.concatenate((HIGH_BIT, full), 2)).alpha is not None


def test_a_jpeg_composites_transparency_on_white():
    values = np.zeros((16, 16, 4), np.uint8)
    values[:8, :, 3] = 255
    image = read_png(values)
    result = np.asarray(Image.open(io.BytesIO(encode_image_file(image, image.rgb, "JPEG"))))
    assert result[:7].max() < 10 and result[9:].min() > 245


def test_the_previews_in_a_cameras_jpeg_are_not_counted(tmp_path):
    photo = make_photo()
    photo.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[photo.reduce(2)])
    image = read_image_file(tmp_path / "a.jpg")
    assert (image.format, image.image_count, image.losses("JPEG")) == ("JPEG", 1, "")


def test_what_exif_tells_of_the_pixels_follows_them(tmp_path):
    tags = exif()
    tags.get_ifd(CAMERA).update({0xA001: 65535, 0xA002: 4000, 0xA003: 3000})
    make_photo().save(tmp_path / "a.jpg", exif=tags)
    image = read_image_file(tmp_path / "a.jpg")
    write_image_file(image, image.rgb, tmp_path / "b.jpg")
    with Image.open(tmp_path / "b.jpg") as written:
        assert dict(written.getexif().get_ifd(CAMERA)) == {
            DATE: "1931:05:01 12:00:00",
            0xA001: 1,  # sRGB
            0xA002: 80,
            0xA003: 60,
        }
