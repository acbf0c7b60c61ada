"""Artefacts are written aside, labelled, and moved to their place whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from gan.errors import GanError
from gan.storage.durable import ASIDE, disk_error, disk_errors

FULL = 1 << 16
"""A disk with fewer free bytes counts as full."""


@contextlib.contextmanager
def complete_files(stem: Path, finish: Callable[[Path, Path], None]) -> Iterator[tuple[Path, Callable[[Path], Path]]]:
    """Write the files that begin with `stem` whole or not at all.

    Yields the stem to write to, in a folder aside, and a function from a path there to its place. At the end
    ``finish(path, place)`` is called for each file, and all are moved there. Raises `DiskError` with the path, and
    leaves nothing behind, when the disk is full.
    """
    aside = stem.parent / f"{ASIDE}{secrets.token_hex(8)}"
    try:
        with disk_errors(stem):
            aside.mkdir(parents=True)
        try:
            yield aside / stem.name, lambda path: stem.parent / path.relative_to(aside)
            for path in sorted(aside.iterdir()):
                finish(path, stem.parent / path.name)
        except OSError as error:
            raise disk_error(stem, error) from error
        except GanError:
            raise
        except Exception as error:  # libraries of audio and video do not say why a file could not be written
            if shutil.disk_usage(aside).free < FULL:
                raise disk_error(stem, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))) from error
            raise
        with disk_errors(stem):
            for path in sorted(aside.iterdir()):
                path.replace(stem.parent / path.name)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
