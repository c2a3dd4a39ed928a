"""What can be known before the expensive part is checked before it."""

import dataclasses
import sys

import pytest
import torch
from conftest import Fake, make_folder, make_photo
from test_cli import TINY, fails, train

from colorize.cli import main
from colorize.config import TrainConfig
from colorize.evaluation import evaluator, perceptual
from colorize.io.image import write_photo
from colorize.metrics.features import MetricUnavailableError
from colorize.models import create_model
from colorize.trainers import create_trainer, open_run
from colorize.utils import checks

RESNET = {"encoder_name": "resnet18"}


def config(model="encoder_unet", **changes):
    kwargs = {"unet_gan": {"depth": 3, "base_channels": 4}}.get(model, RESNET)
    settings = {"model_kwargs": kwargs, "crop_size": 32, "batch_size": 1, "epochs": 1}
    return TrainConfig(model, **(settings | changes))


@pytest.mark.parametrize("model", ["encoder_unet", "resnet_fcn"])
def test_a_batch_that_batchnorm_cannot_normalize_is_refused_before_training(model, tmp_path):
    message = (
        rf"BatchNorm of {model} has a single value .* one photo of 32 px at a time: use a "
        "batch_size of at least 2, or a crop_size of at least 64"
    )
    with pytest.raises(ValueError, match=message):
        open_run(config(model), tmp_path, "cpu")
    with pytest.raises(ValueError, match="batch_size of at least 4"):
        open_run(config(model, batch_size=2, grad_accum_steps=2), tmp_path, "cpu")
    for fits in ({"batch_size": 2}, {"crop_size": 64}):  # as the message says
        trainer = open_run(config(model, **fits), tmp_path, "cpu")
        assert (
            trainer.model(
                torch.zeros(trainer.config.batch_size, 1, *[trainer.config.crop_size] * 2)
            )
            .isfinite()
            .all()
        )
    assert not list(tmp_path.iterdir())


def test_the_check_of_batchnorm_changes_nothing_of_the_model(tmp_path):
    model = create_model("resnet_autoencoder", **RESNET).eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    create_trainer(model, config("resnet_autoencoder"), tmp_path, "cpu")
    assert not model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_network_of_ones_own_may_look_at_values(tmp_path):
    class Looking(Fake):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, lightness, hints=None):
            return super().forward(lightness) + self.weight * lightness.max().item()

    assert create_trainer(Looking(), config(), tmp_path, "cpu").config.batch_size == 1


def test_a_crop_too_small_for_the_discriminator_is_refused(tmp_path):
    gan = {"gan_loss": "vanilla", "reconstruction_loss": "l1"}
    with pytest.raises(ValueError, match="crop_size 16 is too small for the discriminator"):
        open_run(config("unet_gan", crop_size=16, **gan), tmp_path, "cpu")
    assert open_run(config("unet_gan", crop_size=24, **gan), tmp_path, "cpu")


def test_half_precision_weights_are_not_trained(tmp_path):
    model = create_model("resnet_autoencoder", **RESNET).half()
    with pytest.raises(ValueError, match=r"weights are torch\.float16: train them in float32"):
        create_trainer(model, config("resnet_autoencoder"), tmp_path, "cpu")


