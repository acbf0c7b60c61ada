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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gan.contracts import Field, Modality, Sample, Samples
from gan.draws import derive
from gan.errors import BadData, DiskError, GanError
from gan.files import cache_folder, sweep_processes
from gan.source import Listing, SourceFile, list_source

PACK_FORMAT = 1
NAMED_REASONS = 3
"""How many unusable files an error names."""


@dataclass
class Pack:
    """Samples of one source in arrays on the disk, memory-mapped."""

    folder: Path
    fields: dict[str, Field]
    count: int
    facts: dict[str, Any]
    """What `Modality.survey` learned."""
    fingerprint: str
    """SHA-256 of the source's content, the modality and its settings."""
    files: list[str]
    """Names of the files that gave samples."""
    skipped: dict[str, str]
    """Name -> reason of the files that gave none."""
    arrays: dict[str, np.ndarray[Any, Any]]
    rows: np.ndarray[Any, Any] | None = None
    """The rows that this view shows; None: all."""
    marks: dict[Path, tuple[int, int, int]] = field(default_factory=dict)
    """Size, time and number of each array's file, to notice that somebody changes it under a training."""

    def __len__(self) -> int:
        return self.count if self.rows is None else len(self.rows)

    def take(self, indices: np.ndarray[Any, Any]) -> Samples:
        """The samples at `indices` (int64), field by field, ``(len(indices), *shape)``.

        Raises `BadData` when the pack on the disk changed under the training.
        """
        for (
            path,
            mark,
        ) in self.marks.items():  # reading past the end of a mapped file that shrank would kill the process
            if _mark(path) != mark:
                raise BadData(
                    "the packed data changed or vanished while it was used; resume, and it is packed anew", path
                )
        if self.rows is not None:
            indices = self.rows[indices]
        taken = {}
        for name, spec in self.fields.items():
            rows = self.arrays[name][indices]
            if spec.dtype == "bool":
                size = int(np.prod(spec.shape, dtype=np.int64))
                rows = np.unpackbits(rows, axis=1, count=size).view(np.bool_)
            taken[name] = rows.reshape(len(indices), *spec.shape)
        return taken

    def file_of_row(self) -> np.ndarray[Any, Any]:
        """Index into `files` of every sample, int32."""
        rows: np.ndarray[Any, Any] = np.load(self.folder / "file_of_row.npy", allow_pickle=False)
        return rows

    def split(self, holdout: float) -> tuple[Pack, Pack]:
        """(training, held out): whole files, chosen by a hash of their names, about `holdout` of them.

        One file stays whole in one of the two, so that phrases of one song are not in both. With a single file the
        last rows are held out.
        """
        if holdout <= 0:
            return self, self
        if len(self.files) > 1:
            limit = int(holdout * (1 << 32))
            held = np.array([derive(0, "holdout", name) % (1 << 32) < limit for name in self.files])
            if not held.any():
                held[-1] = True
            if held.all():
                held[0] = False
            of_held = held[self.file_of_row()]
        else:
            of_held = np.arange(self.count) >= self.count - max(1, int(self.count * holdout))
        kept, out = np.flatnonzero(~of_held), np.flatnonzero(of_held)
        if not len(kept) or not len(out):
            raise BadData(f"{self.count} samples are too few to hold {holdout:g} of them out")
        return self._view(kept), self._view(out)

    def _view(self, rows: np.ndarray[Any, Any]) -> Pack:
        return Pack(
            self.folder,
            self.fields,
            self.count,
            self.facts,
            self.fingerprint,
            self.files,
            self.skipped,
            self.arrays,
            rows,
            self.marks,
        )


class Order:
    """Which samples the training sees at a position: a permutation of all samples for every pass over the data."""

    def __init__(self, count: int, seed: int) -> None:
        self._count = count
        self._seed = seed
        self._passes: dict[int, np.ndarray[Any, Any]] = {}

    def indices(self, position: int, count: int) -> np.ndarray[Any, Any]:
        """The samples `position` … ``position + count - 1`` of an endless sequence of passes, int64."""
        parts = []
        while count > 0:
            number, offset = divmod(position, self._count)
            part = self._pass(number)[offset : offset + count]
            parts.append(part)
            position += len(part)
            count -= len(part)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _pass(self, number: int) -> np.ndarray[Any, Any]:
        if number not in self._passes:
            generator = np.random.Generator(np.random.Philox(derive(self._seed, "order", number)))
            if len(self._passes) > 1:
                self._passes.pop(min(self._passes))
            self._passes[number] = generator.permutation(self._count)
        return self._passes[number]


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
    fields = {name: Field(**{**spec, "shape": tuple(spec["shape"])}) for name, spec in about["fields"].items()}
    count = about["count"]
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    marks = {}
    for name, spec in fields.items():
        width, dtype = _stored(spec)
        path = folder / f"{name}.bin"
        if path.stat().st_size != count * width * dtype.itemsize:
            raise ValueError(f"{path} has another size than its pack says")
        marks[path] = _mark(path)
        arrays[name] = np.memmap(path, dtype=dtype, mode="r", shape=(count, width))
    return Pack(
        folder,
        fields,
        count,
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
    aside = folder.with_name(f"{key}.{os.getpid()}.tmp")
    shutil.rmtree(aside, ignore_errors=True)
    sweep_processes(folder.parent)
    skipped = dict(listing.skipped)
    used: list[str] = []
    file_of_row: list[int] = []
    try:
        aside.mkdir(parents=True)
        outputs = {name: open(aside / f"{name}.bin", "wb") for name in fields}  # noqa: SIM115  (closed below)
        try:
            for done, (file, samples, reason) in enumerate(_read_all(modality, listing.files), 1):
                if reason is not None:
                    skipped[file.name] = reason
                else:
                    for sample in samples:
                        for name, spec in fields.items():
                            outputs[name].write(_row(sample, name, spec, file))
                    file_of_row.extend([len(used)] * len(samples))
                    used.append(file.name)
                if progress:
                    progress(done, len(listing.files))
        finally:
            for output in outputs.values():
                output.close()
        if not used:
            raise BadData(_all_bad(skipped), listing.root)
        np.save(aside / "file_of_row.npy", np.asarray(file_of_row, dtype=np.int32), allow_pickle=False)
        about = {
            "fields": {name: _described(spec) for name, spec in fields.items()},
            "count": len(file_of_row),
            "facts": facts,
            "fingerprint": key,
            "files": used,
            "skipped": skipped,
        }
        (aside / "pack.json").write_text(json.dumps(about))
        for path in aside.iterdir():
            with open(path, "rb+") as written:
                os.fsync(written.fileno())
        try:
            aside.rename(folder)
        except OSError:
            if not (folder / "pack.json").is_file():  # no other process was faster
                raise
    except OSError as error:
        raise DiskError(f"{aside}: {error.strerror}; set GAN_CACHE to a folder with space") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


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
    except BadData as error:
        return [], error.reason
    except (MemoryError, RecursionError):
        return [], "needs more memory than there is"
    except Exception as error:  # noqa: BLE001  (a reader's failure concerns one file and is named in the pack)
        return [], f"{type(error).__name__}: {error}"
    return samples, None if samples else "holds no sample"


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
    for done, (file, samples, reason) in enumerate(_read_all(modality, listing.files), 1):
        if reason is not None:
            check.skipped[file.name] = reason
        else:
            for sample in samples:
                for name, spec in fields.items():
                    _row(sample, name, spec, file)
            check.used[file.name] = len(samples)
        if progress:
            progress(done, len(listing.files))
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
