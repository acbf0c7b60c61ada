"""FrameGAN: MuseGAN's game with layers over time only, whose channels are the pitches of all tracks at one step.

Latents, phrases and game are MuseGAN's (Dong et al. 2018, arXiv:1709.06298, section 4: the composer's one latent
vector; accompaniment of given tracks by an encoder whose features are concatenated with the generator's, section 4.3).
The layers are a different design, made for two CPU cores instead of a GPU:

    convolutions over bars, beats and steps, with (track, pitch) as channels at the ends: matrix products
    the frame at a step is a sum of outputs at every time scale (Karras et al. 2020, section 4.1: skip generator), so
      that a held note is one number at a coarse scale and not many fine ones that must agree
    of a track of one voice, the samples are the most probable line of single notes and rests
    a gate per track and bar is multiplied with the probability of its notes, so that empty bars are easy to generate
    beside its convolutions, the critic sees how loud the loudest note of each track and bar is
    where rolls mark onsets, tracks have two more channels, whether a note begins and whether what sounds on is struck
      again; a line of single notes changes where one begins

The file is long because it holds the whole design, from layers to game.

The layers are not equivariant to transposition, since pitches are channels: normalise the key of the data, or transpose
them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal

import torch
from gan.adversarial import adversarial_turns
from gan.contracts import FieldSpec, Loss, Penalty, Request
from gan.draws import Draws
from gan.errors import UsageError
from gan.game import Batch, Optimizer, Phase, Player
from gan.recipe import Section
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, pad, relu

from gan_music.architectures.composing import MuseGANOptions, in_phrases
from gan_music.architectures.conditioning import (
    WIDTH,
    ConditionEmbedding,
    condition_values,
    conditions_of,
    counting,
    critic_conditions,
    soft_onset_count,
)
from gan_music.architectures.neurons import BINARISATION, binarise, of_one_voice, one_line, one_line_of_onsets
from gan_music.architectures.onsets import MARKS, in_rows, onsets_of, soft_repetitions
from gan_music.architectures.shape import PhraseShape
from gan_music.tracks import given_places, track_places


class FrameGANConfig(Section):
    """Sizes of the networks, and settings of the game."""

    latent: int = Field(64, ge=2, description="Length of the latent vector.")
    width: int = Field(256, ge=16, multiple_of=4, description="Channels at the scale of bars and beats.")
    critic_width: int | None = Field(
        None, ge=16, multiple_of=4, description="Channels of the critic at those scales; none: `width`."
    )
    beats: int | None = Field(
        None, ge=1, description="Beats of a bar; none: four if that divides the steps, else three, else one."
    )
    given: list[int | str] | Literal["any"] = Field(
        [],
        description="Tracks that are given and accompanied, by name or number (0 is the first); empty: all tracks are "
        "composed; any: the model learns to accompany any subset of the tracks.",
    )
    monophonic: list[int | str] | Literal["all"] = Field(
        [],
        description="Tracks that sound at most one note at a time, by name or number (all: every track): samples have "
        "one pitch or silence at each step.",
    )
    gate: bool = Field(True, description="Whether a gate per track and bar decides if it is played.")
    rhythm: bool = Field(
        False,
        description="Whether the critic sees how many onsets each track has in each bar, and in how many steps they "
        "differ from those of the bar before: rhythms repeat as often as in the data.",
    )
    minibatch_std: int = Field(
        0,
        ge=0,
        description="Size of the groups of phrases whose standard deviation the critic sees, per track and over its "
        "features (Karras et al. 2018, section 3); 0: it judges each phrase alone.",
    )
    neuron: Literal["none", "deterministic", "stochastic"] = Field(
        "none",
        description="What the critic sees: probabilities (none), or notes from binary neurons that fire above one half "
        "(deterministic) or at random (stochastic).",
    )
    initial_density: float = Field(0.02, gt=0, lt=0.5, description="Share of the roll that sounds before training.")
    critic_repeats: int = Field(1, ge=1, description="Updates of the critic per update of the generator.")
    binarisation: Literal["threshold", "bernoulli", "hysteresis"] = Field("hysteresis", description=BINARISATION)


class FrameGANOptions(MuseGANOptions):
    """Options of one call of `generate`."""

    given: str | None = Field(
        None,
        description="Tracks of the model that are given, by name or number (soprano,3); for models with "
        "model.given=any. None: all are composed.",
    )


class Over(nn.Module):
    """A convolution over three neighbours in time, on ``(N, time, channel)``, with zero padding."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inside, 3 * outside, bias=False)
        self.bias = nn.Parameter(torch.zeros(outside))

    def forward(self, cells: Tensor) -> Tensor:
        """``(N, time, inside) -> (N, time, outside)``."""
        before, here, after = self.linear(cells).chunk(3, 2)
        out: Tensor = here + self.bias + pad(before[:, :-1], (0, 0, 1, 0)) + pad(after[:, 1:], (0, 0, 0, 1))
        return out


