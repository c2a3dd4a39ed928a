"""The machine a run happens on: its device and precision, its processes, its randomness, files."""

import ctypes

import torch

PRECISIONS = ("auto", "fp32", "bf16", "fp16")


def resolve_device(name: str = "auto") -> torch.device:
    """The device of that name; "auto" is a GPU where there is one, else the CPU.

    Raises:
        ValueError: if no such device is here.
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
            f"device {name!r} cannot be used here, try auto, cpu, cuda, cuda:1 or mps: {error}"
        ) from error
    return device


def resolve_dtype(name: str, device: torch.device) -> torch.dtype:
    """The number format of a network's arithmetic: torch.float32, torch.bfloat16 or torch.float16.

    "auto" is bfloat16 where the hardware multiplies it faster than float32: on GPUs since Ampere
    and on CPUs with AVX512-BF16 or AMX.

    Raises:
        ValueError: if the device cannot train in that precision.
    """
    if name == "auto":
        if device.type == "cuda":
            fast = torch.cuda.is_bf16_supported(including_emulation=False)
        else:
            can = torch.cpu.get_capabilities() if device.type == "cpu" else {}
            fast = can.get("avx512_bf16", False) or can.get("amx_bf16", False)
        return torch.bfloat16 if fast else torch.float32
    if name == "fp16" and device.type != "cuda":
        raise ValueError(f"precision fp16 needs CUDA, not {device.type}: use bf16 or fp32")
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[name]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory did not suffice, a GPU's, torch's on a CPU, or Python's."""
    # The CPU's allocator has no error class of its own.
    said = ("allocate memory", "not enough memory")
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in said)
    )


# Of glibc's mallopt(3).
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def tune_malloc() -> None:
    """Let memory that tensors give back wait for the next ones, instead of leaving the process.

    Tensors of megabytes come and go in every step. By default glibc hands their pages back to the
    system and gets them again, zeroed, one fault at a time. Where there is no glibc, nothing
    happens. It counts for the whole process, so a program calls it, not the library.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    mallopt(_M_MMAP_MAX, 0)  # tensors of any size; its threshold goes to 32 MB only
    mallopt(_M_TRIM_THRESHOLD, -1)  # never
