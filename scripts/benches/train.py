"""Benchmarks of a training step of each preset, ours against a plain implementation.

Plain: eager, float32, NCHW, torch's default Adam; for a GAN the generator runs once for each of
the two losses, the discriminator runs separately on real and predicted colors, and its gradients
are also computed in the generator's step. The networks, the losses and the photos are the same on
both sides. Plain steps run in another process with the default allocator: ours keeps memory, as
`colorize train` does, which affects a whole process.
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
from benches.timing import Row, in_a_process, in_turn, sized
from colorize.color.lab import rgb_to_lab
from colorize.config import TrainConfig
from colorize.data.folder import PhotoFolder
from colorize.data.loaders import eval_loader, train_loader
from colorize.models import GAN, create_model
from colorize.presets import PRESETS
from colorize.trainers import Trainer, open_run
from colorize.trainers.train_state import MicroBatch
from colorize.utils.device import resolve_device, tune_malloc

DEVICE = resolve_device()
GPU = DEVICE.type == "cuda"
PHOTOS = {"train": 15_000, "val": 5_000}  # of Unsplash Lite, in an epoch

Step = Callable[[], Tensor]  # returns the reconstruction loss


def autoencoder() -> Row:
    """A step of `autoencoder` at 224 px, without pretrained weights."""
    return _bench_step("autoencoder", _plain_regression)


def fcn() -> Row:
    """A step of `fcn` at 224 px, without pretrained weights."""
    return _bench_step("fcn", _plain_regression)


def unet_gan() -> Row:
    """A step of `unet_gan` at 256 px."""
    return _bench_step("unet_gan", _plain_gan)


def fcn_vs_dilated() -> Row:
    """Our step of `fcn` against a plain one of torchvision's FCN (dilated, auxiliary head)."""
    return _bench_step("fcn", _plain_dilated)


def autoencoder_end_to_end() -> Row:
    """Data and step of `autoencoder`; plain: the step alone."""
    return _bench_end_to_end("autoencoder")


def fcn_end_to_end() -> Row:
    """Data and step of `fcn`; plain: the step alone."""
    return _bench_end_to_end("fcn")


def unet_gan_end_to_end() -> Row:
    """Data and step of `unet_gan`; plain: the step alone."""
    return _bench_end_to_end("unet_gan")


ROWS = {
    row.__name__: row
    for row in (
        autoencoder,
        unet_gan,
        fcn,
        fcn_vs_dilated,
        autoencoder_end_to_end,
        unet_gan_end_to_end,
        fcn_end_to_end,
    )
}


def _bench_step(preset: str, create_plain: Callable[..., Step]) -> Row:
    """Time both, and compare ours with the fastest possible convolutions."""
    trainer = _create_trainer(preset)
    state, count = trainer.train_state, trainer.config.batch_size
    micro_batch = MicroBatch(*_random_pair(count, trainer.config.crop_size))
    with FlopCounterMode(display=False) as counter:
        losses = trainer.training_step([micro_batch])
    if GPU:
        torch.cuda.reset_peak_memory_stats()
        trainer.training_step([micro_batch])
    memory = {"memory_gb": torch.cuda.max_memory_allocated() / 1e9} if GPU else {}
    with in_a_process(_serve_plain, create_plain, trainer.config) as plain:
        expected = plain()
        if create_plain is not _plain_dilated:  # the same networks start with the same loss
            loss = losses.get("loss_G_rec", losses.get("loss")).item()
            if abs(loss - expected) > 0.02 * expected:
                raise AssertionError(f"the losses of the first step are {expected} and {loss}")
        ours = _synchronized(lambda: trainer.training_step([micro_batch]))
        times = in_turn({"plain": plain, "ours": ours}, repeats=4)
    slow, fast = (seconds / count for seconds in times.values())
    flop, peak = counter.get_total_flops() / count, _convolution_peak(state.dtype)
    return memory | {
        "plain": slow * 1000,
        "ours": fast * 1000,
        "unit": "ms/photo",
        "ratio": slow / fast,
        "batch": count,
        "precision": str(state.dtype).removeprefix("torch."),
        "gflop": flop / 1e9,
        "peak_gflops": peak / 1e9,
        "share": flop / fast / peak,
        "ratio_at_peak": slow * peak / flop,
    }


def _serve_plain(create_plain: Callable[..., Step], config: TrainConfig) -> Callable[[], float]:
    """Return a plain step that returns its loss as a number."""
    step = create_plain(config, *_random_pair(config.batch_size, config.crop_size))
    return lambda: step().item()


def _random_pair(count: int, size: int) -> tuple[Tensor, Tensor]:
    """Return lightness and ab of random photos on the device, the same for both sides."""
    generator = torch.Generator().manual_seed(0)
    shape = (count, 3, size, size)
    rgb = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    return rgb_to_lab(rgb.to(DEVICE))


