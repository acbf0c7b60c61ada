"""Reading files that somebody else may have changed: regular files of a bounded size, never through a link.

Checkpoints, the other files of a run folder and those of the cache are read with these functions. A pipe or a device
in the place of a file is refused and does not block; a link is refused and is not followed.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import stat
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import Any

MAX_JSON_BYTES = 64 << 20
"""Largest structure, manifest or other JSON file that is read, in bytes."""


class Broken(Exception):
    """The content is not what was written; the message says why."""


def read_json(content: bytes, where: str) -> Any:
    """Strict JSON: no repeated keys, no NaN, no nesting deeper than the parser supports. Raises `Broken`."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a key is repeated")
        return found

    def refuse(name: str) -> Any:
        raise ValueError(f"{name} is not JSON")

    try:
        return json.loads(content.decode("utf-8"), object_pairs_hook=unique, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise Broken(f"{where} is not JSON ({error})") from error


def read_regular(path: Path, size: int | None, *, limit: int = MAX_JSON_BYTES) -> bytes:
    """The content of a regular file of exactly `size` bytes (None: at most `limit`). Raises `Broken`."""
    with _regular(path, size, limit) as (file, found):
        content = file.read(found + 1)
    if len(content) != found:
        raise Broken(f"{path.name} changed while it was read")
    return content


def read_named(path: Path, limit: int) -> bytes:
    """The content of a file that a user names: it may be a link, and what a shell makes of ``<(…)``.

    Raises `Broken` for a named pipe and for more than `limit` bytes, and `OSError`.
    """
    if stat.S_ISFIFO(path.stat().st_mode) and not os.path.realpath(path).startswith("/proc/"):
        raise Broken("is a pipe, which may never be written to")
    with open(path, "rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise Broken(f"larger than {limit:,} bytes")
    return content


def digest_regular(path: Path, size: int) -> str:
    """The SHA-256 of a regular file of exactly `size` bytes, read in blocks. Raises `Broken`."""
    with _regular(path, size, size) as (file, _):
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def _regular(path: Path, size: int | None, limit: int) -> Iterator[tuple[BufferedReader, int]]:
    """A file open for reading and its size in bytes."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        with open(os.open(path, flags), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise Broken(f"{path.name} is not a regular file")
            if size is not None and status.st_size != size:
                raise Broken(f"{path.name} has {status.st_size:,} bytes, not {size:,}")
            if size is None and status.st_size > limit:
                raise Broken(f"{path.name} has {status.st_size:,} bytes, more than {limit:,}")
            yield file, status.st_size
    except IsADirectoryError as error:
        raise Broken(f"{path.name} is not a regular file") from error
    except OSError as error:
        reason = "is a link" if error.errno == errno.ELOOP else f"cannot be read: {error.strerror or error}"
        raise Broken(f"{path.name} {reason}") from error
