"""Pack a dataset: read its files in parallel, once, into arrays in the cache.

A pack is keyed by the content of its source, the modality and the modality's settings. `gan.data.pack` reads packs.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from gan.contracts import FieldSpec, Modality, Sample
from gan.data.bounded import read_files
from gan.data.pack import Pack, Progress, load_pack
from gan.errors import BadData, DiskError, GanError
from gan.source import Listing, SourceFile, list_source
from gan.storage.durable import cache_folder, filled_aside

PACK_FORMAT = 2
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
    except (OSError, ValueError, KeyError, TypeError):  # it was damaged after it was written
        shutil.rmtree(folder, ignore_errors=True)
        _build(listing, modality, config, folder, key, progress)
        return load_pack(folder)


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
        about = {
            "fields": {name: _field_record(spec) for name, spec in fields.items()},
            "counts": {group: len(rows) for group, rows in file_of_row.items()},
            "facts": facts,
            "fingerprint": key,
            "files": used,
            "skipped": skipped,
        }
        (aside / "pack.json").write_text(json.dumps(about))


def _field_record(spec: FieldSpec) -> dict[str, Any]:
    """The members of `FieldSpec` itself: a modality may extend it with members that JSON cannot hold."""
    return {member.name: getattr(spec, member.name) for member in dataclasses.fields(FieldSpec)}


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
