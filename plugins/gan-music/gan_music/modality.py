"""Phrases of music: files of notes become piano rolls ``(track, bar, step, pitch)``, and rolls become MIDI files.

The representation is MuseGAN's (Dong et al. 2018, section 4; methods of its three releases): a few bars of one metre,
a fixed number of steps a beat, one row a pitch, tracks by families of instruments.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from gan import contracts
from gan.errors import BadData
from gan.recipe import Section
from pydantic import BaseModel, Field, field_validator, model_validator

from gan_music import attributes, rolls
from gan_music.key import estimate_key, shift_to
from gan_music.score import Score, read_score
from gan_music.tracks import Rule, Track, assign, resolve

if TYPE_CHECKING:
    from gan.contracts import Given, Sample, Samples
    from gan.source import SourceFile
    from PIL import Image


class MusicConfig(Section):
    """What a phrase is, and what is taken from the files."""

    tracks: str | dict[str, list[Rule]] = Field(
        "compact",
        description="A profile (compact, paper, lpd-8, chorale, pop909, lead-sheet), or track names with their rules: "
        "programs (80-87), drums, others, names in the file (MELODY, *bass*), #2 for the second track.",
    )
    programs: dict[str, int] = Field(
        default_factory=dict,
        description="General MIDI program (0-127) that a track is written with, where it is not the usual one.",
    )
    meter: str = Field("4/4", description="Time signature of the bars: 4/4, 3/4, 6/8 …")
    exact_meter: bool = Field(
        False,
        description="Take only that time signature; else also those whose bars fill its bars evenly (2/2, 2/4, 1/4 "
        "for 4/4).",
    )
    bars: int = Field(4, ge=1, le=64, description="Bars of a phrase.")
    steps_per_beat: int = Field(
        12, ge=1, le=96, description="Time steps of a quarter note; 12 holds sixteenths and triplets."
    )
    lowest: int = Field(24, ge=0, le=127, description="Lowest pitch, as a MIDI number (24: C1).")
    pitches: int = Field(84, ge=12, le=120, description="How many semitones up from the lowest; a multiple of 12.")
    outside: Literal["fold", "drop"] = Field(
        "fold", description="Notes outside these pitches: moved by octaves, or left out."
    )
    transpose: list[int] = Field(
        [0],
        min_length=1,
        max_length=24,
        description="Each phrase is stored once for each of these shifts in semitones (never drums).",
    )
    normalize_key: bool = Field(
        False, description="Move every file to C major or A minor, by the key estimated from its notes."
    )
    stride: int | None = Field(
        None, ge=1, description="Bars from the beginning of one phrase to the next; none: `bars`."
    )
    phrases_per_file: int = Field(0, ge=0, description="At most so many phrases of a file, spread evenly; 0: all.")
    min_notes: int = Field(1, ge=1, description="Phrases with fewer notes are left out.")
    min_tracks: int = Field(1, ge=1, description="Phrases in which fewer tracks play are left out.")
    min_length: int = Field(
        0, ge=0, description="Pitched notes shorter than this, in steps before rounding up to one, are left out."
    )
    attributes: list[Literal["density", "register"]] = Field(
        [],
        description="What a model is told of each phrase and may be asked for: density (notes a bar), register (mean "
        "pitch).",
    )
    tempo: float = Field(100.0, ge=20, le=400, description="Quarter notes a minute of written files.")

    @field_validator("tracks", mode="before")
    @classmethod
    def _single_rules(cls, value: Any) -> Any:
        if isinstance(value, dict):
            return {str(name): rules if isinstance(rules, list) else [rules] for name, rules in value.items()}
        return value

    @field_validator("meter")
    @classmethod
    def _known_meter(cls, value: str) -> str:
        parse_meter(value)
        return value

    @model_validator(mode="after")
    def _consistent(self) -> MusicConfig:
        resolve(self.tracks, self.programs)
        if self.pitches % 12:
            raise ValueError("pitches must be a multiple of 12, whole octaves")
        if self.lowest + self.pitches > 128:
            raise ValueError("lowest + pitches must not exceed 128, the MIDI range")
        if any(abs(shift) > 12 for shift in self.transpose) or len(set(self.transpose)) != len(self.transpose):
            raise ValueError("transpose holds different shifts from -12 to 12")
        if len(set(self.attributes)) != len(self.attributes):
            raise ValueError("attributes names each once")
        if quarters(parse_meter(self.meter)) * self.steps_per_beat % 1:
            raise ValueError(
                f"a bar of {self.meter} has no whole number of steps with {self.steps_per_beat} a quarter note"
            )
        return self


def parse_meter(text: str) -> tuple[int, int]:
    """``"6/8"`` -> ``(6, 8)``. Raises `ValueError`."""
    above, _, below = text.partition("/")
    if not (above.isdigit() and below.isdigit() and 1 <= int(above) <= 32 and int(below) in (1, 2, 4, 8, 16)):
        raise ValueError("a time signature looks like 4/4, 3/4 or 6/8")
    return int(above), int(below)


def quarters(meter: tuple[int, int]) -> float:
    """Length of a bar in quarter notes."""
    return meter[0] * 4 / meter[1]


def fills(meter: tuple[int, int], wanted: tuple[int, int]) -> bool:
    """Whether whole bars of `meter` make bars of `wanted` with the same division of the beat."""
    compound = [m[1] >= 8 and m[0] % 3 == 0 for m in (meter, wanted)]
    return compound[0] == compound[1] and quarters(wanted) % quarters(meter) == 0


class MusicOptions(BaseModel):
    """What can be chosen when phrases are written as files."""

    model_config = {"extra": "forbid"}

    tempo: float | None = Field(None, ge=20, le=400, description="Quarter notes a minute; none: the recipe's.")
    key: str | None = Field(
        None, description="Move the music to this key (C, F#, Am, Bb minor …) by the nearest way; never drums."
    )
    instruments: str | None = Field(
        None,
        description="Tracks that play, with a program where wished: drums,bass,piano=4. None: all with their usual "
        "programs.",
    )
    render: Literal["none", "wav", "ogg", "mp3"] = Field("none", description="Write a sound file beside the MIDI file.")
    velocity: int = Field(96, ge=1, le=127, description="How hard every note is struck, 1-127.")
    swing: float = Field(
        0.0, ge=0, le=1, description="Delay of every second eighth note, as a share of a third of a beat."
    )


class MusicGivenOptions(BaseModel):
    """What can be chosen when a file is given to be accompanied."""

    model_config = {"extra": "forbid"}

    track: str | None = Field(
        None,
        description="Which track of the file plays the given track of the model: its number (0 is the first with "
        "notes) or name; several in the order of the model's, 0,2; with + where several play one, 0+1. None: as the "
        "tracks of the training files were told apart.",
    )
    piece: int | None = Field(None, ge=0, description="Which piece of a collection (ABC, JSON); 0 is the first.")


class Music(contracts.Modality):
    """Piano rolls of a few bars and several tracks."""

    Config = MusicConfig
    Options = MusicOptions
    GivenOptions = MusicGivenOptions
    whole_input = "accompany"
    conditions = {
        "density": "modality.attributes=[density]",
        "register": "modality.attributes=[register]",
    }
    suffixes = (".mid", ".midi", ".kar", ".musicxml", ".mxl", ".xml", ".abc", ".json")
    metrics = ("music-statistics", "fid[phrases]")

    def __init__(self, config: BaseModel, facts: Mapping[str, Any] | None = None) -> None:
        super().__init__(config, facts)
        self.tracks: tuple[Track, ...] = resolve(self.config.tracks, self.config.programs)
        self.meter = parse_meter(self.config.meter)
        self.steps = round(quarters(self.meter) * self.config.steps_per_beat)
        """Steps of a bar."""

    @property
    def fields(self) -> dict[str, contracts.FieldSpec]:
        """``roll``: ``(tracks, bars, steps of a bar, pitches)``, true where a note sounds (drums: where one is
        struck)."""
        shape = (len(self.tracks), self.config.bars, self.steps, self.config.pitches)
        names = tuple(track.name for track in self.tracks)
        roll = contracts.FieldSpec(shape, "bool", 0, 1, "note on", longer=True, longer_axis=1, names=names)
        return {"roll": roll, **{name: attributes.field(name, self) for name in self.config.attributes}}

    # reading

    def read(self, file: SourceFile) -> Iterator[Sample]:
        """The phrases of one file, in order. Raises `BadData` when there are none."""
        for piece in read_score(file):
            yield from self.phrases(piece)

    def inventory(self, file: SourceFile) -> dict[str, int]:
        """Instruments by their General MIDI names, and the track that they go to -> their notes."""
        import pretty_midi

        found: dict[str, int] = {}
        for piece in read_score(file):
            for part, track in zip(piece.parts, assign(piece.parts, self.tracks)):
                name = "drums" if part.drums else pretty_midi.program_to_instrument_name(part.program).lower()
                goes = "left out" if track is None else f"track {self.tracks[track].name}"
                key = f"notes of {name} ({goes})" if part.drums else f"notes of {name}, program {part.program} ({goes})"
                found[key] = found.get(key, 0) + len(part.notes)
        return {key: count for key, count in found.items() if count}

    def phrases(self, score: Score) -> Iterator[Sample]:
        """The phrases of a piece. Raises `BadData` when there are none."""
        config = self.config
        chosen = assign(score.parts, self.tracks)
        if all(track is None for track in chosen):
            programs = sorted({"drums" if part.drums else str(part.program) for part in score.parts})
            names = ", ".join(track.name for track in self.tracks)
            raise BadData(
                f"none of its instruments (programs {', '.join(programs)[:60]}) belongs to the tracks {names}"
            )
        notes = self.on_grid(score, chosen)
        home = self.to_c(score) if config.normalize_key else 0
        found: list[np.ndarray[Any, Any]] = []
        passages = self.passages(score)
        short = (
            int(rolls.to_steps(np.array(score.end), score.division, config.steps_per_beat)) < config.bars * self.steps
        )
        for first, last in passages:
            if last - first >= config.bars * self.steps or short:
                found += self._cut(self.roll(notes, first, last))
        if not found:
            raise BadData(self.why_none(score, passages))
        if 0 < config.phrases_per_file < len(found):
            picked = np.linspace(0, len(found) - 1, config.phrases_per_file).round().astype(int)
            found = [found[index] for index in picked]
        pitched = np.array([not track.drums for track in self.tracks])
        for phrase in found:
            for shift in config.transpose:
                yield self.sample(rolls.transpose(phrase, home + shift, pitched))

    def sample(self, roll: np.ndarray[Any, Any]) -> Sample:
        """A phrase with its attributes."""
        values = {name: attributes.ATTRIBUTES[name](roll, self) for name in self.config.attributes}
        return {"roll": roll, **{name: np.asarray(value, np.float32) for name, value in values.items()}}

    def on_grid(self, score: Score, chosen: list[int | None]) -> np.ndarray[Any, Any]:
        """``(n, 4)``: track, first step, step after the last, row of the roll; pitches folded or dropped."""
        config, parts = self.config, []
        for part, track in zip(score.parts, chosen):
            if track is None or not len(part.notes):
                continue
            start, end = (rolls.to_steps(part.notes[:, c], score.division, config.steps_per_beat) for c in (0, 1))
            drums = self.tracks[track].drums
            end = start + 1 if drums else np.maximum(end, start + 1)
            row = part.notes[:, 2] - config.lowest
            inside = (row >= 0) & (row < config.pitches)
            if config.outside == "fold" and not drums:
                row = np.where(row < 0, row % 12, np.where(inside, row, config.pitches - 12 + row % 12))
                inside = np.ones_like(inside)
            if config.min_length and not drums:
                ticks = part.notes[:, 1] - part.notes[:, 0]
                inside &= ticks * config.steps_per_beat >= config.min_length * score.division
            parts.append(np.stack([np.full_like(start, track), start, end, row], axis=1)[inside])
        notes = np.concatenate(parts) if parts else np.zeros((0, 4), np.int64)
        return rolls.separated(notes)

    def passages(self, score: Score) -> list[tuple[int, int]]:
        """(first step, step after the last bar that sounds) of each stretch whose bars have the wanted metre."""
        per_beat, last = self.config.steps_per_beat, score.end
        changes = [change for change in score.meters if change[0] < last]
        if not changes or changes[0][0] > 0:
            changes.insert(0, (0, 4, 4))
        found: list[tuple[int, int]] = []
        for (tick, above, below), after in zip(changes, [*(c[0] for c in changes[1:]), last]):
            if after <= tick or not self._takes((above, below)):
                continue
            begin, end = (int(rolls.to_steps(np.array(t), score.division, per_beat)) for t in (tick, after))
            same_bars = found and found[-1][1] == begin and (begin - found[-1][0]) % self.steps == 0
            if same_bars:  # a time signature repeated where a bar begins anyway
                found[-1] = (found[-1][0], end)
            elif end > begin:
                found.append((begin, end))
        return found

    def _takes(self, meter: tuple[int, int]) -> bool:
        return meter == self.meter or (not self.config.exact_meter and fills(meter, self.meter))

    def roll(self, notes: np.ndarray[Any, Any], first: int, last: int) -> np.ndarray[Any, Any]:
        """``(track, bar, step, pitch)`` of one passage, the last bar filled with silence."""
        bars = -(-(last - first) // self.steps)
        roll = np.zeros((len(self.tracks), bars * self.steps, self.config.pitches), bool)
        here = notes[(notes[:, 1] < last) & (notes[:, 2] > first)]
        for track, start, end, row in here.tolist():
            roll[track, max(start - first, 0) : min(end, last) - first, row] = True
        return roll.reshape(len(self.tracks), bars, self.steps, self.config.pitches)

    def _cut(self, roll: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
        """The phrases of a passage. A piece that is shorter than a phrase is filled with silence (a short passage of a
        longer
        piece, such as an upbeat, is left out before this); of a longer one the silent bars at the beginning are left
        out,
        and so are the bars at the end that fill no phrase."""
        config = self.config
        total = roll.shape[1]
        if total <= config.bars:
            short = np.zeros((roll.shape[0], config.bars, *roll.shape[2:]), bool)
            short[:, :total] = roll
            candidates = [short]
        else:
            sounding = roll.any(axis=(0, 2, 3))
            begin = int(sounding.argmax())
            starts = range(begin, total - config.bars + 1, config.stride or config.bars)
            candidates = [roll[:, s : s + config.bars] for s in starts]
        return [phrase for phrase in candidates if self._keeps(phrase)]

    def _keeps(self, phrase: np.ndarray[Any, Any]) -> bool:
        if int(phrase.any(axis=(1, 2, 3)).sum()) < self.config.min_tracks:
            return False
        return rolls.note_count(phrase) >= self.config.min_notes

    def to_c(self, score: Score) -> int:
        """The shift in semitones that brings a piece to C major or A minor."""
        chroma = np.zeros(12)
        for part in score.parts:
            if not part.drums:
                np.add.at(chroma, part.notes[:, 2] % 12, part.notes[:, 1] - part.notes[:, 0])
        root, minor, _ = estimate_key(chroma)
        return shift_to(root, 9 if minor else 0)

    def why_none(self, score: Score, passages: list[tuple[int, int]]) -> str:
        """Why a piece has no phrase, for people."""
        config = self.config
        if not passages:
            meters = sorted({f"{above}/{below}" for _, above, below in score.meters} or {"4/4"})
            return f"no passage in {config.meter} (its bars are in {', '.join(meters)[:60]})"
        return f"no {config.bars} bars with {config.min_notes} notes in {config.min_tracks} tracks"

    # what is asked for or given, and what is made of it

    def read_condition(self, name: str, text: str) -> float:
        """A number of notes a bar, or a pitch as a MIDI number or a note (C4)."""
        return attributes.parse_pitch(text) if name == "register" else super().read_condition(name, text)

    def read_given(self, file: SourceFile, given: Given) -> Iterator[Sample]:
        """All bars of a piece as consecutive phrases in which the given tracks play what the choices say, the others
        nothing; moved to the key of the training data where these have one. The last phrase ends with the piece."""
        from gan_music.given import Piece

        yield from Piece.read(self, file, given).phrases()

    def write_like(
        self, samples: Sequence[Sample], stem: Path, like: SourceFile, given: Given, options: BaseModel | None = None
    ) -> list[Path]:
        """One MIDI file: the given tracks with the notes, tempo and metre of their file, and the composed ones."""
        from gan_music.given import Piece

        chosen = options if isinstance(options, MusicOptions) else MusicOptions()
        content = Piece.read(self, like, given).midi_bytes([np.asarray(sample["roll"]) for sample in samples], chosen)
        return [self._save(content, stem, chosen)]

    # writing

    def write(self, sample: Sample, stem: Path, options: BaseModel | None = None) -> Path:
        """A Standard MIDI File of format 1, 480 ticks a quarter note, a track a part; the same sample, the same
        bytes."""
        from gan_music.midi import midi_bytes

        chosen = options if isinstance(options, MusicOptions) else MusicOptions()
        return self._save(midi_bytes(self, np.asarray(sample["roll"]), chosen), stem, chosen)

    def _save(self, content: bytes, stem: Path, chosen: MusicOptions) -> Path:
        path = stem.with_name(stem.name + ".mid")
        path.write_bytes(content)
        if chosen.render != "none":
            from gan_music.audio import render

            render(content, path.with_suffix(f".{chosen.render}"))
        return path

    def preview(self, samples: Samples) -> Image.Image:
        """Piano rolls, time to the right and pitch upwards, a colour a track, drums below, a line at every bar."""
        from gan_music.picture import draw

        return draw(np.asarray(samples["roll"]), self.tracks)

    def show(self, file: contracts.SourceFile, link: str, folder: Path) -> str:
        """A moving piano roll, a player and a line of statistics."""
        from gan_music.page import player

        return player(file, folder, self)
