"""Two processes over gloo against one that accumulates the same micro-batches."""

import os
import re
import subprocess
import sys

import pytest
import torch
from conftest import make_photo

from colorize.cli import main
from colorize.data.loaders import EpochSampler
from colorize.photos import write_photo

PRESETS = {
    "autoencoder": ["--model-arg", "backbone=resnet18", "--backbone-weights", "none"],
    "fcn": ["--model-arg", "backbone=resnet18", "--backbone-weights", "none"],
    "unet_gan": ["--model-arg", "depth=3", "--model-arg", "base_channels=4"],
}


@pytest.fixture
def photos(tmp_path):
    """9 training photos, in batches of 4 with a rest; 3 for validation, an odd number for two."""
    root = tmp_path / "photos"
    for part, count in (("train", 9), ("val", 3), ("test", 1)):
        for i in range(count):
            write_photo(make_photo(seed=100 * len(part) + i), root / part / f"{part}{i}.jpg")
    return root


def command(preset, photos, run, *options):
    words = ["train", preset, "--data", photos, "--out", run, "--size", "32", "--epochs", "2"]
    words += ["--batch-size", "4", "--device", "cpu", "--workers", "1", "--ema", "0.9"]
    return [str(word) for word in (*words, *PRESETS[preset], *options)]


def torchrun(*words, processes=2):
    run = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    return subprocess.run(
        [sys.executable, *run, "-m", "colorize", *words],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )


def state(run, name="last"):
    return torch.load(run / f"{name}.pt", weights_only=True)


@pytest.mark.parametrize("preset", PRESETS)
def test_two_processes_learn_what_one_learns_in_two_pieces(tmp_path, photos, preset):
    done = torchrun(*command(preset, photos, tmp_path / "two"))
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("9 train photos") == 1  # one of them speaks
    assert main(command(preset, photos, tmp_path / "one", "--accumulate", "2")) == 0
    two, one = state(tmp_path / "two"), state(tmp_path / "one")
    assert two["steps"] == one["steps"] == 4
    for part in ("model", "average"):
        for name, value in one[part].items():
            if "num_batches_tracked" in name:
                continue
            # Adam divides by small numbers: sums in another order show, times lr.
            torch.testing.assert_close(two[part][name], value, rtol=1e-3, atol=2e-4, msg=name)
    for ours, theirs in zip(two["history"], one["history"], strict=True):
        for name, value in theirs["train"].items():
            assert ours["train"][name] == pytest.approx(value, rel=1e-2, abs=1e-3)


RANKS = """
import hashlib, sys, torch
from colorize.runtime import rank
from colorize.trainers.base import Trainer
end = Trainer._keep
def keep(self, record):
    digest = hashlib.sha256()
    for name, value in sorted(self.model.state_dict().items()):
        digest.update(value.numpy().tobytes())
    with open(f"{sys.argv[-1]}-{rank()}", "a") as file:
        print(record["epoch"], digest.hexdigest(), record["val"], file=file)
    end(self, record)
Trainer._keep = keep
from colorize.cli import main
sys.exit(main(sys.argv[1:-1]))
"""


def test_both_processes_have_the_same_weights_and_measures(tmp_path, photos):
    (tmp_path / "ranks.py").write_text(RANKS)
    run = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    words = [sys.executable, *run, tmp_path / "ranks.py"]
    done = subprocess.run(
        [*words, *command("unet_gan", photos, tmp_path / "run"), tmp_path / "digests"],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = ((tmp_path / f"digests-{rank}").read_text() for rank in (0, 1))
    assert first == second and len(set(first.splitlines())) == 2


def test_a_batch_is_made_of_the_same_photos_whatever_the_processes(monkeypatch):
    import colorize.data.loaders as loaders

    alone = EpochSampler(11, seed=3, batch_size=4)
    alone.set_epoch(2)
    whole = [alone.batch(number) for number in range(2)]
    assert [index for _, index in alone] == whole[0] + whole[1] and len(alone) == 8
    monkeypatch.setattr(loaders, "world_size", lambda: 2)
    shares = []
    for number in (0, 1):
        monkeypatch.setattr(loaders, "rank", lambda number=number: number)
        sampler = EpochSampler(11, seed=3, batch_size=4)
        sampler.set_epoch(2)
        shares.append([index for _, index in sampler])
        sampler.set_epoch(2, start=1)
        assert [index for _, index in sampler] == shares[-1][2:]
    for number, batch in enumerate(whole):
        first, second = (share[2 * number :][:2] for share in shares)
        assert first + second == batch


def test_two_processes_with_two_pieces_each_learn_what_one_learns_in_four(tmp_path, photos):
    done = torchrun(*command("unet_gan", photos, tmp_path / "two", "--accumulate", "2"))
    assert done.returncode == 0, done.stderr[-3000:]
    assert main(command("unet_gan", photos, tmp_path / "one", "--accumulate", "4")) == 0
    two, one = state(tmp_path / "two"), state(tmp_path / "one")
    far = {
        name: (two["model"][name] - value).abs().max().item()
        for name, value in one["model"].items()
        if "num_batches_tracked" not in name
        and not torch.allclose(two["model"][name], value, rtol=1e-3, atol=2e-4)
    }
    # A bias before BatchNorm has no gradient but rounding, which Adam makes a step of lr 2e-4.
    assert all(re.fullmatch(r"generator\.(en|de)coder_blocks\.\d\.1\.bias", name) for name in far)
    assert max(far.values(), default=0) <= 4 * 2 * 2e-4


def test_a_batch_that_cannot_be_shared_out_is_refused(tmp_path, photos, capsys):
    words = command("unet_gan", photos, tmp_path / "run", "--accumulate", "3")
    assert main(words) == 2
    error = capsys.readouterr().err
    assert "a batch of 4 cannot be cut into 3 equal micro-batches" in error
    assert "use a batch size of 3" in error
