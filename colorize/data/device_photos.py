"""Photos in the memory of the device: decoded once, cropped there, with no file in the way."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from colorize.color.lab import rgb_to_lab
from colorize.config import TrainConfig
from colorize.data.dataset import Crop, Example, ExampleSettings, draw_crop, draw_inputs
from colorize.data.degradations import degrade
from colorize.data.folder import PhotoFolder, PhotoRecord
from colorize.data.loaders import (
    EpochSampler,
    PhotoLoader,
    check_batch,
    eval_loader,
    make_loader,
    micro_batch_size,
    select_splits,
)
from colorize.io.image import resize
from colorize.io.photo import read_rgb
from colorize.utils.seed import seeded_generator

SHORT_SIDE = 256  # px, of larger photos as they are kept
_MEMORY_SHARE = 0.5  # of the device's free memory that photos may take; training needs the rest


class DevicePhotos:
    """Decoded uint8 photos in one buffer on the host, and in a copy of it on a device.

    Attributes:
        sizes: (height, width) of each photo as it is kept.
    """

    def __init__(
        self,
        photos: Sequence[PhotoRecord],
        device: torch.device,
        short_side: int = SHORT_SIDE,
        *,
        progress: bool = False,
    ):
        """Decode all photos.

        Args:
            photos: for example `PhotoFolder(...).select("train", min_side=size).photos`.
            device: where they are cropped.
            short_side: of a photo that is larger, in pixels.
            progress: show a bar.

        Raises:
            PhotoError: if a file cannot be read.
            ValueError: if the device has not enough free memory.
        """
        with ThreadPoolExecutor() as pool:
            decoding = pool.map(lambda photo: _decode(photo, short_side), photos)
            bar = tqdm(decoding, "decoding", len(photos), disable=not progress, leave=False)
            decoded = list(bar)
        self.sizes = [(rgb.shape[1], rgb.shape[2]) for rgb in decoded]
        sizes = torch.tensor([rgb.numel() for rgb in decoded])
        _check_memory(int(sizes.sum()), device)
        self._starts = [0, *sizes.cumsum(0).tolist()]
        self._host = torch.cat([rgb.flatten() for rgb in decoded]).share_memory_()
        self._device = self._host.to(device)

    def crop(self, index: int, crop: Crop, size: int) -> Tensor:
        """Cut a crop out on the device: uint8 (3, size, size), within one level of the host's."""
        area = self._area(self._device, index, crop).unsqueeze(0).float()
        rgb = F.interpolate(area, (size, size), mode="bilinear", antialias=True)[0]
        rgb = rgb.round().clamp(0, 255).to(torch.uint8)
        return rgb.flip(-1) if crop.is_mirrored else rgb

    def host_crop(self, index: int, crop: Crop, size: int) -> Tensor:
        """Cut the same crop out on the host: uint8 (3, size, size)."""
        rgb = resize(self._area(self._host, index, crop), size, size)
        return rgb.flip(-1) if crop.is_mirrored else rgb

    def _area(self, buffer: Tensor, index: int, crop: Crop) -> Tensor:
        height, width = self.sizes[index]
        rgb = buffer[self._starts[index] : self._starts[index + 1]].view(3, height, width)
        top, left, side = crop.box(height, width)
        return rgb[:, top : top + side, left : left + side]


class _Plan(NamedTuple):
    """What is random about an example; all but the pixels, which are on the device."""

    photo: int
    crop: Crop
    lightness: Tensor | None  # where it is degraded: (1, size, size)
    boxes: list[tuple[int, int, int, int]]  # of hints
    reveals_all: bool


class _Plans(Dataset[_Plan]):
    """The examples of `TrainingDataset`, without their pixels."""

    def __init__(self, photos: DevicePhotos, size: int, seed: int, settings: ExampleSettings):
        self.photos, self.size, self.seed, self.settings = photos, size, seed, settings

    def __len__(self) -> int:
        return len(self.photos.sizes)

    def __getitem__(self, index: tuple[int, int]) -> _Plan:
        epoch, number = index
        generator = seeded_generator(self.seed, epoch, number)
        height, width = self.photos.sizes[number]
        crop = draw_crop(width, height, self.size, generator=generator)
        inputs = draw_inputs(self.size, self.settings, generator)
        lightness = None
        if inputs.is_degraded:  # a JPEG file and scratches are made on the host
            lightness = degrade(self.photos.host_crop(number, crop, self.size), generator)
        if inputs.patches is None:
            return _Plan(number, crop, lightness, [], reveals_all=False)
        return _Plan(number, crop, lightness, *inputs.patches)


class DeviceLoader(PhotoLoader):
    """Micro-batches of the same examples as `train_loader`'s, see `EpochLoader`.

    Order, crops, hints and the choice of degraded photos are the same; pixels are within one level.
    """

    def __init__(
        self,
        photos: Sequence[PhotoRecord],
        decoded: DevicePhotos,
        size: int,
        batch_size: int,
        *,
        seed: int = 0,
        workers: int = 0,
        grad_accum_steps: int = 1,
        settings: ExampleSettings,
    ):
        """Take photos that are decoded; the other arguments are those of `train_loader`."""
        self.decoded, self.size, self.settings = decoded, size, settings
        sampler = EpochSampler(len(photos), seed, batch_size)
        loader = make_loader(
            _Plans(decoded, size, seed, settings),
            sampler.share // grad_accum_steps,
            workers,
            sampler=sampler,
            drop_last=True,
            collate=list,
        )
        super().__init__(photos, sampler, loader)

    def __iter__(self) -> Iterator[Example]:
        return map(self._example, self._loader)

    def _example(self, plans: list[_Plan]) -> Example:
        rgb = torch.stack([self.decoded.crop(plan.photo, plan.crop, self.size) for plan in plans])
        lightness = hints = None
        if self.settings.degradation_prob > 0 or self.settings.hints:
            clean, ab = rgb_to_lab(rgb)
            if self.settings.degradation_prob > 0:
                lightness = _replaced(clean, plans)
            if self.settings.hints:
                hints = hints_on_device(
                    ab, [plan.boxes for plan in plans], [plan.reveals_all for plan in plans]
                )
        return Example(rgb, lightness, hints)


