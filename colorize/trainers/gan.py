"""Learning to convince: a generator against a critic.

Isola, Zhu, Zhou, Efros: Image-to-Image Translation with Conditional GANLoss Networks,
CVPR 2017. The phases are NoGAN's: Antic, DeOldify, 2018.
"""

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from colorize.color.curves import to_uint8
from colorize.color.lab import lab_to_rgb, rgb_to_lab
from colorize.config import CROSS_ENTROPY
from colorize.losses.gan import GAN_LOSSES
from colorize.metrics.image import color_cast, colorfulness
from colorize.trainers.train_state import MicroBatch
from colorize.trainers.trainer import Trainer
from colorize.utils.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from colorize.utils.distributed import rank
from colorize.utils.seed import seed_all

_SCORED = 64  # validation photos by which the turn is found, at most


class GANTrainer(Trainer):
    """Trains a `GAN`: two networks, two optimizers, one step each per batch.

    Both step at once, from one forward pass of each network: the paper steps in turn, which
    would take a second pass of the critic. So both see the same painting, and BatchNorm in the
    critic the same mixture of true and painted photos, where it learns and where it teaches.

    With phases (NoGAN), epochs of the generator alone and of the critic alone come before the
    short ones of both. The critic alone learns from paintings that are saved in
    `paintings.critic/` in the phase's first epoch, of the same crops in each of its epochs.

    NoGAN is stopped where the generator turns from colorful to glaring, there by eye. Here by
    rule: in a joint phase, every `selection_interval` steps and after each epoch, the first 64 validation
    photos are painted:

        score = |1 - colorfulness / true colorfulness|
                + max(0, cast ratio - true cast ratio)
                + |chance of true photos - chance of painted ones|

    adds up three ways to be told from the truth: too dull or too glaring, all in one tint, or the
    critic's. The weights of the lowest score are kept as `turn.pt`, the scores as `scores.json`.
    """

    def __init__(self, model, config, *args, **kwargs):
        if config.gan_loss is None:
            raise ValueError("a GAN needs an adversarial loss, the settings name none")
        if not hasattr(model, "discriminator"):
            raise ValueError(f"an adversarial loss needs a model with a critic, not {config.model}")
        self.game = GAN_LOSSES[config.gan_loss]
        if config.reconstruction_loss == CROSS_ENTROPY:
            raise ValueError(
                f"distance {CROSS_ENTROPY} is of classes, which {config.model} does not have; "
                "beside a critic use mse, l1, smooth_l1 or perceptual"
            )
        super().__init__(model, config, *args, **kwargs)
        self.phase, self.phase_begin = config.phase(0)

    def networks(self) -> dict[str, nn.Module]:
        """The painter and its critic."""
        return {"generator": self.model.generator, "discriminator": self.model.discriminator}

    def begin(self, train: DataLoader, val: DataLoader) -> None:
        """Take the validation photos by which the turn is found."""
        super().begin(train, val)
        self._scored = None
        if self.config.selection_interval is not None and rank() == 0:
            photos = []
            for rgb in val:
                photos.append(rgb)
                if sum(map(len, photos)) >= _SCORED:
                    break
            self._scored = torch.cat(photos)[:_SCORED]

    def begin_epoch(self, epoch: int) -> None:
        """Which networks learn, and from which crops."""
        super().begin_epoch(epoch)
        self.phase, self.phase_begin = self.config.phase(epoch)
        if self.phase != "discriminator":
            self.run.drop_generator_cache()

    def crops_of(self, epoch: int) -> int:
        """The critic alone sees the same crops in each epoch: their paintings are saved."""
        return self.phase_begin if self.phase == "discriminator" else epoch

    def step(self, batches: Sequence[MicroBatch]) -> dict[str, Tensor]:
        """One step of those who learn in this phase."""
        losses: Counter[str] = Counter()
        for batch in batches:
            with self.learning(batch):
                found = getattr(self, f"_{self.phase}")(batch, len(batches))
            for name, loss in found.items():
                losses[name] += loss.detach() / len(batches)
        train_state = {"generator": ("generator",), "discriminator": ("discriminator",)}
        self.train_state.update(*train_state.get(self.phase, ("discriminator", "generator")))
        return dict(losses)

    def _joint(self, batch: MicroBatch, count: int) -> dict[str, Tensor]:
        painted = self.train_state.paint("generator", batch)
        real, fake = self._judge(batch, painted)

        # Discriminator: true pairs up, painted pairs down.
        d_loss = self.game.critic(real, fake)
        self.train_state.backward(d_loss / count, "discriminator", retain_graph=True)

        # Generator: fool the discriminator, and stay close to the truth (Eq. 4).
        g_loss = self.game.painter(fake)
        distance = self.distance(batch.lightness, painted, batch.ab)
        self.train_state.backward(
            (g_loss + self.config.reconstruction_weight * distance) / count, "generator"
        )
        return {
            "discriminator": d_loss,
            "adversarial": g_loss,
            "distance": distance,
            **self._chances(real, fake),
        }

    def _generator(self, batch: MicroBatch, count: int) -> dict[str, Tensor]:
        distance = self.distance(
            batch.lightness, self.train_state.paint("generator", batch), batch.ab
        )
        self.train_state.backward(self.config.reconstruction_weight * distance / count, "generator")
        return {"distance": distance}

    def _discriminator(self, batch: MicroBatch, count: int) -> dict[str, Tensor]:
        real, fake = self._judge(batch, self._saved_painting(batch))
        d_loss = self.game.critic(real, fake)
        self.train_state.backward(d_loss / count, "discriminator")
        return {"discriminator": d_loss, **self._chances(real, fake)}

    def _chances(self, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        return {"real": self.game.chance(real).mean(), "fake": self.game.chance(fake).mean()}

    def _judge(self, batch: MicroBatch, painted: Tensor) -> tuple[Tensor, Tensor]:
        """The critic's logits for the true and the painted photos."""
        lightness = torch.cat((batch.lightness, batch.lightness))
        with self.train_state.autocast():
            logits = self.train_state.parallel["discriminator"](
                lightness, torch.cat((batch.ab, painted))
            )
        real, fake = logits.float().chunk(2)
        return real, fake

    @torch.no_grad()
    def _saved_painting(self, batch: MicroBatch) -> Tensor:
        """What the generator painted for these crops, from the disk or for the first time."""
        name = f"epoch-{self.phase_begin + 1:04}-{self.done:06}-{batch.number:04}.pt"
        path = self.run.generator_cache / name
        try:
            saved = load_checkpoint(path)["ab"]
        except CheckpointError:  # not there yet, or damaged
            saved = None
        if saved is None or saved.shape != batch.ab.shape:  # in other pieces before
            self.model.generator.eval()
            with self.train_state.autocast():
                painted = self.model.generator(batch.lightness, batch.hints)
            self.model.generator.train()
            saved = (painted.float() * 127).round().to(torch.int8)
            save_checkpoint(path, {"ab": saved.cpu()})
        return saved.to(self.device).float() / 127

    def after_step(self) -> None:
        """In a joint phase, score the validation photos when it is time, and after each epoch."""
        every = self.config.selection_interval
        if every is None or self.phase != "joint" or self._scored is None:
            return
        if self.steps % every and self.done < self.epoch_steps:
            return
        score = self.score(self._scored)
        self.scores.append({"step": self.steps, **score})
        if min(self.scores, key=lambda entry: entry["score"]) is self.scores[-1]:
            state = {"step": self.steps, "model": self.train_state.painter.state_dict()}
            self.run.save_inflection(state)
        self.run.write_scores(self.scores)

    @torch.no_grad()
    def score(self, rgb: Tensor) -> dict[str, float]:
        """How the paintings of uint8 photos (N, 3, H, W) can be told from the truth."""
        self.train_state.painter.eval()
        self.model.discriminator.eval()
        seed_all(self.config.seed)
        painted, truth, chances = [], [], []
        for photos in rgb.split(max(1, self.config.batch_size)):
            lightness, ab = rgb_to_lab(photos.to(self.device))
            ours = self.train_state.painting(lightness)
            for batch, found in ((ours, painted), (ab, truth)):
                found.append((lightness, batch))
            both = torch.cat((ab, ours))
            with self.train_state.autocast():
                logits = self.model.discriminator(lightness.repeat(2, 1, 1, 1), both)
            real, fake = (self.game.chance(part.float()) for part in logits.chunk(2))
            chances.append(torch.stack((real.mean(), fake.mean())) * len(photos))
        self.model.train()
        real, fake = (torch.stack(chances).sum(0) / len(rgb)).tolist()
        (colors, cast), (true_colors, true_cast) = (
            (
                torch.cat([colorfulness(to_uint8(lab_to_rgb(*p))) for p in found]).mean().item(),
                color_cast(torch.cat([ab for _, ab in found])).item(),
            )
            for found in (painted, truth)
        )
        return {
            "colorfulness": colors / true_colors,
            "cast": cast,
            "true_cast": true_cast,
            "real": real,
            "fake": fake,
            "score": abs(1 - colors / true_colors) + max(0.0, cast - true_cast) + abs(real - fake),
        }
