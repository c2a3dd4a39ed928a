"""Files and folders of photos: what goes where, what is done, what stays untouched."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from conftest import Fake, make_photo
from PIL import Image

from colorize.inference.batch import _side_by_side, colorize_file, colorize_files, plan_jobs
from colorize.inference.colorizer import ColorizeOptions, Colorizer
from colorize.io.image import PhotoError
from colorize.io.image_file import ImageFile, read_image_file, read_provenance


@pytest.fixture
def album(tmp_path):
    """Two grey photos, a toned one and one in color, in folders."""
    root = tmp_path / "album"
    (root / "deep" / "er").mkdir(parents=True)
    grey = make_photo().convert("L")
    grey.save(root / "a.jpg")
    grey.rotate(180).save(root / "deep" / "er" / "b.bmp")
    Image.merge("RGB", [grey.point(lambda v, k=k: v * k) for k in (1.0, 0.85, 0.6)]).save(
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
    reports = list(colorize_files(colorizer, jobs, options or ColorizeOptions(), **more))
    assert [report.source for report in reports] == [job.source for job in jobs]
    return {report.source.name: report for report in reports}


def files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_is_colored_into_the_same_tree(album, colorizer, tmp_path):
    before = {path: path.read_bytes() for path in album.rglob("*") if path.is_file()}
    out = tmp_path / "out"
    reports = run(colorizer, [album], out)
    assert files(out) == {"a.jpg", "deep/sepia.png", "deep/er/b.bmp.png"}
    states = {name: (report.state, report.tone) for name, report in reports.items()}
    assert states == {
        "a.jpg": ("colored", "grey"),
        "b.bmp": ("colored", "grey"),
        "sepia.png": ("colored", "toned"),
        "color.webp": ("in color", "color"),
    }
    assert "--force colors it anew" in reports["color.webp"].reason
    assert {path: path.read_bytes() for path in album.rglob("*") if path.is_file()} == before
    assert run(colorizer, [album], tmp_path / "all", force=True)["color.webp"].state == "colored"


def test_the_tone_of_a_toned_photo_does_not_shine_through(album, colorizer, tmp_path):
    run(colorizer, [album / "deep" / "sepia.png"], tmp_path / "out")
    painted = read_image_file(tmp_path / "out" / "sepia.png").rgb
    source = read_image_file(album / "deep" / "sepia.png")
    lightness_only = colorizer.predict([source.seen])[0].paint(source.rgb)[0]
    assert np.array_equal(painted, lightness_only)
    hues = Image.open(tmp_path / "out" / "sepia.png").convert("HSV").getchannel("H")
    assert np.median(hues) != np.median(
        Image.open(album / "deep" / "sepia.png").convert("HSV").getchannel("H")
    )


def test_what_is_done_is_not_done_again_and_what_is_wished_otherwise_is_not_lost(
    album, colorizer, tmp_path
):
    out, photo = tmp_path / "out", album / "a.jpg"
    assert run(colorizer, [photo], out)["a.jpg"].state == "colored"
    painted = (out / "a.jpg").read_bytes()
    assert run(colorizer, [photo], out)["a.jpg"].state == "done"
    for wish in (ColorizeOptions(seed=1), ColorizeOptions(size=24)):
        report = run(colorizer, [photo], out, wish)["a.jpg"]
        assert report.state == "failed" and "--overwrite replaces it" in report.reason
    make_photo(seed=5).convert("L").save(photo)  # another photo of the same name
    assert run(colorizer, [photo], out)["a.jpg"].state == "failed"
    assert (out / "a.jpg").read_bytes() == painted
    assert run(colorizer, [photo], out, overwrite=True)["a.jpg"].state == "colored"
    assert (out / "a.jpg").read_bytes() != painted
    (out / "a.jpg").write_text("precious")
    assert run(colorizer, [photo], out)["a.jpg"].state == "failed"
    assert (out / "a.jpg").read_text() == "precious"


def test_a_photo_is_never_replaced_not_even_by_the_painting_of_another(album, colorizer, tmp_path):
    grey = album / "a.jpg"
    other = tmp_path / "other" / "a.jpg"
    other.parent.mkdir()
    make_photo(seed=3).convert("L").save(other)
    before = grey.read_bytes(), other.read_bytes()
    for paths, out in (([grey], album), ([grey, other], other.parent), ([grey], grey)):
        first = next(colorize_files(colorizer, plan_jobs(paths, out), overwrite=True))
        assert first.state == "failed" and "would replace" in first.reason
    assert (grey.read_bytes(), other.read_bytes()) == before


def test_a_bad_photo_is_named_and_the_rest_goes_on(album, colorizer, tmp_path):
    (album / "a.jpg").write_bytes(b"\xff\xd8\xff broken")
    (album / "gone.png").symlink_to(tmp_path / "nowhere")
    jobs = plan_jobs([album, album / "no.jpg"], tmp_path / "out")
    (album / "deep" / "sepia.png").unlink()  # between looking and reading
    reports = {r.source.name: r for r in colorize_files(colorizer, jobs)}
    assert reports["a.jpg"].state == reports["sepia.png"].state == "failed"
    assert "a.jpg" in reports["a.jpg"].reason and "sepia.png" in reports["sepia.png"].reason
    for name in ("no.jpg", "gone.png"):
        assert reports[name].reason == f"{album / name}: no such file"
    assert reports["b.bmp"].state == "colored"
    assert files(tmp_path / "out") == {"deep/er/b.bmp.png"}


def test_a_photo_and_a_link_to_it_are_both_colored(album, tmp_path):
    (album / "Link.jpg").symlink_to("a.jpg")
    jobs = plan_jobs([album, album / "deep" / ".." / "a.jpg"], tmp_path / "out")
    targets = [str(job.target.relative_to(tmp_path / "out")) for job in jobs]
    assert {"Link.jpg", "a.jpg"} <= set(targets) and targets.count("a.jpg") == 1


def test_names_do_not_collide(album, tmp_path):
    for name in ("x/a.jpg", "y/A.jpg", "y/b.gif", "y/b.gif.png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        make_photo().save(path)
    paths = [tmp_path / "x" / "a.jpg", tmp_path / "y", tmp_path / "x" / "a.jpg"]
    targets = [job.target.name for job in plan_jobs(paths, tmp_path / "out")]
    assert targets == ["a.jpg", "A-2.jpg", "b.gif.png", "b.gif-2.png"]


def test_comparisons_do_not_collide_with_paintings(tmp_path):
    for name in ("a.png", "compared/a.png"):
        (tmp_path / "in" / name).parent.mkdir(exist_ok=True, parents=True)
        make_photo().convert("L").save(tmp_path / "in" / name)
    jobs = plan_jobs([tmp_path / "in"], tmp_path / "out")
    files = [file for job in jobs for file in (job.target, job.compared)]
    assert len(set(files)) == 4


def test_a_photo_that_is_named_twice_is_one(album, tmp_path, monkeypatch):
    monkeypatch.chdir(album)
    jobs = plan_jobs(["a.jpg", album / "a.jpg", "deep/../a.jpg"], tmp_path / "out")
    assert [job.target for job in jobs] == [tmp_path / "out" / "a.jpg"]


def test_an_output_that_is_named_as_a_file_is_one(album, tmp_path):
    with pytest.raises(ValueError, match=r"b\.gif: unknown kind of file; use one of \.jpg"):
        plan_jobs([album / "a.jpg"], tmp_path / "b.gif")
    with pytest.raises(ValueError, match=r"b\.png is the name of one file; 4 photos need a folder"):
        plan_jobs([album], tmp_path / "b.png")


def test_a_comparison_is_made_smaller_where_it_would_be_huge(colorizer, tmp_path):
    Image.new("L", (9000, 20), 120).save(tmp_path / "wide.webp")
    report = run(colorizer, [tmp_path / "wide.webp"], tmp_path / "out", compare=True)["wide.webp"]
    assert report.state == "colored"
    with Image.open(tmp_path / "out" / "compared" / "wide.webp") as compared:
        assert compared.size == (2 * 4096, 9)  # 20 * 4096 / 9000


def test_where_paintings_go(album, tmp_path, monkeypatch):
    (job,) = plan_jobs([album / "a.jpg"], tmp_path / "colored.png")
    assert job.target == tmp_path / "colored.png"
    monkeypatch.chdir(album)
    assert {job.target.name for job in plan_jobs(["deep/*.*"], "out")} == {
        "sepia.png",
        "color.webp",
    }
    (album / "out").mkdir()
    make_photo().save(album / "out" / "old.jpg")
    assert "old.jpg" not in {job.source.name for job in plan_jobs(["."], "out")}
    assert len(plan_jobs(["deep"], ".")) == 3  # the output around the photos
    with pytest.raises(ValueError, match=r"no photos in .*er"):
        (album / "deep" / "er" / "b.bmp").unlink()
        plan_jobs(["deep/er"], "out")
    with pytest.raises(ValueError, match=r"notes.txt is a file; several paintings need a folder"):
        plan_jobs(["deep"], "notes.txt")


def test_photo_and_painting_side_by_side(album, colorizer, tmp_path):
    out = tmp_path / "out"
    assert run(colorizer, [album / "a.jpg"], out)["a.jpg"].state == "colored"
    assert run(colorizer, [album / "a.jpg"], out, compare=True)["a.jpg"].state == "colored"
    assert files(out) == {"a.jpg", "compared/a.jpg"}
    assert run(colorizer, [album / "a.jpg"], out, compare=True)["a.jpg"].state == "done"
    with Image.open(out / "compared" / "a.jpg") as both:
        left, right = np.split(np.asarray(both, int), 2, axis=1)
    assert np.ptp(left, axis=-1).max() < 6 and np.ptp(right, axis=-1).mean() > 30
    (job,) = plan_jobs([album / "a.jpg"], tmp_path / "one.png")
    assert job.compared == tmp_path / "one-compared.png"


def test_side_by_side_transparent_places_stay_so(colorizer, tmp_path):
    photo = make_photo().convert("LA")
    photo.putalpha(Image.linear_gradient("L").resize(photo.size))
    photo.save(tmp_path / "a.png")
    run(colorizer, [tmp_path / "a.png"], tmp_path / "out", compare=True)
    alpha = np.asarray(photo)[..., 1]
    with Image.open(tmp_path / "out" / "compared" / "a.png") as both:
        assert np.array_equal(np.asarray(both)[..., 3], np.hstack((alpha, alpha)))


def test_of_several_pictures_in_a_file_it_is_said_that_one_is_colored(colorizer, tmp_path):
    page = make_photo().convert("L")
    page.save(tmp_path / "a.tif", save_all=True, append_images=[page])
    report = run(colorizer, [tmp_path / "a.tif"], tmp_path / "out")["a.tif"]
    assert report.state == "colored"
    assert report.reason.endswith("a.tif holds 2 pictures, the first is colored")


def test_a_painting_says_who_invented_its_colors(album, colorizer, tmp_path):
    run(colorizer, [album / "a.jpg"], tmp_path, ColorizeOptions(seed=7))
    said = read_provenance(tmp_path / "a.jpg")
    assert said.startswith("0.1.0, the colors are invented by fake, seed 7, 16 px (source ")


def test_one_picture_without_files(album, colorizer):
    original = read_image_file(album / "a.jpg")
    painted = colorize_file(colorizer, original)
    assert painted.shape == original.rgb.shape and "fake" in original.exif[0x0131]
    with pytest.raises(PhotoError, match="in color already"):
        colorize_file(colorizer, read_image_file(album / "deep" / "color.webp"))
    colorize_file(colorizer, read_image_file(album / "deep" / "color.webp"), force=True)


def test_another_network_of_the_same_name_is_another_painting(album, tmp_path):
    first, second = (
        Colorizer(Fake(lambda lightness: 0.3), 16, "cpu", "fake", digest) for digest in "ab"
    )
    assert run(first, [album / "a.jpg"], tmp_path / "out")["a.jpg"].state == "colored"
    assert run(first, [album / "a.jpg"], tmp_path / "out")["a.jpg"].state == "done"
    assert run(second, [album / "a.jpg"], tmp_path / "out")["a.jpg"].state == "failed"


@pytest.mark.filterwarnings("ignore:out of memory")
def test_a_photo_that_memory_does_not_suffice_for_is_named_and_the_rest_goes_on(album, tmp_path):
    def paint(lightness):
        if lightness.shape[-1] > lightness.shape[-2]:
            raise MemoryError("Unable to allocate 55.8 GiB")
        return 0.3

    make_photo().convert("L").rotate(90, expand=True).save(album / "c.jpg")
    reports = run(Colorizer(Fake(paint), 16, "cpu", "fake"), [album], tmp_path / "out")
    assert sorted(report.state for report in reports.values()).count("failed") >= 1
    failed = [report for report in reports.values() if report.state == "failed"]
    assert all("memory does not suffice" in report.reason for report in failed)
    assert any(report.state == "colored" for report in reports.values())


def test_an_unknown_kind_and_the_photos_own_folder_are_refused_before_anything_is_written(album):
    with pytest.raises(ValueError, match=r"a\.heic: unknown kind of file; use one of \.jpg"):
        plan_jobs([album / "a.jpg"], album / "a.heic")
    with pytest.raises(ValueError, match="holds the photos themselves"):
        plan_jobs([album], album / "deep" / "..")


def test_a_comparison_of_many_samples_is_no_wider_than_webp_can_be():
    wide = torch.zeros(3, 8, 9000, dtype=torch.uint8)
    _, row = _side_by_side(ImageFile(wide), [wide] * 4)
    assert 16000 < row.shape[2] <= 16383 and row.shape[2] % 5 == 0


def test_torch_has_as_many_threads_after_as_before(album, colorizer, tmp_path):
    torch.set_num_threads(2)
    run(colorizer, [album], tmp_path / "out")
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == 2


def test_what_another_version_painted_is_done(album, colorizer, tmp_path, monkeypatch):
    assert run(colorizer, [album / "a.jpg"], tmp_path / "out")["a.jpg"].state == "colored"
    monkeypatch.setattr("colorize.__version__", "0.0.1")
    assert run(colorizer, [album / "a.jpg"], tmp_path / "out")["a.jpg"].state == "done"
