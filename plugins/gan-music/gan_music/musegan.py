"""MuseGAN, the compact networks of its third release, for phrases of any number of tracks.

Dong, Hsiao, Yang, Yang: MuseGAN: Multi-track Sequential Generative Adversarial Networks for Symbolic Music Generation
and Accompaniment, AAAI 2018, arXiv:1709.06298. Section 4 has the three composition models:

    composer   one z            one generator with a head a track        one critic of all tracks
    jamming    one z a track    a generator a track                      a critic a track
    hybrid     z and z a track  a generator a track sees both of them    one critic of all tracks

Rolls are ``(N, track, bar, step, pitch)``, -1 silent and 1 sounding inside the networks; the convolutions run over bar,
step and pitch. The critic's three streams see the roll, its chroma beat by beat, and where notes begin and end.

One departure from the released code: it normalises the one channel before the final tanh, which begins with half of all
notes sounding and stalls on sparse rolls. Here that layer has a bias that begins at the density of music;
``output_norm: true`` brings the released form back, with its 2,578,127 and 1,366,865 parameters.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import torch
from gan.adversarial import adversarial_turns
from gan.contracts import FieldSpec, Loss, Penalty, Request
from gan.draws import Draws
from gan.errors import UsageError
from gan.game import Batch, Optimizer, Phase, Player, Turn
from gan.recipe import Section
from pydantic import BaseModel, Field
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, relu

from gan_music.conditioning import (
    WIDTH,
    ConditionEmbedding,
    conditions_of,
    counting,
    soft_onset_count,
    told_of,
    values_of,
)
from gan_music.neurons import HOW, binarise


class MuseGANConfig(Section):
    """The size of the networks and how the game is played."""

    composition: Literal["composer", "jamming", "hybrid"] = Field(
        "composer", description="Who composes: see the paper's section 4."
    )
    latent: int = Field(
        128,
        ge=2,
        description="Length of the latent vector that a track's generator sees (hybrid: half shared, half its own).",
    )
    width: int = Field(
        512, ge=32, multiple_of=32, description="Channels of the widest layers; the others keep their proportion."
    )
    beats: int | None = Field(
        None, ge=1, description="Beats of a bar; none: four when the steps allow it, else three, else one."
    )
    output_norm: bool = Field(
        False, description="Normalise the channel before the final tanh as the released code does."
    )
    initial_density: float = Field(0.02, gt=0, lt=0.5, description="Share of the roll that sounds before training.")
    critic_repeats: int = Field(5, ge=1, description="Updates of the critic for one of the generator.")
    binarisation: Literal["threshold", "bernoulli", "hysteresis"] = Field("threshold", description=HOW)


class MuseGANOptions(BaseModel):
    """What one call of `generate` may choose."""

    model_config = {"extra": "forbid"}

    binarisation: Literal["threshold", "bernoulli", "hysteresis"] | None = Field(
        None, description="threshold, bernoulli or hysteresis; none: the recipe's."
    )
    sounding: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Share of a phrase's cells that sound: the likeliest ones are taken. None: as trained.",
    )
    bars: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="Length in bars, a multiple of a phrase's: phrases on the way from one latent to another, joined.",
    )
    truncation: float = Field(
        1.0, gt=0, le=1, description="Scale of the latent vectors; below 1 more typical and less varied."
    )


class Shape:
    """How a bar and the pitches are divided among the layers."""

    def __init__(self, shape: tuple[int, ...], beats: int | None) -> None:
        if len(shape) != 4 or shape[3] % 12:
            raise UsageError(f"musegan reads rolls (track, bar, step, pitch) of whole octaves, not {shape}")
        self.tracks, self.bars, self.steps, self.pitches = shape
        self.beats = beats or next(n for n in (4, 3, 1) if self.steps % n == 0)
        if self.steps % self.beats:
            raise UsageError(f"model.beats {self.beats} does not divide the {self.steps} steps of a bar")
        beat = self.steps // self.beats
        self.coarse = next(n for n in range(1, beat + 1) if beat % n == 0 and n * n >= beat)
        self.fine = beat // self.coarse
        octaves = self.pitches // 12
        self.high = max(1, octaves // 2)
        """The octaves grow from one to `high` and, two apart with a kernel of `span`, to all of them."""
        self.span = octaves - 2 * (self.high - 1)


class Up(nn.Module):
    """A transposed convolution, batch normalisation, ReLU, on ``(N, bar, step, pitch, channel)``.

    Where the stride is the kernel, which is nearly everywhere, each cell becomes a block of cells by one product of
    matrices: on a CPU several times faster than the general convolution, with the same weights.
    """

    def __init__(
        self, inside: int, outside: int, kernel: tuple[int, int, int], stride: tuple[int, int, int] | None = None
    ) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose3d(inside, outside, kernel, stride or kernel)
        self.norm = Norm(outside)

    def forward(self, cells: Tensor) -> Tensor:
        """The cells, more of them."""
        return relu(self.norm(spread(cells, self.conv)))


class Norm(nn.BatchNorm1d):
    """Batch normalisation of ``(…, channel)``.

    torch's own is slow where a million rows have four channels: here rows stand beside each other until there are some
    64 columns, whose means are averaged.
    """

    def forward(self, cells: Tensor) -> Tensor:
        """``(…, channel)``, the same shape."""
        rows = cells.numel() // self.num_features
        beside = max(1, 64 // self.num_features)
        if not self.training or rows % beside:
            return super().forward(cells.reshape(rows, -1)).view(cells.shape)
        wide = cells.reshape(-1, beside * self.num_features).float()  # statistics of bf16 would be too coarse
        mean = self._column(wide.mean(0), beside)
        centred = wide - mean.repeat(beside)
        variance = self._column(centred.square().mean(0), beside)
        with torch.no_grad():
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.num_batches_tracked is not None
            share = 0.0 if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean, share)
            self.running_var.lerp_(variance * (rows / max(rows - 1, 1)), share)
            self.num_batches_tracked.add_(1)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        normal = torch.addcmul(self.bias.repeat(beside), centred, scale.repeat(beside))
        return normal.view(cells.shape).to(cells.dtype)

    def _column(self, values: Tensor, beside: int) -> Tensor:
        return values.view(beside, self.num_features).mean(0)


class Down(nn.Module):
    """A convolution and a leaky ReLU, on ``(N, bar, step, pitch, channel)``; nothing that mixes samples, for the
    gradient penalty's sake. Blocks of cells become one cell by one product of matrices."""

    def __init__(
        self, inside: int, outside: int, kernel: tuple[int, int, int], stride: tuple[int, int, int] | None = None
    ) -> None:
        super().__init__()
        self.conv = nn.Conv3d(inside, outside, kernel, stride or kernel)

    def forward(self, cells: Tensor) -> Tensor:
        """The cells, fewer of them."""
        return leaky_relu(gather(cells, self.conv), 0.2)


