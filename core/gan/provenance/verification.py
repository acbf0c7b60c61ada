"""Examine files for what says where they come from: manifest and signature, record, C2PA manifest, marks.

The layers are reported one by one and never added up to a certainty. A file that was changed, swapped or damaged since
it was signed is told apart from one that says nothing at all. Files are untrusted: they are examined in worker
processes with limits on time and memory (`gan.data.bounded`), and nothing is read through a link out of its folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gan.contracts import Detection, Mark, Modality, Sample
from gan.data.bounded import read_with
from gan.errors import BadData, UsageError
from gan.provenance import c2pa
from gan.provenance.containers import extract, format_of
from gan.provenance.folder import FolderManifest, read_manifest
from gan.provenance.record import in_words, parse_record
from gan.source import PROVENANCE, SourceFile
from gan.storage.durable import file_sha256
from gan.storage.regular import Broken, read_json, read_regular

SUFFIXES = frozenset(
    (
        ".png",
        ".jpg",
        ".jpeg",
        ".webp",
        ".gif",
        ".wav",
        ".flac",
        ".ogg",
        ".mp3",
        ".mid",
        ".midi",
        ".mp4",
        ".glb",
        ".ply",
        ".obj",
        ".stl",
        ".vox",
        ".txt",
        ".jsonl",
    )
)
"""Suffixes of files that are examined in a folder even if nothing lists them."""
ABOVE = 3
"""Folders above a file in which its manifest is looked for."""
SOUND, NOTHING, CONTRADICTED = "sound", "nothing found", "contradicted"


@dataclass
class Layer:
    """What one layer says of one file."""

    status: str
    """none, valid, present (without a signature), unread, or what is wrong: changed, swapped, unlisted, unsigned,
    other key, missing, damaged."""
    text: str = ""
    record: dict[str, Any] = field(default_factory=dict)


@dataclass
class MarkLayer:
    """What the search for one mark in one file gave."""

    name: str
    found: bool = False
    z: float | None = None
    p_value: float | None = None
    false_positive_rate: float | None = None
    aligned: float | None = None
    note: str = ""
    """Why nothing can be said."""
    decoys: tuple[float, ...] = ()
    """See `gan.contracts.Detection`; not told to programs."""


@dataclass
class FileReport:
    """What is known of one file."""

    name: str
    manifest: Layer
    metadata: Layer
    c2pa: Layer
    marks: list[MarkLayer] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        """sound, nothing found or contradicted."""
        layers = (self.manifest, self.metadata, self.c2pa)
        if any(layer.status in _WRONG for layer in layers):
            return CONTRADICTED
        found = any(layer.status in ("valid", "present", "unsigned") for layer in layers)
        return SOUND if found or any(mark.found for mark in self.marks) else NOTHING

    @property
    def reason(self) -> str:
        """What the verdict rests on, in one line."""
        layers = (self.manifest, self.metadata, self.c2pa)
        decisive = next((layer for layer in layers if layer.status in _WRONG), None)
        if decisive is None and self.verdict == SOUND:
            decisive = self.manifest
        return self.verdict if decisive is None else f"{decisive.status}: {decisive.text}"

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        whole = {**asdict(self), "verdict": self.verdict}
        for mark in whole["marks"]:
            del mark["decoys"]
        return whole


_WRONG = ("changed", "swapped", "other key", "missing", "damaged")


@dataclass
class FolderReport:
    """What is known of the files of a folder."""

    files: list[FileReport]
    manifests: dict[str, str]
    """Manifest -> what it is, in words."""
    other: int = 0
    """Files of kinds that are not examined."""

    @property
    def exit_code(self) -> int:
        """0: all sound; 1: some without anything, or not listed where others are; 3: some contradicted."""
        verdicts = {report.verdict for report in self.files}
        if CONTRADICTED in verdicts:
            return 3
        loose = any(report.manifest.status == "unlisted" for report in self.files)
        return 1 if NOTHING in verdicts or loose or not self.files else 0

    def together(self) -> dict[str, MarkLayer]:
        """Mark -> the evidence of all files together, where several were searched (`Detection.together`)."""
        searched: dict[str, list[Detection]] = {}
        for report in self.files:
            for mark in report.marks:
                if mark.aligned is not None:
                    rate = mark.false_positive_rate or 0.0
                    one = Detection(mark.aligned, 1.0, rate, mark.aligned, decoys=mark.decoys)
                    searched.setdefault(mark.name, []).append(one)
        found = {}
        for name, each in searched.items():
            if len(each) > 1:
                z, p_value = Detection.together(each)
                rate = each[0].false_positive_rate
                found[name] = MarkLayer(name, p_value <= rate, z, p_value, rate, None, f"{len(each)} files")
        return found


@dataclass(frozen=True)
class Search:
    """What is looked for."""

    keys: frozenset[str] = frozenset()
    """Public keys whose signatures are accepted."""
    own: str = ""
    """The user's own public key, for messages."""
    marks: Mapping[str, Mark] = field(default_factory=dict)
    """Name -> mark with a key."""
    without_key: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Name -> suffixes of the marks that cannot be looked for because there is no key."""
    modality: Modality | None = None
    """That of the run that made the files, for marks that need it."""


class Manifests:
    """The manifests that are met, each read and verified once."""

    def __init__(self, search: Search) -> None:
        self._search = search
        self._known: dict[Path, tuple[FolderManifest | None, str, str]] = {}
        self._hashes: dict[Path, dict[str, str]] = {}

    def open(self, folder: Path) -> tuple[FolderManifest | None, str, str]:
        """(manifest, status, words) of a folder; status ``"none"`` where it has none."""
        if folder not in self._known:
            self._known[folder] = self._open(folder / PROVENANCE)
        return self._known[folder]

    def _open(self, path: Path) -> tuple[FolderManifest | None, str, str]:
        if not os.path.lexists(path):
            return None, "none", ""
        try:
            manifest = read_manifest(path)
        except Broken as error:
            return None, "damaged", str(error)
        if not manifest.key:
            return manifest, "unsigned", f"{path.name} is not signed: anybody can have written it"
        if not manifest.signed:
            return None, "damaged", f"{path.name} is not what was signed: it was changed afterwards"
        if manifest.key not in self._search.keys:
            words = f"{path.name} is signed with the key {manifest.key[:16]}…, which is neither yours nor named"
            return manifest, "other key", f"{words}; get it from its owner and name it with --key"
        whose = "your key" if manifest.key == self._search.own else "the key"
        return manifest, "valid", f"signed with {whose} {manifest.key[:16]}…"

    def layer(self, path: Path, sha256: str, record: Mapping[str, Any]) -> Layer:
        """What the manifest of a file's folder, or of one above, says of it."""
        nearest: Layer | None = None
        for folder in [path.parent, *path.parent.parents][: 1 + ABOVE]:
            manifest, status, words = self.open(folder)
            if status == "none":
                continue
            if manifest is None:
                return Layer(status, words)
            name = path.relative_to(folder).as_posix()
            if name in manifest.files:
                return self._listed(manifest, folder, name, sha256, record, Layer(status, words))
            nearest = nearest or Layer("unlisted", f"{PROVENANCE} does not list it")
        return nearest or Layer("none")

    def _listed(
        self, manifest: FolderManifest, folder: Path, name: str, sha256: str, record: Mapping[str, Any], layer: Layer
    ) -> Layer:
        entry = manifest.files[name]
        layer.record = entry["record"]
        if entry["sha256"] == sha256:
            if entry.get("metadata") is False:
                layer.text += "; it carries no metadata because that was switched off"
            return layer
        by_hash = self._hashes.setdefault(folder, {e["sha256"]: n for n, e in manifest.files.items()})
        if sha256 in by_hash:
            return Layer("swapped", f"it is the file that was signed as {by_hash[sha256]}", entry["record"])
        if record and any(
            record.get(key) != entry["record"].get(key) for key in ("weights", "seed", "index", "inputs")
        ):
            return Layer("swapped", f"another file is in its place: {in_words(record)}", entry["record"])
        return Layer(
            "changed", "its content is not what was signed (SHA-256 differs): damaged or edited", entry["record"]
        )


