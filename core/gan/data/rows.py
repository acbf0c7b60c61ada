"""Turn the files of a source into rows of bytes as a pack stores them, checked against the modality's fields.

`gan.data.bounded` reads the files, in worker processes with limits where that is possible.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from gan.contracts import Continued, FieldSpec, Modality, Sample
from gan.data import bounded
from gan.data.windows import steps_of_window, windowed
from gan.errors import GanError
from gan.source import SourceFile


@dataclass
class FileRows:
    """What one file gave."""

    reason: str | None = None
    """Why the file cannot be used; None if it can, or if it belongs to another file's samples."""
    groups: list[str] = field(default_factory=list)
    """The group of fields of each sample, in order; with windows, of each recording or part of one."""
    steps: list[int] = field(default_factory=list)
    """For each of `groups`, the steps of a recording or of a part of one; 0: a sample without windows."""
    is_continued: list[bool] = field(default_factory=list)
    """For each of `groups`, whether it continues the recording before it."""
    inventory: dict[str, int] = field(default_factory=dict)
    """`Modality.inventory`, for a check."""
    data: dict[str, list[np.ndarray[Any, Any]]] = field(default_factory=dict)
    """Field -> its rows of all samples in parts, uint8, one after another as a pack stores them; not for a check."""
    is_last: bool = True
    """Whether the file is complete; if not, more of it follows, unless it `begins` again."""
    begins: bool = True
    """Whether this is its first part. What came before of the file is void: its reader was ended and read it again."""

    def count(self, windows: Mapping[str, int]) -> int:
        """The number of samples, with the `windows_of` the groups; only of a file that came in one part."""
        lengths: list[tuple[str, int]] = []
        for group, steps, continued in zip(self.groups, self.steps, self.is_continued, strict=True):
            before = lengths.pop()[1] if continued else 0
            lengths.append((group, before + steps))
        return sum(steps // windows[group] if windows[group] else 1 for group, steps in lengths)


_GROUPS, _INVENTORY, _WRONG = "/groups", "/inventory", "/wrong"
"""What a worker returns beside the rows of fields: group, steps and continuation of each sample, ``(n, 3)`` int64;
counts as JSON; an error."""
Groups: TypeAlias = "dict[str, dict[str, FieldSpec]]"
"""Group -> its fields by name."""


def grouped(fields: Mapping[str, FieldSpec]) -> Groups:
    """The fields by `FieldSpec.group`, in their order."""
    groups: Groups = {}
    for name, spec in fields.items():
        groups.setdefault(spec.group, {})[name] = spec
    return groups


def windows_of(groups: Groups) -> dict[str, int]:
    """Group -> steps of a window; 0 without windows. Raises `GanError` for fields that do not fit."""
    try:
        return {group: steps_of_window(fields) for group, fields in groups.items()}
    except ValueError as error:
        raise GanError(f"the modality's fields: {error}") from None


def read_files(
    modality: Modality, files: Sequence[SourceFile], *, check: bool = False
) -> Iterator[tuple[SourceFile, FileRows]]:
    """Yield (file, what it gave) in the order of `files`, reading ahead; of large files in parts.

    Workers check the samples and turn them into rows, so that this process only collects bytes. With `check` it is
    given the inventory of each file instead of its rows. Raises `GanError` for samples that do not fit the modality's
    fields.
    """
    groups = grouped(modality.fields)
    names = list(groups)
    for file, parts, reason, state in bounded.read_in_parts(partial(_rows_of, modality, groups, check), files):
        found = FileRows(reason, is_last=state.is_last, begins=state.begins)
        for part in parts:
            if _WRONG in part:
                raise GanError(part[_WRONG].tobytes().decode())
            if _INVENTORY in part:
                found.inventory = json.loads(part.pop(_INVENTORY).tobytes())
            for number, steps, continued in part.pop(_GROUPS).tolist():
                found.groups.append(names[number])
                found.steps.append(steps)
                found.is_continued.append(bool(continued))
            for name, rows in part.items():
                found.data.setdefault(name, []).append(rows)
        yield file, found


def _rows_of(modality: Modality, groups: Groups, check: bool, file: SourceFile) -> Iterator[Sample]:
    """The rows of a file in parts of about `bounded.CHUNK` bytes: field -> ``(bytes,)`` uint8, and the groups."""
    counts = dict(modality.inventory(file)) if check else None
    numbers = {group: number for number, group in enumerate(groups)}
    parts: dict[str, list[bytes]] = {}
    of_samples: list[tuple[int, int, bool]] = []
    size = 0
    recording = _Recording(groups)
    for sample in modality.read(file):
        if size > bounded.CHUNK:
            yield _part(parts, of_samples)
            parts, of_samples, size = {}, [], 0
        group, continued = _group_of(sample, groups), isinstance(sample, Continued)
        fields = windowed(groups[group]) if continued else groups[group]
        try:
            rows = {name: _row(sample, name, spec, file) for name, spec in fields.items()}
            of_samples.append((numbers[group], recording.add(group, sample, file, continued=continued), continued))
        except GanError as error:
            yield {_WRONG: _text(str(error))}
            return
        for name, row in {} if check else rows.items():
            parts.setdefault(name, []).append(row)
            size += len(row)
    try:
        recording.end(file)
    except GanError as error:
        yield {_WRONG: _text(str(error))}
        return
    if of_samples:
        told = {_INVENTORY: _text(json.dumps(counts))} if counts else {}
        yield {**_part(parts, of_samples), **told}


def _part(parts: Mapping[str, list[bytes]], samples: list[tuple[int, int, bool]]) -> Sample:
    found = {name: np.frombuffer(b"".join(rows), np.uint8) for name, rows in parts.items()}
    return {**found, _GROUPS: np.array(samples, np.int64).reshape(-1, 3)}


class _Recording:
    """Checks the recordings that a reader yields: all fields have equally many steps, and at least those of a window.

    Raises `GanError` where they do not.
    """

    def __init__(self, groups: Groups) -> None:
        self._groups = groups
        self._windows = windows_of(groups)
        self._group = ""
        self._steps = 0

    def add(self, group: str, sample: Sample, file: SourceFile, *, continued: bool) -> int:
        """The steps of a sample, or of a part of a recording; 0 without windows."""
        if not continued:
            self.end(file)
        elif group != self._group or not self._steps:
            raise GanError(f"the modality's reader continues no recording in {file.name}")
        fields = windowed(self._groups[group])
        found = {np.shape(sample[name])[spec.longer_axis] // spec.window for name, spec in fields.items()}
        if len(found) > 1:
            raise GanError(f"the modality's reader gave fields of {file.name} with different numbers of steps")
        self._group, steps = group, next(iter(found), 0)
        self._steps = self._steps + steps if continued else steps
        return steps

    def end(self, file: SourceFile) -> None:
        """The recording is complete."""
        if 0 < self._steps < self._windows[self._group]:
            raise GanError(
                f"the modality's reader gave a recording of {file.name} with {self._steps} steps, fewer than the "
                f"{self._windows[self._group]} of a window"
            )
        self._steps = 0


def _text(text: str) -> np.ndarray[Any, Any]:
    return np.frombuffer(text.encode("utf-8", "replace"), np.uint8)


def _group_of(sample: Sample, groups: Groups) -> str:
    """The group that a sample's fields belong to."""
    if len(groups) == 1:
        return next(iter(groups))
    return next((group for group, fields in groups.items() if not fields.keys().isdisjoint(sample)), next(iter(groups)))


def _row(sample: Sample, name: str, spec: FieldSpec, file: SourceFile) -> bytes:
    """One field of one sample as bytes, checked against what the modality promised."""
    if name not in sample:
        raise GanError(f"the modality's reader gave no field '{name}' for {file.name}")
    value = np.asarray(sample[name])
    reason = spec.mismatch(value)
    if reason:
        raise GanError(f"the modality's reader gave a sample of {file.name} whose '{name}' {reason}")
    if spec.window:
        value = np.moveaxis(value, spec.longer_axis, 0)
    return np.packbits(value).tobytes() if spec.dtype == "bool" else value.tobytes()
