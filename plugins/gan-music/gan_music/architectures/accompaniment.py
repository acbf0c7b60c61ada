"""MuseGAN's accompaniment: some tracks are given, the others are composed to fit them.

Dong et al. 2018 (arXiv:1709.06298), section 4.2 "track-conditional generation", with the networks of the third release:
an encoder reads the given tracks, and every layer of the generator sees the encoder's layer of its own size. The given
tracks are copied into the phrase unchanged; the critic judges the whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from gan.adversarial import adversarial_turns
from gan.contracts import FieldSpec, Loss, Penalty, Request
from gan.draws import Draws
from gan.errors import UsageError
from gan.game import Batch, Optimizer, Phase, Player
from pydantic import Field, field_validator
from torch import Tensor, nn

from gan_music.architectures.cells import Norm, Up, gather
from gan_music.architectures.composing import MuseGANOptions, bias_of
from gan_music.architectures.musegan import Critic, MuseGANConfig, initialise
from gan_music.architectures.neurons import binarise
from gan_music.architectures.shape import PhraseShape, bool_roll
from gan_music.tracks import given_places


class AccompanimentConfig(MuseGANConfig):
    """Sizes of the networks, and which tracks are given."""

    composition: Any = Field("composer", description="Always composer: one generator composes all other tracks.")
    given: list[int | str] = Field(
        [0], min_length=1, description="Tracks that are given, by name or number (0 is the first)."
    )

    @field_validator("composition")
    @classmethod
    def _one_composer(cls, value: Any) -> Any:
        if value != "composer":
            raise ValueError("composition must be composer for the accompaniment")
        return value


class Encode(nn.Module):
    """A convolution, batch normalisation, ReLU, on ``(N, bar, step, pitch, channel)``."""

    def __init__(
        self,
        inside: int,
        outside: int,
        kernel: tuple[int, int, int],
        stride: tuple[int, int, int] | None = None,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv3d(inside, outside, kernel, stride or kernel)
        self.norm = Norm(outside)

    def forward(self, cells: Tensor) -> Tensor:
        """The downsampled cells."""
        return torch.relu(self.norm(gather(cells, self.conv)))


class Encoder(nn.Module):
    """Features of the given tracks at every size of the generator's layers."""

    def __init__(self, shape: PhraseShape, given: int, width: int) -> None:
        super().__init__()
        pitch, time = (1, 1, 12), (1, shape.fine, 1)
        self.pitch_first = Encode(given, width // 32, pitch)
        self.then_time = Encode(width // 32, width // 16, time)
        self.time_first = Encode(given, width // 32, time)
        self.then_pitch = Encode(width // 32, width // 16, pitch)
        self.beat = Encode(width // 8, width // 8, (1, shape.coarse, shape.span), (1, shape.coarse, 2))
        self.bar = Encode(width // 8, width // 4, (1, shape.beats, shape.high))
        self.phrase = Encode(width // 4, width // 2, (shape.bars, 1, 1))

    def forward(self, cells: Tensor) -> dict[str, Tensor]:
        """``(N, bar, step, pitch, given)`` -> features by the name of the layer."""
        found = {"pitch_first": self.pitch_first(cells), "time_first": self.time_first(cells)}
        found["then_time"] = self.then_time(found["pitch_first"])
        found["then_pitch"] = self.then_pitch(found["time_first"])
        found["beat"] = self.beat(torch.cat([found["then_pitch"], found["then_time"]], 4))
        found["bar"] = self.bar(found["beat"])
        found["phrase"] = self.phrase(found["bar"])
        return found


class AccompanyingHead(nn.Module):
    """The last layers of one track: MuseGAN's, with the encoder's features of equal size concatenated to each input."""

    def __init__(self, shape: PhraseShape, width: int) -> None:
        super().__init__()
        pitch, time = (1, 1, 12), (1, shape.fine, 1)
        self.pitch_first = Up(width // 4 + width // 16, width // 16, pitch)
        self.then_time = Up(width // 16 + width // 32, width // 32, time)
        self.time_first = Up(width // 4 + width // 16, width // 16, time)
        self.then_pitch = Up(width // 16 + width // 32, width // 32, pitch)
        self.join = nn.Linear(width // 16, 1)

    def forward(self, features: Tensor, heard: Mapping[str, Tensor]) -> Tensor:
        """``(N, bar, beat·coarse, octave, width/4) -> (N, bar, step, pitch)``, before the tanh."""
        a = self.pitch_first(torch.cat([features, heard["then_pitch"]], 4))
        a = self.then_time(torch.cat([a, heard["time_first"]], 4))
        b = self.time_first(torch.cat([features, heard["then_time"]], 4))
        b = self.then_pitch(torch.cat([b, heard["pitch_first"]], 4))
        out: Tensor = self.join(torch.cat([a, b], 4))
        return out.squeeze(4)


class AccompanyingGenerator(nn.Module):
    """Composes the other tracks from latents and given tracks."""

    def __init__(self, shape: PhraseShape, latent: int, given: int, width: int) -> None:
        super().__init__()
        self.encoder = Encoder(shape, given, width)
        self.phrase = Up(latent + width // 2, width, (shape.bars, 1, 1))
        self.bar = Up(width + width // 4, width // 2, (1, shape.beats, shape.high))
        self.beat = Up(width // 2 + width // 8, width // 4, (1, shape.coarse, shape.span), (1, shape.coarse, 2))
        self.heads = nn.ModuleList(AccompanyingHead(shape, width) for _ in range(shape.tracks - given))

    def forward(self, latents: Tensor, given: Tensor) -> Tensor:
        """``(N, latent)`` and ``(N, given, bar, step, pitch)`` in -1 … 1 -> ``(N, others, bar, step, pitch)``,
        before the tanh."""
        heard = self.encoder(given.movedim(1, 4).contiguous())
        features = torch.cat([latents[:, None, None, None, :], heard["phrase"]], 4)
        features = torch.cat([self.phrase(features), heard["bar"]], 4)
        features = torch.cat([self.bar(features), heard["beat"]], 4)
        features = self.beat(features)
        return torch.stack([head(features, heard) for head in self.heads], 1)


class Accompaniment(nn.Module):
    """The adversarial game of an accompanist and a critic of the whole phrase."""

    Config = AccompanimentConfig
    Options = MuseGANOptions

    def __init__(self, config: AccompanimentConfig, fields: Mapping[str, FieldSpec]) -> None:
        super().__init__()
        self.config = config
        self.shape = shape = PhraseShape(bool_roll(fields, "accompaniment").shape, config.beats)
        self.given = sorted(given_places(config.given, fields["roll"].names, shape.tracks))
        self.others = [track for track in range(shape.tracks) if track not in self.given]
        order = [*self.given, *self.others]
        self.places = [order.index(track) for track in range(shape.tracks)]
        self.generator = AccompanyingGenerator(shape, config.latent, len(self.given), config.width)
        self.critic = Critic(shape, shape.tracks, config.width)
        initialise(self, config.width)
        for head in self.generator.heads:
            assert isinstance(head, AccompanyingHead)
            nn.init.constant_(head.join.bias, bias_of(config.initial_density))

    def given_fields(self, options: Any = None) -> tuple[str, ...]:
        """The roll whose given tracks are accompanied; its other tracks are ignored."""
        return ("roll",)

    def given_places(self, options: Any = None) -> dict[str, list[int]]:
        """The given tracks of the roll."""
        return {"roll": self.given}

    def players(self) -> dict[str, Player]:
        """The accompanist (its weights are averaged) and the critic."""
        adam = Optimizer(lr=1e-3, betas=(0.5, 0.9))
        return {
            "generator": Player(self.generator, adam, average=True),
            "discriminator": Player(self.critic, adam),
        }

    def phases(self, loss: Loss, penalties: Mapping[str, Penalty]) -> list[Phase]:
        """One adversarial phase; a generated phrase has the given tracks of the real one."""

        def fake(batch: Batch) -> Tensor:
            given = batch["roll"][:, self.given].float() * 2 - 1
            return self._together(given, torch.tanh(self.generator(self.latents(batch.count, batch.rng), given)))

        turns = adversarial_turns(
            loss,
            penalties,
            real=lambda batch: batch["roll"].float() * 2 - 1,
            fake=fake,
            critic=self.critic,
            critic_repeats=self.config.critic_repeats,
        )
        return [Phase("adversarial", turns)]

    def _together(self, given: Tensor, composed: Tensor) -> Tensor:
        return torch.cat([given, composed], 1)[:, self.places]

    def latents(self, count: int, rng: Draws) -> Tensor:
        """``(count, latent)``; each latent gives another accompaniment of the same tracks."""
        return rng.truncated_normal(self.config.latent)

    def generate(self, count: int, rng: Draws, request: Request) -> dict[str, Tensor]:
        """``roll (count, track, bar, step, pitch)`` bool, with the given tracks as they are."""
        return self.decode(self.latents(count, rng), request)

    def decode(self, latents: Tensor, request: Request) -> dict[str, Tensor]:
        """The accompaniments of latents; random notes use numbers seeded by the latent itself."""
        options = request.options if isinstance(request.options, MuseGANOptions) else MuseGANOptions()
        if options.bars not in (None, self.shape.bars):
            raise UsageError(f"an accompaniment has the {self.shape.bars} bars of the given tracks; leave --bars out")
        if request.given is None:
            raise UsageError("an accompaniment needs a phrase with the tracks to accompany")
        given = request.given["roll"][:, self.given]
        logits = self.generator(latents * options.truncation, given.float() * 2 - 1)
        composed = binarise(logits, options.binarisation or self.config.binarisation, options.sounding, latents)
        return {"roll": self._together(given, composed)}
