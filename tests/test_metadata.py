"""Metadata: whatever a file tells of its photo is in the output, byte for byte, or named."""

import io
import itertools
import json
import shutil
import struct
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
import tifffile
from conftest import make_photo
from PIL import Image

from colorize.io.containers import (
    Block,
    Resource,
    encode_resources,
    insert_chunks,
    insert_segments,
    jpeg_segments,
    photoshop_resources,
    png_chunks,
)
from colorize.io.exif import Exif, Tag, parse_block
from colorize.io.image_file import read_image_file, read_provenance
from colorize.io.image_writer import encode_image_file
from colorize.io.xmp import DIGITAL_SOURCE_TYPE, mark_colorized, set_upright, stored_orientation

CASES = Path(__file__).parent / "data" / "cases"
CAPTION = "Großmutter Änne, Żuraw 写真 1931".encode()
FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "AVIF")


def colorized(path_or_bytes, image_format, provenance="by a test"):
    """An output in a format, as bytes."""
    is_bytes = isinstance(path_or_bytes, bytes)
    image = read_image_file(io.BytesIO(path_or_bytes) if is_bytes else path_or_bytes)
    image.metadata.write_provenance(provenance)
    return encode_image_file(image, image.rgb, image_format)


def walk_tiff(block):
    """All tags of a TIFF structure, by (directory, code): its type and bytes; by its own walk."""
    order = "<" if block[:2] == b"II" else ">"
    sizes = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1, 9: 4, 10: 8}
    todo, tags = [("image", struct.unpack_from(f"{order}I", block, 4)[0])], {}
    while todo:
        name, offset = todo.pop()
        (count,) = struct.unpack_from(f"{order}H", block, offset)
        for entry in range(offset + 2, offset + 2 + 12 * count, 12):
            code, kind, number = struct.unpack_from(f"{order}HHI", block, entry)
            length = number * sizes[kind]
            place = (
                entry + 8 if length <= 4 else struct.unpack_from(f"{order}I", block, entry + 8)[0]
            )
            value = block[place : place + length]
            if code in (0x8769, 0x8825):
                todo.append((hex(code), struct.unpack(f"{order}I", value)[0]))
            else:
                tags[name, code] = kind, value
        assert block[offset + 2 + 12 * count :][:4] == b"\0\0\0\0", "no thumbnail follows"
    return tags


def exif_block(data, image_format):
    """The TIFF structure in a file."""
    if image_format == "TIFF":
        return data
    if image_format == "JPEG":
        return next(d[6:] for m, d in jpeg_segments(data) if d.startswith(b"Exif"))
    if image_format == "PNG":
        return next(d for kind, d in png_chunks(data) if kind == b"eXIf")
    return Image.open(io.BytesIO(data)).info["exif"].removeprefix(b"Exif\0\0")


def xmp_of(data, image_format):
    if image_format == "TIFF":
        return walk_tiff(data)["image", 700][1]
    return Image.open(io.BytesIO(data)).info["xmp"]


@pytest.mark.parametrize("image_format", FORMATS)
@pytest.mark.parametrize("name", ["jpg", "png", "tif"])
def test_text_is_carried_byte_for_byte_and_keeps_its_type(name, image_format):
    data = colorized(CASES / f"caption-utf8.{name}", image_format)
    tags = walk_tiff(exif_block(data, image_format))
    assert tags["image", 0x010E] == (2, CAPTION + b"\0")
    assert tags["image", 0x013B] == (2, "Jörg Müller\0".encode())
    assert tags["image", 0x8298] == (2, "© Familie Öztürk\0".encode())
    kind, comment = tags["0x8769", 0x9286]
    assert kind == 7 and comment.startswith(b"UNICODE\0")
    assert tags["0x8769", 0x9101] == (7, b"\1\2\3\0")
    assert tags["0x8825", 1] == (2, b"N\0")
    assert tags["0x8769", 0xA001][1] in (b"\1\0", b"\0\1"), "the pixels are sRGB now"
    assert tags["image", 0x0131][1] == b"colorize: by a test\0"
    packet = xmp_of(data, image_format).decode()
    for text in ("Opa auf der Brücke", "<xmp:Rating>5<", "<rdf:li>Brücke<", DIGITAL_SOURCE_TYPE):
        assert text in packet
    Image.open(io.BytesIO(data)).load()


