"""Progress reports of a training or another long task, to the command line, a notebook or a program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gan.contracts import MetricValue


class Reporter:
    """Receives all events and shows none; the reporters of the command line override the methods they need."""

    def note(self, text: str) -> None:
        """One line about the current step."""

    def warn(self, text: str) -> None:
        """One line about a problem that does not stop the task."""

    def packing(self, done: int, total: int) -> None:
        """`done` of `total` files have been read."""

    def started(self, run: Path, title: str, samples: int, total: int) -> None:
        """Training starts or resumes in the folder `run`, at `samples` of `total` real samples."""

    def tick(self, tick: Tick) -> None:
        """Losses and progress since the last tick."""

    def measured(self, samples: int, values: Sequence[MetricValue], best: bool) -> None:
        """Metrics after `samples` real samples, and whether they are the best so far."""

    def preview(self, path: Path) -> None:
        """A new picture of samples was written."""

    def saved(self, path: Path, samples: int) -> None:
        """A checkpoint is safely on the disk."""

    def finished(self, summary: dict[str, Any]) -> None:
        """Training has ended, with this `gan.reporting.result.Result.summary`."""

    def close(self) -> None:
        """Release the terminal, at the end or after an error."""


@dataclass(frozen=True)
class Tick:
    """Losses and progress since the last tick."""

    samples: int
    """Real samples shown in all phases."""
    total: int
    """Real samples in the whole training."""
    phase: str
    terms: dict[str, float]
    """Means since the last tick: ``"player/term"``."""
    seconds: float
    """Seconds of training since the start of the run, over all resumed sessions."""
    rate: float
    """Real samples per second in this tick."""
    skipped: int
    """Updates skipped since the last tick because a loss or gradient was not finite."""
    final: bool
    """Whether training ends here."""
    is_baseline: bool = False
    """Whether a phase ends here that is a baseline of the method (`Phase.is_baseline`)."""
