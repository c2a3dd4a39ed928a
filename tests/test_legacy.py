"""Runs, models and settings of version 0.1 still load.

`data/run-0.1` was written by version 0.1: a tiny GAN in three phases on the photos of the fixture
`folder`, stopped after 8 of its 9 steps.
"""

import json
import shutil
from pathlib import Path

import pytest
import torch

import colorize
from colorize.config import TrainConfig
from colorize.data.loaders import run_loaders
from colorize.models import create_model, pretrained
from colorize.trainers import open_run
from colorize.trainers.ema import ExponentialMovingAverage
from colorize.utils.checkpoint import CheckpointError
from colorize.utils.legacy import upgrade_model_config, upgrade_settings

OLD_RUN = Path(__file__).parent / "data" / "run-0.1"
CLASSIFIER = {"encoder_name": "mobilenet_v2", "width": 8}


@pytest.fixture
def old_run(tmp_path):
    return shutil.copytree(OLD_RUN, tmp_path / "old")


def with_old_names(state):
    """Rename the class weights in a state dict of today as version 0.1 named them."""
    return {
        name.replace("class_weights", "weights") if name.endswith("class_weights") else name: value
        for name, value in state.items()
    }


def test_the_settings_of_an_old_run_have_todays_names():
    assert TrainConfig.load(OLD_RUN / "config.json") == TrainConfig(
        "unet_gan",
        {"depth": 3, "base_channels": 2, "discriminator_channels": 2},
        crop_size=32,
        epochs=3,
        batch_size=2,
        lr=1e-3,
        grad_clip=1.0,
        ema_decay=0.9,
        reconstruction_loss="l1",
        gan_loss="vanilla",
        reconstruction_weight=10.0,
        discriminator_lr=2e-3,
        phases=(("generator", 1, 1.0), ("discriminator", 1, 1.0), ("joint", 1, 0.5)),
        selection_interval=1,
        precision="fp32",
    )


def test_every_old_setting_has_a_name_today():
    old = json.loads((OLD_RUN / "config.json").read_text())
    old |= {"model": "backbone_gan", "phases": None, "score_every": None, "accumulate": 2}
    old |= {"start": "a", "encoder_lr_scale": 0.5, "schedule": "cosine"}
    old |= {"old_photos": 0.5, "without_hints": 0.25}
    old["model_args"] = {"backbone": "resnet18", "backbone_weights": "w", "critic_attention": 8}
    config = TrainConfig(**upgrade_settings(old))
    assert config.model == "encoder_unet_gan"
    assert config.model_kwargs == {
        "encoder_name": "resnet18",
        "encoder_weights": "w",
        "discriminator_attention": 8,
    }
    assert (config.init_from, config.encoder_lr_mult, config.lr_schedule) == ("a", 0.5, "cosine")
    assert (config.degradation_prob, config.hint_dropout) == (0.5, 0.25)
    assert (config.grad_accum_steps, config.selection_interval) == (2, None)
    assert upgrade_settings(json.loads(json.dumps(vars(config)))) == json.loads(
        json.dumps(vars(config))  # today's names stay
    )


def test_an_old_run_is_continued_to_the_same_end(old_run, folder):
    """Its last line of the log is what version 0.1 wrote without the stop."""
    config = TrainConfig.load(old_run / "config.json")
    trainer = open_run(config, old_run, "cpu")
    assert (trainer.global_step, trainer.epoch_step) == (8, 2)
    train, val = run_loaders(colorize.PhotoFolder(folder), config)
    history = trainer.fit(train, val, progress=False)
    assert [record["epoch"] for record in history] == [1, 2, 3]
    last = json.loads((old_run / "log.jsonl").read_text().splitlines()[-1])
    assert last["val"]["loss"] == pytest.approx(0.2990158597628276, rel=1e-5)
    assert last["val"]["ab_error"] == pytest.approx(49.71686045328776, rel=1e-5)
    losses = {
        "loss_D": 0.4808808962504069,
        "loss_G_gan": 0.926522413889567,
        "loss_G_rec": 0.2670614918073018,
        "real_prob": 0.6371334393819174,
        "fake_prob": 0.3963674306869507,
    }
    assert last["train"] == pytest.approx(losses, rel=1e-4)
    scores = json.loads((old_run / "scores.json").read_text())
    assert [entry["step"] for entry in scores] == [7, 8, 9]
    assert scores[-1]["score"] == pytest.approx(2.184252102995288, rel=1e-4)
    assert (old_run / "inflection.pt").exists() and not (old_run / "turn.pt").exists()
    assert (old_run / "samples" / "progress.jpg").exists()