@pytest.mark.parametrize("image_format", ["JPEG", "TIFF", "PNG"])
@pytest.mark.parametrize("name", ["caption-utf8.jpg", "caption-utf8-16bit.tif"])
def test_iptc_is_carried_where_there_is_a_place(name, image_format):
    data = colorized(CASES / name, image_format)
    again = read_image_file(io.BytesIO(data)).metadata.resources
    (source,) = (r.data for r in read_image_file(CASES / name).metadata.resources if r[0] == 0x0404)
    assert "Opa auf der Brücke".encode() in source
    assert [r.data for r in again if r.number == 0x0404] == [source]


def test_a_photo_keeps_its_bytes_over_all_formats_in_turn():
    """Through every pair of formats that keep XMP and EXIF nothing is lost."""
    first = read_image_file(CASES / "caption-utf8.jpg").metadata
    data = (CASES / "caption-utf8.jpg").read_bytes()
    for image_format in (*FORMATS, "AVIF", "WEBP", "TIFF", "PNG", "JPEG"):
        data = colorized(data, image_format)
    last = read_image_file(io.BytesIO(data)).metadata
    del last.exif.image[0x0131]
    del last.exif.camera[0xA001], first.exif.camera[0xA001]
    for code in (0x0213, 0x011A, 0x011B, 0x0128):  # of storage in a TIFF; resolution 1 of no unit
        last.exif.image.pop(code, None)
        first.exif.image.pop(code, None)
    assert last.exif.image == first.exif.image
    assert (last.exif.camera, last.exif.gps) == (first.exif.camera, first.exif.gps)
    assert first.xmp[: first.xmp.index(b"</rdf:RDF>")] in last.xmp


def test_what_a_format_has_no_place_for_is_named():
    losses = {
        (name, image_format): read_image_file(CASES / name).losses(image_format)
        for name in ("caption-utf8.jpg", "caption-utf8.png")
        for image_format in FORMATS
    }
    assert losses.pop(("caption-utf8.jpg", "JPEG")) == losses.pop(("caption-utf8.png", "PNG")) == ""
    assert losses.pop(("caption-utf8.jpg", "PNG")) == ""
    for (name, image_format), text in losses.items():
        assert text.startswith("also holds what the output leaves out: ")
        if name.endswith(".png"):
            assert text.endswith("text chunks (Description, Title)")
        else:
            assert text.endswith("comment" if image_format == "TIFF" else "IPTC, comment")


def test_a_resolution_without_a_unit_is_none():
    assert read_image_file(CASES / "caption-utf8.jpg").dpi is None
    with Image.open(io.BytesIO(colorized(CASES / "caption-utf8.jpg", "JPEG"))) as image:
        assert image.info["jfif_unit"] == 0


def test_comments_and_text_chunks_are_carried():
    jpeg = colorized(CASES / "caption-utf8.jpg", "JPEG")
    assert [d for m, d in jpeg_segments(jpeg) if m == 0xFE] == [b"scanned 2003"]
    png = colorized(CASES / "caption-utf8.png", "PNG")
    source = (CASES / "caption-utf8.png").read_bytes()
    texts = [[c for c in png_chunks(d) if c.kind in (b"tEXt", b"zTXt")] for d in (source, png)]
    assert texts[0] == texts[1] and len(texts[0]) > 0
    with Image.open(io.BytesIO(colorized(CASES / "caption-utf8.jpg", "PNG"))) as image:
        image.load()
        assert image.text["Comment"] == "scanned 2003"


def jpeg_with(*segments):
    file = io.BytesIO()
    make_photo().save(file, "JPEG")
    return insert_segments(file.getvalue(), segments)


def test_unknown_chunks_and_color_spaces_of_a_png_are_named():
    png = io.BytesIO()
    make_photo(8, 8, seed=1).save(png, "PNG")
    chunks = [Block(b"prVt", b"1"), Block(b"oFFs", bytes(9)), Block(b"tIME", bytes(7))]
    for code_points, name in (
        (b"\1\x0d\0\1", []),
        (b"\x09\x10\0\1", ["color space (cICP), taken for sRGB"]),  # BT.2020, PQ
    ):
        data = insert_chunks(png.getvalue(), [*chunks, Block(b"cICP", code_points)])
        metadata = read_image_file(io.BytesIO(data)).metadata
        assert list(metadata.unread) == ["chunk prVt", "chunk oFFs", *name]


@pytest.mark.parametrize("name", [b"iptc", b"IPTC profile"])  # ImageMagick's and ExifTool's
def test_iptc_in_a_profile_of_a_png_is_decoded(name):
    block = b"\x1c\x02\x19\x00\x03Opa"
    resources = encode_resources([Resource(0x0404, b"", block)])
    profile = b"\n%s\n%8d\n%s\n" % (name, len(resources), resources.hex().encode())
    png = io.BytesIO()
    make_photo(8, 8, seed=1).save(png, "PNG")
    chunk = Block(b"tEXt", b"Raw profile type iptc\0" + profile)
    image = read_image_file(io.BytesIO(insert_chunks(png.getvalue(), [chunk])))
    assert image.metadata.resources == (Resource(0x0404, b"", block),)


