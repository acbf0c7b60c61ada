"""Arithmetic on piano rolls ``(track, bar, step, pitch)``: quantisation, onsets, notes, transposition."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def to_steps(ticks: Array, division: int, steps_per_beat: int) -> Array:
    """The nearest steps, halves rounded up, in integer arithmetic (exact for any tick)."""
    return (2 * np.asarray(ticks, np.int64) * steps_per_beat + division) // (2 * division)


def separated(notes: Array) -> Array:
    """Notes ``(n, 4)`` with a step of rest between repeated notes of one pitch, sorted by track, row and start.

    Columns are track, first step, step after the last, and row. Where a pitch is struck again while it sounds or right
    when it ends, the earlier note is shortened by enough to leave one step of rest, so that a roll shows two notes. A
    note always keeps at least one step.
    """
    notes = notes[np.lexsort((notes[:, 2], notes[:, 1], notes[:, 3], notes[:, 0]))]
    if len(notes) < 2:
        return notes
    again = (notes[1:, 0] == notes[:-1, 0]) & (notes[1:, 3] == notes[:-1, 3]) & (notes[1:, 1] <= notes[:-1, 2])
    shortened = np.maximum(np.minimum(notes[:-1, 2], notes[1:, 1] - 1), notes[:-1, 1] + 1)
    notes[:-1, 2] = np.where(again, shortened, notes[:-1, 2])
    return notes


def onsets(roll: Array) -> Array:
    """Where notes begin, across bar lines: ``(…, bar, step, pitch)`` bool, same shape."""
    line = roll.reshape(*roll.shape[:-3], -1, roll.shape[-1])
    starts = line.copy()
    starts[..., 1:, :] &= ~line[..., :-1, :]
    return starts.reshape(roll.shape)


def note_count(roll: Array) -> int:
    """Number of notes of a phrase; a note that crosses bar lines counts once."""
    return int(onsets(roll).sum())


def transpose(roll: Array, shift: int, pitched: Array) -> Array:
    """`roll` shifted by `shift` semitones on the tracks where `pitched`; notes that leave the rows are moved back by
    octaves."""
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
    """The notes of ``line (step, pitch)``: rows, first steps, and steps after the last, sorted by first step, then
    row."""
    padded = np.zeros((line.shape[0] + 2, line.shape[1]), np.int8)
    padded[1:-1] = line
    change = np.diff(padded, axis=0).T  # (pitch, step + 1)
    row, start = np.nonzero(change > 0)
    _, end = np.nonzero(change < 0)
    order = np.lexsort((row, start))
    return row[order], start[order], end[order]
