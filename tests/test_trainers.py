"""One step of training: who learns, from which loss, at which rate."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from conftest import resnet_narrow, same, state_of
from torch.utils.flop_counter import FlopCounterMode

from colorize.data.dataset import Example
from colorize.models.layers import AlwaysOnDropout
from colorize.presets import PRESETS
from colorize.trainers import GANTrainer, RegressionTrainer, open_run
from colorize.trainers.train_state import MicroBatch
from colorize.utils.seed import derive_seed

RESNET = {"encoder_name": "resnet_narrow", "encoder_weights": None}
MODEL_ARGS = {"autoencoder": RESNET, "fcn": RESNET, "unet_gan": {"depth": 3, "base_channels": 4}}


def tiny(preset, **changes):
    changes = {
        "model_kwargs": MODEL_ARGS[preset],
        "crop_size": 32,
        "batch_size": 2,
        "epochs": 2,
    } | changes
    return dataclasses.replace(PRESETS[preset], **changes)


@pytest.fixture
def micro_batches():
    coarse = torch.rand(4, 1, 4, 4) * 2 - 1
    lightness = F.interpolate(coarse, (32, 32), mode="bicubic").clamp(-1, 1)
    target_ab = torch.cat((lightness, -lightness), dim=1) * 0.5
    return [MicroBatch(lightness, target_ab)]


def grads_of(module):
    return [None if p.grad is None else p.grad.clone() for p in module.parameters()]


@pytest.mark.parametrize("preset", MODEL_ARGS)
def test_each_optimizer_holds_exactly_one_networks_parameters(tmp_path, preset):
    trainer = open_run(tiny(preset), tmp_path, "cpu")
    model = trainer.model
    networks = {"model": model}
    if preset == "unet_gan":
        networks = {"generator": model.generator, "discriminator": model.discriminator}
    held = {
        name: [p for group in optimizer.param_groups for p in group["params"]]
        for name, optimizer in trainer.train_state.optimizers.items()
    }
    assert held.keys() == networks.keys()
    for name, network in networks.items():
        assert sorted(map(id, held[name])) == sorted(map(id, network.parameters()))
    assert len({id(p) for ps in held.values() for p in ps}) == len(list(model.parameters()))


def test_each_loss_reaches_one_network_and_each_step_moves_it(tmp_path, micro_batches):
    trainer = open_run(tiny("unet_gan"), tmp_path, "cpu")
    networks = {"generator": trainer.model.generator, "discriminator": trainer.model.discriminator}
    backward, order = trainer.train_state.backward, []

    def watched(loss, name, **options):
        (other,) = networks.keys() - {name}
        before = {network: grads_of(networks[network]) for network in networks}
        backward(loss, name, **options)
        assert same(grads_of(networks[other]), before[other])  # nor is any work wasted on it
        assert None not in grads_of(networks[name])
        order.append(name)

    trainer.train_state.backward = watched
    trainer.model.train()
    for _ in range(2):
        before = {name: state_of(network) for name, network in networks.items()}
        trainer.training_step(micro_batches)
        assert not any(same(state_of(network), before[name]) for name, network in networks.items())
        assert all(grad is None for network in networks.values() for grad in grads_of(network))
    assert order == ["discriminator", "generator"] * 2


def test_the_losses_of_a_gan_step_are_the_papers(tmp_path, micro_batches):
    trainer = open_run(tiny("unet_gan", precision="fp32"), tmp_path, "cpu")
    predicted, logits, taken = [], [], {}
    trainer.model.generator.register_forward_hook(lambda _, __, out: predicted.append(out.detach()))
    trainer.model.discriminator.register_forward_hook(lambda _, __, out: logits.append(out))
    backward = trainer.train_state.backward

    def watched(loss, name, **options):
        taken[name] = loss.item()
        backward(loss, name, **options)

    trainer.train_state.backward = watched
    trainer.model.train()
    losses = trainer.training_step(micro_batches)

    (predicted,), (logits,) = predicted, logits  # each runs once: BatchNorm sees each batch once
    real, fake = torch.sigmoid(logits.detach()).chunk(2)
    d_loss = -(real.log().mean() + (1 - fake).log().mean()) / 2  # halved
    g_loss, l1 = -fake.log().mean(), (predicted - micro_batches[0].target_ab).abs().mean()
    assert taken["discriminator"] == pytest.approx(d_loss.item(), rel=1e-4)
    assert taken["generator"] == pytest.approx((g_loss + 100 * l1).item(), rel=1e-4)
    assert losses["loss_G_rec"].item() == pytest.approx(l1.item(), rel=1e-4)
    assert losses["fake_prob"].item() == pytest.approx(fake.mean().item(), rel=1e-4)
    assert not any(value.requires_grad for value in losses.values())


def test_the_gradients_of_a_gan_step_are_those_of_two_plain_backward_passes(
    tmp_path, micro_batches
):
    config = tiny("unet_gan", precision="fp32")
    trainer = open_run(config, tmp_path, "cpu")
    trainer.model.train()
    found = {}

    def optimizer_step(*names):
        for name in names:
            found[name] = grads_of(getattr(trainer.model, name))

    trainer.train_state.optimizer_step = optimizer_step
    trainer.training_step(micro_batches)
    model = open_run(config, tmp_path, "cpu").model.train()
    (photos,) = micro_batches
    for name in ("discriminator", "generator"):
        model.zero_grad()
        torch.manual_seed(derive_seed(0, 0, 0))
        predicted = model.generator(photos.lightness)
        fed = predicted.detach() if name == "discriminator" else predicted
        both = torch.cat((photos.target_ab, fed))
        real, fake = model.discriminator(photos.lightness.repeat(2, 1, 1, 1), both).chunk(2)
        loss = F.softplus(-fake).mean() + 100 * F.l1_loss(predicted, photos.target_ab)
        if name == "discriminator":
            loss = (F.softplus(-real).mean() + F.softplus(fake).mean()) / 2
        loss.backward()
        for ours, plain in zip(found[name], grads_of(getattr(model, name)), strict=True):
            # Of a bias before BatchNorm all but rounding cancels out.
            torch.testing.assert_close(ours, plain, rtol=1e-3, atol=1e-4)


def test_the_gradients_of_equal_micro_batches_are_those_of_one(tmp_path, micro_batches):
    gradients = []
    for steps in (1, 2):
        config = tiny("unet_gan", precision="fp32", grad_accum_steps=steps)
        trainer = open_run(config, tmp_path / str(steps), "cpu")
        trainer.model.train()

        def optimizer_step(*names, model=trainer.model):
            gradients.append([grad for name in names for grad in grads_of(getattr(model, name))])

        trainer.train_state.optimizer_step = optimizer_step
        trainer.training_step(micro_batches * steps)
    for whole, accumulated in zip(*gradients, strict=True):
        torch.testing.assert_close(whole, accumulated, rtol=1e-3, atol=1e-5)


def test_the_noise_of_each_step_and_micro_batch_is_another(tmp_path):
    trainer = open_run(tiny("unet_gan"), tmp_path, "cpu")
    example = Example(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))
    drawn = []
    for global_step, i in ((0, 0), (0, 0), (1, 0), (0, 1)):
        trainer.global_step = global_step
        with trainer.train_state.accumulate(trainer.make_micro_batch(example, i)):
            drawn.append(AlwaysOnDropout(0.5)(torch.ones(99)))
    assert torch.equal(drawn[0], drawn[1])
    assert not any(torch.equal(drawn[0], other) for other in drawn[2:])


def test_a_gan_step_takes_no_needless_arithmetic(tmp_path):
    """86 GFLOP per photo; with the generator run twice and gradients unused it would be 104."""
    config = dataclasses.replace(PRESETS["unet_gan"], batch_size=1)
    trainer = open_run(config, tmp_path, "cpu")
    lightness, ab = torch.rand(1, 1, 256, 256), torch.rand(1, 2, 256, 256)
    with FlopCounterMode(display=False) as counter:
        trainer.training_step([MicroBatch(lightness, ab)])
    assert counter.get_total_flops() <= 86.1e9


def test_the_discriminator_learns_to_tell_real_photos_from_predicted_ones(tmp_path, micro_batches):
    trainer = open_run(tiny("unet_gan"), tmp_path, "cpu")
    trainer.model.train()
    for _ in range(30):
        losses = trainer.training_step(micro_batches)
    # With one optimizer holding both networks, fake_prob went up to 0.69 (the source project).
    assert losses["real_prob"] > 0.6 and losses["fake_prob"] < 0.4


@pytest.mark.parametrize("preset", ["autoencoder", "fcn"])
def test_thirty_steps_on_one_batch_bring_its_mse_down(tmp_path, micro_batches, preset):
    trainer = open_run(tiny(preset), tmp_path, "cpu")
    trainer.model.train()
    losses = [trainer.training_step(micro_batches)["loss"].item() for _ in range(30)]
    assert losses[-1] < 0.2 * losses[0]


@pytest.mark.parametrize(("pretrained", "scale"), [(True, 0.1), (False, 1.0)])
def test_an_encoder_learns_slower_only_where_it_is_pretrained(tmp_path, pretrained, scale):
    weights = None
    if pretrained:
        weights = str(tmp_path / "resnet.pth")
        torch.save(resnet_narrow().state_dict(), weights)
    config = tiny("fcn", model_kwargs={"encoder_name": "resnet_narrow", "encoder_weights": weights})
    trainer = open_run(config, tmp_path / "run", "cpu")
    encoder = {id(p) for p in trainer.model.encoder_parameters()}
    for group in trainer.train_state.optimizers["model"].param_groups:
        inside = {id(p) in encoder for p in group["params"]}
        assert len(inside) == 1
        assert group["lr"] == pytest.approx(1e-3 * (scale if inside == {True} else 1))


def test_a_gan_needs_an_adversarial_loss_and_the_settings_choose_the_trainer(tmp_path):
    assert type(open_run(tiny("fcn"), tmp_path / "fcn", "cpu")) is RegressionTrainer
    trainer = open_run(tiny("unet_gan"), tmp_path / "gan", "cpu")
    assert type(trainer) is GANTrainer
    config = dataclasses.replace(trainer.config, gan_loss=None, reconstruction_weight=1.0)
    with pytest.raises(ValueError, match="adversarial"):
        GANTrainer(trainer.model, config, tmp_path / "other", "cpu")