def spread(cells: Tensor, conv: nn.ConvTranspose3d) -> Tensor:
    """``conv`` of cells with the channels last."""
    if conv.kernel_size != conv.stride:
        return conv(cells.movedim(4, 1)).movedim(1, 4).contiguous()
    count, bars, steps, pitches, inside = cells.shape
    a, b, c = conv.kernel_size
    weight = conv.weight.permute(0, 2, 3, 4, 1).flatten(1)  # (in, a·b·c·out)
    blocks = (cells.reshape(-1, inside) @ weight).view(count, bars, steps, pitches, a, b, c, -1)
    cells = blocks.permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(count, bars * a, steps * b, pitches, -1)
    return (cells + conv.bias.repeat(c)).view(count, bars * a, steps * b, pitches * c, -1)  # type: ignore[union-attr]


def gather(cells: Tensor, conv: nn.Conv3d) -> Tensor:
    """``conv`` of cells with the channels last."""
    assert conv.bias is not None
    a, b, c = conv.kernel_size
    if conv.kernel_size == conv.stride:
        count, bars, steps, pitches, inside = cells.shape
        blocks = cells.reshape(count, bars // a, a, steps // b, b, pitches // c, c, inside).permute(
            0, 1, 3, 5, 2, 4, 6, 7
        )
    else:
        windows = cells
        for axis, (size, step) in enumerate(zip(conv.kernel_size, conv.stride), 1):
            windows = windows.unfold(axis, size, step)
        blocks = windows.movedim(4, 7)
    weight = conv.weight.permute(0, 2, 3, 4, 1).flatten(1)  # (out, a·b·c·in)
    rows = blocks.reshape(-1, weight.shape[1])
    return torch.addmm(conv.bias, rows, weight.t()).view(*blocks.shape[:4], -1)


class Head(nn.Module):
    """The last layers of one track: pitches first then time, and time first then pitches, joined."""

    def __init__(self, shape: Shape, width: int, config: MuseGANConfig) -> None:
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
        shape: Shape,
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

    def forward(self, latent: Tensor, told: Tensor | None = None) -> Tensor:
        """``(N, latent) -> (N, heads, bar, step, pitch)``, before the tanh; with ``(N, attributes)`` asked for."""
        if self.told is not None:
            latent = torch.cat([latent, self.told(told)], 1)
        features = self.trunk(latent[:, None, None, None, :])
        return torch.stack([head(features) for head in self.heads], 1)


