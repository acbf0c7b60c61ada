"""Pieces of music as plain arrays in ticks, whatever their file format: `Score`, and the limits of one file."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from gan.errors import BadData

MAX_BYTES = 32 << 20
MAX_TRACKS = 1_000
MAX_NOTES = 1_000_000
MAX_SECONDS = 4 * 3600.0
MAX_QUARTERS = 1 << 14
"""Limits of one file: its size, tracks, notes, playing time and length in quarter notes."""


@dataclass
class Part:
    """The notes of one instrument."""

    name: str
    program: int
    """General MIDI program, 0 … 127."""
    drums: bool
    """Whether it plays on channel 10."""
    notes: np.ndarray[Any, Any]
    """``(n, 4)`` int64: start tick, end tick, pitch 0 … 127, velocity 1 … 127; sorted by start, then pitch."""


@dataclass
class Score:
    """A piece of music in ticks."""

    division: int
    """Ticks per quarter note."""
    parts: list[Part]
    meters: list[tuple[int, int, int]] = field(default_factory=list)
    """(tick, numerator, denominator), sorted; 4/4 before the first one."""
    seconds: float = 0.0
    """Playing time."""
    tempos: list[tuple[int, float]] = field(default_factory=list)
    """(tick, microseconds per quarter note), sorted; empty where the file has none."""

    @cached_property
    def end(self) -> int:
        """The tick where the last note ends."""
        return max((int(part.notes[:, 1].max()) for part in self.parts if len(part.notes)), default=0)


def checked(score: Score) -> Score:
    """`score` itself if it holds notes and stays within the limits. Raises `BadData`."""
    notes = sum(len(part.notes) for part in score.parts)
    if not notes:
        raise BadData("holds no notes")
    if notes > MAX_NOTES:
        raise BadData(f"{notes:,} notes, more than the limit of {MAX_NOTES:,}")
    for _, above, below in score.meters:
        if not (above > 0 and below > 0):
            raise BadData("has an invalid time signature (its number of beats or their note value is zero)")
    if any(part.notes.min() < 0 for part in score.parts if len(part.notes)):
        raise BadData("has times that overflow")
    if score.end > MAX_QUARTERS * score.division:
        raise BadData(f"{score.end / score.division:,.0f} quarter notes long, more than the limit of {MAX_QUARTERS:,}")
    if not score.seconds <= MAX_SECONDS:
        raise BadData(f"lasts {score.seconds / 3600:,.1f} hours, more than the limit of {MAX_SECONDS / 3600:.0f}")
    return score
