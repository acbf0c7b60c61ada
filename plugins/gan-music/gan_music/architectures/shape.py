"""The shape of a phrase as networks see it: bars, beats, parts of a beat, steps, octaves and pitches."""

from __future__ import annotations

from collections.abc import Mapping

from gan.contracts import FieldSpec
from gan.errors import UsageError


class PhraseShape:
    """The axes of a roll, and the factors between neighbouring scales of time and pitch.

    A bar has `beats` beats, a beat has `coarse` parts and a part has `fine` steps. Octaves grow from one to `high` and,
    by a transposed convolution of stride two with a kernel of `span`, to all of them.
    """

    def __init__(self, shape: tuple[int, ...], beats: int | None = None) -> None:
        if len(shape) != 4 or shape[3] % 12:
            raise UsageError(f"the networks read rolls (track, bar, step, pitch) of whole octaves, not {shape}")
        self.tracks, self.bars, self.steps, self.pitches = shape
        self.beats = beats or next(n for n in (4, 3, 1) if self.steps % n == 0)
        if self.steps % self.beats:
            raise UsageError(f"model.beats {self.beats} does not divide the {self.steps} steps of a bar")
        beat = self.steps // self.beats
        self.coarse = next(n for n in range(1, beat + 1) if beat % n == 0 and n * n >= beat)
        self.fine = beat // self.coarse
        octaves = self.pitches // 12
        self.high = max(1, octaves // 2)
        self.span = octaves - 2 * (self.high - 1)


def bool_roll(fields: Mapping[str, FieldSpec], architecture: str) -> FieldSpec:
    """The roll of networks that know no onsets. Raises `UsageError` if it has some."""
    if "onset" in fields:
        raise UsageError(f"{architecture} composes no onsets; leave modality.onsets out, or use framegan")
    return fields["roll"]
