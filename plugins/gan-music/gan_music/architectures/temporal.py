"""MuseGAN's temporal model: a phrase from scratch, bar by bar.

Dong et al. 2018 (arXiv:1709.06298), section 4.3 "generation from scratch", with the layers of the first release. Four
latent vectors make a bar of a track:

    z        shared by all tracks and bars             z_i         of track i, shared by all bars
    PG(zt)   per bar, shared by all tracks             PG_i(zt_i)  of track i, per bar

Fixing z and z_i keeps the idea of a song, a new zt changes its course, and exchanging z_i changes the style of a track.
A phrase generator PG turns one vector into one per bar; a bar generator BG, the same for all bars, turns vectors into a
bar.

The released phrase critic reshapes features of all bars in a way that mixes positions; here the features of each bar go
through one linear layer and keep the order of the bars.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from gan.adversarial import adversarial_turns
from gan.contracts import FieldSpec, Loss, Penalty, Request
from gan.draws import Draws
from gan.game import Batch, Optimizer, Phase, Player, Turn
from gan.recipe import Section
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from gan_music.architectures.composing import MuseGANOptions, bias_of, in_phrases, side_by_side
from gan_music.architectures.neurons import binarise
from gan_music.architectures.shape import PhraseShape, bool_roll


class TemporalConfig(Section):
    """Sizes of the networks, and settings of the game."""

    composition: Literal["composer", "jamming", "hybrid"] = Field(
        "hybrid", description="The composition model: see section 4 of the paper."
    )
    latent: int = Field(
        128, ge=4, multiple_of=4, description="Length of the vector that makes a bar, the sum of all its parts."
    )
    width: int = Field(
        1024, ge=16, multiple_of=16, description="Channels of the widest layers; the others are scaled in proportion."
    )
    initial_density: float = Field(0.02, gt=0, lt=0.5, description="Share of the roll that sounds before training.")
    critic_repeats: int = Field(5, ge=1, description="Updates of the critic per update of the generator.")
    binarisation: Literal["threshold", "bernoulli"] = Field(
        "threshold",
        description="A note sounds where its probability exceeds one half, or at random with its probability.",
    )


def grow(inside: int, outside: int, kernel: tuple[int, int], stride: tuple[int, int] | None = None) -> nn.Sequential:
    """A transposed convolution over (time, pitch), batch normalisation (decay 0.9), ReLU."""
    return nn.Sequential(
        nn.ConvTranspose2d(inside, outside, kernel, stride or kernel), nn.BatchNorm2d(outside), nn.ReLU(inplace=True)
    )


def halvings(steps: int) -> tuple[int, int]:
    """How often `steps` can be halved until it is odd or 2, at most five times, and what remains."""
    times = 0
    while steps % 2 == 0 and steps > 2 and times < 5:
        steps //= 2
        times += 1
    return times, steps


class PhraseGenerator(nn.Module):
    """PG: ``(N, latent) -> (N, bars, latent)``."""

    def __init__(self, bars: int, latent: int, width: int) -> None:
        super().__init__()
        if bars == 1:
            self.layers = nn.Sequential(grow(latent, width, (1, 1)), grow(width, latent, (1, 1)))
        else:
            self.layers = nn.Sequential(grow(latent, width, (2, 1)), grow(width, latent, (bars - 1, 1), (1, 1)))

    def forward(self, latent: Tensor) -> Tensor:
        """One vector per bar: two positions in time become ``bars`` by a kernel of ``bars - 1``."""
        out: Tensor = self.layers(latent[:, :, None, None])
        return out.squeeze(3).transpose(1, 2)


class BarGenerator(nn.Module):
    """BG: ``(N, latent) -> (N, tracks, step, pitch)``, before the tanh."""

    def __init__(self, steps: int, pitches: int, latent: int, tracks: int, width: int) -> None:
        super().__init__()
        times, self.rest = halvings(steps)
        # the first release: 2 · 2⁴ · 3 = 96 steps, 512 256 256 128 channels while time doubles, then 128 for the three
        self.begin = 2 if times > 0 else 1
        channels = [width // 2, width // 4, width // 4, width // 8, width // 8][: max(times - 1, 0)]
        self.wide = nn.Sequential(nn.ConvTranspose2d(latent, width, 1), nn.BatchNorm2d(width), nn.ReLU(inplace=True))
        inside = width // self.begin
        layers: list[nn.Module] = []
        for outside in channels:
            layers.append(grow(inside, outside, (2, 1)))
            inside = outside
        if self.rest > 1:
            layers.append(grow(inside, width // 8, (self.rest, 1)))
            inside = width // 8
        layers.append(grow(inside, width // 16, (1, pitches // 12)))
        self.layers = nn.Sequential(*layers)
        self.out = nn.ConvTranspose2d(width // 16, tracks, (1, 12), (1, 12))

    def forward(self, latent: Tensor) -> Tensor:
        """Features of two positions in time, then of more, then of octaves, then of pitches."""
        features = self.wide(latent[:, :, None, None]).reshape(len(latent), -1, self.begin, 1)
        out: Tensor = self.out(self.layers(features))
        return out


class PhraseCritic(nn.Module):
    """``(N, track, bar, step, pitch)`` in -1 … 1 -> ``(N,)`` raw scores. Nothing mixes samples."""

    def __init__(self, bars: int, steps: int, pitches: int, tracks: int, width: int) -> None:
        super().__init__()
        eighth, quarter, half = width // 8, width // 4, width // 2
        plan = [(eighth, 2, 2), (eighth, 2, 2), (quarter, 4, 2), (half, 3, 2)]
        layers: list[nn.Module] = [
            nn.Conv2d(tracks, eighth, (1, 12), (1, 12)),
            nn.LeakyReLU(0.2),
            nn.Conv2d(eighth, eighth, (1, pitches // 12), (1, pitches // 12)),
            nn.LeakyReLU(0.2),
        ]
        inside, left = eighth, steps
        for outside, size, step in plan:
            size = min(size, left)
            layers += [nn.Conv2d(inside, outside, (size, 1), (step, 1)), nn.LeakyReLU(0.2)]
            inside, left = outside, (left - size) // step + 1
        self.bar = nn.Sequential(*layers)
        self.of_bar = nn.Linear(half * left, eighth)
        two = min(2, bars)
        self.phrase = nn.Sequential(
            nn.Conv1d(eighth, half, two),
            nn.LeakyReLU(0.2),
            nn.Conv1d(half, eighth, max(bars - two, 1) if bars > 2 else 1, max(bars - two, 1) if bars > 2 else 1),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
            nn.LazyLinear(width),
            nn.LeakyReLU(0.2),
            nn.Linear(width, 1),
        )
        with torch.no_grad():
            self(torch.zeros(1, tracks, bars, steps, pitches))  # initialises the lazy layer

    def forward(self, roll: Tensor) -> Tensor:
        """Features of each bar first, then of the bars in their order."""
        count, _, bars = roll.shape[:3]
        features = self.bar(roll.transpose(1, 2).flatten(0, 1))
        of_bars = leaky_relu(self.of_bar(features.flatten(1)), 0.2).view(count, bars, -1)
        score: Tensor = self.phrase(of_bars.transpose(1, 2))
        return score.squeeze(1)


class TemporalMuseGAN(nn.Module):
    """The adversarial game of bar generators, phrase generators and phrase critics."""

    Config = TemporalConfig
    Options = MuseGANOptions

    def __init__(self, config: TemporalConfig, fields: Mapping[str, FieldSpec]) -> None:
        super().__init__()
        self.config = config
        shape = PhraseShape(bool_roll(fields, "temporal").shape)
        self.tracks, self.bars, self.steps, self.pitches = shape.tracks, shape.bars, shape.steps, shape.pitches
        self.is_composer, self.is_jamming = config.composition == "composer", config.composition == "jamming"
        parts = 4 if config.composition == "hybrid" else 2
        self.part = config.latent // parts
        """Length of each of the vectors z, zt, z_i, zt_i."""
        bars = 1 if self.is_composer else self.tracks
        self.shared_phrase = PhraseGenerator(self.bars, self.part, config.width) if not self.is_jamming else None
        own = 0 if self.is_composer else self.tracks
        self.own_phrases = nn.ModuleList(PhraseGenerator(self.bars, self.part, config.width) for _ in range(own))
        heads = self.tracks if self.is_composer else 1
        self.bar_generators = nn.ModuleList(
            BarGenerator(self.steps, self.pitches, config.latent, heads, config.width) for _ in range(bars)
        )
        critics, seen = (self.tracks, 1) if self.is_jamming else (1, self.tracks)
        self.critics = nn.ModuleList(
            PhraseCritic(self.bars, self.steps, self.pitches, seen, config.width) for _ in range(critics)
        )
        self.apply(initialise)
        for generator in self.bar_generators:
            assert isinstance(generator, BarGenerator)
            assert generator.out.bias is not None
            nn.init.constant_(generator.out.bias, bias_of(config.initial_density))

    def players(self) -> dict[str, Player]:
        """A generator (its weights are averaged) and a critic; each may consist of several networks."""
        adam = Optimizer(lr=2e-4, betas=(0.5, 0.9))
        shared = [] if self.shared_phrase is None else [self.shared_phrase]
        return {
            "generator": Player([*shared, self.own_phrases, self.bar_generators], adam, average=True),
            "discriminator": Player(self.critics, adam),
        }

    def phases(self, loss: Loss, penalties: Mapping[str, Penalty]) -> list[Phase]:
        """One adversarial phase; the jamming model plays one game per track at the same time."""
        games = [self._game(loss, penalties, index) for index in range(len(self.critics))]
        return [Phase("adversarial", [side_by_side(turns) for turns in zip(*games)])]

    def _game(self, loss: Loss, penalties: Mapping[str, Penalty], index: int) -> list[Turn]:
        tracks = slice(index, index + 1) if self.is_jamming else slice(None)

        def fake(batch: Batch) -> Tensor:
            return torch.tanh(self.compose(self.latents(batch.count, batch.rng), tracks))

        return adversarial_turns(
            loss,
            penalties,
            real=lambda batch: batch["roll"][:, tracks].float() * 2 - 1,
            fake=fake,
            critic=self.critics[index],
            critic_repeats=self.config.critic_repeats,
        )

    def latents(self, count: int, rng: Draws) -> Tensor:
        """``(count, 1 + tracks, 2, part)``: first z and zt, then z_i and zt_i of each track, as far as the
        composition model has them."""
        rows = 0 if self.is_jamming else 1
        rows += 0 if self.is_composer else self.tracks
        return rng.randn(rows, 2, self.part)

    def compose(self, latents: Tensor, tracks: slice = slice(None)) -> Tensor:
        """Latents -> ``(N, tracks, bar, step, pitch)``, before the tanh."""
        count = len(latents)

        def over_bars(steady: Tensor, moving: Tensor) -> Tensor:
            """``(N, part)`` and ``(N, bar, part)`` -> ``(N, bar, 2 · part)``."""
            return torch.cat([steady[:, None].expand(-1, self.bars, -1), moving], 2)

        shared = None
        if self.shared_phrase is not None:
            shared = over_bars(latents[:, 0, 0], self.shared_phrase(latents[:, 0, 1]))
            latents = latents[:, 1:]
        if self.is_composer:
            assert shared is not None
            out: Tensor = self.bar_generators[0](shared.flatten(0, 1))
            return out.view(count, self.bars, self.tracks, self.steps, self.pitches).transpose(1, 2)
        bars = []
        for track in range(*tracks.indices(self.tracks)):
            vector = over_bars(latents[:, track, 0], self.own_phrases[track](latents[:, track, 1]))
            vector = vector if shared is None else torch.cat([shared, vector], 2)
            bar = self.bar_generators[track](vector.flatten(0, 1))
            bars.append(bar.view(count, self.bars, self.steps, self.pitches))
        return torch.stack(bars, 1)

    def generate(self, count: int, rng: Draws, request: Request) -> dict[str, Tensor]:
        """``roll (count, track, bar, step, pitch)`` bool."""
        return in_phrases(self, self.bars, count, rng, request)

    def decode(self, latents: Tensor, request: Request) -> dict[str, Tensor]:
        """The phrases of latents; random notes use numbers seeded by the latent itself."""
        options = request.options if isinstance(request.options, MuseGANOptions) else MuseGANOptions()
        logits = self.compose(latents * options.truncation)
        return {"roll": binarise(logits, options.binarisation or self.config.binarisation, options.sounding, latents)}


def initialise(module: nn.Module) -> None:
    """Weights from a normal distribution of standard deviation 0.02 truncated at two of them; biases are zero (first
    release)."""
    if isinstance(module, (nn.ConvTranspose2d, nn.Conv2d, nn.Conv1d, nn.Linear)):
        nn.init.trunc_normal_(module.weight, std=0.02, a=-0.04, b=0.04)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
