"""The loop over the steps: epochs, validation, the run folder, resuming."""

import dataclasses
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import weakref
from pathlib import Path

import pytest
import torch
from conftest import Stopped, fit_until_killed, resnet_narrow, same, state_of
from PIL import Image
from torch import nn

from colorize.config import TrainConfig
from colorize.data.dataset import Example
from colorize.data.loaders import eval_loader, train_loader
from colorize.models import ColorizationModel, create_model
from colorize.models.pretrained import load
from colorize.presets import PRESETS
from colorize.trainers import Callback, callbacks, create_trainer, open_run
from colorize.trainers.ema import ExponentialMovingAverage
from colorize.trainers.errors import DivergedError
from colorize.utils.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from colorize.utils.signals import exit_on_sigterm

RESNET = {"encoder_name": "resnet_narrow", "encoder_weights": None}
MODEL_ARGS = {"autoencoder": RESNET, "fcn": RESNET, "unet_gan": {"depth": 3, "base_channels": 4}}


def tiny(preset, **changes):
    changes = {
        "model_kwargs": MODEL_ARGS[preset],
        "crop_size": 32,
        "batch_size": 2,
        "epochs": 2,
    } | changes
    return dataclasses.replace(PRESETS[preset], **changes)


class Toy(ColorizationModel):
    """The smallest network: a linear function of lightness."""

    size_divisibility = 1

    supports_hints = False

    def __init__(self):
        super().__init__()
        self.encoder, self.color = nn.Conv2d(1, 1, 1), nn.Conv2d(1, 2, 1)

    def encoder_parameters(self):
        return self.encoder.parameters()

    def forward(self, lightness, hints=None):
        return self.color(self.encoder(lightness))


class Batches(list):
    """Batches made by hand, as an `EpochLoader`; records the epochs it was set to."""

    fingerprint = None

    def __init__(self, *args):
        super().__init__(*args)
        self.epochs = []

    def set_epoch(self, epoch, start=0):
        self.epochs.append(epoch)

    def describe(self, step):
        return []


def toy_photos(count=2):
    return [torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8) for _ in range(count)]


def toy_batches(count=2):
    return Batches(Example(rgb) for rgb in toy_photos(count))


def toy_trainer(out, losses=None, **changes):
    """A trainer of `Toy`; with `losses`, validation gives these in turn."""
    settings = {"model": "resnet_autoencoder", "crop_size": 8, "batch_size": 2, "epochs": 20}
    trainer = create_trainer(Toy(), TrainConfig(**(settings | changes)), out, "cpu")
    if losses is not None:
        left = list(losses)
        trainer.validate = lambda batches: {"loss": left.pop(0)}
    return trainer


def outcome(run):
    """All that a run leaves behind, but its seconds."""
    last, best = (torch.load(run / f"{name}.pt", weights_only=True) for name in ("last", "best"))
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    for record in (*last["history"], *log):
        del record["seconds"], record["photos_per_second"]
    return {"last": last, "best": best, "log": log}


def test_validation_is_the_mean_over_photos_in_eval_mode_and_repeatable(tmp_path):
    trainer = open_run(tiny("unet_gan"), tmp_path, "cpu")
    photos = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    before = state_of(trainer.model)
    uneven = [trainer.validate(photos.split(2)) for _ in range(2)]
    assert uneven[0] == uneven[1] and same(state_of(trainer.model), before)

    trainer = toy_trainer(tmp_path / "toy")
    whole, parts = trainer.validate([photos]), trainer.validate(photos.split(2))
    assert whole == pytest.approx(parts, rel=1e-5)


def test_noise_in_validation_does_not_hang_on_who_gives_the_photos(tmp_path, loaders):
    trainer, val = open_run(tiny("unet_gan"), tmp_path, "cpu"), loaders()[1]
    assert trainer.validate(val) == trainer.validate(list(val))


@pytest.mark.parametrize("preset", MODEL_ARGS)
def test_a_stopped_run_goes_on_to_the_same_end_as_an_unbroken_one(
    tmp_path, loaders, unbroken, preset
):
    config = tiny(preset)
    fit_until_killed(open_run(config, tmp_path / "broken", "cpu"), 4, *loaders())
    assert len((tmp_path / "broken" / "log.jsonl").read_text().splitlines()) == 1
    torch.manual_seed(99)  # a new process starts with other random numbers
    open_run(config, tmp_path / "broken", "cpu").fit(*loaders(), progress=False)
    whole, resumed = outcome(unbroken(config)), outcome(tmp_path / "broken")
    assert whole["last"]["global_step"] == 6 and [record["epoch"] for record in whole["log"]] == [
        1,
        2,
    ]
    assert same(whole, resumed)


