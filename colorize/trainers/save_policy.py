"""When to save inside an epoch and when to stop: after some minutes, and when asked by a signal."""

import math
import time
from contextlib import AbstractContextManager

import torch

from colorize.utils.distributed import all_reduce_sum, rank, world_size
from colorize.utils.signals import GracefulStop

_SYNC_STEPS = 8  # steps after which processes on GPUs agree whether to save or stop

TERMINATED = 143  # exit status after SIGTERM, as shells count: 128 + 15


class SavePolicy:
    """Decides after each step whether to save or stop, the same in all processes.

    Attributes:
        interval: seconds between two checkpoints.
    """

    def __init__(self) -> None:
        self.interval, self._last_save = math.inf, time.monotonic()
        self._graceful_stop = GracefulStop()

    def listening(self) -> AbstractContextManager[None]:
        """Take note of SIGTERM and Ctrl-C, within the context."""
        return self._graceful_stop.noted()

    def mark_saved(self) -> None:
        """Count the interval from now."""
        self._last_save = time.monotonic()

    def decide(self, device: torch.device, step: int, *, between_epochs: bool) -> tuple[bool, bool]:
        """Return whether to stop, and whether it is time to save.

        Args:
            device: of this process.
            step: the global step.
            between_epochs: whether an epoch has just ended.
        """
        stop = self._graceful_stop.asked
        is_due = time.monotonic() - self._last_save >= self.interval
        if world_size() == 1:
            return stop, is_due
        if device.type == "cuda" and step % _SYNC_STEPS and not between_epochs:
            return False, False  # agreeing makes the GPUs wait for each other
        votes = torch.tensor([stop, is_due and rank() == 0], device=device)
        stop_votes, save_votes = all_reduce_sum(votes.float()).tolist()
        return stop_votes > 0, save_votes > 0

    def stop(self) -> None:
        """End the program as the signal asked for.

        Raises:
            KeyboardInterrupt: after Ctrl-C.
            SystemExit: after SIGTERM, with status 143.
        """
        if self._graceful_stop.interrupted:
            raise KeyboardInterrupt
        raise SystemExit(TERMINATED)
