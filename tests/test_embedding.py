"""The library inside other programs: it leaves their state alone, and takes what they have."""

import copy
import dataclasses
import io
import pickle
import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from conftest import Fake, make_photo, state_of
from PIL import Image
from torch import nn

from colorize.color import ab_bins, rgb_to_lab
from colorize.config import TrainConfig
from colorize.data.folder import PhotoFolder
from colorize.data.loaders import run_loaders
from colorize.inference.colorizer import Colorizer
from colorize.inference.options import ColorizeOptions
from colorize.io.image import PhotoError, write_photo
from colorize.models import MODELS, create_model, pretrained
from colorize.trainers import RunDir, open_run
from colorize.utils.checkpoint import CheckpointError, load_weights
from colorize.utils.seed import seeded_noise

CLASSES = {"encoder_name": "mobilenet_v2", "width": 16, "hints": True}
UNET = {"depth": 3, "base_channels": 4}
SMALL = {
    "resnet_autoencoder": {"encoder_name": "resnet18"},
    "resnet_fcn": {"encoder_name": "resnet18"},
    "unet": UNET | {"attention": 4, "spectral_norm": True},
    "unet_gan": UNET,
    "encoder_unet": {"encoder_name": "efficientnet_b0", "width": 16},
    "color_classifier": CLASSES,
}


def small(name, std=0.3):
    """A small network that predicts something."""
    network = create_model(name, **SMALL[name])
    for parameter in network.parameters():
        if parameter.dim() > 1 and not parameter.any():
            nn.init.normal_(parameter, std=std)
    return network


@pytest.fixture(scope="module")
def classes():
    network = small("color_classifier")
    nn.init.normal_(network.network.head.weight, std=3)
    return Colorizer(network, 32, "cpu")


@pytest.fixture(scope="module")
def noisy():
    network = small("unet_gan")
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    return Colorizer(network, 16, "cpu")


# State of others.


def global_state():
    numpys = np.random.get_state()[1].tolist()  # noqa: NPY002
    return torch.get_rng_state().tolist(), random.getstate(), numpys


def test_a_call_draws_from_no_global_generator(classes, noisy):
    before = global_state()
    classes.sample(make_photo(40, 30), count=2, seed=3)
    noisy(make_photo(40, 30))
    assert global_state() == before


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # Python 3.12, on forks
def test_a_training_draws_from_no_global_generator(tmp_path, folder, workers):
    gan = {"gan_loss": "vanilla", "reconstruction_loss": "l1", "epochs": 1, "batch_size": 2}
    config = TrainConfig("unet_gan", UNET, crop_size=32, **gan)
    before = global_state()
    trainer = open_run(config, tmp_path / "run", "cpu")
    trainer.fit(*run_loaders(PhotoFolder(folder), config, workers), progress=False)
    assert trainer.global_step == 3 and global_state() == before


def test_the_samples_of_a_seed_are_those_of_torchs_generator(classes):
    """As before the library had generators of its own: the results of seeds have stayed."""
    logits = torch.randn(1, 261, 2, 2)
    ours = classes.network.decode(
        logits, 1.0, sample=True, generator=torch.Generator().manual_seed(5)
    )
    torch.manual_seed(5)
    assert torch.equal(ours, classes.network.decode(logits, 1.0, sample=True))


def test_dropout_in_a_block_of_a_seed_is_torchs():
    network = small("unet").eval()
    lightness = torch.rand(1, 1, 32, 32) * 2 - 1
    with seeded_noise(4), torch.no_grad():
        ours = network(lightness)
    from colorize.utils.seed import derive_seed

    torch.manual_seed(derive_seed(4))
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.forward = lambda x, p=module.p: nn.functional.dropout(x, p, training=True)
    with torch.no_grad():
        assert torch.equal(network(lightness), ours)


def test_eight_threads_give_what_one_gives(classes, noisy):
    photos = [make_photo(48, 40, seed=i) for i in range(5)]
    jobs = [(i, photo) for i in range(4) for photo in photos]

    def work(job):
        seed, photo = job
        samples = classes.sample(photo, count=2, seed=seed)
        return [image.tobytes() for image in (*samples, noisy(photo, seed=seed))]

    alone = [work(job) for job in jobs]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, jobs)) == alone
    assert len({images[2] for images in alone}) == len(jobs)  # every seed has other noise


