"""How the command line shows long work: a bar on a terminal, plain lines elsewhere, JSON for programs, or nothing."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from gan.contracts import MetricValue
from gan.reporting.reporter import Reporter, Tick
from gan.reporting.tables import metric_rows, shown_value
from gan.storage.run_folder import RunFolder


def choose_reporter(*, quiet: bool, as_json: bool) -> Reporter:
    """The reporter that fits the flags and the terminal; only the first of several processes speaks."""
    import os

    if os.environ.get("RANK", "0") != "0":
        return Reporter()
    if as_json:
        return JsonReporter()
    if quiet:
        return QuietReporter()
    return RichReporter() if sys.stderr.isatty() else PlainReporter()


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


def measured_text(samples: int, values: Sequence[MetricValue], best: bool) -> str:
    """``"at 6,400 samples  FID[raw] 3.5 ± 0.1  (the best so far)"``."""
    shown = "  ".join(f"{value.name} {shown_value(asdict(value))}" for value in values)
    return f"at {samples:,} samples  {shown}{'  (the best so far)' if best else ''}"


class QuietReporter(Reporter):
    """Says only what is wrong."""

    def warn(self, text: str) -> None:
        """A line on the error stream."""
        click.echo(f"warning: {text}", err=True)


class PlainReporter(QuietReporter):
    """One plain line a tick, for logs."""

    def __init__(self) -> None:
        self._packed = time.monotonic()

    def note(self, text: str) -> None:
        """A line."""
        click.echo(text, err=True)

    def packing(self, done: int, total: int) -> None:
        """A line every ten seconds, and at the end."""
        if done == total or time.monotonic() - self._packed > 10:
            self._packed = time.monotonic()
            click.echo(f"reading files: {done:,} of {total:,}", err=True)

    def started(self, run: Path, title: str, samples: int, total: int) -> None:
        """A line."""
        where = f"from {samples:,} samples on" if samples else f"{total:,} samples"
        click.echo(f"training {title} in {run}: {where}", err=True)

    def tick(self, tick: Tick) -> None:
        """A line."""
        left = tick.seconds * (tick.total - tick.samples) / max(tick.samples, 1)
        skipped = f"  skipped {tick.skipped}" if tick.skipped else ""
        click.echo(
            f"{tick.phase}  {tick.samples:,}/{tick.total:,} samples  {tick.rate:,.0f}/s  "
            f"{duration(tick.seconds)} left {duration(left)}  {losses_text(tick.terms)}{skipped}",
            err=True,
        )

    def measured(self, samples: int, values: Sequence[MetricValue], best: bool) -> None:
        """A line."""
        self.note(measured_text(samples, values, best))

    def preview(self, path: Path) -> None:
        """A line."""
        click.echo(f"preview {path}", err=True)

    def finished(self, summary: dict[str, Any]) -> None:
        """The table."""
        show_summary(summary)


class JsonReporter(QuietReporter):
    """One JSON object a line on the standard output."""

    def _say(self, kind: str, **values: Any) -> None:
        from gan.storage.durable import dump_json

        click.echo(dump_json({"event": kind, **values}))

    def note(self, text: str) -> None:
        """``note``."""
        self._say("note", text=text)

    def warn(self, text: str) -> None:
        """``warning``."""
        self._say("warning", text=text)

    def started(self, run: Path, title: str, samples: int, total: int) -> None:
        """``started``."""
        self._say("started", run=str(run), architecture=title, samples=samples, total=total)

    def tick(self, tick: Tick) -> None:
        """``tick``."""
        self._say("tick", **vars(tick))

    def measured(self, samples: int, values: Sequence[MetricValue], best: bool) -> None:
        """``measured``."""
        self._say("measured", samples=samples, metrics=[asdict(value) for value in values], best=best)

    def preview(self, path: Path) -> None:
        """``preview``."""
        self._say("preview", path=str(path))

    def saved(self, path: Path, samples: int) -> None:
        """``saved``."""
        self._say("saved", path=str(path), samples=samples)

    def finished(self, summary: dict[str, Any]) -> None:
        """``finished``."""
        self._say("finished", **summary)


class RichReporter(PlainReporter):
    """A progress bar with rate, time left, losses and the latest preview."""

    def __init__(self) -> None:
        super().__init__()
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        self._console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[losses]}"),
            TextColumn("[dim]{task.fields[preview]}"),
            console=self._console,
        )
        self._task: Any = None
        self._preview = ""

    def note(self, text: str) -> None:
        """A dim line."""
        self._console.print(text, style="dim", highlight=False, markup=False)

    def warn(self, text: str) -> None:
        """A yellow line."""
        self._console.print(f"warning: {text}", style="yellow", highlight=False, markup=False)

    def _bar(self, description: str, total: int, done: int) -> None:
        if self._task is None or self._progress.tasks[-1].description != description:
            if self._task is not None:
                self._progress.remove_task(self._task)
            self._task = self._progress.add_task(description, total=total, rate="", losses="", preview="")
            self._progress.start()
        self._progress.update(self._task, completed=done)

    def packing(self, done: int, total: int) -> None:
        """A bar."""
        self._bar("reading files", total, done)

    def started(self, run: Path, title: str, samples: int, total: int) -> None:
        """The bar of the training."""
        self._console.print(f"training [bold]{title}[/] in {run}", highlight=False)
        self._bar(title, total, samples)

    def tick(self, tick: Tick) -> None:
        """Move the bar."""
        self._progress.update(
            self._task, completed=tick.samples, rate=f"{tick.rate:,.0f}/s", losses=losses_text(tick.terms)
        )

    def preview(self, path: Path) -> None:
        """Name it beside the bar."""
        if self._task is not None:
            self._progress.update(self._task, preview=str(path))

    def finished(self, summary: dict[str, Any]) -> None:
        """The table."""
        self.close()
        show_summary(summary)

    def close(self) -> None:
        """Take the bar away."""
        self._progress.stop()


def show_summary(summary: dict[str, Any]) -> None:
    """The short table that a training ends with, on the standard output."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 110, highlight=False)
    about = Table.grid(padding=(0, 2))
    about.add_row("run", summary["run"])
    about.add_row("trained", f"{summary['architecture']} on {summary['data']}")
    about.add_row("length", f"{summary['samples']:,} samples shown in {duration(summary['seconds'])}")
    if summary["losses"]:
        about.add_row("losses", losses_text(summary["losses"]))
    for path in summary["pictures"]:
        about.add_row("picture", path)
    artefacts = summary["artefacts"]
    if artefacts:
        folder, kind = str(Path(artefacts[0]).parent), Path(artefacts[0]).suffix
        about.add_row("artefacts", f"{len(artefacts)} {kind} files in {folder}")
    if RunFolder(Path(summary["run"])).page.is_file():
        about.add_row("page", f"{RunFolder(Path(summary['run'])).page}, to open in a browser")
    about.add_row("recipe, card", f"{summary['run']}/recipe.yaml, README.md")
    about.add_row("more", f"gan generate {summary['run']} --count 16 --seed 1 --out samples")
    console.print(about)
    if summary["metrics"]:
        header, rows = metric_rows(summary)
        console.print()
        print_columns([header, *rows])


def print_columns(rows: Sequence[Sequence[str]]) -> None:
    """Print rows as aligned columns on the standard output; only a terminal wraps long cells."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    for row in rows:
        table.add_row(*map(escape, row))
    Console(width=None if sys.stdout.isatty() else 10_000, highlight=False).print(table)


def print_json(values: Any) -> None:
    """One JSON document on the standard output."""
    click.echo(json.dumps(values, indent=2, ensure_ascii=False))
