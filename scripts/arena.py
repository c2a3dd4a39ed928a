"""Train every method on the same photos, and judge all by the same code.

    python scripts/arena.py --data PHOTOS --weights MOBILENET_V2 --jobs 2

`PHOTOS` holds `train/` and `test/`; a sixth of the training photos, by a hash of the name, are for
validation. Each method sees about 40,000 crops of 96 px; where it has a free encoder, that is
MobileNetV2 with the ImageNet weights of the file given. Every choice is made on validation; the
test photos are scored once, when a run has finished, and the result is kept in
`report/results/arena/`. The same command again goes on where it was stopped.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

from reports.pages import sample_photos

from colorize.config import TrainConfig
from colorize.data.folder import PhotoFolder, PhotoRecord
from colorize.data.loaders import eval_loader, train_loader
from colorize.evaluation.baselines import TrainingReference, baselines
from colorize.evaluation.evaluator import GROUND_TRUTH, EvaluationResult, evaluate
from colorize.evaluation.predictors import ModelPredictor
from colorize.presets import PRESETS
from colorize.trainers import open_run
from colorize.utils.device import tune_malloc
from colorize.utils.files import atomic_write
from colorize.visualization import save_pictures

RESULTS = Path(__file__).parents[1] / "report" / "results" / "arena"
SIZE, BATCH, EPOCHS = 96, 16, 6
VIVIDNESS = (0.0, 0.3, 0.62, 0.8, 0.9, 1.0)  # of classes; 1 less the temperature
SEEDS = 3  # of the attempts and the losses; the other methods run once

_ENCODER = {"encoder_name": "mobilenet_v2", "padding": "same"}
_FAIR = {"crop_size": SIZE, "batch_size": BATCH, "epochs": EPOCHS, "patience": None}
_UNET = {"depth": 5, "base_channels": 24}  # 96 px halve five times
_GAME = {"crop_size": SIZE, "batch_size": BATCH, "epochs": EPOCHS}

ATTEMPTS = {
    "autoencoder": replace(PRESETS["autoencoder"], model_kwargs=_ENCODER, **_FAIR),
    "fcn": replace(PRESETS["fcn"], model_kwargs=_ENCODER, **_FAIR),
    "unet_gan": replace(PRESETS["unet_gan"], model_kwargs=_UNET, **_GAME),
}

# What loss does what: one network, one optimizer, only the loss differs.
_BODY = _ENCODER | {"width": 128, "to_stride": 4}
_LOSS = replace(PRESETS["encoder_unet"], model_kwargs=_BODY, betas=(0.5, 0.999), **_GAME)
_ADVERSARIAL = replace(
    _LOSS,
    model="encoder_unet_gan",
    model_kwargs=_BODY | {"discriminator_channels": 32},
    gan_loss="vanilla",
)
LOSSES = {
    "mse": replace(_LOSS, reconstruction_loss="mse"),
    "classes": replace(
        _LOSS, model="color_classifier", reconstruction_loss="rebalanced_cross_entropy"
    ),
    "gan_10": replace(_ADVERSARIAL, reconstruction_weight=10.0),
    "l1": replace(_LOSS, reconstruction_loss="l1"),
    "gan_100": replace(_ADVERSARIAL, reconstruction_weight=100.0),
    "smooth_l1": replace(_LOSS, reconstruction_loss="smooth_l1"),
}

OTHERS = {
    "unet": replace(PRESETS["unet"], model_kwargs=_UNET, **_GAME),
    "least_squares": replace(PRESETS["lsgan"], model_kwargs=_UNET, **_GAME),
    "sagan": replace(PRESETS["sagan"], model_kwargs=PRESETS["sagan"].model_kwargs | _UNET, **_GAME),
    "nogan": replace(
        PRESETS["nogan"],
        **_GAME,
        model_kwargs=_BODY
        | {
            "attention": 8,
            "spectral_norm": True,
            "discriminator_attention": 8,
            "discriminator_channels": 32,
        },
        lr=3e-4,
        reconstruction_loss="l1",
        reconstruction_weight=10.0,
        phases=(("generator", 4, 1.0), ("discriminator", 1, 1.0), ("joint", 1, 0.2)),
    ),
    "hints": replace(PRESETS["hint_guided"], model_kwargs=_BODY | {"hints": True}, **_GAME),
    "degradation_prob": replace(PRESETS["degraded"], model_kwargs=_BODY, **_GAME),
}
METHODS = ATTEMPTS | LOSSES | OTHERS


def runs() -> list[tuple[str, int]]:
    """Every method with its seeds: first all once, then again."""
    first = [(method, 0) for method in METHODS]
    return first + [(m, seed) for seed in range(1, SEEDS) for m in ATTEMPTS | LOSSES]


def settings(method: str, seed: int, weights: str | None) -> TrainConfig:
    config = METHODS[method]
    args = dict(config.model_kwargs)
    if "encoder_name" in args:
        args["encoder_weights"] = weights
    return replace(config, model_kwargs=args, seed=seed)


def split(data: Path) -> dict[str, tuple[PhotoRecord, ...]]:
    """The photos of each part; a sixth of the training photos are taken for validation."""
    folder = PhotoFolder(data)
    train = folder.select("train", min_side=SIZE).photos
    is_val = {photo: _hash(photo.id) % 6 == 0 for photo in train}
    return {
        "train": tuple(photo for photo in train if not is_val[photo]),
        "val": tuple(photo for photo in train if is_val[photo]),
        "test": folder.select("test", min_side=SIZE).photos,
    }


def _hash(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])


def train(method: str, seed: int, data: Path, weights: str | None, out: Path) -> None:
    """Train one run to its end; a run that was begun goes on."""
    photos = split(data)
    trainer = open_run(settings(method, seed, weights), out / f"{method}-{seed}", "cpu")
    trainer.fit(
        train_loader(photos["train"], SIZE, BATCH, seed),
        eval_loader(photos["val"], SIZE, BATCH),
    )


def is_scored(
    method: str, seed: int, data: Path, weights: str | None, results: Path = RESULTS
) -> bool:
    """Whether the result of a run is kept, by which it need neither be trained nor judged again.

    Raises:
        ValueError: if what is kept is of other test photos or settings.
    """
    name = f"{method}-{seed}"
    result = results / name
    if not _is_judged(result / f"{name}.json", split(data)["test"]):
        return False
    kept = TrainConfig.load(result / "config.json")
    if asdict(kept) != without_places(settings(method, seed, weights)):
        raise ValueError(f"{result} is of other settings than today's: use other --results")
    return True


def score(method: str, seed: int, data: Path, out: Path, results: Path = RESULTS) -> None:
    """Judge a finished run by the test photos, once, and keep what is small of it."""
    name = f"{method}-{seed}"
    result, run = results / name, out / name
    photos = split(data)["test"]
    row = ModelPredictor(run)
    known = out / "trivial" / "features"
    if known.exists():  # what the networks see in the truth need not be asked again
        shutil.copytree(known, run / "test" / "features", dirs_exist_ok=True)
    judged = evaluate({name: row}, photos, SIZE, run / "test")
    more = {}
    if row.colorizer.predicts_distribution:
        rows = {f"{name} at {vividness:g}": row.at(vividness) for vividness in VIVIDNESS}
        more = evaluate(rows, photos, SIZE, run / "vividness", features=False, full=False)
    result.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(run / "log.jsonl", result / "log.jsonl")
    config = without_places(TrainConfig.load(run / "config.json"))
    with atomic_write(result / "config.json") as part:
        part.write_text(json.dumps(config, indent=2) + "\n")
    if seed == 0:
        painted = {key: row(key, photo) for key, photo in sample_photos().items()}
        save_pictures(painted, result / "painted")
    for other, found in more.items():
        if other != GROUND_TRUTH:
            found.save(result / f"{other}.json")
    judged[name].save(result / f"{name}.json")  # last, by which a run counts as scored


def without_places(config: TrainConfig) -> dict:
    """Settings to be kept: of the encoder's weights the file, not where it lay."""
    kept = asdict(config)
    weights = kept["model_kwargs"].get("encoder_weights")
    if weights is not None:
        kept["model_kwargs"]["encoder_weights"] = Path(weights).name
    return kept


