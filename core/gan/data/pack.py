"""Read packed datasets: memory-mapped arrays with the samples of a source, and their split for validation.

`gan.data.packing` writes packs.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from gan.contracts import FieldSpec, Samples
from gan.data.windows import Recordings, steps_of_window
from gan.draws import derive
from gan.errors import BadData
from gan.storage.regular import Broken, read_regular
from gan.storage.seal import Stamp, broken_files, is_seal, unsealed
from gan.storage.seal import stamp as stamp_of

MAX_ABOUT_BYTES = 1 << 30
"""Largest ``pack.json``, in bytes: it holds the name of every file."""


@dataclass
class Pack:
    """The samples of one source, in memory-mapped arrays on the disk.

    Unpaired fields (`FieldSpec.group`) have arrays of different lengths; such a pack is as long as its longest group,
    and shorter groups are repeated.
    """

    folder: Path
    fields: dict[str, FieldSpec]
    counts: dict[str, int]
    """Group of fields -> number of samples in its arrays; one group where all fields are paired."""
    facts: dict[str, Any]
    """The result of `Modality.survey`."""
    fingerprint: str
    """SHA-256 of the source's content, the modality and its settings; also the key of the pack in the cache."""
    files: list[str]
    """Names of the files with samples."""
    skipped: dict[str, str]
    """Name -> reason of the files without samples."""
    arrays: dict[str, np.ndarray[Any, Any]]
    rows: dict[str, np.ndarray[Any, Any]] | None = None
    """Group -> the rows of this view; None: all."""
    recordings: dict[str, Recordings] = field(default_factory=dict)
    """Group -> its recordings, of groups of fields with windows."""
    stamps: dict[Path, Stamp] = field(default_factory=dict)
    """Of each array's file, to detect changes during a training."""

    def __len__(self) -> int:
        return max(self.sizes)

    @property
    def count(self) -> int:
        """Number of samples of the longest group in the whole pack."""
        return max(self.counts.values())

    @property
    def sizes(self) -> list[int]:
        """Numbers of samples of each group in this view."""
        return list(self.counts.values()) if self.rows is None else [len(rows) for rows in self.rows.values()]

    @property
    def windowed(self) -> list[bool]:
        """Whether the samples of each group are windows of recordings."""
        return [group in self.recordings for group in self.counts]

    def take(self, indices: np.ndarray[Any, Any]) -> Samples:
        """Return the samples at `indices` as field name -> array ``(n, *shape)``.

        `indices` are int64 ``(n,)``, or ``(n, groups)`` with an index for each group. An index of windows may hold a
        random start (`gan.data.windows`).

        Raises `BadData` when the pack on the disk changed during the training.
        """
        for path, stamp in self.stamps.items():  # reading past the end of a truncated mapped file kills the process
            if stamp_of(path) != stamp:
                raise BadData(
                    "the packed data changed or vanished while it was in use; resume the run to pack it again", path
                )
        columns, steps = {}, {}
        for number, (group, size) in enumerate(zip(self.counts, self.sizes)):
            column = indices[:, number] if indices.ndim == 2 else indices
            is_one_of_many = indices.ndim == 1 and len(self.counts) > 1
            draws = column * 0 if is_one_of_many else column // size
            column = column % size if is_one_of_many or group in self.recordings else column
            column = column if self.rows is None else self.rows[group][column]
            if group in self.recordings:
                steps[group] = self.recordings[group].steps(column, draws)
                column = self.recordings[group].of_rows(column)
            columns[group] = column
        taken = {}
        for name, spec in self.fields.items():
            if spec.window:
                taken[name] = self._windows(name, steps[spec.group])
                continue
            rows = self.arrays[name][columns[spec.group]]
            if spec.dtype == "bool":
                size = int(np.prod(spec.shape, dtype=np.int64))
                rows = np.unpackbits(rows, axis=1, count=size).view(np.bool_)
            taken[name] = rows.reshape(len(indices), *spec.shape)
        return taken

    def column(self, name: str) -> np.ndarray[Any, Any]:
        """Return one field of all samples of this view, ``(n, *shape)``; for small fields, without windows."""
        spec = self.fields[name]
        rows: Any = slice(None) if self.rows is None else self.rows[spec.group]
        if spec.group in self.recordings:
            rows = self.recordings[spec.group].of_rows(np.arange(self.counts[spec.group])[rows])
        column: np.ndarray[Any, Any] = self.arrays[name][rows]
        return column.reshape(-1, *spec.shape)

    def _windows(self, name: str, steps: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """The windows of a field that begin at `steps` of its array, ``(n, *shape)``."""
        spec, array = self.fields[name], self.arrays[name]
        axis = spec.longer_axis
        others = spec.shape[:axis] + spec.shape[axis + 1 :]
        found = np.empty((len(steps), *spec.shape), array.dtype)
        for row, step in zip(found, steps.tolist()):
            part = array[step * spec.window : step * spec.window + spec.shape[axis]]
            row[...] = np.moveaxis(part.reshape(spec.shape[axis], *others), 0, axis)
        return found

    def file_of_row(self, group: str | None = None) -> np.ndarray[Any, Any]:
        """Return the index into `files` of every sample of a group (None: the first group), int32."""
        number = 0 if group is None else list(self.counts).index(group)
        rows: np.ndarray[Any, Any] = np.load(self.folder / f"file_of_row-{number}.npy", allow_pickle=False)
        return rows

    def split(self, holdout: float, *, balance: bool = False) -> tuple[Pack, Pack]:
        """Split into (training, validation): about a share `holdout` of the files, chosen by a hash of their names.

        Files are not divided, so that phrases of one song are not in both. Of a group of a single file, the last rows
        are held out; of windows of recordings also the row before them is not trained on, into which random windows
        would reach. With `balance`, every folder has equally many samples in each of the two; see `balanced`.
        """
        if balance:
            return self._balanced_parts(holdout)
        if holdout <= 0:
            return self, self
        kept, out = {}, {}
        for group, count in self.counts.items():
            of_held = self._held(group, holdout)
            kept[group], out[group] = np.flatnonzero(~of_held), np.flatnonzero(of_held)
            if group in self.recordings and len(np.unique(self.file_of_row(group))) == 1:
                kept[group] = kept[group][:-1]
            if not len(kept[group]) or not len(out[group]):
                raise BadData(f"{count} samples are too few to hold out a share of {holdout:g}")
        return replace(self, rows=kept), replace(self, rows=out)

    def balanced(self) -> Pack:
        """Return a view in which all folders directly inside the source have equally many samples.

        Samples of smaller folders are repeated. An archive inside the source counts as a folder, and so do the files
        beside the folders. Each group of unpaired fields is balanced separately.

        Raises `BadData` where there are fewer than two folders.
        """
        rows = {}
        for group, count in self.counts.items():
            shown = np.arange(count) if self.rows is None else self.rows[group]
            of_row = self._folder_of_row(group)[shown]
            parts = [shown[of_row == folder] for folder in np.unique(of_row)]
            rows[group] = np.concatenate([np.resize(part, max(map(len, parts))) for part in parts])
        if len(self._folders_shown()) < 2:
            raise BadData("data.balance needs a source with at least two folders or archives in it")
        return replace(self, rows=rows)

    def _folder_of_row(self, group: str) -> np.ndarray[Any, Any]:
        """The folder directly inside the source that each row of a group comes from; ``""``: none."""
        folders = np.array([name.partition("/")[0] if "/" in name else "" for name in self.files])
        found: np.ndarray[Any, Any] = folders[self.file_of_row(group)]
        return found

    def _folders_shown(self) -> set[str]:
        """The folders that this view has samples of."""
        found: set[str] = set()
        for group in self.counts:
            of_row = self._folder_of_row(group)
            found.update((of_row if self.rows is None else of_row[self.rows[group]]).tolist())
        return found

    def _balanced_parts(self, holdout: float) -> tuple[Pack, Pack]:
        kept, held = self.split(holdout)
        for part, what in ((kept, "left for training"), (held, "held out")):
            missing = sorted(self._folders_shown() - part._folders_shown())
            if missing:
                raise BadData(f"data.balance: no file of folder '{missing[0]}' is {what}; change data.holdout")
        return kept.balanced(), held.balanced()

    def _held(self, group: str, holdout: float) -> np.ndarray[Any, Any]:
        """Whether each row of a group is held out."""
        of_row = self.file_of_row(group)
        numbers = np.unique(of_row)
        if len(numbers) == 1:
            count = len(of_row)
            return np.arange(count) >= count - max(1, int(count * holdout))
        limit = int(holdout * (1 << 32))
        held = np.array([derive(0, "holdout", self.files[number]) % (1 << 32) < limit for number in numbers])
        if not held.any():
            held[-1] = True
        if held.all():
            held[0] = False
        return held[np.searchsorted(numbers, of_row)]


Progress = Callable[[int, int], None]
"""Called with (files done, total files)."""


class Unsealed(ValueError):
    """A pack of a version that kept no SHA-256 of its arrays."""


def load_pack(folder: Path, memory: Path | None = None) -> Pack:
    """Open a pack on the disk after comparing every array with its SHA-256, which `memory` remembers
    (`gan.storage.seal`).

    Raises `OSError`, `ValueError`, `KeyError`, `TypeError` or `Broken` where it is damaged, and `Unsealed`.
    """
    about = read_about(folder)
    found = broken_files(folder, about["arrays"], memory)
    if found:
        raise Broken("; ".join(f"{name} {reason}" for name, reason in found.items()))
    fields = {
        name: FieldSpec(**{key: _tupled(value) for key, value in spec.items()})
        for name, spec in about["fields"].items()
    }
    counts = about["counts"]
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    stamps = {}
    recordings = {}
    for number, group in enumerate(counts):
        window = steps_of_window({name: spec for name, spec in fields.items() if spec.group == group})
        if window:
            lengths = np.load(folder / f"recordings-{number}.npy", allow_pickle=False)
            recordings[group] = Recordings(lengths, window)
            if len(recordings[group]) != counts[group] or lengths.min(initial=window) < window:
                raise ValueError(f"the recordings of {folder} are not those of its samples")
    for name, spec in fields.items():
        width, dtype = _stored(spec)
        count = counts[spec.group]
        if spec.group in recordings:
            places = int(recordings[spec.group].begins[-1]) * spec.window
            count = places if spec.window else len(recordings[spec.group].lengths)
        path = folder / f"{name}.bin"
        if path.stat().st_size != count * width * dtype.itemsize:
            raise ValueError(f"the size of {path} is not that of its pack")
        stamps[path] = stamp_of(path)
        arrays[name] = np.memmap(path, dtype=dtype, mode="r", shape=(count, width))
    about = {key: about[key] for key in ("facts", "fingerprint", "files", "skipped")}
    return Pack(folder, fields, counts, **about, arrays=arrays, recordings=recordings, stamps=stamps)


def read_about(folder: Path) -> dict[str, Any]:
    """What ``pack.json`` says. Raises as `load_pack` does; the arrays are not looked at."""
    content = read_regular(folder / "pack.json", None, limit=MAX_ABOUT_BYTES)
    about, is_sealed = unsealed(content, "pack.json", lambda text, where: json.loads(text))
    if not is_sealed:
        raise Unsealed("pack.json has no seal")
    groups = len(about["counts"])
    names = {f"{name}.bin" for name in about["fields"]} | {f"file_of_row-{number}.npy" for number in range(groups)}
    for number, group in enumerate(about["counts"]):
        if any(spec.get("window") for spec in about["fields"].values() if spec.get("group", "") == group):
            names.add(f"recordings-{number}.npy")
    if not is_seal(about["arrays"]) or set(about["arrays"]) != names:
        raise ValueError("pack.json seals other arrays than it describes")
    return about


def _tupled(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value  # JSON has lists only


def _stored(spec: FieldSpec) -> tuple[int, np.dtype[Any]]:
    """(values per row, their type) on the disk; booleans are packed as bits. With windows, a row is a place."""
    size = int(np.prod(spec.shape, dtype=np.int64))
    if spec.window:
        size //= spec.shape[spec.longer_axis]
    return ((size + 7) // 8, np.dtype("uint8")) if spec.dtype == "bool" else (size, np.dtype(spec.dtype))
