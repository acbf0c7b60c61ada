"""Fully connected networks: the first GAN, for any data of numbers, such as images, voxels, piano rolls or waveforms.

Goodfellow et al.: Generative adversarial nets, NeurIPS 2014, https://arxiv.org/abs/1406.2661: two perceptrons, trained
with the loss of the recipe. It knows nothing of neighbouring pixels or steps, which makes it the baseline that other
architectures have to beat on new data. Leaky rectifiers take the place of the paper's maxout units.

Shapes: N samples of D numbers, which are all fields of a sample one behind the other, scaled to -1 … 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise

import torch
from gan.adversarial import adversarial_turns
from gan.contracts import FieldSpec, Loss, Penalty, Request
from gan.draws import Draws
from gan.game import Batch, Optimizer, Phase, Player
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn


class FullyConnectedConfig(BaseModel):
    """Sizes of the networks."""

    model_config = ConfigDict(extra="forbid")

    latent: int = Field(64, gt=0, description="Size of the latent vector.")
    hidden: int = Field(256, gt=0, description="Width of the hidden layers, in units.")
    layers: int = Field(3, gt=0, description="Number of hidden layers of each network.")


class FullyConnected(nn.Module):
    """A generator and a discriminator of fully connected layers, for fields of any shape without conditions."""

    Config = FullyConnectedConfig

    def __init__(self, config: FullyConnectedConfig, fields: Mapping[str, FieldSpec]) -> None:
        super().__init__()
        self.config = config
        self.fields = dict(fields)
        size = sum(math.prod(spec.shape) for spec in fields.values())
        self.generator = perceptron(config.latent, config, size)
        self.discriminator = perceptron(size, config, 1)

    @classmethod
    def accepts(cls, fields: Mapping[str, FieldSpec]) -> str:
        """Numbers that measure something: no conditions, no indices, and one sample in all fields."""
        for name, spec in fields.items():
            if spec.condition:
                return f"the condition '{name}' is not supported"
            if spec.group:
                return "a sample has fields of several groups (unpaired data)"
            if spec.dtype in ("int32", "int64"):
                return f"the field '{name}' holds indices, which cannot be compared by size"
        return ""

    def players(self) -> dict[str, Player]:
        """``generator``, averaged, and ``discriminator``."""
        adam = Optimizer(lr=2e-4, betas=(0.5, 0.999))
        return {
            "generator": Player(self.generator, adam, average=True),
            "discriminator": Player(self.discriminator, adam),
        }

    def phases(self, loss: Loss, penalties: Mapping[str, Penalty]) -> list[Phase]:
        """One adversarial phase."""
        turns = adversarial_turns(loss, penalties, real=self._real, fake=self._fake, critic=self._critic)
        return [Phase("adversarial", turns)]

    def _real(self, batch: Batch) -> Tensor:
        """Real samples, ``(N, D)``."""
        parts = []
        for name, spec in self.fields.items():
            values = batch[name].flatten(1).to(torch.float32)
            parts.append((values - spec.low) * (2 / (spec.high - spec.low)) - 1)
        return torch.cat(parts, 1)

    def _fake(self, batch: Batch) -> Tensor:
        made: Tensor = self.generator(self.latents(batch.count, batch.rng)).tanh()
        return made

    def _critic(self, samples: Tensor) -> Tensor:
        scores: Tensor = self.discriminator(samples)
        return scores.squeeze(1)

    def latents(self, count: int, rng: Draws) -> Tensor:
        """``(count, latent)`` from N(0, 1)."""
        return rng.randn(self.config.latent)

    def decode(self, latents: Tensor, request: Request) -> dict[str, Tensor]:
        """The samples of latents, in the fields' dtypes and ranges."""
        values = self.generator(latents).tanh()
        found, start = {}, 0
        for name, spec in self.fields.items():
            size = math.prod(spec.shape)
            part = (values[:, start : start + size] + 1) * (spec.high - spec.low) / 2 + spec.low
            start += size
            dtype = getattr(torch, spec.dtype)
            if not dtype.is_floating_point:
                part = part.round()
            found[name] = part.clamp(spec.low, spec.high).to(dtype).unflatten(1, spec.shape)
        return found

    def generate(self, count: int, rng: Draws, request: Request) -> dict[str, Tensor]:
        """Generate `count` samples."""
        return self.decode(self.latents(count, rng), request)


def perceptron(inputs: int, config: FullyConnectedConfig, outputs: int) -> nn.Sequential:
    """Hidden layers of one width with leaky rectifiers."""
    widths = [inputs, *[config.hidden] * config.layers]
    layers: list[nn.Module] = []
    for one, other in pairwise(widths):
        layers += [nn.Linear(one, other), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Linear(widths[-1], outputs))