def test_the_same_seed_gives_the_same_run_and_another_another(tmp_path, loaders):
    outcomes = []
    for i, seed in enumerate((0, 0, 1)):
        torch.manual_seed(i)
        open_run(tiny("unet_gan", epochs=1, seed=seed), tmp_path / str(i), "cpu").fit(
            *loaders(seed), progress=False
        )
        outcomes.append(outcome(tmp_path / str(i)))
    assert same(outcomes[0], outcomes[1])
    assert not same(outcomes[0]["last"]["model"], outcomes[2]["last"]["model"])


def test_the_run_folder_holds_settings_log_and_two_checkpoints(tmp_path, loaders):
    config = tiny("unet_gan", epochs=3)
    history = open_run(config, tmp_path / "run", "cpu").fit(*loaders(), progress=False)
    files = {path.name for path in (tmp_path / "run").iterdir()}
    assert files == {*("config.json", "log.jsonl", "last.pt", "previous.pt", "best.pt", "samples")}
    samples = tmp_path / "run" / "samples"
    assert {path.name for path in samples.iterdir()} == {
        *(f"epoch-{epoch:04}.jpg" for epoch in (1, 2, 3)),
        "progress.jpg",
    }
    with Image.open(samples / "progress.jpg") as progress:
        assert progress.size == (3 * 32, 4 * 32)  # three photos; three epochs and the ground truth
    assert TrainConfig.load(tmp_path / "run" / "config.json") == config
    lines = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == history
    assert [record["epoch"] for record in history] == [1, 2, 3]
    assert [record["steps"] for record in history] == [3, 6, 9]
    assert history[0]["val"].keys() == {"loss", "ab_error", "colorfulness"}
    model = create_model("unet_gan", **config.model_kwargs)
    model.load_state_dict(torch.load(tmp_path / "run" / "best.pt", weights_only=True)["model"])


def test_the_best_weights_are_those_of_the_lowest_validation_loss(tmp_path):
    trainer = toy_trainer(tmp_path, [5.0, 3.0, 4.0, 3.0, 3.5], epochs=5)
    states, save = [], trainer._save_epoch
    trainer._save_epoch = lambda record: (states.append(state_of(trainer.model)), save(record))
    trainer.fit(toy_batches(), None, progress=False)
    best, last = (torch.load(tmp_path / f"{n}.pt", weights_only=True) for n in ("best", "last"))
    assert best["epoch"] == 2 and same(dict(best["model"]), states[1])
    assert last["epoch"] == 5 and same(dict(last["model"]), states[4])


def test_a_run_stops_after_patience_epochs_without_a_better_loss_and_stays_stopped(tmp_path):
    losses = [5.0, 4.0, 6.0, 3.0, 3.0, 3.5, 4.0, 1.0]
    history = toy_trainer(tmp_path, losses, patience=3).fit(toy_batches(), None, progress=False)
    assert len(history) == 7  # the best was epoch 4; three more did not better it
    again = toy_trainer(tmp_path, [], patience=3)
    assert len(again.fit(toy_batches(), None, progress=False)) == 7
    longer = toy_trainer(tmp_path, [2.0] * 13, patience=None)  # more patience, and on it goes
    assert len(longer.fit(toy_batches(), None, progress=False)) == 20


def test_a_run_goes_on_with_more_epochs_but_not_with_other_settings(tmp_path):
    toy_trainer(tmp_path, [1.0], epochs=1).fit(toy_batches(), None, progress=False)
    with pytest.raises(ValueError, match=r"other settings \(lr 0\.001, now 0\.01; seed 0, now 7\)"):
        toy_trainer(tmp_path, lr=1e-2, seed=7)
    history = toy_trainer(tmp_path, [1.0, 1.0], epochs=3).fit(toy_batches(), None, progress=False)
    assert [record["epoch"] for record in history] == [1, 2, 3]


def test_a_folder_whose_run_never_finished_an_epoch_may_be_used_anew(tmp_path):
    toy_trainer(tmp_path).config.save(tmp_path / "config.json")  # stopped in its first epoch
    assert toy_trainer(tmp_path, lr=1e-2).config.lr == 1e-2


def test_a_run_that_began_with_pretrained_weights_goes_on_without_their_file(tmp_path, loaders):
    weights = tmp_path / "resnet.pth"
    torch.save(resnet_narrow().state_dict(), weights)
    args = {"encoder_name": "resnet_narrow", "encoder_weights": str(weights)}
    config = tiny("autoencoder", model_kwargs=args, epochs=1)
    open_run(config, tmp_path / "run", "cpu").fit(*loaders(), progress=False)
    weights.unlink()
    trained = torch.load(tmp_path / "run" / "last.pt", weights_only=True)["model"]
    resumed = open_run(config, tmp_path / "run", "cpu")
    assert same(state_of(resumed.model), dict(trained))
    rates = [group["lr"] for group in resumed.train_state.optimizers["model"].param_groups]
    assert rates == pytest.approx([1e-4, 1e-3])  # the encoder is still a pretrained one


