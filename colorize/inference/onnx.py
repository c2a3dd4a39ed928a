"""Export models as ONNX files, and run such files in onnxruntime."""

import contextlib
import json
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from colorize.color.curves import AB_SCALE
from colorize.models import create_model
from colorize.models.base import ColorizationModel, DistributionModel
from colorize.models.classifier import ColorClassifier
from colorize.models.layers import AlwaysOnDropout, pad_to_multiple, upsample_like
from colorize.models.pretrained import Pretrained, short_digest
from colorize.utils.checkpoint import CheckpointError
from colorize.utils.files import atomic_write
from colorize.utils.legacy import upgrade_onnx_metadata

if TYPE_CHECKING:
    import onnxruntime

OPSET = 18
TOLERANCE = 0.1  # CIELAB units by which predictions may differ from torch's
_MIN_SIDE = 32  # px, of the input
_METADATA = "colorize"  # the key of ours in the file's metadata
_INSTALL = "pip install 'colorize-photos[export]'"


class _ExportedModel(nn.Module):
    """A model that pads its input, and returns its logits beside ab if it has a distribution."""

    def __init__(self, network: ColorizationModel):
        super().__init__()
        self.network = network

    def forward(
        self, lightness: Tensor, hints: Tensor | None = None
    ) -> Tensor | tuple[Tensor, Tensor]:
        height, width = lightness.shape[-2:]
        divisibility = self.network.size_divisibility
        padded = pad_to_multiple(lightness, divisibility)
        if hints is not None:
            hints = F.pad(hints, (0, -width % divisibility, 0, -height % divisibility))
        if not isinstance(self.network, DistributionModel):
            return self.network(padded, hints)[..., :height, :width]
        logits = self.network.logits(padded, hints)
        ab = upsample_like(self.network.decode(logits), padded)
        return ab[..., :height, :width], logits


class OnnxNetwork(ColorizationModel):
    """An output of an onnxruntime session, under the contract of `colorize.models`."""

    def __init__(
        self, session: "onnxruntime.InferenceSession", metadata: dict[str, Any], output: str
    ):
        """Wrap a session.

        Args:
            session: of a file that `export_onnx` wrote.
            metadata: of that file.
            output: name of the output, "ab" or "logits".
        """
        super().__init__()
        self.session, self.output = session, output
        self.size_divisibility = metadata["size_divisibility"]
        self.supports_hints = metadata["supports_hints"]

    def __deepcopy__(self, memo: dict[int, object]) -> "OnnxNetwork":
        """Return the network itself: a session cannot be copied, and never changes."""
        return self

    def forward(self, lightness: Tensor, hints: Tensor | None = None) -> Tensor:
        """Run the session on the CPU.

        Args:
            lightness: (N, 1, H, W) in [-1, 1].
            hints: (N, 3, H, W); None for no hints.
        """
        inputs = {"lightness": lightness.cpu().contiguous().numpy()}
        if self.supports_hints:
            if hints is None:
                hints = lightness.new_zeros(len(lightness), 3, *lightness.shape[-2:])
            inputs["hints"] = hints.cpu().contiguous().numpy()
        return torch.from_numpy(self.session.run([self.output], inputs)[0])


def import_onnx() -> ModuleType:
    """Import the library that writes ONNX files, if what an export needs is installed.

    Raises:
        ImportError: if the extra `export` is not installed.
    """
    try:
        import onnx
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401, torch's exporter needs it
    except ImportError as error:
        raise ImportError(f"to export: {_INSTALL} ({error})") from error
    return onnx


def export_onnx(model: Pretrained, path: str | os.PathLike) -> float:
    """Export a model as one ONNX file for any batch size, height and width.

    Inputs are `lightness` (N, 1, H, W) and, if the model supports them, `hints` (N, 3, H, W), which
    are zeros for no hints; sides are at least 32 px, of any size, which the file pads. Outputs are
    `ab` (N, 2, H, W) and, if the model predicts a distribution, `logits` of the padded size.
    Spectral norms are folded into the weights, and noise is left out. The file is run and compared
    with torch, see `check_sizes`, before it replaces an earlier one.

    Args:
        model: the model.
        path: the file; an earlier one stays if something fails.

    Returns:
        The largest difference of a color from torch's, in CIELAB units.

    Raises:
        ImportError: if the extra `export` is not installed.
        ValueError: if the file predicts other colors than torch.
    """
    onnx = import_onnx()
    exported = _ExportedModel(_folded_copy(model)).eval()
    with atomic_write(path) as tmp:
        _run_exporter(exported, tmp)
        proto = onnx.load(tmp)
        metadata = json.dumps(_metadata(model, exported))
        onnx.helper.set_model_props(proto, {_METADATA: metadata})
        onnx.save(proto, tmp)
        difference = _max_difference(exported, OnnxNetwork(*_open_session(tmp), "ab"))
        if not difference <= TOLERANCE:
            raise ValueError(
                f"the exported model differs from torch by {difference:.2g} in CIELAB; nothing was "
                "written"
            )
    return difference


def _run_exporter(exported: _ExportedModel, path: Path) -> None:
    """Let torch write the file."""
    inputs = {"lightness": torch.zeros(2, 1, 96, 128)}
    if exported.network.supports_hints:
        inputs["hints"] = torch.zeros(2, 3, 96, 128)
    dynamic, side = torch.export.Dim.DYNAMIC, torch.export.Dim.DYNAMIC(min=_MIN_SIDE)
    with _quiet_exporter(), torch.no_grad():
        torch.onnx.export(
            exported,
            tuple(inputs.values()),
            path,
            dynamo=True,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=["ab", "logits"] if exported.network.predicts_distribution else ["ab"],
            dynamic_shapes=tuple({0: dynamic, 2: side, 3: side} for _ in inputs),
            external_data=False,
            verbose=False,
        )