def examine(file: SourceFile, search: Search) -> dict[str, Any]:
    """SHA-256, metadata, C2PA manifest and marks of one file, as JSON values. Raises `BadData`."""
    content = file.data()
    metadata = _metadata(file, content)
    marks = [asdict(mark) for mark in _marks(file, search)]
    digest = hashlib.sha256(content).hexdigest()
    return {"sha256": digest, "metadata": asdict(metadata), "c2pa": asdict(_claim(file, content)), "marks": marks}


def _claim(file: SourceFile, content: bytes) -> Layer:
    """The C2PA manifest of a file."""
    try:
        found = c2pa.find_manifest(content, format_of(content, file.suffix))
    except UsageError as error:
        return Layer("unread", f"there is one. {error}")
    if found is None:
        return Layer("none")
    if not found.valid:
        return Layer("damaged", found.reason or "not valid")
    trust = "trusted" if found.trusted else "not trusted"
    said = "" if found.generated else "; does not say how it was made"
    return Layer("valid", f"signed by '{found.signer}', {trust}{said}")


def _metadata(file: SourceFile, content: bytes) -> Layer:
    text = extract(content, file.suffix)
    try:
        if text is not None:
            record = parse_record(text)
            return Layer("present", in_words(record), record)
        beside = file.path.with_name(f"{file.path.name}.{PROVENANCE}")
        if not os.path.lexists(beside):
            return Layer("none")
        found = read_json(read_regular(beside, None, limit=1 << 20), beside.name)
        record = parse_record(json.dumps(found["record"]))
        if found["sha256"] != hashlib.sha256(content).hexdigest():
            return Layer("changed", f"{beside.name} is of another content: the text was changed or swapped", record)
        return Layer("present", f"{in_words(record)} (in {beside.name})", record)
    except (Broken, KeyError, TypeError) as error:
        return Layer("damaged", f"its record cannot be read: {error}")


