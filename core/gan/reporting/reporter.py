"""What long work tells to whoever watches: the command line, a notebook, a program."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gan.contracts import MetricValue


from dataclasses import dataclass


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

    def measured(self, samples: int, values: Sequence[MetricValue], best: bool) -> None:
        """Metrics at `samples` real samples shown, and whether the checkpoint is the best so far."""

    def preview(self, path: Path) -> None:
        """A new picture of samples."""

    def saved(self, path: Path, samples: int) -> None:
        """A checkpoint lies safely on the disk."""

    def finished(self, summary: dict[str, Any]) -> None:
        """The training's end: what `gan.reporting.result.Result.summary` says."""


@dataclass(frozen=True)
class Tick:
    """What a tick reports."""

    samples: int
    """Real samples shown in all phases."""
    total: int
    """Real samples in the whole training."""
    phase: str
    terms: dict[str, float]
    """Means since the last tick: ``"player/term"``."""
    seconds: float
    """Of training since the run began, over all its processes' lives."""
    rate: float
    """Real samples a second in this tick."""
    skipped: int
    """Updates since the last tick that were not made because a gradient was not finite."""
    final: bool
    """Whether training ends here."""
    is_baseline: bool = False
    """Whether a phase ends here that is a baseline of the method (`Phase.is_baseline`)."""
