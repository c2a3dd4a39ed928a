"""One step of training: who learns, from which loss, at which rate."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
import torchvision

from colorize.config import PRESETS
from colorize.trainers import GANTrainer, RegressionTrainer, open_run
from colorize.trainers.base import Batch

RESNET = {"backbone": "resnet18", "backbone_weights": None}
MODEL_ARGS = {"autoencoder": RESNET, "fcn": RESNET, "unet_gan": {"depth": 3, "base_channels": 4}}


def tiny(preset, **changes):
    changes = {"model_args": MODEL_ARGS[preset], "size": 32, "batch_size": 2, "epochs": 2} | changes
    return dataclasses.replace(PRESETS[preset], **changes)


@pytest.fixture
def batch():
    coarse = torch.rand(4, 1, 4, 4) * 2 - 1
    lightness = F.interpolate(coarse, (32, 32), mode="bicubic").clamp(-1, 1)
    ab = torch.cat((lightness, -lightness), dim=1) * 0.5
    return [Batch(lightness, ab, number=0, last=True)]


def state_of(module):
    return {key: value.clone() for key, value in module.state_dict().items()}


def grads_of(module):
    return [None if p.grad is None else p.grad.clone() for p in module.parameters()]


def same(one, other):
    """Whether two nests of dicts, lists, tensors and numbers are bitwise alike."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


@pytest.mark.parametrize("preset", MODEL_ARGS)
def test_each_optimizer_holds_exactly_one_networks_parameters(tmp_path, preset):
    trainer = open_run(tiny(preset), tmp_path, "cpu")
    model = trainer.model
    parts = {"model": model}
    if preset == "unet_gan":
        parts = {"generator": model.generator, "discriminator": model.discriminator}
    held = {
        name: [p for group in optimizer.param_groups for p in group["params"]]
        for name, optimizer in trainer.optimizers.items()
    }
    assert held.keys() == parts.keys()
    for name, part in parts.items():
        assert sorted(map(id, held[name])) == sorted(map(id, part.parameters()))
    assert len({id(p) for ps in held.values() for p in ps}) == len(list(model.parameters()))


def test_the_critics_update_leaves_the_painter_bitwise_and_the_reverse(tmp_path, batch):
    trainer = open_run(tiny("unet_gan"), tmp_path, "cpu")
    parts = {"generator": trainer.model.generator, "discriminator": trainer.model.discriminator}
    update, order = trainer.update, []

    def watched(name):
        (other,) = parts.keys() - {name}
        before = {part: state_of(parts[part]) for part in parts}
        grads = grads_of(parts[other])
        update(name)
        assert same(state_of(parts[other]), before[other])
        assert not same(state_of(parts[name]), before[name])
        assert same(grads_of(parts[other]), grads)  # nor is any work wasted on it
        order.append(name)

    trainer.update = watched
    trainer.model.train()
    for _ in range(2):
        trainer.step(batch)
    assert order == ["discriminator", "generator"] * 2


def test_the_losses_of_a_gan_step_are_the_papers(tmp_path, batch):
    trainer = open_run(tiny("unet_gan"), tmp_path, "cpu")
    painted, judged, taken = [], [], []
    trainer.model.generator.register_forward_hook(lambda _, __, out: painted.append(out.detach()))
    trainer.model.discriminator.register_forward_hook(lambda _, __, out: judged.append(out))
    backward = trainer.backward
    trainer.backward = lambda loss: (taken.append(loss.item()), backward(loss))
    trainer.model.train()
    losses = trainer.step(batch)

    (painted,) = painted  # the generator runs once, so BatchNorm sees each batch once
    (real, fake), (_, fooled) = (torch.sigmoid(logits.detach()).chunk(2) for logits in judged)
    d_loss = -(real.log().mean() + (1 - fake).log().mean()) / 2  # halved
    g_loss, l1 = -fooled.log().mean(), (painted - batch[0].ab).abs().mean()
    assert taken[0] == pytest.approx(d_loss.item(), rel=1e-4)
    assert taken[1] == pytest.approx((g_loss + 100 * l1).item(), rel=1e-4)
    assert losses["distance"].item() == pytest.approx(l1.item(), rel=1e-4)
    assert losses["fake"].item() == pytest.approx(fake.mean().item(), rel=1e-4)
    assert not any(value.requires_grad for value in losses.values())


def test_the_critic_learns_to_tell_true_from_painted(tmp_path, batch):
    trainer = open_run(tiny("unet_gan"), tmp_path, "cpu")
    trainer.model.train()
    for _ in range(30):
        losses = trainer.step(batch)
    # With one optimizer holding both networks, fake went up to 0.69 (the source project).
    assert losses["real"] > 0.6 and losses["fake"] < 0.4


@pytest.mark.parametrize("preset", ["autoencoder", "fcn"])
def test_thirty_steps_on_one_batch_bring_its_mse_down(tmp_path, batch, preset):
    trainer = open_run(tiny(preset), tmp_path, "cpu")
    trainer.model.train()
    losses = [trainer.step(batch)["loss"].item() for _ in range(30)]
    assert losses[-1] < 0.2 * losses[0]


@pytest.mark.parametrize(("pretrained", "scale"), [(True, 0.1), (False, 1.0)])
def test_an_encoder_learns_slower_only_where_it_is_pretrained(tmp_path, pretrained, scale):
    weights = None
    if pretrained:
        weights = str(tmp_path / "resnet18.pth")
        torch.save(torchvision.models.resnet18().state_dict(), weights)
    config = tiny("fcn", model_args={"backbone": "resnet18", "backbone_weights": weights})
    trainer = open_run(config, tmp_path / "run", "cpu")
    encoder = {id(p) for p in trainer.model.encoder.parameters()}
    for group in trainer.optimizers["model"].param_groups:
        inside = {id(p) in encoder for p in group["params"]}
        assert len(inside) == 1
        assert group["lr"] == pytest.approx(1e-3 * (scale if inside == {True} else 1))


def test_a_gan_needs_an_adversarial_loss_and_the_settings_choose_the_trainer(tmp_path):
    assert type(open_run(tiny("fcn"), tmp_path / "fcn", "cpu")) is RegressionTrainer
    trainer = open_run(tiny("unet_gan"), tmp_path / "gan", "cpu")
    assert type(trainer) is GANTrainer
    config = dataclasses.replace(trainer.config, adversarial=None, distance_weight=1.0)
    with pytest.raises(ValueError, match="adversarial"):
        GANTrainer(trainer.model, config, tmp_path / "other", "cpu")
