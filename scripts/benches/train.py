"""A training step of each preset, ours against the plain way of writing it.

Plain: eager, float32, NCHW, torch's default Adam; for a GAN the generator runs once for each of
the two losses, true and painted photos are judged apart, and the critic's gradients are computed
in the generator's step. The networks, the losses and the photos are the same on both sides. Plain
steps are taken in a process of their own, with the allocator as it comes: ours keeps memory, as
`colorize train` does, and that counts for a whole process.
"""

import functools
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.segmentation import fcn_resnet101

from benches.data import prepared_folder
from benches.timing import in_a_process, in_turn
from colorize.color.lab import rgb_to_lab
from colorize.config import TrainConfig
from colorize.data.folder import PhotoFolder
from colorize.data.loaders import eval_loader, train_loader
from colorize.models import create_model
from colorize.presets import PRESETS
from colorize.trainers import Trainer, open_run
from colorize.trainers.train_state import MicroBatch
from colorize.utils.device import resolve_device, tune_malloc

DEVICE = resolve_device()
GPU = DEVICE.type == "cuda"
PHOTOS = {"train": 15_000, "val": 5_000}  # of Unsplash Lite, in an epoch


def autoencoder() -> dict:
    """A step of `autoencoder` at 224 px, without pretrained weights."""
    return _step("autoencoder", _plain_regression)


def fcn() -> dict:
    """A step of `fcn` at 224 px, without pretrained weights."""
    return _step("fcn", _plain_regression)


def unet_gan() -> dict:
    """A step of `unet_gan` at 256 px."""
    return _step("unet_gan", _plain_gan)


def fcn_vs_dilated() -> dict:
    """Our step of `fcn` against the plain one of torchvision's FCN (dilated, auxiliary head)."""
    return _step("fcn", _plain_dilated)


def autoencoder_end_to_end() -> dict:
    """Data and step of `autoencoder`; plain: the step alone."""
    return _end_to_end("autoencoder")


def fcn_end_to_end() -> dict:
    """Data and step of `fcn`; plain: the step alone."""
    return _end_to_end("fcn")


def unet_gan_end_to_end() -> dict:
    """Data and step of `unet_gan`; plain: the step alone."""
    return _end_to_end("unet_gan")


ROWS = {
    row.__name__: row
    for row in (
        *(autoencoder, unet_gan, fcn, fcn_vs_dilated),
        *(autoencoder_end_to_end, unet_gan_end_to_end, fcn_end_to_end),
    )
}


def _step(preset: str, plain: Callable[..., Callable[[], Tensor]]) -> dict:
    """Both ways in turn, and how near ours comes to what the convolutions could do at best."""
    trainer = _trainer(preset)
    size, count = trainer.config.crop_size, trainer.config.batch_size
    batch = MicroBatch(*_pair(count, size), number=0, last=True)
    with FlopCounterMode(display=False) as counter:
        losses = trainer.step([batch])
    if GPU:
        torch.cuda.reset_peak_memory_stats()
        trainer.step([batch])
    memory = {"memory_gb": torch.cuda.max_memory_allocated() / 1e9} if GPU else {}
    with in_a_process(_plain, plain, trainer.config) as theirs:
        distance = theirs()
        if plain is not _plain_dilated:  # the same networks begin with the same distance
            ours = losses.get("distance", losses.get("loss")).item()
            if abs(ours - distance) > 0.02 * distance:
                raise AssertionError(f"the distances of the first step are {distance} and {ours}")
        ways = {"plain": theirs, "ours": _finished(lambda: trainer.step([batch]))}
        times = in_turn(ways, repeats=4)
    slow, fast = (seconds / count for seconds in times.values())
    flops, peak = (
        counter.get_total_flops() / count,
        _convolution_peak(trainer.train_state.precision),
    )
    return memory | {
        "plain": slow * 1000,
        "ours": fast * 1000,
        "unit": "ms/photo",
        "ratio": slow / fast,
        "batch": count,
        "precision": str(trainer.train_state.precision).removeprefix("torch."),
        "gflop": flops / 1e9,
        "peak_gflops": peak / 1e9,
        "share": flops / fast / peak,
        "ratio_at_peak": slow * peak / flops,
    }


def _plain(way: Callable, config: TrainConfig) -> Callable[[], float]:
    """A plain step, which returns the distance."""
    step = way(config, *_pair(config.batch_size, config.crop_size))
    return lambda: step().item()


def _pair(count: int, size: int) -> tuple[Tensor, Tensor]:
    """Random photos on the device, the same for both sides."""
    rgb = torch.randint(
        0,
        256,
        (count, 3, size, size),
        dtype=torch.uint8,
        generator=torch.Generator().manual_seed(0),
    )
    return rgb_to_lab(rgb.to(DEVICE))


