"""Trained models in folders: found, loaded, written, and never taken for what they are not."""

import hashlib
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from colorize.config import TrainConfig
from colorize.inference.colorizer import Colorizer
from colorize.models import create_model, pretrained
from colorize.models.pretrained import CARD, CONFIG, WEIGHTS, Pretrained, load, model_card, save
from colorize.utils.checkpoint import CheckpointError, load_checkpoint, save_checkpoint

ARGS = {"depth": 3, "base_channels": 4}


@pytest.fixture
def network():
    network = create_model("unet", **ARGS).eval()
    nn.init.normal_(network.head[0].weight, std=0.3)
    return network


@pytest.fixture
def folder(network, tmp_path):
    """A network in the hub's form."""
    result = Pretrained(network, "unet", ARGS, 16, "tiny")
    save(result, tmp_path / "tiny", model_card(result))
    return tmp_path / "tiny"


def test_a_network_comes_back_as_it_was_in_half_precision(folder, network, photo):
    assert {path.name for path in folder.iterdir()} == {CONFIG, WEIGHTS, CARD}
    stored = load_file(folder / WEIGHTS)
    assert all(v.dtype == torch.float16 for v in stored.values() if v.is_floating_point())
    result = load(folder)
    assert (result.model, result.model_kwargs, result.size, result.name) == (
        "unet",
        ARGS,
        16,
        "tiny",
    )
    for name, value in network.state_dict().items():
        assert result.network.state_dict()[name].dtype == value.dtype
        assert torch.allclose(result.network.state_dict()[name], value, rtol=1e-3, atol=1e-6)
    ours, theirs = (Colorizer(one, 16, "cpu")(photo) for one in (network, result.network))
    assert np.abs(np.asarray(ours, int) - np.asarray(theirs, int)).max() <= 2
    colorizer = Colorizer.from_pretrained(folder, "cpu")
    assert colorizer.name == "tiny" and colorizer(photo).tobytes() == theirs.tobytes()


def test_the_folder_has_the_form_that_the_hubs_own_mixin_reads(folder, photo):
    hub = pytest.importorskip("huggingface_hub")

    class Model(nn.Module, hub.PyTorchModelHubMixin):
        def __init__(self, model, model_kwargs, size):
            super().__init__()
            self.inner = create_model(model, **model_kwargs)

        def load_state_dict(self, state, strict=True, assign=False):
            return self.inner.load_state_dict(state, strict=True)

    theirs = Model.from_pretrained(folder).inner
    ours = load(folder).network.state_dict()
    assert theirs.state_dict().keys() == ours.keys()
    card = hub.ModelCard.load(folder / CARD)
    assert card.data.library_name == "colorize" and card.data.pipeline_tag == "image-to-image"


def test_a_model_of_the_hub_is_requested_by_its_name(folder, photo, monkeypatch):
    hub = pytest.importorskip("huggingface_hub")
    asked = []
    monkeypatch.setattr(
        hub, "snapshot_download", lambda name, **options: asked.append((name, options)) or folder
    )
    assert load("somebody/tiny").name == "somebody/tiny"
    assert asked == [("somebody/tiny", {"allow_patterns": [CONFIG, WEIGHTS, CARD]})]

    def offline(name, **options):
        raise hub.errors.LocalEntryNotFoundError("no connection\nmore")

    monkeypatch.setattr(hub, "snapshot_download", offline)
    with pytest.raises(
        FileNotFoundError, match=r"no folder some/thing, and not on the hub: no conn\w+$"
    ):
        load("some/thing")


def test_downloaded_models_are_listed(folder, tmp_path, monkeypatch):
    manager = pytest.importorskip("huggingface_hub.utils._cache_manager")
    cache = tmp_path / "cache"
    monkeypatch.setattr(manager, "HF_HUB_CACHE", str(cache))
    assert pretrained.cached() == {}
    for name, config in (("me--tiny", json.loads((folder / CONFIG).read_text())), ("me--bert", {})):
        snapshot = cache / f"models--{name}" / "snapshots" / "abc"
        snapshot.mkdir(parents=True)
        (snapshot / CONFIG).write_text(json.dumps(config))
        (snapshot / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes())
    (result,) = pretrained.cached().items()
    assert result[0] == "me/tiny" and load(result[1]).size == 16


@pytest.mark.parametrize(
    "damage",
    [
        "cut",
        "flipped",
        "one tensor less",
        "another shape",
        "nan",
        "no numbers",
        "no model",
        "a list",
    ],
)
def test_weights_that_are_damaged_or_of_another_network_are_refused(folder, damage):
    weights, config = folder / WEIGHTS, folder / CONFIG
    state = load_file(weights)
    first = "head.0.weight"
    if damage in ("one tensor less", "nan"):  # of a folder that tells no SHA-256
        message = json.loads(config.read_text())
        del message["sha256"]
        config.write_text(json.dumps(message))
    if damage == "cut":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif damage == "flipped":
        data = bytearray(weights.read_bytes())
        data[-50] ^= 4
        weights.write_bytes(data)
    elif damage == "one tensor less":
        del state[first]
        save_file(state, weights)
    elif damage == "another shape":
        config.write_text(config.read_text().replace('"base_channels": 4', '"base_channels": 6'))
    elif damage == "nan":
        state[first].view(-1)[0] = float("nan")
        save_file(state, weights)
    elif damage == "no numbers":
        weights.write_text("not safetensors")
    elif damage == "no model":
        config.write_text("{}")
    else:
        config.write_text("[1]")
    with pytest.raises(CheckpointError, match=r"tiny"):
        load(folder)


