"""Settings and presets."""

import dataclasses
import subprocess
import sys
from typing import get_args

import pytest

from colorize.config import CROSS_ENTROPY, PERCEPTUAL, GanLoss, ReconstructionLoss, TrainConfig
from colorize.losses import GAN_LOSSES, PIXEL_LOSSES
from colorize.presets import PRESETS, method_of


def test_the_presets_hold_the_papers_and_the_source_projects_numbers():
    for name, model in (("autoencoder", "resnet_autoencoder"), ("fcn", "resnet_fcn")):
        config = PRESETS[name]
        assert (config.model, config.reconstruction_loss, config.gan_loss) == (model, "mse", None)
        assert (config.lr, config.epochs, config.patience) == (1e-3, 20, 3)
        assert config.model_kwargs["encoder_weights"] == "IMAGENET1K_V1"
        assert config.eval_checkpoint == "best"
    gan = PRESETS["unet_gan"]
    assert (gan.lr, gan.betas, gan.epochs, gan.crop_size) == (2e-4, (0.5, 0.999), 100, 256)
    assert (gan.reconstruction_loss, gan.reconstruction_weight) == ("l1", 100)
    assert (gan.gan_loss, gan.lr_schedule) == ("vanilla", "linear")
    assert (gan.patience, gan.eval_checkpoint) == (None, "last")


def test_the_presets_autoencoder_and_fcn_differ_in_their_model_only():
    one, two = (vars(PRESETS[name]) for name in ("autoencoder", "fcn"))
    assert [key for key in one if one[key] != two[key]] == ["model"]


@pytest.mark.parametrize("name", ["autoencoder", "fcn", "unet_gan"])
def test_the_quick_presets_are_the_same_methods_smaller_and_without_pretrained_weights(name):
    real, quick = vars(PRESETS[name]), vars(PRESETS[f"{name}_quick"])
    smaller = {"model_kwargs", "crop_size", "batch_size", "epochs", "lr", "patience"}
    assert {key for key in real if real[key] != quick[key]} <= smaller
    assert quick["crop_size"] < real["crop_size"]
    assert quick["model_kwargs"].get("encoder_weights") is None


def test_the_linear_schedule_is_constant_for_half_and_then_falls_to_zero_after_the_end():
    five = TrainConfig("resnet_fcn", epochs=5, lr_schedule="linear")
    assert [five.lr_factor(epoch) for epoch in range(6)] == [1, 1, 3 / 4, 2 / 4, 1 / 4, 0]
    # junyanz's 50 + 50 epochs: 1 - max(0, epoch + 1 - 50) / 51
    hundred = [PRESETS["unet_gan"].lr_factor(epoch) for epoch in range(100)]
    expected = [1 - max(0, epoch + 1 - 50) / 51 for epoch in range(100)]
    assert hundred == pytest.approx(expected) and min(hundred) > 0
    assert {PRESETS["fcn"].lr_factor(epoch) for epoch in range(20)} == {1}


def test_settings_survive_the_way_to_json_and_back(tmp_path):
    for name, config in PRESETS.items():
        config.save(tmp_path / name)
        assert TrainConfig.load(tmp_path / name) == config


GAN = {"gan_loss": "vanilla"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"crop_size": 0}, "crop_size must be at least 1, got 0"),
        ({"epochs": -1}, "epochs must be at least 1, got -1"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"lr": float("nan")}, "lr must be above 0, got nan"),
        ({"patience": 0}, "patience must be at least 1, or none, got 0"),
        ({"seed": 2**63}, "seed must be from 0 to"),
        ({"seed": -1}, "seed must be from 0 to"),
        ({"betas": (0.9, 1.0)}, "betas must be two numbers from 0 to below 1"),
        (
            {"lr_schedule": "step"},
            "lr_schedule must be one of constant, linear, cosine, got 'step'",
        ),
        ({"precision": "int8"}, "precision must be one of auto, fp32, bf16, fp16, got 'int8'"),
        ({"grad_accum_steps": 0}, "grad_accum_steps must be at least 1, got 0"),
        ({"grad_clip": 0.0}, "grad_clip must be above 0, or none, got 0.0"),
        ({"ema_decay": 1.0}, "ema_decay must be between 0 and 1, or none, got 1.0"),
        (
            {"reconstruction_loss": "huber"},
            "reconstruction_loss must be one of mse, l1, smooth_l1, .*, got 'huber'",
        ),
        ({"gan_loss": "wgan"}, "gan_loss must be one of vanilla, .*, got 'wgan'"),
        (
            {"reconstruction_weight": 100.0},
            "reconstruction_weight has no effect .* set gan_loss, or .* to 1.0",
        ),
        ({"discriminator_lr": 1.0}, "discriminator_lr has no effect .* to none"),
        ({"phases": (("joint", 20, 1),)}, "phases has no effect without an adversarial"),
        ({"selection_interval": 5}, "selection_interval has no effect without an"),
        ({"hint_dropout": -0.5}, "hint_dropout must be from 0 to 1, got -0.5"),
        ({"degradation_prob": 1.5}, "degradation_prob must be from 0 to 1, got 1.5"),
        (GAN | {"selection_interval": 0}, "selection_interval must be at least 1, or none, got 0"),
        (GAN | {"phases": (("critic", 20, 1),)}, "a phase must be one of generator, discr"),
        (GAN | {"phases": (("joint", 0, 1),)}, "phase joint needs .* got 0 and 1.0"),
        (GAN | {"phases": (("joint", 20, 0),)}, "phase joint needs .* got 20 and 0.0"),
        (GAN | {"phases": (("joint", 20, 1),), "patience": 3}, "patience and phases exclude each"),
        (
            GAN | {"phases": (("discriminator", 20, 1),), "selection_interval": 3},
            "selection_interval requires a joint phase",
        ),
        (GAN | {"phases": (("joint", 3, 1),)}, "phases have 3 epochs, but epochs is 20"),
    ],
)
def test_invalid_settings_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig("resnet_fcn", **changes)


@pytest.mark.parametrize("text", ["{", '{"model": "a", "colour": 1}', "[1, 2]", "{}", "3"])
def test_a_file_without_settings_is_named(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=r"config\.json does not hold the settings of a run"):
        TrainConfig.load(tmp_path / "config.json")


def test_the_names_of_the_losses_are_those_of_their_registries():
    assert set(get_args(GanLoss)) == set(GAN_LOSSES)
    losses = {*PIXEL_LOSSES, PERCEPTUAL, CROSS_ENTROPY}
    assert set(get_args(ReconstructionLoss)) == losses


def test_every_setting_is_described_and_the_docstring_lists_it():
    for field in dataclasses.fields(TrainConfig):
        assert f"    {field.name}: " in TrainConfig.__doc__
        if field.name not in ("model", "model_kwargs"):
            assert len(field.metadata["help"]) > 15


def test_every_preset_has_its_title_and_its_paper():
    for name in PRESETS:
        method = method_of(name)
        assert PRESETS[name] == (method.quick if name.endswith("_quick") else method.config)
        assert method.title and method.paper
    with pytest.raises(KeyError):
        method_of("vgg")


def test_settings_and_presets_are_imported_without_torch():
    code = "import sys, colorize.presets; print({'torch', 'numpy', 'PIL'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