class TrackView(nn.Module):
    """The critic's look at the roll for one track, after its first layers: both orders of pitch and time, joined."""

    def __init__(self, shape: Shape, width: int) -> None:
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
        shape: Shape,
        tracks: int,
        width: int,
        conditions: Mapping[str, FieldSpec] | None = None,
        played: str = "threshold",
    ) -> None:
        super().__init__()
        self.played = played
        self.shape = shape
        # the first layers of all views at once: the same weights as one a view
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

    def forward(self, roll: Tensor, told: Tensor | None = None) -> Tensor:
        """``(N, track, bar, step, pitch) -> (N,)``; with ``(N, attributes)`` that the phrase should have, their
        projection on the features as well (Miyato and Koyama 2018, arXiv:1802.05637). It then sees, too, how many
        notes begin."""
        cells = roll.movedim(1, 4).contiguous()
        first = [layer(cells).chunk(len(self.views), 4) for layer in (self.by_pitch, self.by_time)]
        bars = torch.cat(
            [
                self.merge(torch.cat([view(*looks) for view, *looks in zip(self.views, *first)], 4)),
                self.chroma(chroma_of(cells, self.shape.beats)),
                self.edges(edges_of(cells)),
            ],
            4,
        )  # (N, bar, 1, 1, 3/4 width)
        if self.told is not None:
            notes = soft_onset_count(roll, self.played)
            bars = torch.cat([bars, notes[:, :, None, None, :]], 4)
        features = self.phrase(bars).flatten(1)
        score: Tensor = self.score(features).squeeze(1)
        if self.told is None:
            return score
        score = score + (self.told(told) * features).sum(1) / features.shape[1] ** 0.5
        return score if self.count is None else score + self.count(told, notes)


def chroma_of(cells: Tensor, beats: int) -> Tensor:
    """``(N, bar, step, pitch, track) -> (N, bar, beat, 12, track)``: how many cells sound of each pitch class."""
    octaves = cells.unflatten(2, (beats, -1)).unflatten(4, (-1, 12))
    return (octaves + 1).sum((3, 4)) / 2


def edges_of(cells: Tensor) -> Tensor:
    """``(N, bar, step, pitch, track) -> (N, bar, step, 1, track)``: notes that begin less notes that end at each
    step."""
    count = (cells + 1).sum(3, keepdim=True).flatten(1, 2) / 2
    return torch.diff(count, dim=1, prepend=torch.zeros_like(count[:, :1])).unflatten(1, cells.shape[1:3])


