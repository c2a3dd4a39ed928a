"""Networks as ONNX files: the same outputs, of any size."""

import json
import logging

import numpy as np
import pytest
import torch
from conftest import Fake, make_photo
from torch import nn

from colorize.inference import onnx as export
from colorize.inference.colorizer import Colorizer
from colorize.inference.onnx import export_onnx
from colorize.models import GANS, create_model, model_arguments
from colorize.models.pretrained import Pretrained
from colorize.presets import METHODS
from colorize.utils.checkpoint import CheckpointError

pytest.importorskip("onnxruntime")
NETWORKS = {
    "color_classifier": {"encoder_name": "mobilenet_v2", "width": 16, "hints": True},
    "unet_gan": {
        "depth": 3,
        "base_channels": 4,
        "spectral_norm": True,
        "attention": 4,
        "discriminator_attention": 4,
    },
    "resnet_autoencoder": {"encoder_name": "resnet18"},
    "resnet_fcn": {"encoder_name": "resnet18"},
    "encoder_unet": {"encoder_name": "resnet18", "width": 16},
}


def trained(name):
    """A network that predicts something."""
    network = create_model(name, **NETWORKS[name]).eval()
    for parameter in network.parameters():
        if parameter.dim() > 1 and parameter.abs().max() == 0:
            nn.init.normal_(parameter, std=0.1)
    return Pretrained(network, name, NETWORKS[name], 32, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_an_exported_model_colorizes_photos_of_any_size_as_torch_does(name, tmp_path):
    model = trained(name)
    path = tmp_path / "network.onnx"
    assert export_onnx(model, path) < 1e-3
    theirs = Colorizer.from_pretrained(path, "cpu")
    assert (theirs.size, theirs.name) == (32, name)
    ours = Colorizer(export._folded_copy(model), 32, "cpu")
    calls = [lambda colorizer, photo: [colorizer(photo)]]
    if theirs.predicts_distribution:
        calls += [
            lambda colorizer, photo: [colorizer(photo, vividness=0.9)],
            lambda colorizer, photo: colorizer.sample(photo, count=2),
            lambda colorizer, photo: colorizer.predict_uncertainty(photo),
            lambda colorizer, photo: [colorizer(photo, hints=[(5, 5, "red")])],
        ]
    for size in ((40, 61), (200, 70)):
        for call in calls:
            photo = make_photo(*size)
            for a, b in zip(call(ours, photo), call(theirs, photo), strict=True):
                assert np.abs(np.asarray(a, int) - np.asarray(b, int)).max() <= 1
    batch = torch.rand(3, 1, 32, 64) * 2 - 1
    with torch.no_grad():
        assert theirs.network(batch).shape == (3, 2, 32, 64)
        assert model.network(batch).shape == (3, 2, 32, 64)  # as it was, its spectral norms too


NARROW = {"base_channels": 8, "width": 16, "encoder_weights": None}
DEPTHS = {  # every preset at its full depth; some are the same networks
    json.dumps([name, kwargs]): preset
    for preset, method in METHODS.items()
    for config in [method.config]
    for name in [GANS.get(config.model, config.model)]
    for arguments in [model_arguments(name)]
    for kwargs in [
        {key: value for key, value in (config.model_kwargs | NARROW).items() if key in arguments}
    ]
}


@torch.no_grad()
def with_colors(network):
    """A network that predicts colors to see, with statistics as training leaves them."""
    for parameter in network.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the mean over all batches
            module.reset_running_stats()
    side = max(64, network.size_divisibility)
    network.train()(torch.rand(2, 1, side, side) * 2 - 1)
    return network.eval()


# The deepest U-Net is a slow test; the others are a command outside CI: -m long.
_SLOW = ("lsgan",)


@pytest.mark.parametrize(
    "network",
    [
        pytest.param(key, id=name, marks=pytest.mark.slow if name in _SLOW else pytest.mark.long)
        for key, name in DEPTHS.items()
    ],
)
def test_every_preset_at_full_depth_is_exported_for_every_size(network, tmp_path):
    name, kwargs = json.loads(network)
    torch.manual_seed(0)
    model = Pretrained(with_colors(create_model(name, **kwargs)), name, kwargs, 256, name)
    assert export_onnx(model, tmp_path / "network.onnx") < 0.1  # rounding in 101 random layers
    exported = export.OnnxNetwork(*export._open_session(tmp_path / "network.onnx"), "ab")
    folded, multiple = export._folded_copy(model), model.network.size_divisibility
    near = (multiple // 2 + 1, multiple - 1, multiple, multiple + 1, 2 * multiple - 31)
    sides = {32, 33, 45, *(max(side, 32) for side in near)}
    for height, width in zip(sorted(sides), (96, 32, 130, 61, 255, 257, 40, 300), strict=False):
        lightness = torch.rand(1, 1, height, width) * 2 - 1
        below, right = -height % multiple, -width % multiple
        padded = np.pad(lightness, ((0, 0), (0, 0), (0, below), (0, right)), mode="reflect")
        with torch.no_grad():
            expected = folded(torch.from_numpy(padded))[..., :height, :width]
            ours = exported(lightness)
        assert expected.std() > 0.01
        assert (ours - expected).abs().max() * 110 < 0.1


def test_sizes_of_the_check_are_on_both_sides_of_every_branch():
    for multiple in (8, 32, 64, 256):
        sizes = export.check_sizes(multiple)
        for side in (0, 1):
            sides = {size[side] for size in sizes}
            padding = {side: -side % multiple for side in sides}
            assert min(sides) == 32 and any(side % 2 for side in sides)
            assert 0 in padding.values() and any(0 < padding[side] < side for side in sides)
            assert multiple <= 64 or any(padding[side] > side for side in sides)
        assert any(height > width for height, width in sizes)
        assert any(height < width for height, width in sizes)


def test_an_export_leaves_the_loggers_level(monkeypatch):
    logger = logging.getLogger("torch.onnx")
    monkeypatch.setattr(logger, "level", logging.INFO)
    with pytest.raises(RuntimeError), export._quiet_exporter():
        assert logger.level == logging.ERROR
        raise RuntimeError
    assert logger.level == logging.INFO


@pytest.mark.slow
def test_a_file_with_damaged_weights_is_refused(tmp_path):
    onnx = pytest.importorskip("onnx")
    path = tmp_path / "a.onnx"
    export_onnx(trained("unet_gan"), path)
    assert len(Colorizer.from_pretrained(path).digest) == 8
    model = onnx.load(path)
    largest = max(model.graph.initializer, key=lambda one: len(one.raw_data))
    largest.raw_data = largest.raw_data[::-1]
    onnx.save(model, path)
    with pytest.raises(CheckpointError, match="its predictions have changed since the export"):
        Colorizer.from_pretrained(path)


@pytest.mark.slow
def test_a_model_that_differs_from_torch_is_not_written(tmp_path, monkeypatch):
    (tmp_path / "a.onnx").write_text("earlier")
    monkeypatch.setattr(export, "_max_difference", lambda *_: 0.5)
    with pytest.raises(ValueError, match=r"differs from torch by 0\.5 in CIELAB; nothing was"):
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


def test_a_file_of_version_0_1_is_read(tmp_path):
    """Its metadata have other names; the network repeats the lightness as a and as b."""
    onnx = pytest.importorskip("onnx")
    sides = ["N", 1, "H", "W"]
    given = onnx.helper.make_tensor_value_info("lightness", onnx.TensorProto.FLOAT, sides)
    sides[1] = 2
    ab = onnx.helper.make_tensor_value_info("ab", onnx.TensorProto.FLOAT, sides)
    node = onnx.helper.make_node("Concat", ["lightness", "lightness"], ["ab"], axis=1)
    graph = onnx.helper.make_graph([node], "repeat", [given], [ab])
    opset = [onnx.helper.make_opsetid("", 18)]
    proto = onnx.helper.make_model(graph, opset_imports=opset, ir_version=8)
    probe = export._probe(Fake(lambda lightness: lightness), with_hints=False)
    old = {"name": "old", "size": 32, "multiple": 8, "takes_hints": False, "temperature": None}
    onnx.helper.set_model_props(proto, {"colorize": json.dumps(old | {"probe": probe})})
    onnx.save(proto, tmp_path / "old.onnx")
    model = export.load_onnx(tmp_path / "old.onnx")
    assert (model.name, model.size, model.network.size_divisibility) == ("old", 32, 8)
    assert not model.network.supports_hints and not model.network.predicts_distribution
    lightness = torch.rand(1, 1, 16, 8)
    assert torch.equal(model.network(lightness), lightness.expand(-1, 2, -1, -1))
