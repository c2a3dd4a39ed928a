"""The commands `photo`, `models` and `export`, as a shell uses them."""

import errno
import hashlib
import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tifffile
from conftest import make_photo
from PIL import Image

import colorize
from colorize.cli import main
from colorize.io.image_file import read_image_file
from colorize.io.photo import read_photo
from colorize.models import pretrained


@pytest.fixture
def gray(tmp_path):
    path = tmp_path / "grandma.png"
    make_photo().convert("L").save(path)
    return path


@pytest.fixture
def color(model, tmp_path):
    """Calls the command; returns its status."""

    def call(*words, out=tmp_path / "out"):
        command = ["photo", *words, "--model", model, "-o", out, "--device", "cpu"]
        return main([str(word) for word in command])

    return call


def test_the_command_colorizes_as_python_does(color, gray, model, tmp_path, capsys):
    assert color(gray) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'out' / 'grandma.png'}\n"
    expected = colorize.Colorizer.from_pretrained(model, "cpu")(read_photo(gray))
    with Image.open(tmp_path / "out" / "grandma.png") as colorized:
        assert colorized.tobytes() == expected.tobytes()
    assert color(gray) == 0
    assert "is up to date; use --overwrite to colorize it again" in capsys.readouterr().out


@pytest.mark.parametrize(
    "option",
    [
        ["--vividness", "1"],
        ["--size", "64"],
        ["--hint", "40,30,#aa3311", "--hint", "1,2,teal"],
    ],
)
def test_each_option_reaches_the_model(color, gray, option, model, tmp_path):
    assert color(gray, *option, out=tmp_path / "led.png") == 0
    words = dict(zip(option[::2], option[1::2], strict=True))
    options = {"--vividness": {"vividness": 1.0}, "--size": {"size": 64}}.get(
        next(iter(words)), {"hints": [(40, 30, "#aa3311"), (1, 2, "teal")]}
    )
    expected = colorize.Colorizer.from_pretrained(model, "cpu")(read_photo(gray), **options)
    with Image.open(tmp_path / "led.png") as colorized:
        assert colorized.tobytes() == expected.tobytes()


def test_samples_are_numbered_and_follow_from_the_seed(color, gray, tmp_path):
    def pixels(folder):
        return [read_image_file(path).rgb.numpy() for path in sorted(folder.glob("*.png"))]

    drawn = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert color(gray, "--samples", "2", "--seed", seed, out=tmp_path / name) == 0
        drawn.append(pixels(tmp_path / name))
    assert {p.name for p in (tmp_path / "a").iterdir()} == {
        "grandma-sample1.png",
        "grandma-sample2.png",
    }
    a, b, c = drawn
    assert np.array_equal(a, b) and not np.array_equal(a, c) and not np.array_equal(a[0], a[1])


def test_the_status_and_the_last_line_summarize_the_results(color, gray, tmp_path, capsys):
    make_photo().save(tmp_path / "color.jpg")
    gone = tmp_path / "gone.jpg"
    assert color(gray, gone, tmp_path / "color.jpg") == 1
    shown = capsys.readouterr()
    assert shown.out.splitlines()[-1] == "1 colored, 1 already in color (--force), 1 failed"
    assert f"colorize: {gone}: no such file\n" in shown.err
    assert color(tmp_path / "color.jpg") == 1
    capsys.readouterr()
    assert color(gray, tmp_path / "color.jpg", "--force") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "1 colored, 1 done before"


def test_programs_get_a_line_of_json_for_each_photo(color, gray, tmp_path, capsys):
    (tmp_path / "bad.jpg").write_text("")
    assert color(gray, tmp_path / "bad.jpg", "--json", "--samples", "2") == 1
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first.keys() == {"source", "outputs", "state", "tone", "seconds", "reason"}
    assert (first["state"], first["tone"], second["state"]) == ("colored", "gray", "failed")
    assert first["source"] == str(gray) and len(first["outputs"]) == 2
    assert "bad.jpg" in second["reason"]


class Stream(io.BytesIO):
    """A standard stream, as far as bytes go."""

    @property
    def buffer(self):
        return self


