"""The models: their common contract, and the architectures of their papers."""

import urllib.error

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from colorize.color.lab import lab_to_rgb
from colorize.models import (
    GAN,
    GANS,
    MODELS,
    ColorizationModel,
    DistributionModel,
    ResNetAutoencoder,
    ResNetFCN,
    UNetGAN,
    create_model,
    extract_generator,
    model_arguments,
)
from colorize.models.encoders import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Encoder,
    LightnessStem,
    WeightsError,
)

TINY = {
    "resnet_autoencoder": {"encoder_name": "resnet18"},
    "resnet_fcn": {"encoder_name": "resnet18"},
    "unet": {"depth": 3, "base_channels": 4},
    "unet_gan": {"depth": 3, "base_channels": 4},
    "encoder_unet": {"encoder_name": "mobilenet_v3_small", "width": 16},
    "encoder_unet_gan": {"encoder_name": "resnet18", "width": 16, "discriminator_channels": 4},
    "color_classifier": {"encoder_name": "resnet18", "width": 16},
    "classifier_gan": {"encoder_name": "mobilenet_v2", "width": 16, "discriminator_channels": 4},
}


def random_lightness(*shape):
    return torch.rand(shape) * 2 - 1


def generator_of(network):
    return network.generator if isinstance(network, GAN) else network


def randomize_statistics(network):
    """BatchNorm statistics as training leaves them, so that a wrong stem or padding shows."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and module.track_running_stats:
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 2)
    return network.eval()


@pytest.fixture(params=TINY)
def name(request):
    return request.param


@pytest.fixture
def network(name):
    return create_model(name, **TINY[name])


def test_every_network_has_a_tiny_form_here():
    assert set(MODELS) == set(TINY)


@pytest.mark.parametrize("gan", GANS)
def test_a_gans_generator_is_a_model_with_a_name_of_its_own(gan):
    network = create_model(gan, **TINY[gan])
    generator, name, args = extract_generator(network, gan, TINY[gan])
    assert generator is network.generator
    create_model(name, **args).load_state_dict(generator.state_dict())
    assert extract_generator(generator, name, args) == (generator, name, args)


@pytest.mark.parametrize("shape", [(1, 1, 32, 32), (2, 1, 64, 96), (3, 1, 96, 32)])
def test_every_network_keeps_the_size_and_the_range(network, shape):
    convs = [m for m in generator_of(network).modules() if isinstance(m, nn.modules.conv._ConvNd)]
    nn.init.normal_(convs[-1].weight, std=1000)  # so that an output without bounds shows
    ab = network.eval()(random_lightness(*shape))
    assert ab.shape == (shape[0], 2, *shape[2:]) and ab.dtype == torch.float32
    # Decoded ab lie between the centers of the bins.
    assert (0.1 if generator_of(network).predicts_distribution else 0.99) < ab.abs().max() <= 1


@pytest.mark.parametrize("backbone", ["convnext_tiny", "mobilenet_v2", "efficientnet_b0"])
@pytest.mark.parametrize("name", ["resnet_autoencoder", "resnet_fcn", "encoder_unet"])
def test_with_any_encoder_a_model_keeps_the_size(name, backbone):
    network = create_model(name, encoder_name=backbone).eval()
    side = 2 * network.size_divisibility
    assert network(torch.zeros(1, 1, side, 2 * side)).shape == (1, 2, side, 2 * side)


def test_a_gan_takes_all_arguments_of_its_generator():
    for gan, own in GANS.items():
        assert set(model_arguments(gan)) - set(model_arguments(own)) == {
            "discriminator_channels",
            "discriminator_attention",
        }
    assert create_model("classifier_gan", **TINY["classifier_gan"], prior_strength=0.5).generator
    narrow = create_model(
        "unet_gan", **TINY["unet_gan"] | {"discriminator_channels": 3}
    ).discriminator
    assert next(narrow.parameters()).shape[0] == 3


def test_the_gradient_reaches_every_parameter(network):
    network = generator_of(network)
    for score in getattr(network, "scores", ()):  # a zero score has no gradient for its inputs
        nn.init.normal_(score.weight)
    network(random_lightness(2, 1, 64, 64)).square().sum().backward()
    silent = [key for key, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert not silent


def test_sizes_that_do_not_fit_raise_and_name_the_nearest_ones(network):
    m = network.size_divisibility
    with pytest.raises(ValueError, match=rf"got {m + 1}x{2 * m}.* {m}x{2 * m} or {2 * m}x{2 * m}"):
        network(random_lightness(1, 1, m + 1, 2 * m))
    with pytest.raises(ValueError, match=rf"resize to {m}x{m}$"):
        network(random_lightness(1, 1, m - 1, m))


@pytest.mark.parametrize("shape", [(1, 3, 32, 32), (1, 32, 32), (1, 2, 32, 32)])
def test_other_shapes_than_one_channel_of_lightness_raise(network, shape):
    with pytest.raises(ValueError, match=r"must be \(N, 1, H, W\), got"):
        network(random_lightness(*shape))


def test_hints_raise_in_a_model_that_does_not_support_them(network):
    with pytest.raises(ValueError, match="hints=None"):
        network(random_lightness(1, 1, 32, 32), torch.zeros(1, 3, 32, 32))


def test_a_state_dict_carries_the_whole_network(name, network, tmp_path):
    randomize_statistics(network)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.1)
    torch.save(network.state_dict(), tmp_path / "network.pt")
    other = create_model(name, seed=1, **TINY[name]).eval()
    other.load_state_dict(torch.load(tmp_path / "network.pt", weights_only=True))
    lightness, predictions = random_lightness(1, 1, 64, 64), []
    for model in (network, other):
        torch.manual_seed(3)  # of the dropout that stays on
        predictions.append(model(lightness))
    assert torch.equal(*predictions) and predictions[0].std() > 0


def test_the_seed_decides_the_weights_and_leaves_the_global_generator_alone(name):
    before = torch.get_rng_state()
    first, same, other = (create_model(name, seed=s, **TINY[name]).state_dict() for s in (5, 5, 6))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(first[key], same[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


def test_a_wrong_name_or_argument_is_named():
    with pytest.raises(ValueError, match=r"one of resnet_autoencoder.*got 'vgg'"):
        create_model("vgg")
    with pytest.raises(ValueError, match=r"unet_gan takes the arguments .*depth,.*, not dept$"):
        create_model("unet_gan", dept=3)
    with pytest.raises(ValueError, match="at least 2, got 1"):
        create_model("unet_gan", depth=1)


# The encoders.


def rgb_input(lightness):
    """The RGB network's input for the gray photo: lab_to_rgb(lightness, 0), normalized."""
    rgb = lab_to_rgb(lightness, torch.zeros(len(lightness), 2, *lightness.shape[-2:]))
    return torchvision.transforms.functional.normalize(rgb, IMAGENET_MEAN, IMAGENET_STD)