def _marks(file: SourceFile, search: Search) -> Iterator[MarkLayer]:
    for name, suffixes in search.without_key.items():
        if file.suffix in suffixes:
            yield MarkLayer(name, note="not looked for: there is no key of marks; name one with --key")
    for name, mark in search.marks.items():
        if file.suffix not in mark.suffixes:
            continue
        try:
            found = mark.detect(file, search.modality if mark.needs_modality else None)
        except BadData as error:
            yield MarkLayer(name, note=f"cannot be looked for: {error.reason}")
            continue
        about = {**asdict(found), "decoys": tuple(round(value, 4) for value in found.decoys)}
        yield MarkLayer(name, found.found, **about)


def verify(
    target: Path, search: Search, advance: Callable[[int, int], None] = lambda done, total: None
) -> FolderReport:
    """Examine a file, or every file of a folder and the files that its manifests list. `advance(done, total)` is called
    after each."""
    target = Path(os.path.abspath(target))
    manifests = Manifests(search)
    paths, other = _paths(target, manifests)
    root = target if target.is_dir() else target.parent
    files = [SourceFile(path.relative_to(root).as_posix(), path, None, path.stat().st_size) for path in paths]
    reports = []

    def task(file: SourceFile) -> Iterator[Sample]:
        text = json.dumps(examine(file, search))
        yield {"json": np.frombuffer(text.encode(), np.uint8)}

    for done, (file, samples, reason) in enumerate(read_with(task, files), 1):
        reports.append(_report(file, samples, reason, manifests))
        advance(done, len(files))
    if target.is_dir():
        reports += _missing(target, manifests, {report.name for report in reports})
    return FolderReport(sorted(reports, key=lambda one: one.name), _words(target, manifests, reports), other)


def _report(file: SourceFile, samples: list[Sample], reason: str | None, manifests: Manifests) -> FileReport:
    if reason is not None:  # a limit of `gan.data.bounded`, or a parser that crashed
        manifest = manifests.layer(file.path, file_sha256(file.path), {})
        return FileReport(file.name, manifest, Layer("unread", reason), Layer("none"))
    found = json.loads(samples[0]["json"].tobytes())
    metadata, claim = Layer(**found["metadata"]), Layer(**found["c2pa"])
    manifest = manifests.layer(file.path, found["sha256"], metadata.record)
    return FileReport(file.name, manifest, metadata, claim, [MarkLayer(**mark) for mark in found["marks"]])


def _paths(target: Path, manifests: Manifests) -> tuple[list[Path], int]:
    """The files to examine, and how many others there are. Raises `BadData` for a target that is neither."""
    if target.is_file():
        return [target], 0
    if not target.is_dir():
        raise BadData("is neither a file nor a folder", target)
    paths: list[Path] = []
    listed: set[Path] = set()
    other = 0
    for here, folders, names in os.walk(target):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        listed |= {Path(here, name) for name in (manifests.open(Path(here))[0] or FolderManifest()).files}
        for name in sorted(names):
            path = Path(here, name)
            if name.startswith(".") or name.endswith(PROVENANCE):
                continue
            known = path in listed or path.suffix.lower() in SUFFIXES
            if known and stat.S_ISREG(os.lstat(path).st_mode):
                paths.append(path)
            else:
                other += 1
    return paths, other


def _missing(target: Path, manifests: Manifests, seen: set[str]) -> list[FileReport]:
    """Reports of the files that a manifest below `target` lists and that are not there."""
    found = []
    for here, folders, _ in os.walk(target):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        manifest = manifests.open(Path(here))[0]
        for name in () if manifest is None else manifest.files:
            path = Path(here, name)
            shown = path.relative_to(target).as_posix()
            if shown not in seen:
                linked = os.path.lexists(path)
                words = "is a link or no regular file" if linked else "is listed in the manifest and not there"
                found.append(FileReport(shown, Layer("missing", words), Layer("none"), Layer("none")))
    return found


def _words(target: Path, manifests: Manifests, reports: Sequence[FileReport]) -> dict[str, str]:
    """Manifest -> what it is: its signature, and whether it belongs to this folder."""
    found = {}
    for folder in [target] if target.is_file() else [Path(here) for here, _, _ in os.walk(target)]:
        manifest, status, words = manifests.open(folder)
        if status == "none":
            continue
        if manifest is not None and manifest.files:
            names = {(folder / name).relative_to(target).as_posix() for name in manifest.files}
            states = Counter(report.manifest.status for report in reports if report.name in names)
            if not set(states) - {"missing", "changed", "swapped"}:
                words += (
                    f"; none of its {len(names)} files is here as it was signed: it is the manifest of another folder"
                )
        found[(folder / PROVENANCE).relative_to(target.parent).as_posix()] = f"{status}: {words}" if words else status
    return found
