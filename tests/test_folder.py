import csv
import hashlib
import os
from collections import Counter

import numpy as np
import pytest
from PIL import Image
from skimage.color import lab2rgb

import colorize.data.folder as folder_module
import colorize.data.inspection as inspection
from colorize.data.folder import InspectedPhoto, PhotoFolder, load_samples
from colorize.data.inspection import INDEX
from colorize.data.splits import split_of
from colorize.io.image import write_photo


def forbidden(*args, **options):
    raise AssertionError("a photo was opened")


def touched(root, *names):
    """Make empty files, which cannot be opened as photos."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def manifest(root, text, encoding="utf-8"):
    (root / "manifest.csv").write_text(text, encoding=encoding)
    return root


def names(photos):
    return [photo.path.name for photo in photos]


def splits(root):
    return {photo.path.name: photo.split for photo in PhotoFolder(root).photos}


def index_rows(root):
    with (root / INDEX).open() as file:
        return {row["file"]: row for row in csv.DictReader(file)}


@pytest.fixture
def mixed(tmp_path, photo):
    """Four training photos of which one is usable: the others are gray, broken, and small."""
    root = tmp_path / "mixed"
    write_photo(photo, root / "train/good.jpg")
    write_photo(photo.convert("L").convert("RGB"), root / "train/gray.jpg")
    write_photo(photo.resize((80, 20)), root / "train/small.jpg")
    whole = (root / "train/good.jpg").read_bytes()
    (root / "train/cut.jpg").write_bytes(whole[: len(whole) // 2])
    return root


# Which photos a folder holds, and their splits.


def test_photos_are_found_in_all_subfolders_and_sorted(tmp_path):
    expected = ["B.JPG", "a/b/c.WebP", "a/d.jpeg", "train/e.png", "z.jpg"]
    others = ["notes.txt", ".hidden.jpg", ".cache/f.jpg", "a/.g.png", "jpg", "@eaDir/z.jpg"]
    touched(tmp_path, *reversed(expected), *others)
    photos = PhotoFolder(tmp_path).photos
    assert [photo.path.relative_to(tmp_path).as_posix() for photo in photos] == expected


def test_other_images_are_left_out_with_a_warning(tmp_path):
    touched(tmp_path, "train/a.jpg", "train/b.tif", "c.TIFF", "d.avif", "raw.cr2", "notes.txt")
    with pytest.warns(UserWarning, match="left out") as caught:
        assert names(PhotoFolder(tmp_path).photos) == ["a.jpg"]
    assert [str(warning.message) for warning in caught] == [
        f"3 files ({tmp_path}/c.TIFF, {tmp_path}/d.avif, {tmp_path}/train/b.tif) are left out: "
        "not JPEG, PNG or WebP; `colorize prepare` converts it",
        f"{tmp_path / 'raw.cr2'} is left out: camera raw; develop it to TIFF first, "
        "such as with darktable or RawTherapee",
    ]
    assert caught[0].filename == __file__


def test_links_to_themselves_are_unreadable_and_pipes_are_never_opened(tmp_path, photo, capsys):
    write_photo(photo, tmp_path / "train/a.jpg")
    (tmp_path / "train/self.jpg").symlink_to("self.jpg")
    os.mkfifo(tmp_path / "train/pipe.jpg")
    for _ in range(2):  # the second with an index
        with pytest.warns(UserWarning, match=r"pipe\.jpg is left out: a pipe or device"):
            folder = PhotoFolder(tmp_path)
        assert str(folder.select("train")) == "1 train photo (left out: 1 unreadable)"
        assert f"unreadable: {tmp_path / 'train/self.jpg'}: " in capsys.readouterr().err


def test_the_first_unreadable_photos_are_named(tmp_path, photo, capsys):
    write_photo(photo, tmp_path / "train/a.jpg")
    touched(tmp_path, *(f"train/b{number}.jpg" for number in range(5)))
    folder = PhotoFolder(tmp_path)
    folder.inspect(progress=False)
    assert capsys.readouterr().err == ""
    folder = PhotoFolder(tmp_path)
    folder.select("train")
    lines = [line for line in capsys.readouterr().err.splitlines() if "unreadable" in line]
    assert len(lines) == 4 and lines[3].endswith("unreadable: 2 more")
    assert all(f"b{number}.jpg: " in lines[number] for number in range(3))
    folder.select("train")
    assert capsys.readouterr().err == ""


def test_linked_folders_are_followed_but_not_back_up(tmp_path):
    root = touched(tmp_path, "photos/a.jpg", "elsewhere/b.jpg") / "photos"
    (root / "link").symlink_to(tmp_path / "elsewhere")
    (root / "up").symlink_to(root)
    assert names(PhotoFolder(root).photos) == ["a.jpg", "b.jpg"]


def test_subfolders_decide_the_split_before_the_manifest_and_the_hash(tmp_path):
    touched(tmp_path, "train/abc.jpg", "val/hello.jpg", "test/deep/hello2.jpg", "a/val/photo3.jpg")
    manifest(tmp_path, "file,split\ntrain/abc.jpg,test\n")
    assert splits(tmp_path) == {
        **{"abc.jpg": "train", "hello.jpg": "val", "hello2.jpg": "test"},
        "photo3.jpg": "test",  # by its hash: val/ is not directly below the folder
    }


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])  # the second is Excel's
@pytest.mark.parametrize("column", ["file", "name"])
def test_a_manifest_decides_the_split_before_the_hash(tmp_path, column, encoding):
    touched(tmp_path, "a.jpg", "sub/abc.jpg", "hello.jpg")
    text = f"{column},split,photographer\na.jpg,test,José\nsub/abc.jpg,train,\nhello.jpg,,\n"
    manifest(tmp_path, text, encoding)
    assert splits(tmp_path) == {"a.jpg": "test", "abc.jpg": "train", "hello.jpg": "train"}
    assert PhotoFolder(tmp_path).photos[0].photographer == "José"


def test_the_hash_is_sha_256_on_every_machine():
    # First bytes by sha256sum: 2c.., ba.., ca97.., f9..; the borders are 9999.. and cccc..
    expected = {"hello": "train", "abc": "val", "a": "val", "photo3": "test"}
    assert {key: split_of(key) for key in expected} == expected
    counts = Counter()
    for i in range(10_000):
        key = f"photographer {i}"
        tenths = int(hashlib.sha256(key.encode()).hexdigest(), 16) * 10
        split = "train" if tenths < 6 * 2**256 else "val" if tenths < 8 * 2**256 else "test"
        assert split_of(key) == split
        counts[split] += 1
    shares = [counts[split] / 10_000 for split in ("train", "val", "test")]
    assert shares == pytest.approx([0.6, 0.2, 0.2], abs=0.015)


def test_existing_folders_keep_their_splits(tmp_path):
    """A golden list of 1,000 photos, half of them with a photographer, by version 0.1."""
    ids = [f"photo-{i}" for i in range(1000)]
    touched(tmp_path, *(f"{photo_id}.jpg" for photo_id in ids))
    people = [f"person {i % 97}" if i % 2 else "" for i in range(1000)]
    rows = "".join(f"{a}.jpg,{b}\n" for a, b in zip(ids, people, strict=True))
    manifest(tmp_path, f"file,photographer\n{rows}")
    by_id = {photo.id: photo.split for photo in PhotoFolder(tmp_path).photos}
    result = [by_id[photo_id] for photo_id in ids]
    assert result[:6] == ["val", "val", "train", "train", "train", "train"]
    assert result[6:12] == ["train", "test", "val", "train", "train", "train"]
    digest = hashlib.sha256(",".join(result).encode()).hexdigest()
    assert digest == "ed90bb277d6680d3c63839cec077786bbee0580c436c7ae35fa1e5d9649f6ece"


@pytest.mark.parametrize("column", ["split", "part"])  # the second is the name in version 0.1
def test_the_column_of_splits_has_an_old_name(tmp_path, column):
    touched(tmp_path, "a.jpg", "b.jpg")
    manifest(tmp_path, f"file,{column},state\na.jpg,test,good\nb.jpg,val,grey\n")
    assert splits(tmp_path) == {"a.jpg": "test", "b.jpg": "val"}
    assert [photo.state for photo in PhotoFolder(tmp_path).photos] == ["good", "gray"]


def test_photos_of_one_photographer_share_a_split(tmp_path):
    touched(tmp_path, *(f"{i}.jpg" for i in range(40)))
    rows = "".join(f"{i}.jpg,person {i % 8}\n" for i in range(40))
    manifest(tmp_path, f"file,photographer\n{rows}")
    photos = PhotoFolder(tmp_path).photos
    assert {photo.split for photo in photos} == {"train", "val", "test"}
    assert all(photo.split == split_of(f"person {int(photo.id) % 8}") for photo in photos)


def test_other_photos_do_not_move_a_photo(tmp_path):
    before = splits(touched(tmp_path, *(f"{i}.jpg" for i in range(20))))
    after = splits(touched(tmp_path, *(f"new{i}.jpg" for i in range(20))))
    assert {name: after[name] for name in before} == before


def test_a_file_name_may_be_any_bytes(tmp_path, photo):
    path = write_photo(photo, tmp_path / "train/a.jpg")
    path.rename(path.with_name(os.fsdecode(b"Jos\xe9.jpg")))
    assert len(PhotoFolder(tmp_path).select("train").photos) == 1
    assert PhotoFolder(path.parent).photos[0].split in ("train", "val", "test")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("picture;part\na.jpg;test\n", "no column `file` or `name` among picture;part"),
        ("file,split\na.jpg,train\na.jpg,trian\n", r"line 3: split 'trian' is none of train, val"),
        ("file,width\na.jpg,wide\n", "line 2: .*'wide'"),
        ("", "no column"),
        ("file,split\na.jpg,test\n./a.jpg,train\n", r"line 3: a\.jpg is listed twice"),
        ("file,split\nA.jpg,test\na,test\n", r"2 of 2 rows match no photo .* 'A\.jpg'; write .*'a"),
    ],
)
def test_a_wrong_manifest_is_refused_by_file_and_place(tmp_path, text, message):
    manifest(touched(tmp_path, "a.jpg"), text)
    with pytest.raises(ValueError, match=message) as caught:
        PhotoFolder(tmp_path)
    assert str(tmp_path / "manifest.csv") in str(caught.value)


def test_rows_are_found_by_path_and_a_row_without_a_photo_is_reported(tmp_path):
    manifest(touched(tmp_path, "a.jpg", "b.jpg"), "file,split\n./a.jpg ,test\nB.jpg,test\n,val\n")
    with pytest.warns(UserWarning, match=r"1 of 2 rows match no photo .*'B\.jpg'"):
        result = splits(tmp_path)
    assert result == {"a.jpg": "test", "b.jpg": split_of("b")}


def test_beside_classified_photos_one_without_a_line_is_excluded(tmp_path, photo):
    for name in ("a", "b"):
        write_photo(photo, tmp_path / f"train/{name}.jpg")
    manifest(tmp_path, "file,split,state\ntrain/a.jpg,train,good\n")
    assert str(PhotoFolder(tmp_path).select("train")) == "1 train photo (left out: 1 new)"


def test_a_manifest_in_another_encoding_is_refused_by_name(tmp_path):
    manifest(touched(tmp_path, "a.jpg"), "file,photographer\na.jpg,José\n", encoding="latin-1")
    with pytest.raises(ValueError, match=r"manifest\.csv: not UTF-8 text"):
        PhotoFolder(tmp_path)


def test_a_folder_that_is_missing_or_without_photos_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        PhotoFolder(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"no photos \(jpeg, jpg, png, webp\) below"):
        PhotoFolder(touched(tmp_path, "notes.txt"))


# Which photos are usable.


def test_gray_unreadable_and_small_photos_are_left_out_with_a_count(mixed):
    (mixed / "train/nowhere.jpg").symlink_to(mixed / "gone.jpg")
    photos = PhotoFolder(mixed)
    selection = photos.select("train", min_side=32)
    assert names(selection.photos) == ["good.jpg"]
    left_out = {reason: names(photos) for reason, photos in selection.left_out.items()}
    assert left_out == {
        "unreadable": ["cut.jpg", "nowhere.jpg"],
        "gray": ["gray.jpg"],
        "smaller than 32 px": ["small.jpg"],
    }
    assert str(selection) == (
        "1 train photo (left out: 2 unreadable, 1 gray, 1 smaller than 32 px)"
    )
    assert names(photos.select("train", min_side=20).photos) == ["good.jpg", "small.jpg"]
    assert str(photos.select("train")) == "2 train photos (left out: 2 unreadable, 1 gray)"


@pytest.mark.parametrize(("chroma", "kept"), [(1.5, False), (2.5, True)])
def test_a_photo_is_gray_below_a_mean_chroma_of_2(tmp_path, chroma, kept):
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
        with pytest.raises(ValueError, match=r"0 train photos \(left out: 1 gray\)"):
            photos.select("train")


def test_a_mean_chroma_of_exactly_2_is_color(tmp_path):
    rows = "a.jpg,train,9,9,2.0\nb.jpg,train,9,9,1.999\n"
    manifest(touched(tmp_path, "a.jpg", "b.jpg"), f"file,split,width,height,mean_chroma\n{rows}")
    selection = PhotoFolder(tmp_path).select("train")
    assert names(selection.photos) == ["a.jpg"] and names(selection.left_out["gray"]) == ["b.jpg"]


def test_an_impossible_selection_is_refused_with_a_remedy(mixed):
    photos = PhotoFolder(mixed)
    with pytest.raises(ValueError, match="train, val, test and all, got 'trian'"):
        photos.select("trian")
    with pytest.raises(ValueError, match=r"0 val photos\. Put photos into .*val") as caught:
        photos.select("val")
    assert str(mixed) in str(caught.value)


def test_inspections_are_kept_and_reused(mixed, monkeypatch):
    first = PhotoFolder(mixed)
    first.inspect(progress=False)
    rows = index_rows(mixed)
    assert list(rows) == ["train/good.jpg", "train/gray.jpg", "train/small.jpg"]
    assert (rows["train/small.jpg"]["width"], rows["train/small.jpg"]["height"]) == ("80", "20")
    (mixed / "train/cut.jpg").unlink()
    monkeypatch.setattr(Image, "open", forbidden)
    second = PhotoFolder(mixed)
    assert second.select("train").photos == first.select("train").photos


def test_only_a_changed_or_an_unreadable_photo_is_inspected_again(mixed, photo, monkeypatch):
    PhotoFolder(mixed).inspect(progress=False)
    write_photo(photo.resize((100, 90)), mixed / "train/gray.jpg")
    inspected = []

    def inspect(path, inspect=inspection.inspect_file):
        inspected.append(path.name)
        return inspect(path)

    monkeypatch.setattr(folder_module, "inspect_file", inspect)
    photos = PhotoFolder(mixed)
    assert names(photos.select("train").photos) == ["good.jpg", "gray.jpg", "small.jpg"]
    assert sorted(inspected) == ["cut.jpg", "gray.jpg"]
    assert [photo.width for photo in photos.photos if photo.id == "gray"] == [100]


def test_a_photo_of_the_same_length_but_another_time_is_inspected_again(tmp_path):
    for color in ((90, 90, 90), (99, 20, 20)):
        path = write_photo(Image.new("RGB", (32, 32), color), tmp_path / "train/a.png")
        path.write_bytes(path.read_bytes().ljust(300, b"\0"))
        folder = PhotoFolder(tmp_path)
        folder.inspect(progress=False)
    assert names(folder.select("train").photos) == ["a.png"]


@pytest.mark.parametrize(
    "text", ["\x00\x01,,\n\n", "file,bytes\ntrain/good.jpg,9\n", "a,b,c,d,e,f\n"]
)
def test_a_damaged_index_costs_another_inspection_and_no_more(mixed, text):
    (mixed / INDEX).write_text(text)
    assert names(PhotoFolder(mixed).select("train").photos) == ["good.jpg", "small.jpg"]
    assert "train/good.jpg" in index_rows(mixed)


def test_an_interrupted_inspection_keeps_its_results(mixed, monkeypatch):
    def inspect(path, inspect=inspection.inspect_file):
        if path.stem == "gray":
            raise KeyboardInterrupt
        return inspect(path)

    monkeypatch.setattr(folder_module, "inspect_file", inspect)
    with pytest.raises(KeyboardInterrupt):
        PhotoFolder(mixed).inspect(progress=False)
    assert list(index_rows(mixed)) == ["train/good.jpg"]


def test_a_read_only_folder_is_fine(mixed, monkeypatch, capsys):
    def read_only(path):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(inspection, "atomic_write", read_only)
    assert len(PhotoFolder(mixed).select("train").photos) == 2
    assert not (mixed / INDEX).exists()
    assert "cannot be written" in "".join(capsys.readouterr())


# The embedded photos.


def test_every_embedded_photo_has_an_author_a_license_and_a_source():
    samples = load_samples()
    with (samples.root / "manifest.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == names(samples.photos)
    assert len(rows) == 25
    for row in rows:
        assert all(row[key] for key in ("photographer", "title", "license", "source"))
        assert row["license"].startswith(("CC0", "CC-BY", "public domain"))
    assert Counter(row["split"] for row in rows) == {"train": 13, "val": 3, "test": 9}
    assert len({(photo.photographer, photo.split) for photo in samples.photos}) == len(
        {photo.photographer for photo in samples.photos}
    )
    assert sum(path.stat().st_size for path in samples.root.iterdir()) < 4_000_000


def test_the_embedded_photos_match_their_manifest(monkeypatch):
    for photo in load_samples().photos:
        measured = inspection.inspect_file(photo.path)
        assert (measured.width, measured.height) == (photo.width, photo.height)
        assert min(measured.width, measured.height) == 320
        assert measured.mean_chroma == pytest.approx(photo.mean_chroma, abs=0.05)
    monkeypatch.setattr(Image, "open", forbidden)  # so that no photo is inspected again
    selections = [load_samples().select(split, 320) for split in ("train", "val", "test")]
    assert [len(selection.photos) for selection in selections] == [13, 3, 9]
    assert not (load_samples().root / INDEX).exists()


def test_only_inspected_photos_have_a_size(mixed):
    photos = PhotoFolder(mixed)
    assert not any(isinstance(photo, InspectedPhoto) for photo in photos.photos)
    photos.inspect(progress=False)
    assert [photo.id for photo in photos.photos if not isinstance(photo, InspectedPhoto)] == ["cut"]
