"""The losses, computed by hand."""

import math

import pytest
import torch
import torchvision

from colorize.losses.gan import GAN_LOSSES
from colorize.losses.perceptual import PerceptualLoss
from colorize.losses.pixel import PIXEL_LOSSES
from colorize.models.encoders import IMAGENET_MEAN, IMAGENET_STD, WeightsError

REAL, FAKE = torch.tensor([2.0, -0.5]), torch.tensor([-3.0, 0.25])


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


@pytest.mark.parametrize(
    ("name", "discriminator", "generator", "real_probs"),
    [
        (
            "vanilla",
            -(math.log(sigmoid(2)) + math.log(sigmoid(-0.5))) / 4
            - (math.log(1 - sigmoid(-3)) + math.log(1 - sigmoid(0.25))) / 4,
            -(math.log(sigmoid(-3)) + math.log(sigmoid(0.25))) / 2,
            [sigmoid(2), sigmoid(-0.5)],
        ),
        # ((2 - 1)^2 + (-0.5 - 1)^2) / 2 and (9 + 0.0625) / 2, halved; ((-4)^2 + 0.75^2) / 2.
        ("least_squares", (1.625 + 4.53125) / 2, 8.28125, [1.0, 0.0]),
        # max(0, 1 - 2) and 1.5; max(0, 1 - 3) and 1.25; minus the mean of -3 and 0.25.
        ("hinge", 0.75 + 0.625, 1.375, [1.0, 0.25]),
    ],
)
def test_the_adversarial_losses_are_those_of_their_papers(
    name, discriminator, generator, real_probs
):
    loss = GAN_LOSSES[name]
    assert loss.discriminator(REAL, FAKE).item() == pytest.approx(discriminator, rel=1e-5)
    assert loss.generator(FAKE).item() == pytest.approx(generator, rel=1e-5)
    assert loss.real_prob(REAL).tolist() == pytest.approx(real_probs, rel=1e-5)


@pytest.mark.parametrize(
    ("name", "expected"), [("mse", 2.125), ("l1", 1.25), ("smooth_l1", 0.8125)]
)
def test_the_pixel_losses_by_hand(name, expected):
    # Differences 0.5 and 2: squares 0.25 and 4; smooth: 0.125 and 1.5.
    loss = PIXEL_LOSSES[name](torch.tensor([1.0, -1.0]), torch.tensor([0.5, 1.0]))
    assert loss.item() == pytest.approx(expected)


@pytest.fixture(scope="module")
def vgg(tmp_path_factory):
    """VGG16-bn with random weights, and the file that holds them, its classifier cut down."""
    torch.manual_seed(0)
    network = torchvision.models.vgg16_bn()
    file = tmp_path_factory.mktemp("vgg") / "vgg16_bn.pth"
    torch.save({key: value.half() for key, value in network.state_dict().items()}, file)
    network.load_state_dict(torch.load(file, weights_only=True))
    return network.eval(), file


@pytest.mark.slow
def test_the_perceptual_loss_is_deoldifys(vgg):
    network, file = vgg
    loss = PerceptualLoss(file)
    lightness = torch.rand(2, 1, 32, 32) - 0.5
    ab = torch.rand(2, 2, 32, 32) * 0.2 - 0.1
    pred_ab = (torch.rand(2, 2, 32, 32) * 0.2 - 0.1).requires_grad_()
    assert loss(lightness, ab, ab).item() == 0

    from colorize.color.lab import lab_to_rgb

    x, y = (lab_to_rgb(lightness, colors, gamut="clip") for colors in (pred_ab, ab))
    expected = (x - y).abs().mean()
    x, y = (torchvision.transforms.functional.normalize(z, IMAGENET_MEAN, IMAGENET_STD)
            for z in (x, y))  # fmt: skip
    for depth, weight in ((22, 20), (32, 70), (42, 10)):
        # The layer before the pooling layers at 23, 33 and 43.
        assert isinstance(network.features[depth + 1], torch.nn.MaxPool2d)
        layers = list(network.features[: depth + 1])
        for layer in layers:
            if isinstance(layer, torch.nn.ReLU):
                layer.inplace = False
        features = torch.nn.Sequential(*layers)
        expected = expected + weight * (features(x) - features(y)).abs().mean()
    ours = loss(lightness, pred_ab, ab)
    assert ours.item() == pytest.approx(expected.item(), rel=1e-4)
    ours.backward()
    assert pred_ab.grad.abs().sum() > 0
    assert all(p.grad is None for p in loss.parameters())


def test_the_perceptual_loss_needs_weights(tmp_path):
    with pytest.raises(WeightsError, match=r"VGG16-bn.*vgg16_bn-6c64b313\.pth"):
        PerceptualLoss(None)
    with pytest.raises(WeightsError, match=r"missing\.pth is neither a file"):
        PerceptualLoss(str(tmp_path / "missing.pth"))
