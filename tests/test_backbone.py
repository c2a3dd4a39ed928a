"""Pretrained encoders of five families, the U-Net on them, and the layers of later papers."""

import pytest
import torch
import torch.nn.functional as F
import torchvision
from test_models import random_lightness, randomize_statistics, rgb_input
from torch import nn
from torchvision.models import ResNet18_Weights

from colorize.models import EncoderUNet, PatchDiscriminator, create_model
from colorize.models.encoders import IMAGENET_MEAN, IMAGENET_STD, Encoder
from colorize.models.layers import SelfAttention, apply_spectral_norm, concat_hints
from colorize.models.mobilenet_v2 import MobileNetV2

FAMILIES = ["resnet18", "mobilenet_v2", "mobilenet_v3_small", "convnext_tiny", "efficientnet_b0"]


@pytest.fixture(params=FAMILIES)
def classifier(request, tmp_path):
    """A torchvision network with statistics as training leaves them, and its weights' file."""
    torch.manual_seed(0)
    network = randomize_statistics(getattr(torchvision.models, request.param)())
    file = tmp_path / "weights.pth"
    torch.save(network.state_dict(), file)
    return request.param, network, file


@torch.no_grad()
def test_the_deepest_features_are_torchvisions_own(classifier):
    name, network, file = classifier
    lightness = random_lightness(1, 1, 64, 96)
    features = Encoder(name, file).eval()(lightness)
    rgb = rgb_input(lightness)
    if name == "resnet18":
        expected = nn.Sequential(*list(network.children())[:-2])(rgb)
    else:  # all but the last convolution, which widens for the classifier
        blocks = network.features if name == "convnext_tiny" else network.features[:-1]
        expected = blocks(rgb)
    assert torch.allclose(features[-1], expected, atol=1e-3 * expected.abs().max())


