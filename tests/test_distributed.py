"""Two processes over gloo against one that accumulates the same micro-batches."""

import json
import os
import re
import subprocess
import sys

import pytest
import torch
from conftest import make_folder

from colorize.cli import main
from colorize.data.loaders import EpochSampler

PRESETS = {
    "autoencoder": ["--model-arg", "encoder_name=resnet18", "--encoder-weights", "none"],
    "fcn": ["--model-arg", "encoder_name=resnet18", "--encoder-weights", "none"],
    "unet_gan": ["--model-arg", "depth=3", "--model-arg", "base_channels=4"],
}


RUNS = {preset: (preset, ()) for preset in PRESETS}
RUNS["micro_batches"] = ("unet_gan", ("--grad-accum-steps", "2"))

# Every run, one after the other, in processes that meet but once: to start them takes longest.
MANY = """
import hashlib, json, sys
from torch import distributed
from colorize.cli import main
from colorize.utils.distributed import rank
from colorize.trainers.trainer import Trainer

join, leave = distributed.init_process_group, distributed.destroy_process_group
met, together = distributed.is_initialized, False
end = Trainer._save_epoch

def join_once(backend):
    global together
    met() or join(backend)
    together = True

def leave_group():
    global together
    together = False

def save_epoch(self, record):
    digest = hashlib.sha256()
    for name, value in sorted(self.model.state_dict().items()):
        digest.update(value.numpy().tobytes())
    with open(f"{self.run.path}-{rank()}", "a") as file:
        print(record["epoch"], digest.hexdigest(), record["val"], file=file)
    end(self, record)

distributed.init_process_group, distributed.destroy_process_group = join_once, leave_group
distributed.is_initialized = lambda: together
Trainer._save_epoch = save_epoch
for words in json.loads(sys.argv[1]):
    if status := main(words):
        sys.exit(f"{words}: {status}")
leave()
"""


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """9 training photos, in batches of 4 with a rest; 3 for validation, an odd number for two."""
    return make_folder(tmp_path_factory.mktemp("photos"), train=9, val=3, test=1)


@pytest.fixture(scope="module")
def two(tmp_path_factory, photos):
    """The folder of all of `RUNS`, made by two processes, and what they printed."""
    out = tmp_path_factory.mktemp("two")
    commands = [command(preset, photos, out / name, *o) for name, (preset, o) in RUNS.items()]
    (out / "many.py").write_text(MANY)
    run = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run(
        [sys.executable, *run, out / "many.py", json.dumps(commands)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return out, done.stdout


def command(preset, photos, run, *options):
    words = ["train", preset, "--data", photos, "-o", run, "--crop-size", "32", "--epochs", "2"]
    words += ["--batch-size", "4", "--device", "cpu", "--workers", "1", "--ema-decay", "0.9"]
    return [str(word) for word in (*words, *PRESETS[preset], *options)]


def state(run, name="last"):
    return torch.load(run / f"{name}.pt", weights_only=True)


def test_of_two_processes_one_speaks(two):
    assert two[1].count("9 train photos") == len(RUNS)


@pytest.mark.parametrize("preset", PRESETS)
def test_two_processes_learn_what_one_learns_in_two_micro_batches(tmp_path, photos, two, preset):
    assert main(command(preset, photos, tmp_path / "one", "--grad-accum-steps", "2")) == 0
    two, one = state(two[0] / preset), state(tmp_path / "one")
    assert two["global_step"] == one["global_step"] == 4
    for key in ("model", "ema"):
        for name, value in one[key].items():
            if "num_batches_tracked" in name:
                continue
            # Adam divides by small numbers: sums in another order show, times lr.
            torch.testing.assert_close(two[key][name], value, rtol=1e-3, atol=2e-4, msg=name)
    for ours, theirs in zip(two["history"], one["history"], strict=True):
        for name, value in theirs["train"].items():
            assert ours["train"][name] == pytest.approx(value, rel=1e-2, abs=1e-3)


@pytest.mark.parametrize("run", RUNS)
def test_both_processes_have_the_same_weights_and_measures(two, run):
    first, second = ((two[0] / f"{run}-{rank}").read_text() for rank in (0, 1))
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


def test_two_processes_of_two_micro_batches_learn_what_one_learns_in_four(tmp_path, photos, two):
    assert main(command("unet_gan", photos, tmp_path / "one", "--grad-accum-steps", "4")) == 0
    two, one = state(two[0] / "micro_batches"), state(tmp_path / "one")
    far = {
        name: (two["model"][name] - value).abs().max().item()
        for name, value in one["model"].items()
        if "num_batches_tracked" not in name
        and not torch.allclose(two["model"][name], value, rtol=1e-3, atol=2e-4)
    }
    # A bias before BatchNorm has no gradient but rounding, which Adam makes a step of lr 2e-4.
    without_gradient = r"generator\.(encoder_blocks\.\d\.1|decoder_blocks\.\d\.0)\.bias"
    assert not [name for name in far if not re.fullmatch(without_gradient, name)]
    assert max(far.values(), default=0) <= 4 * 2 * 2e-4


def test_a_batch_that_cannot_be_shared_out_is_refused(tmp_path, photos, capsys):
    words = command("unet_gan", photos, tmp_path / "run", "--grad-accum-steps", "3")
    assert main(words) == 2
    error = capsys.readouterr().err
    assert "a batch of 4 cannot be divided into 3 equal micro-batches" in error
    assert "use a batch size of 3" in error