def _end_to_end(preset: str) -> dict:
    """Batches read by two workers and learnt from, in turn with as many steps alone."""
    trainer = _trainer(preset)
    size, count = trainer.config.crop_size, trainer.config.batch_size
    steps = 40 if GPU else 4
    photos = PhotoFolder(prepared_folder()).select("train", min_side=size).photos
    many = (photos * (steps * count // len(photos) + 1))[: steps * count]
    train = train_loader(many, size, count, workers=16 if GPU else 2)
    val = eval_loader(many, size, count, workers=16 if GPU else 2)
    (fixed, *_) = train

    def learn(rgb: Tensor) -> None:
        lightness, ab = rgb_to_lab(rgb.to(DEVICE, non_blocking=True))
        trainer.step([MicroBatch(lightness, ab, number=0, last=True)])

    batch = MicroBatch(*rgb_to_lab(fixed.to(DEVICE)), number=0, last=True)
    ways = {
        "step": lambda: [trainer.step([batch]) for _ in range(steps)],
        "both": lambda: [learn(rgb) for rgb in train],
    }
    times = in_turn({name: _finished(way) for name, way in ways.items()}, repeats=3)
    alone, both = (seconds / (steps * count) for seconds in times.values())
    start = time.perf_counter()
    trainer.validate(val)
    validation = (time.perf_counter() - start) / len(many)
    epochs = trainer.config.epochs
    return {
        "plain": alone * 1000,
        "ours": both * 1000,
        "unit": "ms/photo",
        "ratio": alone / both,
        "photos_per_second": 1 / both,
        "idle_share": max(0.0, 1 - alone / both),
        "hours": epochs * (PHOTOS["train"] * both + PHOTOS["val"] * validation) / 3600,
    }


def _trainer(preset: str) -> Trainer:
    tune_malloc()  # as the command does
    config = replace(PRESETS[preset], model_kwargs={})
    trainer = open_run(config, tempfile.gettempdir() + "/colorize-bench-none", str(DEVICE))
    trainer.model.train()
    return trainer


def _plain_regression(config: TrainConfig, lightness: Tensor, ab: Tensor) -> Callable[[], Tensor]:
    model = create_model(config.model, config.seed, **config.model_kwargs).to(DEVICE).train()
    return _plain_step(model, config.lr, lightness, ab)


def _plain_dilated(config: TrainConfig, lightness: Tensor, ab: Tensor) -> Callable[[], Tensor]:
    model = fcn_resnet101(num_classes=2, weights_backbone=None, aux_loss=True).to(DEVICE).train()
    first = nn.Conv2d(1, 64, 7, 2, 3, bias=False).to(DEVICE)
    model.backbone.conv1 = first
    return _plain_step(model, config.lr, lightness, ab)


def _plain_step(model: nn.Module, lr: float, lightness: Tensor, ab: Tensor) -> Callable[[], Tensor]:
    optimizer = torch.optim.Adam(model.parameters(), lr)

    def step() -> Tensor:
        optimizer.zero_grad()
        painted = model(lightness)
        loss = F.mse_loss(painted["out"] if isinstance(painted, dict) else painted, ab)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def _plain_gan(config: TrainConfig, lightness: Tensor, ab: Tensor) -> Callable[[], Tensor]:
    model = create_model(config.model, config.seed, **config.model_kwargs).to(DEVICE).train()
    generator, discriminator = model.generator, model.discriminator
    g_optimizer, d_optimizer = (
        torch.optim.Adam(network.parameters(), config.lr, config.betas)
        for network in (generator, discriminator)
    )

    def adversarial(logits: Tensor, target: float) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))

    def step() -> Tensor:
        d_optimizer.zero_grad()
        painted = generator(lightness).detach()
        real, fake = discriminator(lightness, ab), discriminator(lightness, painted)
        ((adversarial(real, 1.0) + adversarial(fake, 0.0)) / 2).backward()
        d_optimizer.step()

        g_optimizer.zero_grad()
        painted = generator(lightness)
        distance = F.l1_loss(painted, ab)
        fooled = adversarial(discriminator(lightness, painted), 1.0)
        (fooled + config.reconstruction_weight * distance).backward()
        g_optimizer.step()
        return distance.detach()

    return step


def _finished(way: Callable) -> Callable:
    """The same, and then wait for the GPU."""

    def run() -> None:
        way()
        if GPU:
            torch.cuda.synchronize()

    return run


@functools.cache
def _convolution_peak(dtype: torch.dtype) -> float:
    """FLOP per second of the fastest of some large 3x3 convolutions, channels last."""
    best = 0.0
    for channels, side in ((128, 112), (256, 56), (512, 28)):
        count = 64 if GPU else 4
        x = torch.randn(count, channels, side, side, device=DEVICE, dtype=dtype)
        x = x.contiguous(memory_format=torch.channels_last)
        conv = nn.Conv2d(channels, channels, 3, padding=1).to(DEVICE, dtype)
        conv = conv.to(memory_format=torch.channels_last)
        with torch.no_grad():
            way = _finished(functools.partial(conv, x))
            way()  # warms up
            times = []
            for _ in range(9):
                start = time.perf_counter()
                way()
                times.append(time.perf_counter() - start)
        best = max(best, 2 * 9 * channels**2 * count * side**2 / min(times))
    return best