def test_the_lightness_stem_is_the_rgb_convolution_borders_included():
    conv = torchvision.models.resnet50().conv1
    lightness = random_lightness(2, 1, 32, 48)
    ours, theirs = LightnessStem(conv)(lightness), conv(rgb_input(lightness))
    error = (ours - theirs).abs()
    assert error.max() < 1e-4
    assert theirs[..., 0, :].std() > 0.1  # the border rows, where a bias instead would be wrong
    assert max(error[..., [0, -1], :].max(), error[..., [0, -1]].max()) < 1e-4


def test_the_lightness_stem_keeps_the_bias_of_a_convolution_that_has_one():
    conv = nn.Conv2d(3, 8, 3, stride=1, padding=1, bias=True)
    lightness = random_lightness(1, 1, 16, 16)
    assert torch.allclose(LightnessStem(conv)(lightness), conv(rgb_input(lightness)), atol=1e-4)


@pytest.fixture
def resnet18(tmp_path):
    """torchvision's own network with weights of its own, and the file that holds them."""
    network = randomize_statistics(torchvision.models.resnet18())
    torch.save(network.state_dict(), tmp_path / "resnet18.pth")
    return network, tmp_path / "resnet18.pth"


@torch.no_grad()
def test_an_encoder_with_weights_from_a_file_is_torchvisions_network(resnet18):
    rgb_network, file = resnet18
    lightness = random_lightness(2, 1, 64, 96)
    encoder = Encoder("resnet18", file).eval()
    x = rgb_network.relu(rgb_network.bn1(rgb_network.conv1(rgb_input(lightness))))
    expected = [x]
    x = rgb_network.maxpool(x)
    for stage in (f"layer{i}" for i in range(1, 5)):
        x = getattr(rgb_network, stage)(x)
        expected.append(x)
    features = encoder(lightness)
    assert [f.shape[1] for f in features] == encoder.channels == [64, 64, 128, 256, 512]
    for ours, theirs in zip(features, expected, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-4 * theirs.abs().max())


@pytest.mark.parametrize("content", ["another network", "a tensor", "bytes", "text", "nothing"])
def test_a_file_that_does_not_hold_the_weights_is_named(tmp_path, content):
    file = tmp_path / "weights.pth"
    if content == "another network":
        torch.save(create_model("unet_gan", **TINY["unet_gan"]).state_dict(), file)
    elif content == "a tensor":
        torch.save(torch.zeros(3), file)
    else:
        file.write_bytes({"bytes": b"\xff" * 99, "text": b"name,loss\n", "nothing": b""}[content])
    with pytest.raises(WeightsError, match=r"weights\.pth does not hold.* of a resnet18"):
        ResNetAutoencoder("resnet18", file)


def test_weights_that_are_no_name_and_no_file_are_named_with_the_names_there_are():
    with pytest.raises(WeightsError, match=r"missing\.pth is neither a file.*IMAGENET1K_V1"):
        ResNetFCN("resnet18", "missing.pth")


