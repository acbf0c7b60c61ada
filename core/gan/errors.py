"""The exceptions of gan and their exit codes.

    GanError                  2   one or two lines for the user: what, where, why, the remedy
    ├── UsageError            2   a mistake on the command line or in a recipe
    │   └── UnknownName       2   a name that is not registered; suggests the nearest known one
    ├── PluginError           2   a plugin that cannot be used; carries the plugin's name
    ├── BadData               3   data that cannot be used; carries the file
    ├── CheckpointError       4   a checkpoint that is damaged, incompatible or untrusted
    ├── NumericError          5   a loss, a gradient or a weight that is not finite, or memory ran out
    ├── DiskError             6   the disk reported an error: no space, no permission, I/O
    └── RunLocked             7   another process uses the run folder

The number is the exit code of the command line. A run that was stopped by a signal exits with 75 after saving; this is
`Stopped`, which is not an error.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class GanError(Exception):
    """An error reported to the user in one or two lines. Any other exception is a bug and shows a traceback."""

    exit_code = 2


class UsageError(GanError):
    """A mistake on the command line or in a recipe."""


class UnknownName(UsageError):
    """A name that is not registered. `known` lists the registered ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str], remedy: str = "") -> None:
        self.kind = kind
        self.name = name
        self.known = sorted(known)
        close = nearest(name, self.known)
        listing = ", ".join(self.known) if self.known else "none"
        message = f"no {kind} named '{name}' (known: {listing})"
        if close:
            message += f"; did you mean '{close}'?"
        if remedy:
            message += f" {remedy}" if message.endswith("?") else f". {remedy}"
        super().__init__(message)


class PluginError(GanError):
    """A plugin that cannot be used."""

    def __init__(self, plugin: str, message: str) -> None:
        self.plugin = plugin
        super().__init__(message)


class BadData(GanError):
    """Data that cannot be used. `file` is the file, or None if the whole source is meant."""

    exit_code = 3

    def __init__(self, reason: str, file: str | Path | None = None) -> None:
        self.reason = reason
        self.file = None if file is None else str(file)
        super().__init__(reason if file is None else f"{file}: {reason}")


class CheckpointError(GanError):
    """A checkpoint that is damaged, incompatible or untrusted."""

    exit_code = 4


class NumericError(GanError):
    """Non-finite numbers, or memory that ran out."""

    exit_code = 5


class DiskError(GanError):
    """The disk reported an error."""

    exit_code = 6


class RunLocked(GanError):
    """Another process uses the run folder."""

    exit_code = 7


class Stopped(Exception):
    """A signal stopped the run after it finished its iteration and saved."""

    exit_code = 75


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name closest to `name`, or None if none is similar."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return close[0] if close else None