@pytest.mark.parametrize("damage", ["half", "text"])
def test_a_damaged_checkpoint_is_named(tmp_path, damage):
    toy_trainer(tmp_path, [1.0], epochs=1).fit(toy_batches(), None, progress=False)
    last = tmp_path / "last.pt"
    half = last.read_bytes()[: last.stat().st_size // 2]
    last.write_bytes(half if damage == "half" else b"epoch,loss\n")
    with pytest.raises(CheckpointError, match=r"last\.pt is damaged"):
        toy_trainer(tmp_path)


def test_a_run_killed_while_saving_keeps_its_earlier_checkpoint(tmp_path, monkeypatch):
    def cut_short(state, path):
        path.write_bytes(b"half")
        raise Stopped

    losses = [3.0, 2.0, 1.0]
    toy_trainer(tmp_path, losses, epochs=1).fit(toy_batches(), None, progress=False)
    before = outcome(tmp_path)
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(torch, "save", cut_short)
        toy_trainer(tmp_path, losses[1:], epochs=3).fit(toy_batches(), None, progress=False)
    assert same(outcome(tmp_path), before)
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".part"]


def test_a_checkpoint_that_cannot_be_written_leaves_the_earlier_ones_in_their_places(tmp_path):
    last, previous = tmp_path / "last.pt", tmp_path / "previous.pt"
    for number in range(3):
        save_checkpoint(last, {"number": number}, keep=previous)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(CheckpointError, match="disk full"):
        patch.setattr(torch, "save", lambda *_: Path("nowhere/file").write_bytes(b""))
        save_checkpoint(last, {"number": 3}, keep=previous)
    assert [load_checkpoint(path)["number"] for path in (last, previous)] == [2, 1]


def test_each_epoch_has_its_own_order_and_crops_also_after_a_stop(tmp_path):
    batches = toy_batches()
    toy_trainer(tmp_path, [1.0] * 2, epochs=2).fit(batches, None, progress=False)
    assert batches.epochs == [0, 1]
    toy_trainer(tmp_path, [1.0] * 2, epochs=4).fit(batches, None, progress=False)
    assert batches.epochs == [0, 1, 2, 3]


def test_the_learning_rates_of_each_epoch_follow_the_schedule(tmp_path):
    slow_encoder = {"encoder_lr_mult": 0.1, "model_kwargs": {"encoder_weights": "some"}}
    settings = {"epochs": 4, "lr": 0.5, "lr_schedule": "linear"} | slow_encoder
    trainer = toy_trainer(tmp_path, [1.0] * 4, **settings)
    step, used = trainer.training_step, []

    def watched(*args):
        used.append([group["lr"] for group in trainer.train_state.optimizers["model"].param_groups])
        return step(*args)

    trainer.training_step = watched
    history = trainer.fit(toy_batches(1), None, progress=False)
    encoder, rest = zip(*used, strict=True)
    assert rest == pytest.approx([0.5, 0.5, 0.5 * 2 / 3, 0.5 / 3])
    assert encoder == pytest.approx([lr * 0.1 for lr in rest])
    assert [record["lr"] for record in history] == pytest.approx(rest)


def test_the_losses_of_an_epoch_are_the_means_of_its_own_steps(tmp_path):
    trainer = toy_trainer(tmp_path, [1.0] * 3, epochs=3)
    trainer.training_step = lambda _: {"loss": torch.tensor(float(trainer.global_step))}
    history = trainer.fit(toy_batches(2), None, progress=False)
    assert [record["train"]["loss"] for record in history] == [0.5, 2.5, 4.5]


# Stopped inside an epoch.


def full(config):
    """Settings with everything that a resumed run could get wrong."""
    return dataclasses.replace(
        config, ema_decay=0.9, grad_clip=1.0, lr_schedule="cosine", batch_size=2, epochs=2
    )


