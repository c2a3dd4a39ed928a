import dataclasses
import hashlib
import io

import numpy as np
import pytest
from conftest import make_photo
from PIL import Image, ImageOps

from colorize.data.folder import PhotoFolder, split_of
from colorize.data.manifest import (
    COLUMNS,
    Manifest,
    ManifestEntry,
    near_duplicates,
    perceptual_hash,
    photo_facts,
)
from colorize.io.image import PhotoError, photo_to_rgb


def jpeg(photo, **options):
    file = io.BytesIO()
    photo.save(file, "JPEG", **({"quality": 90} | options))
    return file.getvalue()


def blobs(seed, size=(120, 90)):
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8))
    return coarse.resize(size, Image.Resampling.BICUBIC)


def new(photo_id, seed=0, part="", photographer="", **facts):
    known = {"width": 9, "height": 9, "bytes": 5, "sha256": "0" * 64}
    known |= {"mean_chroma": 20.0, "color_spread": 9.0, "phash": f"{hash_of(seed):016x}"}
    return ManifestEntry(photo_id, photographer, f"photos/{photo_id}", part=part, **(known | facts))


def hash_of(seed):
    return int(np.random.default_rng(seed).integers(0, 2**63))


def settled(folder, *entries):
    with Manifest(folder) as manifest:
        for entry in entries:
            manifest.add(entry)
        manifest.settle()
    return {entry.id: entry for entry in Manifest(folder).entries.values()}


# What survives.


def test_what_was_added_is_there_without_closing(tmp_path):
    manifest = Manifest(tmp_path).__enter__()
    entries = [
        new("a", reason='a "quoted", one'),
        ManifestEntry("gone", state="gone", reason="x\ny\x85z"),
    ]
    for entry in entries:
        manifest.add(entry)
    found = Manifest(tmp_path).entries
    assert found["a"] == entries[0]
    assert found["gone"].reason == "x y z"  # a photo is one line
    text = (tmp_path / "manifest.csv").read_text()
    assert text.splitlines()[0] == ",".join(COLUMNS) and len(text.splitlines()) == 3
    manifest.__exit__()


@pytest.mark.parametrize("cut", [1, 5, 30])
def test_a_line_cut_short_is_cut_off_and_the_next_one_whole(tmp_path, cut):
    with Manifest(tmp_path) as manifest:
        manifest.add(new("a"))
        manifest.add(new("b", 1))
    path = tmp_path / "manifest.csv"
    path.write_bytes(path.read_bytes()[:-cut])
    with Manifest(tmp_path) as manifest:
        assert list(manifest.entries) == ["a"]
        manifest.add(new("c", 2))
    assert list(Manifest(tmp_path).entries) == ["a", "c"]
    assert Manifest(tmp_path).damaged == 0


def test_a_damaged_line_is_counted_and_the_others_kept(tmp_path):
    with Manifest(tmp_path) as manifest:
        for i in range(3):
            manifest.add(new(f"{i}", i))
    path = tmp_path / "manifest.csv"
    lines = path.read_bytes().splitlines(keepends=True)
    lines[2] = b"\0" * (len(lines[2]) - 1) + b"\n"
    path.write_bytes(b"".join(lines))
    found = Manifest(tmp_path)
    assert list(found.entries) == ["0", "2"] and found.damaged == 1
    lines[2] = lines[1].replace(hash_of(0).to_bytes(8).hex().encode(), b"zz")
    assert lines[2] != lines[1]
    path.write_bytes(b"".join(lines))
    assert list(Manifest(tmp_path).entries) == ["0", "2"]


def test_the_last_line_of_a_photo_counts(tmp_path):
    with Manifest(tmp_path) as manifest:
        manifest.add(ManifestEntry("a", state="failed", reason="timed out"))
        manifest.add(new("a"))
    assert Manifest(tmp_path).entries["a"].state == "new"


def test_another_kind_of_manifest_is_left_alone(tmp_path):
    (tmp_path / "manifest.csv").write_text("file,part\na.jpg,train\n")
    with pytest.raises(ValueError, match=r"no manifest of a prepared folder .*'file,part'"):
        Manifest(tmp_path)


def test_a_file_counts_by_its_length(tmp_path):
    with Manifest(tmp_path) as manifest:
        manifest.add(new("a"))
        assert not manifest.has_file(manifest.entries["a"])
        (tmp_path / "photos").mkdir()
        (tmp_path / "photos/a").write_bytes(b"1234")
        assert not manifest.has_file(manifest.entries["a"])
        (tmp_path / "photos/a").write_bytes(b"12345")
        assert manifest.has_file(manifest.entries["a"])
        assert not manifest.has_file(ManifestEntry("b", state="gone"))


# What is examined.