def _is_judged(result: Path, photos: Sequence[PhotoRecord]) -> bool:
    """Whether a result is there, and of these photos.

    Raises:
        ValueError: if it is of others.
    """
    if not result.exists():
        return False
    if EvaluationResult.load(result).photos != [photo.id for photo in photos]:
        raise ValueError(f"{result} is of other test photos: use other --results")
    return True


def score_trivial(data: Path, out: Path, results: Path = RESULTS) -> None:
    """Judge the truth and the rows that learned nothing."""
    photos = split(data)
    if _is_judged(results / "trivial" / "truth.json", photos["test"]):
        return
    memory = TrainingReference(photos["train"], out / "training.pt")
    judged = evaluate(baselines(memory), photos["test"], SIZE, out / "trivial")
    for name, row in reversed(judged.items()):  # last the truth, by which they count as scored
        row.save(results / "trivial" / f"{name}.json")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, type=Path, metavar="PHOTOS")
    parser.add_argument("--weights", metavar="FILE", help="of a torchvision MobileNetV2")
    parser.add_argument("--out", type=Path, default=Path("runs/arena"), metavar="DIR")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="DIR")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="runs at a time (1)")
    parser.add_argument("--only", metavar="METHOD-SEED", help="this run alone, in this process")
    parser.add_argument(
        "--methods", nargs="+", choices=METHODS, metavar="METHOD", help="of these alone"
    )
    args = parser.parse_args()
    if args.jobs < 1:
        parser.error(f"--jobs must be at least 1, got {args.jobs}")
    names = [f"{method}-{seed}" for method, seed in [("trivial", 0), *runs()]]
    if args.only and args.only not in names:
        parser.error(f"--only must be one of {', '.join(names)}, got {args.only}")
    if not args.data.is_dir():
        parser.error(f"no such folder of photos: {args.data}")
    if args.only:
        tune_malloc()
        method, _, seed = args.only.rpartition("-")
        if method == "trivial":
            score_trivial(args.data, args.out, args.results)
        elif not is_scored(method, int(seed), args.data, args.weights, args.results):
            train(method, int(seed), args.data, args.weights, args.out)
            score(method, int(seed), args.data, args.out, args.results)
        return 0
    # One thread each: two runs side by side learn nearly twice as fast as one on two threads.
    environment = os.environ | {"OMP_NUM_THREADS": "1"}

    def begin(name: str) -> int:
        command = [sys.executable, __file__, *sys.argv[1:], "--only", name]
        return subprocess.run(command, env=environment).returncode

    with ThreadPoolExecutor(args.jobs) as pool:
        wanted = ("trivial", *(args.methods or METHODS))
        names = [name for name in names if name.rpartition("-")[0] in wanted]
        failed = [n for n, status in zip(names, pool.map(begin, names), strict=True) if status]
    print("failed: " + ", ".join(failed) if failed else "all runs finished")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
