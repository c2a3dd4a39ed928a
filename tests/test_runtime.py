"""Utilities: devices, seeds, atomic files, memory."""

import errno
import io
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from colorize.utils.device import resolve_device
from colorize.utils.files import atomic_write
from colorize.utils.seed import DrawFrom, derive_seed, noise_generator, seeded_noise
from colorize.utils.terminal import printable, usable_streams


def test_a_device_is_chosen_by_name_or_automatically():
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_device().type in ("cuda", "mps", "cpu")
    for name in ("cuda:99", "gpu"):
        with pytest.raises(ValueError, match=f"'{name}' cannot be used"):
            resolve_device(name)


def test_noise_of_the_same_numbers_is_the_same():
    draws, cpu = [], torch.device("cpu")
    before = torch.get_rng_state()
    for numbers in ((1, 2), (1, 2), (2, 1), (1, 3), (1,)):
        with seeded_noise(*numbers):
            draws.append(torch.rand(3, generator=noise_generator(cpu)))
            with seeded_noise(9):  # blocks may be nested
                torch.rand(3, generator=noise_generator(cpu))
    assert noise_generator(cpu) is None and torch.equal(before, torch.get_rng_state())
    assert torch.equal(draws[0], draws[1])
    assert len({tuple(draw.tolist()) for draw in draws}) == 4


def test_everything_in_a_block_draws_from_its_generator():
    def draw():
        layer = torch.nn.Linear(3, 2)
        tensors = [torch.rand(3), torch.randperm(5), torch.empty(4).bernoulli_(0.5), layer.weight]
        return [*tensors, torch.nn.init.trunc_normal_(torch.empty(5))]

    torch.manual_seed(7)
    expected = draw()
    before = torch.get_rng_state()
    with DrawFrom(torch.Generator().manual_seed(7)):
        ours = draw()
    assert all(map(torch.equal, ours, expected))
    assert torch.equal(before, torch.get_rng_state())


def test_close_numbers_give_unrelated_seeds():
    seeds = [
        derive_seed(seed, epoch, i) for seed in range(8) for epoch in range(8) for i in range(64)
    ]
    assert len(set(seeds)) == len(seeds)
    assert min(seeds) >= 0 and max(seeds) < 2**63  # torch's range
    ones = sum(seed.bit_count() for seed in seeds) / len(seeds)
    assert ones == pytest.approx(63 / 2, abs=0.3)
    # The first output of the published SplitMix64 for seed 0 is 0xE220A8397B1DCDAF.
    assert derive_seed(0) == 0xE220A8397B1DCDAF >> 1


def test_a_file_is_replaced_completely_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "file.txt"
    with atomic_write(path) as tmp:
        assert tmp.parent == path.parent and tmp.name.startswith(".")
        tmp.write_text("one")
        assert not path.exists()
    with path.open() as reader:  # a program that reads the old file meanwhile
        with atomic_write(path) as tmp:
            tmp.write_text("two, and longer")
        assert reader.read() == "one" and path.read_text() == "two, and longer"
    with pytest.raises(ZeroDivisionError), atomic_write(path) as tmp:
        tmp.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "two, and longer" and list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("name", ["é" * 125 + ".jpg", "x" * 255, os.fsdecode(b"\xff" * 250)])
def test_a_file_of_the_longest_name_is_written(tmp_path, name):
    with atomic_write(tmp_path / name) as tmp, atomic_write(tmp_path / f"{name[:-1]}2") as other:
        assert tmp != other
        tmp.write_text("one")
        other.write_text("two")
    assert (tmp_path / name).read_text() == "one"


def test_an_error_of_writing_names_the_file_and_not_the_temporary_one(tmp_path):
    path = tmp_path / "a.txt"
    path.mkdir()
    with (
        pytest.raises(OSError, match=r"Is a directory: '.*a\.txt'") as caught,
        atomic_write(path) as tmp,
    ):
        tmp.write_text("text")
    assert ".part" not in str(caught.value) and caught.value.errno == errno.EISDIR
    path = tmp_path / ("x" * 256)
    with pytest.raises(OSError, match=r"too long: '.*xxx'") as caught, atomic_write(path) as tmp:
        tmp.write_text("text")
    assert ".part" not in str(caught.value)
    path = tmp_path / "b.txt"
    with pytest.raises(FileNotFoundError, match="elsewhere"), atomic_write(path):
        Path("elsewhere").read_text()  # an error of something else


def test_names_are_made_printable():
    names = {
        b"Gro\xc3\x9fmutter \xe7\xa5\x96.jpg": "Großmutter 祖.jpg",
        b"Gro\xdf.jpg": r"Gro\xdf.jpg",
        b"a\nb\x1b[31m\x7f.jpg": r"a\x0ab\x1b[31m\x7f.jpg",
    }
    assert {name: printable(os.fsdecode(name)) for name in names} == names
    assert printable(Path("a b.jpg")) == "a b.jpg" and printable("\u202ea") == r"\x202ea"


def test_what_an_encoding_lacks_is_escaped_inside_the_block_only(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), "cp1252", errors="strict", write_through=True)
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", None)
    with usable_streams():
        print("ΔE ß")
        print("lost", file=sys.stderr)
    assert stream.buffer.getvalue() == b"\\u0394E \xdf" + os.linesep.encode()
    assert stream.errors == "strict" and sys.stderr is None


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_freed_memory_is_kept_for_the_next_tensors():
    code = """
import resource, torch
from colorize.utils.device import tune_malloc

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        tensors = [torch.ones(5, 2**20) for _ in range(3)]  # 20 MB each
        del tensors
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

torch.set_num_threads(1)
plain = faults()
tune_malloc()
faults()
print(plain, faults())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    plain, kept = map(int, done.stdout.split())
    assert plain > 20 * 3  # every time; how many pages a fault maps depends on the system
    assert kept < plain / 5