@pytest.mark.parametrize("stop_after", [2, 3])
@pytest.mark.parametrize("preset", MODEL_ARGS)
def test_a_run_that_was_asked_to_stop_goes_on_bitwise(
    tmp_path, loaders, unbroken, preset, stop_after, capsys
):
    config = full(tiny(preset))
    broken = open_run(config, tmp_path / "broken", "cpu")
    training_step = broken.training_step

    def until_asked(micro_batches):
        losses = training_step(micro_batches)
        if broken.global_step + 1 == stop_after:
            os.kill(os.getpid(), signal.SIGTERM)
        return losses

    broken.training_step = until_asked
    with pytest.raises(SystemExit) as ended:
        broken.fit(*loaders(), progress=False)
    assert ended.value.code == 143
    assert f"saved after step {stop_after}; run the same command" in capsys.readouterr().err
    torch.manual_seed(99)
    resumed = open_run(config, tmp_path / "broken", "cpu")
    assert resumed.global_step == stop_after
    resumed.fit(*loaders(), progress=False)
    assert same(outcome(unbroken(config)), outcome(tmp_path / "broken"))
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_run_killed_inside_an_epoch_goes_back_to_what_it_saved_there(tmp_path, loaders, unbroken):
    config = full(tiny("unet_gan"))
    killed = open_run(config, tmp_path / "broken", "cpu")
    fit_until_killed(killed, 5, *loaders(workers=1), save_minutes=0)
    resumed = open_run(config, tmp_path / "broken", "cpu")
    assert (resumed.global_step, resumed.epoch_step) == (5, 2)
    resumed.fit(*loaders(workers=1), progress=False)
    assert same(outcome(unbroken(config)), outcome(tmp_path / "broken"))


def test_a_run_of_version_0_1_goes_on(tmp_path, loaders, unbroken):
    config = full(tiny("unet_gan"))
    run = tmp_path / "old"
    fit_until_killed(open_run(config, run, "cpu"), 5, *loaders(), save_minutes=0)

    # As version 0.1 called it.
    losses = {
        "loss_G_rec": "distance",
        "loss_G_gan": "adversarial",
        "loss_D": "discriminator",
        "real_prob": "real",
        "fake_prob": "fake",
    }
    state = torch.load(run / "last.pt", weights_only=True)
    old = {key: state[key] for key in ("epoch", "history", "model", "optimizers", "scaler")}
    old |= {"steps": state["global_step"], "done": state["epoch_step"], "average": state["ema"]}
    old |= {"photos": state["fingerprint"], "scores": []}
    old["sums"] = {losses[name]: sums for name, sums in state["loss_sums"].items()}
    for record in old["history"]:
        record["train"] = {losses[name]: loss for name, loss in record["train"].items()}
    torch.save(old, run / "last.pt")
    (run / "previous.pt").unlink()
    (run / "samples" / "progress.jpg").rename(run / "samples" / "strip.jpg")
    (run / "samples").rename(run / "paintings")
    (run / "turn.pt").write_bytes(b"of a joint phase")
    settings = json.loads((run / "config.json").read_text())
    names = {"model_kwargs": "model_args", "crop_size": "size", "ema_decay": "ema"}
    names |= {"reconstruction_weight": "distance_weight", "gan_loss": "adversarial"}
    settings = {names.get(name, name): value for name, value in settings.items()}
    (run / "config.json").write_text(json.dumps(settings))

    resumed = open_run(config, run, "cpu")
    assert (resumed.global_step, resumed.epoch_step) == (5, 2)
    resumed.fit(*loaders(), progress=False)
    assert same(outcome(unbroken(config)), outcome(run))
    files = {path.name for path in run.iterdir()}
    assert "inflection.pt" in files and not {"turn.pt", "paintings"} & files
    assert {path.name for path in (run / "samples").iterdir()} == {
        "epoch-0001.jpg",
        "epoch-0002.jpg",
        "progress.jpg",
    }


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(
    tmp_path, loaders, unbroken, capsys
):
    config = full(tiny("autoencoder"))
    run = shutil.copytree(unbroken(config), tmp_path / "run")
    whole = outcome(run)
    last = run / "last.pt"
    last.write_bytes(last.read_bytes()[:1000])
    resumed = open_run(config, run, "cpu")
    message = "".join(capsys.readouterr())
    assert f"{last} is damaged" in message
    assert "continuing from" in message and "after step 3" in message
    resumed.fit(*loaders(), progress=False)
    assert same(outcome(run), whole)
    assert (run / "damaged.pt").stat().st_size == 1000
    (run / "last.pt").unlink()  # killed between two renamings
    assert open_run(config, run, "cpu").global_step == 3


def test_a_full_disk_keeps_what_was_saved_and_says_so(tmp_path, loaders, monkeypatch):
    config = full(tiny("autoencoder"))
    trainer = open_run(config, tmp_path / "run", "cpu")

    def full_disk(state, path):
        Path(path).write_bytes(b"half")
        raise RuntimeError("PytorchStreamWriter failed writing file")

    save = torch.save
    monkeypatch.setattr(
        torch, "save", lambda *args: full_disk(*args) if trainer.global_step > 3 else save(*args)
    )
    with pytest.raises(CheckpointError, match=r"is the disk full\? .*last checkpoint is kept"):
        trainer.fit(*loaders(), progress=False)
    monkeypatch.undo()
    assert not list((tmp_path / "run").glob(".*"))
    assert open_run(config, tmp_path / "run", "cpu").global_step == 3


