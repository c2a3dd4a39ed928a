"""Time ours against plain implementations, in one run: python scripts/bench.py NAME --json FILE.

Where both compute the same function, they are checked to agree. They are timed in turn; the medians
and their ratio are reported. The load of the machine changes the times, but hardly the ratio.
"""

import argparse
import json
import platform
from pathlib import Path

import torch
from benches import color, data, evaluation, infer, train, video
from benches.timing import Row, use_tiny_sizes

from colorize.utils.files import atomic_write

GROUPS = {
    "color": color.ROWS,
    "data": data.ROWS,
    "train": train.ROWS,
    "evaluation": evaluation.ROWS,
    "infer": infer.ROWS,
    "video": video.ROWS,
}
ROWS = {name: row for rows in GROUPS.values() for name, row in rows.items()}
_MAIN_COLUMNS = ("name", "plain", "ours", "unit", "ratio")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    choices = ", ".join((*GROUPS, *ROWS))
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"groups or rows, of {choices} (default: all)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results to FILE")
    parser.add_argument("--tiny", action="store_true", help=argparse.SUPPRESS)  # for tests
    args = parser.parse_args()
    # A group may have the name of one of its rows: it stands for all of them.
    names = [row for name in args.names or GROUPS for row in GROUPS.get(name, (name,))]
    unknown = sorted(set(names) - set(ROWS))
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {choices}")
    if args.tiny:
        use_tiny_sizes()
    threads = torch.get_num_threads()
    rows = []
    for name in names:
        torch.manual_seed(0)
        torch.set_num_threads(threads)
        rows.append({"name": name} | ROWS[name]())
        _print(rows[-1])
    if args.json:
        results = {
            "torch": torch.__version__,
            "cpu": platform.machine(),
            "threads": threads,
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
            "rows": rows,
        }
        with atomic_write(args.json) as tmp:
            tmp.write_text(json.dumps(results, indent=2) + "\n")


def _print(row: Row) -> None:
    summary = (ROWS[row["name"]].__doc__ or "").splitlines()[0]
    print(
        f"{row['name']:<13} plain {row['plain']:9.2f}  ours {row['ours']:9.2f} {row['unit']:<9}"
        f" ratio {row['ratio']:5.2f}   {summary}"
    )
    more = [f"{key} {_short(row[key])}" for key in row if key not in _MAIN_COLUMNS]
    if more:
        print(f"{'':<13} {'  '.join(more)}", flush=True)


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
