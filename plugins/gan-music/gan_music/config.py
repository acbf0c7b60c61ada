"""Settings of the music modality: the grid of a phrase, what is read from files, and how files are written."""

from __future__ import annotations

from typing import Any, Literal

from gan.recipe import Section
from pydantic import BaseModel, Field, field_validator, model_validator

from gan_music.tracks import Rule, resolve


class MusicConfig(Section):
    """The grid of a phrase, and which phrases are taken from the files."""

    tracks: str | dict[str, list[Rule]] = Field(
        "compact",
        description="A profile (compact, paper, lpd-8, chorale, pop909, lead-sheet), or track names with their rules: "
        "programs (80-87), drums, others, track names in the file (MELODY, *bass*), #2 for the second track.",
    )
    programs: dict[str, int] = Field(
        default_factory=dict,
        description="General MIDI program (0-127) that a track is written with, in place of its default.",
    )
    meter: str = Field("4/4", description="Time signature of the bars: 4/4, 3/4, 6/8 …")
    exact_meter: bool = Field(
        False,
        description="Accept only this time signature; otherwise also those whose bars fill its bars evenly (2/2, 2/4, "
        "1/4 for 4/4).",
    )
    bars: int = Field(4, ge=1, le=64, description="Bars of a phrase.")
    steps_per_beat: int = Field(
        12, ge=1, le=96, description="Time steps of a quarter note; 12 holds sixteenths and triplets."
    )
    lowest: int = Field(24, ge=0, le=127, description="Lowest pitch, as a MIDI number (24: C1).")
    pitches: int = Field(
        84, ge=12, le=120, description="Number of semitones from the lowest pitch upwards; a multiple of 12."
    )
    outside: Literal["fold", "drop"] = Field(
        "fold", description="Notes outside these pitches are moved by octaves (fold) or left out (drop)."
    )
    transpose: list[int] = Field(
        [0],
        min_length=1,
        max_length=24,
        description="Each phrase is stored once for each of these shifts in semitones; drums are never shifted.",
    )
    normalize_key: bool = Field(
        False, description="Transpose every file to C major or A minor, by the key estimated from its notes."
    )
    align: bool = Field(
        False,
        description="Move the bars of a file whose notes do not lie on its beats, as in recorded performances "
        "(POP909), to where its notes suggest them.",
    )
    onsets: bool = Field(
        False,
        description="Phrases also say where notes begin, so that repeated notes keep their lengths; otherwise a step "
        "of rest is between them. For framegan and musictransformer.",
    )
    velocities: bool = Field(
        False,
        description="Measure how loudly the notes of the files are struck, by track, step of the bar and pitch, and "
        "write notes with such velocities.",
    )
    stride: int | None = Field(
        None, ge=1, description="Bars from the start of one phrase to the start of the next; none: `bars`."
    )
    phrases_per_file: int = Field(
        0, ge=0, description="Maximum number of phrases of a file, spread evenly over it; 0: all."
    )
    min_notes: int = Field(1, ge=1, description="Phrases with fewer notes are left out.")
    min_tracks: int = Field(1, ge=1, description="Phrases in which fewer tracks play are left out.")
    min_length: int = Field(
        0, ge=0, description="Pitched notes shorter than this, in steps before rounding up to one, are left out."
    )
    attributes: list[Literal["density", "register"]] = Field(
        [],
        description="Attributes of each phrase that a model is conditioned on: density (notes per bar), register "
        "(mean pitch).",
    )
    tempo: float = Field(100.0, ge=20, le=400, description="Quarter notes per minute of written files.")

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
            raise ValueError("transpose must hold different shifts from -12 to 12")
        if len(set(self.attributes)) != len(self.attributes):
            raise ValueError("attributes must name each attribute once")
        if quarters(parse_meter(self.meter)) * self.steps_per_beat % 1:
            raise ValueError(
                f"a bar of {self.meter} has no whole number of steps with {self.steps_per_beat} steps per quarter note"
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
    """Whether whole bars of `meter` fill a bar of `wanted` with the same division of the beat."""
    compound = [m[1] >= 8 and m[0] % 3 == 0 for m in (meter, wanted)]
    return compound[0] == compound[1] and quarters(wanted) % quarters(meter) == 0


class MusicOptions(BaseModel):
    """Options for writing phrases as files."""

    model_config = {"extra": "forbid"}

    tempo: float | None = Field(None, ge=20, le=400, description="Quarter notes per minute; none: the recipe's.")
    key: str | None = Field(
        None,
        description="Transpose the music to this key (C, F#, Am, Bb minor …) by the smallest shift; drums are never "
        "transposed.",
    )
    instruments: str | None = Field(
        None,
        description="Tracks that play, each with an optional program: drums,bass,piano=4. None: all tracks with their "
        "default programs.",
    )
    render: Literal["none", "wav", "ogg", "mp3"] = Field(
        "none", description="Also write an audio file beside the MIDI file."
    )
    velocity: int | None = Field(
        None,
        ge=1,
        le=127,
        description="Velocity of every note, 1-127; none: those measured in the training files "
        "(modality.velocities), or else 96.",
    )
    swing: float = Field(
        0.0, ge=0, le=1, description="Delay of every second eighth note, as a fraction of a third of a beat."
    )


class MusicGivenOptions(BaseModel):
    """Options for a file that is given to be accompanied."""

    model_config = {"extra": "forbid"}

    track: str | None = Field(
        None,
        description="Which track of the file plays the given track of the model: its number (0 is the first with "
        "notes) or name. Separate several by commas in the model's order (0,2); join several that play one track with "
        "+ (0+1). None: tracks are assigned by the rules used for the training files.",
    )
    piece: int | None = Field(None, ge=0, description="Which piece of a collection (ABC, JSON); 0 is the first.")