def test_a_flipped_bit_is_noticed_and_the_checkpoint_before_it_used(
    tmp_path, loaders, unbroken, capsys
):
    config = full(tiny("autoencoder"))
    run = shutil.copytree(unbroken(config), tmp_path / "run")
    whole, last = outcome(run), run / "last.pt"
    data = bytearray(last.read_bytes())
    data[len(data) // 2] ^= 4
    last.write_bytes(data)
    open_run(config, run, "cpu").fit(*loaders(), progress=False)
    assert "is damaged: the checksum of" in "".join(capsys.readouterr())
    assert same(outcome(run), whole)


def test_a_run_goes_on_in_other_micro_batches(tmp_path, loaders):
    config = full(tiny("autoencoder"))
    open_run(dataclasses.replace(config, epochs=1), tmp_path, "cpu").fit(*loaders(), progress=False)
    photos = loaders()[0].photos
    loaders_of_halves = train_loader(photos, 32, 2, grad_accum_steps=2), eval_loader(photos, 32, 1)
    history = open_run(dataclasses.replace(config, grad_accum_steps=2), tmp_path, "cpu").fit(
        *loaders_of_halves, progress=False
    )
    assert len(history) == 2
    assert {path.name for path in tmp_path.glob(".*")} == set()


def test_other_photos_are_noticed(tmp_path, loaders):
    config = full(tiny("autoencoder"))
    train, val = loaders()
    open_run(dataclasses.replace(config, epochs=1), tmp_path, "cpu").fit(train, val, progress=False)
    fewer = train_loader(train.photos[1:], 32, 2)
    with pytest.raises(ValueError, match=r"trained on other photos \(\d+ photos, .*; now"):
        open_run(config, tmp_path, "cpu").fit(fewer, val, progress=False)


def test_two_processes_do_not_train_in_one_folder(tmp_path, loaders):
    first, second = (open_run(tiny("autoencoder"), tmp_path, "cpu") for _ in range(2))
    (tmp_path / ".last.pt.9-9.part").write_bytes(b"left by a killed process")
    with first.run.lock(first.config), pytest.raises(ValueError, match="another process is"):
        second.fit(*loaders(), progress=False)
    assert not list(tmp_path.glob(".*"))
    assert len(second.fit(*loaders(), progress=False)) == 2


GROUP = """
import os, signal, sys, time
from colorize.cli import main
from colorize.trainers import RegressionTrainer
kind, training_step = signal.SIGTERM, RegressionTrainer.training_step
def slowly(self, micro_batches):
    losses = training_step(self, micro_batches)
    if self.global_step == 2:
        os.killpg(os.getpgid(0), kind)
    time.sleep(0.2)
    return losses
RegressionTrainer.training_step = slowly
try:
    main([*sys.argv[1:], "1"])
except SystemExit as ended:
    print("first", ended.code)
kind = signal.SIGINT
sys.exit(main([*sys.argv[1:], "2"]))
"""


def test_a_signal_to_the_whole_group_saves_the_run(tmp_path, folder):
    """First SIGTERM, then in another folder SIGINT, by which the process ends."""
    words = (
        "train autoencoder --model-arg encoder_name=resnet18 --encoder-weights none --crop-size 32"
    )
    words += " --batch-size 2 --epochs 50 --device cpu --workers 2"
    command = [sys.executable, "-c", GROUP, *words.split(), "--data", folder, "-o"]
    done = subprocess.run(
        command, start_new_session=True, capture_output=True, text=True, timeout=240, cwd=tmp_path
    )
    assert done.returncode == 130, done.stderr[-2000:]
    assert "first 143" in done.stdout
    assert done.stderr.count("saved after step 3; run the same command") == 2
    for run in ("1", "2"):
        assert torch.load(tmp_path / run / "last.pt", weights_only=True)["global_step"] == 3


def test_a_sigterm_whose_exit_python_ignores_stops_the_run_all_the_same(tmp_path, monkeypatch):
    """As in a callback of a weak reference, of which imports have many."""
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)

    def terminate(_):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)

    trainer = toy_trainer(tmp_path, epochs=3)
    with exit_on_sigterm():
        network = Toy()
        reference = weakref.ref(network, terminate)
        del network
        assert reference() is None
        with pytest.raises(SystemExit):
            trainer.fit(toy_batches(), toy_photos(1), progress=False)
    assert trainer.global_step == 1
    with exit_on_sigterm():  # the next command starts anew
        assert len(toy_trainer(tmp_path, epochs=3).fit(toy_batches(), toy_photos(1))) == 3


