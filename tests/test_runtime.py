"""Utilities: devices, seeds, atomic files, memory."""

import platform
import subprocess
import sys

import pytest
import torch

from colorize.utils.device import resolve_device
from colorize.utils.files import atomic_write
from colorize.utils.seed import derive_seed, seed_all


def test_a_device_is_chosen_by_name_or_automatically():
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_device().type in ("cuda", "mps", "cpu")
    for name in ("cuda:99", "gpu"):
        with pytest.raises(ValueError, match=f"'{name}' cannot be used"):
            resolve_device(name)


def test_seeding_by_the_same_numbers_gives_the_same_random_numbers():
    draws = []
    for numbers in ((1, 2), (1, 2), (2, 1), (1, 3), (1,)):
        seed_all(*numbers)
        draws.append(torch.rand(3))
    assert torch.equal(draws[0], draws[1])
    assert len({tuple(draw.tolist()) for draw in draws}) == 4


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
