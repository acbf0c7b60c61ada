"""Velocities of written notes, as they are in the training files on average: by track, by step of the bar, by pitch.

Rolls say which notes sound and not how loudly. What files have in common (the melody is louder than its accompaniment,
first beats than others, high notes than low ones) is measured once and lies in the facts of the modality, so that a
written piece is not struck evenly throughout.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

EVEN = 96
"""The velocity of every note where nothing was measured."""
FEWEST = 16
"""Notes at a step of the bar below which the mean of the track is taken."""


class Velocities:
    """The mean velocity of each track at each step of a bar, and its slope with the pitch."""

    def __init__(self, measured: Mapping[str, Any] | None = None) -> None:
        self.measured = measured or {}

    def of(self, track: str, steps: Array, pitches: Array) -> Array:
        """``(n,)`` velocities 1 … 127 of notes of a track with these steps and MIDI pitches ``(n,)``; steps count from
        the beginning of any bar."""
        if track not in self.measured:
            return np.full(len(steps), EVEN)
        found = self.measured[track]
        means = np.asarray(found["steps"], float)
        louder = found["slope"] * (pitches - found["pitch"])
        velocities: Array = np.clip(np.rint(means[steps % len(means)] + louder), 1, 127).astype(np.int64)
        return velocities


def summary(struck: Array, steps: int, drums: bool) -> dict[str, Any]:
    """What `Velocities` needs of a track's notes ``(n, 3)``: step of the bar, pitch, velocity.

    ``steps``: the mean velocity at each step of a bar; ``pitch``: the mean pitch; ``slope``: the change of velocity
    with each semitone, by least squares, 0 for drums.
    """
    step, pitch, velocity = struck.T
    count = np.bincount(step, minlength=steps)
    means = np.bincount(step, velocity, minlength=steps) / np.maximum(count, 1)
    means = np.where(count >= FEWEST, means, velocity.mean())
    higher = pitch - pitch.mean()
    spread = float(np.square(higher).sum())
    slope = 0.0 if drums or not spread else float((higher * (velocity - means[step])).sum()) / spread
    return {"steps": np.round(means, 1).tolist(), "pitch": round(float(pitch.mean()), 2), "slope": round(slope, 3)}
