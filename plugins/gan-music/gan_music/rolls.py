"""Arithmetic on piano rolls ``(track, bar, step, pitch)``: quantisation, onsets, notes, transposition.

A roll is bool, true where a note sounds, and a note begins after a silent step; or uint8 (`modality.onsets`), 0 in
silence, 1 where a note sounds and `BEGINS` where one begins, so that repeated notes need no rest between them. A roll
that begins with 1 goes on with a note of what is before it. Samples have the field ``roll``, bool, and if onsets are
marked ``onset``, bool (`joined`, `fields_of`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

STEP_BITS = 21
"""Bits of a step: a piece has at most `gan_music.reading.score.MAX_QUARTERS` quarter notes of 96 steps."""
ROW_BITS = 7
"""Bits of a row of a roll."""
BEGINS = 2
"""The value of a cell of a uint8 roll in which a note begins."""


def joined(sample: Mapping[str, Any]) -> Array:
    """The roll of a sample, or the rolls of samples; uint8 if onsets are marked."""
    roll = np.asarray(sample["roll"])
    if "onset" not in sample:
        return roll
    return roll.astype(np.uint8) + np.asarray(sample["onset"], np.uint8)


def fields_of(roll: Array) -> dict[str, Array]:
    """The fields of a roll: what `joined` puts together."""
    return {"roll": roll} if roll.dtype == bool else {"roll": roll > 0, "onset": roll == BEGINS}


def to_steps(ticks: Any, division: int, steps_per_beat: int) -> Any:
    """The nearest steps of a tick or an int64 array, halves rounded up, in integer arithmetic (exact for any tick)."""
    return (2 * steps_per_beat * ticks + division) // (2 * division)


def separated(track: Array, start: Array, end: Array, row: Array, rest: int = 1) -> tuple[Array, Array, Array, Array]:
    """Notes with `rest` steps of rest at least between repeated notes of one pitch, sorted by track, row, start and
    end.

    Where a pitch is struck again while it sounds or right when it ends, the earlier note is shortened by enough to
    leave one step of rest, so that a bool roll shows two notes. A note always keeps at least one step.
    """
    order = ((track << ROW_BITS | row) << STEP_BITS | start) << STEP_BITS | end  # sorting numbers is the fastest
    order.sort()
    line, steps = order >> 2 * STEP_BITS, (1 << STEP_BITS) - 1
    start, end = order >> STEP_BITS & steps, order & steps
    again = np.flatnonzero((line[1:] == line[:-1]) & (start[1:] <= end[:-1]))
    if len(again):
        end[again] = np.maximum(start[again + 1] - rest, start[again] + 1)
    return line >> ROW_BITS, start, end, line & (1 << ROW_BITS) - 1


def onsets(roll: Array) -> Array:
    """Where notes begin, across bar lines: ``(…, bar, step, pitch)`` bool, same shape."""
    line = roll.reshape(*roll.shape[:-3], -1, roll.shape[-1])
    starts = line > 0
    starts[..., 1:, :] &= ~(line[..., :-1, :] > 0)
    if roll.dtype != bool:
        starts |= line == BEGINS
    return starts.reshape(roll.shape)


def note_count(roll: Array) -> int:
    """Number of notes of a phrase; a note that crosses bar lines counts once."""
    return int(onsets(roll).sum())


def drawn(
    shape: tuple[int, ...], phrase: Array, track: Array, start: Array, end: Array, row: Array, *, begins: bool = False
) -> Array:
    """Rolls of `shape` ``(phrase, track, bar, step, pitch)`` in which notes sound in steps ``start`` … ``end - 1``,
    from 0 on; uint8 ones where their beginnings are to be marked."""
    _, tracks, bars, steps, pitches = shape
    here, start = start >= 0, np.maximum(start, 0)
    rolls = np.zeros(shape, np.uint8 if begins else bool)
    length = end - start
    cell = ((phrase * tracks + track) * (bars * steps) + start) * pitches + row
    # the cells of a note are `pitches` apart: the n-th cell of all is n · pitches after the start of its note, less
    # what the notes before it have counted
    cells = np.repeat(cell - (length.cumsum() - length) * pitches, length)
    cells += np.arange(0, len(cells) * pitches, pitches)
    rolls.reshape(-1)[cells] = 1
    if begins:
        rolls.reshape(-1)[cell[here]] = BEGINS
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
        np.maximum(result[..., rows[row]], source[..., row], out=result[..., rows[row]])
    moved[pitched] = result
    return moved


def runs(line: Array) -> tuple[Array, Array, Array]:
    """The notes of ``line (step, pitch)``: rows, first steps, and steps after the last, sorted by first step, then
    row."""
    sounds = np.zeros((line.shape[1], line.shape[0] + 2), bool)
    sounds[:, 1:-1] = line.T > 0
    before, now = sounds[:, :-1], sounds[:, 1:]  # (pitch, step + 1)
    again = np.zeros_like(now)
    if line.dtype != bool:
        again[:, :-1] = line.T == BEGINS
    row, start = np.nonzero(now & (again | ~before))
    _, end = np.nonzero(before & (again | ~now))
    order = np.lexsort((row, start))
    return row[order], start[order], end[order]
