"""Files of pretrained weights, found by name and proved by sha256: none is ever guessed or silently replaced."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from gan.errors import BadData, UsageError

VARIABLE = "GAN_WEIGHTS"


def find_weights(name: str, sha256: str, given: Path | None = None) -> Path:
    """The file `name` whose content has this sha256.

    `given` is a file or a folder that a user named; else the folders of the variable ``GAN_WEIGHTS`` (separated as
    in PATH) are looked through. Raises `UsageError` with the remedy when it is nowhere, `BadData` when it is another
    file.
    """
    if given is not None:
        places = [given / name if given.is_dir() else given]
    else:
        places = [Path(folder) / name for folder in os.environ.get(VARIABLE, "").split(os.pathsep) if folder]
    found = next((path for path in places if path.is_file()), None)
    if found is None:
        where = f"{given} does not hold it" if given is not None else f"name its folder in the variable {VARIABLE}"
        raise UsageError(
            f"the weights {name} (sha256 {sha256[:16]}…) are not here: {where}, or, for an extractor, "
            "write the path behind its name, as in fid[NAME=PATH]"
        )
    actual = file_sha256(found)
    if actual != sha256:
        raise BadData(f"its sha256 is {actual[:16]}…, and the weights {name} have {sha256[:16]}…", found)
    return found


def file_sha256(path: Path) -> str:
    """Of a file's content, in hexadecimal. Raises `BadData` when it cannot be read."""
    try:
        with open(path, "rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as error:
        raise BadData(f"cannot be read: {error.strerror}", path) from error
