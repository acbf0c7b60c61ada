"""Architectures whose objectives observe sums and whose turns learn state from them, for tests."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn.functional import mse_loss, one_hot

from gan.adversarial import plus
from gan.contracts import FieldSpec, Loss, Penalty, Request
from gan.draws import Draws
from gan.game import Batch, Optimizer, Phase, Player, Schedule, Turn
from gan.testing.mlp import MLP, perceptron


class RunningMean(MLP):
    """`MLP`, whose generator adds the running mean of the real points to its output."""

    mean: Tensor

    def __init__(self, config: MLP.Config, fields: Mapping[str, FieldSpec]) -> None:
        super().__init__(config, fields)
        self.register_buffer("mean", torch.zeros(fields[self.field].shape))
        self.generator = nn.Sequential(self.generator, _Shift(self))

    def phases(self, loss: Loss, penalties: Mapping[str, Penalty]) -> list[Phase]:
        """One adversarial phase; the critic's turn observes the real points."""
        (phase,) = super().phases(loss, penalties)
        critic, *rest = phase.turns

        def observe(batch: Batch) -> dict[str, Tensor]:
            real = batch[self.field]
            batch.observe("sum", real.sum(0))
            batch.observe("count", real.new_tensor(float(len(real))))
            return {}

        def learn(observed: Mapping[str, Tensor], rng: Draws) -> None:
            self.mean.lerp_(observed["sum"] / observed["count"], 0.05)

        return [Phase(phase.name, [plus(critic, observe, learn=learn), *rest])]


class _Shift(nn.Module):
    """Adds the running mean of `owner`, which is no submodule of it."""

    def __init__(self, owner: RunningMean) -> None:
        super().__init__()
        self._owner = [owner]

    def forward(self, samples: Tensor) -> Tensor:
        return samples + self._owner[0].mean


class VQ(nn.Module):
    """An autoencoder whose code is the nearest of K vectors, learned as averages of what they encode.

    van den Oord et al. 2017, arXiv:1711.00937, section 3 and appendix A.1. Codes that are used less than once in a
    hundred updates are drawn anew next to a used one.
    """

    class Config(BaseModel):
        """Settings of the recipe's section `model`."""

        model_config = ConfigDict(extra="forbid")

        hidden: int = Field(64, gt=0, description="Width of the hidden layer, in units.")
        codes: int = Field(64, gt=0, description="Number of codes, K.")
        size: int = Field(4, gt=0, description="Size of a code.")
        decay: float = Field(0.99, gt=0, lt=1, description="Decay of the averages per update, the paper's gamma.")
        commitment: float = Field(0.25, ge=0, description="Weight of the commitment loss, the paper's beta.")

    uses: Tensor
    sums: Tensor
    codebook: Tensor

    def __init__(self, config: Config, fields: Mapping[str, FieldSpec]) -> None:
        super().__init__()
        self.config = config
        (self.field,) = fields
        size = fields[self.field].shape[0]
        self.encoder = perceptron(size, config.hidden, 1, config.size)
        self.decoder = perceptron(config.size, config.hidden, 1, size)
        codebook = torch.randn(config.codes, config.size)
        self.register_buffer("uses", torch.ones(config.codes))
        self.register_buffer("sums", codebook.clone())
        self.register_buffer("codebook", codebook)

    def players(self) -> dict[str, Player]:
        """The autoencoder."""
        return {"autoencoder": Player([self.encoder, self.decoder], Optimizer(lr=1e-3, betas=(0.9, 0.999)))}

    def phases(self, loss: Loss, penalties: Mapping[str, Penalty]) -> list[Phase]:
        """One phase of reconstruction."""
        return [Phase("reconstruction", [Turn("autoencoder", self._reconstruct, learn=self._learn)])]

    def nearest(self, codes: Tensor) -> Tensor:
        """``(N, size) -> (N,)``: indices of the nearest codes."""
        return torch.cdist(codes, self.codebook).argmin(1)

    def _reconstruct(self, batch: Batch) -> dict[str, Tensor]:
        points = batch[self.field]
        encoded = self.encoder(points)
        with torch.no_grad():
            chosen = self.nearest(encoded)
            member = one_hot(chosen, self.config.codes).to(encoded.dtype)
            batch.observe("uses", member.sum(0))
            batch.observe("sums", member.T @ encoded)
        quantized = self.codebook[chosen]
        shares = member.mean(0)
        perplexity = torch.special.entr(shares).sum().exp()
        through = encoded + (quantized - encoded).detach()  # the gradient of the code is that of the encoder's output
        return {
            "reconstruction": mse_loss(self.decoder(through), points),
            "commitment": self.config.commitment * mse_loss(encoded, quantized),
            "_code_use": perplexity / min(len(points), self.config.codes),
        }

    def _learn(self, observed: Mapping[str, Tensor], rng: Draws) -> None:
        weight = 1 - self.config.decay
        self.uses.lerp_(observed["uses"], weight)
        self.sums.lerp_(observed["sums"], weight)
        self.codebook.copy_(self.sums / self.uses.clamp_min(1e-5)[:, None])
        near = self.codebook[self.uses.argmax()] + 0.1 * rng.randn(*self.codebook.shape)[0]
        dead = self.uses < 0.01
        self.codebook.copy_(torch.where(dead[:, None], near, self.codebook))
        self.sums.copy_(torch.where(dead[:, None], near, self.sums))
        self.uses.copy_(torch.where(dead, 1.0, self.uses))

    def generate(self, count: int, rng: Draws, request: Request) -> dict[str, Tensor]:
        """Points of codes drawn by how often they are used."""
        shares = (self.uses / self.uses.sum()).cumsum(0)
        chosen = torch.searchsorted(shares, rng.rand()).clamp(max=self.config.codes - 1)
        return {self.field: self.decoder(self.codebook[chosen])}


class Turns(nn.Module):
    """Rotations of points ``(N, 2)`` around the origin, each with the probability `strength` (the paper's p).

    Karras et al. 2020, arXiv:2006.06676, section 3.1: with `target`, p rises while the mean sign of the critic's scores
    of real points is above it and falls while it is below, from 0 to 1 in at least `ramp` real samples.
    """

    def __init__(self, *, strength: float | Schedule = 0.0, target: float | None = None, ramp: int = 500_000) -> None:
        super().__init__()
        self.target = target
        self.ramp = ramp
        self.strength: float | Schedule | Tensor
        if target is None:
            self.strength = strength
        else:
            self.register_buffer("strength", torch.tensor(strength if isinstance(strength, float) else 0.0))

    def forward(self, points: Tensor, rng: Draws, strength: Tensor) -> Tensor:
        """The turned points."""
        angle = torch.where(rng.rand() < strength, 2 * torch.pi * rng.rand(), 0.0)
        cosine, sine = angle.cos(), angle.sin()
        x, y = points.unbind(1)
        return torch.stack([cosine * x - sine * y, sine * x + cosine * y], 1)

    def observe(self, real_scores: Tensor) -> Mapping[str, Tensor]:
        """The sum of signs and the number of scores."""
        if self.target is None:
            return {}
        return {"signs": real_scores.sign().sum(), "count": real_scores.new_tensor(float(len(real_scores)))}

    def learn(self, observed: Mapping[str, Tensor], samples: int) -> None:
        """Move p by ``samples / ramp`` up or down."""
        assert isinstance(self.strength, Tensor)
        direction = (observed["signs"] / observed["count"] - float(self.target or 0.0)).sign()
        self.strength.add_(direction * (samples / self.ramp)).clamp_(0, 1)
