"""An emulated CUDA device, for tests on machines without a GPU.

`emulated_cuda()` makes `torch.cuda.is_available()` true and lets tensors be moved to "cuda". They
are wrappers around CPU tensors: they report `cuda:0`, compute on the CPU, and refuse what a GPU
refuses, an operation between tensors of both devices. Reads that make the host wait for a GPU
(`.item()`, `.cpu()`, `.tolist()`, `bool(tensor)`) are counted.

What it cannot catch: kernels that are missing on CUDA or differ there in their numbers, memory
(out of memory included), streams and pinned copies, fp16 overflow of the hardware's own
accumulation, compiled code, mixed devices within a backward pass, and more than one device.
"""

import contextlib
import traceback
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map_only, tree_unflatten

CUDA = torch.device("cuda", 0)
CPU = torch.device("cpu")
aten = torch.ops.aten

# Operations that may read from one device and write to the other.
_COPIES = {aten.copy_.default, aten._to_copy.default}
# The host waits until the GPU has computed the value.
_READS = {aten._local_scalar_dense.default, aten.is_nonzero.default, aten.equal.default}
# Their result's shape depends on values, so the host waits too.
_SHAPED_BY_VALUES = {aten.nonzero.default, aten.masked_select.default, aten._unique2.default}


class Synchronizations:
    """Places where the host waited for the device."""

    def __init__(self) -> None:
        self.places: list[str] = []

    def note(self, what: str) -> None:
        """Take down an operation and the line of ours that asked for it."""
        frames = [f for f in traceback.extract_stack() if "/colorize/" in f.filename]
        place = f"{frames[-1].filename.split('/colorize/')[-1]}:{frames[-1].name}" if frames else ""
        self.places.append(f"{what} {place}".strip())

    def __len__(self) -> int:
        return len(self.places)


_log = Synchronizations()


class EmulatedCudaTensor(torch.Tensor):
    """A tensor that says it is on `cuda:0`; its values are in the CPU tensor `held`."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> "EmulatedCudaTensor":
        """Wrap a CPU tensor; memory layout and dtype are its own."""
        assert not isinstance(held, EmulatedCudaTensor)
        wrapper = torch.Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            layout=held.layout,
            device=CPU,  # for the autograd engine, which has no queue for a GPU here
            requires_grad=False,
        )
        wrapper.held = held
        return wrapper

    device = property(lambda self: CUDA)  # type: ignore[assignment]
    is_cuda = property(lambda self: True)  # type: ignore[assignment]
    is_cpu = property(lambda self: False)  # type: ignore[assignment]

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"EmulatedCudaTensor({self.held!r})"

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.held.__reduce_ex__(protocol)

    def numpy(self, *, force: bool = False) -> Any:
        """Refuse, as a tensor on a GPU does."""
        if not force:
            raise TypeError("can't convert cuda:0 device type tensor to numpy: use .cpu() first")
        return self.cpu().numpy()

    def __array__(self, *_: Any) -> Any:
        return self.numpy()

    def tolist(self) -> Any:
        """Copy to the host, which waits."""
        _log.note("tolist")
        return self.held.tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        flat, _ = tree_flatten((args, kwargs))
        tensors = [value for value in flat if isinstance(value, Tensor)]
        emulated = [t for t in tensors if isinstance(t, EmulatedCudaTensor)]
        # In a backward pass torch creates zeros below Python's reach, on the CPU.
        is_backward = torch._C._current_graph_task_id() != -1
        if func not in _COPIES and not is_backward:
            for tensor in tensors:
                # As on a GPU, a number may come from the host, an index must not be large.
                if not isinstance(tensor, EmulatedCudaTensor) and tensor.dim() > 0:
                    raise RuntimeError(
                        "Expected all tensors to be on the same device, but found at least two "
                        f"devices, cuda:0 and cpu! (in {func})"
                    )
        if func in _READS or func in _SHAPED_BY_VALUES:
            _log.note(str(func))
        on_gpu = bool(emulated)
        if func is aten.copy_.default:
            on_gpu = isinstance(args[0], EmulatedCudaTensor)
            if not on_gpu and emulated:
                _log.note("copy_ to cpu")
        inner_args, inner_kwargs = tree_map_only(
            EmulatedCudaTensor, lambda t: t.held, (args, kwargs)
        )
        result = func(*inner_args, **inner_kwargs)
        return _wrapped(func, args, result) if on_gpu else result


def _wrapped(func: Any, args: Any, result: Any) -> Any:
    """The results as tensors of the device; what was changed in place stays the same object."""
    same = {
        id(value.held): value
        for value in tree_flatten(args)[0]
        if isinstance(value, EmulatedCudaTensor)
    }
    leaves, spec = tree_flatten(result)
    leaves = [
        (same[id(leaf)] if id(leaf) in same else EmulatedCudaTensor(leaf))
        if isinstance(leaf, Tensor)
        else leaf
        for leaf in leaves
    ]
    return tree_unflatten(leaves, spec)


@contextlib.contextmanager
def _plain_algorithms() -> Iterator[None]:
    mode = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode(0)
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(mode)


def _is_cuda(device: Any) -> bool:
    if isinstance(device, int):
        return True
    return device is not None and torch.device(device).type == "cuda"


class _OnEmulatedCuda(TorchFunctionMode):
    """Catches what names a device before torch looks for a GPU."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if name == "to" and func is torch.Tensor.to:
            return self._to(func, args, kwargs)
        if name == "cuda" and func is torch.Tensor.cuda:
            return _moved(args[0])
        if name == "cpu" and func is torch.Tensor.cpu and isinstance(args[0], EmulatedCudaTensor):
            return self._to(torch.Tensor.to, (args[0], CPU), {})
        if name == "pin_memory":
            return args[0]
        if func is torch.nn.functional.interpolate:
            # In deterministic mode, CUDA tensors are upsampled by Python code with calls that this
            # mode cannot see. What computes here, the CPU's kernel, is deterministic anyway.
            with _plain_algorithms():
                return func(*args, **kwargs)
        if "device" in kwargs and _is_cuda(kwargs["device"]):
            kwargs["device"] = CPU
            generator = kwargs.get("generator")
            assert generator is None or generator.device.type == "cpu"
            return tree_map_only(Tensor, _moved, func(*args, **kwargs))
        return func(*args, **kwargs)

    def _to(self, func: Any, args: Any, kwargs: Any) -> Any:
        tensor, *rest = args
        device = kwargs.pop("device", None)
        if device is None and rest and isinstance(rest[0], (str, torch.device, int)):
            device = rest.pop(0)
        if device is None and rest and isinstance(rest[0], Tensor):
            other = rest.pop(0)
            device, kwargs["dtype"] = other.device, other.dtype
        if device is None:
            return func(tensor, *rest, **kwargs)
        kwargs.pop("non_blocking", None)
        rest = [value for value in rest if isinstance(value, torch.dtype)]
        if _is_cuda(device):
            moved = _moved(tensor)
            return func(moved, *rest, **kwargs) if rest or kwargs else moved
        if isinstance(tensor, EmulatedCudaTensor):
            _log.note("to cpu")
            tensor = _Held.apply(tensor)
        return func(tensor, *rest, **kwargs) if rest or kwargs else tensor