def test_the_stages_are_found_by_their_sizes(classifier):
    name, _, file = classifier
    encoder = Encoder(name, file).eval()
    features = encoder(random_lightness(1, 1, 64, 128))
    strides = [4, 8, 16, 32] if name == "convnext_tiny" else [2, 4, 8, 16, 32]
    assert encoder.strides == strides
    assert [tuple(f.shape[1:]) for f in features] == [
        (c, 64 // s, 128 // s) for c, s in zip(encoder.channels, strides, strict=True)
    ]
    assert len(Encoder(name, file, stages=2).stages) == 2


@torch.no_grad()
def test_padding_same_is_tensorflows(tmp_path):
    torch.manual_seed(0)
    network = randomize_statistics(torchvision.models.mobilenet_v2())
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    encoder = Encoder("mobilenet_v2", tmp_path / "weights.pth", padding="same").eval()
    lightness = random_lightness(1, 1, 64, 64)
    conv, norm, relu = network.features[0]
    # An even side, kernel 3, stride 2: one zero in all, to the right and below.
    padded = F.pad(rgb_input(lightness), (0, 1, 0, 1))
    expected = network.features[1](relu(norm(F.conv2d(padded, conv.weight, stride=2))))
    assert torch.allclose(encoder(lightness)[0], expected, atol=1e-4)
    for conv in (m for m in encoder.modules() if isinstance(m, nn.Conv2d)):
        assert conv.stride == (1, 1) or conv.padding == (0, 0)
    sides = Encoder("efficientnet_b0", padding="same").eval()(lightness)  # kernels of 5 too
    assert [f.shape[-1] for f in sides] == [32, 16, 8, 4, 2]
    with pytest.raises(ValueError, match='"symmetric" or "same", got \'valid\''):
        Encoder("resnet18", padding="valid")


def test_folded_statistics_are_frozen_and_others_are_not(tmp_path):
    file = tmp_path / "weights.pth"
    for folded in (True, False):
        network = torchvision.models.resnet18()
        if not folded:
            randomize_statistics(network)
        torch.save(network.state_dict(), file)
        network = EncoderUNet("resnet18", str(file), width=16).train()
        before = {key: v.clone() for key, v in network.encoder.state_dict().items()}
        network(random_lightness(2, 1, 32, 32)).sum().backward()
        after = network.encoder.state_dict()
        moved = [key for key, value in before.items() if not torch.equal(value, after[key])]
        assert network.encoder.frozen_norm == folded
        assert bool(moved) != folded
        assert any(m.training for m in network.body.blocks.modules())
    assert not Encoder("resnet18").frozen_norm  # random ones are to be trained
    assert Encoder("resnet18", frozen_norm=True).frozen_norm


def test_hints_are_concatenated_as_the_mean_of_the_given_colors_at_each_position():
    hints = torch.zeros(1, 3, 8, 8)
    hints[0, :, 0, 1] = torch.tensor([0.4, -0.2, 1])
    hints[0, :, 3, 3] = torch.tensor([0.2, 0.0, 1])
    hints[0, :, 4, 7] = torch.tensor([-0.5, 0.1, 1])
    x = torch.rand(1, 2, 2, 2)
    features = concat_hints(x, hints)
    assert torch.equal(features[:, :2], x)
    # ab / 110 times 11 is a*b* / 10.
    expected = torch.tensor([[[3.3, 0], [0, -5.5]], [[-1.1, 0], [0, 1.1]], [[1, 0], [0, 1.0]]])
    torch.testing.assert_close(features[0, 2:], expected)
    without = concat_hints(x, None)
    assert without.shape == features.shape
    assert torch.equal(without[:, :2], x) and not without[:, 2:].any()


def test_features_with_hints_stay_channels_last():
    x = torch.rand(2, 8, 4, 4).to(memory_format=torch.channels_last)
    hints = torch.rand(2, 3, 16, 16).to(memory_format=torch.channels_last)
    for given in (None, hints):
        assert concat_hints(x, given).is_contiguous(memory_format=torch.channels_last)


def test_each_block_of_the_decoder_gets_the_hints():
    network = create_model("encoder_unet", encoder_name="resnet18", hints=True, width=16).eval()
    lightness, hints = random_lightness(1, 1, 64, 64), torch.zeros(1, 3, 64, 64)
    hints[:, :, 20:24, 40:44] = torch.tensor([0.5, -0.5, 1]).view(3, 1, 1)
    inputs = {}
    for number, block in enumerate(network.body.blocks):
        block.first.register_forward_pre_hook(
            lambda _, x, number=number: inputs.update({number: x[0][0, -3:]})
        )
    network(lightness, hints)
    assert len(inputs) == 5
    for given in inputs.values():
        y, x = (int(at * given.shape[-1] / 64) for at in (20, 40))
        torch.testing.assert_close(given[:, y, x], torch.tensor([5.5, -5.5, 1]))


@pytest.mark.parametrize("name", ["unet", "encoder_unet", "encoder_unet_gan", "color_classifier"])
def test_a_network_with_hints_is_automatic_without_them(name):
    args = {"depth": 3, "base_channels": 4} if name == "unet" else {"encoder_name": "resnet18"}
    network = create_model(name, hints=True, **args).eval()
    lightness, hints = random_lightness(2, 1, 32, 32), torch.zeros(2, 3, 32, 32)

    def predict(hints):
        torch.manual_seed(0)
        return network(lightness, hints)

    assert torch.equal(predict(None), predict(hints))
    hints[:, 2], hints[:, 0] = 1, 0.5
    assert not torch.allclose(predict(None), predict(hints))
    with pytest.raises(ValueError, match=r"hints must be \(2, 3, 32, 32\).*got \(2, 2, 32, 32\)"):
        network(lightness, hints[:, :2])


@torch.no_grad()
def test_upsampling_leaves_no_checkerboard():
    network = EncoderUNet("resnet18", width=32).eval()
    features = [torch.ones(1, c, 16, 16) for c in network.encoder.channels]
    x = features[-1]
    for stride, block in zip(network.body.strides, network.body.blocks, strict=True):
        side = x.shape[-1] * 2
        skips = dict(zip(network.encoder.strides, network.encoder.channels, strict=True))
        skip = torch.ones(1, skips[stride], side, side) if stride in skips else None
        x = block(x, skip, None)
    inner = x[..., 150:-150, 150:-150]  # the borders see the padding
    assert inner.std(dim=(2, 3)).max() < 1e-5 * inner.abs().max()
    assert inner.abs().max() > 0


def test_the_decoder_may_end_at_a_quarter_with_logits():
    network = EncoderUNet("resnet18", width=32, bins=261).eval()
    assert network(random_lightness(1, 1, 64, 96)).shape == (1, 261, 16, 24)


@pytest.mark.parametrize(
    ("name", "args", "strides"),
    [
        ("encoder_unet", {"encoder_name": "resnet18"}, "[16, 8, 4, 2, 1]"),
        ("unet", {"depth": 3}, "[2, 4]"),
        ("unet_gan", {"depth": 3, "base_channels": 4, "discriminator_attention": 3}, "[4, 8]"),
    ],
)
def test_attention_at_an_unknown_stride_raises(name, args, strides):
    if "discriminator_attention" not in args:
        args = args | {"attention": 3}
    for wrong in (0, 3, 32):
        with pytest.raises(ValueError, match=r"to_stride must be one of \[1, 2, 4, 8, 16\]"):
            EncoderUNet("resnet18", to_stride=wrong)
    with pytest.raises(ValueError, match="attention must be at one of") as caught:
        create_model(name, **args)
    assert f"{strides}, got 3" in str(caught.value)


def test_our_mobilenet_is_torchvisions_in_names_initialization_and_output():
    networks = []
    for constructor in (MobileNetV2, torchvision.models.mobilenet_v2):
        torch.manual_seed(5)
        networks.append(constructor())
    ours, theirs = networks
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for name, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value), name
    torch.manual_seed(0)
    randomize_statistics(theirs)
    ours.load_state_dict(theirs.state_dict())
    rgb = torch.rand(2, 3, 64, 96)
    assert torch.equal(ours.eval()(rgb), theirs.eval()(rgb))


