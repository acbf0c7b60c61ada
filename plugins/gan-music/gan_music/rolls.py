"""Arithmetic on piano rolls ``(track, bar, step, pitch)``: quantisation, onsets, notes, transposition."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

STEP_BITS = 21
"""Bits of a step: a piece has at most `gan_music.reading.score.MAX_QUARTERS` quarter notes of 96 steps."""
ROW_BITS = 7
"""Bits of a row of a roll."""


def to_steps(ticks: Any, division: int, steps_per_beat: int) -> Any:
    """The nearest steps of a tick or an int64 array, halves rounded up, in integer arithmetic (exact for any tick)."""
    return (2 * steps_per_beat * ticks + division) // (2 * division)


def separated(track: Array, start: Array, end: Array, row: Array) -> tuple[Array, Array, Array, Array]:
    """Notes with a step of rest between repeated notes of one pitch, sorted by track, row, start and end.

    Where a pitch is struck again while it sounds or right when it ends, the earlier note is shortened by enough to
    leave one step of rest, so that a roll shows two notes. A note always keeps at least one step.
    """
    order = ((track << ROW_BITS | row) << STEP_BITS | start) << STEP_BITS | end  # sorting numbers is the fastest
    order.sort()
    line, steps = order >> 2 * STEP_BITS, (1 << STEP_BITS) - 1
    start, end = order >> STEP_BITS & steps, order & steps
    again = np.flatnonzero((line[1:] == line[:-1]) & (start[1:] <= end[:-1]))
    if len(again):
        end[again] = np.maximum(start[again + 1] - 1, start[again] + 1)
    return line >> ROW_BITS, start, end, line & (1 << ROW_BITS) - 1


def onsets(roll: Array) -> Array:
    """Where notes begin, across bar lines: ``(…, bar, step, pitch)`` bool, same shape."""
    line = roll.reshape(*roll.shape[:-3], -1, roll.shape[-1])
    starts = line.copy()
    starts[..., 1:, :] &= ~line[..., :-1, :]
    return starts.reshape(roll.shape)


def note_count(roll: Array) -> int:
    """Number of notes of a phrase; a note that crosses bar lines counts once."""
    return int(onsets(roll).sum())


def drawn(shape: tuple[int, ...], phrase: Array, track: Array, start: Array, end: Array, row: Array) -> Array:
    """Rolls of `shape` ``(phrase, track, bar, step, pitch)`` in which notes sound in steps ``start`` … ``end - 1``."""
    _, tracks, bars, steps, pitches = shape
    rolls = np.zeros(shape, bool)
    length = end - start
    cell = ((phrase * tracks + track) * (bars * steps) + start) * pitches + row
    # the cells of a note are `pitches` apart: the n-th cell of all is n · pitches after the start of its note, less
    # what the notes before it have counted
    cells = np.repeat(cell - (length.cumsum() - length) * pitches, length)
    cells += np.arange(0, len(cells) * pitches, pitches)
    rolls.reshape(-1)[cells] = True
    return rolls


def shifted_rows(pitches: int, shift: int) -> Array:
    """``(pitches,)``: where each row is moved; rows that leave the roll are moved back by octaves."""
    rows = np.arange(pitches) + shift
    rows = np.where(rows < 0, rows + 12 * -(rows // 12), rows)
    over = np.maximum(rows - (pitches - 1), 0)
    moved: Array = rows - 12 * -(-over // 12)
    return moved


def transpose(roll: Array, shift: int, pitched: Array) -> Array:
    """`roll` shifted by `shift` semitones on the tracks where `pitched`; notes that leave the rows are moved back by
    octaves."""
    if not shift:
        return roll.copy()
    moved = roll.copy()
    source = roll[pitched]
    result = np.zeros_like(source)
    rows = shifted_rows(roll.shape[-1], shift)
    inside = np.flatnonzero(rows == np.arange(roll.shape[-1]) + shift)
    if len(inside):
        low, high = inside[0], inside[-1] + 1
        result[..., low + shift : high + shift] = source[..., low:high]
    for row in np.flatnonzero(rows != np.arange(roll.shape[-1]) + shift):
        result[..., rows[row]] |= source[..., row]
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
