import dataclasses
import hashlib
import io

import numpy as np
import pytest
from conftest import make_photo
from PIL import Image, ImageOps

from colorize.data.duplicates import near_duplicates, perceptual_hash
from colorize.data.folder import PhotoFolder
from colorize.data.manifest import (
    COLUMNS,
    Manifest,
    ManifestEntry,
    ManifestWriter,
    PhotoFacts,
    photo_facts,
)
from colorize.data.splits import split_of
from colorize.io.image import PhotoError, photo_to_rgb


def jpeg(photo, **options):
    file = io.BytesIO()
    photo.save(file, "JPEG", **({"quality": 90} | options))
    return file.getvalue()


def blobs(seed, size=(120, 90)):
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8))
    return coarse.resize(size, Image.Resampling.BICUBIC)


def new(photo_id, seed=0, split="", photographer=""):
    facts = PhotoFacts(9, 9, 5, "0" * 64, 20.0, 9.0, f"{hash_of(seed):016x}")
    return ManifestEntry(photo_id, photographer, f"photos/{photo_id}", facts, split)


def hash_of(seed):
    return int(np.random.default_rng(seed).integers(0, 2**63))


def finalized(folder, *entries):
    with ManifestWriter(folder) as manifest:
        for entry in entries:
            manifest.add(entry)
        manifest.finalize()
    return {entry.id: entry for entry in Manifest(folder).entries.values()}


# Robustness.


def test_entries_are_stored_without_closing(tmp_path):
    manifest = ManifestWriter(tmp_path)
    entries = [
        dataclasses.replace(new("a"), reason='a "quoted", one'),
        ManifestEntry("gone", state="gone", reason="x\ny\x85z"),
    ]
    for entry in entries:
        manifest.add(entry)
    stored = Manifest(tmp_path).entries
    assert stored["a"] == entries[0]
    assert stored["gone"].reason == "x y z"  # a photo is one line
    text = (tmp_path / "manifest.csv").read_text()
    assert text.splitlines()[0] == ",".join(COLUMNS) and len(text.splitlines()) == 3
    manifest.__exit__()


@pytest.mark.parametrize("cut", [1, 5, 30])
def test_a_truncated_line_is_removed_and_the_next_one_complete(tmp_path, cut):
    with ManifestWriter(tmp_path) as manifest:
        manifest.add(new("a"))
        manifest.add(new("b", 1))
    path = tmp_path / "manifest.csv"
    path.write_bytes(path.read_bytes()[:-cut])
    with ManifestWriter(tmp_path) as manifest:
        assert list(manifest.entries) == ["a"]
        manifest.add(new("c", 2))
    assert list(Manifest(tmp_path).entries) == ["a", "c"]
    assert Manifest(tmp_path).damaged == 0


def test_a_damaged_line_is_counted_and_the_others_kept(tmp_path):
    with ManifestWriter(tmp_path) as manifest:
        for i in range(3):
            manifest.add(new(f"{i}", i))
    path = tmp_path / "manifest.csv"
    lines = path.read_bytes().splitlines(keepends=True)
    lines[2] = b"\0" * (len(lines[2]) - 1) + b"\n"
    path.write_bytes(b"".join(lines))
    manifest = Manifest(tmp_path)
    assert list(manifest.entries) == ["0", "2"] and manifest.damaged == 1
    lines[2] = lines[1].replace(hash_of(0).to_bytes(8).hex().encode(), b"zz")
    assert lines[2] != lines[1]
    path.write_bytes(b"".join(lines))
    assert list(Manifest(tmp_path).entries) == ["0", "2"]


def test_the_last_line_of_a_photo_counts(tmp_path):
    with ManifestWriter(tmp_path) as manifest:
        manifest.add(ManifestEntry("a", state="failed", reason="timed out"))
        manifest.add(new("a"))
    assert Manifest(tmp_path).entries["a"].state == "new"


def test_another_kind_of_manifest_is_left_alone(tmp_path):
    (tmp_path / "manifest.csv").write_text("file,part\na.jpg,train\n")
    with pytest.raises(ValueError, match=r"no manifest of a prepared folder .*'file,part'"):
        Manifest(tmp_path)


