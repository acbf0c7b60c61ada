"""Pack a dataset: read its files in parallel, once, into arrays in the cache.

A pack is keyed by the content of its source, the modality and the modality's settings. `gan.data.pack` reads packs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import os
import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from gan.contracts import FieldSpec, Modality, Sample
from gan.data.pack import Pack, Progress, Unsealed, load_pack
from gan.errors import BadData, DiskError, GanError
from gan.runtime.signals import check_stop
from gan.source import Companion, Listing, SourceFile, list_source
from gan.storage.durable import cache_folder, discard, filled_aside, write_json
from gan.storage.regular import Broken, read_regular
from gan.storage.seal import Stamp, remember, seal, sealed_text, stamp

PACK_FORMAT = 2
_KEY = re.compile(r"[0-9a-f]{64}")
_DAMAGED = (OSError, ValueError, KeyError, TypeError, Broken)
_log = logging.getLogger(__name__)

NAMED_REASONS = 3
"""How many unusable files an error names."""


def open_pack(
    source: Path,
    modality: type[Modality],
    config: Any,
    name: str,
    *,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Pack:
    """Open the pack of `source`, which is made if the cache has none. `name` is the modality's name, part of the key.

    Raises `BadData` with the reasons of the first files when the source has no usable sample.
    """
    packs = (cache or cache_folder()) / "packs"
    listing = list_source(source, modality.suffixes)
    if not listing.files:
        raise BadData(_nothing(listing, modality), source)
    settings = json.dumps(config.model_dump(mode="json"), sort_keys=True)
    stamps = {file.path: stamp(file.path) for file in listing.files}
    quick = _quick_key(listing, stamps, name, modality, settings)
    known = packs / "known"
    note = known / f"{quick}.json"
    try:
        key = json.loads(read_regular(note, None))["key"]
        if _KEY.fullmatch(key):
            return load_pack(packs / key, verified_note(packs, key))
    except _DAMAGED:
        pass
    key = _content_key(listing, name, modality, settings)
    folder, memory = packs / key, verified_note(packs, key)
    if not (folder / "pack.json").is_file():
        _build(listing, stamps, modality, config, folder, key, progress)
    _write_note(note, {"key": key})
    try:
        return load_pack(folder, memory)
    except _DAMAGED as error:  # it was damaged after it was written, or an earlier version wrote it
        if not isinstance(error, Unsealed):
            _log.warning("warning: the packed data in %s were damaged (%s) and are made anew", folder, error)
        discard(folder)
        _build(listing, stamps, modality, config, folder, key, progress)
        try:
            return load_pack(folder, memory)
        except _DAMAGED as again:
            raise DiskError(f"{folder}: the packed data are damaged ({again}); remove this folder") from again


def verified_note(packs: Path, key: str) -> Path:
    """The file that remembers which arrays of a pack were verified."""
    return packs / "known" / f"verified-{key}.json"


def _write_note(note: Path, value: dict[str, Any]) -> None:
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        write_json(note, value)
    except (OSError, DiskError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DiskError(f"{note}: {reason}; set GAN_CACHE to a folder that can be written") from error


def _quick_key(
    listing: Listing, stamps: Mapping[Path, Stamp], name: str, modality: type[Modality], settings: str
) -> str:
    """A key that changes when any file does: the change time cannot be set back, unlike the modification time."""
    digest = hashlib.sha256(_kind(name, modality, settings).encode())
    digest.update(str(listing.root.resolve()).encode("utf-8", "surrogateescape"))
    for file in listing.files:
        size, inode, modified, changed = stamps[file.path]
        line = f"{file.name}\0{file.size}\0{modified}\0{size}\0{changed}\0{inode}\n"
        digest.update(line.encode("utf-8", "replace"))
    return digest.hexdigest()[:32]


def _refuse_changed(stamps: Mapping[Path, Stamp]) -> None:
    """Raise `BadData` if a file is no longer the one that was hashed: the pack would not hold what its key says."""
    for path, before in stamps.items():
        if stamp(path) != before:
            raise BadData("changed or vanished while it was read; start again when it is complete", path)


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
    listing: Listing,
    stamps: Mapping[Path, Stamp],
    modality_class: type[Modality],
    config: Any,
    folder: Path,
    key: str,
    progress: Progress | None,
) -> None:
    facts = modality_class(config).survey(listing.files)
    modality = modality_class(config, facts)
    fields = modality.fields
    skipped = dict(listing.skipped)
    used: list[str] = []
    groups: dict[str, dict[str, FieldSpec]] = {}
    for name, spec in fields.items():
        groups.setdefault(spec.group, {})[name] = spec
    file_of_row: dict[str, list[int]] = {group: [] for group in groups}
    with filled_aside(folder, "pack.json") as aside:
        outputs = {name: open(aside / f"{name}.bin", "wb") for name in fields}  # noqa: SIM115  (closed below)
        try:
            for done, (file, samples, reason) in enumerate(read_files(modality, listing.files), 1):
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
            raise BadData(f"the source has no sample of {empty[0]}, only of other fields", listing.root)
        for number, rows in enumerate(file_of_row.values()):
            np.save(aside / f"file_of_row-{number}.npy", np.asarray(rows, dtype=np.int32), allow_pickle=False)
        _refuse_changed(stamps)
        arrays = seal(aside)
        about = {
            "fields": {name: _field_record(spec) for name, spec in fields.items()},
            "counts": {group: len(rows) for group, rows in file_of_row.items()},
            "facts": facts,
            "fingerprint": key,
            "files": used,
            "skipped": skipped,
            "arrays": arrays,
        }
        (aside / "pack.json").write_text(sealed_text(json.dumps(about)))
        written = {name: stamp(aside / name) for name in arrays}
    if all(stamp(folder / name) == found for name, found in written.items()):  # and not those of another process
        remember(verified_note(folder.parent, key), written)


def _field_record(spec: FieldSpec) -> dict[str, Any]:
    """The members of `FieldSpec` itself: a modality may extend it with members that JSON cannot hold."""
    return {member.name: getattr(spec, member.name) for member in dataclasses.fields(FieldSpec)}


def read_files(
    modality: Modality, files: Sequence[SourceFile]
) -> Iterator[tuple[SourceFile, list[Sample], str | None]]:
    """Yield (file, samples, reason why it cannot be used or None) in the order of `files`; threads read ahead."""
    workers = min(8, os.cpu_count() or 1)
    pool = ThreadPoolExecutor(workers)
    try:
        waiting: deque[tuple[SourceFile, Future[tuple[list[Sample], str | None]]]] = deque()
        for file in files:
            waiting.append((file, pool.submit(_read_one, modality, file)))
            if len(waiting) > 2 * workers:
                done = waiting.popleft()
                yield done[0], *_result(done[1])
        for file, future in waiting:
            yield file, *_result(future)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _result(future: Future[tuple[list[Sample], str | None]]) -> tuple[list[Sample], str | None]:
    """The result of a future; a signal ends the wait for it."""
    while True:
        check_stop()
        with contextlib.suppress(TimeoutError):
            return future.result(0.2)


def _read_one(modality: Modality, file: SourceFile) -> tuple[list[Sample], str | None]:
    try:
        samples = list(modality.read(file))
    except Companion:
        return [], None
    except BadData as error:
        return [], error.reason
    except (MemoryError, RecursionError):
        return [], "needs more memory than is available"
    except Exception as error:  # noqa: BLE001  (a reader's failure concerns one file and is recorded in the pack)
        return [], f"{type(error).__name__}: {error}"
    return samples, None if samples else "holds no sample"


def _group_of(sample: Sample, groups: dict[str, dict[str, FieldSpec]]) -> str:
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
