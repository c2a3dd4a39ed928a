"""Losses by name: distances between painted and true ab, and what a critic's logits cost."""

import torch
import torch.nn.functional as F
from torch import Tensor

DISTANCES = {"mse": F.mse_loss, "l1": F.l1_loss}


def vanilla(logits: Tensor, real: bool) -> Tensor:
    """The original GAN loss: binary cross-entropy of logits that should say `real`.

    Goodfellow et al. 2014; for the generator the non-saturating form, log D instead of
    -log(1 - D) (Isola et al. 2017, section 3.3).
    """
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(real)))


ADVERSARIAL = {"vanilla": vanilla}