def test_models_built_in_eight_threads_have_the_weights_of_their_seeds():
    def build(seed):
        return create_model("unet", seed=seed, **UNET).head[0].weight

    alone = [build(seed) for seed in range(16)]
    with ThreadPoolExecutor(8) as pool:
        assert all(map(torch.equal, pool.map(build, range(16)), alone))


@pytest.mark.parametrize("name", MODELS)
def test_the_weights_of_a_seed_are_those_of_torchs_generator(name):
    kwargs = SMALL.get(name, SMALL["encoder_unet"])
    ours = create_model(name, seed=3, **kwargs).state_dict()
    torch.manual_seed(3)
    theirs = MODELS[name](**kwargs).state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_stochastic_depth_repeats_itself_and_is_torchvisions():
    network = create_model("encoder_unet", **SMALL["encoder_unet"]).train()
    lightness, outputs = torch.rand(2, 1, 32, 32), []
    before = torch.get_rng_state()
    for seed in (1, 1, 2):
        with seeded_noise(seed):
            outputs.append(network(lightness))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(outputs[0], outputs[1]) and not torch.equal(outputs[0], outputs[2])

    from torchvision.ops import StochasticDepth as Torchvisions

    from colorize.models.layers import StochasticDepth

    x, dropped = torch.rand(6, 4, 5, 5), []
    for layer in (StochasticDepth(0.5), Torchvisions(0.5, "row")):
        torch.manual_seed(2)
        dropped.append(layer.train()(x))
        assert torch.equal(layer.eval()(x), x)
    assert torch.equal(*dropped)


def test_the_callers_network_stays_as_it_is():
    network = small("unet_gan").train()
    before = state_of(network)
    strides = [p.stride() for p in network.parameters()]
    photo, colorizer = make_photo(40, 30), Colorizer(network, 16, "cpu")
    colorized = colorizer(photo)
    assert all(module.training for module in network.modules())
    assert [p.stride() for p in network.parameters()] == strides
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()  # training goes on
    assert colorizer(photo).tobytes() == colorized.tobytes()


def test_autocast_around_a_call_changes_nothing(classes):
    photo = make_photo(40, 30)
    plain = classes(photo, views=2).tobytes()
    with torch.autocast("cpu", torch.bfloat16):
        assert classes(photo, views=2).tobytes() == plain


def test_inference_mode_around_a_call_leaves_nothing_behind(classes):
    ab_bins.bin_centers.cache_clear()
    with torch.inference_mode():
        classes(make_photo(40, 30))
    logits = torch.randn(1, 261, 2, 2, requires_grad=True)
    classes.network.decode(logits, 1.0).sum().backward()  # saves the table of the bins
    assert logits.grad.isfinite().all()
    ab_bins.bin_centers.cache_clear()
    with torch.device("meta"):
        assert ab_bins.bin_centers().device.type == "cpu"


# Number formats.


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("name", SMALL)
def test_networks_work_in_other_number_formats(name, dtype):
    network = small(name, std=0.05).eval()
    lightness = torch.rand(1, 1, 32, 32) * 2 - 1
    with torch.no_grad(), seeded_noise(1):
        expected = network(lightness)
    network = network.to(dtype)
    with torch.no_grad(), seeded_noise(1):
        ab = network(lightness.to(dtype))
    if name not in ("unet", "unet_gan"):  # each format draws other noise
        tolerance = {torch.float16: 0.02, torch.bfloat16: 0.1, torch.float64: 1e-4}[dtype]
        torch.testing.assert_close(ab.float(), expected, rtol=0, atol=tolerance)
    assert ab.isfinite().all() and ab.abs().max() > 0
    with pytest.raises(
        ValueError, match=rf"lightness is torch.float32 and the weights are {dtype}"
    ):
        network(lightness)


def test_a_colorizer_works_in_half_precision(classes):
    photo = make_photo(60, 40)
    half = copy.deepcopy(classes)
    half.network.half()
    ours, theirs = (np.asarray(c(photo, vividness=0.1), int) for c in (classes, half))
    assert np.abs(ours - theirs).mean() < 2
    halved = Colorizer(classes.network.half(), 32, "cpu")
    classes.network.float()
    assert np.array_equal(np.asarray(halved(photo, vividness=0.1), int), theirs)
    hinted = halved(photo, hints=[(5, 5, "red")])
    assert hinted.tobytes() != halved(photo).tobytes()


# What is handed over.


def as_file(photo, suffix="png"):
    buffer = io.BytesIO()
    photo.save(buffer, suffix)
    buffer.seek(0)
    return buffer


