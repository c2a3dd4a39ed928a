"""Load trained models: bundled ones, runs, exported folders, and models of the Hugging Face hub."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from colorize.config import TrainConfig
from colorize.models import create_model, extract_generator, without_encoder_weights
from colorize.models.base import ColorizationModel
from colorize.models.layers import check_size
from colorize.utils.checkpoint import CheckpointError, load_checkpoint, load_weights
from colorize.utils.files import atomic_write, file_sha256
from colorize.utils.legacy import upgrade_checkpoint, upgrade_model_config, weights_path

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
BUNDLED = Path(__file__).parents[1] / "weights"  # one folder per model
DEFAULT = "colorful"
_PICKLE_SUFFIXES = (".bin", ".ckpt", ".pth", ".pt")
_RUN_WEIGHTS = ("best", "last", "inflection")
_DIGEST_LENGTH = 8  # hexadecimal digits of SHA-256
_CHECKSUMS = "SHA256SUMS"  # of the bundled weights, as `sha256sum --check` reads it


@dataclass(frozen=True)
class Pretrained:
    """A trained model with what is needed to use it.

    Attributes:
        network: the model with its weights, on the CPU.
        model: its name in `colorize.models.MODELS`.
        model_kwargs: arguments of its constructor, without pretrained weights to start from.
        size: short side in pixels at which it sees photos.
        name: for people.
        digest: the first 8 digits of the SHA-256 of its file of weights; "" if there is none yet.
    """

    network: ColorizationModel
    model: str
    model_kwargs: dict[str, Any]
    size: int
    name: str
    digest: str = ""


def load(source: str | os.PathLike | None = None, weights: str | None = None) -> Pretrained:
    """Find and load a trained model.

    Args:
        source: None for the bundled model; the name of a bundled one; the folder of a run, or of
            config.json and model.safetensors; or OWNER/NAME on the Hugging Face hub (extra `hub`).
        weights: of a run "best", "last" or "inflection"; None for those that suit its method, see
            `TrainConfig.eval_checkpoint`.

    Raises:
        FileNotFoundError: if there is no such model.
        CheckpointError: if its weights are missing, damaged, or of another model.
        ValueError: if `weights` is given for anything but a run, or is unknown.
    """
    path, name = _find(source)
    is_run = path.is_dir() and not (path / WEIGHTS).is_file()
    if is_run:
        return _load_run(path, weights)
    if weights is not None:
        raise ValueError(f"`weights` can only be chosen for training runs; {path} is not one")
    return _load_folder(path, name)


def _find(source: str | os.PathLike | None) -> tuple[Path, str]:
    """Return the folder of a model, and its name."""
    if source is None and DEFAULT not in bundled():
        raise FileNotFoundError("no model is bundled: name one, such as the folder of a run")
    name = DEFAULT if source is None else os.fspath(source)
    path = Path(name)
    if (path / WEIGHTS).is_file() or (path / CONFIG).is_file():
        return path, path.resolve().name
    if name in bundled():
        return BUNDLED / name, name
    if path.is_file():
        chosen = f", weights={path.stem!r}" if path.stem in _RUN_WEIGHTS else ""
        raise FileNotFoundError(
            f"{path} is a file: give the folder of the run or model, {path.parent}{chosen}"
        )
    if path.exists():
        raise FileNotFoundError(f"no run in {path}: it has no {CONFIG}{_pickle_hint(path)}")
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return _download(name), name
    names = ", ".join(bundled()) or "none"
    raise FileNotFoundError(
        f"no run in {path}: it has no {CONFIG}. Bundled models: {names}; a model on the Hugging "
        "Face hub is OWNER/NAME"
    )


def _pickle_hint(folder: Path) -> str:
    names = sorted(file.name for file in folder.glob("*") if file.suffix in _PICKLE_SUFFIXES)
    return f"; {names[0]} is a pickle of unknown origin and is not opened" if names else ""


def _load_run(run: Path, weights: str | None) -> Pretrained:
    """Load a run's weights: their moving average where the run keeps one."""
    try:
        config = TrainConfig.load(run / CONFIG)
    except ValueError as error:
        raise CheckpointError(
            f"{run} is neither a run nor a model of colorize: {CONFIG} is of something else, and "
            f"there is no {WEIGHTS}{_pickle_hint(run)}"
        ) from error
    name = config.eval_checkpoint if weights is None else weights
    name = "inflection" if name == "turn" else name  # as version 0.1 called it
    if name not in _RUN_WEIGHTS:
        names = ", ".join(_RUN_WEIGHTS)
        raise ValueError(f"weights of a run must be one of {names}, got {name!r}")
    path = weights_path(run, name)
    kwargs = without_encoder_weights(config.model_kwargs)
    state = upgrade_checkpoint(load_checkpoint(path))
    try:
        network = create_model(config.model, **kwargs)
        load_weights(network, _model_weights(state))
    except (KeyError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"{path} does not fit {run / CONFIG}: {error}") from error
    network, model, kwargs = extract_generator(network, config.model, kwargs)
    return Pretrained(
        network, model, kwargs, config.crop_size, run.resolve().name, short_digest(path)
    )


def _model_weights(state: dict[str, Any]) -> dict[str, Any]:
    """Return the weights of a checkpoint: the moving average if there is one."""
    ema = state.get("ema")
    if ema is None:
        return state["model"]
    prefix = "module."  # `ExponentialMovingAverage` keeps the weights in a submodule
    return {
        name.removeprefix(prefix): value for name, value in ema.items() if name.startswith(prefix)
    }