# Callbacks.


def test_callbacks_are_told_of_every_event_in_order(tmp_path):
    events = []

    class Recorder(Callback):
        def __getattribute__(self, name):
            if name.startswith("on_"):
                events.append(name)
            return super().__getattribute__(name)

    trainer = toy_trainer(tmp_path, epochs=2)
    trainer.fit(toy_batches(2), toy_photos(1), callbacks=[Recorder()], progress=False)
    epoch = ["on_epoch_start", *["on_step_end"] * 2, "on_validation_batch", "on_epoch_end"]
    assert events == ["on_fit_start", *epoch * 2, "on_fit_end"]

    events.clear()
    trainer = toy_trainer(tmp_path, epochs=3)
    trainer.training_step = lambda micro_batches: 1 / 0
    with pytest.raises(ZeroDivisionError):
        trainer.fit(toy_batches(2), toy_photos(1), callbacks=[Recorder()], progress=False)
    assert events == ["on_fit_start", "on_epoch_start", "on_fit_end"]


def test_a_callback_may_stop_the_run_before_the_next_epoch(tmp_path):
    class Stop(Callback):
        def on_epoch_end(self, training, record):
            training.should_stop = record["epoch"] == 2

    trainer = toy_trainer(tmp_path, epochs=5)
    assert len(trainer.fit(toy_batches(), toy_photos(1), callbacks=[Stop()], progress=False)) == 2


def test_progress_is_a_line_for_each_epoch_and_checkpoint_where_there_is_no_terminal(
    tmp_path, capsys
):
    trainer = toy_trainer(tmp_path / "run", [2.0, 1.0], epochs=2)
    trainer.fit(toy_batches(2), None, save_minutes=0)
    lines = capsys.readouterr().out.splitlines()
    first = [line for line in lines if "epoch 1" in line]
    assert re.fullmatch(r"run: epoch 1, 1 steps, saved; loss \d+\.\d{3}", first[0])
    assert re.fullmatch(r"run: epoch 1 of 2, [\d.]+ photos/s, val loss 2\.0000", first[2])
    toy_trainer(tmp_path / "run", epochs=2).fit(toy_batches(2), None)
    assert "run: nothing to train, 2 epochs done of the 2 that are asked" in capsys.readouterr().out


