import hashlib
import io
import os
import re
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_photo
from PIL import Image
from test_manifest import blobs, jpeg
from test_photo_files import photoshop

from colorize.cli import main
from colorize.data import prepare as prepare_module
from colorize.data.folder import PhotoFolder, load_samples
from colorize.data.manifest import Manifest
from colorize.data.prepare import prepare
from colorize.data.sources import find_photos
from colorize.io.image import PhotoError, photo_to_rgb, resize, rgb_to_photo, write_photo


@pytest.fixture
def album(tmp_path):
    """A folder of ten photos, two of them in a folder `test`, and another file."""
    root = tmp_path / "album"
    for i in range(8):
        write_photo(blobs(i), root / f"2019/photo {i}.jpg")
    for i in (8, 9):
        write_photo(blobs(i), root / f"test/photo {i}.jpg")
    (root / "notes.txt").write_text("not a photo")
    return root


def states(manifest):
    return {entry.id: entry.state for entry in manifest.entries.values()}


def in_tar(path, members, kind="w"):
    with tarfile.open(path, kind) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            if isinstance(data, bytes):
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
            else:
                info.type, info.linkname = tarfile.SYMTYPE, data[0]
                tar.addfile(info)
    return path


def test_a_folder_is_prepared_and_not_modified(tmp_path, album):
    before = {path: path.read_bytes() for path in album.rglob("*") if path.is_file()}
    manifest = prepare([album], tmp_path / "out", size=64, progress=False)
    assert {path: path.read_bytes() for path in album.rglob("*") if path.is_file()} == before
    assert manifest.counts() == {"good": 10}
    folder = PhotoFolder(tmp_path / "out")
    assert len(folder.photos) == 10
    for photo in folder.photos:
        assert min(photo.width, photo.height) == 64
        assert (photo.split == "test") >= ("/test/" in photo.path.as_posix())
    entry = manifest.entries["album/2019/photo 3.jpg"]
    assert entry.file == "photos/album/2019/photo 3.jpg"
    with Image.open(tmp_path / "out" / entry.file) as small:
        expected = rgb_to_photo(
            resize(photo_to_rgb(Image.open(album / "2019/photo 3.jpg")), 64, 85)
        )
        gap = np.abs(np.asarray(small, int) - np.asarray(expected, int))
    assert gap.mean() < 2  # of JPEG


def test_a_second_call_reads_no_photo_and_a_new_photo_is_added(tmp_path, album, monkeypatch):
    first = prepare([album], tmp_path / "out", progress=False)
    with monkeypatch.context() as patch:
        patch.delattr(prepare_module, "photo_facts")
        assert prepare([album], tmp_path / "out", progress=False).entries == first.entries
    write_photo(blobs(77), album / "new.jpg")
    second = prepare([album], tmp_path / "out", progress=False)
    assert second.entries.keys() - first.entries.keys() == {"album/new.jpg"}
    assert {k: second.entries[k] for k in first.entries} == first.entries


def test_a_small_plain_jpeg_is_copied_and_everything_else_converted(tmp_path):
    root = tmp_path / "mixed"
    root.mkdir()
    (root / "plain.jpg").write_bytes(jpeg(blobs(1)))
    exif = Image.Exif()
    exif[0x0112] = 6
    (root / "turned.JPEG").write_bytes(jpeg(blobs(2), exif=exif))
    (root / "cmyk.jpg").write_bytes(jpeg(blobs(3).convert("CMYK")))
    write_photo(blobs(4), root / "a.png")
    write_photo(blobs(5), root / "a.webp")
    manifest = prepare([root], tmp_path / "out", size=90, progress=False)
    assert manifest.counts() == {"good": 5}
    made = {entry.id: tmp_path / "out" / entry.file for entry in manifest.entries.values()}
    assert made["mixed/plain.jpg"].read_bytes() == (root / "plain.jpg").read_bytes()
    names = {path.name for path in made.values()}
    assert names == {"plain.jpg", "turned.JPEG", "cmyk.jpg", "a.png.jpg", "a.webp.jpg"}
    for name, path in made.items():
        with Image.open(path) as photo:
            assert (photo.format, photo.mode) == ("JPEG", "RGB")
            assert photo.getexif().get(0x0112, 1) == 1
            assert photo.size == ((90, 120) if "turned" in name else (120, 90))


