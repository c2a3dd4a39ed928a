"""Shards: their contents, and which process reads which photo."""

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
import tarfile
import threading
from collections import Counter
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from shutil import copytree, which
from types import SimpleNamespace
from urllib.parse import unquote

import pytest
import torch
from conftest import make_photo

from colorize.cli import main
from colorize.data import webdataset as module
from colorize.data.dataset import RgbDataset, read_crop
from colorize.data.folder import PhotoRecord
from colorize.data.manifest import Manifest
from colorize.data.prepare import prepare
from colorize.data.shard_writer import write_shards
from colorize.data.webdataset import (
    EvalShards,
    ShardLoader,
    TrainingShards,
    has_shards,
    run_shard_loaders,
    shard_eval_loader,
)
from colorize.io.image import write_photo
from colorize.presets import PRESETS
from colorize.trainers import open_run
from colorize.utils.distributed import rank_and_world_size
from colorize.utils.seed import derive_seed

ODD = ("a.b.c.jpg", "a%2Eb.c.jpg", "a/b.c.jpg", "a.b/c.jpg", "weiß ☃.jpg", "__meta__.jpeg")
COUNTS = {"train": 24, "val": 7, "test": 3}
SIZE = 32


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A prepared folder with photos of odd names, and its shards of at most five photos."""
    root = tmp_path_factory.mktemp("made")
    number = 0
    for split, count in COUNTS.items():
        names = [*ODD, *(f"{i:02d}.jpg" for i in range(count))][:count]
        for name in names:
            number += 1
            write_photo(make_photo(seed=number), root / "source" / split / name)
    prepare([root / "source"], root / "prepared", progress=False)
    write_shards(root / "prepared", root / "shards", photos_per_shard=5, progress=False)
    return root


@pytest.fixture
def prepared(made, tmp_path):
    return copytree(made / "prepared", tmp_path / "prepared")


@pytest.fixture
def webdataset():
    return pytest.importorskip("webdataset")


def good(made, split):
    """The photos of a split in the order of the shards."""
    entries = Manifest(made / "prepared").entries.values()
    entries = [entry for entry in entries if (entry.state, entry.split) == ("good", split)]
    return sorted(entries, key=lambda entry: hashlib.sha256(entry.id.encode()).hexdigest())


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def edit_index(folder, change):
    told = json.loads((folder / "index.json").read_text())
    for row in told["shards"]:
        change(row)
    (folder / "index.json").write_text(json.dumps(told))


def digest(crop):
    return hashlib.sha256(crop.numpy().tobytes()).hexdigest()


# Writing.


def test_shards_are_plain_tars_in_webdatasets_layout(made):
    for split, sizes in (("train", [5, 5, 5, 5, 4]), ("val", [5, 2]), ("test", [3])):
        entries = good(made, split)
        paths = [made / "shards" / f"{split}-{number:06d}.tar" for number in range(len(sizes))]
        assert len(entries) == COUNTS[split] == sum(sizes)
        for path, size in zip(paths, sizes, strict=True):
            with tarfile.open(path) as tar:
                members = tar.getmembers()
                data = [tar.extractfile(member).read() for member in members]
            assert len(members) == 2 * size
            for number, entry in enumerate(entries[:size]):
                jpg, about = members[2 * number : 2 * number + 2]
                key = jpg.name.removesuffix(".jpg")
                assert about.name == f"{key}.json"
                assert not {".", "/"} & set(key) and unquote(key) == entry.id
                assert data[2 * number] == (made / "prepared" / entry.file).read_bytes()
                assert json.loads(data[2 * number + 1]) == {
                    **{"id": entry.id, "photographer": "", "split": split},
                    **{"width": 80, "height": 60, "sha256": entry.facts.sha256},
                }
                for member in (jpg, about):
                    assert (member.mtime, member.uid, member.gid, member.uname) == (0, 0, 0, "")
                    assert member.isreg() and member.mode == 0o644
            del entries[:size]


def test_the_index_lists_every_shard(made):
    rows = json.loads((made / "shards" / "index.json").read_text())["shards"]
    files = contents(made / "shards")
    assert [row["name"] for row in rows] == sorted(files.keys() - {"index.json"}, key=by_split)
    for row in rows:
        assert row["sha256"] == hashlib.sha256(files[row["name"]]).hexdigest()
        assert row["min_side"] == 60 and row["name"].startswith(row["split"])
    for split, count in COUNTS.items():
        assert sum(row["photos"] for row in rows if row["split"] == split) == count


def by_split(name):
    return list(COUNTS).index(name.split("-")[0]), name


def test_the_same_photos_give_the_same_bytes(made, prepared, tmp_path):
    for path in prepared.rglob("*.jp*g"):
        os.utime(path, (1, 1))
        path.chmod(0o600)
    lines = (prepared / "manifest.csv").read_text().splitlines()
    (prepared / "manifest.csv").write_text("\n".join([lines[0], *lines[:0:-1]]) + "\n")
    paths = write_shards(prepared, tmp_path / "again", photos_per_shard=5, progress=False)
    assert contents(tmp_path / "again") == contents(made / "shards")
    assert {split: len(names) for split, names in paths.items()} == {
        "train": 5,
        "val": 2,
        "test": 1,
    }
    assert all(path.is_file() for names in paths.values() for path in names)


def test_an_interrupted_call_resumes_and_only_writes_missing_or_different_shards(made, tmp_path):
    out = copytree(made / "shards", tmp_path / "shards")
    (out / "index.json").unlink()
    (out / "train-000001.tar").unlink()
    (out / "train-000002.tar").write_bytes((out / "train-000003.tar").read_bytes())
    (out / "train-000004.tar").write_bytes(b"no tar")
    before = {path.name: path.stat().st_ino for path in out.iterdir()}
    write_shards(made / "prepared", out, photos_per_shard=5, progress=False)
    assert contents(out) == contents(made / "shards")
    kept = {name for name, number in before.items() if (out / name).stat().st_ino == number}
    written = {"train-000001.tar", "train-000002.tar", "train-000004.tar"}
    assert kept == contents(out).keys() - written - {"index.json"}


def test_a_missing_or_changed_photo_is_named(prepared, tmp_path):
    path = prepared / "photos" / "source" / "val" / "a.b.c.jpg"
    data = path.read_bytes()
    out = tmp_path / "shards"
    write_shards(prepared, out, photos_per_shard=5, progress=False)
    (out / "val-000000.tar").unlink(), (out / "val-000001.tar").unlink()
    for change, reason in (
        (path.unlink, "is missing; the manifest lists"),
        (partial(path.write_bytes, data[:-1]), f"is another file, of {len(data) - 1} bytes"),
        (partial(path.write_bytes, data[:-1] + b"?"), f"is another file, of {len(data)} bytes"),
    ):
        change()
        with pytest.raises(ValueError, match=rf"val.a\.b\.c\.jpg {reason}.*colorize prepare"):
            write_shards(prepared, out, photos_per_shard=5, progress=False)
        assert not (out / "index.json").exists(), "an index would say that all is there"
        assert not list(out.glob(".*"))
    path.write_bytes(data)
    write_shards(prepared, out, photos_per_shard=5, progress=False)
    assert (out / "index.json").exists()


def test_only_a_finalized_folder_becomes_shards(prepared, tmp_path):
    path, out = prepared / "manifest.csv", tmp_path / "shards"
    text = path.read_text()
    unclassified = text.replace(",train,good,", ",train,new,", 2)
    damaged = text.replace(",train,good,", ",train,splendid,", 1)
    for changed, count in ((unclassified, 2), (damaged, 1)):
        assert changed != text
        path.write_text(changed)
        with pytest.raises(ValueError, match=rf"{count} photos are not yet classified.*prepare"):
            write_shards(prepared, out)
    with pytest.raises(ValueError, match=r"nowhere has no manifest\.csv.*colorize prepare"):
        write_shards(tmp_path / "nowhere", out)
    path.write_text(text.replace(",good,", ",gray,"))
    with pytest.raises(ValueError, match=r"no good photo .*34 gray"):
        write_shards(prepared, out)
    assert not out.exists() and not (tmp_path / "nowhere").exists()


def test_photos_that_are_not_good_or_too_small_are_excluded(prepared, tmp_path):
    path, out = prepared / "manifest.csv", tmp_path / "shards"
    path.write_text(path.read_text().replace(",test,good,", ",,duplicate,"))
    (prepared / "photos" / "source" / "train" / "00.jpg").unlink()
    small = path.read_text().replace("train/00.jpg,80,60,", "train/00.jpg,80,59,")
    path.write_text(small)
    shards = write_shards(prepared, out, min_side=60, progress=False)
    assert {split: len(paths) for split, paths in shards.items()} == {
        "train": 1,
        "val": 1,
        "test": 0,
    }
    with tarfile.open(out / "train-000000.tar") as tar:
        assert len(tar.getnames()) == 2 * 23
    with pytest.raises(ValueError, match="no good photo of at least 61 px"):
        write_shards(prepared, tmp_path / "none", min_side=61)


def test_shards_of_other_photos_are_neither_mixed_in_nor_removed(made, tmp_path):
    out = copytree(made / "shards", tmp_path / "shards")
    with pytest.raises(ValueError, match=r"holds 5 other tar files, such as train-000001\.tar"):
        write_shards(made / "prepared", out, photos_per_shard=1000, progress=False)
    assert contents(out) == contents(made / "shards")
    with pytest.raises(ValueError, match="at least 1, got 0"):
        write_shards(made / "prepared", out, photos_per_shard=0)


# Reading.


def test_evaluation_batches_equal_those_of_the_folder(made, webdataset):
    for split, count in COUNTS.items():
        photos = [
            PhotoRecord(made / "prepared" / entry.file, entry.id, split)
            for entry in good(made, split)
        ]
        for size in (SIZE, 60):
            loader = shard_eval_loader(made / "shards", split, size, batch_size=4)
            batches = list(loader)
            assert len(loader) == len(batches) == -(-count // 4)
            assert all(len(batch) == 4 for batch in batches[:-1])
            assert batches[0].dtype == torch.uint8
            assert torch.equal(torch.cat(batches), torch.stack(list(RgbDataset(photos, size))))


READER = f"""
import hashlib, json, os, sys
os.cpu_count = lambda: 2  # even where there is but one
import torch
from colorize.data.webdataset import ShardLoader, TrainingShards, shard_eval_loader

