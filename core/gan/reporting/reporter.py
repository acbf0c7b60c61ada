"""Progress reports of a training or another long task, to the command line, a notebook or a program."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
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

    def moved(self, progress: Progress) -> None:
        """Training has done another iteration. Called after each one, so it should return at once most times."""

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


class Several(Reporter):
    """Passes every event to several reporters, in their order."""

    def __init__(self, reporters: Sequence[Reporter]) -> None:
        self.reporters = list(reporters)

    def __getattribute__(self, name: str) -> Any:
        if name in _EVENTS:
            return partial(object.__getattribute__(self, "_pass"), name)
        return object.__getattribute__(self, name)

    def _pass(self, event: str, *arguments: Any, **named: Any) -> None:
        for reporter in self.reporters:
            getattr(reporter, event)(*arguments, **named)


_EVENTS = frozenset(name for name in vars(Reporter) if not name.startswith("_"))


@dataclass(frozen=True)
class Progress:
    """How far a training is, and how long it still takes."""

    samples: int
    """Real samples shown in all phases."""
    total: int
    """Real samples in the whole training."""
    seconds: float
    """Seconds of training since the start of the run, over all resumed sessions."""
    rate: float
    """Real samples per second in the last half minute; 0: not known yet."""
    minutes: float | None = None
    """``training.minutes``: training ends after them at the latest."""

    @property
    def share(self) -> float:
        """0 … 1: the part that is done, of the samples or of the minutes, whichever is larger."""
        timed = self.seconds / (60 * self.minutes) if self.minutes else 0.0
        return min(1.0, max(self.samples / max(self.total, 1), timed))

    @property
    def left(self) -> float:
        """Seconds to the end; infinity: not known yet."""
        by_rate = (self.total - self.samples) / self.rate if self.rate else math.inf
        return max(0.0, min(by_rate, math.inf if self.minutes is None else 60 * self.minutes - self.seconds))


class Pace:
    """Measures the speed of a training: real samples per second over the last half minute."""

    WINDOW = 30.0
    """Seconds over which the rate is a mean."""

    def __init__(self, samples: int, total: int, seconds: float = 0.0, minutes: float | None = None) -> None:
        self._total = total
        self._minutes = minutes
        self._before = seconds
        self._began = time.monotonic()
        self._marks: deque[tuple[float, int]] = deque([(self._began, samples)])

    def at(self, samples: int) -> Progress:
        """The progress after so many real samples shown, now."""
        now, marks = time.monotonic(), self._marks
        if samples < marks[-1][1]:  # returned to an earlier checkpoint
            marks.clear()
            marks.append((now, samples))
        while len(marks) > 1 and marks[1][0] < now - self.WINDOW:
            marks.popleft()
        passed, shown = now - marks[0][0], samples - marks[0][1]
        if len(marks) == 1 or now - marks[-1][0] > 1:
            marks.append((now, samples))
        rate = shown / passed if passed > 0 else 0.0
        return Progress(samples, self._total, self._before + now - self._began, rate, self._minutes)


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
