"""Seals: the size and the SHA-256 of every file of a folder, and their verification.

Verification reads files in blocks. What was verified is remembered by inode, size and times, so that files which have
not been touched since are not read again; any change of a file changes its change time (``ctime``), which programs
cannot set back.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias, TypeGuard

from gan.errors import DiskError
from gan.storage.durable import file_sha256, write_json
from gan.storage.regular import Broken, digest_regular, read_json, read_regular

SEAL = "seal"
"""The key of the last line of a sealed text."""

Stamp: TypeAlias = tuple[int, int, int, int]
"""Size, inode, modification and change time of a file, in ns."""


def stamp(path: Path) -> Stamp:
    """What changes whenever the file at `path` does; of a file that does not exist, only minus ones."""
    try:
        status = os.stat(path)
    except OSError:
        return (-1, -1, -1, -1)
    return (status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns)


def seal(folder: Path, names: Iterable[str] | None = None) -> dict[str, dict[str, Any]]:
    """Name -> size and SHA-256 of files in `folder`, by default of all."""
    found = sorted(files_below(folder)) if names is None else list(names)
    return {name: {"size": (folder / name).stat().st_size, "sha256": file_sha256(folder / name)} for name in found}


def files_below(folder: Path) -> list[str]:
    """The names of everything below `folder` that is not a folder, with ``/``."""
    return [
        Path(here, name).relative_to(folder).as_posix() for here, _, names in os.walk(folder) for name in names
    ]  # fmt: skip


def is_seal(value: Any) -> TypeGuard[dict[str, dict[str, Any]]]:
    """Whether a JSON value is what `seal` returns."""
    return isinstance(value, dict) and all(
        isinstance(name, str)
        and ".." not in Path(name).parts
        and not Path(name).is_absolute()
        and isinstance(expected, dict)
        and isinstance(expected.get("sha256"), str)
        and type(expected.get("size")) is int
        and expected["size"] >= 0
        for name, expected in value.items()
    )


def broken_files(
    folder: Path, sealed: Mapping[str, Mapping[str, Any]], memory: Path | None = None, *, anew: bool = False
) -> dict[str, str]:
    """Name -> reason of every sealed file that is not what was written; empty if all are.

    `memory` is the file in which verified files are remembered. With `anew`, they are read again nevertheless.
    """
    known = {} if anew or memory is None else _remembered(memory)
    broken: dict[str, str] = {}
    verified: dict[str, list[int]] = {}
    for name, expected in sealed.items():
        before = list(stamp(folder / name))
        if known.get(name) != before or before[0] != expected["size"]:
            try:
                if digest_regular(folder / name, expected["size"]) != expected["sha256"]:
                    raise Broken("is not what was written (its SHA-256 differs)")
            except Broken as error:
                broken[name] = str(error).removeprefix(f"{Path(name).name} ")
                continue
        verified[name] = before
    if memory is not None and not broken and verified != known:
        remember(memory, verified)
    return broken


def sealed_about(path: Path) -> dict[str, dict[str, Any]]:
    """What the sealed description of a folder says about its ``"arrays"``. Raises `Broken`."""
    about, is_sealed = unsealed(read_regular(path, None), path.name)
    if not is_sealed or not is_seal(about.get("arrays")):
        raise Broken(f"{path.name} has no seal")
    arrays: dict[str, dict[str, Any]] = about["arrays"]
    return arrays


def remember(memory: Path, verified: Mapping[str, Iterable[int]]) -> None:
    """Remember verified files by their `stamp`; in a cache that cannot be written, nothing is."""
    with contextlib.suppress(DiskError, OSError):
        memory.parent.mkdir(parents=True, exist_ok=True)
        write_json(memory, {name: list(found) for name, found in verified.items()}, indent=None)


def _remembered(memory: Path) -> dict[str, Any]:
    try:
        found = read_json(read_regular(memory, None), memory.name)
    except Broken:
        return {}
    return found if isinstance(found, dict) else {}


def sealed_text(body: str) -> str:
    """The text of a JSON object with a last line that seals the lines before it with their SHA-256."""
    text = body.rstrip().removesuffix("}").rstrip()
    text += "\n" if text == "{" else ",\n"
    return text + f'"{SEAL}": "{hashlib.sha256(text.encode("utf-8")).hexdigest()}"}}\n'


def unsealed(content: bytes, where: str, parse: Callable[[bytes, str], Any] = read_json) -> tuple[dict[str, Any], bool]:
    """(the object of a text, whether it was sealed). Raises `Broken` if it is not what `sealed_text` returned.

    Text of earlier versions has no seal; whether it may lack one is the caller's to decide.
    """
    value = parse(content, where)
    if not isinstance(value, dict):
        raise Broken(f"{where} is not a mapping")
    if SEAL not in value:
        return value, False
    end = content.rfind(f'"{SEAL}"'.encode())
    expected = f'"{SEAL}": "{hashlib.sha256(content[:end]).hexdigest()}"}}\n'
    if content[end:] != expected.encode("utf-8"):
        raise Broken(f"{where} is not what was written (its seal differs)")
    del value[SEAL]
    return value, True
