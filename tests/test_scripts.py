import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOOLS = ("bash", "dirname", "basename", "awk", "df", "xargs", "cat")


def run(script, *args, cwd=None, **environment):
    return subprocess.run(
        ["bash", ROOT / "scripts" / script, *args],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )


@pytest.fixture
def minimal_path(tmp_path):
    """A PATH with a few tools, to which a test adds fakes."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in TOOLS:
        (folder / tool).symlink_to(shutil.which(tool))
    return folder


def fake(folder, name, text):
    path = folder / name
    path.unlink(missing_ok=True)
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)


@pytest.mark.parametrize("script", ["quickstart.sh", "test.sh"])
def test_an_old_python_is_refused_with_a_remedy(script, minimal_path, tmp_path):
    for name in ("python3", "python"):
        fake(minimal_path, name, "exit 1")  # what an old one answers when asked for its version
    result = run(script, PATH=str(minimal_path), VENV=str(tmp_path / "venv"), PYTHON="")
    assert result.returncode == 1
    assert "no Python 3.11 or newer" in result.stderr
    assert "PYTHON=" in result.stderr
    assert not (tmp_path / "venv").exists()


@pytest.mark.parametrize("script", ["quickstart.sh", "test.sh"])
def test_a_small_disk_is_refused_before_anything_is_installed(script, minimal_path, tmp_path):
    fake(minimal_path, "df", 'echo Filesystem; echo "/dev/x 9 9 3145728 50% /"')
    result = run(script, PATH=str(minimal_path), VENV=str(tmp_path / "venv"), PYTHON=sys.executable)
    assert result.returncode == 1
    assert "only 3 GB free" in result.stderr
    assert "VENV=" in result.stderr
    assert not (tmp_path / "venv").exists()


def test_the_test_command_uses_the_named_environment_and_passes_arguments_on():
    result = run("test.sh", "--version", VENV=sys.prefix)
    assert result.returncode == 0, result.stderr
    assert "pytest" in result.stdout + result.stderr


FAKE_PYTHON = """
case "$*" in
    "- test" | "- notebook") cat > /dev/null; echo "$MISSING" ;;
    *"import os, colorize"*) exit 1 ;;
    "-m pip "*) echo "$@" >> "$PIP_LOG" ;;
    "-m pytest "* | scripts/*) echo "ran $*" ;;
esac
"""


@pytest.mark.parametrize("script", ["quickstart.sh", "test.sh"])
@pytest.mark.parametrize("missing", ["", "torch>=2.11,<2.16"])
def test_only_missing_packages_are_installed_and_then_the_project(
    script, missing, minimal_path, tmp_path
):
    folder = tmp_path / "venv" / "bin"
    folder.mkdir(parents=True)
    fake(folder, "python", FAKE_PYTHON)
    log = tmp_path / "pip.log"
    fake(minimal_path, "df", 'echo Filesystem; echo "/dev/x 9 9 99999999 50% /"')
    path = f"{minimal_path}:{os.environ['PATH']}"
    variables = {"MISSING": missing, "PIP_LOG": str(log), "PATH": path}
    result = run(script, "-k", "x", VENV=str(tmp_path / "venv"), **variables)
    assert result.returncode == 0, result.stderr
    calls = log.read_text().splitlines()
    assert [missing in call for call in calls] == [True] * bool(missing) + [missing == ""]
    assert calls[-1].endswith("--no-deps --no-build-isolation --editable .")
    assert "ran " in result.stdout


@pytest.mark.parametrize(("missing", "refused"), [("tqdm>=4", False), ("torch>=2.11", True)])
def test_a_small_disk_matters_only_if_torch_is_missing(minimal_path, tmp_path, missing, refused):
    folder = tmp_path / "venv" / "bin"
    folder.mkdir(parents=True)
    fake(folder, "python", FAKE_PYTHON)
    fake(minimal_path, "df", 'echo Filesystem; echo "/dev/x 9 9 3145728 50% /"')
    variables = {
        "MISSING": missing,
        "PIP_LOG": str(tmp_path / "pip.log"),
        "PATH": str(minimal_path),
    }
    # A relative environment is the caller's, wherever the script lies.
    result = run("test.sh", cwd=tmp_path, VENV="venv", **variables)
    assert ("only 3 GB free" in result.stderr) == refused
    assert (result.returncode == 1) == refused, result.stderr


def test_a_benchmark_writes_its_rows(tmp_path, monkeypatch):
    target, script = tmp_path / "bench.json", str(ROOT / "scripts" / "bench.py")
    monkeypatch.setattr(sys, "argv", [script, "lab", "--json", str(target)])
    runpy.run_path(script, run_name="__main__")
    (row,) = json.loads(target.read_text())["rows"]
    assert row.keys() == {"name", "plain", "ours", "unit", "ratio"}
    assert row["ratio"] == pytest.approx(row["plain"] / row["ours"])


def test_the_ci_calls_the_readmes_test_command_and_nothing_else():
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    calls = [line for line in lines if line.startswith("bash ")]
    assert calls == ["bash scripts/test.sh", "bash scripts/test.sh -m slow"]
    assert "bash scripts/test.sh" in (ROOT / "README.md").read_text()