def test_names_of_tar_files_and_folders_decide_the_split(tmp_path):
    root = tmp_path / "all"
    root.mkdir()
    in_tar(root / "test-00.tar", {f"{i}.jpg": jpeg(blobs(i)) for i in range(3)})
    in_tar(root / "train-00.tar.gz", {f"x/{i}.jpg": jpeg(blobs(10 + i)) for i in range(3)}, "w:gz")
    in_tar(tmp_path / "more.tar", {"val/a.jpg": jpeg(blobs(20)), "b.jpg": jpeg(blobs(21))})
    write_photo(blobs(30), root / "latest trains" / "engine.jpg")  # names no split
    manifest = prepare(
        [root, tmp_path / "more.tar"], tmp_path / "out", split="train", progress=False
    )
    splits = {entry.id: entry.split for entry in manifest.entries.values()}
    assert splits == {
        **{f"all/test-00.tar/{i}.jpg": "test" for i in range(3)},
        **{f"all/train-00.tar.gz/x/{i}.jpg": "train" for i in range(3)},
        **{"more/val/a.jpg": "val", "more/b.jpg": "train", "all/latest trains/engine.jpg": "train"},
    }


def test_bad_photos_are_recorded_and_the_others_prepared(tmp_path, album):
    (album / "cut.jpg").write_bytes(jpeg(blobs(50))[:800])
    (album / "text.png").write_text("hello")
    write_photo(blobs(51).convert("L").convert("RGB"), album / "gray.jpg")
    write_photo(blobs(0).resize((100, 75)), album / "twin.jpg")
    manifest = prepare([album], tmp_path / "out", progress=False)
    assert manifest.counts() == {"good": 10, "bad": 2, "gray": 1, "duplicate": 1}
    reasons = {entry.id: entry.reason for entry in manifest.entries.values() if entry.reason}
    assert "damaged or truncated" in reasons["album/cut.jpg"]
    assert "not an image" in reasons["album/text.png"]
    assert (tmp_path / "out" / manifest.entries["album/gray.jpg"].file).exists()  # not deleted


def test_a_hostile_tar_writes_nothing_outside_the_folder(tmp_path):
    good = jpeg(blobs(1))
    hostile = {"../up.jpg": good, "/abs.jpg": good, "a/../../b.jpg": good, "ok.jpg": good}
    hostile |= {"link.jpg": ("/etc/passwd",), "c:\\win.jpg": good, "dir.jpg/../x.jpg": good}
    in_tar(tmp_path / "evil.tar", hostile)
    out = tmp_path / "in" / "out"
    manifest = prepare([tmp_path / "evil.tar"], out, progress=False)
    assert manifest.counts() == {"good": 1, "bad": 6}
    files = {
        path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()
    }
    assert files == {"evil.tar", "in/out/manifest.csv", "in/out/photos/evil/ok.jpg"} | {
        "in/out/sources.json"
    }


def test_a_file_name_may_be_any_bytes(tmp_path, album):
    (album / "2019/photo 1.jpg").rename(album / os.fsdecode(b"Jos\xe9\n.jpg"))
    first = prepare([album], tmp_path / "out", progress=False)
    assert first.counts() == {"good": 10}
    assert "album/Jos\\xe9\\x0a.jpg" in first.entries
    assert prepare([album], tmp_path / "out", progress=False).entries == first.entries


