"""Settings and presets."""

import pytest

from colorize.config import TrainConfig
from colorize.presets import PRESETS


def test_the_presets_hold_the_papers_and_the_source_storys_numbers():
    for name, model in (("autoencoder", "resnet_autoencoder"), ("fcn", "resnet_fcn")):
        config = PRESETS[name]
        assert (config.model, config.reconstruction_loss, config.gan_loss) == (model, "mse", None)
        assert (config.lr, config.epochs, config.patience) == (1e-3, 20, 3)
        assert config.model_kwargs["encoder_weights"] == "IMAGENET1K_V1"
        assert config.eval_checkpoint == "best"
    gan = PRESETS["unet_gan"]
    assert (gan.lr, gan.betas, gan.epochs, gan.size) == (2e-4, (0.5, 0.999), 100, 256)
    assert (gan.distance, gan.reconstruction_weight, gan.adversarial) == ("l1", 100, "vanilla")
    assert (gan.schedule, gan.patience, gan.eval_checkpoint) == ("linear", None, "last")


def test_the_first_two_attempts_differ_in_their_network_only():
    one, two = (vars(PRESETS[name]) for name in ("autoencoder", "fcn"))
    assert [key for key in one if one[key] != two[key]] == ["model"]


@pytest.mark.parametrize("name", ["autoencoder", "fcn", "unet_gan"])
def test_the_quick_presets_are_the_same_methods_smaller_and_without_pretrained_weights(name):
    real, quick = vars(PRESETS[name]), vars(PRESETS[f"{name}_quick"])
    smaller = {"model_kwargs", "size", "batch_size", "epochs", "lr", "patience"}
    assert {key for key in real if real[key] != quick[key]} <= smaller
    assert quick["size"] < real["size"]
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


GAME = {"gan_loss": "vanilla"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"crop_size": 0}, "size must be positive, got 0"),
        ({"epochs": -1}, "epochs must be positive"),
        ({"batch_size": 0}, "batch_size must be positive"),
        ({"lr": float("nan")}, "lr must be positive"),
        ({"patience": 0}, "patience must be at least 1"),
        ({"seed": 2**63}, "seed must be from 0 to"),
        ({"seed": -1}, "seed must be from 0 to"),
        ({"betas": (0.9, 1.0)}, "betas must be two numbers from 0 to below 1"),
        ({"lr_schedule": "step"}, "schedule must be one of constant, linear, cosine, got 'step'"),
        ({"precision": "int8"}, "precision must be one of auto, fp32, bf16, fp16, got 'int8'"),
        ({"grad_accum_steps": 0}, "accumulate must be positive"),
        ({"grad_clip": 0.0}, "clip must be positive, or none, got 0.0"),
        ({"ema_decay": 1.0}, "ema must lie between 0 and 1, or be none, got 1.0"),
        (
            {"reconstruction_loss": "huber"},
            "distance must be one of mse, l1, smooth_l1, .*, got 'huber'",
        ),
        ({"gan_loss": "wgan"}, "adversarial must be one of vanilla, .*, got 'wgan'"),
        ({"reconstruction_weight": 100.0}, "reconstruction_weight does nothing where there is no"),
        ({"discriminator_lr": 1.0}, "discriminator_lr does nothing where there is no"),
        ({"phases": (("joint", 20, 1),)}, "phases does nothing where there is no"),
        ({"selection_interval": 5}, "selection_interval does nothing where there is no"),
        ({"hint_dropout": -0.5}, "hint_dropout must be from 0 to 1, got -0.5"),
        ({"degradation_prob": 1.5}, "degradation_prob must be from 0 to 1, got 1.5"),
        (GAME | {"selection_interval": 0}, "selection_interval must be positive, or none, got 0"),
        (GAME | {"phases": (("painter", 20, 1),)}, "a phase must be one of generator, critic"),
        (GAME | {"phases": (("joint", 0, 1),)}, "phase both needs epochs and a rate, got 0 and"),
        (GAME | {"phases": (("joint", 20, 0),)}, "phase both needs epochs and a rate, got 20 and"),
        (GAME | {"phases": (("joint", 20, 1),), "patience": 3}, "patience and phases do not go"),
        (
            GAME | {"phases": (("discriminator", 20, 1),), "selection_interval": 3},
            "a phase both, and there is",
        ),
        (GAME | {"phases": (("joint", 3, 1),)}, "the phases have 3 epochs, epochs says 20"),
    ],
)
def test_settings_that_cannot_be_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig("resnet_fcn", **changes)


@pytest.mark.parametrize("text", ["{", '{"model": "a", "colour": 1}', "[1, 2]", "{}", "3"])
def test_a_file_that_holds_no_settings_is_named(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=r"config\.json does not hold the settings of a run"):
        TrainConfig.load(tmp_path / "config.json")
