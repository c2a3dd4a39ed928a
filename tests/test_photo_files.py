"""What a folder may hold: photos, images that are left out with a reason, and everything else."""

import os
import socket
import struct
from pathlib import Path

import numpy as np
import pytest

from colorize.data.folder import PhotoRecord
from colorize.evaluation.predictors import ImageFolderPredictor
from colorize.io import formats, photo_files
from colorize.io.formats import advice_for, open_file
from colorize.io.image import PhotoError
from colorize.io.photo_files import (
    READABLE_SUFFIXES,
    list_photos,
    refusal_of,
    summarize_left_out,
)

LATIN_1 = os.fsdecode(b"Gro\xdfmutter.jpg")


def touched(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def names(paths, root):
    return [path.relative_to(root).as_posix() for path in paths]


def listed(root, **options):
    """The names of the photos, and the reasons by name of what is left out."""
    listing = list_photos(root, **options)
    left_out = {path.relative_to(root).as_posix(): why for path, why in listing.left_out.items()}
    return names(listing.photos, root), left_out


def test_photos_of_every_name_are_found_and_system_files_are_not(tmp_path):
    photos = [LATIN_1, "A.JPG", "[2019] Aunt/a [1]*?.tif", "é" * 118 + ".jpg", "a.jpg/b.psd"]
    photos += ["deep/er/c.Tiff", "eaDir/x.jpg", "RECYCLE.BIN/y.jpg", "z .png"]
    system = ["@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg", "$RECYCLE.BIN/$R1.jpg", ".Trash/a.jpg"]
    system += [".Trashes/501/a.jpg", "__MACOSX/._a.jpg", "lost+found/1.jpg", "deep/._c.jpg"]
    system += ["#recycle/a.jpg", "System Volume Information/a.jpg", "$Recycle.Bin2/../.a.jpg"]
    others = ["Thumbs.db", "notes.txt", ".hidden.jpg", "jpg", "scan.jpg~", "a.jpg.part", "b.pdf"]
    (tmp_path / "$Recycle.Bin2").mkdir()
    touched(tmp_path, *photos, *system, *others)
    assert listed(tmp_path) == (sorted(photos, key=lambda name: Path(name)), {})


def test_images_that_are_not_read_are_left_out_with_advice(tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "has_heif", lambda: False)
    touched(tmp_path, "a.jpg", "b.NEF", "c.dng", "d.heic", "e.jxl", "f.tif", "g.xcf", "h.txt")
    photos, left_out = listed(tmp_path)
    assert photos == ["a.jpg", "f.tif"] and list(left_out) == [
        "b.NEF",
        "c.dng",
        "d.heic",
        *["e.jxl", "g.xcf"],
    ]
    assert "develop it to TIFF first" in left_out["b.NEF"] == left_out["c.dng"]
    assert "pip install 'colorize-photos[heif]'" in left_out["d.heic"]
    assert "djxl" in left_out["e.jxl"]
    photos, left_out = listed(tmp_path, suffixes=photo_files.TRAINING_SUFFIXES)
    assert photos == ["a.jpg"] and "`colorize prepare` converts it" in left_out["f.tif"]
    monkeypatch.setattr(formats, "has_heif", lambda: True)
    assert listed(tmp_path)[0] == ["a.jpg", "d.heic", "f.tif"]


def test_pipes_and_sockets_are_left_out_and_never_opened(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    touched(tmp_path, "a.jpg")
    os.mkfifo("b.jpg")
    os.mkfifo("plain")
    Path("link.png").symlink_to("b.jpg")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("c.jpg")
        photos, left_out = listed(tmp_path)
    assert photos == ["a.jpg"]
    assert left_out == dict.fromkeys(("b.jpg", "c.jpg", "link.png"), "a pipe or device, not a file")
    assert "use `colorize photo - -o FILE`" in refusal_of(tmp_path / "b.jpg")
    assert "pipe or device" in refusal_of(Path("/dev/null"))
    assert refusal_of(tmp_path / "a.jpg") == refusal_of(tmp_path / "missing.nef") == ""
    touched(tmp_path, "x.nef")
    assert "camera raw" in refusal_of(tmp_path / "x.nef")


def test_links_that_lead_nowhere_are_photos_that_reading_refuses(tmp_path):
    (tmp_path / "self.jpg").symlink_to("self.jpg")
    (tmp_path / "one.png").symlink_to("two.png")
    (tmp_path / "two.png").symlink_to("one.png")
    (tmp_path / "gone.jpg").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    assert listed(tmp_path) == (["gone.jpg", "one.png", "self.jpg", "two.png"], {})


def test_each_folder_is_entered_once_by_its_own_name(tmp_path):
    root = touched(tmp_path, "photos/b/x.jpg", "elsewhere/y.jpg") / "photos"
    for name, target in (("a", "b"), ("b/up", ".."), ("c", "../elsewhere"), ("d", "../elsewhere")):
        (root / name).symlink_to(
            Path(os.path.relpath(root / Path(name).parent / target, (root / name).parent))
        )
    assert listed(root) == (["b/x.jpg", "c/y.jpg"], {})
    photos, left_out = listed(root, follow_links=False)
    assert photos == ["b/x.jpg"] and set(left_out) == {"c", "d"}  # a and b/up are entered anyway
    assert left_out["c"] == "a linked folder; name it too to colorize its photos"


def test_the_output_below_the_folder_does_not_count(tmp_path):
    touched(tmp_path, "a.jpg", "out/a.jpg", "output/a.jpg")
    (tmp_path / "link.jpg").symlink_to("out/a.jpg")
    assert listed(tmp_path, output=tmp_path / "out")[0] == ["a.jpg", "output/a.jpg"]
    around = listed(tmp_path / "out", output=tmp_path)
    assert around == (["a.jpg"], {})


def test_a_folder_that_cannot_be_read_is_left_out(tmp_path, monkeypatch):
    touched(tmp_path, "a.jpg", "secret/b.jpg")

    def scandir(path, scandir=os.scandir):
        if Path(path).name == "secret":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", scandir)
    expected = {"secret": "a folder that cannot be read (Permission denied)"}
    assert listed(tmp_path) == (["a.jpg"], expected)


def test_files_are_counted_and_the_first_named_for_each_reason():
    left_out = {Path(f"x/{number}.nef"): "raw" for number in (5, 1, 2, 3, 4)}
    left_out[Path("x/a.jxl")] = "JPEG XL"
    assert summarize_left_out(left_out) == [
        "5 files (x/1.nef, x/2.nef, x/3.nef and 2 more) are left out: raw",
        "x/a.jxl is left out: JPEG XL",
    ]
    assert summarize_left_out({}) == []


def test_no_suffix_is_both_read_and_left_out(monkeypatch):
    monkeypatch.setattr(formats, "has_heif", lambda: True)
    assert not [suffix for suffix in READABLE_SUFFIXES if advice_for(suffix)]
    for suffix in (".dng", ".nef", ".cr2", ".cr3", ".arw", ".raf", ".orf", ".rw2", ".pef", ".srw"):
        assert "camera raw" in advice_for(suffix.upper())


def photoshop(values, depth=8, has_composite=True):
    """A gray Photoshop file by its specification: header, resources, no layers, raw pixels."""
    height, width = values.shape
    header = struct.pack(">4sH6xHIIHH", b"8BPS", 1, 1, height, width, depth, 1)
    version = struct.pack(">IBIIB", 1, has_composite, 0, 0, 0)
    version += bytes(len(version) % 2)
    resource = struct.pack(">4sHHI", b"8BIM", 1057, 0, len(version)) + version
    sections = struct.pack(">II", 0, len(resource)) + resource + struct.pack(">I", 0)
    return header + sections + struct.pack(">H", 0) + values.tobytes()


def test_a_photoshop_file_is_read_if_it_holds_its_picture(tmp_path):
    values = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
    path = tmp_path / "a.psd"
    path.write_bytes(photoshop(values))
    with open_file(path) as image:
        assert (np.asarray(image) == values).all()
    path.write_bytes(photoshop(values, has_composite=False))
    with pytest.raises(PhotoError, match="maximize compatibility"):
        open_file(path)
    path.write_bytes(photoshop(values.astype(">u2"), depth=16))
    with pytest.raises(PhotoError, match="more than 8 bits per channel; save it as TIFF"):
        open_file(path)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (b"\0\0\0\x18ftypcrx \0\0\0\1", "camera raw; develop it to TIFF"),
        (b"FUJIFILMCCD-RAW 0201", "camera raw"),
        (b"IIRO\x08\0\0\0", "camera raw"),
        (b"IIU\0\x18\0\0\0", "camera raw"),
        (b"\xff\x0a\xfa\x7f", "JPEG XL; convert it to PNG"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    ],
)
def test_a_file_of_a_known_format_is_refused_by_its_content(tmp_path, start, message):
    path = tmp_path / "without suffix"
    path.write_bytes(start.ljust(64, b"\0"))
    with pytest.raises(PhotoError, match=message):
        open_file(path)
    with path.open("rb") as file, pytest.raises(PhotoError, match=message):
        open_file(file)


def test_heif_without_its_package_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "has_heif", lambda: False)
    path = tmp_path / "a.jpg"
    path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic".ljust(64, b"\0"))
    with pytest.raises(PhotoError, match=r"pip install 'colorize-photos\[heif\]'"):
        open_file(path)


def test_thumbnails_of_a_storage_are_no_second_images_of_an_evaluation(tmp_path):
    touched(tmp_path, "a.png", "@eaDir/a.png", "._a.png", "__MACOSX/a.tif", "b.avif", "c.gif")
    predictor = ImageFolderPredictor(tmp_path)
    a, b, c = (PhotoRecord(tmp_path / f"photos/{name}.jpg", name, "test") for name in "abc")
    predictor.check([a, b])
    with pytest.raises(ValueError, match="1 of 3 photos have no colorized image, such as 'c'"):
        predictor.check([a, b, c])
