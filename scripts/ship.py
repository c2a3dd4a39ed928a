"""Choose, train, score and pack the network that is shipped with the package.

    python scripts/ship.py choose --data PHOTOS --weights MOBILENET_V2   three methods, one budget
    python scripts/ship.py train  --data PHOTOS --weights MOBILENET_V2   the chosen one, for long
    python scripts/ship.py tune   --data PHOTOS   its size and vividness, by the validation photos
    python scripts/ship.py pack                   into colorize/weights/, as they were chosen
    python scripts/ship.py score  --data PHOTOS   once, by the test photos

`PHOTOS` is as of `scripts/arena.py`, the validation photos too. All goes on where it was stopped.
In two processes two cores learn faster than in one, with 16 photos each (with fewer, a process of
one thread leaves oneDNN for torch's slow convolution):

    python -m torch.distributed.run --nproc_per_node=2 scripts/ship.py train ...
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
from arena import LOSSES, SIZE, split
from reports.pages import sample_photos
from torch import Tensor
from tqdm import tqdm

from colorize.color.curves import to_uint8
from colorize.color.lab import lab_to_rgb, rgb_to_lab, rgb_to_lightness
from colorize.config import TrainConfig
from colorize.data.folder import PhotoFolder, PhotoRecord
from colorize.data.loaders import eval_loader, train_loader
from colorize.evaluation.baselines import TrainingReference, baselines
from colorize.evaluation.evaluator import evaluate
from colorize.evaluation.predictors import ModelPredictor
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
from colorize.visualization import save_pictures

RESULTS = Path(__file__).parents[1] / "report" / "results" / "ship"
VIVIDNESS = (0.0, 0.3, 0.5, 0.62, 0.7, 0.8, 0.9, 1.0)
CHOOSING = (0.3, 0.62, 0.9)  # fewer, and by fewer photos: the choice is between methods
CHOSEN_BY = 500  # validation photos
TUNED_BY = 200  # validation photos
SIZES = (128, 160, 192, 224)  # px, at which it could see photos
BALANCES, TUNED_AT = (1.0, 0.8, 0.7, 0.6), (0.0, 0.3, 0.62, 0.8)
SCORED = 256  # px

# By the table of `tune`: how it is shipped.
SEEN, BALANCE, TEMPERATURE = 160, 0.8, 0.2

# Two of the arena's runs (found here as l1-1 and classes-1, they are not trained again), and a game
# that begins with the weights of a run of classes. Each sees as many crops of 96 px.
_NOGAN = replace(
    LOSSES["classes"],
    model="classifier_gan",
    model_kwargs=LOSSES["classes"].model_kwargs | {"discriminator_channels": 32},
    reconstruction_loss="l1",
    gan_loss="vanilla",
    reconstruction_weight=10.0,
    phases=(("discriminator", 1, 1.0), ("joint", 1, 0.2)),
    epochs=2,
)
CANDIDATES = {
    "l1": (LOSSES["l1"],),
    "classes": (LOSSES["classes"],),
    "classes_nogan": (replace(LOSSES["classes"], epochs=4), _NOGAN),
}

# Photos that no network of ours learns from: by them every choice is made.
VALIDATION = RESULTS.parent / "release" / "validation.txt"

# The chosen method, wider and with hints, at growing sizes; at last as it will be used: mostly
# without hints, and for old photos too. Of 18,300 photos that is 1.6 million crops.
_CLASSES = replace(
    PRESETS["zhang2016"],
    model_kwargs={"encoder_name": "mobilenet_v2", "padding": "same", "width": 192, "hints": True},
    betas=(0.5, 0.999),
    lr=4e-4,
    crop_size=96,
    batch_size=32,
)
STAGES = (
    replace(_CLASSES, epochs=44),
    replace(_CLASSES, crop_size=128, epochs=26, lr=3e-4),
    replace(_CLASSES, crop_size=160, epochs=18, lr=2e-4, hint_dropout=0.5, degradation_prob=0.25),
)


def release_split(data: Path) -> dict[str, tuple[PhotoRecord, ...]]:
    """Training and validation photos of a prepared folder, by the list that is kept in git.

    Raises:
        ValueError: if the folder lacks photos of the list.
    """
    names = set(VALIDATION.read_text().split())
    folder = PhotoFolder(data)
    parts = [folder.select(part, min_side=SIZE).photos for part in ("train", "val")]
    photos = [photo for some in parts for photo in some]
    # A photo prepared from WebP bears both suffixes.
    is_val = {photo: not names.isdisjoint((photo.path.name, photo.path.stem)) for photo in photos}
    val = tuple(photo for photo in photos if is_val[photo])
    if len(val) != len(names):
        raise ValueError(f"{data} holds {len(val)} of the {len(names)} photos in {VALIDATION}")
    return {"train": tuple(photo for photo in photos if not is_val[photo]), "val": val}


def train(
    name: str,
    stages: Sequence[TrainConfig],
    data: Path,
    weights: str,
    out: Path,
    device: str,
    start: str | None = None,
) -> Path:
    """Train one stage after the other; returns the last one's run.

    With `start`, a network that has learned in the first stage, from the second stage on.
    """
    photos = (split if name in CANDIDATES else release_split)(data)
    for number, stage in enumerate(stages, 1):
        if start is not None and number == 1:
            continue
        large = {
            part: [photo for photo in some if min(photo.width, photo.height) >= stage.crop_size]
            for part, some in photos.items()
        }
        args = stage.model_kwargs | ({"encoder_weights": weights} if start is None else {})
        config = replace(stage, model_kwargs=args, init_from=start)
        run = out / f"{name}-{number}"
        open_run(config, run, device).fit(
            train_loader(large["train"], config.crop_size, config.batch_size, config.seed),
            eval_loader(large["val"], config.crop_size, config.batch_size // world_size()),
        )
        start = str(run)
    return run


def choose(data: Path, weights: str, out: Path, device: str) -> None:
    """Train the candidates and judge them by the validation photos."""
    runs = {
        name: train(name, stages, data, weights, out, device) for name, stages in CANDIDATES.items()
    }
    if rank() > 0:
        return
    rows = {name: ModelPredictor(run) for name, run in runs.items()}
    for name, row in list(rows.items()):
        if row.colorizer.predicts_distribution:
            rows |= {f"{name} at {v:g}": row.at(v) for v in CHOOSING}
    photos = split(data)
    rows |= baselines(TrainingReference(photos["train"], out / "training.pt"))
    judged = evaluate(
        rows, photos["val"][:CHOSEN_BY], CANDIDATES["l1"][0].size, out / "choice", full=False
    )
    print(write_summary(judged, RESULTS / "choice"))


def tune(data: Path, model: str) -> None:
    """Measure the network by validation photos in squares of 256 px, seen and painted variously.

    Of each size, prior_strength and vividness the mean ab error in CIELAB units, and the mean
    colorfulness. The best is that of the lowest error whose colorfulness is within a tenth of the
    true one.
    """
    network = Colorizer.from_pretrained(model).network
    measures: dict[str, list[Tensor]] = {}

    def measure(row: str, lightness: Tensor, ab: Tensor, truth: Tensor) -> None:
        colors = colorfulness(to_uint8(lab_to_rgb(lightness, ab, gamut="table")))
        measures.setdefault(row, []).append(torch.stack((ab_error(ab, truth), colors)))

    large = [photo for photo in split(data)["val"] if min(photo.width, photo.height) >= SCORED]
    for rgb in tqdm(eval_loader(large[:TUNED_BY], SCORED, 10), "tuning"):
        lightness, truth = rgb_to_lab(rgb)
        measure("truth", lightness, truth, truth)
        measure("grey", lightness, torch.zeros_like(truth), truth)
        for size in SIZES:
            seen = rgb_to_lightness(torch.stack([resize(one, size, size) for one in rgb]))
            for network.prior_strength in BALANCES:
                with torch.no_grad():
                    logits = network.logits(seen)
                for vividness in TUNED_AT:
                    ab = upsample_like(network.decode(logits, 1 - vividness), lightness)
                    row = f"{size} px, prior_strength {network.prior_strength:g} at {vividness:g}"
                    measure(row, lightness, ab, truth)
    table = {row: torch.cat(some, dim=1).mean(1).tolist() for row, some in measures.items()}
    with atomic_write(RESULTS / "tuning.json") as part:
        part.write_text(json.dumps(table, indent=1) + "\n")
    for row, (error, color) in table.items():
        print(f"{row:32}  ab error {error:6.2f}  colorfulness {color:5.1f}")
    true = table["truth"][1]
    near = [row for row in table if " px" in row and abs(table[row][1] / true - 1) < 0.1]
    print(f"best: {min(near, key=lambda row: table[row][0])}")


def pack(model: str) -> None:
    """Write the network into the package: fp16 weights and SHA-256; the card is written by hand.

    What it paints of the embedded test photos goes to the results.
    """
    found = load(model)
    args = found.model_kwargs | {"temperature": TEMPERATURE, "prior_strength": BALANCE}
    shipped = replace(found, model_kwargs=args, crop_size=SEEN, name=DEFAULT)
    with tempfile.TemporaryDirectory() as folder:
        save(shipped, folder, model_card(shipped))
        for name in (CONFIG, WEIGHTS):
            with atomic_write(BUNDLED / DEFAULT / name) as part:
                shutil.copyfile(Path(folder) / name, part)
    digest = file_sha256(BUNDLED / DEFAULT / WEIGHTS)
    with atomic_write(BUNDLED / "SHA256SUMS") as part:
        part.write_text(f"{digest}  {DEFAULT}/{WEIGHTS}\n")
    colorizer = Colorizer.from_pretrained()
    painted = {name: colorizer(photo) for name, photo in sample_photos().items()}
    save_pictures(painted, RESULTS / "painted")


def score(data: Path, model: str, out: Path) -> None:
    """Judge a network by the test photos, at every vividness; and as the arena judged its runs."""
    photos = split(data)
    row = ModelPredictor(model)
    rows = {"shipped": row} | {f"shipped at {v:g}": row.at(v) for v in VIVIDNESS}
    rows |= baselines(TrainingReference(photos["train"], out / "training.pt"))
    judged = evaluate(rows, photos["test"], SCORED, out / "score")
    for name, found in judged.items():
        found.save(RESULTS / "test" / f"{name}.json")
    as_others = evaluate({"shipped": row}, photos["test"], SIZE, out / "score-arena")
    as_others["shipped"].save(RESULTS / "arena.json")
    print(write_summary(judged, RESULTS / "test"))


def main() -> int:
    usage = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=usage)
    parser.add_argument("what", choices=("choose", "train", "tune", "pack", "score"))
    parser.add_argument("--data", type=Path, metavar="PHOTOS")
    parser.add_argument("--weights", metavar="FILE", help="of a torchvision MobileNetV2")
    parser.add_argument("--out", type=Path, default=Path("runs/ship"), metavar="DIR")
    parser.add_argument(
        "--model",
        metavar="MODEL",
        help="to train from its second stage on, tune or pack (the last), or score (the packed)",
    )
    args = parser.parse_args()
    tune_malloc()
    last = str(args.out / f"shipped-{len(STAGES)}")
    if args.data is None and args.what != "pack":
        parser.error(f"{args.what} needs --data, a folder of photos")
    if args.what == "score":
        score(args.data, args.model or DEFAULT, args.out)
    elif args.what == "tune":
        tune(args.data, args.model or last)
    elif args.what == "pack":
        pack(args.model or last)
    elif args.weights is None:
        parser.error(f"{args.what} needs --weights, the file of a MobileNetV2")
    else:
        with distributed_context("cpu") as device:
            if args.what == "choose":
                choose(args.data, args.weights, args.out, device)
            else:
                train("shipped", STAGES, args.data, args.weights, args.out, device, args.model)
    return 0


if __name__ == "__main__":
    sys.exit(main())
