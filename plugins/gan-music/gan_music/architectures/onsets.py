"""Rolls with marked onsets (`gan_music.rolls`) as networks see them: notes, and rows that say where they begin."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

MARKS = 2
"""Rows behind the pitches of a roll with marked onsets."""


def in_rows(fields: Mapping[str, Tensor]) -> Tensor:
    """``roll`` and perhaps ``onset`` ``(N, track, bar, step, pitch)``, bool or in 0 … 1 -> ``(N, track, bar, step,
    row)`` in -1 … 1: its notes, and where onsets are marked two more rows: whether a note of the track begins, and
    which share of the pitches that sound on from the step before are struck again. What sounds at the first step might
    sound on from the phrase before. Differentiable."""
    notes = fields["roll"].float()
    if "onset" not in fields:
        return 2 * notes - 1
    struck = fields["onset"].float()
    held = torch.minimum(notes, _before(notes))
    again = (struck * held).sum(4, keepdim=True) / held.sum(4, keepdim=True).clamp(min=1.0)
    return 2 * torch.cat([notes, struck.amax(4, keepdim=True), again], 4) - 1


def onsets_of(notes: Tensor, again: Tensor) -> Tensor:
    """Notes ``(N, track, bar, step, pitch)`` and repetitions ``(N, track, bar, step, 1)``, both bool or in 0 … 1 ->
    where notes begin, as `in_rows` reads it."""
    before = _before(notes)
    if notes.dtype == torch.bool:
        return notes & (~before | again)
    return (notes - before).relu() + torch.minimum(notes, before) * again


def soft_repetitions(rows: Tensor) -> Tensor:
    """``(N, track, bar, step, row)`` in -1 … 1, with marks -> ``(N, bar, track)``: the number of notes that are struck
    again, divided by 4, as `soft_onset_count` counts the others."""
    notes, again = (rows[..., :-MARKS] + 1) / 2, (rows[..., -1:] + 1) / 2
    held = torch.minimum(notes, _before(notes)) * again
    held[:, :, 0, 0] = 0  # notes of the first step count as onsets anyway
    return held.sum((3, 4)).transpose(1, 2) / 4


def _before(notes: Tensor) -> Tensor:
    """``(N, track, bar, step, pitch)`` one step earlier, over bar lines; the first step twice."""
    line = notes.flatten(2, 3)
    return torch.cat([line[:, :, :1], line[:, :, :-1]], 2).view(notes.shape)