def test_bars_show_epochs_photos_and_losses_on_a_terminal(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(callbacks, "shows_bars", lambda: True)
    trainer = toy_trainer(tmp_path / "run", [2.0], epochs=1)
    trainer.fit(toy_batches(10), None)
    text = capsys.readouterr().err
    assert "run: 100%" in text and "1/1" in text and "val loss 2.0000" in text
    assert "epoch 1:" in text and "/20" in text


# What can go wrong with numbers.


def test_weights_that_are_no_numbers_are_never_saved(tmp_path, loaders):
    trainer = open_run(tiny("autoencoder"), tmp_path, "cpu")
    trainer.fit(*loaders(), progress=False)
    last = (tmp_path / "last.pt").read_bytes()
    trainer.config = dataclasses.replace(trainer.config, epochs=3)
    weights = trainer.model.encoder.stages[0][0][1].weight.data
    trainer.validate = lambda val: (weights.fill_(math.inf), {"loss": 1.0})[1]
    with pytest.raises(DivergedError, match=r"encoder\..* is not finite.*another folder"):
        trainer.fit(*loaders(), progress=False)
    assert (tmp_path / "last.pt").read_bytes() == last


def test_a_validation_loss_that_is_no_number_stops_the_run(tmp_path):
    trainer = toy_trainer(tmp_path, [1.0, math.nan])
    with pytest.raises(DivergedError, match=r"loss is nan\. The last checkpoint is kept"):
        trainer.fit(toy_batches(), None, progress=False)
    assert torch.load(tmp_path / "last.pt", weights_only=True)["history"][-1]["epoch"] == 1


def test_a_loss_that_is_no_number_stops_the_run_and_names_the_photos(tmp_path, loaders):
    trainer = open_run(tiny("unet_gan"), tmp_path, "cpu")
    reconstruction_loss = trainer.reconstruction_loss
    trainer.reconstruction_loss = lambda *args: (
        reconstruction_loss(*args) / (0 if trainer.global_step == 4 else 1)
    )
    with pytest.raises(DivergedError, match=r"step 5: the gradient of the generator is") as caught:
        trainer.fit(*loaders(), progress=False)
    train, _ = loaders()
    train.set_epoch(1)
    assert len(train.describe(1)) == 2
    for name in train.describe(1):
        assert name in str(caught.value)
    assert torch.load(tmp_path / "last.pt", weights_only=True)["global_step"] == 3
    for weights in trainer.model.generator.parameters():
        assert weights.isfinite().all()


def test_a_gradient_is_clipped_to_its_norm(tmp_path):
    trainer = toy_trainer(tmp_path, grad_clip=0.01)
    norms = []
    step = trainer.train_state.optimizers["model"].step

    def watched():
        grads = [weights.grad for weights in trainer.model.parameters()]
        norms.append(torch.cat([grad.flatten() for grad in grads]).norm().item())
        step()

    trainer.train_state.optimizers["model"].step = watched
    trainer.fit(toy_batches(), toy_photos(1), progress=False)
    assert max(norms) == pytest.approx(0.01, rel=1e-3)


def test_the_moving_average_warms_up_and_predicts(tmp_path):
    trainer = toy_trainer(tmp_path, ema_decay=0.5, epochs=1)
    weights, expected = [], None
    update = trainer.train_state.ema.update_parameters

    def watched(model):
        weights.append(model.color.weight.detach().clone())
        update(model)

    trainer.train_state.ema.update_parameters = watched
    trainer.fit(toy_batches(4), toy_photos(1), progress=False)
    for n, now in enumerate(weights):
        decay = min(0.5, (1 + n) / (10 + n))
        expected = now if expected is None else decay * expected + (1 - decay) * now
    assert torch.allclose(trainer.train_state.eval_model.color.weight, expected, atol=1e-7)
    assert not torch.allclose(trainer.train_state.eval_model.color.weight, weights[-1], atol=1e-7)
    best = torch.load(tmp_path / "best.pt", weights_only=True)["model"]
    assert torch.equal(best["color.weight"], trainer.train_state.eval_model.color.weight)


def test_a_gan_with_a_moving_average_predicts_by_it(tmp_path, loaders):
    trainer = open_run(tiny("unet_gan", ema_decay=0.9), tmp_path, "cpu")
    trainer.fit(*loaders(), progress=False)
    shown = load(tmp_path).network.state_dict()
    assert same(dict(shown), state_of(trainer.train_state.eval_model.generator))
    assert not same(dict(shown), state_of(trainer.model.generator))


def test_the_moving_average_has_running_statistics_of_its_own():
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2)).train()
    average, expected = ExponentialMovingAverage(network, 0.5), None
    for n in range(12):
        network(torch.rand(4, 1, 3, 3) * (n + 1))
        average.update_parameters(network)
        now = torch.cat((network[1].running_mean, network[1].running_var))
        keep = min(0.5, (1 + n) / (10 + n))
        expected = now if expected is None else keep * expected + (1 - keep) * now
        norm = average.module[1]
        found = torch.cat((norm.running_mean, norm.running_var))
        torch.testing.assert_close(found, expected)
        assert not torch.equal(found, now) or n == 0


def test_buffers_that_are_no_statistics_are_copied_into_the_moving_average():
    network = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2, track_running_stats=False)).train()
    network.register_buffer("bins", torch.zeros(3))
    average = ExponentialMovingAverage(network, 0.5)
    for n in range(4):
        network(torch.rand(4, 2))
        network.bins += 1
        average.update_parameters(network)
        assert average.n_averaged == average.module[0].num_batches_tracked == n + 1
        assert torch.equal(average.module.bins, network.bins)
    assert not average.module[0].weight.grad_fn


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [1, 1, 1, 1]),
        ("linear", [1, 1, 2 / 3, 1 / 3]),
        ("cosine", [1, (1 + 0.5**0.5) / 2, 0.5, (1 - 0.5**0.5) / 2]),
    ],
)
def test_the_schedules_are_those_of_the_papers(schedule, expected):
    config = TrainConfig(model="unet_gan", epochs=4, lr_schedule=schedule)
    assert [config.lr_factor(epoch) for epoch in range(4)] == pytest.approx(expected)


def test_bf16_trains_and_keeps_float32_weights(tmp_path, loaders):
    trainer = open_run(tiny("unet_gan", precision="bf16"), tmp_path, "cpu")
    seen = []
    trainer.model.generator.head.register_forward_hook(lambda _, __, out: seen.append(out.dtype))
    trainer.fit(*loaders(), progress=False)
    assert set(seen) == {torch.bfloat16}
    assert {w.dtype for w in trainer.model.parameters()} == {torch.float32}
    with pytest.raises(ValueError, match="fp16 needs CUDA, not cpu"):
        open_run(tiny("unet_gan", precision="fp16"), tmp_path / "other", "cpu")