@pytest.mark.parametrize("backbone", ["resnet17", "squeezenet1_1"])
def test_a_backbone_of_another_family_is_named(backbone):
    with pytest.raises(ValueError, match=backbone):
        ResNetAutoencoder(backbone)


def test_published_weights_without_a_network_say_which_file_to_put_where(tmp_path, monkeypatch):
    def unplugged(*args, **kwargs):
        raise urllib.error.URLError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.urlopen", unplugged)
    with pytest.raises(WeightsError) as caught:
        ResNetAutoencoder("resnet18", "IMAGENET1K_V1")
    assert "no network" in str(caught.value)
    assert f"Put resnet18-f37072fd.pth into {tmp_path}/hub/checkpoints" in str(caught.value)


@pytest.mark.parametrize(
    "weights", ["IMAGENET1K_V1", torchvision.models.ResNet18_Weights.IMAGENET1K_V1]
)
def test_published_weights_are_taken_from_torchs_cache(resnet18, tmp_path, monkeypatch, weights):
    rgb_network, file = resnet18
    cache = tmp_path / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    file.rename(cache / "resnet18-f37072fd.pth")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    encoder = Encoder("resnet18", weights)
    expected, ours = rgb_network.layer1.state_dict(), encoder.stages[1][0][1].state_dict()
    assert all(torch.equal(ours[key], value) for key, value in expected.items())

    (cache / "resnet18-f37072fd.pth").write_bytes(b"half a download")
    with pytest.raises(WeightsError, match=r"resnet18-f37072fd\.pth is damaged, remove it"):
        Encoder("resnet18", "IMAGENET1K_V1")


# The ResNet autoencoder and the FCN.


@torch.no_grad()
def test_the_autoencoder_reads_resnet50s_256x56x56_features():
    network = ResNetAutoencoder().eval()
    assert network.encoder(random_lightness(1, 1, 224, 224))[-1].shape == (1, 256, 56, 56)
    assert len(network.encoder.stages) == 2


@torch.no_grad()
def test_a_shifted_photo_gets_the_same_colors_shifted():
    network = randomize_statistics(ResNetAutoencoder())
    lightness = random_lightness(1, 1, 192, 192)
    ab = network(lightness)
    shifted = network(torch.roll(lightness, (16, 16), dims=(2, 3)))
    inner = (..., slice(64, -48), slice(64, -48))  # what neither border nor seam can reach
    assert torch.allclose(shifted[inner], torch.roll(ab, (16, 16), dims=(2, 3))[inner], atol=1e-5)
    assert ab[inner].std() > 1e-3


@torch.no_grad()
def test_the_decoder_keeps_the_positions_of_features():
    network = randomize_statistics(ResNetAutoencoder("resnet18"))
    for module in network.decoder.modules():
        if isinstance(module, nn.Conv2d):  # with symmetric filters, mirroring must go through
            module.weight += module.weight.flip(2)
            module.weight += module.weight.flip(3)
    features = torch.randn(1, 64, 12, 10)
    mirrored = network.decoder(features.flip(2, 3)).flip(2, 3)
    assert torch.allclose(mirrored, network.decoder(features), atol=1e-5)


@torch.no_grad()
def test_the_fcn_sums_the_scores_of_five_levels():
    network = ResNetFCN("resnet18").eval()
    lightness = random_lightness(1, 1, 64, 64)
    assert not network(lightness).any()  # the scores are initialized to zero: everything is gray
    assert len(network.scores) == 5
    total = torch.zeros(1, 2, 64, 64)
    for level, score in enumerate(network.scores):
        score.weight.normal_(std=0.1)
        feature = network.encoder(lightness)[level]
        scores = score(feature) / feature.shape[1] ** 0.5
        for _ in range(level + 1):  # doubled as often as the level was halved
            scores = F.interpolate(scores, scale_factor=2, mode="bilinear", align_corners=False)
        total += scores
        assert scores.std() > 0.01
        assert torch.allclose(network(lightness), total.tanh(), atol=1e-5)


def test_the_fcns_default_is_a_resnet101():
    network = ResNetFCN()
    assert network.encoder.channels == [64, 256, 512, 1024, 2048]
    stages = network.encoder.stages
    blocks = [stages[1][0][1], *(stage[0] for stage in stages[2:])]
    assert [len(layer) for layer in blocks] == [3, 4, 23, 3]  # He et al., table 1


def test_every_model_declares_the_contract(name, network):
    assert isinstance(network, ColorizationModel)
    assert isinstance(network.size_divisibility, int) and not network.supports_hints
    is_classifier = name == "color_classifier"
    assert network.predicts_distribution == isinstance(network, DistributionModel) == is_classifier
    assert network.is_stochastic == name.startswith("unet")  # dropout that stays on
    encoder_ids = {id(parameter) for parameter in network.encoder_parameters()}
    assert encoder_ids <= {id(parameter) for parameter in network.parameters()}
    assert bool(encoder_ids) != name.startswith("unet")


def test_unet_gan_is_a_class_and_a_name():
    assert isinstance(create_model("unet_gan", **TINY["unet_gan"]), UNetGAN)