def _load_folder(folder: Path, name: str) -> Pretrained:
    """Load a model in the hub's form, see `save`."""
    path = folder / WEIGHTS
    try:
        config = upgrade_model_config(json.loads((folder / CONFIG).read_text()))
        model, size = config["model"], config["size"]
        kwargs = without_encoder_weights(config["model_kwargs"])
        network = create_model(model, **kwargs)
        check_size(size, network.size_divisibility)
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{folder / CONFIG} does not describe a model of colorize: {error}"
        ) from error
    try:
        digest = file_sha256(path)
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
    if folder.parent == BUNDLED and digest != _checksums().get(folder.name):
        raise CheckpointError(f"{path} is damaged: wrong SHA-256; install colorize again")
    if digest != config.get("sha256", digest):
        raise CheckpointError(f"{path} is damaged: {CONFIG} states another SHA-256")
    try:
        load_weights(network, weights)
    except CheckpointError as error:
        raise CheckpointError(f"{path} does not fit {folder / CONFIG}: {error}") from error
    if not all(tensor.isfinite().all() for tensor in network.state_dict().values()):
        raise CheckpointError(f"{path} is damaged: some weights are not finite")
    return Pretrained(network, model, kwargs, size, name, digest[:_DIGEST_LENGTH])


def _download(name: str) -> Path:
    """Download a model from the Hugging Face hub, or find it in the hub's cache."""
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise FileNotFoundError(
            f"no folder {name}; to look for it on the Hugging Face hub: "
            "pip install 'colorize-photos[hub]'"
        ) from error
    try:
        return Path(snapshot_download(name, allow_patterns=[CONFIG, WEIGHTS, CARD]))
    except (OSError, ValueError) as error:  # base classes of the hub's errors
        reason = str(error).strip().splitlines()[0]
        raise FileNotFoundError(f"no folder {name}, and not on the hub: {reason}") from error


def save(model: Pretrained, folder: str | os.PathLike, card: str) -> None:
    """Write a model in the hub's form: config.json, model.safetensors in fp16, README.md.

    Args:
        model: the model.
        folder: one that does not hold a model yet.
        card: the model card, Markdown.

    Raises:
        FileExistsError: if the folder holds a model.
        ValueError: if a weight does not fit into fp16.
    """
    folder = Path(folder)
    for name in (CONFIG, WEIGHTS, CARD):
        if (folder / name).exists():
            raise FileExistsError(f"{folder / name} already exists: choose another folder")
    state = {}
    for name, value in model.network.state_dict().items():
        state[name] = value.half().contiguous() if value.is_floating_point() else value.contiguous()
        if not state[name].isfinite().all():
            raise ValueError(f"the weight {name} does not fit into 16 bits")
    config = {"model": model.model, "model_kwargs": model.model_kwargs, "size": model.size}
    with atomic_write(folder / WEIGHTS) as tmp:
        save_file(state, tmp, metadata={"format": "pt"})
        config["sha256"] = file_sha256(tmp)  # a flipped bit would silently change the colors
    with atomic_write(folder / CARD) as tmp:
        tmp.write_text(card, encoding="utf-8", errors="backslashreplace")
    with atomic_write(folder / CONFIG) as tmp:
        tmp.write_text(json.dumps(config, indent=2) + "\n")


def model_card(model: Pretrained) -> str:
    """Return a model card to complete: what is known from the model itself."""
    kwargs = json.dumps(model.model_kwargs)
    return f"""---
library_name: colorize
pipeline_tag: image-to-image
tags: [image-colorization]
---

# {model.name}

Colorizes black-and-white photos: `{model.model}` with `{kwargs}`, which sees photos at
{model.size} px. The colors are invented; they say nothing about the true ones.

```python
import colorize

colorizer = colorize.Colorizer.from_pretrained("{model.name}")
colorized = colorizer(colorize.read_photo("grandma.jpg"))
```

To be added by the publisher: the training photos and their license, the metrics
(`colorize evaluate`), the limits.
"""


def bundled() -> list[str]:
    """Return the names of the models that come with the package."""
    return sorted(path.parent.name for path in BUNDLED.glob(f"*/{WEIGHTS}"))


def cached() -> dict[str, Path]:
    """Return the folders of downloaded models by name; none without the extra `hub`."""
    try:
        from huggingface_hub import CacheNotFound, scan_cache_dir
    except ImportError:
        return {}
    try:
        repos = scan_cache_dir().repos
    except CacheNotFound:
        return {}
    folders = {}
    for repo in sorted(repos, key=lambda repo: repo.repo_id):
        for revision in sorted(repo.revisions, key=lambda revision: revision.last_modified):
            folder = revision.snapshot_path
            if (folder / WEIGHTS).exists() and _is_ours(folder):
                folders[repo.repo_id] = folder
    return folders


def short_digest(path: Path) -> str:
    """Return the first digits of a file's SHA-256, by which people tell weights apart."""
    return file_sha256(path)[:_DIGEST_LENGTH]


def _checksums() -> dict[str, str]:
    """Return the SHA-256 of the bundled weights by the model's name."""
    lines = (BUNDLED / _CHECKSUMS).read_text().splitlines()
    return {Path(name).parent.name: digest for digest, name in map(str.split, lines)}


def _is_ours(folder: Path) -> bool:
    try:
        return "model_kwargs" in upgrade_model_config(json.loads((folder / CONFIG).read_text()))
    except (OSError, ValueError, AttributeError):
        return False