def digests(batches):
    crops = [hashlib.sha256(crop.numpy().tobytes()).hexdigest() for b in batches for crop in b]
    return [[len(batch) for batch in batches], crops]

def read_epoch(epoch):
    train.set_epoch(epoch)
    batches = [example.rgb for example in train]
    assert len(batches) == len(train)
    return digests(batches)

train = ShardLoader(TrainingShards(sys.argv[1], {SIZE}, 3, seed=5), workers=2)
val = shard_eval_loader(sys.argv[1], "val", {SIZE}, 2, workers=2)
assert train._loader.num_workers == val.num_workers == 2
print(json.dumps([read_epoch(0), read_epoch(1), read_epoch(0), digests(list(val))]))
"""


def test_two_processes_of_two_workers_read_each_photo_exactly_once_an_epoch(made, webdataset):
    command = [sys.executable, "-c", READER, str(made / "shards")]
    readers = [
        subprocess.Popen(
            command,
            env={**os.environ, "RANK": str(rank), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    results = [json.loads(reader.communicate(timeout=120)[0]) for reader in readers]
    orders = []
    for number, epoch in enumerate((0, 1, 0)):
        # Each photo has one crop in an epoch, whoever cuts it: a crop tells its photo.
        names = {digest(crop_of(made, entry, 5, epoch)): entry.id for entry in good(made, "train")}
        batches, crops = zip(*(epochs[number] for epochs in results), strict=True)
        assert list(batches) == [[3] * 4] * 2
        orders.append([[names[crop] for crop in share] for share in crops])
        together = [name for share in orders[-1] for name in share]
        assert len(names) == len(together) == 24 and set(together) == set(names.values())
    assert orders[0] == orders[2]
    assert set(orders[0][0]) != set(orders[1][0]), "a process sees other photos in other epochs"
    val = [read_crop(made / "prepared" / entry.file, 80, 60, SIZE) for entry in good(made, "val")]
    assert Counter(map(digest, val)) == Counter(crop for epochs in results for crop in epochs[3][1])


def crop_of(made, entry, seed, epoch):
    number = int(hashlib.sha256(entry.id.encode()).hexdigest()[:16], 16)
    generator = torch.Generator().manual_seed(derive_seed(seed, epoch, number))
    return read_crop(made / "prepared" / entry.file, 80, 60, SIZE, True, generator)


class Readers:
    """What any number of processes and workers would read, without starting them."""

    def __init__(self, made, monkeypatch):
        self.made, self.patch = made, monkeypatch
        read_id = lambda self, sample, *args: json.loads(sample["json"])["id"]  # noqa: E731
        monkeypatch.setattr(TrainingShards, "_example", read_id)
        monkeypatch.setattr(EvalShards, "_crop", read_id)

    def train(self, processes, workers, batch_size, epoch=0, seed=0):
        """The ids by process and worker, in training."""

        def make():
            dataset = TrainingShards(self.made / "shards", SIZE, batch_size, seed=seed)
            dataset.set_epoch(epoch)
            return dataset

        return self._read(processes, workers, make)

    def val(self, processes, workers, batch_size):
        """The ids by process and worker, in validation."""
        make = lambda: EvalShards(self.made / "shards", "val", SIZE, batch_size)  # noqa: E731
        return self._read(processes, workers, make)

    def _read(self, processes, workers, make):
        self.patch.setenv("WORLD_SIZE", str(processes))
        ids = []
        for rank in range(processes):
            self.patch.setenv("RANK", str(rank))
            dataset = make()
            ids.append([])
            for worker in range(workers):
                info = SimpleNamespace(id=worker, num_workers=workers)
                self.patch.setattr(module, "get_worker_info", lambda info=info: info)
                ids[-1].append(list(dataset))
            assert sum(map(len, ids[-1])) == len(dataset)
        return ids


@pytest.fixture
def readers(made, monkeypatch, webdataset):
    return Readers(made, monkeypatch)


@pytest.mark.parametrize("processes", [1, 2, 3, 5])
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_processes_get_equal_batches_and_no_photo_comes_twice(readers, processes, workers):
    ids = {entry.id for entry in good(readers.made, "train")}
    for batch_size in (1, 2, 3, 4):
        shares = readers.train(processes, workers, batch_size)
        expected = 24 // (processes * batch_size) * batch_size
        assert [sum(map(len, share)) for share in shares] == [expected] * processes
        pieces = [piece for share in shares for piece in share]
        assert all(len(piece) % batch_size == 0 for piece in pieces), "only full batches"
        together = [name for piece in pieces for name in piece]
        assert len(together) == len(set(together)) and set(together) <= ids
        if 24 % (processes * batch_size) == 0:
            assert set(together) == ids


@pytest.mark.parametrize("processes", [1, 2, 3, 9])
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_evaluation_reads_each_photo_exactly_once_whatever_the_numbers(readers, processes, workers):
    for batch_size in (1, 2, 4, 30):
        shares = readers.val(processes, workers, batch_size)
        together = [name for share in shares for piece in share for name in piece]
        assert together == [entry.id for entry in good(readers.made, "val")]


def test_each_epoch_has_its_order_and_drops_another_rest(readers):
    orders = [readers.train(1, 1, 5, epoch)[0][0] for epoch in range(40)]
    assert orders[3] == readers.train(1, 1, 5, epoch=3)[0][0]
    assert orders[3] != readers.train(1, 1, 5, epoch=3, seed=1)[0][0]
    assert len(set(map(tuple, orders))) == 40
    ids = {entry.id for entry in good(readers.made, "train")}
    dropped = Counter(name for order in orders for name in ids - set(order))
    assert sum(dropped.values()) == 40 * 4
    assert len(dropped) > 20, "not always the same ones"
    # Neighbors in a shard do not stay neighbors.
    line = [entry.id for entry in good(readers.made, "train")]
    steps = Counter(
        order.index(after) - order.index(before)
        for order in orders
        for before, after in pairwise(line)
        if {before, after} <= set(order)
    )
    assert steps[1] < 0.15 * sum(steps.values())


def test_each_epoch_has_its_order_of_shards(readers, monkeypatch):
    monkeypatch.setattr(module, "_SHUFFLE_BUFFER", 1)  # photos in the order in which they are read
    line = [entry.id for entry in good(readers.made, "train")]
    followers = set()
    for epoch in range(40):
        shards = [line.index(name) // 5 for name in readers.train(1, 1, 1, epoch)[0][0]]
        followers |= {(before, after) for before, after in pairwise(shards) if before != after}
    assert len(followers) > 10, "of 20; were the order the same, there would be 5"


def test_torchs_process_group_takes_precedence(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert rank_and_world_size() == (1, 2)
    for name, value in (("is_initialized", True), ("get_rank", 3), ("get_world_size", 8)):
        monkeypatch.setattr(torch.distributed, name, lambda value=value: value)
    assert rank_and_world_size() == (3, 8)
    monkeypatch.undo()
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert rank_and_world_size() == (0, 1)


def test_a_trainer_learns_from_shards(made, tmp_path, webdataset):
    settings = {
        "model_kwargs": {"depth": 3, "base_channels": 4},
        "crop_size": SIZE,
        "batch_size": 4,
    }
    config = dataclasses.replace(PRESETS["unet_gan"], epochs=2, **settings)
    trainer = open_run(config, tmp_path, "cpu")
    train = ShardLoader(TrainingShards(made / "shards", SIZE, 4))
    history = trainer.fit(train, shard_eval_loader(made / "shards", "val", SIZE, 4), progress=False)
    assert [record["steps"] for record in history] == [6, 12]
    assert int(train.dataset._epoch) == 1, "the trainer sets the epoch"


@pytest.mark.parametrize("preset", ["unet_gan", "zhang2016"])
def test_the_command_trains_on_shards_as_python_does(made, tmp_path, webdataset, preset, capsys):
    args = {"crop_size": SIZE, "batch_size": 4, "grad_accum_steps": 2, "seed": 3, "epochs": 2}
    network = {"depth": 3, "base_channels": 4}
    if preset == "zhang2016":
        network = {"encoder_name": "resnet18", "width": 8, "encoder_weights": None}
    words = ["--workers=0", "--device=cpu"]
    words += [f"--{name.replace('_', '-')}={value}" for name, value in args.items()]
    words += [f"--model-arg={name}={json.dumps(value)}" for name, value in network.items()]
    places = ["--data", str(made / "shards"), "-o", str(tmp_path / "a")]
    assert main(["train", preset, *places, *words]) == 0
    assert "colorize evaluate" in capsys.readouterr().out

    network = PRESETS[preset].model_kwargs | network
    config = dataclasses.replace(PRESETS[preset], model_kwargs=network, **args)
    trainer = open_run(config, tmp_path / "b", "cpu")
    train = ShardLoader(TrainingShards(made / "shards", SIZE, 2, seed=3, grad_accum_steps=2))
    trainer.fit(train, shard_eval_loader(made / "shards", "val", SIZE, 2), progress=False)
    theirs = torch.load(tmp_path / "a" / "last.pt", weights_only=True)["model"]
    for name, ours in trainer.model.state_dict().items():
        assert torch.equal(ours, theirs[name]), name


def test_the_batches_of_a_run_are_shared_among_processes(made, webdataset, monkeypatch):
    monkeypatch.setattr(module, "world_size", lambda: 2)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    config = dataclasses.replace(
        PRESETS["unet_gan"], crop_size=SIZE, batch_size=8, grad_accum_steps=2
    )
    train, val = run_shard_loaders(made / "shards", config)
    assert train.dataset.batch_size == val.batch_size == 2
    train.set_epoch(0, 1)  # a step, of two batches, is skipped
    assert len(list(train)) == len(train) - 2


@pytest.mark.parametrize("text", ["[]", "{}", "no json", None])
def test_a_folder_with_another_index_is_a_folder_of_photos(tmp_path, text):
    if text is not None:
        (tmp_path / "index.json").write_text(text)
    assert not has_shards(tmp_path)
    assert has_shards("https://host/folder")


@pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker")
@pytest.mark.parametrize("workers", [0, 2, 3])
def test_a_resumed_epoch_yields_the_remaining_batches(made, webdataset, workers, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    loader = ShardLoader(TrainingShards(made / "shards", SIZE, 3), workers)
    loader.set_epoch(1)
    whole = [example.rgb for example in loader]
    assert len(whole) == 8  # which three readers share as 2, 3 and 3
    for start in range(9):
        loader.set_epoch(1, start)
        rest = [example.rgb for example in loader]
        assert len(rest) == 8 - start
        assert all(torch.equal(a, b) for a, b in zip(rest, whole[start:], strict=True))
    twofold = ShardLoader(TrainingShards(made / "shards", SIZE, 3, grad_accum_steps=2), workers)
    twofold.set_epoch(1, 3)
    assert torch.equal(torch.cat([example.rgb for example in twofold]), torch.cat(whole[6:]))


def test_photos_marked_test_are_refused_in_training(made, webdataset):
    with pytest.raises(ValueError, match="marked test must not be trained on"):
        TrainingShards(made / "shards", SIZE, 1, split="test")
    assert len(shard_eval_loader(made / "shards", "test", SIZE, 1)) == 3


def test_invalid_shards_are_refused_before_the_first_batch(made, tmp_path, monkeypatch, webdataset):
    shards = made / "shards"
    for arguments, message in (
        ((shards, "vla", SIZE, 1), "no photos of the split 'vla'"),
        ((shards, "val", 61, 1), r"a side of 60 px, too small for a crop of 61 px: .*min_side"),
        ((tmp_path, "val", SIZE, 1), r"index\.json cannot be read .*colorize shard"),
        (("nothing://here", "val", SIZE, 1), r"index\.json cannot be read .*colorize shard"),
    ):
        with pytest.raises(ValueError, match=message):
            shard_eval_loader(*arguments)
    with pytest.raises(ValueError, match=r"24 training photos .* a batch of 25 .*at most 24"):
        TrainingShards(shards, SIZE, 25)
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(ValueError, match=r"a batch of 9 in each of 3 processes: .*at most 8"):
        TrainingShards(shards, SIZE, 9)
    monkeypatch.setitem(sys.modules, "webdataset", None)
    with pytest.raises(ImportError, match=r"pip install 'colorize-photos\[shards\]'"):
        shard_eval_loader(shards, "val", SIZE, 1)


def test_a_shard_with_too_few_or_broken_photos_is_named(made, tmp_path, webdataset):
    out = copytree(made / "shards", tmp_path / "shards")
    edit_index(out, lambda row: row.update(photos=row["photos"] + 1))
    with pytest.raises(ValueError, match=r"val-000000\.tar holds 5 photos, fewer than index\.json"):
        list(shard_eval_loader(out, "val", SIZE, 4))
    with tarfile.open(out / "test-000000.tar") as tar:
        at, key = tar.getmembers()[0].offset_data, unquote(tar.getnames()[0])
    edit_index(out, lambda row: row.update(photos=row["photos"] - 1))
    data = bytearray((out / "test-000000.tar").read_bytes())
    data[at : at + 600] = bytes(600)
    (out / "test-000000.tar").write_bytes(data)
    with pytest.raises(ValueError, match=rf"{key.removesuffix('.jpg')}.* in file:.*test-000000"):
        list(shard_eval_loader(out, "test", SIZE, 4))


def test_a_folder_may_have_any_name(made, tmp_path, webdataset):
    out = copytree(made / "shards", tmp_path / "pipe: 100% #1?" / "ü")
    batches = [list(shard_eval_loader(shards, "val", SIZE, 7)) for shards in (out, made / "shards")]
    assert torch.equal(*map(torch.cat, batches))


def test_one_index_can_list_several_folders(made, tmp_path, webdataset):
    rows = []
    for name in ("one", "two"):
        copytree(made / "shards", tmp_path / name)
        edit_index(tmp_path / name, lambda row, name=name: row.update(name=f"{name}/{row['name']}"))
        rows += json.loads((tmp_path / name / "index.json").read_text())["shards"]
    (tmp_path / "index.json").write_text(json.dumps({"shards": rows}))
    batches = list(shard_eval_loader(tmp_path, "val", SIZE, 7))
    (single,) = shard_eval_loader(made / "shards", "val", SIZE, 7)
    assert len(batches) == 2 and all(torch.equal(batch, single) for batch in batches)


@pytest.mark.skipif(which("curl") is None, reason="webdataset reads URLs with curl")
def test_shards_are_read_from_a_url(made, webdataset):
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    handler = partial(Quiet, directory=made)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        there = torch.cat(list(shard_eval_loader(f"{url}/shards/", "val", SIZE, 4)))
        with pytest.raises(ValueError, match=r"index\.json cannot be read"):
            shard_eval_loader(f"{url}/nowhere", "val", SIZE, 4)
        server.shutdown()
    assert torch.equal(there, torch.cat(list(shard_eval_loader(made / "shards", "val", SIZE, 4))))


def test_an_index_with_old_names_is_read(made, tmp_path, webdataset):
    out = copytree(made / "shards", tmp_path / "shards")
    edit_index(out, lambda row: row.update(part=row.pop("split")))  # as version 0.1 wrote it
    batches = [list(shard_eval_loader(shards, "val", SIZE, 7)) for shards in (out, made / "shards")]
    assert torch.equal(*map(torch.cat, batches))
