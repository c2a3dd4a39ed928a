"""Execute a notebook from its first cell to its last: python scripts/run_notebook.py IN OUT.

The heading of each section is printed as it starts. Progress bars are reduced to their last state.
"""

import itertools
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

PROGRESS_BAR = re.compile(r"\d%\|")  # of tqdm
CURSOR_UP = "\x1b[A"


def execute(source: Path, target: Path) -> None:
    """Execute a notebook in its own folder; a failing one is written as far as it ran."""
    notebook = nbformat.read(source, as_version=4)
    start = time.monotonic()

    def announce(cell, cell_index):
        before = notebook.cells[cell_index - 1]
        if before.cell_type == "markdown" and before.source.startswith("#"):
            title = before.source.splitlines()[0].lstrip("# ")
            print(f"{time.monotonic() - start:6.0f} s  {title}", flush=True)

    client = NotebookClient(
        notebook,
        timeout=None,
        resources={"metadata": {"path": str(source.parent)}},
        on_cell_execute=announce,
    )
    try:
        client.execute()
    finally:  # the outputs so far help to find the reason of a failure
        tidy(notebook)
        target.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, target)
    print(f"{time.monotonic() - start:6.0f} s  done")


def tidy(notebook: nbformat.NotebookNode) -> None:
    """Remove metadata and outputs that are of no use to a reader."""
    notebook.metadata.pop("widgets", None)
    notebook.metadata.kernelspec = {
        "display_name": "Python 3",
        "language": "python",
        "name": "python3",
    }
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if "outputs" in cell:
            cell.outputs = list(tidy_outputs(cell.outputs))


def tidy_outputs(outputs: list[nbformat.NotebookNode]) -> Iterator[nbformat.NotebookNode]:
    """Join consecutive pieces of a stream and keep only the last state of progress bars."""
    for (kind, name), group in itertools.groupby(
        outputs, key=lambda output: (output.output_type, output.get("name"))
    ):
        if kind != "stream":
            yield from group
            continue
        text = "".join(output.text for output in group).replace(CURSOR_UP, "")
        lines = [line for line in re.split(r"[\r\n]+", text) if line.strip()]
        bars = [line for line in lines if PROGRESS_BAR.search(line)]
        kept = [line for line in lines if line not in bars[:-1]]
        if kept:
            yield nbformat.v4.new_output("stream", name=name, text="\n".join(kept) + "\n")


if __name__ == "__main__":
    try:
        execute(Path(sys.argv[1]), Path(sys.argv[2]))
    except CellExecutionError as error:
        sys.exit(f"{sys.argv[1]} stopped: {error}")
