"""Attributes of a phrase that a model may be told and asked for: its density and register.

An attribute is a field of its own beside the roll (`gan.contracts.Field.condition`). How networks hear it: `told`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from gan.contracts import FieldSpec

if TYPE_CHECKING:
    from gan_music.modality import Music

Array = np.ndarray[Any, Any]


def density(roll: Array, music: Music) -> float:
    """Notes a bar of all tracks together; on drums every hit."""
    line = roll.reshape(roll.shape[0], -1, roll.shape[-1])
    soft_onset_count = line.copy()
    soft_onset_count[:, 1:] &= ~line[:, :-1]
    drums = [track.drums for track in music.tracks]
    soft_onset_count[drums] = line[drums]
    return float(soft_onset_count.sum() / roll.shape[1])


def register(roll: Array, music: Music) -> float:
    """Mean MIDI pitch of all that sounds on pitched tracks, each step of a note counting; the middle of the roll's
    pitches where nothing does. In the key of the training data."""
    pitched = [not track.drums for track in music.tracks]
    by_row = roll[pitched].sum(axis=(0, 1, 2))
    rows = np.arange(len(by_row)) + music.config.lowest
    total = by_row.sum()
    return float(by_row @ rows / total) if total else float(rows.mean())


ATTRIBUTES: Mapping[str, Callable[[Array, Music], float]] = {"density": density, "register": register}
"""Attribute -> its value for a phrase ``(track, bar, step, pitch)``."""
UNITS = {"density": "notes a bar", "register": "mean pitch, 60 is C4"}


def field(name: str, music: Music) -> FieldSpec:
    """The field of an attribute, with the values that are possible at all."""
    high = {"density": float(len(music.tracks) * music.steps * music.config.pitches), "register": 127.0}[name]
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
        raise ValueError(f"'{text}' is no pitch; write a MIDI number (60) or a note (C4, Bb3)") from None