def test_an_avif_whose_exif_has_an_orientation_of_its_own_keeps_its_text():
    """The container's orientation counts, none here; Pillow then encodes EXIF anew, as ASCII."""
    caption = CAPTION + b"\0"
    placeholder, tag = (struct.pack("<HHIHH", code, 3, 1, 6, 0) for code in (0x0113, 0x0112))
    exif = b"II*\0" + struct.pack("<IHHHII", 8, 2, 0x010E, 2, len(caption), 38)
    exif += placeholder + bytes(4) + caption
    avif = io.BytesIO()
    make_photo(32, 16, seed=1).save(avif, "AVIF", exif=exif)  # without orientation: as it is
    assert avif.getvalue().count(placeholder) == 1
    data = avif.getvalue().replace(placeholder, tag)
    output = colorized(data, "AVIF")
    tags = walk_tiff(exif_block(output, "AVIF"))
    assert tags["image", 0x010E] == (2, CAPTION + b"\0")
    assert Image.open(io.BytesIO(output)).size == (32, 16)


def test_large_photoshop_blocks_and_extended_xmp_go_through_a_jpeg():
    resources = [Resource(0x0404, b"", b"iptc"), Resource(2000, b"Path 1", bytes(90001))]
    content = encode_resources(resources)
    parts = [content[i : i + 65000] for i in range(0, len(content), 65000)]
    extension = b"http://ns.adobe.com/xmp/extension/\0" + bytes(100)
    data = jpeg_with(
        *(Block(0xED, b"Photoshop 3.0\0" + part) for part in parts), Block(0xE1, extension)
    )
    written = colorized(data, "JPEG")
    image = read_image_file(io.BytesIO(written))
    assert image.metadata.resources == tuple(resources)
    assert image.metadata.xmp_extension == (bytes(100),)
    assert read_image_file(io.BytesIO(data)).losses("TIFF").endswith("extended XMP")
    assert list(photoshop_resources(content)) == resources


def test_unknown_segments_and_signatures_are_named():
    segments = [Block(0xE3, b"META\0\1\2"), Block(0xEB, b"JP"), Block(0xEC, b"Ducky\0")]
    losses = read_image_file(io.BytesIO(jpeg_with(*segments))).losses("JPEG")
    assert losses.endswith("leaves out: segment APP3 (META), Content Credentials")


def test_a_block_that_no_jpeg_can_hold_loses_its_largest_tag_and_says_so():
    exif = Exif(image={0x010E: Tag(2, b"caption\0"), 0xC4A5: Tag(7, bytes(70000))})
    png = io.BytesIO()
    make_photo().save(png, "PNG")
    data = insert_chunks(png.getvalue(), [Block(b"eXIf", exif.to_block())])
    image = read_image_file(io.BytesIO(data))
    assert image.losses("JPEG").endswith("EXIF tag 0xc4a5 of 68 KB")
    assert parse_block(exif_block(colorized(data, "JPEG"), "JPEG")).image.keys() == {0x010E, 0x0131}
    assert ("image", 0xC4A5) in walk_tiff(exif_block(colorized(data, "PNG"), "PNG"))


def test_a_maker_note_stays_where_its_offsets_count_from():
    note = b"Maker\0" + bytes(range(100))
    file = bytearray(b"MM\0*\0\0\0\x08" + bytes(1000))
    struct.pack_into(">H", file, 8, 1)
    struct.pack_into(">HHII", file, 10, 0x8769, 4, 1, 100)
    struct.pack_into(">H", file, 100, 1)
    struct.pack_into(">HHII", file, 102, 0x927C, 7, len(note), 500)
    file[500 : 500 + len(note)] = note
    exif = parse_block(bytes(file))
    exif.image[0x010E] = Tag(2, b"a longer caption\0")
    written = exif.to_block()
    assert written[500 : 500 + len(note)] == note
    assert walk_tiff(written)["0x8769", 0x927C] == (7, note)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_damaged_blocks_are_named_and_the_photo_is_read():
    exif = Exif(image={0x010E: Tag(2, b"a caption\0")}).to_block()
    beyond = exif[:18] + struct.pack("<I", 10**6) + exif[22:]  # its value is beyond the end
    losses = []
    for block in (
        b"Exif\0\0" + exif[:9],
        b"Exif\0\0" + beyond,
        b"http://ns.adobe.com/xap/1.0/\0<x",
    ):
        losses.append(read_image_file(io.BytesIO(jpeg_with(Block(0xE1, block)))).losses("JPEG"))
    ends = ["damaged EXIF", "1 damaged EXIF tags", "damaged XMP"]
    assert [text.split(": ")[1] for text in losses] == ends