def _bench_end_to_end(preset: str) -> Row:
    """Train on batches that workers read, in turn with as many steps alone."""
    trainer = _create_trainer(preset)
    size, count = trainer.config.crop_size, trainer.config.batch_size
    steps, workers = (40, 16) if GPU else (sized(4, 1), 2)
    photos = PhotoFolder(prepared_folder()).select("train", min_side=size).photos
    repeated = (photos * (steps * count // len(photos) + 1))[: steps * count]
    train = train_loader(repeated, size, count, workers=workers)
    val = eval_loader(repeated, size, count, workers=workers)

    def train_on(rgb: Tensor) -> None:
        pair = rgb_to_lab(rgb.to(DEVICE, non_blocking=True))
        trainer.training_step([MicroBatch(*pair)])

    (first, *_) = train
    micro_batch = MicroBatch(*rgb_to_lab(first.rgb.to(DEVICE)))
    ways = {
        "step": lambda: [trainer.training_step([micro_batch]) for _ in range(steps)],
        "both": lambda: [train_on(example.rgb) for example in train],
    }
    times = in_turn({name: _synchronized(way) for name, way in ways.items()}, repeats=3)
    alone, both = (seconds / (steps * count) for seconds in times.values())
    start = time.perf_counter()
    trainer.validate(val)
    validation = (time.perf_counter() - start) / len(repeated)
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


def _create_trainer(preset: str) -> Trainer:
    tune_malloc()  # as the command does
    config = replace(PRESETS[preset], model_kwargs={})
    if preset == "unet_gan":  # whose depth needs 256 px
        tiny = replace(config, batch_size=2, model_kwargs={"base_channels": 8})
    else:
        kwargs = {"encoder_name": "resnet18"}
        tiny = replace(config, batch_size=2, crop_size=64, model_kwargs=kwargs)
    config = sized(config, tiny)
    trainer = open_run(config, tempfile.gettempdir() + "/colorize-bench-none", str(DEVICE))
    trainer.model.train()
    return trainer


def _plain_regression(config: TrainConfig, lightness: Tensor, target_ab: Tensor) -> Step:
    model = create_model(config.model, config.seed, **config.model_kwargs).to(DEVICE).train()
    return _plain_step(model, config.lr, lightness, target_ab)


def _plain_dilated(config: TrainConfig, lightness: Tensor, target_ab: Tensor) -> Step:
    model = fcn_resnet101(num_classes=2, weights_backbone=None, aux_loss=True).to(DEVICE).train()
    model.backbone.conv1 = nn.Conv2d(1, 64, 7, 2, 3, bias=False).to(DEVICE)
    return _plain_step(model, config.lr, lightness, target_ab)


def _plain_step(model: nn.Module, lr: float, lightness: Tensor, target_ab: Tensor) -> Step:
    optimizer = torch.optim.Adam(model.parameters(), lr)

    def step() -> Tensor:
        optimizer.zero_grad()
        output = model(lightness)
        pred_ab = output["out"] if isinstance(output, dict) else output
        loss = F.mse_loss(pred_ab, target_ab)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def _plain_gan(config: TrainConfig, lightness: Tensor, target_ab: Tensor) -> Step:
    model = create_model(config.model, config.seed, **config.model_kwargs).to(DEVICE).train()
    assert isinstance(model, GAN)
    generator, discriminator = model.generator, model.discriminator
    g_optimizer, d_optimizer = (
        torch.optim.Adam(network.parameters(), config.lr, config.betas)
        for network in (generator, discriminator)
    )

    def gan_loss(logits: Tensor, target: float) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))

    def step() -> Tensor:
        d_optimizer.zero_grad()
        pred_ab = generator(lightness).detach()
        real, fake = discriminator(lightness, target_ab), discriminator(lightness, pred_ab)
        ((gan_loss(real, 1.0) + gan_loss(fake, 0.0)) / 2).backward()
        d_optimizer.step()

        g_optimizer.zero_grad()
        pred_ab = generator(lightness)
        loss_rec = F.l1_loss(pred_ab, target_ab)
        loss_gan = gan_loss(discriminator(lightness, pred_ab), 1.0)
        (loss_gan + config.reconstruction_weight * loss_rec).backward()
        g_optimizer.step()
        return loss_rec.detach()

    return step


def _synchronized(way: Callable[[], object]) -> Callable[[], None]:
    """Return the same function, followed by waiting for the GPU."""

    def run() -> None:
        way()
        if GPU:
            torch.cuda.synchronize()

    return run


@functools.cache
def _convolution_peak(dtype: torch.dtype) -> float:
    """Return the FLOP per second of the fastest of some large 3x3 convolutions, channels last."""
    best = 0.0
    for channels, side in ((128, 112), (256, 56), (512, 28)):
        count = 64 if GPU else sized(4, 1)
        x = torch.randn(count, channels, side, side, device=DEVICE, dtype=dtype)
        x = x.contiguous(memory_format=torch.channels_last)
        conv = nn.Conv2d(channels, channels, 3, padding=1).to(DEVICE, dtype)
        conv = conv.to(memory_format=torch.channels_last)
        with torch.no_grad():
            way = _synchronized(functools.partial(conv, x))
            way()  # warms up
            times = []
            for _ in range(sized(9, 1)):
                start = time.perf_counter()
                way()
                times.append(time.perf_counter() - start)
        best = max(best, 2 * 9 * channels**2 * count * side**2 / min(times))
    return best
