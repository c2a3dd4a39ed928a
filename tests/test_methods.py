"""Every method of the presets, trained, stopped, continued and scored."""

import dataclasses
import json
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor

import pytest
import torch
import torch.nn.functional as F
from conftest import fit_until_killed, resnet_narrow, same, state_of
from overfit import overfit
from test_runs import outcome

from colorize.cli import main
from colorize.color.lab import rgb_to_lab
from colorize.config import TrainConfig
from colorize.data.dataset import Example, ExampleSettings, collate_examples, make_example
from colorize.data.folder import PhotoFolder, load_samples
from colorize.data.loaders import run_loaders, train_loader
from colorize.inference.colorizer import Colorizer
from colorize.io.image import photo_to_rgb
from colorize.io.photo import read_photo
from colorize.losses.classification import count_bins, rebalanced_cross_entropy, rebalancing_weights
from colorize.metrics.image import color_cast, colorfulness
from colorize.models import create_model, model_summary
from colorize.presets import METHODS, PRESETS
from colorize.trainers import open_run
from colorize.utils.seed import seeded_generator

RESNET = {"encoder_name": "resnet_narrow", "width": 16}
ATTENTIVE = {"spectral_norm": True, "attention": 4, "discriminator_attention": 8}
MODEL_ARGS = {
    "unet": {"depth": 3, "base_channels": 4},
    "encoder_unet": RESNET,
    "zhang2016": RESNET,
    "lsgan": {"depth": 3, "base_channels": 4},
    "sagan": {"depth": 3, "base_channels": 8, **ATTENTIVE},
    "nogan": {"discriminator_channels": 8, **RESNET, **ATTENTIVE},
    "hint_guided": RESNET | {"hints": True},
    "degraded": RESNET,
}
PHASES = (("generator", 1, 1.0), ("discriminator", 2, 1.0), ("joint", 1, 0.5))


def tiny(preset, **changes):
    settings = {"model_kwargs": MODEL_ARGS[preset], "crop_size": 32, "batch_size": 2, "epochs": 2}
    if preset == "nogan":
        settings |= {
            "reconstruction_loss": "l1",
            "phases": PHASES,
            "epochs": 4,
            "selection_interval": 1,
            "ema_decay": 0.9,
        }
    return dataclasses.replace(PRESETS[preset], **settings | changes)


def test_every_method_is_run_here_or_among_the_three_attempts():
    methods = {name for name in PRESETS if not name.endswith("_quick")}
    assert set(MODEL_ARGS) | {"autoencoder", "fcn", "unet_gan", "perceptual"} == methods
    assert METHODS.keys() == methods
    assert {name.removesuffix("_quick") for name in PRESETS} == methods


@pytest.mark.parametrize(
    ("preset", "stop_after"),  # of NoGAN in each phase
    [*((name, 4) for name in MODEL_ARGS), ("nogan", 2), ("nogan", 8), ("nogan", 11)],
)
def test_a_killed_run_goes_on_bitwise(tmp_path, loaders, unbroken, preset, stop_after):
    config = tiny(preset, grad_clip=1.0)
    settings = ExampleSettings.from_config(config)
    whole = unbroken(config)
    killed = open_run(config, tmp_path / "killed", "cpu")
    fit_until_killed(killed, stop_after, *loaders(settings=settings), save_minutes=0)
    resumed = open_run(config, tmp_path / "killed", "cpu")
    resumed.fit(*loaders(settings=settings), progress=False)
    assert same(outcome(whole), outcome(tmp_path / "killed"))
    if preset == "nogan":
        runs = whole, tmp_path / "killed"
        one, other = ((run / "scores.json").read_text() for run in runs)
        assert one == other
        assert same(*(torch.load(run / "inflection.pt", weights_only=True) for run in runs))