def test_a_photo_may_be_a_path_a_file_or_an_array(classes, tmp_path):
    photo = make_photo(40, 30)
    expected = classes(photo).tobytes()
    path = write_photo(photo, tmp_path / "a.png")
    gray = photo.convert("L")
    for source in (path, str(path), as_file(photo), np.asarray(photo)):
        assert classes(source).tobytes() == expected
    assert [image.tobytes() for image in classes([path, photo])] == [expected] * 2
    assert [image.tobytes() for image in classes(p for p in (path, photo))] == [expected] * 2
    assert classes(np.asarray(gray)).tobytes() == classes(gray).tobytes()
    assert len(classes.sample(path, count=2)) == len(classes.predict_uncertainty(path)) == 2
    transparent = np.dstack([np.asarray(photo), np.full((30, 40), 90, np.uint8)])
    assert classes(transparent).getpixel((0, 0))[3] == 90
    assert classes([]) == []


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_of_a_phones_photo_is_applied(classes, orientation):
    photo = make_photo(40, 30)
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    photo.save(buffer, "png", exif=exif)
    opened = Image.open(buffer)
    from PIL import ImageOps

    upright = ImageOps.exif_transpose(opened)
    colorized = classes(opened)
    assert colorized.size == ((30, 40) if orientation > 4 else (40, 30))
    assert colorized.tobytes() == classes(upright).tobytes()
    assert opened.getexif()[0x0112] == orientation  # the caller's image stays
    buffer.seek(0)
    assert classes(buffer).tobytes() == colorized.tobytes()


@pytest.mark.parametrize("mode", ["La", "RGBa", "LA", "PA", "HSV", "YCbCr", "I", "F"])
def test_images_of_rare_modes_are_colorized(classes, mode):
    through = {"La": "LA", "RGBa": "RGBA", "PA": "P"}.get(mode, mode)
    photo = make_photo(40, 30).convert("L" if mode in ("F", "I", "La", "LA") else "RGB")
    colorized = classes(photo.convert(through).convert(mode))
    assert colorized.size == (40, 30) and colorized.mode in ("RGB", "RGBA")


@pytest.mark.parametrize(
    ("photo", "message"),
    [
        (Image.new("RGB", (0, 0)), "a photo of 0x0 pixels is empty"),
        (Image.new("L", (0, 5)), "a photo of 0x5 pixels is empty"),
        (np.zeros((0, 4), np.uint8), r"uint8 \(H, W\) or \(H, W, 3\), got uint8 \(0, 4\)"),
        (np.zeros((4, 4)), r"got float64 \(4, 4\)"),
        (np.zeros((2, 4, 4, 3), np.uint8), r"got uint8 \(2, 4, 4, 3\)"),
        (torch.zeros(3, 4, 4), "not Tensor"),
        (3, "a photo is an image of Pillow's, a path, .*, not int"),
        (None, "not NoneType"),
        (b"bytes", "not int"),
        ("nowhere.jpg", "nowhere.jpg: no such file"),
        (io.BytesIO(b"no photo"), "the given file: not an image"),
    ],
)
def test_what_is_no_photo_is_refused_in_a_line(photo, message):
    with pytest.raises(PhotoError, match=message) as refusal:
        Colorizer(Fake(), 16, "cpu")(photo)
    assert "\n" not in str(refusal.value)


def test_a_truncated_image_is_refused_by_name(tmp_path):
    path = write_photo(make_photo(300, 200), tmp_path / "cut.jpg")
    path.write_bytes(path.read_bytes()[:3000])
    colorizer = Colorizer(Fake(), 16, "cpu")
    with Image.open(path) as opened, pytest.raises(PhotoError, match=r"cut\.jpg: damaged or trunc"):
        colorizer(opened)
    with pytest.raises(PhotoError, match=r"cut\.jpg: damaged or truncated"):
        colorizer(path)


