"""Arithmetic on piano rolls ``(track, bar, step, pitch)``."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def to_steps(ticks: Array, division: int, steps_per_beat: int) -> Array:
    """The nearest steps, halves upwards, in integers (so that no tick is too large for a float)."""
    return (2 * np.asarray(ticks, np.int64) * steps_per_beat + division) // (2 * division)


def separated(notes: Array) -> Array:
    """Notes ``(n, 4)``: track, first step, step after the last, row. Where a pitch is struck again while it sounds or
    right
    when it ends, the earlier note is shortened to leave one step of rest, so that a roll shows two notes.

    A note of one step keeps it. Sorted by track, row and start.
    """
    notes = notes[np.lexsort((notes[:, 2], notes[:, 1], notes[:, 3], notes[:, 0]))]
    if len(notes) < 2:
        return notes
    again = (notes[1:, 0] == notes[:-1, 0]) & (notes[1:, 3] == notes[:-1, 3]) & (notes[1:, 1] <= notes[:-1, 2])
    shortened = np.maximum(np.minimum(notes[:-1, 2], notes[1:, 1] - 1), notes[:-1, 1] + 1)
    notes[:-1, 2] = np.where(again, shortened, notes[:-1, 2])
    return notes


def note_count(roll: Array) -> int:
    """Notes of a phrase: beginnings of runs, over bar lines."""
    line = roll.reshape(roll.shape[0], -1, roll.shape[-1])
    return int(line[:, 0].sum() + (line[:, 1:] & ~line[:, :-1]).sum())


def transpose(roll: Array, shift: int, pitched: Array) -> Array:
    """`roll` moved by `shift` semitones on the tracks where `pitched`; notes that leave the rows come back an octave
    nearer."""
    if not shift:
        return roll.copy()
    moved = roll.copy()
    source = roll[pitched]
    result = np.zeros_like(source)
    rows = np.arange(roll.shape[-1]) + shift
    rows = np.where(rows < 0, rows + 12 * -(rows // 12), rows)
    over = np.maximum(rows - (roll.shape[-1] - 1), 0)
    rows = rows - 12 * -(-over // 12)
    for row, target in enumerate(rows):
        result[..., target] |= source[..., row]
    moved[pitched] = result
    return moved


def runs(line: Array) -> tuple[Array, Array, Array]:
    """``line (step, pitch)`` -> rows, first steps, steps after the last of its notes, sorted by first step, then
    row."""
    padded = np.zeros((line.shape[0] + 2, line.shape[1]), np.int8)
    padded[1:-1] = line
    change = np.diff(padded, axis=0).T  # (pitch, step + 1)
    row, start = np.nonzero(change > 0)
    _, end = np.nonzero(change < 0)
    order = np.lexsort((row, start))
    return row[order], start[order], end[order]