@pytest.mark.parametrize("preset", MODEL_ARGS)
def test_the_gradient_reaches_every_parameter(tmp_path, preset):
    trainer = open_run(tiny(preset, phases=None, selection_interval=None), tmp_path, "cpu")
    for module in trainer.model.modules():
        if hasattr(module, "gamma"):  # a gate of 0 teaches nothing behind itself
            torch.nn.init.ones_(module.gamma)
    reached = {}

    def optimizer_step(*names):
        for name, network in trainer.networks().items():
            for key, weights in network.named_parameters():
                if weights.grad is not None and weights.grad.any():
                    reached[f"{name}.{key}"] = True

    trainer.train_state.optimizer_step = optimizer_step
    trainer.model.train()
    rgb = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    settings, generator = ExampleSettings.from_config(trainer.config), seeded_generator(0)
    example = collate_examples([make_example(photo, settings, generator) for photo in rgb])
    trainer.training_step([trainer.make_micro_batch(example)])
    expected = {
        f"{name}.{key}"
        for name, network in trainer.networks().items()
        for key, _ in network.named_parameters()
    }
    if preset == "sagan":  # of a hinge's two halves, this one's slopes are 1 and -1
        expected.remove("discriminator.blocks.12.bias")
    assert expected <= reached.keys()


# Classes.


def test_the_bins_are_weighed_by_the_training_photos_before_the_first_step(tmp_path, loaders):
    trainer = open_run(tiny("zhang2016"), tmp_path, "cpu")
    assert (trainer.model.class_weights == 1).all()
    weights = []
    training_step = trainer.training_step
    trainer.training_step = lambda micro_batches: (
        weights.append(trainer.model.class_weights.clone()),
        training_step(micro_batches),
    )[1]
    trainer.fit(*loaders(), progress=False)
    assert weights[0].std() > 0.1 and all(torch.equal(w, weights[0]) for w in weights)
    saved = torch.load(tmp_path / "best.pt", weights_only=True)["model"]
    assert torch.equal(saved["class_weights"], weights[0])
    assert open_run(tiny("zhang2016"), tmp_path, "cpu").model.class_weights.equal(weights[0])


def test_colors_are_counted_at_a_quarter_of_the_size_as_they_are_learned(tmp_path):
    trainer = open_run(tiny("zhang2016"), tmp_path, "cpu")
    rgb = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    rgb[:, 0, :, ::4], rgb[:, 0, :, 1::4], rgb[:, 2] = 250, 250, 120  # stripes of two pixels
    trainer.set_class_weights([rgb])
    counts = count_bins(F.avg_pool2d(rgb_to_lab(rgb)[1], 4))
    assert torch.equal(trainer.model.class_weights, rebalancing_weights(counts))


def test_the_validation_loss_of_classes_is_weighed_as_that_of_training(tmp_path):
    trainer = open_run(tiny("zhang2016", precision="fp32"), tmp_path, "cpu")
    trainer.model.class_weights.copy_(torch.rand(261) * 3)
    model = trainer.train_state.eval_model.eval()
    lightness, ab = torch.rand(2, 1, 32, 32) - 0.5, torch.rand(2, 2, 32, 32) - 0.5
    with torch.no_grad():
        loss, _ = trainer.validation_step(lightness, ab)
        logits = model.network(lightness)
    expected = rebalanced_cross_entropy(logits, ab, trainer.model.class_weights)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.fixture(scope="module")
def classes():
    torch.manual_seed(0)
    network = create_model("color_classifier", **RESNET)
    torch.nn.init.normal_(network.network.head.weight, std=3)
    return Colorizer(network, 32, "cpu")


def test_vividness_makes_one_photo_more_colorful(classes):
    photo = read_photo(load_samples().photos[0].path).crop((0, 0, 101, 67))
    pale, own, vivid = (classes(photo, vividness=v) for v in (0.0, None, 1.0))

    def colors(picture):
        return colorfulness(photo_to_rgb(picture).unsqueeze(0)).item()

    assert pale.size == own.size == vivid.size == photo.size
    assert colors(pale) < colors(own) < colors(vivid)
    assert classes(photo, vividness=0.62).tobytes() == own.tobytes()


# NoGAN.


def test_each_phase_moves_whom_it_should_at_its_rate(tmp_path, loaders):
    trainer = open_run(tiny("nogan"), tmp_path, "cpu")
    moved, rates = [], []
    training_step = trainer.training_step

    def watched(micro_batches):
        before = {name: state_of(network) for name, network in trainer.networks().items()}
        losses = training_step(micro_batches)
        moved.append(
            {name for name, network in trainer.networks().items()
             if any(not torch.equal(p, before[name][key])
                    for key, p in network.named_parameters())}
        )  # fmt: skip
        rates.append(
            {name: o.param_groups[-1]["lr"] for name, o in trainer.train_state.optimizers.items()}
        )
        return losses

    trainer.training_step = watched
    trainer.fit(*loaders(), progress=False)
    both = {"generator", "discriminator"}
    assert moved == [{"generator"}] * 3 + [{"discriminator"}] * 6 + [both] * 3
    assert rates[0] == {"generator": 1e-4, "discriminator": 5e-4}
    assert rates[-1] == {"generator": 5e-5, "discriminator": 2.5e-4}


