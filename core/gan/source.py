"""The files of a dataset's source: a folder, a single file or a zip archive, listed in the same order on every machine.

Sources are untrusted. Circular links, pipes, devices, archive members that point outside their archive and archives
that unpack to a large multiple of their size are skipped with a reason.
"""

from __future__ import annotations

import hashlib
import io
import lzma
import os
import posixpath
import stat
import threading
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from gan.errors import BadData

MAX_FILE_BYTES = 1 << 30
"""Largest file that is read, in bytes."""
MAX_ARCHIVE_MEMBERS = 1_000_000
PROVENANCE = "provenance.json"
"""Name of the manifest of generated files (`gan.provenance.folder`), and the end of the names of records beside them.
They lie among artefacts and are never data."""
MAX_RATIO = 200
"""Largest ratio of unpacked to packed size, of archive members over 1 MiB."""


class NoKnownFiles(BadData):
    """A source holds no file with one of the wanted extensions."""


class Companion(Exception):
    """Raised by `Modality.read` for a file that belongs to another file's samples (the second image of a pair)."""


@dataclass(frozen=True)
class SourceFile:
    """One file of a data source, in a folder or in an archive."""

    name: str
    """Path inside the source, with ``/``: ``"cats/001.png"``. Inside archives of a folder it starts with their name."""
    path: Path
    """The file on the disk: the file itself, or the archive that holds it."""
    member: str | None = None
    """Name inside the archive, or None."""
    size: int = 0
    """Bytes, unpacked."""

    @property
    def suffix(self) -> str:
        """The lower-case file name extension with its dot."""
        return PurePosixPath(self.name).suffix.lower()

    @property
    def folder(self) -> str:
        """The first folder of `name`, or ``""``; the class in datasets with one folder per class."""
        parts = PurePosixPath(self.name).parts
        return parts[0] if len(parts) > 1 else ""

    def data(self) -> bytes:
        """The content. Raises `BadData` if it is too large, has changed its size or cannot be read."""
        if self.size > MAX_FILE_BYTES:
            raise BadData(f"{self.size:,} bytes, more than the {MAX_FILE_BYTES:,} that are read", self.name)
        try:
            if self.member is None:
                content = _read_regular(self.path, self.name)
            else:
                with _archive(self.path).open(self.member) as packed:
                    content = packed.read(self.size + 1)
        except (OSError, *_UNREADABLE) as error:
            raise BadData(f"cannot be read: {getattr(error, 'strerror', None) or error}", self.name) from error
        if len(content) > MAX_FILE_BYTES:
            raise BadData(f"more than the {MAX_FILE_BYTES:,} bytes that are read", self.name)
        if self.member is not None and len(content) != self.size:
            raise BadData("its size differs from the one in its archive", self.name)
        if self.size and len(content) != self.size:
            raise BadData(f"changed during use: {len(content):,} bytes, not {self.size:,}", self.name)
        return content

    def open(self) -> BinaryIO:
        """The content as a file that is read as needed, for readers that need not have it whole; of any size.

        A member of an archive is unpacked into memory, within the limits of `data`. Raises `BadData` as `data` does.
        """
        if self.member is not None:
            return io.BytesIO(self.data())
        try:
            file, size = _regular(self.path, self.name)
        except OSError as error:
            raise BadData(f"cannot be read: {error.strerror or error}", self.name) from error
        if self.size and size != self.size:
            file.close()
            raise BadData(f"changed during use: {size:,} bytes, not {self.size:,}", self.name)
        return file

    def sibling(self, name: str) -> SourceFile | None:
        """The file `name` relative to this one's folder (labels next to images, ``../masks/1.png``), or None.

        Also None for names that lead out of the source or the archive."""
        beside = posixpath.normpath(posixpath.join(posixpath.dirname(self.name), name))
        if beside.startswith(("../", "/")):
            return None
        if self.member is not None:
            inner = posixpath.normpath(posixpath.join(posixpath.dirname(self.member), name))
            try:
                return SourceFile(beside, self.path, inner, _archive(self.path).getinfo(inner).file_size)
            except KeyError:
                return None
        path = Path(os.path.normpath(self.path.parent / name))
        return SourceFile(beside, path, None, path.stat().st_size) if path.is_file() else None


