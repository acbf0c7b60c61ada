"""Reporters of the command line: a progress bar on a terminal, plain lines elsewhere, JSON for programs, or nothing."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gan.cli.columns import print_columns
from gan.cli.terminal import echo, escaped
from gan.contracts import MetricValue
from gan.reporting.reporter import Reporter, Tick
from gan.reporting.tables import metric_rows, shown_value
from gan.storage.run_folder import RunFolder


def choose_reporter(*, quiet: bool, as_json: bool) -> Reporter:
    """The reporter for the flags and the terminal; of several processes only the first one reports."""
    if os.environ.get("RANK", "0") != "0":
        return Reporter()
    if as_json:
        return JsonReporter()
    if quiet:
        return QuietReporter()
    return RichReporter() if sys.stderr.isatty() else PlainReporter()


@contextmanager
def progress_bar(title: str, *, hidden: bool) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on a terminal, moved by ``advance(done, total)``; silent elsewhere."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, disable=hidden or not console.is_terminal) as bar:
        task = bar.add_task(title)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def duration(seconds: float) -> str:
    """``"1:02:03"`` or ``"2:03"``."""
    minutes, rest = divmod(int(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def losses_text(terms: dict[str, float]) -> str:
    """The terms that are minimised, ``"generator 0.693 discriminator 1.386"``."""
    shown = []
    for name, value in terms.items():
        player, _, term = name.partition("/")
        if not term.startswith("_"):
            shown.append(f"{player if term == 'loss' else term} {value:.3g}")
    return "  ".join(shown)


class QuietReporter(Reporter):
    """Shows warnings only."""

    def warn(self, text: str) -> None:
        echo(f"warning: {text}", err=True)


class PlainReporter(QuietReporter):
    """Writes plain lines for logs to the standard error stream."""

    def __init__(self) -> None:
        self._last_packing = time.monotonic()

    def note(self, text: str) -> None:
        echo(text, err=True)

    def packing(self, done: int, total: int) -> None:
        if done == total or time.monotonic() - self._last_packing > 10:
            self._last_packing = time.monotonic()
            self.note(f"reading files: {done:,} of {total:,}")

    def started(self, run: Path, title: str, samples: int, total: int) -> None:
        self.note(f"training {title} in {run}: {f'from {samples:,} samples on' if samples else f'{total:,} samples'}")

    def tick(self, tick: Tick) -> None:
        left = tick.seconds * (tick.total - tick.samples) / max(tick.samples, 1)
        skipped = f"  skipped {tick.skipped}" if tick.skipped else ""
        self.note(
            f"{tick.phase}  {tick.samples:,}/{tick.total:,} samples  {tick.rate:,.0f}/s  "
            f"{duration(tick.seconds)} left {duration(left)}  {losses_text(tick.terms)}{skipped}"
        )

    def measured(self, samples: int, values: Sequence[MetricValue], best: bool) -> None:
        shown = "  ".join(f"{value.name} {shown_value(asdict(value))}" for value in values)
        self.note(f"at {samples:,} samples  {shown}{'  (the best so far)' if best else ''}")

    def preview(self, path: Path) -> None:
        self.note(f"preview {path}")

    def finished(self, summary: dict[str, Any]) -> None:
        show_summary(summary)


class JsonReporter(Reporter):
    """Writes one JSON object for each event to the standard output."""

    def _write(self, event: str, **values: Any) -> None:
        from gan.storage.durable import dump_json

        echo(dump_json({"event": event, **values}))

    def note(self, text: str) -> None:
        self._write("note", text=text)

    def warn(self, text: str) -> None:
        self._write("warning", text=text)

    def started(self, run: Path, title: str, samples: int, total: int) -> None:
        self._write("started", run=str(run), architecture=title, samples=samples, total=total)

    def tick(self, tick: Tick) -> None:
        self._write("tick", **vars(tick))

    def measured(self, samples: int, values: Sequence[MetricValue], best: bool) -> None:
        self._write("measured", samples=samples, metrics=[asdict(value) for value in values], best=best)

    def preview(self, path: Path) -> None:
        self._write("preview", path=str(path))

    def saved(self, path: Path, samples: int) -> None:
        self._write("saved", path=str(path), samples=samples)

    def finished(self, summary: dict[str, Any]) -> None:
        self._write("finished", **summary)


class RichReporter(PlainReporter):
    """Shows a progress bar with rate, time left, losses and the latest preview."""

    def __init__(self) -> None:
        super().__init__()
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        self._console = Console(stderr=True, markup=False, highlight=False)
        self._progress = Progress(
            TextColumn("{task.description}", style="bold", markup=False),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[losses]}", markup=False),
            TextColumn("{task.fields[preview]}", style="dim", markup=False),
            console=self._console,
        )
        self._task: Any = None

    def note(self, text: str) -> None:
        self._console.print(escaped(text), style="dim")

    def warn(self, text: str) -> None:
        self._console.print(escaped(f"warning: {text}"), style="yellow")

    def _bar(self, description: str, total: int, done: int) -> None:
        if self._task is None or self._progress.tasks[-1].description != description:
            if self._task is not None:
                self._progress.remove_task(self._task)
            self._task = self._progress.add_task(description, total=total, rate="", losses="", preview="")
            self._progress.start()
        self._progress.update(self._task, completed=done)

    def packing(self, done: int, total: int) -> None:
        self._bar("reading files", total, done)

    def started(self, run: Path, title: str, samples: int, total: int) -> None:
        self._console.print(escaped(f"training {title} in {run}"))
        self._bar(title, total, samples)

    def tick(self, tick: Tick) -> None:
        losses = losses_text(tick.terms)
        self._progress.update(self._task, completed=tick.samples, rate=f"{tick.rate:,.0f}/s", losses=losses)

    def preview(self, path: Path) -> None:
        if self._task is not None:
            self._progress.update(self._task, preview=escaped(str(path)))

    def finished(self, summary: dict[str, Any]) -> None:
        self.close()
        show_summary(summary)

    def close(self) -> None:
        self._progress.stop()


def show_summary(summary: dict[str, Any]) -> None:
    """Print the summary of a finished training and the table of its metrics to the standard output."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 110, markup=False, highlight=False)
    run = summary["run"]
    rows = [
        ("run", run),
        ("trained", f"{summary['architecture']} on {summary['data']}"),
        ("length", f"{summary['samples']:,} samples shown in {duration(summary['seconds'])}"),
    ]
    if summary["losses"]:
        rows.append(("losses", losses_text(summary["losses"])))
    rows += [("picture", path) for path in summary["pictures"]]
    artefacts = [Path(path) for path in summary["artefacts"]]
    if artefacts:
        rows.append(("artefacts", f"{len(artefacts)} {artefacts[0].suffix} files in {artefacts[0].parent}"))
    page = RunFolder(Path(run)).page
    if page.is_file():
        rows.append(("page", f"{page}, to open in a browser"))
    rows.append(("recipe, card", f"{run}/recipe.yaml, README.md"))
    rows.append(("more", f"gan generate {run} --count 16 --seed 1 --out samples"))
    about = Table.grid(padding=(0, 2))
    for row in rows:
        about.add_row(*map(escaped, row))
    console.print(about)
    if summary["metrics"]:
        header, metrics = metric_rows(summary)
        console.print()
        print_columns([header, *metrics])


def print_json(values: Any) -> None:
    """Print one JSON document to the standard output."""
    echo(json.dumps(values, indent=2, ensure_ascii=False))
