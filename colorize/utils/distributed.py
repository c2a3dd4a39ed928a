"""Processes that train together: rank, world size, sums, barriers."""

import contextlib
import os
from collections.abc import Iterator

import torch
from torch import distributed


@contextlib.contextmanager
def distributed_context(device: str = "auto") -> Iterator[str]:
    """Join the processes that torchrun started, or do nothing; yields this one's device.

    NCCL joins GPUs, one for each process of a machine; gloo joins CPUs.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield device
        return
    on_gpus = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
    if on_gpus:
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if on_gpus else "gloo")
    try:
        yield device if on_gpus else "cpu"
    finally:
        distributed.destroy_process_group()


def _joined() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def rank() -> int:
    """The number of this process; 0 alone."""
    return distributed.get_rank() if _joined() else 0


def world_size() -> int:
    """How many processes work together; 1 alone."""
    return distributed.get_world_size() if _joined() else 1


def rank_and_world_size() -> tuple[int, int]:
    """The number of this process and of all, joined or, by RANK and WORLD_SIZE, still to join."""
    if _joined():
        return rank(), world_size()
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def all_reduce_sum(tensor: torch.Tensor) -> torch.Tensor:
    """The sum of a tensor over all processes, in place."""
    if _joined():
        distributed.all_reduce(tensor)
    return tensor


def barrier() -> None:
    """Let no process go on before all are here."""
    if _joined():
        distributed.barrier()
