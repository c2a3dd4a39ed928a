"""The command `colorize`, as a user types it."""

import dataclasses
import io
import json
import os
import shutil
import subprocess
import sys

import pytest
from conftest import make_folder

import colorize
from colorize.cli import main
from colorize.trainers import GANTrainer

TINY = ["--crop-size", "32", "--batch-size", "2"]
TINY += ["--model-arg", "depth=3", "--model-arg", "base_channels=4"]
HERE = ["--workers", "0", "--device", "cpu"]


def train(folder, run, *options):
    epochs = [] if "--epochs" in options else ["--epochs", "1"]
    command = ["train", "unet_gan", "--data", folder, "-o", run, *TINY, *HERE, *epochs]
    return main([str(word) for word in (*command, *options)])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on photos like those of `folder`."""
    place = tmp_path_factory.mktemp("trained")
    photos = make_folder(place / "photos", train=6, val=3, test=2)
    assert train(photos, place / "run") == 0
    return place / "run"


@pytest.fixture
def run(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")


def fails(capsys, command):
    """Return the last line on stderr, after progress bars, of a command that fails."""
    capsys.readouterr()
    assert main([str(word) for word in command]) == 2
    *bars, error = capsys.readouterr().err.splitlines()
    assert error.startswith("colorize: ") and not any("Traceback" in bar for bar in bars)
    return error


@pytest.mark.usefixtures("undrawn")
def test_presets_are_listed_with_their_method_and_cost(capsys):
    assert main(["presets"]) == 0
    out = capsys.readouterr().out
    blocks = out.split("unet_gan\n")
    assert "autoencoder\n" in blocks[0] and "fcn\n" in blocks[0]
    facts = dict(line.split(maxsplit=1) for line in blocks[1].split("\n\n")[0].splitlines())
    assert facts["loss"] == "100 l1 + vanilla GAN"
    assert facts["schedule"] == "100 epochs of 16, lr 0.0002, linear"
    assert facts["size"] == "57.2 M parameters, 5.98 GMAC per photo"
    assert "arXiv:1611.07004" in facts["source"]
    assert main(["presets", "unet_gan"]) == 0
    out = capsys.readouterr().out
    settings = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert settings["lr"] == "0.0002" and settings["betas"] == "[0.5, 0.999]"
    assert settings["reconstruction_weight"] == "100.0"


def test_training_writes_a_run_and_prints_the_table_with_the_baselines(folder, tmp_path, capsys):
    assert train(folder, tmp_path / "run", "--seed", "5", "--lr", "0.001") == 0
    out = capsys.readouterr().out
    rows = [line.split("|")[1].strip() for line in out.splitlines() if line.startswith("|")]
    assert rows[2:] == ["ground-truth", "unet_gan", "gray", "mean-ab", "random", "nearest"]
    assert "6 train photos" in out and "3 val photos" in out
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["model_kwargs"] == {"depth": 3, "base_channels": 4}
    assert (config["crop_size"], config["batch_size"], config["epochs"]) == (32, 2, 1)
    assert (config["seed"], config["lr"]) == (5, 0.001)
    assert config["betas"] == [0.5, 0.999]  # left out means the preset's


def test_the_same_command_again_finishes_at_once_and_more_epochs_go_on(
    folder, run, capsys, monkeypatch
):
    log = (run / "log.jsonl").read_text()
    with monkeypatch.context() as patch:
        patch.delattr(GANTrainer, "training_step")  # not one step is taken
        assert train(folder, run) == 0
    assert (run / "log.jsonl").read_text() == log
    said = capsys.readouterr().out
    assert "mean-ab" in said and "run: nothing to train, 1 epoch done of the 1 that" in said
    assert f"--data {folder} --size 32 -o DIR` evaluates" in said
    assert train(folder, run, "--epochs", "2") == 0
    assert "nothing to train" not in capsys.readouterr().out
    assert train(folder, run, "--epochs", "1") == 0
    assert colorize.TrainConfig.load(run / "config.json").epochs == 2  # as it was trained
    assert (run / "log.jsonl").read_text().startswith(log)
    assert len((run / "log.jsonl").read_text().splitlines()) == 2


def test_options_take_none_and_names_of_weights(folder, tmp_path, capsys):
    command = ["train", "fcn", "--data", folder, "-o", tmp_path / "run", "--crop-size", "32"]
    command += ["--batch-size", "2", "--epochs", "1", "--model-arg", "encoder_name=resnet18", *HERE]
    assert "lost.pth" in fails(capsys, [*command, "--encoder-weights", "lost.pth"])
    options = ["--encoder-weights", "none", "--patience", "none"]
    assert main([str(word) for word in (*command, *options)]) == 0
    config = colorize.TrainConfig.load(tmp_path / "run" / "config.json")
    assert config.model_kwargs == {"encoder_name": "resnet18", "encoder_weights": None}
    assert config.patience is None


def test_errors_are_one_line(folder, tmp_path, capsys):
    def train_with(*options, preset="unet_gan", data=folder, out=tmp_path / "new"):
        return fails(capsys, ["train", preset, "--data", data, "-o", out, *TINY, *HERE, *options])

    assert "no preset 'vgg'; there are autoencoder, fcn" in train_with(preset="vgg")
    assert "no such folder of photos" in train_with(data=tmp_path / "nowhere")
    for inside in (folder, folder / "runs" / "a"):
        assert "would lie among the photos" in train_with(out=inside)
    assert "KEY=VALUE, got 'depth'" in train_with("--model-arg", "depth")
    assert "not deep" in train_with("--model-arg", "deep=3")
    assert "'depth': 'x'" in train_with("--model-arg", "depth=x")
    assert "depth must be at least 2" in train_with("--model-arg", "depth=1")
    assert "lr must be above 0" in train_with("--lr", "0")
    assert "batch size of at most 6" in train_with("--batch-size", "7")
    assert "'cuda:99' cannot be used" in train_with("--device", "cuda:99")
    assert not (tmp_path / "new").exists()
    assert "multiple of 8 for this network: 32 or 40, not 36" in train_with("--crop-size", "36")
    assert not (tmp_path / "new").exists()

    (tmp_path / "file").write_text("")
    assert "file" in train_with(out=tmp_path / "file")
    nowhere = tmp_path / "nowhere"
    command = ["photo", "a.jpg", "--model", nowhere, "-o", tmp_path, "--device", "cpu"]
    assert f"no run in {nowhere}" in fails(capsys, command)


@pytest.mark.parametrize(
    ("option", "value"),
    [("--patience", "often"), ("--workers", "-1"), ("--epochs", "0"), ("--batch-size", "1.5")],
)
def test_an_invalid_number_is_reported_with_its_option(option, value, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["train", "fcn", "--data", "d", "-o", "o", f"{option}={value}"])
    assert f"argument {option}: needs an integer" in capsys.readouterr().err


@pytest.mark.parametrize(("option", "value"), [("--vividness", "1.01"), ("--vividness", "nan")])
def test_a_number_out_of_range_is_reported_with_the_range(option, value, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["photo", "a.jpg", f"{option}={value}"])
    assert f"argument {option}: needs a number from 0 to 1, got" in capsys.readouterr().err


def test_every_setting_is_an_option_that_shows_its_default(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    for field in dataclasses.fields(colorize.TrainConfig):
        if field.name in ("model", "model_kwargs"):
            continue
        option = f"--{field.name.replace('_', '-')}"
        default, names = field.default, f"{option} X"
        if isinstance(default, bool):
            default, names = "yes" if default else "no", f"{option}, --no-{option[2:]}"
        elif isinstance(default, tuple):
            default = ",".join(map(str, default))
        elif default is None:
            default = "none"
        text = field.metadata["help"]
        assert f"{names} {text} (default: {default})" in shown, option


def test_help_shows_the_values_of_a_preset(capsys):
    with pytest.raises(SystemExit):
        main(["train", "nogan", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    phases = "generator:20:1.0,discriminator:4:1.0,joint:1:0.2"
    assert f"none for joint throughout (default: {phases})" in shown
    assert "joint:2:0.1; none" in shown and "Adam's learning rate (default: 0.0001)" in shown


def test_a_boolean_setting_has_an_option_for_each_value(folder, tmp_path):
    for option, value in (("--deterministic", True), ("--no-deterministic", False)):
        run = tmp_path / option
        assert train(folder, run, option) == 0
        assert json.loads((run / "config.json").read_text())["deterministic"] is value


def test_a_photo_damaged_since_the_inspection_is_named_in_one_line(folder, tmp_path, capsys):
    colorize.PhotoFolder(folder).inspect(progress=False)
    path = folder / "train" / "train0.jpg"
    status = path.stat()
    path.write_bytes(path.read_bytes()[:300].ljust(status.st_size, b"0"))
    os.utime(path, ns=(status.st_mtime_ns, status.st_mtime_ns))
    command = ["train", "unet_gan", "--data", folder, "-o", tmp_path / "run", *TINY]
    error = fails(capsys, [*command, "--epochs", "1", "--workers", "1", "--device", "cpu"])
    assert error.startswith(f"colorize: {path}: ")


def test_other_settings_and_damaged_weights_are_reported_in_one_line(folder, run, capsys):
    command = ["train", "unet_gan", "--data", folder, "-o", run, *TINY, *HERE]
    assert "other settings (lr 0.0002, now 1.0)" in fails(capsys, [*command, "--lr", "1"])
    (run / "last.pt").write_bytes(b"half")
    assert "last.pt" in fails(capsys, [*command, "--epochs", "1"])
    assert "last.pt" in fails(
        capsys, ["photo", "a.jpg", "--model", run, "-o", folder, "--device", "cpu"]
    )


def test_ctrl_c_is_no_traceback(folder, tmp_path, capsys, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(GANTrainer, "training_step", interrupted)
    assert train(folder, tmp_path / "run") == 130
    assert "run the command again to continue" in capsys.readouterr().err
    monkeypatch.undo()
    assert train(folder, tmp_path / "run") == 0


@pytest.mark.parametrize("command", [[], ["train"], ["train", "fcn"], ["photo"]])
def test_help_needs_no_torch(command):
    code = f"import sys; from colorize.cli import main\ntry: main({[*command, '--help']})\n" + (
        "except SystemExit: print(sorted({'torch', 'numpy', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n") and done.stderr == ""


def test_the_package_can_be_run_as_a_module():
    command = [sys.executable, "-m", "colorize"]
    done = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("usage: colorize")
    assert all(word in done.stdout for word in ("train", "photo", "presets"))
    version = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
    assert version.stdout == f"{colorize.__version__}\n"


def test_a_closed_pipe_is_no_error():
    code = "import sys; from colorize.cli import main; sys.exit(main(['presets']))"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.close()  # as `| head` does
        assert process.wait() == 141 and process.stderr.read() == b""


def test_colorizing_with_the_bundled_model_imports_nothing_slow(photo, tmp_path):
    photo.convert("L").save(tmp_path / "gray.jpg")
    command = ["photo", str(tmp_path / "gray.jpg"), "-o", str(tmp_path / "out"), "--device", "cpu"]
    slow = {"torchvision", "skimage", "scipy", "matplotlib", "tifffile", "triton", "pandas"}
    code = f"import sys; from colorize.cli import main; status = main({command})\n"
    code += f"print(status, sorted({slow} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"
    assert (tmp_path / "out" / "gray.jpg").exists()


def test_an_error_of_encodings_is_ours_and_not_the_users(monkeypatch):
    def presets(args):
        raise UnicodeEncodeError("utf-8", "\udce9", 0, 1, "surrogates not allowed")

    monkeypatch.setattr("colorize.cli.presets._presets", presets)
    with pytest.raises(UnicodeEncodeError):
        main(["presets"])


@pytest.mark.filterwarnings("default:.* left out:UserWarning")
def test_names_of_any_bytes_are_trained_and_evaluated_on(folder, tmp_path, monkeypatch, capsys):
    for path in folder.rglob("*.jpg"):
        path.rename(path.with_name(os.fsdecode(b"Gro\xdf " + path.name.encode())))
    train_folder = folder / "train"
    (train_folder / "self.jpg").symlink_to("self.jpg")
    os.mkfifo(train_folder / "pipe.jpg")
    (train_folder / "scan.tif").touch()
    streams = [io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2)]
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", streams[0])
        patch.setattr(sys, "stderr", streams[1])
        assert train(folder, tmp_path / "run") == 0
        command = ["evaluate", tmp_path / "run", "--data", folder, "-o", tmp_path / "results"]
        options = ["--size", "32", "--no-fid", "--crops-only", "--device", "cpu"]
        assert main([str(word) for word in (*command, *options)]) == 0
    out, err = (stream.buffer.getvalue().decode() for stream in streams)
    assert "6 train photos (left out: 1 unreadable)" in out
    assert "pipe.jpg is left out: a pipe or device" in err
    assert "scan.tif is left out: not JPEG, PNG or WebP; `colorize prepare` converts it" in err
    assert f"unreadable: {train_folder / 'self.jpg'}: " in err
    summary = json.loads((tmp_path / "results" / "summary.json").read_text(encoding="utf-8"))
    assert summary["predictors"]
