"""A photo in, the painted photo out: any size, with the photo's own lightness."""

import os
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from colorize.bins import entropy
from colorize.checkpoint import CheckpointError, load_checkpoint
from colorize.color import rgb_to_lab, to_uint8
from colorize.config import TrainConfig
from colorize.models import create_model
from colorize.models.layers import check_size, enlarged
from colorize.photos import photo_to_rgb, resize, rgb_to_photo
from colorize.runtime import pick_device, seed_all
from colorize.upsampling import join

_LONGEST = 8  # a photo's long side at the network, in short sides; beyond, it is squashed


class Colorizer:
    """Paints photos with a trained network.

    The network sees the photo's lightness with its short side brought to the size it was
    trained at; the colors it answers with are brought to the photo's full size, along the edges
    of its lightness, and joined with the photo's own full-size lightness.
    """

    def __init__(self, network: nn.Module, size: int, device: str = "auto"):
        """Take a network.

        Args:
            network: one of `colorize.models`, trained.
            size: short side in pixels at which the network sees photos.
            device: "auto", "cpu", "cuda", ...

        Raises:
            ValueError: if the network cannot carry that size.
        """
        check_size(size, network.multiple)
        self.device = pick_device(device)
        self.network = network.to(self.device, memory_format=torch.channels_last).eval()
        self.size = size

    @classmethod
    def from_pretrained(
        cls, run: str | os.PathLike, device: str = "auto", weights: str | None = None
    ) -> "Colorizer":
        """Load the network of a run folder.

        Args:
            run: the folder that `colorize train --out` wrote.
            device: "auto", "cpu", "cuda", ...
            weights: "best", "last" or "turn"; None takes what suits the method
                (`TrainConfig.weights_name`).

        Raises:
            FileNotFoundError: if there is no run.
            CheckpointError: if its weights are missing, damaged, or of another network.
        """
        run = Path(run)
        if not (run / "config.json").is_file():
            raise FileNotFoundError(f"no run in {run}: it has no config.json")
        config = TrainConfig.load(run / "config.json")
        args = dict(config.model_args)
        if "backbone_weights" in args:
            args["backbone_weights"] = None  # the run's own weights follow
        network = create_model(config.model, **args)
        path = run / f"{weights or config.weights_name}.pt"
        try:
            state = load_checkpoint(path)
            average = state.get("average")  # its weights are named below `module`
            if average is not None:
                state["model"] = {
                    name.removeprefix("module."): value
                    for name, value in average.items()
                    if name.startswith("module.")
                }
            network.load_state_dict(state["model"])
        except (KeyError, RuntimeError) as error:
            raise CheckpointError(f"{path} does not fit {run / 'config.json'}: {error}") from error
        return cls(network, config.size, device)

    def __call__(
        self, photo: Image.Image, seed: int = 0, vividness: float | None = None
    ) -> Image.Image:
        """Paint a photo.

        Args:
            photo: of any mode and size; its own colors, if it has any, are not looked at.
            seed: for networks with noise; the same seed gives the same painting.
            vividness: of a network with classes, from 0 (the mean color, dull) to 1 (the
                likeliest, vivid and spotty); None is its own, 0.62 in the paper.

        Returns:
            The painted photo, mode RGB, of the same size.

        Raises:
            ValueError: if vividness is given to a network without classes, or not from 0 to 1.
        """
        rgb, lightness = self._seen(photo)
        seed_all(seed)
        if vividness is None:
            return rgb_to_photo(join(rgb, self.paint(lightness)[0], lightness[0]))
        logits = self._logits(lightness)  # first, since it knows whether there are classes
        ab = self.network.decode(logits, self._temperature(vividness))
        return rgb_to_photo(join(rgb, self._enlarged(ab, lightness), lightness[0]))

    def samples(
        self, photo: Image.Image, count: int, seed: int = 0, vividness: float | None = None
    ) -> list[Image.Image]:
        """Several paintings of one photo, drawn from the distribution of a network with classes.

        Args:
            photo: as for painting one.
            count: how many.
            seed: the same one gives the same paintings.
            vividness: towards 1 they come to be alike; None is the network's own.

        Raises:
            ValueError: if the network has no classes.
        """
        rgb, lightness = self._seen(photo)
        temperature = None if vividness is None else self._temperature(vividness)
        logits = self._logits(lightness)
        seed_all(seed)
        drawn = [self.network.decode(logits, temperature, sample=True) for _ in range(count)]
        return [
            rgb_to_photo(join(rgb, self._enlarged(ab, lightness), lightness[0])) for ab in drawn
        ]

    def uncertainty(self, photo: Image.Image) -> Image.Image:
        """Where a network with classes does not know: mode L, the photo's size.

        Black where it is sure of one color, white where all are alike to it (the entropy).

        Raises:
            ValueError: if the network has no classes.
        """
        rgb, lightness = self._seen(photo)
        unsure = self._enlarged(entropy(self._logits(lightness)).unsqueeze(1), lightness)
        unsure = F.interpolate(unsure.unsqueeze(0), rgb.shape[-2:], mode="bilinear")[0, 0]
        return Image.fromarray(to_uint8(unsure).numpy())

    def _seen(self, photo: Image.Image) -> tuple[Tensor, Tensor]:
        """A photo in full size, and the lightness (1, 1, H, W) that the network sees of it."""
        rgb = photo_to_rgb(photo)
        lightness, _ = rgb_to_lab(resize(rgb, *self._network_size(rgb)))
        return rgb, lightness.unsqueeze(0)

    def _temperature(self, vividness: float) -> float:
        if not 0 <= vividness <= 1:
            raise ValueError(f"vividness must be from 0 to 1, got {vividness}")
        return 1 - vividness

    @torch.no_grad()
    def _logits(self, lightness: Tensor) -> Tensor:
        """The logits of a network with classes, on the CPU, padding included."""
        if not hasattr(self.network, "logits"):
            raise ValueError(
                "vividness, samples and uncertainty need a network with classes, such as the "
                f"preset colorful has; {type(self.network).__name__} has none"
            )
        return self.network.logits(self._padded(lightness)).float().cpu()

    def _enlarged(self, coarse: Tensor, lightness: Tensor) -> Tensor:
        """What was decoded from logits (1, C, h, w), at the size of the lightness, unpadded."""
        height, width = lightness.shape[-2:]
        return enlarged(coarse, self._padded(lightness))[0, :, :height, :width]

    @torch.no_grad()
    def paint(self, lightness: Tensor) -> Tensor:
        """Lightness (N, 1, H, W) to ab (N, 2, H, W) on the CPU, of any height and width.

        What the network cannot carry is padded by reflection, and the padding cut off again.
        """
        height, width = lightness.shape[-2:]
        return self.network(self._padded(lightness))[..., :height, :width].float().cpu()

    def _padded(self, lightness: Tensor) -> Tensor:
        height, width = lightness.shape[-2:]
        right, bottom = -width % self.network.multiple, -height % self.network.multiple
        # A reflection cannot be wider than the photo; there the border is repeated.
        mode = "reflect" if right < width and bottom < height else "replicate"
        return F.pad(lightness, (0, right, 0, bottom), mode=mode).to(self.device)

    def _network_size(self, rgb: Tensor) -> list[int]:
        """The height and width at which the network sees a photo; the smaller one is `size`."""
        sides = rgb.shape[-2:]
        k = self.size / min(sides)
        return [min(max(round(side * k), self.size), _LONGEST * self.size) for side in sides]
