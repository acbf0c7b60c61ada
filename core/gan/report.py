"""What long work tells to whoever watches: the command line, a notebook, a program."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gan.trainer import Tick


class Reporter:
    """Hears everything and says nothing; the command line's reporters override what they show."""

    def note(self, text: str) -> None:
        """One line about what happens now."""

    def warn(self, text: str) -> None:
        """One line about what is wrong but no reason to stop."""

    def packing(self, done: int, total: int) -> None:
        """`done` of `total` files have been read."""

    def started(self, run: Path, title: str, samples: int, total: int) -> None:
        """Training begins or goes on in the folder `run`, at `samples` of `total` real samples."""

    def tick(self, tick: Tick) -> None:
        """Numbers since the last tick."""

    def preview(self, path: Path) -> None:
        """A new picture of samples."""

    def saved(self, path: Path, samples: int) -> None:
        """A checkpoint lies safely on the disk."""

    def finished(self, summary: dict[str, Any]) -> None:
        """The training's end: what `gan.training.Result.summary` says."""
