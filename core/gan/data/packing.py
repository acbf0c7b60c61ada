"""Pack a dataset: read its files in parallel, once, into arrays in the cache.

A pack is keyed by the content of its source, the modality and the modality's settings. `gan.data.pack` reads packs.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gan.contracts import FieldSpec, Modality
from gan.data.foreign import survey
from gan.data.pack import Pack, Progress, Unsealed, load_pack
from gan.data.rows import grouped, read_files, windows_of
from gan.errors import BadData, DiskError
from gan.source import Listing, list_source, source_state
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
    facts: dict[str, Any] | None = None,
) -> Pack:
    """Open the pack of `source`, which is made if the cache has none. `name` is the modality's name, part of the key.

    With `facts`, the files are read with them (part of the key too), and not with those of a survey of their own.
    Raises `BadData` with the reasons of the first files when the source has no usable sample.
    """
    packs = (cache or cache_folder()) / "packs"
    settings = json.dumps(config.model_dump(mode="json"), sort_keys=True)
    if facts is not None:
        settings += f"\0{json.dumps(facts, sort_keys=True)}"
    note = packs / "known" / f"{_quick_key(source, name, modality, settings)}.json"
    try:
        key = json.loads(read_regular(note, None))["key"]
        if _KEY.fullmatch(key):
            return load_pack(packs / key, verified_note(packs, key))
    except _DAMAGED:
        pass
    listing = list_source(source, modality.suffixes)
    if not listing.files:
        raise BadData(_nothing(listing, modality), source)
    stamps = {path: stamp(path) for path in {file.path for file in listing.files}}
    key = _content_key(listing, name, modality, settings)
    folder, memory = packs / key, verified_note(packs, key)
    if not (folder / "pack.json").is_file():
        _build(listing, stamps, modality, config, folder, key, progress, facts)
    _write_note(note, {"key": key})
    try:
        return load_pack(folder, memory)
    except _DAMAGED as error:  # it was damaged after it was written, or an earlier version wrote it
        if not isinstance(error, Unsealed):
            _log.warning("warning: the packed data in %s were damaged (%s) and are made anew", folder, error)
        discard(folder)
        _build(listing, stamps, modality, config, folder, key, progress, facts)
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


def _quick_key(source: Path, name: str, modality: type[Modality], settings: str) -> str:
    """A key of the state of the files on the disk, for sources that have been packed before."""
    try:
        state = source_state(source, modality.suffixes)
    except OSError:  # `list_source` says what is wrong
        state = ""
    return hashlib.sha256((_kind(name, modality, settings) + state).encode()).hexdigest()[:32]


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
    facts: dict[str, Any] | None,
) -> None:
    exceeded: dict[str, str] = {}
    if facts is None:
        facts, exceeded = survey(modality_class(config), listing.files)
    skipped = listing.skipped | exceeded
    files = [file for file in listing.files if file.name not in exceeded]
    if not files:
        raise BadData(_all_bad(skipped), listing.root)
    modality = modality_class(config, facts)
    fields = modality.fields
    windows = windows_of(grouped(fields))
    used: list[str] = []
    file_of_row: dict[str, list[int]] = {group: [] for group in windows}
    recordings: dict[str, list[int]] = {group: [] for group in windows}
    with filled_aside(folder, "pack.json") as aside:
        outputs = {name: open(aside / f"{name}.bin", "wb") for name in fields}  # noqa: SIM115  (closed below)
        try:
            done, samples, is_begun = 0, list[tuple[str, int]](), False
            ends = dict.fromkeys(outputs, 0)
            for file, found in read_files(modality, files):
                if is_begun and found.begins:  # parts of it were written; it is read again, or has failed
                    for name, end in ends.items():
                        outputs[name].seek(end)
                        outputs[name].truncate()
                    samples = []
                for name, parts in found.data.items():
                    for part in parts:
                        outputs[name].write(part.data)
                for group, steps, continued in zip(found.groups, found.steps, found.is_continued, strict=True):
                    before = samples.pop()[1] if continued else 0
                    samples.append((group, before + steps))
                is_begun = not found.is_last
                if is_begun:
                    continue
                if found.reason is not None:
                    skipped[file.name] = found.reason
                elif samples:
                    for group, steps in samples:
                        rows = steps // windows[group] if windows[group] else 1
                        file_of_row[group] += [len(used)] * rows
                        recordings[group].append(steps)
                    used.append(file.name)
                samples, ends = [], {name: output.tell() for name, output in outputs.items()}
                done += 1
                if progress:
                    progress(done, len(files))
        finally:
            for output in outputs.values():
                output.close()
        if not used:
            raise BadData(_all_bad(skipped), listing.root)
        empty = [", ".join(grouped(fields)[group]) for group, rows in file_of_row.items() if not rows]
        if empty:
            raise BadData(f"the source has no sample of {empty[0]}, only of other fields", listing.root)
        for number, (group, rows_) in enumerate(file_of_row.items()):
            np.save(aside / f"file_of_row-{number}.npy", np.asarray(rows_, dtype=np.int32), allow_pickle=False)
            if windows[group]:
                lengths = np.asarray(recordings[group], dtype=np.int64)
                np.save(aside / f"recordings-{number}.npy", lengths, allow_pickle=False)
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
