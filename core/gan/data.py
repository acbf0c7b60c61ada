"""Packed data: a source is read once into arrays on the disk, and training reads from those.

A pack is keyed by the content of its source, by the modality and by the modality's settings. Its order in training is a
function of (seed, position): resuming costs nothing and no worker keeps a state.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from gan.contracts import Field, Modality, Sample, Samples
from gan.draws import derive
from gan.errors import BadData, DiskError, GanError
from gan.files import cache_folder, filled_aside
from gan.source import Companion, Listing, SourceFile, list_source

PACK_FORMAT = 2
NAMED_REASONS = 3
"""How many unusable files an error names."""


@dataclass
class Pack:
    """Samples of one source in arrays on the disk, memory-mapped.

    Unpaired fields (`Field.group`) have arrays of different lengths; such a pack is as long as its longest group, and
    a shorter one begins again.
    """

    folder: Path
    fields: dict[str, Field]
    counts: dict[str, int]
    """Group of fields -> samples in its arrays; one group where all fields come together."""
    facts: dict[str, Any]
    """What `Modality.survey` learned."""
    fingerprint: str
    """SHA-256 of the source's content, the modality and its settings."""
    files: list[str]
    """Names of the files that gave samples."""
    skipped: dict[str, str]
    """Name -> reason of the files that gave none."""
    arrays: dict[str, np.ndarray[Any, Any]]
    rows: dict[str, np.ndarray[Any, Any]] | None = None
    """Group -> the rows that this view shows; None: all."""
    marks: dict[Path, tuple[int, int, int]] = field(default_factory=dict)
    """Size, time and number of each array's file, to notice that somebody changes it under a training."""

    def __len__(self) -> int:
        return max(self.sizes)

    @property
    def count(self) -> int:
        """Samples of the longest group, of the whole pack."""
        return max(self.counts.values())

    @property
    def sizes(self) -> list[int]:
        """Samples of each group in this view."""
        return list(self.counts.values()) if self.rows is None else [len(rows) for rows in self.rows.values()]

    def take(self, indices: np.ndarray[Any, Any]) -> Samples:
        """The samples at `indices`, field by field, ``(len(indices), *shape)``.

        `indices` are int64 ``(n,)``, or ``(n, groups)`` for an index a group.

        Raises `BadData` when the pack on the disk changed under the training.
        """
        for path, mark in self.marks.items():  # reading past the end of a shrunken mapped file would kill the process
            if _mark(path) != mark:
                raise BadData(
                    "the packed data changed or vanished while it was used; resume, and it is packed anew", path
                )
        columns = {}
        for number, (group, size) in enumerate(zip(self.counts, self.sizes)):
            column = indices[:, number] if indices.ndim == 2 else indices
            column = column % size if indices.ndim == 1 and len(self.counts) > 1 else column
            columns[group] = column if self.rows is None else self.rows[group][column]
        taken = {}
        for name, spec in self.fields.items():
            rows = self.arrays[name][columns[spec.group]]
            if spec.dtype == "bool":
                size = int(np.prod(spec.shape, dtype=np.int64))
                rows = np.unpackbits(rows, axis=1, count=size).view(np.bool_)
            taken[name] = rows.reshape(len(indices), *spec.shape)
        return taken

    def column(self, name: str) -> np.ndarray[Any, Any]:
        """One field of all samples of this view, ``(n, *shape)``; for small ones."""
        spec = self.fields[name]
        rows = slice(None) if self.rows is None else self.rows[spec.group]
        return self.arrays[name][rows].reshape(-1, *spec.shape)

    def file_of_row(self, group: str | None = None) -> np.ndarray[Any, Any]:
        """Index into `files` of every sample of a group (None: the first one), int32."""
        number = 0 if group is None else list(self.counts).index(group)
        rows: np.ndarray[Any, Any] = np.load(self.folder / f"file_of_row-{number}.npy", allow_pickle=False)
        return rows

    def split(self, holdout: float, *, balance: bool = False) -> tuple[Pack, Pack]:
        """(training, held out): whole files, chosen by a hash of their names, about `holdout` of them.

        One file stays whole in one of the two, so that phrases of one song are not in both. A group of a single file
        has its last rows held out. With `balance` both show every folder equally often, as `balanced` says.
        """
        if balance:
            return self._balanced_parts(holdout)
        if holdout <= 0:
            return self, self
        kept, out = {}, {}
        for group, count in self.counts.items():
            of_held = self._held(group, holdout)
            kept[group], out[group] = np.flatnonzero(~of_held), np.flatnonzero(of_held)
            if not len(kept[group]) or not len(out[group]):
                raise BadData(f"{count} samples are too few to hold {holdout:g} of them out")
        return replace(self, rows=kept), replace(self, rows=out)

    def balanced(self) -> Pack:
        """A view in which all folders directly inside the source have equally many samples: those of the smaller ones
        stand there several times. An archive inside the source is a folder; files beside them are one. Of unpaired
        fields each group is balanced by itself.

        Raises `BadData` where there are no two folders to balance.
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
        """Name of the folder directly inside the source that each row of a group comes from; ``""``: none."""
        folders = np.array([name.partition("/")[0] if "/" in name else "" for name in self.files])
        found: np.ndarray[Any, Any] = folders[self.file_of_row(group)]
        return found

    def _folders_shown(self) -> set[str]:
        """The folders of this view's samples."""
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