def test_the_discriminator_alone_sees_cached_predictions_of_the_same_crops(tmp_path, loaders):
    trainer = open_run(tiny("nogan"), tmp_path, "cpu")
    seen, predictions = [], []
    discriminate = trainer._discriminate

    def watched(micro_batch, pred_ab):
        if trainer.phase == "discriminator":
            seen.append(micro_batch.lightness.clone())
            predictions.append(pred_ab.clone())
        return discriminate(micro_batch, pred_ab)

    trainer._discriminate = watched
    phases = []
    trainer.model.generator.register_forward_hook(lambda *_: phases.append(trainer.phase))
    trainer.fit(*loaders(), progress=False)
    assert len(seen) == 6
    for first, second in ((seen[:3], seen[3:]), (predictions[:3], predictions[3:])):
        assert all(torch.equal(*pair) for pair in zip(first, second, strict=True))
    assert phases.count("discriminator") == 3  # predicted once, then read from the disk
    assert not (tmp_path / "generator_cache").exists()  # its phase is over


def test_while_the_discriminator_learns_alone_nothing_of_the_generator_moves(tmp_path, loaders):
    trainer = open_run(tiny("nogan"), tmp_path, "cpu")
    states, training_step = [], trainer.training_step

    def watched(micro_batches):
        before = state_of(trainer.model.generator)
        losses = training_step(micro_batches)
        states.append((trainer.phase, same(before, state_of(trainer.model.generator))))
        return losses

    trainer.training_step = watched
    trainer.fit(*loaders(), progress=False)  # statistics and spectral norms too
    assert [is_same for phase, is_same in states if phase == "discriminator"] == [True] * 6


def test_the_discriminators_phase_goes_on_in_other_micro_batches_and_forgets_another_runs_cache(
    tmp_path, loaders
):
    photos = loaders()[0].photos
    stale = tmp_path / "generator_cache" / "epoch-0001-000000-0000.pt"
    stale.parent.mkdir()
    torch.save({"ab": torch.zeros(4, 2, 32, 32, dtype=torch.int8)}, stale)
    config = tiny("nogan", batch_size=4, phases=(("discriminator", 3, 1.0), ("joint", 1, 1.0)))
    trainer = open_run(config, tmp_path, "cpu")
    seen = []
    discriminate = trainer._discriminate
    trainer._discriminate = lambda micro_batch, pred_ab: (
        seen.append(pred_ab),
        discriminate(micro_batch, pred_ab),
    )[1]
    val = loaders()[1]
    fit_until_killed(trainer, 2, train_loader(photos, 32, 4), val, save_minutes=0)
    assert seen[0].any()
    other = open_run(dataclasses.replace(config, grad_accum_steps=2), tmp_path, "cpu")
    train = train_loader(photos, 32, 4, grad_accum_steps=2)
    assert len(other.fit(train, val, progress=False)) == 4


def test_the_inflection_point_is_looked_for_at_least_after_each_joint_epoch(tmp_path, loaders):
    open_run(tiny("nogan", selection_interval=1000), tmp_path, "cpu").fit(
        *loaders(), progress=False
    )
    assert [entry["step"] for entry in json.loads((tmp_path / "scores.json").read_text())] == [12]
    assert (tmp_path / "inflection.pt").exists()


def test_a_folded_encoder_stays_frozen_when_a_run_goes_on(tmp_path, loaders):
    file = tmp_path / "folded.pth"
    torch.save(resnet_narrow().state_dict(), file)  # mean 0, variance 1
    config = tiny("encoder_unet", model_kwargs=RESNET | {"encoder_weights": str(file)})
    open_run(config, tmp_path / "whole", "cpu").fit(*loaders(), progress=False)
    half = open_run(config, tmp_path / "half", "cpu")
    fit_until_killed(half, 3, *loaders())
    resumed = open_run(config, tmp_path / "half", "cpu")
    assert resumed.model.encoder.frozen_norm
    resumed.fit(*loaders(), progress=False)
    assert same(outcome(tmp_path / "whole"), outcome(tmp_path / "half"))