def test_a_run_without_room_or_permission_is_refused_before_training(tmp_path, monkeypatch):
    settings = config(batch_size=2)
    size = sum(p.numel() for p in create_model("encoder_unet", **RESNET).parameters()) * 4
    usage = lambda free: lambda path: shutil_usage(free)  # noqa: E731

    def shutil_usage(free):
        return type("Usage", (), {"free": free})

    monkeypatch.setattr(checks.shutil, "disk_usage", usage(12 * size - 1))
    with pytest.raises(ValueError, match=r"checkpoints take [\d.]+ GB, and [\d.]+ GB are free"):
        open_run(settings, tmp_path / "new" / "run", "cpu")
    monkeypatch.setattr(checks.shutil, "disk_usage", usage(12 * size))
    assert open_run(settings, tmp_path / "new" / "run", "cpu")
    with pytest.raises(ValueError, match="GB are free"):  # an average takes room too
        open_run(dataclasses.replace(settings, ema_decay=0.9), tmp_path / "run", "cpu")
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"file/run cannot be a folder: .*file is a file"):
        open_run(settings, tmp_path / "file" / "run", "cpu")
    monkeypatch.setattr(checks.os, "access", lambda *_: False)
    with pytest.raises(ValueError, match=r"run cannot be written: no permission in"):
        open_run(settings, tmp_path / "run", "cpu")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_tensorboard_that_is_missing_is_said_before_the_photos_are_read(
    folder, tmp_path, capsys, monkeypatch
):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    command = ["train", "unet_gan", "--data", folder, "-o", tmp_path / "run", *TINY]
    error = fails(capsys, [*command, "--tensorboard", "--device", "cpu"])
    assert "TensorBoard is not installed" in error
    assert "photos" not in capsys.readouterr().out


def test_small_crops_are_trained_on_and_evaluated_at_a_size_that_metrics_can(tmp_path, capsys):
    photos = make_folder(tmp_path / "photos", train=3, val=2, test=1)
    options = ["--gan-loss", "none", "--reconstruction-weight", "1", "--crop-size", "16"]
    assert (
        main(
            [
                *("train", "unet", "--data", str(photos), "-o", str(tmp_path / "run")),
                *("--model-arg", "depth=3", "--model-arg", "base_channels=4", "--batch-size", "2"),
                *("--epochs", "1", "--workers", "0", "--device", "cpu", *options),
            ]
        )
        == 0
    )
    out = capsys.readouterr().out
    assert "need at least 32 px" in out and "--size 32 -o DIR` evaluates the run" in out


def test_a_run_with_one_validation_photo_is_evaluated_without_intervals(tmp_path, capsys):
    photos = make_folder(tmp_path / "photos", train=2, val=1, test=1)
    assert train(photos, tmp_path / "run") == 0
    out = capsys.readouterr().out
    assert "1 val photo\n" in out and "on validation photos (1 photo):" in out
    assert "no intervals and no ranks: these need at least 5 photos" in out and "–" not in out


def test_evaluate_checks_names_and_images_before_it_reads_photos(folder, tmp_path, capsys):
    def fails_with(*words):
        command = ["evaluate", "--data", folder, "-o", tmp_path / "out", "--device", "cpu", *words]
        return fails(capsys, command)

    write_photo(make_photo(), tmp_path / "images" / "another.png")
    images = tmp_path / "images"
    assert "--baseline must be one of" in fails_with(images, "--baseline", "x", "--data", "lost")
    assert "have no colorized image" in fails_with(images, "--size", "32")
    assert not (tmp_path / "out").exists()


def test_missing_packages_are_said_before_the_evaluation(folder, tmp_path, capsys, monkeypatch):
    order = []

    class Missing(perceptual.PerceptualMetric):
        columns, min_photos = {"KID x": 3}, 1

        def __init__(self):
            order.append("loaded")
            raise MetricUnavailableError("needs the package x")

    monkeypatch.setattr(perceptual, "PERCEPTUAL_METRICS", (Missing,))
    run_predictors = evaluator.run_predictors
    monkeypatch.setattr(
        evaluator,
        "run_predictors",
        lambda *args, **options: (order.append("measured"), run_predictors(*args, **options)),
    )
    from colorize.data.folder import PhotoFolder

    photos = PhotoFolder(folder).select("test").photos
    evaluator.evaluate([], photos, 32, tmp_path / "out")
    assert order == ["loaded", "measured"]
    assert "KID x: skipped: needs the package x" in capsys.readouterr().err


def test_an_export_needs_what_checks_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    error = fails(capsys, ["export", "colorful", "-o", tmp_path / "a.onnx"])
    assert "pip install 'colorize-photos[export]'" in error
    (tmp_path / "file").touch()
    error = fails(capsys, ["export", "colorful", "-o", tmp_path / "file" / "a.onnx"])
    assert "is a file" in error