def test_a_photo_is_examined_whole():
    data = jpeg(blobs(1))
    facts = photo_facts(data)
    assert (facts["width"], facts["height"], facts["bytes"]) == (120, 90, len(data))
    assert facts["sha256"] == hashlib.sha256(data).hexdigest()
    for cut in (len(data) // 2, len(data) - 2):
        with pytest.raises(PhotoError):
            photo_facts(data[:cut])


def test_grey_and_toned_photos_are_told_from_photos_in_color(tmp_path):
    photo = blobs(3)
    grey = ImageOps.grayscale(photo)
    kinds = {
        "good": photo,
        "grey": grey.convert("RGB"),
        "toned": ImageOps.colorize(grey, (20, 10, 0), (255, 240, 200), mid=(130, 95, 60)),
    }
    entries = [ManifestEntry(kind, **photo_facts(jpeg(picture))) for kind, picture in kinds.items()]
    found = settled(tmp_path, *entries)
    assert {entry.id: entry.state for entry in found.values()} == {kind: kind for kind in kinds}
    assert [found[kind].part != "" for kind in kinds] == [True, False, False]


def test_the_hash_knows_a_photo_again_smaller_worse_and_mirrored():
    originals = [blobs(seed) for seed in range(20)]
    hashes = [perceptual_hash(photo) for photo in originals]
    assert near_duplicates(hashes) == {}
    copies = [
        Image.open(io.BytesIO(jpeg(photo.resize((90, 68)), quality=60))) for photo in originals
    ]
    mirrored = [ImageOps.mirror(copy) for copy in copies]
    for changed in (copies, mirrored):
        found = near_duplicates(hashes + [perceptual_hash(photo) for photo in changed])
        assert found == {20 + i: i for i in range(20)}
    flipped = [perceptual_hash(ImageOps.flip(photo)) for photo in originals]
    assert near_duplicates(hashes + flipped) == {}


def test_duplicates_are_of_the_first_that_stays_within_six_bits():
    base = hash_of(1)
    chain = [base, base ^ 0b111111, base ^ 0b111111111, base ^ 0b1111111]
    assert near_duplicates([f"{bits:016x}" for bits in chain]) == {1: 0, 3: 2}
    assert near_duplicates([f"{base:016x}"] * 3, known=2) == {2: 0}


# Parts.


def test_parts_follow_the_photographer_or_the_photo(tmp_path):
    alone = [new(f"p{i}", i) for i in range(60)]
    taken = [new(f"q{i}", 100 + i, photographer=f"person {i % 7}") for i in range(60)]
    found = settled(tmp_path, *alone, *taken)
    for entry in found.values():
        assert entry.part == split_of(entry.photographer or entry.id)
    assert {entry.part for entry in found.values()} == {"train", "val", "test"}


def test_a_part_that_a_name_asks_for_is_kept(tmp_path):
    wanted = [new(f"{part}{i}", 10 * i + n, part) for i in range(9) for n, part in
              enumerate(("train", "val", "test"))]  # fmt: skip
    found = settled(tmp_path, *wanted)
    assert {entry.id: entry.part for entry in found.values()} == {e.id: e.part for e in wanted}


def test_where_none_is_named_val_a_tenth_of_the_named_train_is(tmp_path):
    found = settled(tmp_path, *(new(f"{i}", i, "train") for i in range(300)))
    share = sum(entry.part == "val" for entry in found.values()) / 300
    assert share == pytest.approx(0.1, abs=0.05)
    assert {entry.part for entry in found.values()} == {"train", "val"}
    more = settled(tmp_path, *(new(f"more {i}", 1000 + i, "train") for i in range(50)))
    assert {more[f"more {i}"].part for i in range(50)} == {"train"}  # there are val photos now
    assert all(more[photo_id] == entry for photo_id, entry in found.items())


def test_of_near_duplicates_the_one_that_was_there_or_is_for_testing_stays(tmp_path):
    found = settled(
        tmp_path, new("a", 1, "train"), new("b", 1, "test"), new("c", 2, "val"), new("d", 2, "val")
    )
    assert [found[name].state for name in "abcd"] == ["duplicate", "good", "good", "duplicate"]
    assert (found["a"].reason, found["a"].part) == ("of b", "")
    again = settled(tmp_path, new("0", 2, "test"))
    assert (again["0"].state, again["0"].reason) == ("duplicate", "of c")
    assert again["c"] == found["c"]


def test_the_settled_file_is_sorted_and_says_it_all(tmp_path):
    entries = [new("b", 1, "test"), new("a", 2, "train"), ManifestEntry("c", state="gone")]
    settled(tmp_path, *entries)
    lines = (tmp_path / "manifest.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["id", "a", "b", "c"]
    assert str(Manifest(tmp_path)) == "2 good (1 train, 0 val, 1 test); 1 gone"
    grey = dataclasses.replace(new("g", 3), mean_chroma=1.0)
    assert "1 grey" in str(Manifest(tmp_path)) or settled(tmp_path, grey)["g"].state == "grey"


def test_a_folder_that_is_not_finished_gives_no_photos(tmp_path):
    path = tmp_path / "photos" / "a.jpg"
    path.parent.mkdir()
    path.write_bytes(jpeg(make_photo()))
    with Manifest(tmp_path) as manifest:
        manifest.add(
            ManifestEntry("a", file="photos/a.jpg", part="train", **photo_facts(path.read_bytes()))
        )
    with pytest.raises(ValueError, match=r"0 train photos \(left out: 1 new\)"):
        PhotoFolder(tmp_path).select("train")
    settled(tmp_path)
    part = Manifest(tmp_path).entries["a"].part
    (photo,) = PhotoFolder(tmp_path).select(part).photos
    assert photo_to_rgb(Image.open(photo.path)).shape == (3, 60, 80)