@pytest.mark.parametrize("kind", [np.int64, np.uint8, int])
def test_numpys_numbers_are_numbers(classes, kind):
    photo = make_photo(40, 30)
    options = {"seed": kind(3), "size": kind(32), "views": kind(1)}
    expected = classes.sample(photo, count=2, seed=3, size=32, views=1)
    samples = classes.sample(photo, count=kind(2), **options)
    assert [image.tobytes() for image in samples] == [image.tobytes() for image in expected]
    vivid = classes(photo, vividness=np.float32(0.5), hints=[(kind(3), kind(4), (kind(9), 0, 0))])
    assert vivid.tobytes() == classes(photo, vividness=0.5, hints=[(3, 4, (9, 0, 0))]).tobytes()
    assert ColorizeOptions(samples=kind(2)) == ColorizeOptions(samples=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": None}, "seed must be a whole number, got None"),
        ({"seed": 1.0}, "seed must be a whole number, got 1.0"),
        ({"seed": True}, "seed must be a whole number, got True"),
        ({"samples": True}, "samples must be a whole number from 1 to 100, got True"),
        ({"samples": "2"}, "samples must be a whole number from 1 to 100, got '2'"),
        ({"vividness": "0.5"}, "vividness must be from 0 to 1, got '0.5'"),
        ({"vividness": True}, "vividness must be from 0 to 1, got True"),
        ({"vividness": float("nan")}, "vividness must be from 0 to 1, got nan"),
        ({"size": 64.0}, "size must be a whole number from 1 to 2048, got 64.0"),
        ({"size": 0}, "size must be a whole number from 1 to 2048, got 0"),
        ({"views": True}, "views must be one of 1, 2, 6, got True"),
        ({"views": [2]}, r"views must be one of 1, 2, 6, got \[2\]"),
        ({"hints": (1, 2, "red")}, r"a hint is \(x, y, color\), got 1"),
        ({"hints": 5}, r"hints are a list of \(x, y, color\), got 5"),
        ({"hints": "1,2,red"}, r"hints are a list of \(x, y, color\), got '1,2,red'"),
        ({"hints": [("1", 2, "red")]}, r"a hint is \(x, y, color\), got \('1', 2, 'red'\)"),
    ],
)
def test_options_of_the_wrong_kind_are_refused_in_a_line(options, message):
    with pytest.raises(ValueError, match=message) as refusal:
        ColorizeOptions(**options)
    assert "\n" not in str(refusal.value)


def test_what_is_no_network_is_refused():
    with pytest.raises(ValueError, match=r"must be a model of colorize\.models, got Linear"):
        Colorizer(nn.Linear(1, 2), 16)
    with pytest.raises(ValueError, match="size must be a whole number from 1, got '16'"):
        Colorizer(Fake(), "16")


def test_photos_as_arrays_are_not_written_without_a_word(tmp_path):
    with pytest.raises(PhotoError, match=r"a\.png: .*an image of Pillow's, not ndarray.*fromarray"):
        write_photo(np.zeros((4, 4, 3), np.uint8), tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [255.0, 1.01, float("nan"), float("inf")])
def test_floats_above_1_are_no_rgb(value):
    rgb = torch.zeros(3, 4, 4)
    rgb[1, 2, 3] = value
    with pytest.raises(ValueError, match=r"floating rgb must be in \[0, 1\], got"):
        rgb_to_lab(rgb)
    rgb[1, 2, 3] = 1.0
    assert rgb_to_lab(rgb)[0].isfinite().all()
    assert rgb_to_lab(torch.zeros(3, 0, 4))[1].shape == (2, 0, 4)


def test_weights_of_another_network_are_refused_in_a_line(tmp_path):
    ours, theirs = create_model("unet", **UNET), create_model("unet", depth=4, base_channels=8)
    with pytest.raises(CheckpointError) as refusal:
        load_weights(ours, theirs.state_dict())
    message = str(refusal.value)
    assert "\n" not in message and "unknown, such as decoder_blocks.2" in message
    assert message.endswith("23 of another shape, such as decoder_blocks.0.0.bias")
    with pytest.raises(CheckpointError, match=r"2 missing, such as bias; 1 unknown, such as x$"):
        load_weights(nn.Linear(2, 3), {"x": torch.zeros(1)})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("best.pt", r"best\.pt is a file: give the folder .*, \S+run, weights='best'$"),
        ("config.json", r"config\.json is a file: give the folder of the run or model, \S+run$"),
    ],
)
def test_of_a_file_in_a_run_the_folder_is_named(tmp_path, name, message):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).touch()
    with pytest.raises(FileNotFoundError, match=message):
        Colorizer.from_pretrained(tmp_path / "run" / name)


def test_a_start_from_another_architecture_names_both(tmp_path):
    start = pretrained.Pretrained(create_model("unet", **UNET), "unet", UNET, 32, "start")
    pretrained.save(start, tmp_path / "start", pretrained.model_card(start))
    other = {"depth": 4, "base_channels": 4}
    config = TrainConfig("unet", other, init_from=str(tmp_path / "start"), crop_size=32)
    with pytest.raises(CheckpointError) as refusal:
        open_run(config, tmp_path / "run", "cpu")
    message = str(refusal.value)
    assert 'another model: unet with {"depth": 3, "base_channels": 4}, and this one is' in message
    assert 'unet with {"depth": 4, "base_channels": 4}' in message and "\n" not in message


