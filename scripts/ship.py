"""Choose, train and score the network that is shipped with the package.

    python scripts/ship.py choose --data PHOTOS --weights MOBILENET_V2   three methods, one budget
    python scripts/ship.py train  --data PHOTOS --weights MOBILENET_V2   the chosen one, for long
    python scripts/ship.py score  --data PHOTOS                          once, by the test photos

`PHOTOS` is as of `scripts/arena.py`, the validation photos too. All goes on where it was stopped.
In two processes two cores learn nearly twice as fast as in one:

    python -m torch.distributed.run --nproc_per_node=2 scripts/ship.py train ...
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from arena import split

from colorize.config import PRESETS, TrainConfig
from colorize.data.loaders import eval_loader, train_loader
from colorize.evaluation.judge import judge
from colorize.evaluation.rows import Memory, PaintedRun, trivial_rows
from colorize.evaluation.summary import write_summary
from colorize.runtime import keep_memory, many_processes, rank, world_size
from colorize.trainers import open_run

RESULTS = Path(__file__).parents[1] / "report" / "results" / "ship"
BATCH = 16
VIVIDNESS = (0.0, 0.3, 0.5, 0.62, 0.7, 0.8, 0.9, 1.0)
SCORED = 256  # px; the size at which it is scored, and at which it will see photos

_BODY = {"backbone": "mobilenet_v2", "padding": "same", "width": 192, "hints": True}
_CLASSES = replace(
    PRESETS["colorful"], model_args=_BODY, betas=(0.5, 0.999), size=96, batch_size=BATCH
)
_NOGAN = replace(
    _CLASSES,
    model="classifier_gan",
    model_args=_BODY | {"critic_channels": 32},
    distance="l1",
    adversarial="vanilla",
    distance_weight=10.0,
    phases=(("critic", 1, 1.0), ("both", 1, 0.2)),
    epochs=2,
)

# Each sees as many crops of 96 px; a run that follows another begins with its weights.
CANDIDATES = {
    "l1": (
        replace(
            _CLASSES,
            model="backbone_unet",
            model_args=_BODY | {"to_stride": 4},
            distance="l1",
            epochs=6,
        ),
    ),
    "classes": (replace(_CLASSES, epochs=6),),
    "classes_nogan": (replace(_CLASSES, epochs=4), _NOGAN),
}

# The chosen method, at growing sizes.
STAGES = (
    replace(_CLASSES, epochs=30),
    replace(_CLASSES, size=128, epochs=20, lr=2e-4),
    replace(_CLASSES, size=192, epochs=6, lr=1e-4),
)


def train(
    name: str, stages: Sequence[TrainConfig], data: Path, weights: str, out: Path, device: str
) -> Path:
    """Train one stage after the other; returns the last one's run."""
    photos = split(data)
    start = None
    for number, stage in enumerate(stages, 1):
        args = stage.model_args | ({"backbone_weights": weights} if start is None else {})
        config = replace(stage, model_args=args, start=start)
        run = out / f"{name}-{number}"
        open_run(config, run, device).fit(
            train_loader(photos["train"], config.size, BATCH, config.seed),
            eval_loader(photos["val"], config.size, BATCH // world_size()),
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
    rows = {name: PaintedRun(run) for name, run in runs.items()}
    for name, row in list(rows.items()):
        if row.colorizer.has_classes:
            rows |= {f"{name} at {v:g}": row.at(v) for v in VIVIDNESS}
    photos = split(data)
    rows |= trivial_rows(Memory(photos["train"], out / "training.pt"))
    judged = judge(rows, photos["val"], CANDIDATES["l1"][0].size, out / "choice", full=False)
    print(write_summary(judged, _made(RESULTS / "choice")))


def score(data: Path, model: str, out: Path) -> None:
    """Judge a network by the test photos, at every vividness."""
    photos = split(data)
    row = PaintedRun(model)
    rows = {"shipped": row} | {f"shipped at {v:g}": row.at(v) for v in VIVIDNESS}
    rows |= trivial_rows(Memory(photos["train"], out / "training.pt"))
    judged = judge(rows, photos["test"], SCORED, out / "score")
    for name, found in judged.items():
        found.save(_made(RESULTS / "test") / f"{name}.json")
    print(write_summary(judged, RESULTS / "test"))


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def main() -> int:
    usage = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=usage)
    parser.add_argument("what", choices=("choose", "train", "score"))
    parser.add_argument("--data", required=True, type=Path, metavar="PHOTOS")
    parser.add_argument("--weights", metavar="FILE", help="of a torchvision MobileNetV2")
    parser.add_argument("--out", type=Path, default=Path("runs/ship"), metavar="DIR")
    parser.add_argument("--model", metavar="MODEL", help="to score; the last stage")
    args = parser.parse_args()
    keep_memory()
    if args.what == "score":
        score(args.data, args.model or str(args.out / f"shipped-{len(STAGES)}"), args.out)
    elif args.weights is None:
        parser.error(f"{args.what} needs --weights, the file of a MobileNetV2")
    else:
        with many_processes("cpu") as device:
            if args.what == "choose":
                choose(args.data, args.weights, args.out, device)
            else:
                train("shipped", STAGES, args.data, args.weights, args.out, device)
    return 0


if __name__ == "__main__":
    sys.exit(main())
