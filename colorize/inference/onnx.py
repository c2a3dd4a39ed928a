"""Networks as ONNX files, for programs without torch; and such a file as a network."""

import json
import logging
import os
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from colorize.color.curves import AB_SCALE
from colorize.models import create_model
from colorize.models.base import ColorizationModel
from colorize.models.classifier import ColorClassifier
from colorize.models.layers import AlwaysOnDropout, pad_to_multiple, upsample_like
from colorize.models.pretrained import Pretrained, short_digest
from colorize.utils.checkpoint import CheckpointError
from colorize.utils.files import atomic_write

OPSET = 18
TOLERANCE = 0.1  # CIELAB units by which a painting may differ from torch's
_SIZES = ((64, 64), (97, 131), (160, 96))  # at which both are compared
_EXTRA = "pip install 'colorize-photos[export]'"


class _Exported(nn.Module):
    """A network that pads for itself, with its logits beside the colors where it has classes."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, lightness: Tensor, hints: Tensor | None = None):
        height, width = lightness.shape[-2:]
        multiple = self.network.size_divisibility
        padded = pad_to_multiple(lightness, multiple)
        if hints is not None:
            hints = nn.functional.pad(hints, (0, -width % multiple, 0, -height % multiple))
        if not self.network.predicts_distribution:
            return self.network(padded, hints)[..., :height, :width]
        logits = self.network.logits(padded, hints)
        ab = upsample_like(self.network.decode(logits), padded)
        return ab[..., :height, :width], logits


def find_onnx() -> ModuleType:
    """The library that writes ONNX files.

    Raises:
        ImportError: if the extra `export` is not installed.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401, torch's exporter needs it
    except ImportError as error:
        raise ImportError(f"to export: {_EXTRA} ({error})") from error
    return onnx


def export_onnx(found: Pretrained, path: str | os.PathLike) -> float:
    """Write a network as one ONNX file of any batch size, height and width.

    Inputs are `lightness` (N, 1, H, W) and, where the network takes them, `hints` (N, 3, H, W),
    zeros for none; sides from 32 px up. Outputs are `ab` (N, 2, H, W) and, of a network with
    classes, its `logits`, of the padded size. Spectral norms are folded into the weights, and a
    network that paints with noise does so without. The file is run and compared before it has its
    name.

    Args:
        found: the network.
        path: of the file; what was there stays if something fails.

    Returns:
        The largest difference of a color from torch's, in CIELAB units.

    Raises:
        ImportError: if the extra `export` is not installed.
        ValueError: if the file does not paint as torch does.
    """
    onnx = find_onnx()
    network = _Exported(_folded(found)).eval()
    outputs = ["ab", "logits"] if found.network.predicts_distribution else ["ab"]
    example = [torch.rand(2, 1, 96, 128) * 2 - 1]
    names = ["lightness"]
    if found.network.supports_hints:
        example.append(torch.zeros(2, 3, 96, 128))
        names.append("hints")
    dynamic = {
        0: torch.export.Dim.DYNAMIC,
        2: torch.export.Dim.DYNAMIC,
        3: torch.export.Dim.DYNAMIC,
    }
    with atomic_write(path) as part:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of torch's exporter about itself
            logging.getLogger("torch.onnx").setLevel(logging.ERROR)
            torch.onnx.export(
                network,
                tuple(example),
                part,
                dynamo=True,
                opset_version=OPSET,
                input_names=names,
                output_names=outputs,
                dynamic_shapes=tuple(dict(dynamic) for _ in names),
                external_data=False,
                verbose=False,
            )
        model = onnx.load(part)
        facts = {
            "name": found.name,
            "size": found.size,
            "multiple": found.network.size_divisibility,
            "supports_hints": found.network.supports_hints,
            "temperature": found.network.temperature
            if found.network.predicts_distribution
            else None,
            "probe": _probe(network, found.network.supports_hints),
        }
        onnx.helper.set_model_props(model, {"colorize": json.dumps(facts)})
        onnx.save(model, part)
        difference = _difference(network, OnnxNetwork(*_session(part), "ab"))
        if not difference <= TOLERANCE:
            raise ValueError(
                f"the exported network paints otherwise than torch, by {difference:.2g} in CIELAB; "
                "nothing was written"
            )
    return difference


