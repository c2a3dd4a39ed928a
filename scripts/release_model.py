"""Choose, train, tune, pack and evaluate the model that is released with the package.

    python scripts/release_model.py choose   --data PHOTOS --weights MOBILENET_V2
    python scripts/release_model.py train    --data PHOTOS --weights MOBILENET_V2
    python scripts/release_model.py copy
    python scripts/release_model.py train    --data PHOTOS --restart
    python scripts/release_model.py tune     --data PHOTOS
    python scripts/release_model.py pack
    python scripts/release_model.py evaluate --data PHOTOS

`choose` compares three methods on one budget; `train` trains the chosen one for long; `copy` keeps
a small copy of what it has reached, from which `train --restart` goes on with a fresh optimizer
where the runs are lost; `tune` compares size and vividness on validation photos; `pack` writes the
model into `colorize/weights/`; `evaluate` evaluates it once on the test photos. `PHOTOS` is as of
`scripts/benchmark.py`, the validation photos too. Every command continues where it was stopped. Two
processes on two cores train faster than one, with 16 photos each (with fewer, a process of one
thread leaves oneDNN for torch's slow convolution):

    python -m torch.distributed.run --nproc_per_node=2 scripts/release_model.py train ...
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from benchmark import LOSSES, SIZE, split_photos
from reports.pages import sample_photos, save_jpegs
from torch import Tensor
from tqdm import tqdm

from colorize.color.curves import to_uint8
from colorize.color.lab import lab_to_rgb, rgb_to_lab, rgb_to_lightness
from colorize.config import TrainConfig
from colorize.data.dataset import ExampleSettings
from colorize.data.folder import InspectedPhoto, PhotoFolder
from colorize.data.loaders import eval_loader, train_loader
from colorize.evaluation.baselines import GROUND_TRUTH, TrainingReference, baselines
from colorize.evaluation.evaluator import evaluate
from colorize.evaluation.predictors import ModelPredictor, Predictor
from colorize.evaluation.tables import write_summary
from colorize.inference.colorizer import Colorizer
from colorize.io.image import resize
from colorize.metrics.image import ab_error, colorfulness
from colorize.models.layers import upsample_like
from colorize.models.pretrained import BUNDLED, CONFIG, DEFAULT, WEIGHTS, load, model_card, save
from colorize.presets import PRESETS
from colorize.trainers import open_run
from colorize.utils.device import tune_malloc
from colorize.utils.distributed import distributed_context, rank, world_size
from colorize.utils.files import atomic_write, file_sha256

RESULTS = Path(__file__).parents[1] / "report" / "results" / "release"
VIVIDNESS = (0.0, 0.3, 0.5, 0.62, 0.7, 0.8, 0.9, 1.0)
CHOICE_VIVIDNESS = (0.3, 0.62, 0.9)  # fewer, and fewer photos: the choice is between methods
CHOICE_PHOTOS = 500  # for validation
TUNING_PHOTOS = 200  # for validation
TUNING_SIZES = (128, 160, 192, 224)  # px, of the model's input
PRIOR_STRENGTHS, TUNING_VIVIDNESS = (1.0, 0.8, 0.7, 0.6), (0.0, 0.3, 0.62, 0.8)
EVALUATION_SIZE = 256  # px

# How the model is packed, chosen by the tables of `tune` and of `scripts/tune_views.py`.
PACKED_SIZE, PRIOR_STRENGTH, TEMPERATURE = 160, 0.7, 0.2

# Two runs of the benchmark (in this folder as l1-1 and classification-1 they are not trained
# again), and a GAN that starts from the weights of a classification. Each sees as many 96 px crops.
_NOGAN = replace(
    LOSSES["classification"],
    model="classifier_gan",
    model_kwargs=LOSSES["classification"].model_kwargs | {"discriminator_channels": 32},
    reconstruction_loss="l1",
    gan_loss="vanilla",
    reconstruction_weight=10.0,
    phases=(("discriminator", 1, 1.0), ("joint", 1, 0.2)),
    epochs=2,
)
CANDIDATES = {
    "l1": (LOSSES["l1"],),
    "classification": (LOSSES["classification"],),
    "classification_nogan": (replace(LOSSES["classification"], epochs=4), _NOGAN),
}

# Photos that no model of ours is trained on: every choice is made on them.
VALIDATION = RESULTS / "validation.txt"

# The chosen method, wider and with hints, at growing sizes; finally as it will be used: mostly
# without hints, and on degraded photos too. On 18,300 photos that is 1.6 million crops.
_RELEASE = replace(
    PRESETS["zhang2016"],
    model_kwargs={"encoder_name": "mobilenet_v2", "padding": "same", "width": 192, "hints": True},
    betas=(0.5, 0.999),
    lr=4e-4,
    crop_size=96,
    batch_size=32,
)
STAGES = (
    replace(_RELEASE, epochs=44),
    replace(_RELEASE, crop_size=128, epochs=26, lr=3e-4),
    replace(_RELEASE, crop_size=160, epochs=18, lr=2e-4, hint_dropout=0.5, degradation_prob=0.25),
)
COPY = RESULTS / "copy"  # of the model in training; small enough for the repository
RUN = "shipped"  # the runs' name; one of this name is still in training


def release_split(data: Path) -> dict[str, tuple[InspectedPhoto, ...]]:
    """Select training and validation photos of a prepared folder, by the list in `VALIDATION`.

    Raises:
        ValueError: if the folder lacks photos of the list.
    """
    names = set(VALIDATION.read_text().split())
    folder = PhotoFolder(data)
    photos = [
        photo for split in ("train", "val") for photo in folder.select(split, min_side=SIZE).photos
    ]
    # A photo prepared from WebP has both suffixes.
    is_val = {photo: not names.isdisjoint((photo.path.name, photo.path.stem)) for photo in photos}
    val = tuple(photo for photo in photos if is_val[photo])
    if len(val) != len(names):
        raise ValueError(f"{data} holds {len(val)} of the {len(names)} photos in {VALIDATION}")
    return {"train": tuple(photo for photo in photos if not is_val[photo]), "val": val}


def train(
    name: str,
    stages: Sequence[TrainConfig],
    data: Path,
    weights: str | None,
    out: Path,
    device: str,
    init_from: str | None = None,
    first: int = 1,
) -> Path:
    """Train one stage after the other.

    Args:
        name: of the runs: `NAME-1`, `NAME-2`, ...
        stages: settings of each.
        data: the photos.
        weights: of the encoder; needed unless a model is given.
        out: folder of the runs.
        device: where to train.
        init_from: a model to start from.
        first: number of the first stage.

    Returns:
        The last stage's run.
    """
    photos = (split_photos if name in CANDIDATES else release_split)(data)
    for number, stage in enumerate(stages, first):
        run = out / f"{name}-{number}"
        large = {
            split: [p for p in photos[split] if min(p.width, p.height) >= stage.crop_size]
            for split in ("train", "val")
        }
        kwargs = dict(stage.model_kwargs)
        if init_from is None:
            kwargs["encoder_weights"] = weights
        config = replace(stage, model_kwargs=kwargs, init_from=init_from)
        open_run(config, run, device).fit(
            train_loader(
                large["train"],
                config.crop_size,
                config.batch_size,
                config.seed,
                settings=ExampleSettings.from_config(config),
            ),
            eval_loader(large["val"], config.crop_size, config.batch_size // world_size()),
        )
        init_from = str(run)
    return run


def copy(out: Path) -> None:
    """Keep a small copy of the best model so far, and the progress of its run."""
    runs = [out / f"{RUN}-{number}" for number in range(1, len(STAGES) + 1)]
    number, run = max((n, run) for n, run in enumerate(runs, 1) if (run / "log.jsonl").exists())
    epochs = len((run / "log.jsonl").read_text().splitlines())
    if COPY.exists():
        shutil.rmtree(COPY)
    trained = load(str(run))
    save(trained, COPY, f"Copy of a model in training: stage {number}, {epochs} epochs.\n")
    progress = {"stage": number, "epochs": epochs, "seed": STAGES[number - 1].seed}
    with atomic_write(COPY / "progress.json") as tmp:
        tmp.write_text(json.dumps(progress) + "\n")
    print(f"{COPY}: {progress}")


def remaining_stages(number: int, epochs: int) -> tuple[TrainConfig, ...]:
    """Return what remains to be trained by a fresh optimizer.

    Args:
        number: of the stage, from 1.
        epochs: of it that are done.

    Returns:
        An epoch at a tenth of the learning rate that has been reached, because the optimizer's
        averages are empty; the rest of the stage, from that learning rate down; the other stages.
    """
    stage, later = STAGES[number - 1], STAGES[number:]
    if epochs >= stage.epochs:
        return later
    lr = stage.lr * stage.lr_factor(epochs)
    warm_up = replace(stage, epochs=1, lr=lr / 10, lr_schedule="constant")
    rest = replace(stage, epochs=stage.epochs - epochs, lr=lr)
    return (warm_up, rest, *later)


def restart(data: Path, out: Path, device: str) -> None:
    """Go on from the copy, in runs of their own."""
    progress = json.loads((COPY / "progress.json").read_text())
    stages = remaining_stages(progress["stage"], progress["epochs"])
    train(f"{RUN}-restarted", stages, data, None, out, device, init_from=str(COPY))


def choose(data: Path, weights: str, out: Path, device: str) -> None:
    """Train the candidates and compare them on the validation photos."""
    runs = {
        name: train(name, stages, data, weights, out, device) for name, stages in CANDIDATES.items()
    }
    if rank() > 0:
        return
    predictors: list[Predictor] = []
    for name, run in runs.items():
        predictor = ModelPredictor(run, name=name)
        predictors.append(predictor)
        if predictor.colorizer.predicts_distribution:
            predictors += [predictor.with_vividness(v) for v in CHOICE_VIVIDNESS]
    photos = split_photos(data)
    predictors += baselines(TrainingReference(photos["train"], out / "training.pt"))
    results = evaluate(
        predictors,
        photos["val"][:CHOICE_PHOTOS],
        CANDIDATES["l1"][0].crop_size,
        out / "choice",
        full_size=False,
    )
    print(write_summary(results, RESULTS / "choice"))


def tune(data: Path, model: str) -> None:
    """Measure the model on validation photos, in squares of 256 px, at several settings.

    For each input size, prior strength and vividness: the mean ab distance in CIELAB units, and
    the mean colorfulness. The best setting has the lowest distance among those whose colorfulness
    is within a tenth of the ground truth's.
    """
    network = Colorizer.from_pretrained(model).network
    measured: dict[str, list[Tensor]] = {}

    def measure(setting: str, lightness: Tensor, pred_ab: Tensor, target_ab: Tensor) -> None:
        colors = colorfulness(to_uint8(lab_to_rgb(lightness, pred_ab, gamut="table")))
        values = torch.stack((ab_error(pred_ab, target_ab), colors))
        measured.setdefault(setting, []).append(values)

    large = [
        photo
        for photo in split_photos(data)["val"]
        if min(photo.width, photo.height) >= EVALUATION_SIZE
    ]
    for rgb in tqdm(eval_loader(large[:TUNING_PHOTOS], EVALUATION_SIZE, 10), "tuning"):
        lightness, target_ab = rgb_to_lab(rgb)
        measure(GROUND_TRUTH, lightness, target_ab, target_ab)
        measure("gray", lightness, torch.zeros_like(target_ab), target_ab)
        for size in TUNING_SIZES:
            inputs = rgb_to_lightness(torch.stack([resize(photo, size, size) for photo in rgb]))
            for network.prior_strength in PRIOR_STRENGTHS:
                with torch.no_grad():
                    logits = network.logits(inputs)
                for vividness in TUNING_VIVIDNESS:
                    ab = upsample_like(network.decode(logits, 1 - vividness), lightness)
                    prior = f"prior strength {network.prior_strength:g}"
                    measure(f"{size} px, {prior} at {vividness:g}", lightness, ab, target_ab)
    table = {setting: torch.cat(v, dim=1).mean(1).tolist() for setting, v in measured.items()}
    with atomic_write(RESULTS / "tuning.json") as tmp:
        tmp.write_text(json.dumps(table, indent=1) + "\n")
    for setting, (error, color) in table.items():
        print(f"{setting:36}  mean ab distance {error:6.2f}  colorfulness {color:5.1f}")
    target = table[GROUND_TRUTH][1]
    near = [s for s in table if " px" in s and abs(table[s][1] / target - 1) < 0.1]
    print(f"best: {min(near, key=lambda setting: table[setting][0])}")


def pack(model: str) -> None:
    """Write the model into the package: fp16 weights and SHA-256; the card is written by hand.

    The embedded test photos, colorized by it, are stored with the results.
    """
    trained = load(model)
    kwargs = trained.model_kwargs | {"temperature": TEMPERATURE, "prior_strength": PRIOR_STRENGTH}
    packed = replace(trained, model_kwargs=kwargs, size=PACKED_SIZE, name=DEFAULT)
    with tempfile.TemporaryDirectory() as folder:
        save(packed, folder, model_card(packed))
        for name in (CONFIG, WEIGHTS):
            with atomic_write(BUNDLED / DEFAULT / name) as tmp:
                shutil.copyfile(Path(folder) / name, tmp)
    digest = file_sha256(BUNDLED / DEFAULT / WEIGHTS)
    with atomic_write(BUNDLED / "SHA256SUMS") as tmp:
        tmp.write_text(f"{digest}  {DEFAULT}/{WEIGHTS}\n")
    colorizer = Colorizer.from_pretrained()
    colorized = {name: colorizer(photo) for name, photo in sample_photos().items()}
    save_jpegs(colorized, RESULTS / "colorized")


def evaluate_release(data: Path, model: str, out: Path) -> None:
    """Evaluate a model on the test photos at every vividness, and once as in the benchmark."""
    photos = split_photos(data)
    predictor = ModelPredictor(model, name="released", views=None)  # as it is used
    predictors = [predictor, *(predictor.with_vividness(v) for v in VIVIDNESS)]
    predictors += baselines(TrainingReference(photos["train"], out / "training.pt"))
    results = evaluate(predictors, photos["test"], EVALUATION_SIZE, out / "test")
    for name, result in results.items():
        result.save(RESULTS / "test" / f"{name}.json.xz")
    one_view = ModelPredictor(model, name="released")  # as the methods of the benchmark
    benchmark = evaluate([one_view], photos["test"], SIZE, out / "benchmark")
    benchmark["released"].save(RESULTS / "benchmark.json.xz")
    print(write_summary(results, RESULTS / "test"))


def _parser() -> argparse.ArgumentParser:
    usage = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=usage)
    commands = ("choose", "train", "copy", "tune", "pack", "evaluate")
    parser.add_argument("command", choices=commands)
    parser.add_argument("--data", type=Path, metavar="PHOTOS", help="folder of photos")
    parser.add_argument("--weights", metavar="FILE", help="weights of a torchvision MobileNetV2")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("runs/release"),
        metavar="DIR",
        help="folder of the runs (default: runs/release)",
    )
    parser.add_argument(
        "--model",
        metavar="MODEL",
        help="model to train from its second stage on, to tune or pack (default: the last stage's "
        "run), or to evaluate (default: the packed one)",
    )
    parser.add_argument("--restart", action="store_true", help="train from the kept copy on")
    return parser


def _train(args: argparse.Namespace) -> None:
    with distributed_context("cpu") as device:
        if args.restart:
            restart(args.data, args.output, device)
        elif args.model is None:
            train(RUN, STAGES, args.data, args.weights, args.output, device)
        else:
            later = STAGES[1:]
            train(RUN, later, args.data, None, args.output, device, args.model, first=2)


def main() -> int:
    """Run one of the commands; returns the exit status."""
    parser = _parser()
    args = parser.parse_args()
    starts_anew = args.command == "train" and not args.restart and args.model is None
    if args.data is None and args.command not in ("copy", "pack"):
        parser.error(f"{args.command} needs --data, a folder of photos")
    if args.weights is None and (args.command == "choose" or starts_anew):
        parser.error(f"{args.command} needs --weights, the file of a MobileNetV2")
    tune_malloc()
    last = str(args.output / f"{RUN}-{len(STAGES)}")
    match args.command:
        case "choose":
            with distributed_context("cpu") as device:
                choose(args.data, args.weights, args.output, device)
        case "train":
            _train(args)
        case "copy":
            copy(args.output)
        case "tune":
            tune(args.data, args.model or last)
        case "pack":
            pack(args.model or last)
        case "evaluate":
            evaluate_release(args.data, args.model or DEFAULT, args.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
