"""Everything that computes, on an emulated GPU: tensors stay on it, and the host does not wait."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from emulated_cuda import EmulatedCudaTensor, emulated_cuda

import colorize
from colorize.color import lab_to_rgb, rgb_to_lab
from colorize.config import TrainConfig
from colorize.data.dataset import ExampleSettings
from colorize.data.device_photos import DeviceLoader, DevicePhotos
from colorize.evaluation import ModelPredictor
from colorize.trainers import open_run

RESNET = {"encoder_name": "resnet18", "width": 16}
KWARGS = {
    "unet_gan_quick": {"depth": 3, "base_channels": 4},
    "zhang2016_quick": RESNET,
    "hint_guided_quick": RESNET | {"hints": True},
    "autoencoder_quick": {"encoder_name": "resnet18"},
}
# After its backward pass a step looks whether the gradients are finite, and at float16's overflows.
ALLOWED_WAIT = "trainers/train_state.py:optimizer_step"


def tiny(preset: str, **changes) -> TrainConfig:
    return replace(
        colorize.PRESETS[preset],
        crop_size=32,
        batch_size=4,
        epochs=1,
        patience=None,
        model_kwargs=KWARGS[preset],
        **changes,
    )


def a_step(config, run, device):
    """Losses of the first step, and the trainer."""
    trainer = open_run(config, run, device)
    train, val = colorize.run_loaders(colorize.load_samples(), config)
    train.set_epoch(0)
    trainer.on_fit_start(train, val)
    micro_batch = trainer.make_micro_batch(next(iter(train)))
    return trainer, micro_batch


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("preset", KWARGS)
def test_a_step_stays_on_the_device_and_hardly_waits(tmp_path, preset, precision):
    with emulated_cuda() as waits:
        trainer, micro_batch = a_step(tiny(preset, precision=precision), tmp_path, "cuda")
        before = len(waits)
        losses = trainer.training_step([micro_batch])
        assert all(isinstance(loss, EmulatedCudaTensor) for loss in losses.values())
        assert all(ALLOWED_WAIT in place for place in waits.places[before:]), waits.places[before:]
        assert all(isinstance(p, EmulatedCudaTensor) for p in trainer.model.parameters())


@pytest.mark.parametrize(
    ("preset", "deterministic"), [("unet_gan_quick", False), ("zhang2016_quick", True)]
)
def test_a_run_on_the_device_is_that_on_the_cpu(tmp_path, preset, deterministic):
    config = tiny(preset, precision="fp32", deterministic=deterministic)
    histories = []
    for device in ("cuda", "cpu"):
        with emulated_cuda():
            trainer = open_run(config, tmp_path / device, device)
            loaders = colorize.run_loaders(colorize.load_samples(), config)
            histories.append(trainer.fit(*loaders, progress=False)[0])
            resumed = open_run(config, tmp_path / device, device)  # its checkpoint loads there
            assert resumed.global_step == trainer.global_step
    ours, theirs = histories
    assert ours["train"] == pytest.approx(theirs["train"], rel=1e-3)
    assert ours["val"] == pytest.approx(theirs["val"], rel=1e-3)


def test_a_tensor_that_is_left_behind_is_noticed(tmp_path):
    with emulated_cuda():
        trainer, micro_batch = a_step(tiny("autoencoder_quick"), tmp_path, "cuda")
        behind = replace(micro_batch, target_ab=micro_batch.target_ab.cpu())
        with pytest.raises(RuntimeError, match="cuda:0 and cpu"):
            trainer.training_step([behind])


def test_lab_stays_on_the_device():
    rgb = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    with emulated_cuda() as waits:
        lightness, ab = rgb_to_lab(rgb.to("cuda"))
        back = lab_to_rgb(lightness, ab, gamut="table")
        assert not waits.places
        assert (back.cpu() - lab_to_rgb(*rgb_to_lab(rgb), gamut="table")).abs().max() < 1e-5
        lab_to_rgb(lightness, ab)  # exactly: looks whether there are colors outside sRGB
        assert all("chroma_factor" in place for place in waits.places[1:])


def test_photos_on_the_device_are_cropped_without_waiting():
    photos = colorize.load_samples().select("train", min_side=32).photos
    settings = ExampleSettings(degradation_prob=0.5, hints=True)
    with emulated_cuda() as waits, pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "mem_get_info", lambda device: (2**40, 2**40))
        decoded = DevicePhotos(photos, torch.device("cuda"))
        loader = DeviceLoader(photos, decoded, 32, 4, settings=settings)
        example = next(iter(loader))
        assert all(isinstance(tensor, EmulatedCudaTensor) for tensor in example)
        assert not waits.places


def test_the_bundled_model_colorizes_alike_on_the_device():
    photo = colorize.read_photo(colorize.load_samples().photos[0].path).resize((90, 60))
    images = []
    with emulated_cuda():
        for device in ("cuda", "cpu"):
            colorizer = colorize.Colorizer.from_pretrained(device=device)
            images.append(np.asarray(colorizer(photo, size=64)).astype(int))
        evaluated = ModelPredictor("colorful", device="cuda")("photo", photo)
    assert np.abs(images[0] - images[1]).max() <= 1
    assert evaluated.size == photo.size