def test_a_pickle_of_unknown_origin_is_not_opened(tmp_path, monkeypatch):
    (tmp_path / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    monkeypatch.setattr(torch, "load", None)
    with pytest.raises(FileNotFoundError, match=r"pytorch_model.bin is a pickle of unknown"):
        load(tmp_path)
    (tmp_path / CONFIG).write_text('{"architectures": ["Bert"]}')
    with pytest.raises(
        CheckpointError, match=r"neither a run nor .* pytorch_model.bin is a pickle"
    ):
        load(tmp_path)


def test_a_pickle_of_more_than_weights_is_refused_without_advice_to_open_it(tmp_path):
    (tmp_path / "best.pt").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(CheckpointError, match="an unknown pickle is not opened") as raised:
        load_checkpoint(tmp_path / "best.pt")
    assert "weights_only" not in str(raised.value)


@pytest.mark.parametrize("size", ["128", 0, -32, 33, None])
def test_a_size_that_no_network_can_carry_is_named(folder, size):
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(config | {"size": size}))
    with pytest.raises(CheckpointError, match=r"config.json does not describe .* size"):
        load(folder)


def test_missing_models_are_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no run in nowhere: it has no config\.json.*hub"):
        load("nowhere")
    monkeypatch.setattr(pretrained, "BUNDLED", tmp_path)
    with pytest.raises(FileNotFoundError, match="no model is bundled: name one"):
        load()
    with pytest.raises(ValueError, match="must be one of best, last, inflection, got 'bset'"):
        TrainConfig("unet").save(tmp_path / "run" / CONFIG)
        load("run", weights="bset")
    with pytest.raises(ValueError, match="can only be chosen for training runs; x is not one"):
        (tmp_path / "x").mkdir()
        (tmp_path / "x" / WEIGHTS).write_text("")
        load("x", weights="best")


def test_saving_replaces_nothing_and_refuses_overflowing_weights(folder, network):
    result = load(folder)
    with pytest.raises(FileExistsError, match="already exists: choose another folder"):
        save(result, folder, "")
    with torch.no_grad():
        network.head[0].weight.fill_(1e6)
    with pytest.raises(ValueError, match=r"head\.0\.weight does not fit into 16 bits"):
        save(Pretrained(network, "unet", ARGS, 16, "tiny"), folder.parent / "other", "")
    assert not (folder.parent / "other").exists()


def test_a_bundled_network_is_known_by_its_name_and_its_sum(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "BUNDLED", tmp_path)
    monkeypatch.setattr(pretrained, "DEFAULT", "tiny")
    sums = tmp_path / "SHA256SUMS"
    digest = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    sums.write_text(f"{digest}  tiny/{WEIGHTS}\n")
    assert pretrained.bundled() == ["tiny"]
    monkeypatch.chdir(tmp_path.parent)
    assert load().name == load("tiny").name == "tiny"
    sums.write_text(f"{'0' * 64}  tiny/{WEIGHTS}\n")
    with pytest.raises(CheckpointError, match="wrong SHA-256"):
        load()


@pytest.mark.parametrize("names", [("average", "steps"), ("ema", "global_step")])
def test_the_averaged_weights_of_a_run_are_used(tmp_path, network, names):
    """In checkpoints of version 0.1 they have another name."""
    average, step = names
    (tmp_path / "run").mkdir()
    TrainConfig("unet", model_kwargs=ARGS, crop_size=16).save(tmp_path / "run" / CONFIG)
    last = create_model("unet", seed=1, **ARGS).state_dict()
    averaged = {f"module.{name}": value for name, value in network.state_dict().items()}
    averaged["n_averaged"] = torch.tensor(3)
    state = {"epoch": 1, step: 3, "model": last, average: averaged, "history": []}
    state |= {"sums": {}, "loss_sums": {}}
    save_checkpoint(tmp_path / "run" / "last.pt", state)
    loaded = load(tmp_path / "run", weights="last").network.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in network.state_dict().items())


def test_the_inflection_point_of_a_run_of_version_0_1_is_found(tmp_path, network):
    (tmp_path / "run").mkdir()
    TrainConfig("unet", model_kwargs=ARGS, crop_size=16).save(tmp_path / "run" / CONFIG)
    save_checkpoint(tmp_path / "run" / "turn.pt", {"epoch": 1, "model": network.state_dict()})
    for name in ("inflection", "turn"):
        loaded = load(tmp_path / "run", weights=name).network.state_dict()
        assert all(torch.equal(loaded[key], value) for key, value in network.state_dict().items())
