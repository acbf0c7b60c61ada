"""Attributes of a phrase that a model can be conditioned on: density and register.

An attribute is a condition field of its own beside the roll (`gan.contracts.FieldSpec.condition`). The networks embed
it with `gan_music.architectures.conditioning.ConditionEmbedding`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from gan.contracts import FieldSpec

from gan_music.grid import Grid
from gan_music.rolls import onsets

Array = np.ndarray[Any, Any]


def density(roll: Array, grid: Grid) -> float:
    """Notes per bar of all tracks together; on drums every hit counts."""
    starts = onsets(roll)
    starts[~grid.pitched] = roll[~grid.pitched]
    return float(starts.sum() / roll.shape[1])


def register(roll: Array, grid: Grid) -> float:
    """Mean MIDI pitch of the pitched tracks, weighted by duration, in the key of the training data.

    A silent phrase has the middle of the roll's pitches.
    """
    by_row = roll[grid.pitched].sum(axis=(0, 1, 2))
    rows = np.arange(len(by_row)) + grid.lowest
    total = by_row.sum()
    return float(by_row @ rows / total) if total else float(rows.mean())


ATTRIBUTES: Mapping[str, Callable[[Array, Grid], float]] = {"density": density, "register": register}
"""Attribute -> function that measures it in a phrase ``(track, bar, step, pitch)``."""
UNITS = {"density": "notes a bar", "register": "mean pitch, 60 is C4"}


def field(name: str, grid: Grid) -> FieldSpec:
    """The field of an attribute, with the range of possible values."""
    tracks, _, steps, pitches = grid.shape
    high = {"density": float(tracks * steps * pitches), "register": 127.0}[name]
    return FieldSpec((), "float32", 0, high, UNITS[name], condition=True)


def parse_pitch(text: str) -> float:
    """``"60"``, ``"62.5"``, ``"C4"``, ``"Bb3"``, ``"F#-1"`` -> a MIDI pitch. Raises `ValueError`."""
    match = re.fullmatch(r"\s*([A-Ga-g])([#♯b♭]?)(-?\d)\s*", text)
    if match:
        letter = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}[match[1].upper()]
        return float(12 * (int(match[3]) + 1) + letter + {"": 0, "#": 1, "♯": 1, "b": -1, "♭": -1}[match[2]])
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"'{text}' is not a pitch; write a MIDI number (60) or a note (C4, Bb3)") from None
