"""Atomic, durable writes of files and folders: complete or absent, even after a kill or a power cut.

A file is written next to its target under a name that starts with `ASIDE`, synced and renamed; then its folder is
synced. Readers see either the old or the new content. File modes follow the umask. Every `OSError` becomes a
`DiskError` that names the path and the reason.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import json
import math
import os
import secrets
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gan.errors import BadData, DiskError

if sys.platform != "win32":
    import fcntl

ASIDE = ".tmp-"
"""Prefix of unfinished files and folders. They may be deleted while no process works on their folder."""

ABANDONED = 7 * 24 * 3600
"""Seconds after which an unfinished folder of a cache counts as left over where the system cannot lock folders."""

_count = itertools.count()
_REMEDIES = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space, the quota is used up",
    errno.EFBIG: "raise the limit on file sizes (ulimit -f)",
    errno.EACCES: "check the permissions of the folder",
    errno.EPERM: "check the permissions of the folder",
    errno.EROFS: "the disk is mounted read-only; choose another folder",
    errno.EIO: "the device failed; choose another disk",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
}


def disk_error(path: Path | str, error: OSError) -> DiskError:
    """The `DiskError` for an `OSError`: path, reason and remedy."""
    reason = error.strerror or str(error)
    remedy = _REMEDIES.get(error.errno or 0)
    return DiskError(f"{path}: {reason}" + (f"; {remedy}" if remedy else ""))


@contextlib.contextmanager
def disk_errors(path: Path | str) -> Iterator[None]:
    """Turn an `OSError` raised in the block into a `DiskError` about `path`."""
    try:
        yield
    except OSError as error:
        raise disk_error(path, error) from error


def aside(path: Path) -> Path:
    """A new name next to `path` for unfinished work."""
    return path.parent / f"{ASIDE}{path.name}-{secrets.token_hex(4)}-{next(_count)}"


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write all of `data`, continuing after short writes. Raises `OSError`."""
    rest = memoryview(data).cast("B")
    while rest:
        written = os.write(descriptor, rest)
        if written <= 0:
            raise OSError(errno.EIO, "nothing was written")
        rest = rest[written:]


@contextlib.contextmanager
def synced(path: Path, flags: int) -> Iterator[int]:
    """A descriptor of `path`, opened with `flags`, which is synced when the block ends. Raises `DiskError`.

    After a failed fsync the pages may be lost, so callers give the file up instead of syncing it again.
    """
    with disk_errors(path):
        descriptor = os.open(path, flags | getattr(os, "O_BINARY", 0), 0o666)
        try:
            yield descriptor
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def fsync_dir(folder: Path) -> None:
    """Make the names in `folder` survive a power cut."""
    if os.name == "nt":  # Windows cannot sync a folder; its renames are journalled
        return
    with synced(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0)):
        pass


