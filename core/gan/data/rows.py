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

from gan.contracts import FieldSpec, Modality, Sample
from gan.data import bounded
from gan.errors import GanError
from gan.source import SourceFile


@dataclass
class FileRows:
    """What one file gave."""

    reason: str | None = None
    """Why the file cannot be used; None if it can, or if it belongs to another file's samples."""
    groups: list[str] = field(default_factory=list)
    """The group of fields of each sample, in order."""
    inventory: dict[str, int] = field(default_factory=dict)
    """`Modality.inventory`, for a check."""
    data: dict[str, list[np.ndarray[Any, Any]]] = field(default_factory=dict)
    """Field -> its rows of all samples in parts, uint8, one after another as a pack stores them; not for a check."""


_GROUPS, _INVENTORY, _WRONG = "/groups", "/inventory", "/wrong"
"""What a worker returns beside the rows of fields: number of the group of each sample; counts as JSON; an error."""
Groups: TypeAlias = "dict[str, dict[str, FieldSpec]]"
"""Group -> its fields by name."""


def grouped(fields: Mapping[str, FieldSpec]) -> Groups:
    """The fields by `FieldSpec.group`, in their order."""
    groups: Groups = {}
    for name, spec in fields.items():
        groups.setdefault(spec.group, {})[name] = spec
    return groups


def read_files(
    modality: Modality, files: Sequence[SourceFile], *, check: bool = False
) -> Iterator[tuple[SourceFile, FileRows]]:
    """Yield (file, what it gave) in the order of `files`, reading ahead.

    Workers check the samples and turn them into rows, so that this process only collects bytes. With `check` it is
    given the inventory of each file instead of its rows. Raises `GanError` for samples that do not fit the modality's
    fields.
    """
    groups = grouped(modality.fields)
    names = list(groups)
    for file, parts, reason in bounded.read_with(partial(_rows_of, modality, groups, check), files):
        found = FileRows(reason)
        for part in parts:
            if _WRONG in part:
                raise GanError(part[_WRONG].tobytes().decode())
            if _INVENTORY in part:
                found.inventory = json.loads(part.pop(_INVENTORY).tobytes())
            found.groups += [names[number] for number in part.pop(_GROUPS).tolist()]
            for name, rows in part.items():
                found.data.setdefault(name, []).append(rows)
        yield file, found


def _rows_of(modality: Modality, groups: Groups, check: bool, file: SourceFile) -> Iterator[Sample]:
    """The rows of a file in parts of about `bounded.CHUNK` bytes: field -> ``(bytes,)`` uint8, and the groups."""
    counts = dict(modality.inventory(file)) if check else None
    numbers = {group: number for number, group in enumerate(groups)}
    parts: dict[str, list[bytes]] = {}
    of_samples: list[int] = []
    size = 0
    for sample in modality.read(file):
        if size > bounded.CHUNK:
            yield _part(parts, of_samples)
            parts, of_samples, size = {}, [], 0
        group = _group_of(sample, groups)
        for name, spec in groups[group].items():
            try:
                row = _row(sample, name, spec, file)
            except GanError as error:
                yield {_WRONG: _text(str(error))}
                return
            if not check:
                parts.setdefault(name, []).append(row)
                size += len(row)
        of_samples.append(numbers[group])
    if of_samples:
        told = {_INVENTORY: _text(json.dumps(counts))} if counts else {}
        yield {**_part(parts, of_samples), **told}


def _part(parts: Mapping[str, list[bytes]], groups: list[int]) -> Sample:
    found = {name: np.frombuffer(b"".join(rows), np.uint8) for name, rows in parts.items()}
    return {**found, _GROUPS: np.array(groups, np.int32)}


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
    return np.packbits(value).tobytes() if spec.dtype == "bool" else value.tobytes()
