"""pix2pix's two networks against the paper's numbers."""

import pytest
import torch
from torch import nn

from colorize.models import GAN, PatchDiscriminator, UNetGenerator
from colorize.models.layers import AlwaysOnDropout


def random_lightness(*shape):
    return torch.rand(shape) * 2 - 1


def without_batch_norm(network):
    """The network with every BatchNorm left out, because batch statistics mix all pixels."""
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(parent, name, nn.Identity())
    return network


@pytest.fixture(scope="module")
def pix2pix():
    torch.manual_seed(0)
    return UNetGenerator()


def test_the_generator_is_pix2pixs_unet_256(pix2pix):
    # "U-Net 256" of junyanz/pytorch-CycleGAN-and-pix2pix prints 54.414 M parameters.
    count = sum(parameter.numel() for parameter in pix2pix.parameters())
    assert count / 1e6 == pytest.approx(54.414, abs=0.01)
    assert pix2pix.size_divisibility == 256


@torch.no_grad()
def test_the_generator_halves_eight_times_down_to_one_pixel_and_doubles_eight_times(pix2pix):
    shapes = []
    blocks = (*pix2pix.encoder_blocks, *pix2pix.decoder_blocks, pix2pix.head)
    for block in blocks:
        block.register_forward_hook(lambda _, __, out: shapes.append(tuple(out.shape[1:3])))
    pix2pix.eval()(random_lightness(1, 1, 256, 256))
    down = [(64, 128), (128, 64), (256, 32), (512, 16), (512, 8), (512, 4), (512, 2), (512, 1)]
    up = [(512, 2), (512, 4), (512, 8), (512, 16), (256, 32), (128, 64), (64, 128), (2, 256)]
    assert shapes == down + up  # appendix 6.1.1: C64-C128-C256-C512-..., mirrored


def test_three_decoder_blocks_carry_half_dropout(pix2pix):
    with_noise = [
        any(isinstance(layer, AlwaysOnDropout) and layer.p == 0.5 for layer in block)
        for block in pix2pix.decoder_blocks
    ]
    assert with_noise == [True, True, True, False, False, False, False]
    assert sum(isinstance(module, nn.Dropout) for module in pix2pix.modules()) == 3


@torch.no_grad()
def test_dropout_stays_on_in_use_and_follows_the_seed():
    network = UNetGenerator(depth=3, base_channels=8).eval()
    lightness = random_lightness(1, 1, 32, 32)
    predictions = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        predictions.append(network(lightness))
    assert torch.equal(predictions[0], predictions[1])
    assert not torch.equal(predictions[0], predictions[2])


@torch.no_grad()
def test_each_skip_brings_its_own_level_to_the_decoder():
    network = UNetGenerator(depth=4, base_channels=4)
    block_inputs = []
    for block in (*network.decoder_blocks, network.head):
        block.register_forward_pre_hook(lambda _, inputs: block_inputs.append(inputs[0]))
    x, features = random_lightness(2, 1, 32, 48), []
    network.eval()(x)
    for block in network.encoder_blocks:
        x = block(x)
        features.append(x)
    assert torch.equal(block_inputs[0], features[-1].relu())
    for entered, feature in zip(block_inputs[1:], features[-2::-1], strict=True):
        assert torch.equal(entered[:, -feature.shape[1] :], feature.relu())


def test_a_color_may_depend_on_the_whole_photo():
    network = UNetGenerator(depth=5, base_channels=4, dropout=0.0).eval()
    lightness = random_lightness(1, 1, 32, 32).requires_grad_()
    network(lightness)[0, :, 0, 0].sum().backward()
    assert lightness.grad.count_nonzero() == 32 * 32


@pytest.mark.parametrize(("layers", "side"), [(1, 16), (2, 34), (3, 70)])
def test_a_logit_of_the_discriminator_sees_a_patch_of_70_by_70_px(layers, side):
    # The paper's appendix 6.1.2 and CycleGAN's code: 16, 34, 70 px for 1, 2, 3 layers.
    discriminator = without_batch_norm(PatchDiscriminator(base_channels=4, layers=layers))
    lightness, ab = (torch.randn(1, channels, 128, 128, requires_grad=True) for channels in (1, 2))
    logits = discriminator(lightness, ab)
    row, column = (n // 2 for n in logits.shape[-2:])
    logits[0, 0, row, column].backward()
    for grad in (lightness.grad, ab.grad):  # it looks at lightness and at both colors
        assert (grad != 0).flatten(2).any(2).all()
        rows, columns = grad[0].abs().sum(0).nonzero().unbind(1)
        assert rows.max() - rows.min() + 1 == side
        assert columns.max() - columns.min() + 1 == side
        assert grad.abs().sum(1).count_nonzero() == side * side


def test_the_discriminator_of_256_px_gives_30x30_logits_and_has_pix2pixs_size():
    discriminator = PatchDiscriminator()
    ab = torch.zeros(1, 2, 256, 256)
    assert discriminator(random_lightness(1, 1, 256, 256), ab).shape == (1, 1, 30, 30)
    # junyanz prints 2.769 M for three colors beside three; here it is one beside two.
    count = sum(parameter.numel() for parameter in discriminator.parameters())
    assert count == 2_768_705 - 64 * 3 * 16


def test_initial_weights_are_normal_with_deviation_0_02(pix2pix):
    for network in (pix2pix, PatchDiscriminator()):
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                mean, deviation, n = 0.0, 0.02, module.weight.numel()
            elif isinstance(module, nn.BatchNorm2d):
                mean, deviation, n = 1.0, 0.02, module.weight.numel()
            else:
                continue
            weight = module.weight.double()
            error = 5 * deviation / n**0.5  # five standard errors
            assert abs(weight.mean() - mean) < error
            assert abs(weight.std() - deviation) < error
            assert module.bias is None or not module.bias.any()


@torch.no_grad()
def test_the_gans_forward_is_its_generators():
    generator, discriminator = UNetGenerator(3, 4).eval(), PatchDiscriminator(4)
    network = GAN(generator, discriminator)
    lightness = random_lightness(1, 1, 32, 32)
    torch.manual_seed(1)
    expected = generator(lightness)
    torch.manual_seed(1)
    assert torch.equal(network(lightness), expected)
    assert network.size_divisibility == 8
    parts = {id(p) for module in (generator, discriminator) for p in module.parameters()}
    assert {id(p) for p in network.parameters()} == parts


def test_both_networks_leak_a_fifth_as_in_the_paper(pix2pix):
    for network in (pix2pix, PatchDiscriminator()):
        leaks = [m.negative_slope for m in network.modules() if isinstance(m, nn.LeakyReLU)]
        assert set(leaks) == {0.2} and len(leaks) >= 4


def test_the_innermost_pixel_of_one_photo_is_not_normalized_away():
    generator = UNetGenerator(depth=3, base_channels=4).train()
    assert generator(torch.rand(1, 1, 8, 8)).isfinite().all()


@torch.no_grad()
def test_the_discriminator_normalizes_by_the_batch_in_evaluation_mode_too():
    discriminator = PatchDiscriminator(8)
    for module in discriminator.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, std=0.2)
    lightness, ab = random_lightness(2, 1, 64, 64), random_lightness(2, 2, 64, 64)
    learning = discriminator.train()(lightness, ab)
    assert torch.equal(discriminator.eval()(lightness, ab), learning)