_UNREADABLE = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, RuntimeError, NotImplementedError, EOFError, ValueError, KeyError
)  # fmt: skip
"""What zipfile raises for damaged or unsupported archives."""
_open_archives = threading.local()


def _archive(path: Path) -> zipfile.ZipFile:
    """The archive at `path`, kept open: reading its table again for each of many members would take hours."""
    status = os.stat(path)
    key = (str(path), status.st_mtime_ns, status.st_size, status.st_ino, os.getpid())
    found: tuple[object, zipfile.ZipFile] | None = getattr(_open_archives, "last", None)
    if found is None or found[0] != key:
        _open_archives.last = found = (key, zipfile.ZipFile(path))
    return found[1]


def _read_regular(path: Path, name: str) -> bytes:
    """The content of a regular file."""
    file, size = _regular(path, name)
    with file:
        return file.read(min(size, MAX_FILE_BYTES) + 1)  # `read` allocates all that it is asked for


def _regular(path: Path, name: str) -> tuple[BinaryIO, int]:
    """A regular file that is open for reading, and its size; a pipe that has replaced it does not block."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    file = open(descriptor, "rb")  # noqa: SIM115  (the caller closes it)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        file.close()
        raise BadData("not a regular file", name)
    return file, status.st_size


@dataclass
class Listing:
    """The contents of a source."""

    root: Path
    files: list[SourceFile] = field(default_factory=list)
    """Files with a known extension, sorted by name."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Name -> reason, for files that look like data and are not used."""
    other: int = 0
    """Number of files with another extension."""


def list_source(root: Path, suffixes: Sequence[str]) -> Listing:
    """All files of `root` (a folder, a file or a zip archive) with one of `suffixes`.

    Raises `BadData` if `root` does not exist or is not a source. The listing may be empty.
    """
    listing = Listing(root)
    wanted = tuple(suffixes)
    if not root.exists():
        raise BadData("does not exist; name a folder, a file or a zip archive", root)
    if root.is_dir():
        _walk(root, wanted, listing)
    elif not stat.S_ISREG(root.stat().st_mode):
        raise BadData("is neither a folder nor a regular file", root)
    elif root.suffix.lower() == ".zip":
        _unzip(root, "", wanted, listing)
    elif root.name.lower().endswith(wanted):
        listing.files.append(SourceFile(root.name, root, None, root.stat().st_size))
    else:
        raise NoKnownFiles(f"has none of the known extensions ({', '.join(wanted)}, .zip)", root)
    listing.files.sort(key=lambda file: file.name)
    return listing


def source_state(root: Path, suffixes: Sequence[str]) -> str:
    """A SHA-256 of names, sizes, times, inodes and modes of what `list_source` would look at, without reading anything.

    It changes whenever a file or an archive of the source is replaced, added, removed or written to; members of
    archives are not looked at, so that archives cost the same however many they have. The change time of a file cannot
    be set back, unlike its modification time. Raises `OSError`.
    """
    wanted = (*suffixes, ".zip")
    lines = [str(root.resolve())]
    pending, seen = [(os.fspath(root), "")], set()
    while pending:
        folder, prefix = pending.pop()
        here = os.stat(folder)
        if not stat.S_ISDIR(here.st_mode):
            lines.append(
                f"{root.name}\0{here.st_size}\0{here.st_mtime_ns}\0{here.st_ctime_ns}\0{here.st_ino}\0{here.st_mode}"
            )
            continue
        if (here.st_dev, here.st_ino) in seen:
            continue
        seen.add((here.st_dev, here.st_ino))
        with os.scandir(folder) as entries:
            for entry in entries:
                name = entry.name
                if name.startswith("."):
                    continue
                if entry.is_dir():
                    pending.append((entry.path, f"{prefix}{name}/"))
                elif name.lower().endswith(wanted):
                    try:
                        status = entry.stat()
                        lines.append(
                            f"{prefix}{name}\0{status.st_size}\0{status.st_mtime_ns}\0{status.st_ctime_ns}\0{status.st_ino}\0{status.st_mode}"
                        )
                    except OSError as error:  # a link that leads nowhere
                        lines.append(f"{prefix}{name}\0{error.errno}")
    lines[1:] = sorted(lines[1:])
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogatepass")).hexdigest()