def device_loaders(
    folder: PhotoFolder,
    config: TrainConfig,
    device: torch.device,
    workers: int = 0,
    *,
    progress: bool = True,
) -> tuple[DeviceLoader, DataLoader[Tensor]]:
    """Load the photos of a folder like `run_loaders`, the training photos onto the device.

    Args:
        folder: with photos for training and validation.
        config: the settings of a run.
        device: of the training.
        workers: processes that draw examples, and that read validation photos.
        progress: show a bar while the photos are decoded.

    Raises:
        PhotoError: if a photo cannot be read.
        ValueError: if a split has no photo that is large enough, too few for a batch, or the photos
            do not fit into the memory of the device.
    """
    train, val = select_splits(folder, config)
    check_batch(len(train), config.batch_size)
    loader = DeviceLoader(
        train,
        DevicePhotos(train, device, max(SHORT_SIDE, config.crop_size), progress=progress),
        config.crop_size,
        config.batch_size,
        seed=config.seed,
        workers=workers,
        grad_accum_steps=config.grad_accum_steps,
        settings=ExampleSettings.from_config(config),
    )
    return loader, eval_loader(val, config.crop_size, micro_batch_size(config), workers)


def hints_on_device(
    ab: Tensor, boxes: Sequence[Sequence[tuple[int, int, int, int]]], reveals_all: Sequence[bool]
) -> Tensor:
    """Compute the hints of a batch, as `fill_patches` does for one photo.

    Args:
        ab: (N, 2, H, W), as ab / 110.
        boxes: (top, left, height, width) of each photo's patches.
        reveals_all: whether all colors of a photo are given.

    Returns:
        (N, 3, H, W): ab where a color is given, elsewhere 0, and a mask of ones there.
    """
    height, width = ab.shape[-2:]
    most = max(map(len, boxes), default=0)
    padded = torch.zeros(len(boxes), most, 4, dtype=torch.long)
    for row, photo_boxes in zip(padded, boxes, strict=True):
        if photo_boxes:
            row[: len(photo_boxes)] = torch.tensor(photo_boxes)
    given = torch.tensor(reveals_all).to(ab.device, non_blocking=True).view(-1, 1, 1, 1)
    hints = torch.cat((ab, torch.ones_like(ab[:, :1])), dim=1) * given
    top, left, rows, columns = padded.to(ab.device, non_blocking=True).unbind(-1)
    # The mean of a box from four corners of the sums over all boxes that start at the origin.
    sums = F.pad(ab.double().cumsum(-2).cumsum(-1), (1, 0, 1, 0)).flatten(2)
    y, x = torch.arange(height, device=ab.device), torch.arange(width, device=ab.device)
    for k in range(most):  # in their order: later patches cover earlier ones
        bottom, right = top[:, k] + rows[:, k], left[:, k] + columns[:, k]
        corners = torch.stack((bottom, top[:, k], bottom, top[:, k])) * (width + 1)
        corners = corners + torch.stack((right, right, left[:, k], left[:, k]))
        values = sums.gather(2, corners.T.unsqueeze(1).expand(-1, 2, -1))
        total = values[..., 0] - values[..., 1] - values[..., 2] + values[..., 3]
        mean = total / (rows[:, k] * columns[:, k]).clamp(min=1).unsqueeze(1)
        in_rows = (y >= top[:, k, None]) & (y < bottom[:, None])
        in_columns = (x >= left[:, k, None]) & (x < right[:, None])
        is_inside = (in_rows.unsqueeze(2) & in_columns.unsqueeze(1)).unsqueeze(1)
        color = torch.cat((mean, torch.ones_like(mean[:, :1])), dim=1).to(ab.dtype)
        hints = torch.where(is_inside, color.view(-1, 3, 1, 1), hints)
    return hints


def _replaced(clean: Tensor, plans: Sequence[_Plan]) -> Tensor:
    """Put the degraded inputs into the places of the clean ones, (N, 1, size, size)."""
    degraded = {i: plan.lightness for i, plan in enumerate(plans) if plan.lightness is not None}
    if degraded:
        places = torch.tensor(list(degraded)).to(clean.device, non_blocking=True)
        values = torch.stack(list(degraded.values())).to(clean.device, non_blocking=True)
        clean = clean.index_copy(0, places, values)
    return clean


def _decode(photo: PhotoRecord, short_side: int) -> Tensor:
    rgb = read_rgb(photo.path, min_side=short_side)
    height, width = rgb.shape[1:]
    scale = short_side / min(height, width)
    return rgb if scale >= 1 else resize(rgb, round(height * scale), round(width * scale))


def _check_memory(needed: int, device: torch.device) -> None:
    if device.type != "cuda":
        return
    free, _ = torch.cuda.mem_get_info(device)
    if needed > _MEMORY_SHARE * free:
        raise ValueError(
            f"the photos take {needed / 1e9:.1f} GB, and {device} has {free / 1e9:.1f} GB free, of "
            "which half is left to training: use fewer or smaller photos, or leave out "
            "--data-on-device"
        )
