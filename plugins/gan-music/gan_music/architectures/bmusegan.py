"""BinaryMuseGAN: notes come from binary neurons, so that the critic sees what will be played.

Dong and Yang: Convolutional Generative Adversarial Networks with Binary Neurons for Polyphonic Music Generation, ISMIR
2018, arXiv:1804.09399. First MuseGAN is trained as usual. Then a refiner (two residual blocks per track) and binary
neurons are put behind its generator and trained against the critic. A deterministic neuron fires above one half, a
stochastic one with its probability; both pass gradients like a sigmoid of growing slope (Bengio et al. 2013, Chung et
al. 2016).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from gan.adversarial import adversarial_turns
from gan.contracts import FieldSpec, Loss, Penalty, Request
from gan.game import Batch, Optimizer, Phase, Player, Turn
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import pad, relu

from gan_music.architectures.composing import MuseGANOptions, side_by_side
from gan_music.architectures.conditioning import condition_values, critic_conditions
from gan_music.architectures.musegan import MuseGAN, MuseGANConfig
from gan_music.architectures.neurons import binarise, binary, seeded


class BMuseGANConfig(MuseGANConfig):
    """MuseGAN's settings, and those of the neurons and the refiner."""

    neuron: Literal["deterministic", "stochastic"] = Field(
        "deterministic", description="Whether a neuron fires above one half, or at random."
    )
    slope: float = Field(
        5.0, ge=1, description="Final slope of the sigmoid that gradients pass through; it grows from 1."
    )
    refiner: bool = Field(True, description="Whether there are residual blocks between the generator and the neurons.")
    refiner_width: int = Field(64, ge=1, description="Channels per track inside a residual block.")
    pretraining_samples: int = Field(
        200_000,
        ge=0,
        description="Real samples shown before the neurons are added; 0: they are there from the start.",
    )
    joint: bool = Field(False, description="Whether the generator is trained together with the refiner.")

    @model_validator(mode="after")
    def _something_learns(self) -> BMuseGANConfig:
        if not self.refiner and not self.joint and self.pretraining_samples:
            raise ValueError("without a refiner nothing is trained in the second phase; set joint to true")
        return self


class Residual(nn.Module):
    """A pre-activation block on ``(N, track, bar, step, pitch)``, each track separately; kernels of three steps
    and an octave."""

    def __init__(self, tracks: int, width: int) -> None:
        super().__init__()
        kernel = (1, 3, 12)
        self.norm1, self.norm2 = nn.BatchNorm3d(tracks), nn.BatchNorm3d(tracks * width)
        self.conv1 = nn.Conv3d(tracks, tracks * width, kernel, groups=tracks)
        self.conv2 = nn.Conv3d(tracks * width, tracks, kernel, groups=tracks)

    def forward(self, roll: Tensor) -> Tensor:
        """The same shape."""
        around = (5, 6, 1, 1)  # keeps the size: an even kernel needs one more row above than below
        hidden = self.conv1(pad(relu(self.norm1(roll)), around))
        out: Tensor = roll + self.conv2(pad(relu(self.norm2(hidden)), around))
        return out


class BMuseGAN(MuseGAN):
    """MuseGAN with binary neurons."""

    refined: Tensor
    slope_now: Tensor

    Config = BMuseGANConfig

    def __init__(self, config: BMuseGANConfig, fields: Mapping[str, FieldSpec]) -> None:
        super().__init__(config, fields)
        self.config: BMuseGANConfig = config
        tracks = self.shape.tracks
        blocks = [Residual(tracks, config.refiner_width) for _ in range(2)] if config.refiner else []
        self.refiner = nn.Sequential(*blocks)
        self.register_buffer("refined", torch.tensor(config.pretraining_samples == 0))
        self.register_buffer("slope_now", torch.ones(()))

    def players(self) -> dict[str, Player]:
        """The generator, the critic, and the refiner if there is one."""
        found = super().players()
        if self.config.refiner:
            found["refiner"] = Player(self.refiner, Optimizer(lr=1e-3, betas=(0.5, 0.9)), average=True)
        return found

    def phases(self, loss: Loss, penalties: Mapping[str, Penalty]) -> list[Phase]:
        """MuseGAN's phase, then the same game on binary phrases."""
        first = super().phases(loss, penalties)[0]
        games = [self._binary_game(loss, penalties, index) for index in range(len(self.critics))]
        turns = [side_by_side(turns) for turns in zip(*games)]
        learns_whole = self.config.joint or not self.config.pretraining_samples
        learners = [*(["generator"] if learns_whole else []), *(["refiner"] if self.config.refiner else [])]
        critic_turns = [turn for turn in turns if turn.player == "discriminator"]
        last = turns[-1]
        second = Phase("binary", [*critic_turns, *(Turn(name, last.objective) for name in learners)])
        if not self.config.pretraining_samples:
            return [second]
        return [Phase("pretraining", first.turns, self.config.pretraining_samples), second]

    def _binary_game(self, loss: Loss, penalties: Mapping[str, Penalty], index: int) -> list[Turn]:
        tracks = slice(index, index + 1) if self.is_jamming else slice(None)
        repeats = self.config.critic_repeats

        def fake(batch: Batch) -> Tensor:
            slope = 1 + (self.config.slope - 1) * batch.progress
            with torch.no_grad():
                self.refined.fill_(True)
                self.slope_now.fill_(slope)
            condition = condition_values(self.conditions, batch.fields)
            values = self.refine(self.latents(batch.count, batch.rng), condition)
            noise = batch.rng.rand(*values.shape[1:]) if self.config.neuron == "stochastic" else None
            return binary(values, slope, noise)[:, tracks] * 2 - 1

        return adversarial_turns(
            loss,
            penalties,
            real=lambda batch: batch["roll"][:, tracks].float() * 2 - 1,
            fake=fake,
            critic=self.critics[index],
            conditions=critic_conditions(self.conditions),
            critic_repeats=max(repeats, 2),  # with one repeat, both learners would need the graph of the critic's turn
        )

    def refine(self, latents: Tensor, condition: Tensor | None = None) -> Tensor:
        """Latents and attributes -> values ``(N, track, bar, step, pitch)`` of the neurons; a neuron fires above
        0."""
        values: Tensor = self.refiner(self.compose(latents, condition))
        return values

    def decode(self, latents: Tensor, request: Request) -> dict[str, Tensor]:
        """The phrases of latents; stochastic neurons use numbers seeded by the latent itself."""
        if not bool(self.refined):
            return super().decode(latents, request)
        options = request.options if isinstance(request.options, MuseGANOptions) else MuseGANOptions()
        values = self.refine(latents * options.truncation, condition_values(self.conditions, request.given))
        if options.sounding is not None or self.config.neuron == "deterministic":
            return {"roll": binarise(values, options.binarisation or "threshold", options.sounding, latents)}
        noise = torch.stack([torch.rand(v.shape, generator=seeded(z)) for v, z in zip(values, latents)])
        return {"roll": binary(values, float(self.slope_now), noise.to(values.device)) > 0.5}