def test_a_refused_resume_says_what_would_work(tmp_path):
    config = TrainConfig("unet", UNET, crop_size=32)
    run = RunDir(tmp_path / "run")
    config.save(run.path / "config.json")
    with pytest.raises(ValueError, match=r"other settings \(lr") as refusal:
        run.check_config(dataclasses.replace(config, lr=1.0, epochs=99))
    message = str(refusal.value)
    assert "only epochs, patience, " in message and f"--init-from {run.path}" in message


# Networks in the hands of other libraries.


@pytest.mark.parametrize("name", SMALL)
def test_networks_are_copied_and_pickled(name):
    network = small(name).eval()
    lightness = torch.rand(1, 1, 32, 32) * 2 - 1
    outputs = []
    models = [network, copy.deepcopy(network)]
    if not SMALL[name].get("spectral_norm"):  # which torch does not pickle
        models.append(pickle.loads(pickle.dumps(network)))
    for model in models:
        with torch.no_grad(), seeded_noise(0):
            outputs.append(model(lightness))
    assert all(torch.equal(output, outputs[0]) for output in outputs)


def compiled(network, lightness, target_ab):
    """A training step and a prediction of the compiled network, beside its own.

    Captured as by any compiler, without generating code, which takes a minute.
    """
    whole, outputs = torch.compile(network, fullgraph=True, backend="aot_eager"), []
    for model in (network, whole, whole):
        with seeded_noise(1):
            outputs.append(model(lightness))
    assert all(torch.allclose(output, outputs[0], atol=1e-4) for output in outputs)
    nn.functional.mse_loss(whole(lightness), target_ab).backward()
    assert any(
        parameter.grad.any() for parameter in network.parameters() if parameter.requires_grad
    )


def exported(network, lightness, target_ab):
    """The exported network, stored and read again."""
    program, buffer = torch.export.export(network.eval(), (lightness,)), io.BytesIO()
    torch.export.save(program, buffer)
    buffer.seek(0)
    loaded = torch.export.load(buffer).module()
    with seeded_noise(1), torch.no_grad():
        expected = network(lightness)
    with seeded_noise(1), torch.no_grad():
        assert torch.allclose(loaded(lightness), expected, atol=1e-5)


def in_lightning(network, lightness, target_ab):
    lightning = pytest.importorskip("lightning", reason="lightning is not installed")

    class Task(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.network = network

        def training_step(self, batch):
            return nn.functional.mse_loss(self.network(batch[0]), batch[1])

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), 1e-3)

    before = state_of(network)
    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(lightness, target_ab), 2)
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar"), False)
    trainer = lightning.Trainer(
        max_epochs=1, accelerator="cpu", devices=1, enable_model_summary=False, **quiet
    )
    trainer.fit(Task(), data)
    assert any(not torch.equal(value, before[key]) for key, value in network.state_dict().items())


def in_accelerate(network, lightness, target_ab):
    accelerate = pytest.importorskip("accelerate", reason="accelerate is not installed")
    accelerator = accelerate.Accelerator(cpu=True, mixed_precision="bf16")
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    prepared, optimizer = accelerator.prepare(network, optimizer)
    accelerator.backward(nn.functional.mse_loss(prepared(lightness).float(), target_ab))
    optimizer.step()
    size = 2 * network.size_divisibility
    assert Colorizer(accelerator.unwrap_model(prepared), size, "cpu")(make_photo(40, 30))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the libraries themselves
@pytest.mark.parametrize("library", [compiled, exported, in_lightning, in_accelerate])
@pytest.mark.parametrize("name", ["resnet_autoencoder", "resnet_fcn", "unet_gan"])
def test_the_three_models_work_in_other_libraries(name, library):
    lightness, target_ab = torch.rand(2, 1, 64, 64) * 2 - 1, torch.rand(2, 2, 64, 64) - 0.5
    network = small(name)
    if name == "unet_gan":  # the discriminator has no part in a prediction
        network.discriminator.requires_grad_(False)
    library(network.train(), lightness, target_ab)
    photo = make_photo(40, 30)
    assert Colorizer(network, 64, "cpu")(photo).size == photo.size