def test_a_photo_through_a_pipe(color, gray, tmp_path, monkeypatch, capsysbinary):
    assert color(gray) == 0
    expected = (tmp_path / "out" / "grandma.png").read_bytes()
    capsysbinary.readouterr()
    monkeypatch.setattr(sys, "stdin", Stream(gray.read_bytes()))
    assert color("-", out="-") == 0
    piped = capsysbinary.readouterr().out
    with Image.open(io.BytesIO(piped)) as one, Image.open(io.BytesIO(expected)) as other:
        assert one.format == "PNG" and one.tobytes() == other.tobytes()
    assert color(gray, out="-") == 0
    assert capsysbinary.readouterr().out == piped
    with monkeypatch.context() as patch:
        patch.setattr(sys.stdout, "isatty", lambda: True)
        assert color(gray, out="-") == 2
    refused = capsysbinary.readouterr()
    assert (
        refused.out == b""
        and b"refusing to write image data to a terminal; use -o FILE" in refused.err
    )
    monkeypatch.setattr(sys, "stdin", Stream(gray.read_bytes()))
    assert color("-", out=tmp_path / "x.webp") == 0
    assert (tmp_path / "x.webp").read_bytes()[8:12] == b"WEBP"
    monkeypatch.setattr(sys, "stdin", Stream(gray.read_bytes()))
    assert color("-", out=tmp_path / "x.webp") == 2  # it is there
    capsysbinary.readouterr()
    assert color(gray.parent / "grandm*.png", out="-") == 0
    assert capsysbinary.readouterr().out == piped


def fails(capsys, status):
    assert status == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_errors_are_one_line(color, gray, tmp_path, capsys, monkeypatch):
    (tmp_path / "file").write_text("")
    assert "is a file; several outputs need a folder" in fails(
        capsys, color(gray, tmp_path / "b.png", out=tmp_path / "file")
    )
    (tmp_path / "empty").mkdir()
    assert "no photos in" in fails(capsys, color(tmp_path / "empty"))
    assert "--hint is for one photo, got 2" in fails(
        capsys, color(gray, tmp_path / "b.png", "--hint", "1,1,red")
    )
    assert "outside the photo" in fails(capsys, color(gray, "--hint", "1000,1,red"))
    assert "'mud' is no color" in fails(capsys, color(gray, "--hint", "1,1,mud"))
    assert "multiple of 32 for this network" in fails(capsys, color(gray, "--size", "50"))
    with pytest.raises(SystemExit):
        color(gray, "--vividness", "2")
    assert "--vividness: needs a number from 0 to 1, got '2'" in capsys.readouterr().err
    assert "- is for one photo" in fails(capsys, color("-", gray))
    (tmp_path / "twice").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "twice" / name).write_bytes(gray.read_bytes())
    assert "- is for one photo" in fails(capsys, color(tmp_path / "twice" / "*.png", out="-"))
    with pytest.raises(SystemExit):
        color(gray, "--hint", "here,red")
    assert (
        "argument --hint: a hint is X,Y,COLOR, such as 120,80,teal; got 'here,red'"
        in capsys.readouterr().err
    )


def test_models_lists_local_models_with_their_checksums(model, capsys, monkeypatch):
    monkeypatch.setattr(pretrained, "cached", lambda: {"me/tiny": model})
    monkeypatch.setattr(pretrained, "BUNDLED", model.parent)
    assert main(["models"]) == 0
    digest = hashlib.sha256((model / pretrained.WEIGHTS).read_bytes()).hexdigest()
    size = (model / pretrained.WEIGHTS).stat().st_size / 1e6
    assert capsys.readouterr().out.splitlines() == [
        f"tiny  bundled  {size:.1f} MB  sha256 {digest}",
        f"me/tiny  cached  {size:.1f} MB  sha256 {digest}",
    ]
    monkeypatch.setattr(pretrained, "cached", dict)
    monkeypatch.setattr(pretrained, "BUNDLED", model)
    assert main(["models"]) == 0 and "no models" in capsys.readouterr().out


def test_a_network_exported_as_a_folder_is_used_like_any(model, gray, tmp_path, capsys):
    assert main(["export", str(model), "-o", str(tmp_path / "mine")]) == 0
    digest = hashlib.sha256((tmp_path / "mine" / pretrained.WEIGHTS).read_bytes()).hexdigest()
    assert capsys.readouterr().out == f"{tmp_path / 'mine'}: sha256 {digest}\n"
    command = ["photo", str(gray), "--model", str(tmp_path / "mine"), "-o", str(tmp_path / "o")]
    assert main(command) == 0
    assert "choose another folder" in fails(
        capsys, main(["export", str(model), "-o", str(tmp_path / "mine")])
    )


@pytest.mark.long
def test_a_network_exported_as_onnx_is_used_like_any(model, gray, tmp_path, capsys):
    pytest.importorskip("onnxruntime")
    path = tmp_path / "mine.onnx"
    assert main(["export", str(model), "-o", str(path)]) == 0
    assert "differs from torch by at most" in capsys.readouterr().out
    assert "exists; replace it with --overwrite" in fails(
        capsys, main(["export", str(model), "-o", str(path)])
    )
    with pytest.raises(ValueError, match="'best' is of a run"):
        colorize.Colorizer.from_pretrained(path, weights="best")
    for name, out in ((path, "a.png"), (model, "b.png")):
        command = ["photo", str(gray), "--model", str(name), "-o", str(tmp_path / out)]
        assert main([*command, "--hint", "9,9,red", "--vividness", "0.8"]) == 0
    a, b = (read_image_file(tmp_path / name).rgb.int() for name in ("a.png", "b.png"))
    assert (a - b).abs().max() <= 1


