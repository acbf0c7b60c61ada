"""Arithmetic on piano rolls ``(track, bar, step, pitch)``: quantisation, onsets, notes, transposition."""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(frozen=True)
class Counts:
    """How much sounds in each stretch of bars of a roll ``(track, bar, step, pitch)``, from sums over its steps."""

    steps: int
    """Steps of a bar."""
    sounding: Array
    """``(track, step + 1)`` int64: cells that sound before each step."""
    begun: Array
    """``(step + 1,)`` int64: notes of all tracks that begin before each step."""

    @classmethod
    def of(cls, roll: Array) -> Counts:
        """The sums of a roll."""
        tracks, bars, steps, pitches = roll.shape
        length, flat = bars * steps, roll.reshape(-1)
        cells = np.flatnonzero(flat)
        at = cells // pitches  # track · length + step
        begins = (at % length == 0) | ~flat[cells - pitches]
        sounding = np.zeros((tracks, length + 1), np.int64)
        begun = np.zeros(length + 1, np.int64)
        np.cumsum(np.bincount(at, minlength=tracks * length).reshape(tracks, length), axis=1, out=sounding[:, 1:])
        np.cumsum(np.bincount(at[begins] % length, minlength=length), out=begun[1:])
        return cls(steps, sounding, begun)

    def first_bar(self) -> int:
        """The first bar that sounds; 0 if none does."""
        return int((self.sounding.sum(axis=0) > 0).argmax() - 1) // self.steps if self.sounding[:, -1].any() else 0

    def tracks(self, first: int, last: int) -> int:
        """Number of tracks that sound in bars `first` … ``last - 1``."""
        return int((self.sounding[:, last * self.steps] > self.sounding[:, first * self.steps]).sum())

    def notes(self, first: int, last: int) -> int:
        """`note_count` of bars `first` … ``last - 1``; notes held over from before count as beginning there."""
        start = first * self.steps
        held = self.sounding[:, start + 1].sum() - self.sounding[:, start].sum()
        return int(held + self.begun[last * self.steps] - self.begun[start + 1])


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