@pytest.mark.parametrize("weights", [None, "inflection", "last"])
def test_the_model_of_an_old_run_colorizes(old_run, photo, weights):
    model = pretrained.load(old_run, weights)
    state = torch.load(old_run / f"{'last' if weights == 'last' else 'turn'}.pt", weights_only=True)
    expected = state["model"]
    if weights == "last":  # the moving average, which has the prefix of its wrapper
        expected = {key.removeprefix("module."): value for key, value in state["average"].items()}
    name = "encoder_blocks.0.1.weight"
    assert torch.equal(model.network.state_dict()[name], expected[f"generator.{name}"])
    colorizer = colorize.Colorizer.from_pretrained(old_run, "cpu", weights)
    assert colorizer(photo).size == photo.size


def test_class_weights_load_by_their_old_name():
    network = create_model("color_classifier", **CLASSIFIER)
    network.class_weights.copy_(torch.rand(261) + 0.5)
    old = with_old_names(network.state_dict())
    assert "weights" in old and "class_weights" not in old
    other = create_model("color_classifier", seed=1, **CLASSIFIER)
    other.load_state_dict(old)
    assert torch.equal(other.class_weights, network.class_weights)
    assert "weights" in old  # the caller's dict is unchanged
    with pytest.raises(RuntimeError, match="class_weights"):
        other.load_state_dict({key: value for key, value in old.items() if key != "weights"})


def test_class_weights_load_by_their_old_name_inside_a_gan_and_an_average():
    gan = create_model("classifier_gan", **CLASSIFIER, discriminator_channels=4)
    gan.generator.class_weights.fill_(3)
    old = with_old_names(gan.state_dict())
    assert "generator.weights" in old
    other = create_model("classifier_gan", seed=1, **CLASSIFIER, discriminator_channels=4)
    other.load_state_dict(old)
    assert (other.generator.class_weights == 3).all()

    average = ExponentialMovingAverage(gan.generator, 0.9)
    old = with_old_names(average.state_dict())
    assert "module.weights" in old
    other_average = ExponentialMovingAverage(other.generator, 0.9)
    other_average.module.class_weights.fill_(1)
    other_average.load_state_dict(old)
    assert (other_average.module.class_weights == 3).all()


def test_an_old_model_folder_loads(tmp_path):
    network = create_model("color_classifier", **CLASSIFIER)
    model = pretrained.Pretrained(network, "color_classifier", CLASSIFIER, 32, "new")
    pretrained.save(model, tmp_path / "model", "card")
    file = tmp_path / "model" / "config.json"
    config = json.loads(file.read_text())
    config["model_args"] = {"backbone": "mobilenet_v2", "width": 8, "balance": 0.5}
    del config["model_kwargs"]
    file.write_text(json.dumps(config))
    loaded = pretrained.load(tmp_path / "model").network
    assert loaded.prior_strength == 0.5
    assert torch.equal(loaded.network.head.weight, network.network.head.weight.half().float())
    config["model_args"]["balanced"] = 1
    file.write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="not balanced"):
        pretrained.load(tmp_path / "model")


def test_todays_model_config_stays():
    config = {"model": "unet", "model_kwargs": {"depth": 3}, "size": 32}
    assert upgrade_model_config(dict(config)) == config


def test_the_bundled_model_has_its_class_weights():
    network = pretrained.load().network
    assert network.class_weights.std() > 0.1