def create_file(path: Path, data: bytes | memoryview) -> None:
    """Write and sync a file that must not exist yet. Its name is not synced: meant for files in a folder that is
    itself renamed into place. Raises `DiskError`."""
    with synced(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as descriptor:
        write_all(descriptor, data)


@contextlib.contextmanager
def replacement(path: Path) -> Iterator[int]:
    """A descriptor of a new file that replaces or creates `path` durably if the block succeeds, and is removed if it
    fails. Raises `DiskError`."""
    unfinished = aside(path)
    try:
        with synced(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as descriptor:
            yield descriptor
        with disk_errors(path):
            os.replace(unfinished, path)
    except BaseException:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise
    fsync_dir(path.parent)


def write_bytes(path: Path, data: bytes | memoryview) -> None:
    """Replace or create `path` durably. Raises `DiskError`."""
    with replacement(path) as descriptor:
        write_all(descriptor, data)


def write_text(path: Path, text: str) -> None:
    """`write_bytes` of UTF-8 text; line ends are kept."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any, *, indent: int | None = 2, sort_keys: bool = False) -> None:
    """`write_bytes` of strict JSON, see `dump_json`."""
    write_text(path, dump_json(value, indent=indent, sort_keys=sort_keys) + "\n")


def sync_tree(folder: Path) -> None:
    """Make everything in `folder` durable that other code wrote there (artefacts, images). Raises `DiskError`."""
    for here, _, names in os.walk(folder):
        for name in names:
            with synced(Path(here, name), os.O_RDONLY):
                pass
        fsync_dir(Path(here))


@contextlib.contextmanager
def filled_aside(folder: Path, marker: str) -> Iterator[Path]:
    """An empty folder next to `folder` to fill, synced and renamed to `folder` when the block ends. For the cache.

    `marker` is a file that every complete folder holds: if another process finished first, its folder stays. Raises
    `DiskError`.
    """
    remove_unfinished(folder.parent)
    aside, held = folder, -1
    try:
        aside, held = _new_folder(folder)
        yield aside
        sync_tree(aside)
        try:
            aside.rename(folder)
        except OSError:
            if not (folder / marker).is_file():
                raise
        fsync_dir(folder.parent)
    except OSError as error:
        raise DiskError(f"{aside}: {error.strerror}; set GAN_CACHE to a folder with space") from error
    finally:
        if aside != folder:
            shutil.rmtree(aside, ignore_errors=True)
        if held >= 0:
            os.close(held)


def _new_folder(folder: Path) -> tuple[Path, int]:
    """A new folder next to `folder` under a random name, and a descriptor that holds its lock (-1: none can be had).

    Process numbers would not do: containers that share a cache may have the same ones, or do not see each other's.
    """
    while True:
        path = folder.with_name(f"{folder.name}.{secrets.token_hex(8)}.tmp")
        path.mkdir(parents=True)
        held = _locked(path, wait=True)
        with contextlib.suppress(FileNotFoundError):  # another process took it for left over before it was locked
            if held is None or os.path.samestat(os.stat(path), os.fstat(held)):
                return path, -1 if held is None else held
        if held is not None:
            os.close(held)


def _locked(path: Path, *, wait: bool) -> int | None:
    """A descriptor that holds the lock of a folder; None where the system locks no folders.

    Raises `BlockingIOError` if another process holds it, unless `wait`, and `FileNotFoundError`.
    """
    if sys.platform == "win32":
        return None
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            raise
        return None
    return descriptor


def discard(folder: Path) -> None:
    """Remove a folder of the cache in one step, so that nobody sees a part of it. Errors are ignored."""
    doomed = folder.with_name(f"{folder.name}.{secrets.token_hex(8)}.tmp")
    with contextlib.suppress(OSError):
        folder.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)


def remove_unfinished(folder: Path) -> None:
    """Remove the folders called ``NAME.RANDOM.tmp`` that killed processes left in a shared cache.

    A folder that somebody works on is locked. Where folders cannot be locked, those untouched for `ABANDONED` go.
    """
    for path in folder.glob("*.*.tmp"):
        try:
            old = time.time() - path.lstat().st_mtime > ABANDONED
            held = None if path.name.split(".")[-2].isdecimal() else _locked(path, wait=False)
        except OSError:
            continue
        if held is not None or old:
            shutil.rmtree(path, ignore_errors=True)
        if held is not None:
            os.close(held)


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal. Raises `BadData` if it cannot be read."""
    try:
        with open(path, "rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as error:
        raise BadData(f"cannot be read: {error.strerror}", path) from error


def make_dirs(folder: Path) -> None:
    """Create `folder` and its parents, each name durable. Raises `DiskError`."""
    if folder.is_dir():
        return
    make_dirs(folder.parent)
    with disk_errors(folder), contextlib.suppress(FileExistsError):
        os.mkdir(folder)
    if not folder.is_dir():
        raise disk_error(folder, NotADirectoryError(errno.ENOTDIR, "is not a folder"))
    fsync_dir(folder.parent)


def cache_folder() -> Path:
    """``$GAN_CACHE``, else ``$XDG_CACHE_HOME/gan``, else ``~/.cache/gan``."""
    if os.environ.get("GAN_CACHE"):  # empty counts as unset: it would be the current folder
        return Path(os.environ["GAN_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gan"


def dump_json(value: Any, *, indent: int | None = None, sort_keys: bool = False) -> str:
    """Strict, deterministic JSON: non-finite numbers become null and keys become strings.

    Accepts JSON types, paths, tuples, sets (sorted) and objects with ``.item()`` (numpy scalars, 0-d tensors). Raises
    `TypeError` for anything else.
    """
    return json.dumps(_strict(value), indent=indent, sort_keys=sort_keys, allow_nan=False, ensure_ascii=False)


def _strict(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, str):  # lone surrogates (a file name that is not UTF-8) are escaped
        return str(value).encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(_strict(str(key))): _strict(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return [_strict(item) for item in sorted(value)]
    if isinstance(value, os.PathLike):
        return _strict(os.fspath(value))
    if hasattr(value, "item"):
        return _strict(value.item())
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