def test_a_damaged_tar_is_named_and_its_readable_photos_kept(tmp_path, album):
    path = in_tar(tmp_path / "cut.tar", {f"{i}.jpg": jpeg(blobs(60 + i)) for i in range(20)})
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"cut\.tar: a damaged tar file"):
        prepare([path], tmp_path / "out", workers=1, progress=False)
    kept = Manifest(tmp_path / "out").entries
    assert kept and {entry.state for entry in kept.values()} == {"new"}
    path.write_bytes(whole)
    assert prepare([path], tmp_path / "out", progress=False).counts() == {"good": 20}


def test_invalid_sources_are_refused(tmp_path, album):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        prepare([tmp_path / "nowhere"], tmp_path / "out")
    other = tmp_path / "other" / "album"
    other.mkdir(parents=True)
    with pytest.raises(ValueError, match=r"would get one name, album: rename one"):
        prepare([album, other], tmp_path / "out")
    with pytest.raises(ValueError, match="must not contain each other"):
        prepare([album], album / "prepared")
    assert not (album / "prepared").exists()


def test_the_command_prepares_and_sums_up(tmp_path, album, capsys):
    (album / "text.png").write_text("hello")
    command = ["prepare", str(album), "-o", str(tmp_path / "out"), "--size", "64"]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "10 good" in out and "1 bad" in out and "bad: album/text.png: not an image" in out
    plain = tmp_path / "plain"  # whose path names no split
    for seed in range(6):
        write_photo(make_photo(90, 80, seed=seed), plain / f"{seed}.png")
    options = ["-o", str(tmp_path / "b"), "--size", "64", "--split", "val"]
    assert main(["prepare", str(plain), *options]) == 0
    entries = Manifest(tmp_path / "b").entries.values()
    assert {(min(e.facts.width, e.facts.height), e.split) for e in entries} == {(64, "val")}
    assert main(["prepare", str(tmp_path / "x"), "-o", str(tmp_path / "y")]) == 2
    assert "no such folder or tar file" in capsys.readouterr().err


def test_the_command_names_five_bad_photos_and_counts_the_rest(tmp_path, album, capsys):
    for number in range(7):
        (album / f"text{number}.png").write_text("hello")
    command = ["prepare", str(album), "-o", str(tmp_path / "out")]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert out.count("    bad: ") == 5 and "    and 2 more; the reasons are in the manifest" in out
    assert "damaged" not in out
    with open(tmp_path / "out" / "manifest.csv", "a") as file:
        file.write("no line of ours\n")
    assert main(command) == 0
    assert "    1 damaged lines were dropped" in capsys.readouterr().out


def test_the_command_writes_shards_of_a_prepared_folder(tmp_path, album, capsys):
    prepare([album], tmp_path / "out", split="train", progress=False)
    command = [
        "shard",
        str(tmp_path / "out"),
        "-o",
        str(tmp_path / "shards"),
        "--photos-per-shard",
        "3",
    ]
    assert main(command) == 0
    counts = re.search(r"(\d) train, (\d) val, (\d) test shards", capsys.readouterr().out)
    written = [path.name.split("-")[0] for path in (tmp_path / "shards").glob("*.tar")]
    assert [written.count(split) for split in ("train", "val", "test")] == [
        *map(int, counts.groups())
    ]
    assert written.count("train") == 3 and written.count("test") == 1
    assert main([*command[:3], str(tmp_path / "none"), "--min-side", "9999"]) == 2
    assert "no good photo of at least 9999 px" in capsys.readouterr().err
    assert main(["shard", str(album), "-o", str(tmp_path / "x")]) == 2
    assert "has no manifest.csv" in capsys.readouterr().err


# Reported by users.


def test_a_full_disk_makes_no_photo_bad(tmp_path, album, monkeypatch):
    write = prepare_module.write_photo

    def full(photo, path):
        if path.name == "photo 5.jpg":
            raise PhotoError(f"{path}: cannot be written") from OSError(28, "No space left")
        return write(photo, path)

    monkeypatch.setattr(prepare_module, "write_photo", full)
    with pytest.raises(PhotoError, match="cannot be written"):
        prepare([album], tmp_path / "out", size=64, progress=False)
    monkeypatch.setattr(prepare_module, "write_photo", write)
    assert prepare([album], tmp_path / "out", size=64, progress=False).counts() == {"good": 10}