@pytest.mark.parametrize(
    ("preset", "changes", "message"),
    [
        (
            "sagan",
            {"reconstruction_loss": "rebalanced_cross_entropy"},
            "is of classes, which unet_gan",
        ),
        (
            "encoder_unet",
            {"reconstruction_loss": "rebalanced_cross_entropy"},
            "needs a model with classes",
        ),
        ("zhang2016", {"model_kwargs": {"temperature": 2}}, "temperature must be from 0 .* got 2"),
        (
            "encoder_unet",
            {"gan_loss": "vanilla"},
            "needs a model with a discriminator, not encoder_unet",
        ),
        ("unet", {"model": "unet_gan"}, "has a discriminator, which needs a gan_loss"),
    ],
)
def test_what_does_not_go_together_is_said_before_the_first_step(
    tmp_path, preset, changes, message
):
    with pytest.raises(ValueError, match=message):
        open_run(tiny(preset, **changes), tmp_path, "cpu")


def test_the_inflection_point_is_the_lowest_score_and_predicts(tmp_path, loaders):
    config = tiny("nogan", phases=(("generator", 1, 1.0), ("joint", 3, 1.0)))
    trainer = open_run(config, tmp_path, "cpu")
    weights = {}
    score = trainer.inflection.score

    def watched(rgb):
        weights[trainer.global_step] = state_of(trainer.train_state.eval_model)
        return score(rgb)

    trainer.inflection.score = watched
    trainer.fit(*loaders(), progress=False)
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert [entry["step"] for entry in scores] == list(range(4, 13))
    lowest = min(scores, key=lambda entry: entry["score"])
    saved = torch.load(tmp_path / "inflection.pt", weights_only=True)
    assert saved["step"] == lowest["step"]
    assert same(saved["model"], weights[lowest["step"]])
    assert config.eval_checkpoint == "inflection"
    photo = read_photo(load_samples().photos[0].path)
    ours = Colorizer.from_pretrained(tmp_path, "cpu")(photo)
    for name in ("inflection", "turn"):  # the second is the name of version 0.1
        named = Colorizer.from_pretrained(tmp_path, "cpu", name)(photo)
        assert ours.tobytes() == named.tobytes()


def test_a_score_adds_up_three_differences_from_the_truth(tmp_path):
    trainer = open_run(tiny("nogan"), tmp_path, "cpu")
    generator = torch.Generator().manual_seed(0)
    rgb = torch.randint(0, 256, (6, 3, 32, 32), dtype=torch.uint8, generator=generator)
    scores = trainer.inflection.score(rgb)
    _, ab = rgb_to_lab(rgb)
    assert scores["true_cast"] == pytest.approx(color_cast(ab).item())
    assert scores["score"] == pytest.approx(
        abs(1 - scores["colorfulness"])
        + max(0, scores["cast"] - scores["true_cast"])
        + abs(scores["real"] - scores["fake"])
    )
    trainer.train_state.predict = lambda lightness: rgb_to_lab(
        rgb[[i for i in range(6) for row in lightness if torch.equal(rgb_to_lab(rgb)[0][i], row)]]
    )[1]
    perfect = trainer.inflection.score(rgb)  # predicts the ground truth
    assert perfect["colorfulness"] == pytest.approx(1, abs=0.01)
    assert perfect["score"] == pytest.approx(0, abs=0.02)


def test_less_of_a_tint_than_the_truth_has_costs_nothing(tmp_path):
    trainer = open_run(tiny("nogan"), tmp_path, "cpu")
    rgb = torch.randint(0, 100, (6, 3, 32, 32), dtype=torch.uint8)
    rgb[:, 0] += 150  # reddish
    trainer.train_state.predict = lambda lightness: torch.randn(len(lightness), 2, 32, 32) * 0.2
    scores = trainer.inflection.score(rgb)
    assert scores["cast"] < scores["true_cast"] - 0.5
    expected = abs(1 - scores["colorfulness"]) + abs(scores["real"] - scores["fake"])
    assert scores["score"] == pytest.approx(expected)


def test_the_cast_ratio_is_1_for_one_tint_and_0_for_a_balance():
    tint = torch.tensor([0.3, -0.1]).view(1, 2, 1, 1).expand(2, 2, 4, 4)
    assert color_cast(tint).item() == pytest.approx(1)
    assert color_cast(torch.cat((tint, -tint))).item() == pytest.approx(0, abs=1e-6)
    assert color_cast(torch.zeros(1, 2, 4, 4)).item() == 0


