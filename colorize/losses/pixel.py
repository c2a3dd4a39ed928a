"""Reconstruction losses by name, between predicted and target ab."""

import torch.nn.functional as F

PIXEL_LOSSES = {"mse": F.mse_loss, "l1": F.l1_loss, "smooth_l1": F.smooth_l1_loss}
