"""The signed manifest of a folder of artefacts, ``provenance.json``: the SHA-256 and the record of each file.

It is canonical JSON; the signature is that of the text without its member ``signature``. Files that are written later
into the same folder are added, and the whole is signed again; what it says about the others is not changed, so that a
file swapped in between is not accepted by it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from gan.errors import DiskError, GanError
from gan.provenance.keys import SigningKey, signature_is_valid, signing_key
from gan.provenance.record import canonical
from gan.source import PROVENANCE
from gan.storage.durable import write_text
from gan.storage.regular import MAX_JSON_BYTES, Broken, read_json, read_regular

if sys.platform != "win32":
    import fcntl

_log = logging.getLogger(__name__)

SCHEMA = 1


@dataclass
class FolderManifest:
    """What a manifest states."""

    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Name, relative to the folder, with ``/`` -> ``sha256``, ``size``, ``record``, and ``metadata`` false where the
    file itself carries none because that was asked for."""
    key: str = ""
    """The public half of the key that signed it; ``""``: it is not signed."""
    signature: str = ""

    def body(self) -> dict[str, Any]:
        """Everything but the signature. Members that many records share are written once, as origins."""
        origins: list[dict[str, Any]] = []
        places: dict[str, int] = {}
        files = {}
        for name, entry in sorted(self.files.items()):
            record = entry["record"]
            own = {key: record[key] for key in _OWN if key in record}
            origin = {key: value for key, value in record.items() if key not in _OWN}
            place = places.setdefault(canonical(origin), len(origins))
            if place == len(origins):
                origins.append(origin)
            files[name] = {
                **{key: value for key, value in entry.items() if key != "record"},
                "origin": place,
                "own": own,
            }
        return {"schema": SCHEMA, "files": files, "origins": origins, "key": self.key}

    @property
    def signed(self) -> bool:
        """Whether it has a signature and the signature fits."""
        return bool(self.key) and signature_is_valid(self.key, self.signature, canonical(self.body()).encode())

    def text(self, key: SigningKey | None) -> str:
        """The canonical text, signed with `key`."""
        self.key = "" if key is None else key.public
        body = self.body()
        self.signature = "" if key is None else key.sign(canonical(body).encode())
        return canonical({**body, "signature": self.signature}) + "\n"


_OWN = ("seed", "index", "inputs")
_NO_PLACE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENOENT)
"""Errors of a home that cannot hold keys."""
_DRIVE = re.compile(r"[A-Za-z]:")


def read_manifest(path: Path) -> FolderManifest:
    """The manifest in a file, which may be anybody's. Its signature is not verified here. Raises `Broken`."""
    found = read_json(read_regular(path, None, limit=MAX_JSON_BYTES), path.name)
    try:
        if found["schema"] != SCHEMA:
            raise Broken(f"{path.name} has the schema {str(found['schema'])[:20]}, and this version reads {SCHEMA}")
        manifest = FolderManifest({}, str(found["key"]), str(found["signature"]))
        for name, entry in found["files"].items():
            _check_name(name, path.name)
            rest = {key: value for key, value in entry.items() if key not in ("origin", "own")}
            if type(entry["size"]) is not int or entry["size"] < 0 or len(entry["sha256"]) != 64:
                raise ValueError(name)
            manifest.files[name] = {**rest, "record": {**found["origins"][entry["origin"]], **entry["own"]}}
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise Broken(f"{path.name} is no manifest of generated files ({type(error).__name__}: {error})") from None
    return manifest


def _check_name(name: str, where: str) -> None:
    pure = PurePosixPath(name)
    if not name or pure.is_absolute() or ".." in pure.parts or "\\" in name or "\0" in name or _DRIVE.match(name):
        raise Broken(f"{where} names a path that leads out of its folder: {name[:100]!r}")


class Listing:
    """Collects the files that are written to a folder, and adds them to its manifest at the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: dict[str, dict[str, Any]] = {}

    def add(self, path: Path, content: bytes, record: Mapping[str, Any], *, metadata: bool) -> None:
        """A file that was written to `path`, with its content."""
        entry = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "record": dict(record)}
        if not metadata:
            entry["metadata"] = False
        self.files[path.relative_to(self.folder).as_posix()] = entry

    def write(self) -> None:
        """Add the files to the manifest in the folder and sign it. Raises `DiskError`.

        A manifest there that is damaged, or signed with another key, is replaced by one of the new files alone.
        """
        if not self.files:
            return
        key: SigningKey | None = None
        try:
            key = signing_key()
        except GanError as error:
            if isinstance(error.__cause__, OSError) and error.__cause__.errno not in _NO_PLACE:
                raise  # the disk is full or fails, as it will for the manifest
            _log.warning("warning: %s is not signed: %s", self.folder / PROVENANCE, error)
        with _locked(self.folder):
            files = {**self._before(key), **self.files}
            write_text(self.folder / PROVENANCE, FolderManifest(files).text(key))

    def _before(self, key: SigningKey | None) -> dict[str, dict[str, Any]]:
        path = self.folder / PROVENANCE
        if not os.path.lexists(path):
            return {}
        try:
            before = read_manifest(path)
            if before.key != ("" if key is None else key.public):
                raise Broken(f"{path.name} was signed with another key")
            if key is not None and not before.signed:
                raise Broken(f"{path.name} is not what was signed")
        except Broken as error:
            _log.warning("warning: %s: %s; it is replaced by one that lists the new files only", path, error)
            return {}
        return {name: entry for name, entry in before.files.items() if os.path.lexists(self.folder / name)}


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other processes from changing the manifest of a folder, where the system can lock folders."""
    descriptor = -1
    if sys.platform != "win32":
        with contextlib.suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    except OSError as error:
        raise DiskError(f"{folder / PROVENANCE}: {error.strerror}") from error
    finally:
        if descriptor >= 0:
            os.close(descriptor)
