"""A GAN of two multilayer perceptrons on vectors (Goodfellow et al. 2014, arXiv:1406.2661)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from gan.adversarial import adversarial_turns
from gan.contracts import FieldSpec, Loss, Penalty, Request
from gan.draws import Draws
from gan.game import Batch, Optimizer, Phase, Player


class MLP(nn.Module):
    """A generator and a discriminator with ReLU layers, for a modality with one field, a vector."""

    class Config(BaseModel):
        """Settings of the recipe's section `model`."""

        model_config = ConfigDict(extra="forbid")

        hidden: int = Field(128, gt=0, description="Width of the hidden layers, in units.")
        layers: int = Field(3, gt=0, description="Number of hidden layers of each network.")
        latent: int = Field(2, gt=0, description="Size of the latent vector.")
        critic_repeats: int = Field(1, gt=0, description="Discriminator updates per generator update.")

    class Options(BaseModel):
        """Options of one call of `generate`."""

        model_config = ConfigDict(extra="forbid")

        truncation: float = Field(1.0, gt=0, description="Scale of the latent vectors; 1: as trained.")

    def __init__(self, config: Config, fields: Mapping[str, FieldSpec]) -> None:
        super().__init__()
        self.config = config
        (self.field,) = fields
        size = fields[self.field].shape[0]
        self.generator = perceptron(config.latent, config.hidden, config.layers, size)
        self.discriminator = perceptron(size, config.hidden, config.layers, 1)

    @classmethod
    def accepts(cls, fields: Mapping[str, FieldSpec]) -> str:
        """One field of numbers along one axis, and any conditions."""
        made = [spec for spec in fields.values() if not spec.condition]
        (spec,) = made if len(made) == 1 else (None,)
        fits = spec is not None and spec.dtype == "float32" and len(spec.shape) == 1
        return "" if fits else "they are no vectors of float32"

    def players(self) -> dict[str, Player]:
        """``generator``, averaged, and ``discriminator``."""
        adam = Optimizer(lr=2e-4, betas=(0.0, 0.99))
        return {
            "generator": Player(self.generator, adam, average=True),
            "discriminator": Player(self.discriminator, adam),
        }

    def phases(self, loss: Loss, penalties: Mapping[str, Penalty]) -> list[Phase]:
        """One adversarial phase."""

        def fake(batch: Batch) -> Tensor:
            made: Tensor = self.generator(self.latents(batch.count, batch.rng))
            return made

        def critic(samples: Tensor) -> Tensor:
            scores: Tensor = self.discriminator(samples)
            return scores

        turns = adversarial_turns(
            loss,
            penalties,
            real=lambda batch: batch[self.field],
            fake=fake,
            critic=critic,
            critic_repeats=self.config.critic_repeats,
        )
        return [Phase("adversarial", turns)]

    def latents(self, count: int, rng: Draws) -> Tensor:
        """``(count, latent)`` from N(0, 1)."""
        return rng.randn(self.config.latent)

    def linear_maps(self) -> list[Tensor]:
        """The first layer without the columns of conditions, ``(hidden, latent)``."""
        first = next(layer for layer in self.generator.modules() if isinstance(layer, nn.Linear))
        return [first.weight.detach()[:, : self.config.latent]]

    def critic_features(self, samples: Mapping[str, Tensor]) -> list[Tensor]:
        """The activations of the discriminator's hidden layers."""
        x, seen = samples[self.field], []
        for layer in list(self.discriminator)[:-1]:
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                seen.append(x)
        return seen

    def decode_smooth(self, latents: Tensor, request: Request) -> dict[str, Tensor]:
        """The same as `decode`: vectors are not rounded."""
        return self.decode(latents, request)

    def decode(self, latents: Tensor, request: Request) -> dict[str, Tensor]:
        """The samples of latents."""
        scale = 1.0 if request.options is None else request.options.truncation
        return {self.field: self.generator(scale * latents)}

    def generate(self, count: int, rng: Draws, request: Request) -> dict[str, Tensor]:
        """``(count, size)`` vectors."""
        return self.decode(self.latents(count, rng), request)


def perceptron(inputs: int, hidden: int, layers: int, outputs: int) -> nn.Sequential:
    """``(N, inputs) -> (N, outputs)`` with `layers` hidden ReLU layers of one width."""
    widths = [inputs] + [hidden] * layers
    modules: list[nn.Module] = []
    for before, after in pairwise(widths):
        modules += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*modules, nn.Linear(hidden, outputs))