class Norm(nn.BatchNorm1d):
    """Batch normalisation of ``(N, time, channel)``, then ReLU."""

    def forward(self, cells: Tensor) -> Tensor:
        """The same shape."""
        return relu(super().forward(cells.flatten(0, 1)).view(cells.shape))


class Finer(nn.Module):
    """Upsampling in time by `times`, then a convolution over neighbours."""

    def __init__(self, inside: int, outside: int, times: int) -> None:
        super().__init__()
        self.times = times
        self.split = nn.Linear(inside, times * outside, bias=False)
        self.norm1 = Norm(outside)
        self.over = Over(outside, outside)
        self.norm2 = Norm(outside)

    def forward(self, cells: Tensor) -> Tensor:
        """``(N, time, inside) -> (N, time·times, outside)``."""
        split = self.norm1(self.split(cells).view(len(cells), cells.shape[1] * self.times, -1))
        out: Tensor = self.norm2(self.over(split))
        return out


class Coarser(nn.Module):
    """Downsampling in time by `times`. Nothing mixes samples, so that gradient penalties are well defined."""

    def __init__(self, inside: int, outside: int, times: int) -> None:
        super().__init__()
        self.times = times
        self.linear = nn.Linear(times * inside, outside)

    def forward(self, cells: Tensor) -> Tensor:
        """``(N, time, inside) -> (N, time/times, outside)``."""
        return leaky_relu(self.linear(cells.reshape(len(cells), cells.shape[1] // self.times, -1)), 0.2)


class Listener(nn.Module):
    """Features of frames at every scale, finest first: the trunk of the critic and the encoder of given tracks."""

    def __init__(self, shape: PhraseShape, channels: int, width: int) -> None:
        super().__init__()
        self.part = Coarser(channels, width, shape.fine)
        self.over = Over(width, width // 2)
        self.beat = Coarser(width // 2, width, shape.coarse)
        self.bar = Coarser(width, width, shape.beats)

    def forward(self, frames: Tensor) -> list[Tensor]:
        """``(N, step, channel)`` -> parts of a beat, beats, bars: ``(N, time, …)``."""
        part = leaky_relu(self.over(self.part(frames)), 0.2)
        beat = self.beat(part)
        return [part, beat, self.bar(beat)]


class Generator(nn.Module):
    """``(N, latent)`` -> the probability of each note, and behind them those of onsets and repetitions, if rolls mark
    onsets: ``(N, composed tracks, bar, step, row)``."""

    def __init__(
        self,
        shape: PhraseShape,
        config: FrameGANConfig,
        composed: int,
        rows: int,
        heard: int,
        conditions: Mapping[str, FieldSpec],
    ) -> None:
        super().__init__()
        self.shape, self.composed, self.rows = shape, composed, rows
        width, frame = config.width, composed * rows
        self.ear = Listener(shape, heard, width) if heard else None
        bar, beat, part = (width, width, width // 2) if heard else (0, 0, 0)
        self.told = ConditionEmbedding(conditions, WIDTH) if conditions else None
        self.first = nn.Linear(config.latent + (WIDTH if conditions else 0), shape.bars * width, bias=False)
        self.norm = Norm(width)
        self.bar = Finer(width + bar, width, 1)
        self.beat = Finer(width + beat, width, shape.beats)
        self.part = Finer(width + part, width // 2, shape.coarse)
        self.step = Finer(width // 2, width // 4, shape.fine)
        sizes = (width, width, width // 2, width // 4)
        self.outputs = nn.ModuleList(nn.Linear(size, frame, bias=index == 0) for index, size in enumerate(sizes))
        self.gate = nn.Linear(width, composed) if config.gate else None

    def forward(self, latents: Tensor, given: Tensor | None = None, condition: Tensor | None = None) -> Tensor:
        """``(N, latent)``, frames of the given tracks ``(N, step, channel)``, and ``(N, attributes)``."""
        shape, count = self.shape, len(latents)
        if self.told is not None:
            latents = torch.cat([latents, self.told(condition)], 1)
        cells = self.norm(self.first(latents).view(count, shape.bars, -1))
        heard = [] if self.ear is None or given is None else self.ear(given)
        logits: Tensor | None = None
        played: Tensor | None = None
        for layer, output in zip((self.bar, self.beat, self.part, self.step), self.outputs):
            if heard:
                cells = torch.cat([cells, _mean_over(heard.pop(), cells.shape[1])], 2)
            cells = layer(cells)
            if played is None and self.gate is not None:
                played = torch.sigmoid(self.gate(cells)).transpose(1, 2)[..., None, None]  # (N, track, bar, 1, 1)
            frame = output(cells)
            logits = frame if logits is None else _repeat(logits, layer.times) + frame
        assert logits is not None
        notes = torch.sigmoid(logits).view(count, shape.bars, shape.steps, self.composed, self.rows)
        notes = notes.permute(0, 3, 1, 2, 4)
        return notes if played is None else notes * played


def _mean_over(features: Tensor, length: int) -> Tensor:
    """Means of neighbours in time, so that `length` of them are left."""
    count, time, channels = features.shape
    return features.view(count, length, time // length, channels).mean(2)


def _repeat(cells: Tensor, times: int) -> Tensor:
    """Repeats each position in time `times` times, ``(N, time, channel)``."""
    return cells.unsqueeze(2).expand(-1, -1, times, -1).flatten(1, 2)


def spread(features: Tensor, group: int) -> Tensor:
    """Minibatch standard deviation: ``(N, …)``, the same shape; each phrase has that of its group.

    Groups have the largest size up to `group` that divides N (Karras et al. 2018, arXiv:1710.10196, section 3).
    """
    size = next(n for n in range(min(group, len(features)), 0, -1) if len(features) % n == 0)
    grouped = features.view(size, -1, *features.shape[1:])
    deviation = (grouped.var(0, correction=0) + 1e-8).sqrt()
    return deviation.expand(size, *deviation.shape).flatten(0, 1)


class Critic(nn.Module):
    """``(N, track, bar, step, row)`` in -1 … 1 -> ``(N,)`` raw scores."""

    def __init__(
        self,
        shape: PhraseShape,
        rows: int,
        width: int,
        group: int = 0,
        conditions: Mapping[str, FieldSpec] | None = None,
        played: str = "hysteresis",
        rhythm: bool = False,
    ) -> None:
        super().__init__()
        self.played, self.rhythm = played, rhythm
        self.group = group
        self.pitches = shape.pitches
        self.listener = Listener(shape, shape.tracks * rows, width)
        seen = shape.tracks * (2 if group else 1) + (1 if group else 0) + (shape.tracks if conditions else 0)
        seen += 2 * shape.tracks if rhythm else 0
        self.bars = nn.Linear(width + seen, width)
        self.phrase = nn.Linear(shape.bars * width, width)
        self.score = nn.Linear(width, 1)
        self.told = ConditionEmbedding(conditions, width) if conditions else None
        self.count = counting(conditions)

    def forward(self, roll: Tensor, condition: Tensor | None = None) -> Tensor:
        """``(N, track, bar, step, row)`` and ``(N, attributes)`` -> ``(N,)``.

        With a condition, the score includes its projection on the features (Miyato and Koyama 2018, arXiv:1802.05637),
        and the critic also sees the number of onsets.
        """
        notes_alone = roll[..., : self.pitches]
        loudest = notes_alone.amax((3, 4)).transpose(1, 2)  # (N, bar, track)
        bars = torch.cat([self.listener(frames_of(roll))[-1], loudest], 2)
        if self.group:
            deviation = spread(bars, self.group)
            of_tracks, of_features = deviation[..., -loudest.shape[2] :], deviation[..., : -loudest.shape[2]]
            bars = torch.cat([bars, of_tracks, of_features.mean(2, keepdim=True)], 2)
        if self.told is not None:
            notes = soft_onset_count(notes_alone, self.played)
            if roll.shape[-1] > self.pitches:
                notes = notes + soft_repetitions(roll)
            bars = torch.cat([bars, notes], 2)
        if self.rhythm:
            bars = torch.cat([bars, soft_rhythm(notes_alone, roll[..., self.pitches : self.pitches + 1])], 2)
        features = leaky_relu(self.phrase(leaky_relu(self.bars(bars), 0.2).flatten(1)), 0.2)
        score: Tensor = self.score(features).squeeze(1)
        if self.told is None:
            return score
        score = score + (self.told(condition) * features).sum(1) / features.shape[1] ** 0.5
        return score if self.count is None else score + self.count(condition, notes)


def soft_rhythm(notes: Tensor, begins: Tensor) -> Tensor:
    """``(N, track, bar, step, pitch)`` and ``(N, track, bar, step, 0 or 1)`` in -1 … 1 -> ``(N, bar, 2 · track)``,
    divided by 4: the steps with an onset in each bar, and those in which the onsets differ from those of the bar before
    (0 for the first). A step counts as much as the note that rises most in it, or the row of onsets, 0 … 1."""
    line = notes.flatten(2, 3)
    rises = torch.diff(line, dim=2, prepend=-torch.ones_like(line[:, :, :1])).relu().view(notes.shape)
    onsets = torch.cat([rises, begins + 1], 4).amax(4) / 2
    differ = pad((onsets[:, :, 1:] - onsets[:, :, :-1]).abs().sum(3), (1, 0))
    return torch.cat([onsets.sum(3), differ], 1).transpose(1, 2) / 4


def frames_of(roll: Tensor) -> Tensor:
    """``(N, track, bar, step, row)`` in -1 … 1 -> ``(N, bar·step, track·row)``, 0 silent and 4 sounding.

    Silence, by far the most frequent value, contributes nothing, and the few notes have the scale of other features.
    """
    return 2 * (roll.permute(0, 2, 3, 1, 4).flatten(3).flatten(1, 2) + 1)


class FrameGAN(nn.Module):
    """The adversarial game of the generator and the critic."""

    is_voice: Tensor
    """Which composed tracks are monophonic, ``(track, 1, 1, 1)``."""

    Config = FrameGANConfig
    Options = FrameGANOptions

    def __init__(self, config: FrameGANConfig, fields: Mapping[str, FieldSpec]) -> None:
        super().__init__()
        self.config = config
        self.shape = shape = PhraseShape(fields["roll"].shape, config.beats)
        self.names = fields["roll"].names
        self.any_given = config.given == "any"
        self.given: list[int] = []
        if config.given != "any":
            self.given = sorted(given_places(config.given, self.names, shape.tracks))
        others = [track for track in range(shape.tracks) if track not in self.given]
        order = [*self.given, *others]
        self.places = [order.index(track) for track in range(shape.tracks)]
        single: Collection[int] = range(shape.tracks)
        if config.monophonic != "all":
            single = track_places(config.monophonic, self.names, shape.tracks, "model.monophonic")
        composed = list(range(shape.tracks)) if self.any_given else others
        voices = torch.tensor([track in single for track in composed])
        self.register_buffer("is_voice", voices[:, None, None, None], persistent=False)
        self.has_voices = bool(single)
        self.begins = "onset" in fields
        self.played = ("roll", "onset") if self.begins else ("roll",)
        rows = shape.pitches + MARKS if self.begins else shape.pitches
        heard = shape.tracks * (rows + 1) if self.any_given else len(self.given) * rows
        conditions = conditions_of(fields)
        self.conditions = tuple(conditions)
        self.generator = Generator(shape, config, len(composed), rows, heard, conditions)
        self.critic = Critic(
            shape,
            rows,
            config.critic_width or config.width,
            config.minibatch_std,
            conditions,
            config.binarisation,
            config.rhythm,
        )
        self._initialise(config)

    def _initialise(self, config: FrameGANConfig) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.kaiming_normal_(module.weight, a=0.2)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        outputs = [layer for layer in self.generator.outputs if isinstance(layer, nn.Linear)]
        for output in outputs:
            nn.init.normal_(output.weight, std=0.5 / output.in_features**0.5)
        density = config.initial_density
        if self.generator.gate is not None:
            nn.init.normal_(self.generator.gate.weight, std=0.5 / self.generator.gate.in_features**0.5)
            nn.init.constant_(self.generator.gate.bias, 2.0)  # nearly all bars are played at first
            density /= torch.sigmoid(torch.tensor(2.0)).item()
        nn.init.constant_(outputs[0].bias, torch.logit(torch.tensor(density)).item())

    def given_fields(self, options: FrameGANOptions | None = None) -> tuple[str, ...]:
        """The roll and its onsets, if some of its tracks are given, and the attributes."""
        return (*(self.played if self._given(options) else ()), *self.conditions)

    def given_places(self, options: FrameGANOptions | None = None) -> dict[str, list[int]]:
        """The given tracks of the roll and its onsets, in the order of the request."""
        places = self._given(options)
        return dict.fromkeys(self.played, places) if places else {}

    def _given(self, options: Any) -> list[int]:
        wanted = getattr(options, "given", None)
        if wanted is None:
            return self.given
        if not self.any_given:
            raise UsageError("--given applies only to models trained with model.given=any; leave it out")
        return given_places(wanted.split(","), self.names, self.shape.tracks, "--given")

    def players(self) -> dict[str, Player]:
        """A generator (its weights are averaged) and a critic."""
        adam = Optimizer(lr=1e-3, betas=(0.0, 0.99))
        return {
            "generator": Player(self.generator, adam, average=True),
            "discriminator": Player(self.critic, adam),
        }

    def phases(self, loss: Loss, penalties: Mapping[str, Penalty]) -> list[Phase]:
        """One adversarial phase; a fake phrase has the given tracks of the real one."""

        def fake(batch: Batch) -> Tensor:
            roll = in_rows(self._rolls(batch.fields))
            given = self._some_tracks(batch.rng) if self.any_given else None
            condition = condition_values(self.conditions, batch.fields)
            notes = self.compose(self.latents(batch.count, batch.rng), self._frames(roll, given), condition)
            if self.config.neuron != "none":
                drawn = self.config.neuron == "stochastic"
                fires = notes > (batch.rng.rand(*notes.shape[1:]) if drawn else 0.5)
                notes = notes + (fires.to(notes.dtype) - notes).detach()
            return self._kept(roll, 2 * notes - 1, given)

        turns = adversarial_turns(
            loss,
            penalties,
            real=lambda batch: in_rows(self._rolls(batch.fields)),
            fake=fake,
            critic=self.critic,
            conditions=critic_conditions(self.conditions),
            critic_repeats=self.config.critic_repeats,
        )
        return [Phase("adversarial", turns)]

    def compose(self, latents: Tensor, given: Tensor | None = None, condition: Tensor | None = None) -> Tensor:
        """``(N, latent)``, frames of the given tracks and ``(N, attributes)`` -> probabilities of the others' rows.

        With ``model.given=any`` the result has all tracks.
        """
        out: Tensor = self.generator(latents, given, condition)
        return out

    def _some_tracks(self, rng: Draws) -> Tensor:
        """``(N, track)`` bool: random subsets of the tracks, never all of them."""
        ranks = rng.rand(self.shape.tracks).argsort(1).argsort(1)
        return ranks < rng.randint(self.shape.tracks, 1)

    def _frames(self, roll: Tensor, given: Tensor | None) -> Tensor | None:
        """Frames of the given tracks of ``(N, track, bar, step, row)`` in -1 … 1; None if there are none.

        With ``model.given=any`` the frames have all tracks, the others silent, and one channel per track that says
        whether it is given.
        """
        if given is None:
            return frames_of(roll[:, self.given]) if self.given else None
        frames = frames_of(torch.where(given[:, :, None, None, None], roll, -1.0))
        marks = 4.0 * given[:, None, :].to(frames.dtype)
        return torch.cat([frames, marks.expand(-1, frames.shape[1], -1)], 2)

    def _kept(self, roll: Tensor, composed: Tensor, given: Tensor | None) -> Tensor:
        """The given tracks as they are, and the others as composed."""
        if given is not None:
            return torch.where(given[:, :, None, None, None], roll, composed)
        return torch.cat([roll[:, self.given], composed], 1)[:, self.places] if self.given else composed

    def latents(self, count: int, rng: Draws) -> Tensor:
        """``(count, latent)``."""
        return rng.truncated_normal(self.config.latent)

    def generate(self, count: int, rng: Draws, request: Request) -> dict[str, Tensor]:
        """``roll`` and perhaps ``onset``, ``(count, track, bar, step, pitch)`` bool; given tracks are as they are."""
        if not self._given(request.options):
            return in_phrases(self, self.shape.bars, count, rng, request)
        return self.decode(self.latents(count, rng), request)

    def linear_maps(self) -> list[Tensor]:
        """The first layer, ``(bars · width, latent)``, without the attributes."""
        return [self.generator.first.weight.detach()[:, : self.config.latent]]

    def critic_features(self, samples: Mapping[str, Tensor]) -> list[Tensor]:
        """What the critic hears in the frames at every scale."""
        return self.critic.listener(frames_of(in_rows(self._rolls(samples))))  # type: ignore[no-any-return]

    def decode_smooth(self, latents: Tensor, request: Request) -> dict[str, Tensor]:
        """The probability of each note, ``(N, track, bar, step, pitch)``, and with marked onsets that of its beginning;
        given tracks are as they were given."""
        heard, given, rows = self._composed(latents, request)
        notes = rows[..., : self.shape.pitches]
        made = {"roll": notes, "onset": onsets_of(notes, rows[..., -1:])} if self.begins else {"roll": notes}
        return {name: self._kept(heard[name].float(), values, given) for name, values in made.items()}

    def decode(self, latents: Tensor, request: Request) -> dict[str, Tensor]:
        """The phrases of latents; random notes use numbers seeded by the latent itself."""
        options = request.options if isinstance(request.options, MuseGANOptions) else FrameGANOptions()
        heard, given, rows = self._composed(latents, request)
        how = options.binarisation or self.config.binarisation
        notes, marks = rows[..., : self.shape.pitches], rows[..., self.shape.pitches :]
        lines = torch.ones_like(notes, dtype=torch.bool)
        starts: Tensor | None = None
        if self.has_voices:
            voices = of_one_voice(notes)
            if self.begins and how == "hysteresis":
                sung, starts = one_line_of_onsets(voices, marks[..., :1])
            else:
                sung = one_line(voices, how, latents)
            lines = sung | ~self.is_voice
            if options.sounding is None:
                notes = torch.where(self.is_voice, 1.0, notes)
            else:  # the most likely cells of the lines
                notes = notes * lines
        made = {"roll": lines & binarise(torch.logit(notes, 1e-6) / 2, how, options.sounding, latents)}
        if self.begins:
            each = "bernoulli" if how == "bernoulli" else "threshold"
            again = binarise(torch.logit(marks[..., 1:], 1e-6) / 2, each, None, latents)
            made["onset"] = onsets_of(
                made["roll"], again if starts is None else torch.where(self.is_voice, starts, again)
            )
        return {name: self._kept(heard[name], values, given) for name, values in made.items()}

    def _composed(self, latents: Tensor, request: Request) -> tuple[dict[str, Tensor], Tensor | None, Tensor]:
        """(the rolls that are given, which of their tracks, the probabilities of the composed ones' rows)."""
        options = request.options if isinstance(request.options, MuseGANOptions) else FrameGANOptions()
        shape, places = self.shape, self._given(options)
        silence = torch.zeros(
            len(latents), shape.tracks, shape.bars, shape.steps, shape.pitches, dtype=torch.bool, device=latents.device
        )
        heard = dict.fromkeys(self.played, silence)
        if places:
            if options.bars not in (None, shape.bars):
                raise UsageError(f"an accompaniment has the {shape.bars} bars of the given tracks; leave --bars out")
            if request.given is None or any(name not in request.given for name in self.played):
                raise UsageError("an accompaniment needs a phrase with the tracks to accompany")
            heard = self._rolls(request.given)
        given = None
        if self.any_given:
            given = torch.zeros(len(latents), shape.tracks, dtype=torch.bool, device=latents.device)
            given[:, places] = True
        condition = condition_values(self.conditions, request.given)
        notes = self.compose(latents * options.truncation, self._frames(in_rows(heard), given), condition)
        return heard, given, notes

    def _rolls(self, fields: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: fields[name] for name in self.played}