class Order:
    """Which samples the training sees at a position: a permutation of all samples for every pass over the data.

    `sizes` are the samples of each group of fields (`Pack.sizes`), or one number; every group has its own passes.
    """

    def __init__(self, sizes: int | Sequence[int], seed: int) -> None:
        self._sizes = [sizes] if isinstance(sizes, int) else list(sizes)
        self._seed = seed
        self._passes: list[dict[int, np.ndarray[Any, Any]]] = [{} for _ in self._sizes]

    def indices(self, position: int, count: int) -> np.ndarray[Any, Any]:
        """The samples `position` … ``position + count - 1`` of an endless sequence of passes, int64: ``(count,)``, or
        ``(count, groups)`` where there are several groups."""
        columns = [self._column(group, position, count) for group in range(len(self._sizes))]
        return columns[0] if len(columns) == 1 else np.stack(columns, axis=1)

    def _column(self, group: int, position: int, count: int) -> np.ndarray[Any, Any]:
        parts = []
        while count > 0:
            number, offset = divmod(position, self._sizes[group])
            part = self._pass(group, number)[offset : offset + count]
            parts.append(part)
            position += len(part)
            count -= len(part)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _pass(self, group: int, number: int) -> np.ndarray[Any, Any]:
        passes = self._passes[group]
        if number not in passes:
            purpose = ("order", number, group) if group else ("order", number)
            generator = np.random.Generator(np.random.Philox(derive(self._seed, *purpose)))
            if len(passes) > 1:
                passes.pop(min(passes))
            passes[number] = generator.permutation(self._sizes[group])
        return passes[number]


Progress = Callable[[int, int], None]
"""``(files done, files in all)``."""