@pytest.mark.parametrize("byteorder", "<>")
@pytest.mark.parametrize("bigtiff", [False, True])
def test_tags_of_a_tiff_that_describe_the_photo_are_kept(byteorder, bigtiff):
    file = io.BytesIO()
    tags = [(285, "s", 0, "page 7", True), (316, "s", 0, "scanner-pc", True)]
    tags += [(65000, "H", 3, (1, 2, 3), True)]  # private
    options = {"byteorder": byteorder, "bigtiff": bigtiff, "photometric": "rgb"}
    array = np.zeros((4, 5, 3), np.uint16)
    tifffile.imwrite(file, array, extratags=tags, resolution=(300, 240), **options)
    written = walk_tiff(colorized(file.getvalue(), "TIFF"))
    assert written["image", 285] == (2, b"page 7\0")
    assert written["image", 316] == (2, b"scanner-pc\0")
    assert written["image", 65000] == (3, struct.pack(f"{byteorder}3H", 1, 2, 3))
    jpeg = colorized(file.getvalue(), "JPEG")
    assert walk_tiff(exif_block(jpeg, "JPEG"))["image", 285] == (2, b"page 7\0")
    assert read_image_file(io.BytesIO(jpeg)).dpi == (300, 240)


PACKET = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#"{}</x:xmpmeta>'
)
DECLARED = (
    'xmlns:t="http://ns.adobe.com/tiff/1.0/" xmlns:i="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"'
)


@pytest.mark.parametrize(
    "content",
    [
        "/>",
        "></r:RDF>",
        f'><r:Description {DECLARED} t:Orientation="6" i:DigitalSourceType="old"/></r:RDF>',
        f"><r:Description {DECLARED}><t:Orientation>6</t:Orientation>"
        "<i:DigitalSourceType>old</i:DigitalSourceType></r:Description></r:RDF>",
        f"><r:Description {DECLARED}><t:Orientation>6</t:Orientation>"
        '<i:DigitalSourceType r:resource="old"/></r:Description></r:RDF>',
    ],
)
def test_a_packet_says_that_a_model_contributed_and_that_the_photo_is_upright(content):
    packet = mark_colorized(set_upright(PACKET.format(content).encode()))
    root = ET.fromstring(packet)
    values = [*itertools.chain(*(element.attrib.items() for element in root.iter()))]
    values += [(element.tag, element.text) for element in root.iter()]
    assert [v for name, v in values if name.endswith("DigitalSourceType")] == [DIGITAL_SOURCE_TYPE]
    assert all(v == "1" for name, v in values if name.endswith("Orientation"))
    assert b"old" not in packet and mark_colorized(packet) == packet


@pytest.mark.parametrize(
    ("names", "prefix"),
    [('xmlns="{}"', ""), ('xmlns:a="{0}" xmlns:b="{0}"', "b:"), ('xmlns:r.d="{}"', "r.d:")],
)
@pytest.mark.parametrize("is_empty", [True, False])
def test_a_packet_is_marked_whatever_the_prefix_of_rdf(names, prefix, is_empty):
    names = names.format("http://www.w3.org/1999/02/22-rdf-syntax-ns#")
    content = "/>" if is_empty else f"><{prefix}Description/></{prefix}RDF>"
    packet = mark_colorized(set_upright(f"<{prefix}RDF {names}{content}".encode()))
    tree = ET.fromstring(packet)
    assert tree[-1].tag == "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description"
    name = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType"
    assert tree[-1].get(name) == DIGITAL_SOURCE_TYPE


