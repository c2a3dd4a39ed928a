"""Batches of photo files: targets, finished outputs, and photos that stay untouched."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from conftest import Fake, make_photo
from PIL import Image
from skimage.color import rgb2lab
from test_photo_files import photoshop

import colorize
from colorize.inference.batch import _side_by_side, colorize_file, colorize_files
from colorize.inference.colorizer import Colorizer
from colorize.inference.jobs import plan_jobs
from colorize.inference.options import ColorizeOptions
from colorize.io.image import PhotoError
from colorize.io.image_file import ImageFile, read_image_file, read_provenance
from colorize.io.image_writer import write_image_file


@pytest.fixture
def folder_of_photos(tmp_path):
    """Two gray photos, a toned one and one in color, in folders."""
    root = tmp_path / "folder_of_photos"
    (root / "deep" / "er").mkdir(parents=True)
    gray = make_photo().convert("L")
    gray.save(root / "a.jpg")
    gray.rotate(180).save(root / "deep" / "er" / "b.bmp")
    Image.merge("RGB", [gray.point(lambda v, k=k: v * k) for k in (1.0, 0.85, 0.6)]).save(
        root / "deep" / "sepia.png"
    )
    make_photo().save(root / "deep" / "color.webp")
    (root / "notes.txt").write_text("1931")
    (root / ".hidden.jpg").write_text("")
    return root


@pytest.fixture
def colorizer():
    return Colorizer(Fake(lambda lightness: 0.3), 16, "cpu", "fake")


def run(colorizer, paths, output, options=None, **more):
    """What becomes of each photo."""
    jobs = plan_jobs(paths, output)
    results = list(colorize_files(colorizer, jobs, options or ColorizeOptions(), **more))
    assert [result.source for result in results] == [job.source for job in jobs]
    return {result.source.name: result for result in results}


def lab(image):
    return rgb2lab(np.asarray(image.convert("RGB")))


def files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_is_colored_into_the_same_tree(folder_of_photos, colorizer, tmp_path):
    before = {path: path.read_bytes() for path in folder_of_photos.rglob("*") if path.is_file()}
    out = tmp_path / "out"
    results = run(colorizer, [folder_of_photos], out)
    assert files(out) == {"a.jpg", "deep/sepia.png", "deep/er/b.bmp.png"}
    states = {name: (result.state, result.tone) for name, result in results.items()}
    assert states == {
        "a.jpg": ("colored", "gray"),
        "b.bmp": ("colored", "gray"),
        "sepia.png": ("colored", "toned"),
        "color.webp": ("in color", "color"),
    }
    assert "use --force to colorize it anyway" in results["color.webp"].reason
    assert {
        path: path.read_bytes() for path in folder_of_photos.rglob("*") if path.is_file()
    } == before
    assert (
        run(colorizer, [folder_of_photos], tmp_path / "all", force=True)["color.webp"].state
        == "colored"
    )


def test_the_tint_of_a_toned_photo_is_not_kept(folder_of_photos, colorizer, tmp_path):
    run(colorizer, [folder_of_photos / "deep" / "sepia.png"], tmp_path / "out")
    colorized = read_image_file(tmp_path / "out" / "sepia.png").rgb
    source = read_image_file(folder_of_photos / "deep" / "sepia.png")
    lightness_only = colorizer.predict([source.as_rgb8()])[0].apply_to(source.rgb)[0]
    assert np.array_equal(colorized, lightness_only)
    hues = Image.open(tmp_path / "out" / "sepia.png").convert("HSV").getchannel("H")
    assert np.median(hues) != np.median(
        Image.open(folder_of_photos / "deep" / "sepia.png").convert("HSV").getchannel("H")
    )


def test_finished_outputs_are_skipped_and_those_of_other_options_are_not_replaced(
    folder_of_photos, colorizer, tmp_path
):
    out, photo = tmp_path / "out", folder_of_photos / "a.jpg"
    assert run(colorizer, [photo], out)["a.jpg"].state == "colored"
    colorized = (out / "a.jpg").read_bytes()
    assert run(colorizer, [photo], out)["a.jpg"].state == "done"
    for option in (ColorizeOptions(seed=1), ColorizeOptions(size=24)):
        result = run(colorizer, [photo], out, option)["a.jpg"]
        assert result.state == "failed" and "use --overwrite to replace it" in result.reason
    make_photo(seed=5).convert("L").save(photo)  # another photo of the same name
    assert run(colorizer, [photo], out)["a.jpg"].state == "failed"
    assert (out / "a.jpg").read_bytes() == colorized
    assert run(colorizer, [photo], out, overwrite=True)["a.jpg"].state == "colored"
    assert (out / "a.jpg").read_bytes() != colorized
    (out / "a.jpg").write_text("precious")
    assert run(colorizer, [photo], out)["a.jpg"].state == "failed"
    assert (out / "a.jpg").read_text() == "precious"


def test_a_photo_is_never_replaced_not_even_by_the_output_of_another(
    folder_of_photos, colorizer, tmp_path
):
    gray = folder_of_photos / "a.jpg"
    other = tmp_path / "other" / "a.jpg"
    other.parent.mkdir()
    make_photo(seed=3).convert("L").save(other)
    before = gray.read_bytes(), other.read_bytes()
    for paths, out in (([gray], folder_of_photos), ([gray, other], other.parent), ([gray], gray)):
        first = next(colorize_files(colorizer, plan_jobs(paths, out), overwrite=True))
        assert first.state == "failed" and "would replace" in first.reason
    assert (gray.read_bytes(), other.read_bytes()) == before


def test_a_bad_photo_is_named_and_the_others_are_colorized(folder_of_photos, colorizer, tmp_path):
    (folder_of_photos / "a.jpg").write_bytes(b"\xff\xd8\xff broken")
    (folder_of_photos / "gone.png").symlink_to(tmp_path / "nowhere")
    jobs = plan_jobs([folder_of_photos, folder_of_photos / "no.jpg"], tmp_path / "out")
    (folder_of_photos / "deep" / "sepia.png").unlink()  # between planning and reading
    results = {r.source.name: r for r in colorize_files(colorizer, jobs)}
    assert results["a.jpg"].state == results["sepia.png"].state == "failed"
    assert "a.jpg" in results["a.jpg"].reason and "sepia.png" in results["sepia.png"].reason
    for name in ("no.jpg", "gone.png"):
        assert results[name].reason == f"{folder_of_photos / name}: no such file"
    assert results["b.bmp"].state == "colored"
    assert files(tmp_path / "out") == {"deep/er/b.bmp.png"}


def test_a_photo_and_a_link_to_it_are_both_colored(folder_of_photos, tmp_path):
    (folder_of_photos / "Link.jpg").symlink_to("a.jpg")
    jobs = plan_jobs(
        [folder_of_photos, folder_of_photos / "deep" / ".." / "a.jpg"], tmp_path / "out"
    )
    targets = [str(job.target.relative_to(tmp_path / "out")) for job in jobs]
    assert {"Link.jpg", "a.jpg"} <= set(targets) and targets.count("a.jpg") == 1


def test_names_do_not_collide(folder_of_photos, tmp_path):
    for name in ("x/a.jpg", "y/A.jpg", "y/b.gif", "y/b.gif.png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        make_photo().save(path)
    paths = [tmp_path / "x" / "a.jpg", tmp_path / "y", tmp_path / "x" / "a.jpg"]
    targets = [job.target.name for job in plan_jobs(paths, tmp_path / "out")]
    assert targets == ["a.jpg", "A-2.jpg", "b.gif.png", "b.gif-2.png"]


def test_comparisons_do_not_collide_with_outputs(tmp_path):
    for name in ("a.png", "compared/a.png"):
        (tmp_path / "in" / name).parent.mkdir(exist_ok=True, parents=True)
        make_photo().convert("L").save(tmp_path / "in" / name)
    jobs = plan_jobs([tmp_path / "in"], tmp_path / "out")
    files = [file for job in jobs for file in (job.target, job.comparison)]
    assert len(set(files)) == 4


def test_a_photo_that_is_named_twice_is_one(folder_of_photos, tmp_path, monkeypatch):
    monkeypatch.chdir(folder_of_photos)
    jobs = plan_jobs(["a.jpg", folder_of_photos / "a.jpg", "deep/../a.jpg"], tmp_path / "out")
    assert [job.target for job in jobs] == [tmp_path / "out" / "a.jpg"]


def test_an_output_that_is_named_as_a_file_is_one(folder_of_photos, tmp_path):
    with pytest.raises(ValueError, match=r"b\.gif: unknown file format; use one of \.jpg"):
        plan_jobs([folder_of_photos / "a.jpg"], tmp_path / "b.gif")
    with pytest.raises(ValueError, match=r"b\.png is a single file; 4 photos need a folder"):
        plan_jobs([folder_of_photos], tmp_path / "b.png")


def test_a_comparison_is_made_smaller_where_it_would_be_huge(colorizer, tmp_path):
    Image.new("L", (9000, 20), 120).save(tmp_path / "wide.webp")
    result = run(colorizer, [tmp_path / "wide.webp"], tmp_path / "out", compare=True)["wide.webp"]
    assert result.state == "colored"
    with Image.open(tmp_path / "out" / "compared" / "wide.webp") as compared:
        assert compared.size == (2 * 4096, 9)  # 20 * 4096 / 9000


def test_where_outputs_go(folder_of_photos, tmp_path, monkeypatch):
    (job,) = plan_jobs([folder_of_photos / "a.jpg"], tmp_path / "colored.png")
    assert job.target == tmp_path / "colored.png"
    monkeypatch.chdir(folder_of_photos)
    assert {job.target.name for job in plan_jobs(["deep/*.*"], "out")} == {
        "sepia.png",
        "color.webp",
    }
    (folder_of_photos / "out").mkdir()
    make_photo().save(folder_of_photos / "out" / "old.jpg")
    assert "old.jpg" not in {job.source.name for job in plan_jobs(["."], "out")}
    assert len(plan_jobs(["deep"], ".")) == 3  # the output around the photos
    with pytest.raises(ValueError, match=r"no photos in .*er"):
        (folder_of_photos / "deep" / "er" / "b.bmp").unlink()
        plan_jobs(["deep/er"], "out")
    with pytest.raises(ValueError, match=r"notes.txt is a file; several outputs need a folder"):
        plan_jobs(["deep"], "notes.txt")


def test_photo_and_output_side_by_side(folder_of_photos, colorizer, tmp_path):
    out = tmp_path / "out"
    assert run(colorizer, [folder_of_photos / "a.jpg"], out)["a.jpg"].state == "colored"
    assert (
        run(colorizer, [folder_of_photos / "a.jpg"], out, compare=True)["a.jpg"].state == "colored"
    )
    assert files(out) == {"a.jpg", "compared/a.jpg"}
    assert run(colorizer, [folder_of_photos / "a.jpg"], out, compare=True)["a.jpg"].state == "done"
    with Image.open(out / "compared" / "a.jpg") as both:
        left, right = np.split(np.asarray(both, int), 2, axis=1)
    assert np.ptp(left, axis=-1).max() < 6 and np.ptp(right, axis=-1).mean() > 30
    (job,) = plan_jobs([folder_of_photos / "a.jpg"], tmp_path / "one.png")
    assert job.comparison == tmp_path / "one-compared.png"


def test_comparisons_keep_transparency(colorizer, tmp_path):
    photo = make_photo().convert("LA")
    photo.putalpha(Image.linear_gradient("L").resize(photo.size))
    photo.save(tmp_path / "a.png")
    run(colorizer, [tmp_path / "a.png"], tmp_path / "out", compare=True)
    alpha = np.asarray(photo)[..., 1]
    with Image.open(tmp_path / "out" / "compared" / "a.png") as both:
        assert np.array_equal(np.asarray(both)[..., 3], np.hstack((alpha, alpha)))


def test_the_result_mentions_that_only_the_first_of_several_images_is_colorized(
    colorizer, tmp_path
):
    page = make_photo().convert("L")
    page.save(tmp_path / "a.tif", save_all=True, append_images=[page])
    result = run(colorizer, [tmp_path / "a.tif"], tmp_path / "out")["a.tif"]
    assert result.state == "colored"
    assert result.reason.endswith("a.tif holds 2 images, only the first is colorized")


def test_an_output_records_the_model_that_invented_its_colors(
    folder_of_photos, colorizer, tmp_path
):
    run(colorizer, [folder_of_photos / "a.jpg"], tmp_path, ColorizeOptions(seed=7))
    said = read_provenance(tmp_path / "a.jpg")
    assert said.startswith(
        f"{colorize.__version__}, the colors are invented by fake, seed 7, 16 px (source "
    )


def test_one_image_in_memory(folder_of_photos, colorizer):
    image = read_image_file(folder_of_photos / "a.jpg")
    colorized = colorize_file(colorizer, image)
    assert colorized.shape == image.rgb.shape and "fake" in image.metadata.provenance
    with pytest.raises(PhotoError, match="already in color"):
        colorize_file(colorizer, read_image_file(folder_of_photos / "deep" / "color.webp"))
    colorize_file(colorizer, read_image_file(folder_of_photos / "deep" / "color.webp"), force=True)


def test_an_output_of_another_model_of_the_same_name_is_not_up_to_date(folder_of_photos, tmp_path):
    first, second = (
        Colorizer(Fake(lambda lightness: 0.3), 16, "cpu", "fake", digest) for digest in "ab"
    )
    assert run(first, [folder_of_photos / "a.jpg"], tmp_path / "out")["a.jpg"].state == "colored"
    assert run(first, [folder_of_photos / "a.jpg"], tmp_path / "out")["a.jpg"].state == "done"
    assert run(second, [folder_of_photos / "a.jpg"], tmp_path / "out")["a.jpg"].state == "failed"


@pytest.mark.filterwarnings("ignore:out of memory")
def test_out_of_memory_fails_one_photo_and_the_others_are_colorized(folder_of_photos, tmp_path):
    def predict(lightness):
        if lightness.shape[-1] > lightness.shape[-2]:
            raise MemoryError("Unable to allocate 55.8 GiB")
        return 0.3

    make_photo().convert("L").rotate(90, expand=True).save(folder_of_photos / "c.jpg")
    results = run(Colorizer(Fake(predict), 16, "cpu", "fake"), [folder_of_photos], tmp_path / "out")
    assert sorted(result.state for result in results.values()).count("failed") >= 1
    failed = [result for result in results.values() if result.state == "failed"]
    assert all("not enough memory" in result.reason for result in failed)
    assert any(result.state == "colored" for result in results.values())


def test_an_unknown_format_and_the_photos_own_folder_are_refused_before_anything_is_written(
    folder_of_photos,
):
    with pytest.raises(ValueError, match=r"a\.psd: unknown file format; use one of \.jpg"):
        plan_jobs([folder_of_photos / "a.jpg"], folder_of_photos / "a.psd")
    with pytest.raises(ValueError, match="holds the photos themselves"):
        plan_jobs([folder_of_photos], folder_of_photos / "deep" / "..")


def test_a_comparison_of_many_samples_is_no_wider_than_webp_can_be():
    wide = torch.zeros(3, 8, 9000, dtype=torch.uint8)
    _, row = _side_by_side(ImageFile(wide), [wide] * 4)
    assert 16000 < row.shape[2] <= 16383 and row.shape[2] % 5 == 0


def test_the_number_of_torch_threads_is_restored(folder_of_photos, colorizer, tmp_path):
    torch.set_num_threads(2)
    run(colorizer, [folder_of_photos], tmp_path / "out")
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == 2


def test_an_output_of_another_version_is_up_to_date(
    folder_of_photos, colorizer, tmp_path, monkeypatch
):
    assert (
        run(colorizer, [folder_of_photos / "a.jpg"], tmp_path / "out")["a.jpg"].state == "colored"
    )
    monkeypatch.setattr("colorize.__version__", "0.0.1")
    assert run(colorizer, [folder_of_photos / "a.jpg"], tmp_path / "out")["a.jpg"].state == "done"


def test_an_output_with_a_note_of_version_0_1_is_up_to_date(folder_of_photos, colorizer, tmp_path):
    source, output = folder_of_photos / "a.jpg", tmp_path / "out" / "a.jpg"
    output.parent.mkdir()
    exif = Image.Exif()
    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:16]
    note = f"the colors are invented by fake, seed 0, 16 px (source {digest})"
    exif[0x0131] = f"Scan 2; colorize: 0.1.0, {note}"
    make_photo().save(output, exif=exif)
    assert run(colorizer, [source], output.parent)["a.jpg"].state == "done"
    exif[0x0131] = f"colorize: 0.1.0, {note.replace('seed 0', 'seed 1')}"
    make_photo().save(output, exif=exif)
    assert run(colorizer, [source], output.parent)["a.jpg"].state == "failed"


# What people bring.


def test_files_that_are_left_out_are_results_and_the_others_are_colorized(
    folder_of_photos, colorizer, tmp_path
):
    os.mkfifo(folder_of_photos / "pipe.jpg")
    (folder_of_photos / "self.png").symlink_to("self.png")
    (folder_of_photos / "raw.NEF").write_bytes(b"MM\0*")
    (folder_of_photos / "@eaDir").mkdir()
    (folder_of_photos / "@eaDir" / "a.jpg").write_text("thumbnail")
    results = run(colorizer, [folder_of_photos], tmp_path / "out", compare=True)
    states = {name: result.state for name, result in results.items() if result.state != "colored"}
    expected = {"color.webp": "in color", "pipe.jpg": "left out", "raw.NEF": "left out"}
    assert states == {**expected, "self.png": "failed"}
    assert results["pipe.jpg"].outputs == () and "a pipe or device" in results["pipe.jpg"].reason
    assert "left out: camera raw; develop" in results["raw.NEF"].reason
    assert str(folder_of_photos / "self.png") in results["self.png"].reason
    assert sum(result.state == "colored" for result in results.values()) == 3


def test_a_name_of_any_bytes_and_of_240_bytes_is_kept(colorizer, tmp_path):
    names = [os.fsdecode(b"Gro\xdfmutter.jpg"), "é" * 118 + ".jpg", "a [1] {2}.jpg", "b\nc.jpg"]
    (tmp_path / "in [old]").mkdir()
    for name in names:
        make_photo().convert("L").save(tmp_path / "in [old]" / name)
    results = run(colorizer, [tmp_path / "in [old]"], tmp_path / "out")
    assert {result.state for result in results.values()} == {"colored"}
    assert files(tmp_path / "out") == set(names)


def test_a_name_that_becomes_too_long_is_named(colorizer, tmp_path):
    photo = tmp_path / f"{'x' * 251}.bmp"
    make_photo().convert("L").save(photo)
    (result,) = run(colorizer, [photo], tmp_path / "out").values()
    assert result.state == "failed" and "cannot be written (File name too long)" in result.reason
    assert ".part" not in result.reason


def test_brackets_of_a_folder_are_no_pattern(tmp_path, monkeypatch):
    for name in ("[2019] Aunt/a.jpg", "[2019] Aunt/b.jpg", "2/a.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        make_photo().save(tmp_path / name)

    def sources(*paths):
        return [job.source.relative_to(tmp_path).as_posix() for job in plan_jobs(paths, "out")]

    assert sources(tmp_path / "[2019] Aunt" / "*.jpg") == ["[2019] Aunt/a.jpg", "[2019] Aunt/b.jpg"]
    assert sources(tmp_path / "[2]" / "*.jpg") == ["2/a.jpg"]
    monkeypatch.chdir(tmp_path)
    assert [str(job.source) for job in plan_jobs(["[2019] Aunt/[b].jpg"], "out")] == [
        "[2019] Aunt/b.jpg"
    ]


def test_a_slash_at_the_end_of_the_output_makes_it_a_folder(folder_of_photos, tmp_path):
    photo = folder_of_photos / "a.jpg"
    for output in ("new.png/", "new.dir/"):
        (job,) = plan_jobs([photo], f"{tmp_path}/{output}")
        assert job.target == tmp_path / output / "a.jpg"
    with pytest.raises(ValueError, match="is a file; the slash at its end asks for a folder"):
        plan_jobs([photo], f"{folder_of_photos / 'notes.txt'}/")


@pytest.mark.parametrize("url", ["https://example.org/a.jpg", "file:///photos/a.jpg"])
def test_a_url_is_refused_before_anything_is_done(url, tmp_path):
    with pytest.raises(ValueError, match=rf"{url} is a URL; .* download it first"):
        plan_jobs([url], tmp_path / "out")


def test_the_time_of_the_photo_is_kept_on_request(folder_of_photos, colorizer, tmp_path):
    photo, out = folder_of_photos / "a.jpg", tmp_path / "out"
    os.utime(photo, ns=(1_000_000_000_123_456_789, 987_654_321_000_000_001))
    run(colorizer, [photo], out)
    assert (out / "a.jpg").stat().st_mtime_ns > 10**18
    result = run(colorizer, [photo], out, compare=True, overwrite=True, keep_time=True)["a.jpg"]
    assert result.state == "colored"
    for name in ("a.jpg", "compared/a.jpg"):
        assert (out / name).stat().st_mtime_ns == 987_654_321_000_000_001
    os.utime(out / "a.jpg")
    assert run(colorizer, [photo], out, keep_time=True)["a.jpg"].state == "done"
    assert (out / "a.jpg").stat().st_mtime_ns == 987_654_321_000_000_001


def test_a_photoshop_file_is_colorized_from_its_flattened_picture(colorizer, tmp_path):
    values = np.array(make_photo().convert("L"))
    (tmp_path / "a.psd").write_bytes(photoshop(values))
    result = run(colorizer, [tmp_path / "a.psd"], tmp_path / "out")["a.psd"]
    assert (result.state, result.reason) == ("colored", "")
    lightness = read_image_file(tmp_path / "out" / "a.psd.png").rgb
    expected = colorizer.predict([torch.from_numpy(values).expand(3, -1, -1)])[0]
    assert torch.equal(lightness, expected.apply_to(torch.from_numpy(values).expand(3, -1, -1))[0])


def test_heif_is_read_and_written_with_its_description(colorizer, tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif", reason="needs the extra heif")
    pillow_heif.register_heif_opener()
    photo, output = tmp_path / "a.heic", tmp_path / "out" / "a.heic"
    gray, exif = make_photo().convert("L"), Image.Exif()
    exif[0x010E] = "Grandmother"
    exif[0x0112] = 6  # HEIF's own orientation counts, of which there is none
    gray.save(photo, quality=-1, exif=exif)
    assert run(colorizer, [photo], output.parent)["a.heic"].state == "colored"
    assert run(colorizer, [photo], output.parent)["a.heic"].state == "done"
    written = pillow_heif.open_heif(output)
    assert (written.mode, written.size) == ("RGB", gray.size)
    with Image.open(output) as colorized:
        exif = colorized.getexif()
        assert exif[0x010E] == "Grandmother" and exif.get(0x0112, 1) == 1
        difference = lab(colorized)[..., 0] - lab(gray)[..., 0]
    assert abs(difference).mean() < 1 and lab(written.to_pillow())[..., 1:].mean() > 20


def test_without_its_package_heif_is_left_out_and_not_written(
    folder_of_photos, colorizer, tmp_path, monkeypatch
):
    for module in ("colorize.io.formats", "colorize.io.image"):
        monkeypatch.setattr(f"{module}.has_heif", lambda: False)
    (folder_of_photos / "phone.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
    result = run(colorizer, [folder_of_photos], tmp_path / "out")["phone.HEIC"]
    assert result.state == "left out"
    assert result.reason.endswith("pip install 'colorize-photos[heif]'")
    with pytest.raises(ValueError, match=r"a\.heic: HEIF needs the package .*\[heif\]"):
        plan_jobs([folder_of_photos / "a.jpg"], tmp_path / "a.heic")


def test_a_model_of_any_name_is_recorded(folder_of_photos, tmp_path):
    colorizer = Colorizer(Fake(lambda lightness: 0.3), 16, "cpu", os.fsdecode(b"Gro\xdf"))
    for state in ("colored", "done"):
        assert run(colorizer, [folder_of_photos / "a.jpg"], tmp_path)["a.jpg"].state == state
    assert r"invented by Gro\xdf" in read_provenance(tmp_path / "a.jpg")


def test_an_output_among_the_photos_is_left_even_if_its_colors_are_pale(tmp_path, colorizer):
    make_photo().convert("L").save(tmp_path / "a.jpg")
    image = read_image_file(tmp_path / "a.jpg")
    image.metadata.write_provenance("0.2.0, gray colors by a test")
    write_image_file(image, image.rgb, tmp_path / "b.jpg")
    jobs = plan_jobs([tmp_path], tmp_path / "out")
    states = {r.source.name: (r.state, r.reason) for r in colorize_files(colorizer, jobs)}
    assert states["a.jpg"][0] == "colored" and states["b.jpg"][0] == "in color"
    assert "was colorized by colorize; use --force" in states["b.jpg"][1]
    (again,) = [r for r in colorize_files(colorizer, jobs, force=True) if r.source.name == "b.jpg"]
    assert again.state == "colored"


def test_an_empty_path_is_not_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_photo().save("a.jpg")
    with pytest.raises(ValueError, match="a path is empty"):
        plan_jobs([""], tmp_path / "out")