@pytest.mark.parametrize(
    ("steps", "advice"),
    [(1, "with 6 photos of 8 px at a time: set grad_accum_steps 2, or a smaller crop_size"),
     (2, "with 3 photos of 8 px at a time: set grad_accum_steps 6, or a smaller crop_size"),
     (6, "with 1 photo of 8 px at a time: set a smaller crop_size or batch_size")],
)  # fmt: skip
def test_out_of_memory_names_what_was_tried_and_what_to_set(tmp_path, steps, advice):
    trainer = toy_trainer(tmp_path, batch_size=6, grad_accum_steps=steps)

    def training_step(micro_batches):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    trainer.training_step = training_step
    photos = torch.zeros(6 // steps, 3, 8, 8, dtype=torch.uint8)
    with pytest.raises(ValueError, match=advice):
        trainer.fit(Batches([Example(photos)] * steps), toy_photos(1), progress=False)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # torch.compile's own look
def test_a_compiled_run_leaves_checkpoints_like_any_other(tmp_path, loaders):
    config = tiny("autoencoder", epochs=1, precision="fp32")  # of which both add up alike
    for compiled in (False, True):
        run = tmp_path / str(compiled)
        trainer = open_run(dataclasses.replace(config, compile=compiled), run, "cpu")
        trainer.fit(*loaders(), progress=False)
    plain, ours = (outcome(tmp_path / run)["last"] for run in ("False", "True"))
    assert ours.keys() == plain.keys()
    assert ours["model"].keys() == plain["model"].keys()
    for key, value in plain["model"].items():
        torch.testing.assert_close(ours["model"][key], value, rtol=1e-2, atol=5e-3, msg=key)
    later = open_run(dataclasses.replace(config, epochs=2), tmp_path / "True", "cpu")
    assert len(later.fit(*loaders(), progress=False)) == 2


def test_tensorboard_shows_what_the_log_says(tmp_path, loaders):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for epochs in (1, 3):  # goes on in a second file
        trainer = open_run(tiny("autoencoder", epochs=epochs), tmp_path, "cpu")
        history = trainer.fit(*loaders(), progress=False, tensorboard=True)
    found = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    for split in ("train", "val"):
        for name in history[0][split]:
            events = found.Scalars(f"{split}/{name}")
            values = [pytest.approx(record[split][name], rel=1e-5) for record in history]
            assert [event.step for event in events] == [1, 2, 3]
            assert [event.value for event in events] == values
    assert [event.step for event in found.Images("samples")] == [1, 2, 3]


def test_tensorboard_that_is_missing_is_said_before_the_first_step(tmp_path, loaders, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    trainer = open_run(tiny("autoencoder"), tmp_path, "cpu")
    with pytest.raises(ValueError, match=r"colorize-photos\[tensorboard\]"):
        trainer.fit(*loaders(), progress=False, tensorboard=True)
    assert trainer.global_step == 0


def test_a_run_may_start_from_a_trained_network_of_another_size(tmp_path, loaders):
    first = open_run(tiny("autoencoder", epochs=1), tmp_path / "first", "cpu")
    first.fit(*loaders(), progress=False)
    config = tiny("autoencoder", epochs=1, crop_size=64, init_from=str(tmp_path / "first"), seed=9)
    second = open_run(config, tmp_path / "second", "cpu")
    assert same(state_of(second.model), state_of(load(tmp_path / "first").network))
    rates = [group["lr"] for group in second.train_state.optimizers["model"].param_groups]
    assert rates == [config.lr * config.encoder_lr_mult, config.lr]
    second.fit(*loaders(), progress=False)
    shutil.rmtree(tmp_path / "first")  # the run has weights of its own by now
    again = open_run(config, tmp_path / "second", "cpu")
    assert same(state_of(again.model), state_of(second.model))


def test_a_gan_may_start_from_a_generator_and_nothing_from_another_network(tmp_path, loaders):
    config = tiny("unet_gan", epochs=1)
    alone = dataclasses.replace(
        config,
        model="unet",
        gan_loss=None,
        reconstruction_weight=1.0,
        model_kwargs=config.model_kwargs,
    )
    open_run(alone, tmp_path / "alone", "cpu").fit(*loaders(), progress=False)
    gan = dataclasses.replace(config, init_from=str(tmp_path / "alone"))
    trainer = open_run(gan, tmp_path / "gan", "cpu")
    expected = load(tmp_path / "alone").network
    assert same(state_of(trainer.model.generator), state_of(expected))
    other = tiny("autoencoder", init_from=str(tmp_path / "alone"))
    with pytest.raises(CheckpointError, match=r"cannot start from .*alone, it is another model"):
        open_run(other, tmp_path / "other", "cpu")
    with pytest.raises(FileNotFoundError, match="no run in"):
        open_run(tiny("autoencoder", init_from=str(tmp_path / "no")), tmp_path / "other", "cpu")