class _Moved(torch.autograd.Function):
    """To the device; the gradient comes back."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:  # type: ignore[override]
        """Wrap a copy, as a transfer would make one."""
        return EmulatedCudaTensor(tensor.detach().clone())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        """Unwrap."""
        return gradient.held if isinstance(gradient, EmulatedCudaTensor) else gradient


class _Held(torch.autograd.Function):
    """To the host; the gradient goes back."""

    @staticmethod
    def forward(ctx: Any, tensor: EmulatedCudaTensor) -> Tensor:  # type: ignore[override]
        """Copy the values."""
        return tensor.held.detach().clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        """Wrap."""
        return EmulatedCudaTensor(gradient)


def _moved(tensor: Tensor) -> Tensor:
    if isinstance(tensor, EmulatedCudaTensor):
        return tensor
    if tensor.requires_grad and torch.is_grad_enabled():
        return _Moved.apply(tensor)
    return EmulatedCudaTensor(tensor.detach().clone())


@contextlib.contextmanager
def emulated_cuda() -> Iterator[Synchronizations]:
    """Pretend that there is a GPU; yields the host's waits for it, as they come."""
    global _log
    before, _log = _log, Synchronizations()
    autocast = torch.autocast

    def cpu_autocast(device_type: str, *args: Any, **kwargs: Any) -> Any:
        return autocast("cpu" if device_type == "cuda" else device_type, *args, **kwargs)

    answers: dict[str, Any] = {
        "is_available": True,
        "device_count": 1,
        "current_device": 0,
        "is_initialized": True,
        "is_bf16_supported": True,
        "is_current_stream_capturing": False,
        "synchronize": None,
        "set_device": None,
        "manual_seed": None,
        "manual_seed_all": None,
        "empty_cache": None,
        "reset_peak_memory_stats": None,
        "max_memory_allocated": 0,
        "get_device_name": "emulated",
    }
    with contextlib.ExitStack() as stack:
        for name, answer in answers.items():
            stack.enter_context(
                mock.patch.object(torch.cuda, name, lambda *_, answer=answer, **__: answer)
            )
        stack.enter_context(mock.patch.object(torch, "autocast", cpu_autocast))
        generator = torch.Generator
        stack.enter_context(mock.patch.object(torch, "Generator", lambda *_: generator()))
        stream = mock.Mock(is_capturing=lambda: False)
        stack.enter_context(mock.patch.object(torch.accelerator, "current_stream", lambda: stream))
        # A wrapper cannot become the data of a plain parameter: modules get new ones.
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        stack.callback(torch.__future__.set_overwrite_module_params_on_conversion, False)
        stack.enter_context(_OnEmulatedCuda())
        try:
            yield _log
        finally:
            _log = before
