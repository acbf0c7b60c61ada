"""Pretrained weights: on disk by file name and SHA-256, and whether the user allows that they are downloaded."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from gan.errors import BadData, UsageError
from gan.storage.durable import cache_folder, file_sha256

__all__ = [
    "ALLOW_VARIABLE",
    "VARIABLE",
    "downloads_allowed",
    "file_sha256",
    "find_weights",
    "restored",
    "restoring",
    "weights_folder",
]

VARIABLE = "GAN_WEIGHTS"
FETCH = "fetch them, gan data fetch weights:EXTRACTOR, or "
"""The remedy in a message about weights that are not here; who knows the extractor puts its name in."""
ALLOW_VARIABLE = "GAN_ALLOW_DOWNLOAD"
_restoring: ContextVar[bool] = ContextVar("restoring", default=False)


def downloads_allowed() -> bool:
    """Whether the user allows downloads that a recipe asks for: ``--allow-download`` or ``GAN_ALLOW_DOWNLOAD=1``.

    Recipes come from other people, so that none may cause one by itself.
    """
    return os.environ.get(ALLOW_VARIABLE, "") not in ("", "0")


def restoring() -> bool:
    """Whether the architecture under construction gets all its weights from a checkpoint.

    It then need not load pretrained weights, only know their shapes.
    """
    return _restoring.get()


@contextmanager
def restored() -> Iterator[None]:
    """Context in which architectures are built for a checkpoint (see `restoring`)."""
    token = _restoring.set(True)
    try:
        yield
    finally:
        _restoring.reset(token)


def weights_folder() -> Path:
    """The folder of weights that the user has fetched."""
    return cache_folder() / "weights"


def find_weights(name: str, sha256: str, given: Path | None = None) -> Path:
    """The path of the file `name` whose content has this SHA-256, or one that begins so: publishers put eight digits
    into a file's name.

    It is looked for in `given` (a file or a folder that the user named) or else in the folders of the environment
    variable ``GAN_WEIGHTS`` (separated as in PATH) and where ``gan data fetch weights:NAME`` puts it. Raises
    `UsageError` with the remedy if it is not found, `BadData` if its content differs.
    """
    if given is not None:
        candidates = [given / name if given.is_dir() else given]
    else:
        folders = [Path(folder) for folder in os.environ.get(VARIABLE, "").split(os.pathsep) if folder]
        candidates = [folder / name for folder in (*folders, weights_folder())]
    found = next((path for path in candidates if path.is_file()), None)
    if found is None:
        where = (
            f"{given} does not hold it" if given is not None else f"{FETCH}name their folder in the variable {VARIABLE}"
        )
        raise UsageError(
            f"the weights {name} (sha256 {sha256[:16]}…) are not here: {where}, or, for an extractor, "
            "write the path behind its name, as in fid[NAME=PATH]"
        )
    actual = file_sha256(found)
    if not actual.startswith(sha256):
        raise BadData(f"its sha256 is {actual[:16]}…, and the weights {name} have {sha256[:16]}…", found)
    return found
