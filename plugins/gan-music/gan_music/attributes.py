"""Attributes of a phrase: density and register, which a model can be conditioned on, polyphony and clarity of the key.

An attribute is a condition field of its own beside the roll (`gan.contracts.FieldSpec.condition`). The networks embed
it with `gan_music.architectures.conditioning.ConditionEmbedding`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from gan.contracts import FieldSpec, Modality, Samples

from gan_music.grid import Grid, grid_of
from gan_music.key import key_correlations
from gan_music.rolls import joined, onsets

Array = np.ndarray[Any, Any]


def density(roll: Array, grid: Grid) -> float:
    """Notes per bar of all tracks together; on drums every hit counts."""
    starts = onsets(roll)
    starts[~grid.pitched] = roll[~grid.pitched] > 0
    return float(starts.sum() / roll.shape[1])


def register(roll: Array, grid: Grid) -> float:
    """Mean MIDI pitch of the pitched tracks, weighted by duration, in the key of the training data.

    A silent phrase has the middle of the roll's pitches.
    """
    by_row = (roll[grid.pitched] > 0).sum(axis=(0, 1, 2))
    rows = np.arange(len(by_row)) + grid.lowest
    total = by_row.sum()
    return float(by_row @ rows / total) if total else float(rows.mean())


def key_clarity(roll: Array, grid: Grid) -> float:
    """The correlation of the pitch classes' durations with the profile of the best of 24 keys, -1 … 1; NaN for
    silence."""
    by_row = (roll[grid.pitched] > 0).sum(axis=(0, 1, 2))
    classes = np.bincount((np.arange(len(by_row)) + grid.lowest) % 12, by_row, 12)
    return float(key_correlations(classes).max()) if classes.any() else float("nan")


def polyphony(roll: Array, grid: Grid) -> float:
    """Mean number of different pitches that sound together, over the steps of the pitched tracks at which one does; NaN
    for silence."""
    sounding = roll[grid.pitched].any(axis=0).sum(axis=2)
    return float(sounding[sounding > 0].mean()) if sounding.any() else float("nan")


def _each(measure: Callable[[Array, Grid], float], samples: Samples, modality: Modality) -> Array:
    grid = grid_of(modality)
    return np.array([measure(roll, grid) for roll in joined(samples)])


def densities(samples: Samples, modality: Modality) -> Array:
    """`density` of each phrase."""
    return _each(density, samples, modality)


def registers(samples: Samples, modality: Modality) -> Array:
    """`register` of each phrase."""
    return _each(register, samples, modality)


def polyphonies(samples: Samples, modality: Modality) -> Array:
    """`polyphony` of each phrase."""
    return _each(polyphony, samples, modality)


def key_clarities(samples: Samples, modality: Modality) -> Array:
    """`key_clarity` of each phrase."""
    return _each(key_clarity, samples, modality)


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
