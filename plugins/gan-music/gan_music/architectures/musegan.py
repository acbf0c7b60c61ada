"""MuseGAN, the compact networks of its third release, for phrases of any number of tracks.

Dong, Hsiao, Yang, Yang: MuseGAN: Multi-track Sequential Generative Adversarial Networks for Symbolic Music Generation
and Accompaniment, AAAI 2018, arXiv:1709.06298. Section 4 has the three composition models:

    composer   one z                one generator with a head per track           one critic of all tracks
    jamming    one z per track      a generator per track                         a critic per track
    hybrid     shared z, and z_i    a generator per track that sees both of them  one critic of all tracks

Rolls are ``(N, track, bar, step, pitch)``, -1 silent and 1 sounding inside the networks; the convolutions run over bar,
step and pitch. The critic's three streams see the roll, its chroma beat by beat, and where notes begin and end.

One departure from the released code: it normalises the single channel before the final tanh, so that training begins
with half of all notes sounding and stalls on sparse rolls. Here that layer has a bias that is initialised to the
density of music; ``output_norm: true`` restores the released form, with its 2,578,127 and 1,366,865 parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from gan.adversarial import adversarial_turns
from gan.contracts import FieldSpec, Loss, Penalty, Request
from gan.draws import Draws
from gan.game import Optimizer, Phase, Player, Turn
from gan.recipe import Section
from pydantic import Field
from torch import Tensor, nn

from gan_music.architectures.cells import Down, Norm, Up
from gan_music.architectures.composing import MuseGANOptions, bias_of, in_phrases, side_by_side
from gan_music.architectures.conditioning import (
    WIDTH,
    ConditionEmbedding,
    condition_values,
    conditions_of,
    counting,
    critic_conditions,
    soft_onset_count,
)
from gan_music.architectures.neurons import BINARISATION, binarise
from gan_music.architectures.shape import PhraseShape, bool_roll


class MuseGANConfig(Section):
    """Sizes of the networks, and settings of the game."""

    composition: Literal["composer", "jamming", "hybrid"] = Field(
        "composer", description="The composition model: see section 4 of the paper."
    )
    latent: int = Field(
        128,
        ge=2,
        description="Length of the latent vector of a track's generator (hybrid: half shared, half its own).",
    )
    width: int = Field(
        512, ge=32, multiple_of=32, description="Channels of the widest layers; the others are scaled in proportion."
    )
    beats: int | None = Field(
        None, ge=1, description="Beats of a bar; none: four if that divides the steps, else three, else one."
    )
    output_norm: bool = Field(
        False, description="Normalise the channel before the final tanh, as the released code does."
    )
    initial_density: float = Field(0.02, gt=0, lt=0.5, description="Share of the roll that sounds before training.")
    critic_repeats: int = Field(5, ge=1, description="Updates of the critic per update of the generator.")
    binarisation: Literal["threshold", "bernoulli", "hysteresis"] = Field("threshold", description=BINARISATION)


class Head(nn.Module):
    """The last layers of one track: two branches, one upsampling pitch first and one time first, joined."""

    def __init__(self, shape: PhraseShape, width: int, config: MuseGANConfig) -> None:
        super().__init__()
        pitch, time = (1, 1, 12), (1, shape.fine, 1)
        self.pitch_first = nn.Sequential(Up(width // 4, width // 16, pitch), Up(width // 16, width // 32, time))
        self.time_first = nn.Sequential(Up(width // 4, width // 16, time), Up(width // 16, width // 32, pitch))
        self.join = nn.Linear(width // 16, 1)
        self.norm = Norm(1) if config.output_norm else nn.Identity()

    def forward(self, features: Tensor) -> Tensor:
        """``(N, bar, beat·coarse, octave, width/4) -> (N, bar, step, pitch)``, before the tanh."""
        joined = self.join(torch.cat([self.pitch_first(features), self.time_first(features)], 4))
        out: Tensor = self.norm(joined).squeeze(4)
        return out


class Generator(nn.Module):
    """``(N, latent) -> (N, heads, bar, step, pitch)``, before the tanh."""

    def __init__(
        self,
        shape: PhraseShape,
        latent: int,
        heads: int,
        config: MuseGANConfig,
        conditions: Mapping[str, FieldSpec] | None = None,
    ) -> None:
        super().__init__()
        width = config.width
        self.told = ConditionEmbedding(conditions, WIDTH) if conditions else None
        self.trunk = nn.Sequential(
            Up(latent + (WIDTH if conditions else 0), width, (shape.bars, 1, 1)),
            Up(width, width // 2, (1, shape.beats, shape.high)),
            Up(width // 2, width // 4, (1, shape.coarse, shape.span), (1, shape.coarse, 2)),
        )
        self.heads = nn.ModuleList(Head(shape, width, config) for _ in range(heads))

    def forward(self, latent: Tensor, condition: Tensor | None = None) -> Tensor:
        """``(N, latent)`` and ``(N, attributes)`` -> ``(N, heads, bar, step, pitch)``, before the tanh."""
        if self.told is not None:
            latent = torch.cat([latent, self.told(condition)], 1)
        features = self.trunk(latent[:, None, None, None, :])
        return torch.stack([head(features) for head in self.heads], 1)


class TrackView(nn.Module):
    """One branch of the critic per track, after its first layers: both orders of pitch and time, joined."""

    def __init__(self, shape: PhraseShape, width: int) -> None:
        super().__init__()
        self.then_time = Down(width // 32, width // 16, (1, shape.fine, 1))
        self.then_pitch = Down(width // 32, width // 16, (1, 1, 12))
        self.join = Down(width // 8, width // 8, (1, 1, 1))

    def forward(self, by_pitch: Tensor, by_time: Tensor) -> Tensor:
        """``(N, bar, step, octave, width/32)`` and ``(N, bar, beat·coarse, pitch, width/32)`` ->
        ``(N, bar, beat·coarse, octave, width/8)``."""
        joined: Tensor = self.join(torch.cat([self.then_time(by_pitch), self.then_pitch(by_time)], 4))
        return joined


class Critic(nn.Module):
    """``(N, track, bar, step, pitch)`` in -1 … 1 -> ``(N,)`` raw scores."""

    def __init__(
        self,
        shape: PhraseShape,
        tracks: int,
        width: int,
        conditions: Mapping[str, FieldSpec] | None = None,
        played: str = "threshold",
    ) -> None:
        super().__init__()
        self.played = played
        self.shape = shape
        # the first layers of all views in one convolution each
        self.by_pitch = Down(tracks, tracks * width // 32, (1, 1, 12))
        self.by_time = Down(tracks, tracks * width // 32, (1, shape.fine, 1))
        self.views = nn.ModuleList(TrackView(shape, width) for _ in range(tracks))
        self.merge = nn.Sequential(
            Down(tracks * width // 8, width // 4, (1, shape.coarse, shape.span), (1, shape.coarse, 2)),
            Down(width // 4, width // 2, (1, shape.beats, shape.high)),
        )
        self.chroma = nn.Sequential(
            Down(tracks, width // 16, (1, 1, 12)), Down(width // 16, width // 8, (1, shape.beats, 1))
        )
        self.edges = nn.Sequential(
            Down(tracks, width // 32, (1, shape.fine, 1)),
            Down(width // 32, width // 16, (1, shape.coarse, 1)),
            Down(width // 16, width // 8, (1, shape.beats, 1)),
        )
        bars = 2 if shape.bars > 1 else 1
        self.phrase = Down(3 * width // 4 + (tracks if conditions else 0), width, (bars, 1, 1), (1, 1, 1))
        self.score = nn.Linear(width * (shape.bars - bars + 1), 1)
        self.told = ConditionEmbedding(conditions, self.score.in_features) if conditions else None
        self.count = counting(conditions, tracks / shape.tracks)

    def forward(self, roll: Tensor, condition: Tensor | None = None) -> Tensor:
        """``(N, track, bar, step, pitch)`` and ``(N, attributes)`` -> ``(N,)``.

        With a condition, the score includes its projection on the features (Miyato and Koyama 2018, arXiv:1802.05637),
        and the critic also sees the number of onsets.
        """
        features, notes = self.features(roll)
        score: Tensor = self.score(features).squeeze(1)
        if self.told is None or notes is None:
            return score
        score = score + (self.told(condition) * features).sum(1) / features.shape[1] ** 0.5
        return score if self.count is None else score + self.count(condition, notes)

    def features(self, roll: Tensor) -> tuple[Tensor, Tensor | None]:
        """``(N, track, bar, step, pitch)`` in -1 … 1 -> the features before the score, and the number of onsets if
        there are conditions."""
        cells = roll.movedim(1, 4).contiguous()
        first = [layer(cells).chunk(len(self.views), 4) for layer in (self.by_pitch, self.by_time)]
        bars = torch.cat(
            [
                self.merge(torch.cat([view(*inputs) for view, *inputs in zip(self.views, *first)], 4)),
                self.chroma(chroma_of(cells, self.shape.beats)),
                self.edges(edges_of(cells)),
            ],
            4,
        )  # (N, bar, 1, 1, 3/4 width)
        notes = None if self.told is None else soft_onset_count(roll, self.played)
        if notes is not None:
            bars = torch.cat([bars, notes[:, :, None, None, :]], 4)
        return self.phrase(bars).flatten(1), notes


def chroma_of(cells: Tensor, beats: int) -> Tensor:
    """``(N, bar, step, pitch, track) -> (N, bar, beat, 12, track)``: number of sounding cells of each pitch class."""
    count, bars, steps, pitches, tracks = cells.shape
    octaves = cells.reshape(count, bars, beats, steps // beats, pitches // 12, 12, tracks)
    return (octaves + 1).sum((3, 4)) / 2


def edges_of(cells: Tensor) -> Tensor:
    """``(N, bar, step, pitch, track) -> (N, bar, step, 1, track)``: number of onsets minus number of note ends at
    each step."""
    count = (cells + 1).sum(3, keepdim=True).flatten(1, 2) / 2
    change = torch.diff(count, dim=1, prepend=torch.zeros_like(count[:, :1]))
    return change.view(*cells.shape[:3], *change.shape[2:])


class MuseGAN(nn.Module):
    """The adversarial game of the generators and the critics."""

    Config = MuseGANConfig
    Options = MuseGANOptions

    def __init__(self, config: MuseGANConfig, fields: Mapping[str, FieldSpec]) -> None:
        super().__init__()
        self.config = config
        self.shape = shape = PhraseShape(bool_roll(fields, "musegan").shape, config.beats)
        self.names = fields["roll"].names
        self.is_composer = config.composition == "composer"
        self.is_jamming = config.composition == "jamming"
        generators = 1 if self.is_composer else shape.tracks
        heads = shape.tracks if self.is_composer else 1
        self.shared_latent = {"composer": config.latent, "jamming": 0, "hybrid": config.latent // 2}[config.composition]
        self.own_latent = config.latent - self.shared_latent
        critics, seen = (shape.tracks, 1) if self.is_jamming else (1, shape.tracks)
        conditions = conditions_of(fields)
        self.conditions = tuple(conditions)
        self.generators = nn.ModuleList(
            Generator(shape, config.latent, heads, config, conditions) for _ in range(generators)
        )
        self.critics = nn.ModuleList(
            Critic(shape, seen, config.width, conditions, config.binarisation) for _ in range(critics)
        )
        initialise(self, config.width)
        if not config.output_norm:
            for module in self.modules():
                if isinstance(module, Head):
                    nn.init.constant_(module.join.bias, bias_of(config.initial_density))

    def given_fields(self, options: Any = None) -> tuple[str, ...]:
        """The attributes that phrases are conditioned on."""
        return self.conditions

    # the game

    def players(self) -> dict[str, Player]:
        """A generator (its weights are averaged) and a critic; each may consist of several networks."""
        adam = Optimizer(lr=1e-3, betas=(0.5, 0.9))
        return {
            "generator": Player(self.generators, adam, average=True),
            "discriminator": Player(self.critics, adam),
        }

    def phases(self, loss: Loss, penalties: Mapping[str, Penalty]) -> list[Phase]:
        """One adversarial phase; the jamming model plays one game per track at the same time."""
        games = [self._game(loss, penalties, index) for index in range(len(self.critics))]
        return [Phase("adversarial", [side_by_side(turns) for turns in zip(*games)])]

    def _game(self, loss: Loss, penalties: Mapping[str, Penalty], index: int) -> list[Turn]:
        tracks = slice(index, index + 1) if self.is_jamming else slice(None)
        return adversarial_turns(
            loss,
            penalties,
            real=lambda batch: batch["roll"][:, tracks].float() * 2 - 1,
            fake=lambda batch: torch.tanh(
                self.compose(
                    self.latents(batch.count, batch.rng), condition_values(self.conditions, batch.fields), tracks
                )
            ),
            critic=self.critics[index],
            conditions=critic_conditions(self.conditions),
            critic_repeats=self.config.critic_repeats,
        )

    def compose(self, latents: Tensor, condition: Tensor | None = None, tracks: slice = slice(None)) -> Tensor:
        """``(N, 1 or tracks, latent)`` latents and ``(N, attributes)`` -> ``(N, tracks, bar, step, pitch)``, before
        the tanh."""
        if self.is_composer:
            out: Tensor = self.generators[0](latents[:, 0], condition)
            return out
        chosen = range(*tracks.indices(self.shape.tracks))
        return torch.cat([self.generators[track](latents[:, track], condition) for track in chosen], 1)

    # samples

    def settle(self, rng: Draws) -> None:
        """Run the generators, for the statistics of their BatchNorm layers; not with conditions, which only the
        training data have."""
        if not self.conditions:
            self.compose(self.latents(rng.count, rng))

    def latents(self, count: int, rng: Draws) -> Tensor:
        """``(count, 1, latent)`` for the composer, else ``(count, tracks, latent)`` with the shared part repeated."""
        parts = []
        if self.shared_latent:
            repeats = 1 if self.is_composer else self.shape.tracks
            parts.append(rng.truncated_normal(1, self.shared_latent).expand(-1, repeats, -1))
        if self.own_latent:
            parts.append(rng.truncated_normal(self.shape.tracks, self.own_latent))
        return torch.cat(parts, 2)

    def generate(self, count: int, rng: Draws, request: Request) -> dict[str, Tensor]:
        """``roll (count, track, bar, step, pitch)`` bool."""
        return in_phrases(self, self.shape.bars, count, rng, request)

    def latent_parts(self) -> dict[str, Tensor]:
        """Except for the composer, which has one latent for all tracks: the latent of each track."""
        if self.is_composer:
            return {}
        track = torch.arange(self.shape.tracks)[:, None]
        names = self.names or tuple(f"track{number}" for number in range(self.shape.tracks))
        return {name: track == number for number, name in enumerate(names)}

    def linear_maps(self) -> list[Tensor]:
        """The first layers of all generators, each on the latent that it sees, without conditions."""
        maps = []
        for generator in self.generators:
            assert isinstance(generator, Generator)
            first = generator.trunk[0]
            assert isinstance(first, Up)
            maps.append(first.conv.weight.detach()[: self.config.latent].flatten(1).T)
        return [torch.block_diag(*maps)]  # type: ignore[no-untyped-call]

    def critic_features(self, samples: Mapping[str, Tensor]) -> list[Tensor]:
        """What the critics see before their scores, of jamming models side by side."""
        rolls = 2 * samples["roll"].float() - 1
        found = []
        for critic, seen in zip(self.critics, rolls.chunk(len(self.critics), 1), strict=True):
            assert isinstance(critic, Critic)
            found.append(critic.features(seen)[0])
        return [torch.cat(found, 1)]

    def decode_smooth(self, latents: Tensor, request: Request) -> dict[str, Tensor]:
        """The probability of each note, ``(N, track, bar, step, pitch)``."""
        return {"roll": torch.sigmoid(2 * self._logits(latents, request))}

    def _logits(self, latents: Tensor, request: Request) -> Tensor:
        options = request.options if isinstance(request.options, MuseGANOptions) else MuseGANOptions()
        return self.compose(latents * options.truncation, condition_values(self.conditions, request.given))

    def decode(self, latents: Tensor, request: Request) -> dict[str, Tensor]:
        """The phrases of latents; random notes use numbers seeded by the latent itself."""
        options = request.options if isinstance(request.options, MuseGANOptions) else MuseGANOptions()
        logits = self._logits(latents, request)
        return {"roll": binarise(logits, options.binarisation or self.config.binarisation, options.sounding, latents)}


def initialise(network: nn.Module, width: int) -> None:
    """Weights from a normal distribution truncated at two standard deviations; biases are zero.

    The standard deviation is the released code's 0.05 at its width of 512. It is larger in narrower networks, whose
    sums have fewer terms, so that signals keep their scale.
    """
    deviation = 0.05 * (512 / width) ** 0.5
    for module in network.modules():
        if isinstance(module, (nn.ConvTranspose3d, nn.Conv3d, nn.Linear)):
            nn.init.trunc_normal_(module.weight, std=deviation, a=-2 * deviation, b=2 * deviation)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
