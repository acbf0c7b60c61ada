"""Reporters for people: a line that moves on a terminal or in a notebook, plain lines elsewhere, or warnings only."""

from __future__ import annotations

import importlib.util
import math
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gan.contracts import MetricValue
from gan.reporting.escaping import escaped
from gan.reporting.reporter import Progress, Reporter, Tick
from gan.reporting.tables import shown_value

NARROWEST = 60
"""Columns from which the line shows percent, rate, time left and two losses in any case."""
SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
ESTIMATED = 3.0
"""Seconds of training after which the time to its end is estimated where there is no moving line."""
MEASURED = 4
"""Values of a validation that are shown; all are in the records."""


def duration(seconds: float) -> str:
    """``"1:02:03"`` or ``"2:03"``; ``"…"`` for infinity."""
    if not math.isfinite(seconds):
        return "…"
    minutes, rest = divmod(int(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def about(seconds: float) -> str:
    """``"about 40 seconds"``, ``"about 12 minutes"`` or ``"about 3.5 hours"``."""
    if seconds < 90:
        return f"about {max(1, round(seconds))} seconds"
    return f"about {round(seconds / 60)} minutes" if seconds < 90 * 60 else f"about {seconds / 3600:.1f} hours"


def losses_text(terms: dict[str, float]) -> str:
    """The terms that are minimised, ``"generator 0.693  discriminator 1.386"``."""
    return "  ".join(f"{name} {value:.3g}" for name, value in _losses(terms))


def _losses(terms: dict[str, float]) -> list[tuple[str, float]]:
    shown = []
    for name, value in terms.items():
        player, _, term = name.partition("/")
        if not term.startswith("_"):
            shown.append((player if term == "loss" else term, value))
    return shown


def two_losses(terms: dict[str, float]) -> list[tuple[str, float]]:
    """The losses of the first two players; where only one has a loss, its first two terms."""
    own = [(name.partition("/")[0], value) for name, value in terms.items() if name.endswith("/loss")]
    return (own if len(own) > 1 else _losses(terms))[:2]


def progress_line(
    progress: Progress | None,
    losses: Sequence[tuple[str, float]],
    width: int,
    *,
    step: str = "",
    moment: float = 0.0,
    ascii_only: bool = False,
) -> str:
    """One line of at most `width` columns. `step` is what happens before and after training; `moment`, in seconds,
    moves the spinner.

    Percent, rate, time left and two losses come first; with more room follow the whole names of the players, a bar,
    and the step. ``" 42 %  1,204/s  3:12 left  gen 0.693  dis 1.39"``.
    """
    frames = "|/-\\" if ascii_only else SPINNER
    spinner = frames[int(moment * 8) % len(frames)]
    if progress is None:
        return _cut(f"{spinner} {step}", width)
    rate = f"{progress.rate:,.0f}/s" if progress.rate >= 10 else f"{progress.rate:.2g}/s"
    known = [f"{spinner} {100 * progress.share:3.0f} %"]
    if progress.rate:
        known += [rate, f"{duration(progress.left)} left"]
    whole = [f"{name} {value:#.3g}" for name, value in losses]  # always three digits, so that nothing jumps
    shortened = zip(_short([name for name, _ in losses]), (value for _, value in losses))
    short = [f"{name} {value:#.3g}" for name, value in shortened]
    for names, least, with_step in ((whole, 20, True), (whole, 10, False), (short, 6, False), (short, 0, False)):
        rest = [*known[1:], *names] if names else [*known[1:], step]
        used = len("  ".join([known[0], *rest]))
        tail = f"  {step}" if with_step and step and names else ""
        room = width - used - len(tail) - 2
        if least and room >= least:
            return "  ".join([known[0], _bar(progress.share, min(room, 40), ascii_only), *rest]) + tail
        if not least and used <= width:
            return "  ".join([known[0], *rest])
    return _cut("  ".join([*known, *short]), width)


def _short(names: Sequence[str]) -> list[str]:
    """The first three letters of each name, or numbered where these are equal."""
    short = [name[:3] for name in names]
    return short if len(set(short)) == len(short) else [f"{name[:2]}{n}" for n, name in enumerate(names, 1)]


def _bar(share: float, width: int, ascii_only: bool) -> str:
    full, empty = ("#", "-") if ascii_only else ("━", "╌")
    done = round(share * width)
    return full * done + empty * (width - done)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"


class QuietReporter(Reporter):
    """Shows warnings only."""

    def warn(self, text: str) -> None:
        _print(f"warning: {text}")


class PlainReporter(QuietReporter):
    """Writes plain lines for logs to the standard error stream."""

    def __init__(self) -> None:
        self._last_packing = time.monotonic()
        self._progress: Progress | None = None
        self._began: float | None = None
        """Seconds of the run when this session saw it first; None after the estimate."""

    def note(self, text: str) -> None:
        _print(text)

    def packing(self, done: int, total: int) -> None:
        if done == total or time.monotonic() - self._last_packing > 10:
            self._last_packing = time.monotonic()
            self.note(f"reading files: {done:,} of {total:,}")

    def started(self, run: Path, title: str, samples: int, total: int) -> None:
        self._began = math.inf
        self.note(f"training {title} in {run}: {f'from {samples:,} samples on' if samples else f'{total:,} samples'}")

    def moved(self, progress: Progress) -> None:
        self._progress = progress
        if self._began is None:
            return
        self._began = min(self._began, progress.seconds)
        if progress.seconds - self._began >= ESTIMATED:
            self._began = None
            self.note(estimate(progress))

    def tick(self, tick: Tick) -> None:
        self._began = None
        progress = self._progress or Progress(
            tick.samples, tick.total, tick.seconds, tick.samples / (tick.seconds or 1)
        )
        skipped = f"  skipped {tick.skipped}" if tick.skipped else ""
        self.note(
            f"{tick.phase}  {tick.samples:,}/{tick.total:,} samples  {100 * progress.share:.0f} %  {tick.rate:,.0f}/s  "
            f"{duration(tick.seconds)} left {duration(progress.left)}  {losses_text(tick.terms)}{skipped}"
        )

    def measured(self, samples: int, values: Sequence[MetricValue], best: bool) -> None:
        shown = "  ".join(f"{value.name} {shown_value(asdict(value))}" for value in values[:MEASURED])
        more = f"  and {len(values) - MEASURED} more" if len(values) > MEASURED else ""
        self.note(f"at {samples:,} samples  {shown}{more}{'  (the best so far)' if best else ''}")

    def preview(self, path: Path) -> None:
        self.note(f"preview  {path}")


def estimate(progress: Progress) -> str:
    """What a user is told within the first seconds: how long the training takes."""
    rate = f"{progress.rate:,.0f}" if progress.rate >= 10 else f"{progress.rate:.2g}"
    ends = f"; it ends after {progress.minutes:g} minutes at the latest" if progress.minutes else ""
    return f"{about(progress.left)} to the end, at {rate} samples a second{ends}"


class LiveReporter(PlainReporter):
    """Shows one line that moves, below whatever else is printed; on a terminal, and in a notebook."""

    def __init__(self, console: Any = None, step: str = "starting") -> None:
        super().__init__()
        from rich.console import Console
        from rich.live import Live

        self._console = console or Console(stderr=True, markup=False, highlight=False)
        self._step = step
        self._losses: list[tuple[str, float]] = []
        # not redirecting the streams: a process that is forked to read files must not wait for a lock of this one
        self._live = Live(
            self,
            console=self._console,
            refresh_per_second=8,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.start()

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        from rich.text import Text

        ascii_only = bool(options.ascii_only)
        line = progress_line(
            self._progress, self._losses, options.max_width, step=escaped(self._step), moment=time.monotonic(),
            ascii_only=ascii_only,
        )  # fmt: skip
        yield Text(line, no_wrap=True, overflow="crop")

    def _say(self, text: str, style: str | None = None) -> None:
        self._console.print(escaped(text), style=style, soft_wrap=True)  # a path stays whole, to be copied

    def note(self, text: str) -> None:
        if self._progress is None:
            self._step = text
        self._say(text, "dim")

    def warn(self, text: str) -> None:
        self._say(f"warning: {text}", "yellow")

    def preview(self, path: Path) -> None:
        self._say(f"preview  {path}", "dim")

    def packing(self, done: int, total: int) -> None:
        self._step = f"reading files: {done:,} of {total:,}"

    def started(self, run: Path, title: str, samples: int, total: int) -> None:
        self._step = title
        self._say(f"training {title} in {run}")

    def moved(self, progress: Progress) -> None:
        self._progress = progress

    def tick(self, tick: Tick) -> None:
        self._losses = two_losses(tick.terms)
        self._step = tick.phase
        if tick.skipped:
            self._say(f"skipped {tick.skipped} updates that were not finite, up to {tick.samples:,} samples", "yellow")
        if tick.final:
            self._progress, self._step = None, "finishing"

    def close(self) -> None:
        self._live.stop()


def in_notebook() -> bool:
    """Whether this process is the kernel of a Jupyter notebook."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return type(shell).__name__ == "ZMQInteractiveShell"


def can_move() -> bool:
    """Whether a line can move here: on a terminal, and in a notebook with ipywidgets."""
    if in_notebook():
        return importlib.util.find_spec("ipywidgets") is not None
    return sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")


def _print(text: str) -> None:
    print(escaped(text), file=sys.stderr, flush=True)