def test_an_encoder_without_weights_has_the_same_seeded_weights_as_with_torchvision(tmp_path):
    torch.manual_seed(3)
    network = torchvision.models.mobilenet_v2()
    state = torch.get_rng_state()
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    expected = Encoder("mobilenet_v2", tmp_path / "weights.pth", frozen_norm=False).state_dict()
    torch.manual_seed(3)
    ours = MobileNetV2()
    assert torch.equal(torch.get_rng_state(), state)  # what is drawn next is the same too
    assert torch.equal(ours.classifier[1].weight, network.classifier[1].weight)
    torch.manual_seed(3)
    encoder = Encoder("mobilenet_v2")
    assert all(torch.equal(encoder.state_dict()[name], value) for name, value in expected.items())


# Self-attention and spectral norm.


def test_attention_at_gamma_0_is_the_identity_and_lets_gamma_learn():
    layer = SelfAttention(16)
    x = torch.randn(2, 16, 5, 7, requires_grad=True)
    out = layer(x)
    assert torch.equal(out, x)
    out.square().sum().backward()
    assert layer.gamma.grad != 0


@torch.no_grad()
def test_attention_is_the_papers_sum():
    torch.manual_seed(0)
    layer = SelfAttention(16)
    layer.gamma.fill_(0.7)
    x = torch.randn(1, 16, 3, 2)
    flat = x.flatten(2)[0]
    key, query, value = (
        conv.weight.flatten(1) @ flat for conv in (layer.key, layer.query, layer.value)
    )
    expected = flat.clone()
    for j in range(6):
        beta = torch.softmax(key.T @ query[:, j], dim=0)  # equation 1
        expected[:, j] += 0.7 * sum(beta[i] * value[:, i] for i in range(6))
    assert torch.allclose(layer(x).flatten(2)[0], expected, atol=1e-5)
    assert key.shape == (2, 6)  # an eighth of the channels


def test_spectral_norm_bounds_the_largest_singular_value():
    torch.manual_seed(0)
    conv = nn.Conv2d(8, 16, 3)
    nn.init.normal_(conv.weight)
    apply_spectral_norm(conv).train()
    for _ in range(50):
        conv(torch.randn(1, 8, 8, 8))
    largest = torch.linalg.matrix_norm(conv.weight.flatten(1), ord=2)
    assert largest.item() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(
    "network",
    [
        PatchDiscriminator(8, spectral_norm=True, attention=8),
        create_model("unet", depth=4, base_channels=8, spectral_norm=True, attention=4),
        create_model(
            "encoder_unet", encoder_name="resnet18", spectral_norm=True, width=32
        ).body.blocks,
    ],
    ids=["discriminator", "unet", "decoder"],
)
def test_spectral_norm_is_on_every_convolution_that_should_have_it(network):
    convs = {
        name: hasattr(module, "parametrizations")
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
    }
    attention = {name for name in convs if name.endswith((".key", ".query", ".value"))}
    assert all(convs[name] for name in convs.keys() - attention)
    assert len(convs) > 5


def test_photos_are_normalized_as_torchvisions_weights_require():
    wanted = ResNet18_Weights.IMAGENET1K_V1.transforms()
    assert (list(IMAGENET_MEAN), list(IMAGENET_STD)) == (wanted.mean, wanted.std)


def test_a_new_encoder_is_in_training_mode_as_torchs_modules_are():
    assert all(module.training for module in Encoder("mobilenet_v2", stages=2).modules())


def test_spectral_norm_of_a_transposed_convolution_is_that_of_its_outputs():
    conv = apply_spectral_norm(nn.Sequential(nn.ConvTranspose2d(3, 5, 4)))[0]
    for _ in range(100):
        weight = conv.weight
    matrix = weight.detach().transpose(0, 1).flatten(1)
    assert torch.linalg.matrix_norm(matrix, 2).item() == pytest.approx(1, rel=1e-4)


def test_the_decoders_channels_halve_down_to_an_eighth():
    body = create_model("encoder_unet", encoder_name="resnet18", width=64).body
    assert body.strides == [16, 8, 4, 2, 1]
    assert [block.second[0].out_channels for block in body.blocks] == [64, 32, 16, 8, 8]
