"""Time our ways against the plain ones, in one run: python scripts/bench.py NAME --json FILE.

Both are checked to agree where they are the same function, and timed in turn; the medians and
their ratio count. The machine's load moves the times, and much less the ratio.
"""

import argparse
import json
import platform
from pathlib import Path

import torch
from benches import color, data, evaluation, infer, train, video

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
_PRINTED = ("name", "plain", "ours", "unit", "ratio")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known = ", ".join((*GROUPS, *ROWS))
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {known}; all")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    names = [one for name in args.names for one in GROUPS.get(name, (name,))]
    unknown = set(names) - set(ROWS)
    if unknown:
        parser.error(f"no bench {', '.join(sorted(unknown))}; there are {known}")
    threads = torch.get_num_threads()
    rows = []
    for name in names or ROWS:
        torch.manual_seed(0)
        torch.set_num_threads(threads)
        row = {"name": name} | ROWS[name]()
        rows.append(row)
        more = "  ".join(f"{key} {_short(row[key])}" for key in row if key not in _PRINTED)
        print(
            f"{name:<13} plain {row['plain']:9.2f}  ours {row['ours']:9.2f} {row['unit']:<9}"
            f" ratio {row['ratio']:5.2f}   {ROWS[name].__doc__.splitlines()[0]}"
        )
        if more:
            print(f"{'':<13} {more}", flush=True)
    if args.json:
        gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
        machine = {"cpu": platform.machine(), "threads": threads, "gpu": gpu}
        found = {"torch": torch.__version__, **machine, "rows": rows}
        with atomic_write(args.json) as part:
            part.write_text(json.dumps(found, indent=2) + "\n")


def _short(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.3g}"


if __name__ == "__main__":
    main()