class MuseGAN(nn.Module):
    """The game of the generators and the critic."""

    Config = MuseGANConfig
    Options = MuseGANOptions

    def __init__(self, config: MuseGANConfig, fields: Mapping[str, FieldSpec]) -> None:
        super().__init__()
        self.config = config
        self.shape = shape = Shape(fields["roll"].shape, config.beats)
        self.peers = config.composition == "composer"
        self.apart = config.composition == "jamming"
        generators = 1 if self.peers else shape.tracks
        heads = shape.tracks if self.peers else 1
        self.shared_latent = {"composer": config.latent, "jamming": 0, "hybrid": config.latent // 2}[config.composition]
        self.own_latent = config.latent - self.shared_latent
        critics, seen = (shape.tracks, 1) if self.apart else (1, shape.tracks)
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
                    nn.init.constant_(module.join.bias, bias_of(config.initial_density))  # type: ignore[arg-type]

    def given_fields(self, options: Any = None) -> tuple[str, ...]:
        """The attributes of phrases, where the data have some."""
        return self.conditions

    # the game

    def players(self) -> dict[str, Player]:
        """A generator (its weights are averaged) and a critic, whatever number of networks each is made of."""
        adam = Optimizer(lr=1e-3, betas=(0.5, 0.9))
        return {
            "generator": Player(self.generators, adam, average=True),
            "discriminator": Player(self.critics, adam),
        }

    def phases(self, loss: Loss, penalties: Mapping[str, Penalty]) -> list[Phase]:
        """One adversarial phase; in the jamming model as many games at once as there are tracks."""
        games = [self._game(loss, penalties, index) for index in range(len(self.critics))]
        return [Phase("adversarial", [side_by_side(turns) for turns in zip(*games)])]

    def _game(self, loss: Loss, penalties: Mapping[str, Penalty], index: int) -> list[Turn]:
        tracks = slice(index, index + 1) if self.apart else slice(None)
        return adversarial_turns(
            loss,
            penalties,
            real=lambda batch: batch["roll"][:, tracks].float() * 2 - 1,
            fake=lambda batch: torch.tanh(
                self.compose(self.latents(batch.count, batch.rng), values_of(self.conditions, batch.fields), tracks)
            ),
            critic=self.critics[index],
            conditions=told_of(self.conditions),
            critic_repeats=self.config.critic_repeats,
        )

    def compose(self, latents: Tensor, told: Tensor | None = None, tracks: slice = slice(None)) -> Tensor:
        """``(N, 1 or tracks, latent)`` latents and ``(N, attributes)`` -> ``(N, tracks, bar, step, pitch)``, before
        the tanh."""
        if self.peers:
            out: Tensor = self.generators[0](latents[:, 0], told)
            return out
        chosen = range(*tracks.indices(self.shape.tracks))
        return torch.cat([self.generators[track](latents[:, track], told) for track in chosen], 1)

    # samples

    def latents(self, count: int, rng: Draws) -> Tensor:
        """``(count, 1, latent)`` for the composer, else ``(count, tracks, latent)`` with the shared part repeated."""
        parts = []
        if self.shared_latent:
            repeats = 1 if self.peers else self.shape.tracks
            parts.append(rng.truncated_normal(1, self.shared_latent).expand(-1, repeats, -1))
        if self.own_latent:
            parts.append(rng.truncated_normal(self.shape.tracks, self.own_latent))
        return torch.cat(parts, 2)

    def generate(self, count: int, rng: Draws, request: Request) -> dict[str, Tensor]:
        """``roll (count, track, bar, step, pitch)`` bool."""
        return in_phrases(self, self.shape.bars, count, rng, request)

    def decode(self, latents: Tensor, request: Request) -> dict[str, Tensor]:
        """The phrases of given latents; drawing notes uses numbers that the latent itself seeds."""
        options = request.options if isinstance(request.options, MuseGANOptions) else MuseGANOptions()
        logits = self.compose(latents * options.truncation, values_of(self.conditions, request.given))
        return {"roll": binarise(logits, options.binarisation or self.config.binarisation, options.sounding, latents)}


def in_phrases(model: Any, bars: int, count: int, rng: Draws, request: Request) -> dict[str, Tensor]:
    """One phrase of `bars` bars, or the wanted number of them: decoded at equal steps of the arc between two
    latents, joined."""
    begin = model.latents(count, rng)
    wanted = getattr(request.options, "bars", None)
    if wanted is None or wanted == bars:
        return dict(model.decode(begin, request))
    if wanted % bars:
        raise UsageError(f"--bars {wanted} is no multiple of the {bars} bars of a phrase")
    end, parts = model.latents(count, rng), wanted // bars
    angles = [torch.tensor(torch.pi / 2 * part / (parts - 1)) for part in range(parts)]
    rolls = [model.decode(begin * angle.cos() + end * angle.sin(), request)["roll"] for angle in angles]
    return {"roll": torch.cat(rolls, 2)}


def side_by_side(turns: tuple[Turn, ...]) -> Turn:
    """One turn that plays the same turn of several independent games; their losses add up."""
    if len(turns) == 1:
        return turns[0]

    def objective(batch: Batch) -> dict[str, Tensor]:
        total: dict[str, Tensor] = {}
        for index, turn in enumerate(turns):
            own = dataclasses.replace(batch, shared=batch.shared.setdefault(f"game {index}", {}))
            for name, value in turn.objective(own).items():
                total[name] = total[name] + value if name in total else value
        return total

    return dataclasses.replace(turns[0], objective=objective)


def initialise(network: nn.Module, width: int) -> None:
    """Weights from a normal distribution cut at two deviations, no biases.

    The deviation is the released code's 0.05 at its width of 512, and larger in narrower networks as their sums have
    fewer
    terms, so that signals keep their size.
    """
    deviation = 0.05 * (512 / width) ** 0.5
    for module in network.modules():
        if isinstance(module, (nn.ConvTranspose3d, nn.Conv3d, nn.Linear)):
            nn.init.trunc_normal_(module.weight, std=deviation, a=-2 * deviation, b=2 * deviation)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def bias_of(density: float) -> float:
    """The bias b whose tanh lies at a share `density` of the way from -1 to 1."""
    return float(torch.atanh(torch.tensor(2 * density - 1)))