def load_onnx(path: str | os.PathLike) -> Pretrained:
    """A network that runs in onnxruntime, of a file that `export_onnx` wrote.

    Raises:
        FileNotFoundError: if there is no such file.
        ImportError: if onnxruntime is not installed.
        CheckpointError: if the file is damaged or of another program.
    """
    session, facts = _session(path)
    temperature = facts["temperature"]  # of a network with classes
    off = torch.tensor(_probe(OnnxNetwork(session, facts, "ab"), facts["supports_hints"]))
    if not (off - torch.tensor(facts["probe"])).abs().max() * AB_SCALE <= TOLERANCE:
        raise CheckpointError(f"{path} is damaged: it does not paint what it painted when written")
    network = OnnxNetwork(session, facts, "ab" if temperature is None else "logits")
    if temperature is not None:
        network = ColorClassifier(network, temperature)
    return Pretrained(network, "onnx", {}, facts["size"], facts["name"], short_digest(Path(path)))


def _session(path: str | os.PathLike) -> tuple[Any, dict[str, Any]]:
    """An onnxruntime session of a file, and what colorize has written in it."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"no such file: {path}")
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(f"to use {path}: {_EXTRA}") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    # Its threads would otherwise burn the cores on which torch's want to work.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(
            os.fspath(path), options, providers=onnxruntime.get_available_providers()
        )
    except Exception as error:  # onnxruntime's errors have no base class of their own
        raise CheckpointError(f"{path} is damaged or no ONNX file: {error}") from error
    known = session.get_modelmeta().custom_metadata_map
    if "colorize" not in known:
        raise CheckpointError(f"{path} was not exported by colorize")
    return session, json.loads(known["colorize"])


class OnnxNetwork(ColorizationModel):
    """An onnxruntime session with the contract of `colorize.models`."""

    def __init__(self, session, facts: dict, output: str):
        """Take a session, what is known of its network, and the output that is wanted."""
        super().__init__()
        self.session, self.output = session, output
        self.size_divisibility, self.supports_hints = facts["multiple"], facts["supports_hints"]

    def forward(self, lightness: Tensor, hints: Tensor | None = None) -> Tensor:
        """Lightness (N, 1, H, W), and hints (N, 3, H, W), to the output, on the CPU."""
        given = {"lightness": lightness.cpu().contiguous().numpy()}
        if self.supports_hints:
            if hints is None:
                hints = lightness.new_zeros(len(lightness), 3, *lightness.shape[-2:])
            given["hints"] = hints.cpu().contiguous().numpy()
        return torch.from_numpy(self.session.run([self.output], given)[0])


def _folded(found: Pretrained) -> nn.Module:
    """A copy with spectral norms folded into the weights and without noise."""
    # Not a deep copy: it would share its classes, from which folding takes the weights.
    network = create_model(found.model, **found.model_kwargs)
    network.load_state_dict(found.network.state_dict())
    network.eval()
    for module in network.modules():
        for name in list(getattr(module, "parametrizations", {})):
            nn.utils.parametrize.remove_parametrizations(module, name)
        if isinstance(module, AlwaysOnDropout):
            module.p = 0.0
    return network


@torch.no_grad()
def _probe(network: nn.Module, supports_hints: bool) -> list[list[float]]:
    """What a network paints of a small fixed picture, by which damaged weights are noticed."""
    ramp = torch.linspace(-1, 1, 64)
    lightness = (ramp[:, None] * (7 * ramp).cos()[None])[None, None]
    hints = torch.zeros(1, 3, 64, 64) if supports_hints else None
    painted = network(lightness, hints)
    ab = painted[0] if isinstance(painted, tuple) else painted
    return F.adaptive_avg_pool2d(ab, 4).flatten(1).tolist()


@torch.no_grad()
def _difference(network: nn.Module, exported: nn.Module) -> float:
    """The largest distance of colors that two networks paint, in CIELAB units."""
    worst = 0.0
    generator = torch.Generator().manual_seed(0)
    for height, width in _SIZES:
        lightness = torch.rand((1, 1, height, width), generator=generator) * 2 - 1
        hints = None
        if exported.supports_hints:
            hints = torch.zeros(1, 3, height, width)
            hints[:, :, 8:13, 8:13] = 0.5
        painted = network(lightness, hints)
        ab = painted[0] if isinstance(painted, tuple) else painted
        off = (ab - exported(lightness, hints)) * AB_SCALE
        worst = max(worst, off.norm(dim=1).max().item())
    return worst
