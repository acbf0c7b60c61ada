"""Turn the files of a source into rows of bytes as a pack stores them, checked against the modality's fields.

`gan.data.bounded` reads the files, in worker processes with limits where that is possible.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from gan.contracts import FieldSpec, Modality, Sample
from gan.data import bounded, foreign
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
    """`Modality.inventory`, where it was requested."""
    data: dict[str, bytes] = field(default_factory=dict)
    """Field -> its rows of all samples, one after another, as a pack stores them."""


Groups: TypeAlias = "dict[str, dict[str, FieldSpec]]"
"""Group -> its fields by name."""


def grouped(fields: Mapping[str, FieldSpec]) -> Groups:
    """The fields by `FieldSpec.group`, in their order."""
    groups: Groups = {}
    for name, spec in fields.items():
        groups.setdefault(spec.group, {})[name] = spec
    return groups


def read_files(
    modality: Modality, files: Sequence[SourceFile], *, inventory: bool = False
) -> Iterator[tuple[SourceFile, FileRows]]:
    """Yield (file, what it gave) in the order of `files`, reading ahead.

    Raises `GanError` for samples that do not fit the modality's fields.
    """
    groups = grouped(modality.fields)
    task = (lambda file: foreign.counted(modality, file)) if inventory else modality.read
    for file, samples, reason in bounded.read_with(task, files):
        found = FileRows(reason)
        if inventory:
            found.inventory = foreign.value_in(samples)
        parts: dict[str, list[bytes]] = {}
        for sample in samples:
            group = _group_of(sample, groups)
            for name, spec in groups[group].items():
                parts.setdefault(name, []).append(_row(sample, name, spec, file))
            found.groups.append(group)
        found.data = {name: b"".join(rows) for name, rows in parts.items()}
        yield file, found


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