def test_help_is_there_at_once_and_loads_nothing_heavy():
    code = """
import sys
from colorize.cli import main
try:
    main(["photo", "--help"])
except SystemExit:
    heavy = {"torch", "torchvision", "numpy", "PIL", "torchmetrics", "matplotlib"}
    sys.exit(", ".join(heavy & set(sys.modules)) or None)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "16 bits and EXIF" in " ".join(done.stdout.split())


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is Linux's count")
@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_50_megapixels_need_no_more_than_3_gigabytes(model, tmp_path, suffix):
    gray = make_photo(80, 62).convert("L").resize((8000, 6250), Image.Resampling.BILINEAR)
    source = tmp_path / f"large.{suffix}"
    if suffix == "tif":
        values = np.asarray(gray).astype(np.uint16) * 257
        tifffile.imwrite(source, np.repeat(values[..., None], 3, axis=2), photometric="rgb")
    else:
        gray.save(source)
    code = """
import re, sys
from pathlib import Path
from colorize.cli import main
status = main(sys.argv[1:])
print(status, int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024)
"""
    words = ["photo", source, "--model", model, "-o", tmp_path / "out"]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    status, megabytes = map(int, done.stdout.splitlines()[-1].split())
    assert status == 0 and megabytes < 3000


def test_an_exported_file_is_not_replaced_unasked(model, tmp_path, capsys):
    path = tmp_path / "mine.onnx"
    path.write_text("precious")
    assert "exists; replace it with --overwrite" in fails(
        capsys, main(["export", str(model), "-o", str(path)])
    )
    assert path.read_text() == "precious"


def test_source_and_target_of_an_export_are_checked_first(model, tmp_path, capsys):
    path = str(tmp_path / "mine.pt")
    message = fails(capsys, main(["export", str(model), "-o", path]))
    assert "mine.pt: a model is written to FILE.onnx or into a folder" in message
    message = fails(capsys, main(["export", "theirs.onnx", "-o", str(tmp_path / "mine")]))
    assert "theirs.onnx is an ONNX file; export the model that it was made from" in message
    assert not (tmp_path / "mine.pt").exists() and not (tmp_path / "mine").exists()


# What people bring.


def terminal(encoding):
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict", write_through=True)


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "ascii"])
def test_no_name_ends_a_batch_whatever_the_encoding_of_the_terminal(
    color, gray, tmp_path, monkeypatch, encoding
):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in (os.fsdecode(b"Gro\xdf.png"), "żółw 😀.png", "a\x1b[31m\nb.png"):
        (folder / name).write_bytes(gray.read_bytes())
    (folder / os.fsdecode(b"bad\xff.jpg")).write_text("")
    out, err = terminal(encoding), terminal(encoding)
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    assert color(folder) == 1
    assert out.errors == err.errors == "strict"  # as before
    shown = out.buffer.getvalue().decode(encoding)
    assert shown.splitlines()[-1] == "3 colored, 1 failed"
    assert "Gro\\xdf.png" in shown and "a\\x1b[31m\\x0ab.png" in shown and "\x1b" not in shown
    assert ("żółw" in shown) == (encoding == "utf-8")
    assert f"{folder}/bad\\xff.jpg: " in err.buffer.getvalue().decode(encoding)


def test_what_is_left_out_is_counted_and_named_at_the_end(color, gray, tmp_path, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("1.nef", "2.nef", "3.NEF", "4.nef", "x.jxl"):
        (folder / name).write_bytes(b"raw")
    (folder / "a.png").write_bytes(gray.read_bytes())
    os.mkfifo(folder / "pipe.png")
    assert color(folder) == 1
    shown = capsys.readouterr()
    assert shown.out.splitlines()[-1] == "1 colored, 6 left out"
    assert shown.err.splitlines() == [
        f"colorize: 4 files ({folder}/1.nef, {folder}/2.nef, {folder}/3.NEF and 1 more) are left "
        "out: camera raw; develop it to TIFF first, such as with darktable or RawTherapee",
        f"colorize: {folder}/pipe.png is left out: a pipe or device, not a file",
        f"colorize: {folder}/x.jxl is left out: JPEG XL; convert it to PNG first, such as with "
        "`djxl photo.jxl photo.png`",
    ]
    assert color(folder / "1.nef", "--json") == 1
    shown = capsys.readouterr()
    result = json.loads(shown.out)
    assert (result["state"], result["outputs"]) == ("left out", [])
    assert result["reason"] in shown.err and "camera raw; develop it" in result["reason"]


def test_a_pipe_of_the_shell_is_refused_with_the_way_out(color, capsys, tmp_path):
    reader, writer = os.pipe()
    assert color(f"/dev/fd/{reader}") == 1
    assert "not a file; use `colorize photo - -o FILE`" in capsys.readouterr().err
    assert "not a file; use `colorize photo" in fails(capsys, color(f"/dev/fd/{reader}", out="-"))
    os.close(reader)
    os.close(writer)


def test_urls_terminals_and_empty_streams_are_refused_in_a_sentence(color, capsys, monkeypatch):
    assert "is a URL; photos are read from files" in fails(capsys, color("https://a.org/b.jpg"))
    monkeypatch.setattr(sys, "stdin", Stream())
    assert "stdin is empty" in fails(capsys, color("-", out="-"))
    monkeypatch.setattr(Stream, "isatty", lambda self: True)
    assert "stdin, which is a terminal" in fails(capsys, color("-", out="-"))
    monkeypatch.setattr(sys, "stdin", None)  # closed by <&-
    assert "stdin is empty" in fails(capsys, color("-", out="-"))


def test_a_closed_stdout_does_not_stop_the_work(color, gray, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    assert color(gray) == 0 and sys.stdout is None
    assert (tmp_path / "out" / "grandma.png").exists()
    assert "colorize: stdout is closed; what the command prints is lost" in capsys.readouterr().err
    assert color(gray, out="-") == 2
    assert "stdout is closed; use -o FILE" in capsys.readouterr().err
    monkeypatch.setattr(sys, "stderr", None)
    assert color(gray) == 0


def test_the_largest_size_is_an_option(color, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # as Pillow's, but small
    photo = tmp_path / "large.png"
    Image.linear_gradient("L").resize((200, 100)).save(photo)
    tiff = tmp_path / "deep.tif"
    tifffile.imwrite(tiff, np.zeros((100, 200), np.uint16), photometric="minisblack")
    assert color(photo, tiff) == 0
    assert capsys.readouterr().err == ""  # no warning of Pillow's
    assert color(photo, tiff, "--max-megapixels", "0.019", "--overwrite") == 1
    shown = capsys.readouterr()
    assert "2 failed" in shown.out and shown.err.count("--max-megapixels") == 2
    assert f"{photo}: larger than 0.019 megapixels" in shown.err
    assert color(photo, tiff, "--max-megapixels", "0.02", "--overwrite") == 0
    assert Image.MAX_IMAGE_PIXELS == 1000


def test_the_time_is_kept_on_request(color, gray, tmp_path, capsys):
    os.utime(gray, (1e9, 1e9))
    assert color(gray, "--keep-time") == 0
    assert (tmp_path / "out" / "grandma.png").stat().st_mtime == 1e9
    assert "without --samples, --compare, --keep-time" in fails(
        capsys, color(gray, "--keep-time", out="-")
    )


def test_a_model_is_exported_into_a_folder_of_any_name(model, tmp_path, capsys):
    folder = tmp_path / os.fsdecode(b"Gro\xdf")
    assert main(["export", str(model), "-o", str(folder)]) == 0
    assert (folder / pretrained.CARD).exists() and "sha256 " in capsys.readouterr().out


class FullDisk(io.RawIOBase):
    def writable(self):
        return True

    def write(self, data):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_stdout_that_fails_does_not_end_the_batch(color, gray, tmp_path, monkeypatch, capsys):
    (tmp_path / "in").mkdir()
    for name in ("a.png", "b.png", "c.png"):
        (tmp_path / "in" / name).write_bytes(gray.read_bytes())
    reader, writer = os.pipe()
    os.close(reader)
    broken = io.TextIOWrapper(io.FileIO(writer, "w"), line_buffering=True)
    full = io.TextIOWrapper(io.BufferedWriter(FullDisk(), 1), "utf-8", write_through=True)
    for stream, status, out in ((broken, 141, "one"), (full, 2, "two")):
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", stream)
            assert color(tmp_path / "in", out=tmp_path / out) == status
        assert len(list((tmp_path / out).iterdir())) == 3
    assert "No space left on device; the disk is full" in capsys.readouterr().err
    broken.close()
    full.detach().raw.close()


def test_what_pillow_says_of_damage_without_a_name_is_not_shown(color, tmp_path, capsys):
    make_photo().convert("L").save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\xff")
    assert color(tmp_path / "a.jpg") == 0
    err = capsys.readouterr().err
    assert "a.jpg also holds what the output leaves out: damaged EXIF" in err
    assert "Corrupt" not in err and "Truncated" not in err