def _walk(root: Path, wanted: tuple[str, ...], listing: Listing) -> None:
    seen: set[tuple[int, int]] = set()
    for folder, folders, names in os.walk(root, followlinks=True):
        here = os.stat(folder)
        if (here.st_dev, here.st_ino) in seen:  # reached by a link before
            folders.clear()
            continue
        seen.add((here.st_dev, here.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name.startswith("."):
                continue
            path = Path(folder, name)
            shown = path.relative_to(root).as_posix()
            lower = name.lower()
            if not lower.endswith((*wanted, ".zip")) or lower.endswith(PROVENANCE):
                listing.other += 1
                continue
            try:
                status = os.stat(path)
            except OSError as error:
                listing.skipped[shown] = f"cannot be read: {error.strerror}"
                continue
            if not stat.S_ISREG(status.st_mode):
                listing.skipped[shown] = "not a regular file"
            elif not os.access(path, os.R_OK):
                listing.skipped[shown] = "cannot be read: permission denied"
            elif lower.endswith(".zip") and ".zip" not in wanted:
                _unzip(path, shown + "/", wanted, listing)
            else:
                listing.files.append(SourceFile(shown, path, None, status.st_size))


def _unzip(path: Path, prefix: str, wanted: tuple[str, ...], listing: Listing) -> None:
    reason = ""
    members: list[zipfile.ZipInfo] = []
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (OSError, *_UNREADABLE) as error:
        reason = f"not a readable zip archive: {error}"
    if len(members) > MAX_ARCHIVE_MEMBERS:
        reason = f"{len(members):,} members, more than {MAX_ARCHIVE_MEMBERS:,}"
    elif members and sum(member.compress_size for member in members) > path.stat().st_size:
        reason = "its members overlap, as in archives made to explode"
    if reason:
        listing.skipped[prefix.rstrip("/") or path.name] = reason
        return
    names: set[str] = set()
    for member in members:
        shown = prefix + member.filename
        if not member.filename:  # of which zipfile cannot say whether it is a folder
            listing.skipped[f"{prefix}(a member)"] = "it has no name"
            continue
        if member.is_dir() or PurePosixPath(member.filename).name.startswith("."):
            continue
        if not member.filename.lower().endswith(wanted) or member.filename.lower().endswith(PROVENANCE):
            listing.other += 1
            continue
        reason = _refusal(member, names)
        names.add(member.filename)
        if reason:
            listing.skipped[shown] = reason
        else:
            listing.files.append(SourceFile(shown, path, member.filename, member.file_size))


def _refusal(member: zipfile.ZipInfo, names: Iterable[str]) -> str:
    parts = PurePosixPath(member.filename.replace("\\", "/")).parts
    mode = member.external_attr >> 16
    if member.filename.startswith(("/", "\\")) or ".." in parts or (parts and ":" in parts[0]):
        return "its name points outside the archive"
    if mode and not (stat.S_ISREG(mode) or stat.S_IFMT(mode) == 0):
        return "not a regular file"
    if member.filename in names:
        return "another member has this name"
    if member.flag_bits & 0x1:
        return "encrypted"
    if member.file_size > MAX_FILE_BYTES:
        return f"{member.file_size:,} bytes, more than the {MAX_FILE_BYTES:,} that are read"
    if member.file_size > 1 << 20 and member.file_size > MAX_RATIO * max(1, member.compress_size):
        return f"unpacks to more than {MAX_RATIO} times its size"
    return ""
