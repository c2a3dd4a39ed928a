"""The machine a run happens on: its device and precision, its processes, its randomness, files."""

import contextlib
import ctypes
import hashlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import distributed

PRECISIONS = ("auto", "fp32", "bf16", "fp16")


def pick_device(name: str = "auto") -> torch.device:
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


def pick_precision(name: str, device: torch.device) -> torch.dtype:
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


@contextlib.contextmanager
def many_processes(device: str = "auto") -> Iterator[str]:
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


def process() -> tuple[int, int]:
    """The number of this process and of all, joined or, by RANK and WORLD_SIZE, still to join."""
    if _joined():
        return rank(), world_size()
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def add_up(tensor: torch.Tensor) -> torch.Tensor:
    """The sum of a tensor over all processes, in place."""
    if _joined():
        distributed.all_reduce(tensor)
    return tensor


def wait_for_all() -> None:
    """Let no process go on before all are here."""
    if _joined():
        distributed.barrier()


def seed_all(*numbers: int) -> None:
    """Seed torch's generators by a few numbers, for example (seed, step).

    A run that seeds each step by its number can be continued anywhere without storing any
    generator's state.
    """
    seed = mix_seed(*numbers)
    if torch.accelerator.is_available():
        torch.manual_seed(seed)
    else:  # it would note in vain, with a traceback, what to do once there is a GPU
        torch.default_generator.manual_seed(seed)


def mix_seed(*numbers: int) -> int:
    """One 63-bit seed from several numbers, by SplitMix64: near numbers give unrelated seeds."""
    state = 0
    for number in numbers:
        state = (state + number + 0x9E3779B97F4A7C15) % 2**64
        state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB % 2**64
        state ^= state >> 31
    return state >> 1


@contextlib.contextmanager
def written_beside(path: str | os.PathLike) -> Iterator[Path]:
    """A hidden path beside `path` to write to, renamed to `path` when the block ends well.

    No half-written file ever bears the final name, and a failed one is removed.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = f"{os.getpid()}-{threading.get_ident()}"
    part = path.with_name(f".{path.name}.{writer}.part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def file_sha256(path: str | os.PathLike) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def exiting_when_terminated() -> Iterator[None]:
    """Meanwhile SIGTERM ends the program as an error would: what is half written is tidied up.

    So does SIGHUP, of a terminal that is closed, unless it is ignored (nohup).
    """
    before = {}
    if threading.current_thread() is threading.main_thread():  # which alone may ask for signals
        for name in ("SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)  # no SIGHUP on Windows
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, lambda found, _: sys.exit(128 + found))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Stopping:
    """Notes that the system or the user asks to stop, so that what is under way can be ended.

    Attributes:
        asked: whether SIGTERM or Ctrl-C came.
        interrupted: whether it was Ctrl-C.
    """

    def __init__(self) -> None:
        self.asked = self.interrupted = False

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """Meanwhile SIGTERM and the first Ctrl-C are noted; a second Ctrl-C ends it at once."""
        if threading.current_thread() is not threading.main_thread():  # it may not
            yield
            return

        def stop(number: int, frame: object) -> None:
            self.asked, self.interrupted = True, number == signal.SIGINT
            if self.interrupted:
                signal.signal(signal.SIGINT, signal.default_int_handler)

        numbers = (signal.SIGTERM, signal.SIGINT)
        before = {number: signal.signal(number, stop) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory did not suffice, a GPU's, torch's on a CPU, or Python's."""
    # The CPU's allocator has no error class of its own.
    said = ("allocate memory", "not enough memory")
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in said)
    )


# Of glibc's mallopt(3).
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def keep_memory() -> None:
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
