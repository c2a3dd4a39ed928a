import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from fake_unsplash import FakeUnsplash

from colorize.data.folder import split_of

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "colorize.ipynb"

# Runs at the start of every Python process that has it on its path: no address but loopback.
BLOCKER = """
import os, socket
def refuse(what):
    with open(os.environ["BLOCKED_LOG"], "a") as log:
        log.write(f"{what}\\n")
    raise OSError(f"the test blocks {what}")
def is_local(host):
    return host in (None, "", "localhost") or str(host).startswith("127.") or host == "::1"
connect, resolve = socket.socket.connect, socket.getaddrinfo
def checked_connect(self, address):
    if self.family in (socket.AF_INET, socket.AF_INET6) and not is_local(address[0]):
        refuse(address)
    return connect(self, address)
def checked_resolve(host, *args, **kwargs):
    if not is_local(host):
        refuse(host)
    return resolve(host, *args, **kwargs)
socket.socket.connect, socket.getaddrinfo = checked_connect, checked_resolve
"""


@pytest.fixture(scope="module")
def stored():
    return nbformat.read(NOTEBOOK, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_stored_outputs_come_from_one_clean_run(stored):
    counts = [cell.execution_count for cell in code_cells(stored)]
    assert counts == list(range(1, len(counts) + 1))
    kinds = {output.output_type for cell in code_cells(stored) for output in cell.outputs}
    assert "error" not in kinds
    assert sum("image/jpeg" in str(cell.outputs) for cell in code_cells(stored)) >= 8


def test_the_notebook_is_small_and_readable_everywhere(stored):
    assert NOTEBOOK.stat().st_size < 3_000_000
    assert "widgets" not in stored.metadata
    for cell in code_cells(stored):
        assert not cell.source.lstrip().startswith(("!", "%")), "runs as a plain script too"
        assert len(cell.source.splitlines()) <= 12
        assert "class " not in cell.source
        assert "def " not in cell.source


def test_one_cell_holds_the_parameters_and_asks_for_the_quick_profile(stored):
    tagged = [cell for cell in stored.cells if "parameters" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1
    assert 'PROFILE = "quick"' in tagged[0].source


def test_no_path_of_a_machine_is_stored():
    text = NOTEBOOK.read_text()
    assert str(ROOT) not in text
    assert str(Path.home()) + "/" not in text


@pytest.mark.slow
def test_the_quick_notebook_runs_twice_without_a_network(tmp_path):
    blocker = tmp_path / "blocker"
    blocker.mkdir()
    (blocker / "sitecustomize.py").write_text(BLOCKER)
    log = tmp_path / "blocked.log"
    log.touch()
    place = tmp_path / "elsewhere"
    place.mkdir()
    source = place / "colorize.ipynb"
    source.write_text(NOTEBOOK.read_text())
    environment = os.environ | {
        "PYTHONPATH": f"{blocker}{os.pathsep}{ROOT}",
        "BLOCKED_LOG": str(log),
    }

    def execute(target):
        command = [sys.executable, ROOT / "scripts" / "execute.py", source, target]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]

    execute(place / "first.ipynb")
    runs = sorted(place.glob("runs/quick/*/last.pt"))
    assert len(runs) == 3
    written = {path: path.stat().st_mtime_ns for path in runs}
    execute(place / "second.ipynb")
    assert written == {path: path.stat().st_mtime_ns for path in runs}, "a run was redone"
    names = {path.name for path in place.glob("output/figures/*")}
    panels = {"autoencoder_result.jpg", "fcn_result.jpg", "gan_result.jpg"}
    assert panels | {"comparison.jpg", "val_loss.png"} <= names
    assert log.read_text() == ""


@pytest.mark.slow
def test_the_full_profile_runs_from_the_catalogue_on(tmp_path):
    """The card's main use, small: two steps of each attempt at 64 px, on photos made up."""
    with FakeUnsplash(30) as servers:
        people = [servers.row(photo_id)["photographer_username"] for photo_id in servers.ids]
        batch = sum(split_of(person) == "train" for person in people) // 2
        small = {"size": 64, "epochs": 1, "batch_size": batch}
        none = {"model_kwargs": {"encoder_name": "resnet18", "encoder_weights": None}}
        unet = {"model_kwargs": {"depth": 4, "base_channels": 8}}
        changes = {"autoencoder": small | none, "fcn": small | none, "unet_gan": small | unet}
        notebook = nbformat.read(NOTEBOOK, as_version=4)
        (cell,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
        for old, new in (
            ('PROFILE = "quick"', 'PROFILE = "full"'),
            ("ACCEPT_TERMS = False", "ACCEPT_TERMS = True"),
            ("CHANGES = {}", f"CHANGES = {changes}"),
        ):
            assert old in cell.source
            cell.source = cell.source.replace(old, new)
        (cell,) = (cell for cell in notebook.cells if "UnsplashLite(DATA)" in cell.source)
        hosts = f"unsplash.{servers.hosts!r}"
        cell.source = cell.source.replace(
            "UnsplashLite(DATA)", f"UnsplashLite(DATA, hosts={hosts})"
        )
        source = tmp_path / "colorize.ipynb"
        nbformat.write(notebook, source)
        for name in ("first.ipynb", "second.ipynb"):
            command = [sys.executable, ROOT / "scripts" / "execute.py", source, tmp_path / name]
            done = subprocess.run(command, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr[-2000:]
            asked = sum(servers.requests.values())
            assert asked == 32  # the archive, where it really is, and each photo; once
    for name in ("autoencoder", "fcn", "unet_gan"):
        (line,) = (tmp_path / "runs/full" / name / "log.jsonl").read_text().splitlines()
        assert json.loads(line)["steps"] == 2
    assert "30 good" in (tmp_path / "first.ipynb").read_text()


def test_the_blocker_blocks(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(BLOCKER)
    log = tmp_path / "log"
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "BLOCKED_LOG": str(log)}
    code = "import socket; socket.create_connection(('192.0.2.1', 80), timeout=1)"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert done.returncode != 0
    assert "192.0.2.1" in log.read_text()