@contextlib.contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Silence torch's exporter, which warns and logs about itself."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _metadata(model: Pretrained, exported: _ExportedModel) -> dict[str, Any]:
    """Return what `load_onnx` needs to know of the model."""
    network = model.network
    return {
        "name": model.name,
        "size": model.size,
        "size_divisibility": network.size_divisibility,
        "supports_hints": network.supports_hints,
        "temperature": network.temperature if isinstance(network, DistributionModel) else None,
        "probe": _probe(exported, with_hints=network.supports_hints),
    }


def load_onnx(path: str | os.PathLike) -> Pretrained:
    """Load a file that `export_onnx` wrote, to run in onnxruntime.

    Raises:
        FileNotFoundError: if there is no such file.
        ImportError: if onnxruntime is not installed.
        CheckpointError: if the file is damaged or of another program.
    """
    session, metadata = _open_session(path)
    network = OnnxNetwork(session, metadata, "ab")
    probe = torch.tensor(_probe(network, with_hints=network.supports_hints))
    if not (probe - torch.tensor(metadata["probe"])).abs().max() * AB_SCALE <= TOLERANCE:
        raise CheckpointError(f"{path} is damaged: its predictions have changed since the export")
    temperature = metadata["temperature"]  # None if the model does not predict a distribution
    return Pretrained(
        network=network
        if temperature is None
        else ColorClassifier(OnnxNetwork(session, metadata, "logits"), temperature),
        model="onnx",
        model_kwargs={},
        size=metadata["size"],
        name=metadata["name"],
        digest=short_digest(Path(path)),
    )


def _open_session(
    path: str | os.PathLike,
) -> tuple["onnxruntime.InferenceSession", dict[str, Any]]:
    """Open a file; return the session and colorize's metadata."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"no such file: {path}")
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(f"to use {path}: {_INSTALL}") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    # Spinning threads would take the cores from torch's.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(
            os.fspath(path), options, providers=onnxruntime.get_available_providers()
        )
    except Exception as error:  # onnxruntime's errors have no base class of their own
        raise CheckpointError(f"{path} is damaged or no ONNX file: {error}") from error
    metadata = session.get_modelmeta().custom_metadata_map
    if _METADATA not in metadata:
        raise CheckpointError(f"{path} was not exported by colorize")
    return session, upgrade_onnx_metadata(json.loads(metadata[_METADATA]))


def _folded_copy(model: Pretrained) -> ColorizationModel:
    """Copy a model with spectral norms folded into the weights and without noise."""
    # A deep copy would share its parametrized classes, from which folding removes the weights.
    network = create_model(model.model, **model.model_kwargs)
    network.load_state_dict(model.network.state_dict())
    network.eval()
    for module in network.modules():
        for name in list(getattr(module, "parametrizations", {})):
            nn.utils.parametrize.remove_parametrizations(module, name)
        if isinstance(module, AlwaysOnDropout):
            module.p = 0.0
    return network


@torch.no_grad()
def _probe(network: nn.Module, *, with_hints: bool) -> list[list[float]]:
    """Predict a small fixed image, by which damaged weights are recognized.

    Returns:
        The means of a and b in 16 squares of it.
    """
    ramp = torch.linspace(-1, 1, 64)
    lightness = (ramp[:, None] * (7 * ramp).cos()[None])[None, None]
    hints = torch.zeros(1, 3, 64, 64) if with_hints else None
    return F.adaptive_avg_pool2d(_predict_ab(network, lightness, hints), 4).flatten(1).tolist()


def check_sizes(divisibility: int) -> list[tuple[int, int]]:
    """Return the heights and widths at which a file is compared with torch.

    Both sides are smaller than the padding, larger, just below and above what the network divides
    by, and odd.
    """
    sides = (_MIN_SIDE, _MIN_SIDE + 1, divisibility - 1, divisibility, divisibility + 1)
    ordered = sorted({max(side, _MIN_SIDE) for side in (*sides, 97, divisibility * 3 // 2 + 1)})
    return sorted({*zip(ordered, ordered, strict=True), *zip(ordered, ordered[::-1], strict=True)})


@torch.no_grad()
def _max_difference(network: _ExportedModel, exported: OnnxNetwork) -> float:
    """Return the largest distance of predicted colors, in CIELAB units."""
    largest = 0.0
    generator = torch.Generator().manual_seed(0)
    for height, width in check_sizes(exported.size_divisibility):
        lightness = torch.rand((1, 1, height, width), generator=generator) * 2 - 1
        hints = None
        if exported.supports_hints:
            hints = torch.zeros(1, 3, height, width)
            hints[:, :, 8:13, 8:13] = 0.5
        difference = _predict_ab(network, lightness, hints) - exported(lightness, hints)
        largest = max(largest, (difference * AB_SCALE).norm(dim=1).max().item())
    return largest


def _predict_ab(network: nn.Module, lightness: Tensor, hints: Tensor | None) -> Tensor:
    outputs = network(lightness, hints)
    return outputs[0] if isinstance(outputs, tuple) else outputs
