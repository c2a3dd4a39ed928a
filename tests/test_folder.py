import csv
import hashlib
import os
from collections import Counter

import numpy as np
import pytest
from PIL import Image
from skimage.color import lab2rgb

import colorize.data.folder as folder_module
from colorize.data.folder import INDEX, PhotoFolder, load_samples, split_of
from colorize.io.image import write_photo


def forbidden(*args, **options):
    raise AssertionError("a photo was opened")


def touched(root, *names):
    """Empty files: whoever opens one fails."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def manifest(root, text, encoding="utf-8"):
    (root / "manifest.csv").write_text(text, encoding=encoding)
    return root


def names(photos):
    return [photo.path.name for photo in photos]


def parts(root):
    return {photo.path.name: photo.part for photo in PhotoFolder(root).photos}


def index_rows(root):
    with (root / INDEX).open() as file:
        return {row["file"]: row for row in csv.DictReader(file)}


@pytest.fixture
def mixed(tmp_path, photo):
    """Four training photos of which one is of use: the others are grey, broken, and small."""
    root = tmp_path / "mixed"
    write_photo(photo, root / "train/good.jpg")
    write_photo(photo.convert("L").convert("RGB"), root / "train/grey.jpg")
    write_photo(photo.resize((80, 20)), root / "train/small.jpg")
    whole = (root / "train/good.jpg").read_bytes()
    (root / "train/cut.jpg").write_bytes(whole[: len(whole) // 2])
    return root


# Which photos a folder holds, and in which part.


def test_photos_are_found_in_all_subfolders_and_sorted(tmp_path):
    expected = ["B.JPG", "a/b/c.WebP", "a/d.jpeg", "train/e.png", "z.jpg"]
    others = ["notes.txt", ".hidden.jpg", ".cache/f.jpg", "a/.g.png", "h.tif", "jpg"]
    touched(tmp_path, *reversed(expected), *others)
    found = PhotoFolder(tmp_path).photos
    assert [photo.path.relative_to(tmp_path).as_posix() for photo in found] == expected


def test_linked_folders_are_followed_but_not_back_up(tmp_path):
    root = touched(tmp_path, "photos/a.jpg", "elsewhere/b.jpg") / "photos"
    (root / "link").symlink_to(tmp_path / "elsewhere")
    (root / "up").symlink_to(root)
    assert names(PhotoFolder(root).photos) == ["a.jpg", "b.jpg"]


def test_subfolders_decide_the_part_before_the_manifest_and_the_hash(tmp_path):
    touched(tmp_path, "train/abc.jpg", "val/hello.jpg", "test/deep/hello2.jpg", "a/val/photo3.jpg")
    manifest(tmp_path, "file,part\ntrain/abc.jpg,test\n")
    assert parts(tmp_path) == {
        **{"abc.jpg": "train", "hello.jpg": "val", "hello2.jpg": "test"},
        "photo3.jpg": "test",  # by its hash: val/ is not directly below the folder
    }


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])  # the second is Excel's
@pytest.mark.parametrize("column", ["file", "name"])
def test_a_manifest_decides_the_part_before_the_hash(tmp_path, column, encoding):
    touched(tmp_path, "a.jpg", "sub/abc.jpg", "hello.jpg")
    text = f"{column},part,photographer\na.jpg,test,José\nsub/abc.jpg,train,\nhello.jpg,,\n"
    manifest(tmp_path, text, encoding)
    assert parts(tmp_path) == {"a.jpg": "test", "abc.jpg": "train", "hello.jpg": "train"}
    assert PhotoFolder(tmp_path).photos[0].photographer == "José"


def test_the_hash_is_sha_256_on_every_machine():
    # First bytes by sha256sum: 2c.., ba.., ca97.., f9..; the borders are 9999.. and cccc..
    known = {"hello": "train", "abc": "val", "a": "val", "photo3": "test"}
    assert {key: split_of(key) for key in known} == known
    found = Counter()
    for i in range(10_000):
        key = f"photographer {i}"
        tenths = int(hashlib.sha256(key.encode()).hexdigest(), 16) * 10
        part = "train" if tenths < 6 * 2**256 else "val" if tenths < 8 * 2**256 else "test"
        assert split_of(key) == part
        found[part] += 1
    shares = [found[part] / 10_000 for part in ("train", "val", "test")]
    assert shares == pytest.approx([0.6, 0.2, 0.2], abs=0.015)


def test_photos_of_one_photographer_share_a_part(tmp_path):
    touched(tmp_path, *(f"{i}.jpg" for i in range(40)))
    rows = "".join(f"{i}.jpg,person {i % 8}\n" for i in range(40))
    manifest(tmp_path, f"file,photographer\n{rows}")
    found = PhotoFolder(tmp_path).photos
    assert {photo.part for photo in found} == {"train", "val", "test"}
    assert all(photo.part == split_of(f"person {int(photo.id) % 8}") for photo in found)


def test_other_photos_do_not_move_a_photo(tmp_path):
    before = parts(touched(tmp_path, *(f"{i}.jpg" for i in range(20))))
    after = parts(touched(tmp_path, *(f"new{i}.jpg" for i in range(20))))
    assert {name: after[name] for name in before} == before


def test_a_file_name_may_be_any_bytes(tmp_path, photo):
    path = write_photo(photo, tmp_path / "train/a.jpg")
    path.rename(path.with_name(os.fsdecode(b"Jos\xe9.jpg")))
    assert len(PhotoFolder(tmp_path).select("train").photos) == 1
    assert PhotoFolder(path.parent).photos[0].part in ("train", "val", "test")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("picture;part\na.jpg;test\n", "no column `file` or `name` among picture;part"),
        ("file,part\na.jpg,train\na.jpg,trian\n", r"line 3: part 'trian' is none of train, val"),
        ("file,width\na.jpg,wide\n", "line 2: .*'wide'"),
        ("", "no column"),
        ("file,part\na.jpg,test\n./a.jpg,train\n", r"line 3: a\.jpg stands there twice"),
        ("file,part\nA.jpg,test\na,test\n", r"2 of 2 rows are of no photo .* 'A\.jpg'; write .*'a"),
    ],
)
def test_a_wrong_manifest_is_refused_by_file_and_place(tmp_path, text, message):
    manifest(touched(tmp_path, "a.jpg"), text)
    with pytest.raises(ValueError, match=message) as caught:
        PhotoFolder(tmp_path)
    assert str(tmp_path / "manifest.csv") in str(caught.value)


def test_a_row_is_found_by_its_path_and_a_row_of_no_photo_is_told(tmp_path):
    manifest(touched(tmp_path, "a.jpg", "b.jpg"), "file,part\n./a.jpg ,test\nB.jpg,test\n,val\n")
    with pytest.warns(UserWarning, match=r"1 of 2 rows are of no photo .*'B\.jpg'"):
        found = parts(tmp_path)
    assert found == {"a.jpg": "test", "b.jpg": split_of("b")}


def test_beside_judged_photos_one_without_a_line_is_left_out(tmp_path, photo):
    for name in ("a", "b"):
        write_photo(photo, tmp_path / f"train/{name}.jpg")
    manifest(tmp_path, "file,part,state\ntrain/a.jpg,train,good\n")
    assert str(PhotoFolder(tmp_path).select("train")) == "1 train photos (left out: 1 new)"


def test_a_manifest_in_another_encoding_is_refused_by_name(tmp_path):
    manifest(touched(tmp_path, "a.jpg"), "file,photographer\na.jpg,José\n", encoding="latin-1")
    with pytest.raises(ValueError, match=r"manifest\.csv: not UTF-8 text"):
        PhotoFolder(tmp_path)


def test_a_folder_that_is_missing_or_without_photos_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        PhotoFolder(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"no photos \(jpeg, jpg, png, webp\) below"):
        PhotoFolder(touched(tmp_path, "notes.txt"))


# Which photos are of use.


def test_grey_unreadable_and_small_photos_are_left_out_with_a_count(mixed):
    (mixed / "train/nowhere.jpg").symlink_to(mixed / "gone.jpg")
    photos = PhotoFolder(mixed)
    selection = photos.select("train", min_side=32)
    assert names(selection.photos) == ["good.jpg"]
    left_out = {reason: names(found) for reason, found in selection.left_out.items()}
    assert left_out == {
        "unreadable": ["cut.jpg", "nowhere.jpg"],
        "grey": ["grey.jpg"],
        "smaller than 32 px": ["small.jpg"],
    }
    assert str(selection) == (
        "1 train photos (left out: 2 unreadable, 1 grey, 1 smaller than 32 px)"
    )
    assert names(photos.select("train", min_side=20).photos) == ["good.jpg", "small.jpg"]
    assert str(photos.select("train")) == "2 train photos (left out: 2 unreadable, 1 grey)"


@pytest.mark.parametrize(("chroma", "kept"), [(1.5, False), (2.5, True)])
def test_a_photo_is_grey_below_a_mean_chroma_of_2(tmp_path, chroma, kept):
    lightness = np.tile(np.linspace(20, 90, 64), (64, 1))
    lab = np.stack((lightness, np.full_like(lightness, chroma), 0 * lightness), axis=-1)
    photo = Image.fromarray(np.round(lab2rgb(lab) * 255).astype(np.uint8))
    write_photo(photo, tmp_path / "train/pale.png")
    photos = PhotoFolder(tmp_path)
    photos.inspect(progress=False)
    assert photos.photos[0].mean_chroma == pytest.approx(chroma, abs=0.3)
    if kept:
        assert len(photos.select("train").photos) == 1
    else:
        with pytest.raises(ValueError, match=r"0 train photos \(left out: 1 grey\)"):
            photos.select("train")


def test_a_mean_chroma_of_exactly_2_is_color(tmp_path):
    rows = "a.jpg,train,9,9,2.0\nb.jpg,train,9,9,1.999\n"
    manifest(touched(tmp_path, "a.jpg", "b.jpg"), f"file,part,width,height,mean_chroma\n{rows}")
    selection = PhotoFolder(tmp_path).select("train")
    assert names(selection.photos) == ["a.jpg"] and names(selection.left_out["grey"]) == ["b.jpg"]


def test_a_selection_that_cannot_be_is_refused_with_the_way_out(mixed):
    photos = PhotoFolder(mixed)
    with pytest.raises(ValueError, match="train, val, test and all, got 'trian'"):
        photos.select("trian")
    with pytest.raises(ValueError, match=r"0 val photos\. Put photos into .*val") as caught:
        photos.select("val")
    assert str(mixed) in str(caught.value)


def test_what_was_found_out_is_kept_and_used(mixed, monkeypatch):
    first = PhotoFolder(mixed)
    first.inspect(progress=False)
    rows = index_rows(mixed)
    assert list(rows) == ["train/good.jpg", "train/grey.jpg", "train/small.jpg"]
    assert (rows["train/small.jpg"]["width"], rows["train/small.jpg"]["height"]) == ("80", "20")
    (mixed / "train/cut.jpg").unlink()
    monkeypatch.setattr(Image, "open", forbidden)
    second = PhotoFolder(mixed)
    assert second.select("train").photos == first.select("train").photos


def test_only_a_changed_or_an_unreadable_photo_is_looked_at_again(mixed, photo, monkeypatch):
    PhotoFolder(mixed).inspect(progress=False)
    write_photo(photo.resize((100, 90)), mixed / "train/grey.jpg")
    looked_at = []

    def look(photo, look=folder_module._look):
        looked_at.append(photo.path.name)
        return look(photo)

    monkeypatch.setattr(folder_module, "_look", look)
    photos = PhotoFolder(mixed)
    assert names(photos.select("train").photos) == ["good.jpg", "grey.jpg", "small.jpg"]
    assert sorted(looked_at) == ["cut.jpg", "grey.jpg"]
    assert [photo.width for photo in photos.photos if photo.id == "grey"] == [100]


def test_a_photo_of_the_same_length_but_another_time_is_looked_at_again(tmp_path):
    for color in ((90, 90, 90), (99, 20, 20)):
        path = write_photo(Image.new("RGB", (32, 32), color), tmp_path / "train/a.png")
        path.write_bytes(path.read_bytes().ljust(300, b"\0"))
        folder = PhotoFolder(tmp_path)
        folder.inspect(progress=False)
    assert names(folder.select("train").photos) == ["a.png"]


@pytest.mark.parametrize(
    "text", ["\x00\x01,,\n\n", "file,bytes\ntrain/good.jpg,9\n", "a,b,c,d,e,f\n"]
)
def test_a_damaged_index_costs_another_look_and_no_more(mixed, text):
    (mixed / INDEX).write_text(text)
    assert names(PhotoFolder(mixed).select("train").photos) == ["good.jpg", "small.jpg"]
    assert "train/good.jpg" in index_rows(mixed)


def test_an_interrupted_look_keeps_what_it_knows(mixed, monkeypatch):
    def look(photo, look=folder_module._look):
        if photo.id == "grey":
            raise KeyboardInterrupt
        return look(photo)

    monkeypatch.setattr(folder_module, "_look", look)
    with pytest.raises(KeyboardInterrupt):
        PhotoFolder(mixed).inspect(progress=False)
    assert list(index_rows(mixed)) == ["train/good.jpg"]


def test_a_read_only_folder_is_fine(mixed, monkeypatch, capsys):
    def read_only(path):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(folder_module, "atomic_write", read_only)
    assert len(PhotoFolder(mixed).select("train").photos) == 2
    assert not (mixed / INDEX).exists()
    assert "cannot be written" in "".join(capsys.readouterr())


# The embedded photos.


def test_the_embedded_photos_are_all_there_with_author_licence_and_source():
    samples = load_samples()
    with (samples.root / "manifest.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == names(samples.photos)
    assert len(rows) == 25
    for row in rows:
        assert all(row[key] for key in ("photographer", "title", "licence", "source"))
        assert row["licence"].startswith(("CC0", "CC-BY", "public domain"))
    assert Counter(row["part"] for row in rows) == {"train": 13, "val": 3, "test": 9}
    assert len({(photo.photographer, photo.part) for photo in samples.photos}) == len(
        {photo.photographer for photo in samples.photos}
    )
    assert sum(path.stat().st_size for path in samples.root.iterdir()) < 4_000_000


def test_the_embedded_photos_are_as_the_manifest_says(monkeypatch):
    for photo in load_samples().photos:
        looked = folder_module._look(photo)
        assert (looked.width, looked.height) == (photo.width, photo.height)
        assert min(looked.width, looked.height) == 320
        assert looked.mean_chroma == pytest.approx(photo.mean_chroma, abs=0.05)
    monkeypatch.setattr(Image, "open", forbidden)  # so nobody need look again
    selections = [load_samples().select(part, 320) for part in ("train", "val", "test")]
    assert [len(selection.photos) for selection in selections] == [13, 3, 9]
    assert not (load_samples().root / INDEX).exists()
