"""Windows of recordings: which part of which recording a row of a pack is (`FieldSpec.window`).

A recording of n windows and a rest has n rows. Row p is the window that begins p windows after the beginning, so that
the rows of a recording follow each other without gaps. In training each row is instead shown from a random start in the
n-th part of all starts that it stands for, so that every start is equally likely and an epoch still shows all of every
recording. The start is part of the index: ``row + rows · d`` is the row at draw d of `DRAWS`, and 0 stands for its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from gan.contracts import Continued, FieldSpec, Sample

DRAWS = 1 << 20
"""Number of random starts that the draws of an index tell apart in the starts of a row."""

Indices = np.ndarray[Any, np.dtype[np.int64]]


class Recordings:
    """The recordings of a group of fields in a pack.

    `lengths` are their steps, ``(n,)`` int64, and `window` the steps of a window; none is shorter.
    """

    def __init__(self, lengths: np.ndarray[Any, Any], window: int) -> None:
        self.lengths: Indices = lengths.astype(np.int64)
        self.window = window
        self.begins: Indices = np.concatenate([[0], self.lengths.cumsum()])
        """Step at which each recording begins in the arrays, and the end of the last one."""
        self.rows: Indices = np.concatenate([[0], (self.lengths // window).cumsum()])
        """First row of each recording, and the number of all rows."""

    def __len__(self) -> int:
        return int(self.rows[-1])

    def of_rows(self, rows: np.ndarray[Any, Any]) -> Indices:
        """The number of the recording of each row."""
        found: Indices = np.searchsorted(self.rows, rows, side="right") - 1
        return found

    def steps(self, rows: np.ndarray[Any, Any], draws: np.ndarray[Any, Any]) -> Indices:
        """The step of the arrays at which each window begins; `draws` are 0 or 1 … `DRAWS`."""
        recordings = self.of_rows(rows)
        piece, pieces = rows - self.rows[recordings], self.lengths[recordings] // self.window
        starts = self.lengths[recordings] - self.window + 1
        low, high = piece * starts // pieces, (piece + 1) * starts // pieces
        drawn = low + (draws - 1) * (high - low) // DRAWS
        found: Indices = self.begins[recordings] + np.where(draws == 0, piece * self.window, drawn)
        return found


def windowed(fields: Mapping[str, FieldSpec]) -> dict[str, FieldSpec]:
    """The fields with windows."""
    return {name: spec for name, spec in fields.items() if spec.window}


def steps_of_window(fields: Mapping[str, FieldSpec]) -> int:
    """Steps of a window of the fields of one group; 0 without windows. Raises `ValueError` if they do not fit."""
    found = {name: divmod(spec.shape[spec.longer_axis], spec.window) for name, spec in windowed(fields).items()}
    if not found:
        return 0
    if any(fields[name].dtype == "bool" for name in found):
        raise ValueError("fields with windows cannot be bool; use uint8")
    if len(set(found.values())) > 1 or any(rest for _, rest in found.values()):
        told = ", ".join(f"'{name}' {steps} and {rest} places" for name, (steps, rest) in found.items())
        raise ValueError(f"the windows of all fields must have equally many whole steps ({told})")
    return next(iter(found.values()))[0]


def pieces(fields: Mapping[str, FieldSpec], samples: Iterable[Sample]) -> Iterator[Sample]:
    """The rows of a modality's samples: recordings, whole or in parts, become consecutive windows."""
    axes = {name: spec.longer_axis for name, spec in windowed(fields).items()}
    rest: Sample = {}
    for sample in samples:
        if not axes.keys() & sample.keys():
            yield sample
            continue
        parts = {name: np.asarray(sample[name]) for name in axes}
        if isinstance(sample, Continued):
            parts = {name: np.concatenate([rest[name], parts[name]], axes[name]) for name in axes}
            sample = {**rest, **parts}
        first = next(iter(axes))
        count = parts[first].shape[axes[first]] // fields[first].shape[axes[first]]
        for number in range(count):
            yield {**sample, **{name: _cut(parts[name], fields[name], number, number + 1) for name in axes}}
        rest = {**sample, **{name: _cut(parts[name], fields[name], count, None) for name in axes}}


def _cut(values: np.ndarray[Any, Any], spec: FieldSpec, first: int, end: int | None) -> np.ndarray[Any, Any]:
    """The places of windows `first` to `end`; None: to the end of the values."""
    length = spec.shape[spec.longer_axis]
    place = slice(first * length, None if end is None else end * length)
    return values[(slice(None),) * spec.longer_axis + (place,)]
