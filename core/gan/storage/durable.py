"""Writing files that are there whole or not at all, after a kill and after a power cut.

A file is written beside its place under a name that begins with `ASIDE`, synced, renamed, and its folder is synced:
whoever reads sees the old content or the new one. Files obey the umask. Whatever the disk refuses becomes a
`DiskError` that names the path and the reason.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gan.errors import DiskError

ASIDE = ".tmp-"
"""How the names of unfinished files and folders begin; whatever has such a name may be deleted when no process works
on the folder."""

_count = itertools.count()
_REMEDIES = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space, the quota is used up",
    errno.EFBIG: "raise the limit on file sizes (ulimit -f)",
    errno.EACCES: "check the permissions of the folder",
    errno.EPERM: "check the permissions of the folder",
    errno.EROFS: "the disk is mounted read-only; choose another folder",
    errno.EIO: "the device fails; choose another disk",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
}


def disk_error(path: Path | str, error: OSError) -> DiskError:
    """The `DiskError` of an `OSError`: path, reason, remedy."""
    reason = error.strerror or str(error)
    remedy = _REMEDIES.get(error.errno or 0)
    return DiskError(f"{path}: {reason}" + (f"; {remedy}" if remedy else ""))


@contextlib.contextmanager
def disk_errors(path: Path | str) -> Iterator[None]:
    """Turn an `OSError` of the block into a `DiskError` about `path`."""
    try:
        yield
    except OSError as error:
        raise disk_error(path, error) from error


def aside(path: Path) -> Path:
    """A new name beside `path` for work that is not finished."""
    return path.parent / f"{ASIDE}{path.name}-{os.getpid()}-{next(_count)}"


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write everything: a short write goes on where it stopped."""
    rest = memoryview(data).cast("B")
    while rest:
        written = os.write(descriptor, rest)
        if written <= 0:
            raise OSError(errno.EIO, "nothing was written")
        rest = rest[written:]


def fsync_dir(folder: Path) -> None:
    """Make the names in `folder` survive a power cut."""
    if os.name == "nt":  # Windows cannot sync a folder; its renames are journalled
        return
    with disk_errors(folder):
        descriptor = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def create_file(path: Path, data: bytes | memoryview) -> None:
    """Write a file that does not exist yet and sync its content, but not its name: for files in a folder that is
    itself written aside."""
    with disk_errors(path):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        try:
            write_all(descriptor, data)
            os.fsync(descriptor)  # when this fails the pages may be lost: the file is given up, never synced again
        finally:
            os.close(descriptor)


def write_bytes(path: Path, data: bytes | memoryview) -> None:
    """Replace or create `path` durably: old content or new content, nothing between. Raises `DiskError`."""
    unfinished = aside(path)
    try:
        create_file(unfinished, data)
        with disk_errors(path):
            os.replace(unfinished, path)
    except BaseException:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise
    fsync_dir(path.parent)


def write_text(path: Path, text: str) -> None:
    """`write_bytes` of UTF-8 text, line ends as they are."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any, *, indent: int | None = 2, sort_keys: bool = False) -> None:
    """`write_bytes` of strict JSON, see `dump_json`."""
    write_text(path, dump_json(value, indent=indent, sort_keys=sort_keys) + "\n")


def sync_tree(folder: Path) -> None:
    """Make everything in `folder` durable that others wrote there (artefacts, pictures). Raises `DiskError`."""
    for here, _, names in os.walk(folder):
        for name in names:
            path = Path(here, name)
            with disk_errors(path):
                descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
        fsync_dir(Path(here))


@contextlib.contextmanager
def filled_aside(folder: Path, marker: str) -> Iterator[Path]:
    """An empty folder beside `folder` to fill, which takes its place, synced, when the block ends: whole or not at all.

    `marker` is a file of the filled folder: where another process was faster, its folder stays. For folders of the
    shared cache. Raises `DiskError`.
    """
    aside = folder.with_name(f"{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(aside, ignore_errors=True)
    sweep_processes(folder.parent)
    try:
        aside.mkdir(parents=True)
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
        shutil.rmtree(aside, ignore_errors=True)


def sweep_processes(folder: Path) -> None:
    """Remove folders called ``NAME.PID.tmp`` whose process is gone: what killed processes left in a shared cache."""
    for path in folder.glob("*.tmp") if folder.is_dir() else ():
        number = path.name.split(".")[-2] if path.name.count(".") >= 2 else ""
        if not number.isdigit() or int(number) == os.getpid():
            continue
        try:
            os.kill(int(number), 0)
        except ProcessLookupError:
            shutil.rmtree(path, ignore_errors=True)
        except (OSError, OverflowError):
            continue


def make_dirs(folder: Path) -> None:
    """Create `folder` and its parents, each name durable. Raises `DiskError`."""
    if folder.is_dir():
        return
    make_dirs(folder.parent)
    with disk_errors(folder), contextlib.suppress(FileExistsError):
        os.mkdir(folder)
    if not folder.is_dir():
        raise disk_error(folder, NotADirectoryError(errno.ENOTDIR, "is no folder"))
    fsync_dir(folder.parent)


def cache_folder() -> Path:
    """``$GAN_CACHE``, else ``$XDG_CACHE_HOME/gan``, else ``~/.cache/gan``."""
    if "GAN_CACHE" in os.environ:
        return Path(os.environ["GAN_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gan"


def dump_json(value: Any, *, indent: int | None = None, sort_keys: bool = False) -> str:
    """Strict JSON: a number that is not finite becomes null, keys become text, the same value gives the same text.

    Takes what JSON knows, and paths, tuples, sets (sorted) and things with ``.item()`` (numpy scalars, 0-d tensors).
    Raises `TypeError` for anything else.
    """
    return json.dumps(_strict(value), indent=indent, sort_keys=sort_keys, allow_nan=False, ensure_ascii=False)


def _strict(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, str):  # a lone surrogate (a file name that is no UTF-8) cannot be written; it is escaped
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