def open_pack(
    source: Path,
    modality: type[Modality],
    config: Any,
    name: str,
    *,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Pack:
    """The pack of `source`, made now if the cache has none. `name` is the modality's name, for its key.

    Raises `BadData` when the source gives no sample, with the reasons of the first files.
    """
    packs = (cache or cache_folder()) / "packs"
    listing = list_source(source, modality.suffixes)
    if not listing.files:
        raise BadData(_nothing(listing, modality), source)
    settings = json.dumps(config.model_dump(mode="json"), sort_keys=True)
    quick = _quick_key(listing, name, modality, settings)
    note = packs / "known" / f"{quick}.json"
    try:
        key = json.loads(note.read_text())["key"]
        return load_pack(packs / key)
    except (OSError, ValueError, KeyError):
        pass
    key = _content_key(listing, name, modality, settings)
    folder = packs / key
    if not (folder / "pack.json").is_file():
        _build(listing, modality, config, folder, key, progress)
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        aside = note.with_suffix(f".{os.getpid()}")
        aside.write_text(json.dumps({"key": key}))
        aside.replace(note)
    except OSError as error:
        raise DiskError(f"{note}: {error.strerror}; set GAN_CACHE to a folder that can be written") from error
    try:
        return load_pack(folder)
    except (OSError, ValueError, KeyError, TypeError):  # somebody changed it since
        shutil.rmtree(folder, ignore_errors=True)
        _build(listing, modality, config, folder, key, progress)
        return load_pack(folder)


def load_pack(folder: Path) -> Pack:
    """A pack on the disk."""
    about = json.loads((folder / "pack.json").read_text())
    fields = {
        name: Field(**{part: _tupled(value) for part, value in spec.items()}) for name, spec in about["fields"].items()
    }
    counts = about["counts"]
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    marks = {}
    for name, spec in fields.items():
        width, dtype = _stored(spec)
        count = counts[spec.group]
        path = folder / f"{name}.bin"
        if path.stat().st_size != count * width * dtype.itemsize:
            raise ValueError(f"{path} has another size than its pack says")
        marks[path] = _mark(path)
        arrays[name] = np.memmap(path, dtype=dtype, mode="r", shape=(count, width))
    return Pack(
        folder,
        fields,
        counts,
        about["facts"],
        about["fingerprint"],
        about["files"],
        about["skipped"],
        arrays,
        None,
        marks,
    )


def _mark(path: Path) -> tuple[int, int, int]:
    try:
        status = os.stat(path)
    except OSError:
        return (-1, -1, -1)
    return (status.st_size, status.st_mtime_ns, status.st_ino)


def _described(spec: Field) -> dict[str, Any]:
    """Only what every field has: a modality may extend `Field` with what JSON cannot hold."""
    return {part.name: getattr(spec, part.name) for part in dataclasses.fields(Field)}


def _tupled(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value  # JSON knows lists only


def _stored(spec: Field) -> tuple[int, np.dtype[Any]]:
    """(values a row, their type) on the disk: truth values are stored as bits."""
    size = int(np.prod(spec.shape, dtype=np.int64))
    return ((size + 7) // 8, np.dtype("uint8")) if spec.dtype == "bool" else (size, np.dtype(spec.dtype))


def _quick_key(listing: Listing, name: str, modality: type[Modality], settings: str) -> str:
    digest = hashlib.sha256(_kind(name, modality, settings).encode())
    digest.update(str(listing.root.resolve()).encode())
    for file in listing.files:
        status = file.path.stat()
        digest.update(f"{file.name}\0{file.size}\0{status.st_mtime_ns}\0{status.st_size}\n".encode("utf-8", "replace"))
    return digest.hexdigest()[:32]


def _content_key(listing: Listing, name: str, modality: type[Modality], settings: str) -> str:
    digest = hashlib.sha256(_kind(name, modality, settings).encode())
    hashed: dict[Path, str] = {}
    for file in listing.files:
        if file.path not in hashed:
            try:
                with open(file.path, "rb") as content:
                    hashed[file.path] = hashlib.file_digest(content, "sha256").hexdigest()
            except OSError as error:
                hashed[file.path] = f"unreadable: {error.strerror}"
        digest.update(f"{file.name}\0{hashed[file.path]}\n".encode("utf-8", "replace"))
    return digest.hexdigest()


def _kind(name: str, modality: type[Modality], settings: str) -> str:
    version = getattr(modality, "version", "1")
    return f"{PACK_FORMAT}\0{name}\0{modality.__module__}:{modality.__qualname__}\0{version}\0{settings}\0"


def _build(
    listing: Listing, modality_class: type[Modality], config: Any, folder: Path, key: str, progress: Progress | None
) -> None:
    facts = modality_class(config).survey(listing.files)
    modality = modality_class(config, facts)
    fields = modality.fields
    skipped = dict(listing.skipped)
    used: list[str] = []
    groups: dict[str, dict[str, Field]] = {}
    for name, spec in fields.items():
        groups.setdefault(spec.group, {})[name] = spec
    file_of_row: dict[str, list[int]] = {group: [] for group in groups}
    with filled_aside(folder, "pack.json") as aside:
        outputs = {name: open(aside / f"{name}.bin", "wb") for name in fields}  # noqa: SIM115  (closed below)
        try:
            for done, (file, samples, reason) in enumerate(_read_all(modality, listing.files), 1):
                if reason is not None:
                    skipped[file.name] = reason
                elif samples:
                    for sample in samples:
                        group = _group_of(sample, groups)
                        for name, spec in groups[group].items():
                            outputs[name].write(_row(sample, name, spec, file))
                        file_of_row[group].append(len(used))
                    used.append(file.name)
                if progress:
                    progress(done, len(listing.files))
        finally:
            for output in outputs.values():
                output.close()
        if not used:
            raise BadData(_all_bad(skipped), listing.root)
        empty = [", ".join(groups[group]) for group, rows in file_of_row.items() if not rows]
        if empty:
            raise BadData(f"no sample of {empty[0]}, only of the other fields", listing.root)
        for number, rows in enumerate(file_of_row.values()):
            np.save(aside / f"file_of_row-{number}.npy", np.asarray(rows, dtype=np.int32), allow_pickle=False)
        about = {
            "fields": {name: _described(spec) for name, spec in fields.items()},
            "counts": {group: len(rows) for group, rows in file_of_row.items()},
            "facts": facts,
            "fingerprint": key,
            "files": used,
            "skipped": skipped,
        }
        (aside / "pack.json").write_text(json.dumps(about))


def _read_all(modality: Modality, files: Sequence[SourceFile]) -> Iterator[tuple[SourceFile, list[Sample], str | None]]:
    """Every file's samples in the order of `files`, read a little ahead by threads."""
    workers = min(8, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[tuple[SourceFile, Future[tuple[list[Sample], str | None]]]] = deque()
        for file in files:
            waiting.append((file, pool.submit(_read_one, modality, file)))
            if len(waiting) > 2 * workers:
                done = waiting.popleft()
                yield done[0], *done[1].result()
        for file, future in waiting:
            yield file, *future.result()


def _read_one(modality: Modality, file: SourceFile) -> tuple[list[Sample], str | None]:
    try:
        samples = list(modality.read(file))
    except Companion:
        return [], None
    except BadData as error:
        return [], error.reason
    except (MemoryError, RecursionError):
        return [], "needs more memory than there is"
    except Exception as error:  # noqa: BLE001  (a reader's failure concerns one file and is named in the pack)
        return [], f"{type(error).__name__}: {error}"
    return samples, None if samples else "holds no sample"


def _group_of(sample: Sample, groups: dict[str, dict[str, Field]]) -> str:
    """The group that a sample's fields are of."""
    if len(groups) == 1:
        return next(iter(groups))
    return next((group for group, fields in groups.items() if not fields.keys().isdisjoint(sample)), next(iter(groups)))


def _row(sample: Sample, name: str, spec: Field, file: SourceFile) -> bytes:
    """One field of one sample as bytes, checked against what the modality promised."""
    if name not in sample:
        raise GanError(f"the modality's reader gave no field '{name}' for {file.name}")
    value = np.asarray(sample[name])
    if value.shape != spec.shape or value.dtype != np.dtype(spec.dtype):
        raise GanError(
            f"the modality's reader gave '{name}' as {value.shape} {value.dtype} for {file.name}; "
            f"its fields say {spec.shape} {spec.dtype}"
        )
    if spec.dtype == "bool":
        return np.packbits(value).tobytes()
    if value.size and not (value.min() >= spec.low and value.max() <= spec.high):
        raise GanError(
            f"the modality's reader gave '{name}' between {value.min()} and {value.max()} for {file.name}; "
            f"its fields say {spec.low:g} … {spec.high:g}"
        )
    return value.tobytes()


@dataclass
class Check:
    """What a training would use of a source."""

    used: dict[str, int]
    """Name -> samples, in the order of the pack."""
    skipped: dict[str, str]
    """Name -> reason."""
    other: int
    """Files with other endings."""
    inventory: dict[str, tuple[int, int]] = field(default_factory=dict)
    """What `Modality.inventory` found -> (files that hold it, how often in all), what most files hold first."""

    @property
    def samples(self) -> int:
        """Samples of all files."""
        return sum(self.used.values())


def check_source(source: Path, modality_class: type[Modality], config: Any, progress: Progress | None = None) -> Check:
    """Read a source as `open_pack` does and keep nothing: what would be used, and what is dropped and why."""
    listing = list_source(source, modality_class.suffixes)
    check = Check({}, dict(listing.skipped), listing.other)
    if not listing.files:
        return check
    modality = modality_class(config, modality_class(config).survey(listing.files))
    fields = modality.fields
    held: dict[str, tuple[int, int]] = {}
    for done, (file, samples, reason) in enumerate(_read_all(modality, listing.files), 1):
        if reason is not None:
            check.skipped[file.name] = reason
        else:
            for name, count in modality.inventory(file).items():
                files, total = held.get(name, (0, 0))
                held[name] = (files + 1, total + count)
            for sample in samples:
                for name, spec in fields.items():
                    _row(sample, name, spec, file)
            check.used[file.name] = len(samples)
        if progress:
            progress(done, len(listing.files))
    check.inventory.update(sorted(held.items(), key=lambda item: (-item[1][0], -item[1][1], item[0])))
    return check


def _nothing(listing: Listing, modality: type[Modality]) -> str:
    endings = ", ".join(modality.suffixes)
    if listing.skipped:
        return _all_bad(listing.skipped)
    beside = f"{listing.other} files with other endings" if listing.other else "it is empty"
    return f"no file with a known ending ({endings}); {beside}"


def _all_bad(skipped: dict[str, str]) -> str:
    first = "; ".join(f"{name}: {reason}" for name, reason in list(skipped.items())[:NAMED_REASONS])
    more = f"; and {len(skipped) - NAMED_REASONS} more" if len(skipped) > NAMED_REASONS else ""
    return f"none of {len(skipped)} files can be used ({first}{more})"