def test_provenance_is_read_from_every_format(tmp_path):
    for image_format in FORMATS:
        path = tmp_path / f"a.{image_format}"
        path.write_bytes(colorized(CASES / "caption-utf8.jpg", image_format, "with “Müller”"))
        assert read_provenance(path) == "with “Müller”"


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="needs exiftool")
@pytest.mark.parametrize("image_format", FORMATS)
def test_exiftool_reads_the_same_before_and_after(tmp_path, image_format):
    source = {"PNG": "png", "TIFF": "tif"}.get(image_format, "jpg")
    path = tmp_path / f"a.{image_format.lower()}"
    path.write_bytes(colorized(CASES / f"caption-utf8.{source}", image_format))
    before, after = (
        json.loads(subprocess.check_output(["exiftool", "-j", "-a", "-G1", file]))[0]
        for file in (CASES / f"caption-utf8.{source}", path)
    )
    groups = ("IFD0", "ExifIFD", "GPS", "XMP", "IPTC")
    storage = ("ImageWidth", "ImageHeight", "BitsPerSample", "Compression", "Photometric")
    storage += (
        "Strip",
        "RowsPerStrip",
        "Planar",
        "ColorSpace",
        "Resolution",
        "YCbCr",
        "SamplesPer",
    )
    lost = {
        key
        for key, value in before.items()
        if key.startswith(groups)
        and not any(word in key for word in storage)
        and after.get(key) != value
    }
    if image_format in ("WEBP", "AVIF"):
        lost = {key for key in lost if not key.startswith("IPTC")}  # no place for it, named
    assert not lost
    assert after["XMP-iptcExt:DigitalSourceType"] == DIGITAL_SOURCE_TYPE
    if image_format != "AVIF":
        assert not subprocess.check_output(["exiftool", "-validate", "-warning", path]).count(
            b"rror"
        )


@pytest.mark.parametrize("kind", [b"cHRM", b"gAMA", b"pHYs", b"eXIf", b"iCCP", b"zTXt"])
def test_a_png_with_a_damaged_chunk_beside_its_pixels_is_read(kind):
    file = io.BytesIO()
    make_photo().save(file, "PNG")
    data = insert_chunks(file.getvalue(), [Block(kind, b"\xff")])
    image = read_image_file(io.BytesIO(data))
    assert np.array_equal(image.rgb.permute(1, 2, 0).numpy(), np.asarray(make_photo()))


@pytest.mark.parametrize("number", range(1, 9))
def test_the_orientation_in_xmp_is_applied_where_exif_has_none(number):
    packet = PACKET.format(
        f'><r:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="{number}"/>'
        "</r:RDF>"
    ).encode()
    jpeg = jpeg_with(Block(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet))
    exif = Exif(image={0x0112: Tag(3, struct.pack("<H", number))}).to_block()
    other = jpeg_with(Block(0xE1, b"Exif\0\0" + exif))
    one, two = (read_image_file(io.BytesIO(data)) for data in (jpeg, other))
    assert np.array_equal(one.rgb.numpy(), two.rgb.numpy())
    assert (one.rgb.shape[1:] == (80, 60)) == (number >= 5)
    assert b'Orientation="1"' in one.metadata.xmp


def described(attributes, namespaces):
    declared = " ".join(f'xmlns:{prefix}="{uri}"' for prefix, uri in namespaces.items())
    return PACKET.format(f"><r:Description {declared} {attributes}/></r:RDF>").encode()


def test_properties_of_a_packet_are_known_by_their_namespace():
    tiff, iptc = "http://ns.adobe.com/tiff/1.0/", "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
    odd = described('t:Orientation="6"', {"t": tiff})
    assert stored_orientation(odd) == 6 and b't:Orientation="1"' in set_upright(odd)
    foreign = described(
        'tiff:Orientation="6" Iptc4xmpExt:DigitalSourceType="theirs"',
        {"tiff": "http://example.org/a", "Iptc4xmpExt": "http://example.org/b"},
    )
    assert stored_orientation(foreign) == 1 and set_upright(foreign) == foreign
    assert b'DigitalSourceType="theirs"' in mark_colorized(foreign)
    ours = described('e:DigitalSourceType="old"', {"e": iptc})
    assert b"old" not in mark_colorized(ours)
    quoted = described(f'd:title="{DIGITAL_SOURCE_TYPE}"', {"d": "http://example.org/d"})
    assert mark_colorized(quoted).count(DIGITAL_SOURCE_TYPE.encode()) == 2


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("declaration", ["", '<?xml version="1.0" encoding="UTF-16"?>'])
def test_a_packet_in_utf_16_is_carried_in_utf_8(encoding, declaration):
    text = declaration + described('d:title="Großmutter"', {"d": "http://example.org"}).decode()
    assert 'd:title="Großmutter"' in mark_colorized(text.encode(encoding)).decode()


def test_a_packet_that_cannot_be_marked_is_replaced_and_named():
    image = read_image_file(CASES / "caption-utf8.jpg")
    image.metadata.xmp = b"<no RDF/>"
    image.metadata.write_provenance("by a test")
    assert DIGITAL_SOURCE_TYPE.encode() in image.metadata.xmp
    assert "damaged XMP" in image.losses("JPEG")
