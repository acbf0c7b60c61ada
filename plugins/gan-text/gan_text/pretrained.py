"""Where pretrained models of transformers are taken from: a folder, or the cache of a model hub.

A recipe may come from somebody else. It therefore causes no download by itself (``--allow-download``), a download is of
one commit, files are safetensors and never unpickled, and code that comes with a model is not run.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from gan.errors import UsageError
from gan.weights import downloads_allowed


def located(name: str, setting: str) -> dict[str, Any]:
    """The arguments of ``from_pretrained`` for a folder, ``ORGANIZATION/NAME`` or ``ORGANIZATION/NAME@COMMIT``.

    `setting` is the recipe's key, for messages. Only with a commit, and if the user allows it, are missing files
    downloaded. Raises `UsageError`.
    """
    folder = Path(name).expanduser() if not name.startswith("~") else Path(name)
    if folder.is_dir():
        return {"pretrained_model_name_or_path": str(folder), "local_files_only": True, "trust_remote_code": False}
    model, _, commit = name.partition("@")
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", model):
        raise UsageError(f"{setting}: '{name}' is neither a folder nor the name of a model")
    if commit and not re.fullmatch(r"[0-9a-f]{40}", commit):
        raise UsageError(f"{setting}: '{commit}' is no commit (40 hexadecimal digits); branches and tags can change")
    found: dict[str, Any] = {
        "pretrained_model_name_or_path": model,
        "local_files_only": not (commit and downloads_allowed()),
        "trust_remote_code": False,
    }
    return found | ({"revision": commit} if commit else {})


def missing(name: str, setting: str, what: str, error: Exception) -> UsageError:
    """The error for a model that cannot be loaded, with the remedy."""
    lines = str(error).splitlines() or [type(error).__name__]
    reason = f"{setting}: no {what} at '{name}' (safetensors only): {lines[0][:200]}"
    if Path(name).is_dir():
        return UsageError(reason)
    remedy = "nothing is downloaded unless the commit is named (NAME@COMMIT) and --allow-download is given"
    return UsageError(f"{reason}\n{remedy}")