def test_phases_of_the_command_line(tmp_path, folder, capsys):
    words = "train nogan --crop-size 32 --batch-size 2 --reconstruction-loss l1 --workers 0"
    words += " --phases generator:1,discriminator:1,joint:1:0.5,discriminator:1,joint:1:0.5"
    words += " --selection-interval 1 --device cpu --ema-decay 0.5"
    words += " --encoder-weights none --model-arg width=16 --model-arg discriminator_channels=8"
    words += " --model-arg encoder_name=resnet_narrow"
    run = tmp_path / "run"
    assert main([*words.split(), "--data", str(folder), "-o", str(run)]) == 0
    config = TrainConfig.load(run / "config.json")
    assert config.epochs == 5 and config.phases[-1] == ("joint", 1, 0.5)
    assert "inflection point was found at step" in capsys.readouterr().out
    assert (run / "inflection.png").stat().st_size > 5000


# Hints and old photographs.


def test_hints_are_given_in_training_and_not_in_validation(tmp_path, folder):
    trainer = open_run(tiny("hint_guided"), tmp_path / "run", "cpu")
    given = []
    trainer.model.register_forward_hook(
        lambda network, args, _: given.append((network.training, args[1:] and args[1] is not None))
    )
    trainer.fit(*run_loaders(PhotoFolder(folder), trainer.config), progress=False)
    assert set(given) == {(True, True)}  # the averaged network validates, on lightness alone
    assert len(given) == 6


def test_degradations_change_the_input_and_not_the_target(tmp_path, folder):
    trainer = open_run(tiny("degraded", degradation_prob=1.0), tmp_path / "run", "cpu")
    train, _ = run_loaders(PhotoFolder(folder), trainer.config)
    examples = list(train)
    lightness, ab = rgb_to_lab(torch.cat([example.rgb for example in examples]))
    micro_batches = [trainer.make_micro_batch(example) for example in examples]
    assert torch.equal(torch.cat([batch.target_ab for batch in micro_batches]), ab)
    degraded = torch.cat([batch.lightness for batch in micro_batches])
    assert (degraded != lightness).flatten(1).any(1).sum() >= 4
    clean = open_run(tiny("encoder_unet"), tmp_path / "clean", "cpu")
    plain = clean.make_micro_batch(Example(examples[0].rgb))
    assert torch.equal(plain.lightness, lightness[:2])


@pytest.mark.parametrize("preset", ["hint_guided", "degraded"])
def test_photos_without_the_inputs_of_the_settings_are_refused(tmp_path, loaders, preset):
    trainer = open_run(tiny(preset), tmp_path, "cpu")
    with pytest.raises(ValueError, match="use run_loaders, or pass settings="):
        trainer.fit(*loaders(), progress=False)


# What they cost, and whether they can learn at all.


@pytest.mark.usefixtures("undrawn")
def test_the_cost_is_counted_in_parameters_and_macs(capsys):
    gan = PRESETS["unet_gan"]
    parameters, macs = model_summary(gan.model, gan.model_kwargs, gan.crop_size)
    assert parameters / 1e6 == pytest.approx(57.2, abs=0.05)  # pix2pix's two networks
    assert macs / 1e9 == pytest.approx(5.98, abs=0.01)
    plain = model_summary("unet", PRESETS["unet"].model_kwargs, 512)
    assert plain[1] / macs == pytest.approx(4, rel=1e-3)
    assert main(["presets", "nogan"]) == 0
    assert '"reconstruction_weight"' not in capsys.readouterr().out
    assert main(["presets", "vgg"]) == 2


STEPS = {f"{name}_quick": 200 if name in ("nogan", "zhang2016") else 80 for name in MODEL_ARGS}


@pytest.fixture(scope="module")
def learned():
    """Futures of the overfit tests; each core works on one, the longest first."""
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), spawned, torch.set_num_threads, (1,)) as processes:
        presets = sorted(STEPS, key=STEPS.get, reverse=True)
        yield {name: processes.submit(overfit, name, STEPS[name]) for name in presets}


@pytest.mark.slow
@pytest.mark.parametrize("preset", STEPS)
def test_every_method_can_overfit_four_photos(learned, preset):
    """At most 16 CIELAB units of mean distance in a*b*, where gray has 23.6; 80 or 200 steps."""
    result = learned[preset].result()
    assert result["gray"] == pytest.approx(23.6, abs=0.1)
    assert result["ab_error"] < 16
