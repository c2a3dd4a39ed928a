"""Training losses: pixel-wise, perceptual, classification, adversarial."""

from colorize.losses.classification import rebalanced_cross_entropy
from colorize.losses.gan import GAN_LOSSES, GANLoss
from colorize.losses.perceptual import PerceptualLoss
from colorize.losses.pixel import PIXEL_LOSSES

__all__ = ["GAN_LOSSES", "PIXEL_LOSSES", "GANLoss", "PerceptualLoss", "rebalanced_cross_entropy"]
