"""Networks as ONNX files: the same paintings, of any size."""

import numpy as np
import pytest
import torch
from conftest import make_photo
from torch import nn

from colorize.inference import onnx as export
from colorize.inference.colorizer import Colorizer
from colorize.inference.onnx import export_onnx
from colorize.models import create_model
from colorize.models.pretrained import Pretrained
from colorize.utils.checkpoint import CheckpointError

pytest.importorskip("onnxruntime")
NETWORKS = {
    "color_classifier": {"encoder_name": "mobilenet_v2", "width": 16, "hints": True},
    "unet_gan": {
        **{"depth": 3, "base_channels": 4, "spectral_norm": True, "attention": 4},
        "discriminator_attention": 4,
    },
    "resnet_autoencoder": {"encoder_name": "resnet18"},
    "resnet_fcn": {"encoder_name": "resnet18"},
    "encoder_unet": {"encoder_name": "resnet18", "width": 16},
}


def trained(name):
    """A network that paints something."""
    network = create_model(name, **NETWORKS[name]).eval()
    for parameter in network.parameters():
        if parameter.dim() > 1 and parameter.abs().max() == 0:
            nn.init.normal_(parameter, std=0.1)
    return Pretrained(network, name, NETWORKS[name], 32, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_an_exported_network_paints_photos_of_any_size_as_torch_does(name, tmp_path):
    found = trained(name)
    path = tmp_path / "network.onnx"
    assert export_onnx(found, path) < 1e-3
    theirs = Colorizer.from_pretrained(path, "cpu")
    assert (theirs.size, theirs.name) == (32, name)
    ours = Colorizer(export._folded(found), 32, "cpu")
    wishes = [{}]
    if theirs.predicts_distribution:
        wishes += [{"vividness": 0.9}, {"samples": 2}, {"return_uncertainty": True}]
        wishes += [{"hints": [(5, 5, "red")]}]
    for size in ((40, 61), (200, 70)):
        for wish in wishes:
            photo = make_photo(*size)
            one, other = ours(photo, **wish), theirs(photo, **wish)
            if not isinstance(one, list | tuple):
                one, other = [one], [other]
            for a, b in zip(one, other, strict=True):
                assert np.abs(np.asarray(a, int) - np.asarray(b, int)).max() <= 1
    batch = torch.rand(3, 1, 32, 64) * 2 - 1
    with torch.no_grad():
        assert theirs.network(batch).shape == (3, 2, 32, 64)
        assert found.network(batch).shape == (3, 2, 32, 64)  # as it was, its spectral norms too


@pytest.mark.slow
def test_a_file_whose_weights_were_damaged_does_not_paint(tmp_path):
    onnx = pytest.importorskip("onnx")
    path = tmp_path / "a.onnx"
    export_onnx(trained("unet_gan"), path)
    assert len(Colorizer.from_pretrained(path).digest) == 8
    model = onnx.load(path)
    largest = max(model.graph.initializer, key=lambda one: len(one.raw_data))
    largest.raw_data = largest.raw_data[::-1]
    onnx.save(model, path)
    with pytest.raises(CheckpointError, match="does not paint what it painted when written"):
        Colorizer.from_pretrained(path)


@pytest.mark.slow
def test_a_network_that_paints_otherwise_is_not_written(tmp_path, monkeypatch):
    (tmp_path / "a.onnx").write_text("earlier")
    monkeypatch.setattr(export, "_difference", lambda *_: 0.5)
    with pytest.raises(ValueError, match=r"otherwise than torch, by 0\.5 in CIELAB; nothing was"):
        export_onnx(trained("unet_gan"), tmp_path / "a.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"]
    assert (tmp_path / "a.onnx").read_text() == "earlier"


def test_a_file_that_is_no_network_of_ours_is_named(tmp_path):
    onnx = pytest.importorskip("onnx")
    with pytest.raises(FileNotFoundError, match=r"no such file: .*a\.onnx"):
        Colorizer.from_pretrained(tmp_path / "a.onnx")
    (tmp_path / "a.onnx").write_text("no")
    with pytest.raises(CheckpointError, match="is damaged or no ONNX file"):
        Colorizer.from_pretrained(tmp_path / "a.onnx")
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    out = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([node], "other", [value], [out])
    opset = [onnx.helper.make_opsetid("", 18)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "a.onnx")
    with pytest.raises(CheckpointError, match="was not exported by colorize"):
        Colorizer.from_pretrained(tmp_path / "a.onnx")