def test_unreadable_files_are_tried_again(tmp_path, album):
    (album / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (album / "self.jpg").symlink_to("self.jpg")
    (album / ("long" * 60 + ".jpg")).write_bytes(jpeg(blobs(40)))
    manifest = prepare([album], tmp_path / "out", progress=False)
    assert manifest.counts() == {"good": 11, "failed": 2}
    assert "No such file" in manifest.entries["album/gone.jpg"].reason
    assert "symbolic links" in manifest.entries["album/self.jpg"].reason
    (tmp_path / "nowhere.jpg").write_bytes(jpeg(blobs(41)))
    assert prepare([album], tmp_path / "out", progress=False).counts()["good"] == 12


def test_pipes_and_images_that_are_not_read_are_named(tmp_path, album):
    os.mkfifo(album / "pipe.jpg")
    (album / "a.nef").write_bytes(b"raw")
    more = {"b.nef": b"raw", "c/__MACOSX/._d.jpg": b"x", "c/.e/f.jpg": b"x", "@eaDir/g.jpg": b"x"}
    in_tar(album / "more.tar", {**more, "good.jpg": jpeg(blobs(70))})
    with pytest.warns(UserWarning, match="left out") as caught:
        manifest = prepare([album], tmp_path / "out", progress=False)
    assert manifest.counts() == {"good": 11}
    assert [str(warning.message).partition(" left out: ")[0] for warning in caught] == [
        f"{album / 'a.nef'} is",
        f"{album / 'pipe.jpg'} is",
        f"{album / 'more.tar' / 'b.nef'} is",
    ]


def test_photos_of_every_readable_format_are_prepared(tmp_path):
    root = tmp_path / "scans"
    root.mkdir()
    for seed, suffix in enumerate(("tif", "bmp", "jp2", "avif", "gif")):
        blobs(seed).save(root / f"{suffix}.{suffix}")
    (root / "psd.psd").write_bytes(photoshop(np.asarray(blobs(9).convert("L"))))
    manifest = prepare([root], tmp_path / "out", progress=False)
    assert states(manifest) == {
        **{f"scans/{suffix}.{suffix}": "good" for suffix in ("tif", "bmp", "jp2", "avif", "gif")},
        "scans/psd.psd": "gray",
    }
    assert len(PhotoFolder(tmp_path / "out").photos) == 6


def test_a_lost_prepared_file_is_made_again(tmp_path, album):
    first = prepare([album], tmp_path / "out", progress=False)
    lost = tmp_path / "out" / first.entries["album/2019/photo 2.jpg"].file
    whole = lost.read_bytes()
    lost.unlink()
    assert prepare([album], tmp_path / "out", progress=False).entries == first.entries
    assert lost.read_bytes() == whole


def test_two_photos_do_not_become_one_file(tmp_path):
    root = tmp_path / "twins"
    write_photo(blobs(1), root / "a.png")
    (root / "a.png.jpg").write_bytes(jpeg(blobs(2)))
    with tarfile.open(root / "b.tar", "w") as tar:
        for seed in (3, 4):
            data = jpeg(blobs(seed))
            info = tarfile.TarInfo("x.jpg")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    write_photo(blobs(5), root / "b" / "x.jpg")
    manifest = prepare([root], tmp_path / "out", progress=False)
    assert manifest.counts() == {"good": 3, "bad": 2}
    assert "another photo becomes" in manifest.entries["twins/a.png.jpg"].reason
    assert "occurs twice" in manifest.entries["twins/b.tar/x.jpg (again)"].reason
    for entry in manifest.entries.values():
        if entry.file:
            data = (tmp_path / "out" / entry.file).read_bytes()
            assert hashlib.sha256(data).hexdigest() == entry.facts.sha256


def test_another_folder_of_the_same_name_is_refused_later_too(tmp_path, album):
    prepare([album], tmp_path / "out", progress=False)
    other = tmp_path / "other" / "album"
    write_photo(blobs(90), other / "new.jpg")
    with pytest.raises(ValueError, match="would get one name, album"):
        prepare([other], tmp_path / "out", progress=False)


@pytest.mark.parametrize(
    ("folder", "split"),
    [
        *[("test", "test"), ("Training", "train"), ("train2017", "train"), ("validation", "val")],
        *[("test/train station", "test"), ("train/test", "test")],
        *[("Val d'Isere", ""), ("latest", "")],
    ],
)
def test_whole_names_of_folders_decide_the_split(tmp_path, folder, split):
    root = tmp_path / "all"
    write_photo(blobs(1), root / folder / "a.jpg")
    (photo,) = find_photos(root)
    assert (photo.id, photo.split) == (f"all/{folder}/a.jpg", split)


def test_the_name_of_a_link_decides_too(tmp_path):
    write_photo(blobs(1), tmp_path / "vol7" / "a.jpg")
    (tmp_path / "test").symlink_to(tmp_path / "vol7")
    manifest = prepare([tmp_path / "test"], tmp_path / "out", progress=False)
    assert manifest.entries["test/a.jpg"].split == "test"


def test_a_sources_manifest_decides_and_beside_named_test_photos_no_other_becomes_test(tmp_path):
    manifest = prepare([load_samples().root], tmp_path / "out", progress=False)
    expected = {photo.path.name: photo.split for photo in load_samples().photos}
    assert {e.id.split("/")[1]: e.split for e in manifest.entries.values()} == expected
    assert all(entry.photographer for entry in manifest.entries.values())
    root = tmp_path / "mixed"
    for i in range(40):
        write_photo(blobs(i), root / ("test" if i < 4 else "more") / f"{i}.jpg")
    entries = prepare([root], tmp_path / "mixed out", progress=False).entries.values()
    assert {e.split for e in entries if "/more/" in e.id} == {"train", "val"}


def test_a_sources_manifest_is_read_as_a_folder_of_photos_reads_it(tmp_path, album):
    rows = [
        "file,split",
        "./2019/photo 0.jpg,test",
        " 2019/photo 1.jpg,val",
        "test/photo 8.jpg,train",
    ]
    (album / "manifest.csv").write_text("\n".join(rows) + "\n")
    manifest = prepare([album], tmp_path / "out", split="train", progress=False)
    expected = {photo.path.name: photo.split for photo in PhotoFolder(album).photos}
    result = {Path(entry.id).name: entry.split for entry in manifest.entries.values()}
    named = ("photo 0.jpg", "photo 1.jpg", "photo 8.jpg")  # the folder test/ decides before it
    assert [result[name] for name in named] == [expected[name] for name in named]
    assert [expected[name] for name in named] == ["test", "val", "test"]
    (album / "manifest.csv").write_text("file,split\n2019/photo 0.jpg,Test\n")
    with pytest.raises(ValueError, match="split 'Test' is none of"):
        prepare([album], tmp_path / "other", progress=False)


def test_a_source_without_photos_is_no_success(tmp_path, album):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ValueError, match=r"no photos \(jpg, jpeg, .*png, webp, .*psd, tga\) in"):
        prepare([empty], tmp_path / "out", progress=False)
    with pytest.raises(ValueError, match="neither a folder nor a tar file"):
        prepare([album / "notes.txt"], tmp_path / "out", progress=False)
    prepare([album], tmp_path / "fine", progress=False)
    with pytest.raises(ValueError, match="must not contain each other"):
        prepare([tmp_path / "fine" / "photos"], tmp_path / "fine", progress=False)


def test_torch_has_as_many_threads_after_as_before(tmp_path, album):
    torch.set_num_threads(2)
    prepare([album], tmp_path / "out", progress=False)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == 2