def test_a_file_counts_by_its_length(tmp_path):
    with ManifestWriter(tmp_path) as manifest:
        manifest.add(new("a"))
        assert not manifest.has_file(manifest.entries["a"])
        (tmp_path / "photos").mkdir()
        (tmp_path / "photos/a").write_bytes(b"1234")
        assert not manifest.has_file(manifest.entries["a"])
        (tmp_path / "photos/a").write_bytes(b"12345")
        assert manifest.has_file(manifest.entries["a"])
        assert not manifest.has_file(ManifestEntry("b", state="gone"))


# Facts of photos.


def test_facts_need_a_complete_photo():
    data = jpeg(blobs(1))
    facts = photo_facts(data)
    assert (facts.width, facts.height, facts.bytes) == (120, 90, len(data))
    assert facts.sha256 == hashlib.sha256(data).hexdigest()
    for cut in (len(data) // 2, len(data) - 2):
        with pytest.raises(PhotoError):
            photo_facts(data[:cut])


def test_gray_and_toned_photos_are_distinguished_from_color_photos(tmp_path):
    photo = blobs(3)
    gray = ImageOps.grayscale(photo)
    kinds = {
        "good": photo,
        "gray": gray.convert("RGB"),
        "toned": ImageOps.colorize(gray, (20, 10, 0), (255, 240, 200), mid=(130, 95, 60)),
    }
    entries = [
        ManifestEntry(kind, facts=photo_facts(jpeg(picture))) for kind, picture in kinds.items()
    ]
    result = finalized(tmp_path, *entries)
    assert {entry.id: entry.state for entry in result.values()} == {kind: kind for kind in kinds}
    assert [result[kind].split != "" for kind in kinds] == [True, False, False]


def test_the_hash_recognizes_smaller_recompressed_and_mirrored_copies():
    originals = [blobs(seed) for seed in range(20)]
    hashes = [perceptual_hash(photo) for photo in originals]
    assert near_duplicates(hashes) == {}
    copies = [
        Image.open(io.BytesIO(jpeg(photo.resize((90, 68)), quality=60))) for photo in originals
    ]
    mirrored = [ImageOps.mirror(copy) for copy in copies]
    for changed in (copies, mirrored):
        result = near_duplicates(hashes + [perceptual_hash(photo) for photo in changed])
        assert result == {20 + i: i for i in range(20)}
    flipped = [perceptual_hash(ImageOps.flip(photo)) for photo in originals]
    assert near_duplicates(hashes + flipped) == {}


def test_duplicates_are_of_the_first_that_stays_within_six_bits():
    base = hash_of(1)
    chain = [base, base ^ 0b111111, base ^ 0b111111111, base ^ 0b1111111]
    assert near_duplicates([f"{bits:016x}" for bits in chain]) == {1: 0, 3: 2}
    assert near_duplicates([f"{base:016x}"] * 3, start=2) == {2: 0}


# Splits.


def test_splits_follow_the_photographer_or_the_photo(tmp_path):
    alone = [new(f"p{i}", i) for i in range(60)]
    taken = [new(f"q{i}", 100 + i, photographer=f"person {i % 7}") for i in range(60)]
    result = finalized(tmp_path, *alone, *taken)
    for entry in result.values():
        assert entry.split == split_of(entry.photographer or entry.id)
    assert {entry.split for entry in result.values()} == {"train", "val", "test"}


def test_a_split_that_a_name_requests_is_kept(tmp_path):
    wanted = [new(f"{split}{i}", 10 * i + n, split) for i in range(9) for n, split in
              enumerate(("train", "val", "test"))]  # fmt: skip
    result = finalized(tmp_path, *wanted)
    assert {entry.id: entry.split for entry in result.values()} == {e.id: e.split for e in wanted}


def test_a_tenth_of_the_photos_named_train_becomes_val_if_none_is_named_val(tmp_path):
    result = finalized(tmp_path, *(new(f"{i}", i, "train") for i in range(300)))
    share = sum(entry.split == "val" for entry in result.values()) / 300
    assert share == pytest.approx(0.1, abs=0.05)
    assert {entry.split for entry in result.values()} == {"train", "val"}
    more = finalized(tmp_path, *(new(f"more {i}", 1000 + i, "train") for i in range(50)))
    assert {more[f"more {i}"].split for i in range(50)} == {"train"}  # there are val photos now
    assert all(more[photo_id] == entry for photo_id, entry in result.items())


def test_of_near_duplicates_the_earlier_or_the_test_photo_is_kept(tmp_path):
    result = finalized(
        tmp_path, new("a", 1, "train"), new("b", 1, "test"), new("c", 2, "val"), new("d", 2, "val")
    )
    assert [result[name].state for name in "abcd"] == ["duplicate", "good", "good", "duplicate"]
    assert (result["a"].reason, result["a"].split) == ("of b", "")
    again = finalized(tmp_path, new("0", 2, "test"))
    assert (again["0"].state, again["0"].reason) == ("duplicate", "of c")
    assert again["c"] == result["c"]


def test_the_final_file_is_sorted_and_complete(tmp_path):
    entries = [new("b", 1, "test"), new("a", 2, "train"), ManifestEntry("c", state="gone")]
    finalized(tmp_path, *entries)
    lines = (tmp_path / "manifest.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["id", "a", "b", "c"]
    assert str(Manifest(tmp_path)) == "2 good (1 train, 0 val, 1 test); 1 gone"
    gray = dataclasses.replace(new("g", 3), facts=new("g", 3).facts._replace(mean_chroma=1.0))
    assert "1 gray" in str(Manifest(tmp_path)) or finalized(tmp_path, gray)["g"].state == "gray"


def test_an_unfinished_folder_has_no_usable_photos(tmp_path):
    path = tmp_path / "photos" / "a.jpg"
    path.parent.mkdir()
    path.write_bytes(jpeg(make_photo()))
    with ManifestWriter(tmp_path) as manifest:
        manifest.add(
            ManifestEntry(
                "a", file="photos/a.jpg", split="train", facts=photo_facts(path.read_bytes())
            )
        )
    with pytest.raises(ValueError, match=r"0 train photos \(left out: 1 new\)"):
        PhotoFolder(tmp_path).select("train")
    finalized(tmp_path)
    split = Manifest(tmp_path).entries["a"].split
    (photo,) = PhotoFolder(tmp_path).select(split).photos
    assert photo_to_rgb(Image.open(photo.path)).shape == (3, 60, 80)


# Manifests of version 0.1.


def golden(i):
    digest = hashlib.sha256(f"hash {i}".encode()).hexdigest()
    entry = new(f"photo-{i}", split="" if i % 5 else "train")
    facts = entry.facts._replace(phash=digest[:16])
    person = f"person {i % 97}" if i % 2 else ""
    return dataclasses.replace(entry, facts=facts, photographer=person)


def test_prepared_folders_get_the_splits_of_version_0_1(tmp_path):
    result = finalized(tmp_path, *map(golden, range(1000)))
    splits = [result[f"photo-{i}"].split for i in range(1000)]
    assert splits[:6] == ["train", "val", "train", "train", "train", "train"]
    assert splits[6:12] == ["train", "test", "val", "train", "train", "train"]
    digest = hashlib.sha256(",".join(splits).encode()).hexdigest()
    assert digest == "2668f15c04bd7c97ba865ba9d9345d5b3199cb44a4b590cf7ce071133f4d8939"


def test_a_manifest_with_old_names_is_continued(tmp_path):
    facts = f"9,9,5,{'0' * 64},20.0,9.0,{hash_of(1):016x}"
    gray = f"9,9,5,{'0' * 64},0.5,0.1,{hash_of(2):016x}"
    heading = ",".join(COLUMNS).replace("split", "part")
    rows = [
        f"a,,photos/a,{facts},test,good,",
        f"b,,photos/b,{gray},,grey,mean chroma 0.5",
    ]
    path = tmp_path / "manifest.csv"
    path.write_text("\n".join([heading, *rows]) + "\n")
    with ManifestWriter(tmp_path) as manifest:
        assert str(manifest) == "1 good (0 train, 0 val, 1 test); 1 gray"
        manifest.add(new("c", 3, "val"))
        assert path.read_text().splitlines()[:3] == [heading, *rows], "nothing is rewritten yet"
        assert list(Manifest(tmp_path).entries) == ["a", "b", "c"]
        manifest.finalize()
    assert path.read_text().splitlines()[:3] == [
        ",".join(COLUMNS),
        rows[0],
        rows[1].replace("grey", "gray"),
    ]
    entries = Manifest(tmp_path).entries
    assert {entry.id: entry.split for entry in entries.values()} == {
        "a": "test",
        "b": "",
        "c": "val",
    }
