"""Training in several processes: rank, world size, sums, barriers."""

import contextlib
import os
from collections.abc import Iterator

import torch
from torch import distributed


@contextlib.contextmanager
def distributed_context(device: str = "auto") -> Iterator[str]:
    """Join the process group of torchrun, or do nothing without it; yields this process's device.

    The backend is NCCL for GPUs, one for each process of a machine, and gloo for CPUs.
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


def _is_initialized() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def rank() -> int:
    """Return the number of this process; 0 alone."""
    return distributed.get_rank() if _is_initialized() else 0


def world_size() -> int:
    """Return the number of processes; 1 alone."""
    return distributed.get_world_size() if _is_initialized() else 1


def rank_and_world_size() -> tuple[int, int]:
    """Return rank and world size; before the group is joined, of the environment's variables."""
    if _is_initialized():
        return rank(), world_size()
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def all_reduce_sum(tensor: torch.Tensor) -> torch.Tensor:
    """Sum a tensor over all processes, in place, and return it."""
    if _is_initialized():
        distributed.all_reduce(tensor)
    return tensor


def barrier() -> None:
    """Wait until all processes are here."""
    if _is_initialized():
        distributed.barrier()
