"""Perceptual loss: the difference of two photos in the features of a classifier.

Johnson, Alahi, Fei-Fei: Perceptual Losses, ECCV 2016; with the layers and weights of DeOldify
(Antic, 2018) after fastai.
"""

import os

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from colorize.color.lab import lab_to_rgb
from colorize.models.encoders import IMAGENET_MEAN, IMAGENET_STD, WeightsError, load_torchvision

# VGG16-bn's ReLUs before its third, fourth and fifth pooling, and their weights in the loss.
LAYERS = {22: 20.0, 32: 70.0, 42: 10.0}


class PerceptualLoss(nn.Module):
    """L1 of the photos in RGB, and of VGG16-bn's features of them at three depths."""

    mean: Tensor
    std: Tensor

    def __init__(self, weights: str | os.PathLike | None = "IMAGENET1K_V1"):
        """Load the features.

        Args:
            weights: torchvision's of vgg16_bn, by name or as a file.

        Raises:
            WeightsError: if there are none: without them the loss means nothing.
        """
        super().__init__()
        if weights is None:
            raise WeightsError(
                "a perceptual loss needs the ImageNet weights of VGG16-bn: name IMAGENET1K_V1 "
                "(vgg16_bn-6c64b313.pth, downloaded or from torch's cache) or a file of them"
            )
        layers = load_torchvision("vgg16_bn", weights).get_submodule("features").children()
        self.features = nn.Sequential(*list(layers)[: max(LAYERS) + 1])
        self.features.eval().requires_grad_(False)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1))

    def forward(self, lightness: Tensor, pred_ab: Tensor, target_ab: Tensor) -> Tensor:
        """Compare predicted and target ab (N, 2, H, W) over the same lightness (N, 1, H, W)."""
        # Clipped channels, unlike reduced chroma, have a slope wherever the color is in the gamut.
        x, y = (lab_to_rgb(lightness, ab, gamut="clip") for ab in (pred_ab, target_ab))
        loss = F.l1_loss(x, y)
        x, y = (x - self.mean) / self.std, (y - self.mean) / self.std
        for index, layer in enumerate(self.features):
            # ReLU out of place: the next layer must not overwrite the features compared here.
            x, y = (F.relu(z) if isinstance(layer, nn.ReLU) else layer(z) for z in (x, y))
            if index in LAYERS:
                loss = loss + LAYERS[index] * F.l1_loss(x, y)
        return loss
