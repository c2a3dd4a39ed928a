"""Device, number format and memory of a process."""

import contextlib
import ctypes
from collections.abc import Iterator

import torch

# Of glibc's mallopt(3).
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def resolve_device(name: str = "auto") -> torch.device:
    """Return the device of a name; "auto" is a GPU if there is one, else the CPU.

    Raises:
        ValueError: if this machine has no such device.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    # torch raises AssertionError where it was built without CUDA.
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(
            f"device {name!r} cannot be used, try auto, cpu, cuda, cuda:1 or mps: {error}"
        ) from error
    return device


def resolve_dtype(name: str, device: torch.device) -> torch.dtype:
    """Return the number format of a network's arithmetic.

    Args:
        name: "fp32", "bf16", "fp16"; or "auto", which is bfloat16 where the hardware multiplies it
            faster than float32: on GPUs since Ampere and on CPUs with AVX512-BF16 or AMX.
        device: where the network is.

    Raises:
        ValueError: if the device cannot train in that precision.
    """
    if name == "auto":
        if device.type == "cuda":
            fast = torch.cuda.is_bf16_supported(including_emulation=False)
        else:
            features = torch.cpu.get_capabilities() if device.type == "cpu" else {}
            fast = features.get("avx512_bf16", False) or features.get("amx_bf16", False)
        return torch.bfloat16 if fast else torch.float32
    if name == "fp16" and device.type != "cuda":
        raise ValueError(f"precision fp16 needs CUDA, not {device.type}: use bf16 or fp32")
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[name]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out: a GPU's, torch's on the CPU, or Python's."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # torch's CPU allocator has no error class of its own.
    messages = ("allocate memory", "not enough memory")
    return isinstance(error, RuntimeError) and any(text in str(error) for text in messages)


def tune_malloc() -> None:
    """Keep freed memory in the process for the next tensors, instead of returning it.

    Every step allocates and frees tensors of megabytes. By default glibc returns their pages to the
    system and gets them again, zeroed, one page fault at a time. Without glibc this does nothing.
    It affects the whole process, so only programs call it, not the library.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    mallopt(_M_MMAP_MAX, 0)  # for any size; M_MMAP_THRESHOLD is limited to 32 MB
    mallopt(_M_TRIM_THRESHOLD, -1)  # never


@contextlib.contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let torch use so many threads inside the block; restore their number after."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
