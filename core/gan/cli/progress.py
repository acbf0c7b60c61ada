"""Reporters of the command line, chosen by its flags: those of `gan.reporting.terminal`, or JSON for programs."""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gan.cli.terminal import echo, escaped
from gan.contracts import MetricValue
from gan.reporting.reporter import Progress, Reporter, Tick
from gan.reporting.tables import number_rows
from gan.reporting.terminal import LiveReporter, PlainReporter, QuietReporter, can_move, duration, losses_text
from gan.storage.run_folder import RunFolder

WIDTH = 110
"""Columns of what is written elsewhere than to a terminal."""
LEAST_BESIDE = 30
"""Columns that what a number says needs beside it."""
PROGRESS_EVERY = 5.0
"""Seconds between two events about progress."""


def choose_reporter(*, quiet: bool, as_json: bool) -> Reporter:
    """The reporter for the flags and the terminal; of several processes only the first one reports."""
    if os.environ.get("RANK", "0") != "0":
        return Reporter()
    if as_json:
        return JsonReporter()
    if quiet:
        return QuietReporter()
    return LiveReporter() if can_move() else PlainReporter()


@contextmanager
def progress_bar(title: str, *, hidden: bool) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on a terminal, moved by ``advance(done, total)``; silent elsewhere."""
    from rich.console import Console
    from rich.progress import Progress as ProgressBar

    console = Console(stderr=True)
    with ProgressBar(console=console, disable=hidden or not console.is_terminal) as bar:
        task = bar.add_task(title)
        yield lambda done, total: bar.update(task, completed=done, total=total)


class JsonReporter(Reporter):
    """Writes one JSON object for each event to the standard output."""

    _told = 0.0
    """Seconds of the run at the last event about progress."""

    def _write(self, event: str, **values: Any) -> None:
        from gan.storage.durable import dump_json

        echo(dump_json({"event": event, **values}))

    def note(self, text: str) -> None:
        self._write("note", text=text)

    def warn(self, text: str) -> None:
        self._write("warning", text=text)

    def started(self, run: Path, title: str, samples: int, total: int) -> None:
        self._write("started", run=str(run), architecture=title, samples=samples, total=total)

    def moved(self, progress: Progress) -> None:
        if progress.rate and progress.seconds - self._told >= PROGRESS_EVERY:
            self._told = progress.seconds
            left = progress.left if math.isfinite(progress.left) else None
            self._write("progress", share=progress.share, left=left, **vars(progress))

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


def number_lines(rows: Sequence[Sequence[str]], width: int) -> Iterator[str]:
    """The table of `number_rows` in `width` columns: what a number says beside it, or below where room is short."""
    rows = [("number", "now", "aim", "before", "what it says"), *rows]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    indent = sum(widths) + 8
    beside = width - indent >= LEAST_BESIDE
    for row in rows:
        line = "  ".join(cell.ljust(size) for cell, size in zip(row, widths))
        said = textwrap.wrap(row[4], max(width - (indent if beside else 4), 10))
        if beside:
            yield f"{line}  {said[0] if said else ''}".rstrip()
            yield from (" " * indent + text for text in said[1:])
        else:
            yield line.rstrip()
            if row is not rows[0]:
                yield from ("    " + text for text in said)


def show_summary(summary: dict[str, Any]) -> None:
    """Print the verdict on a finished training, the numbers that matter most, and where everything is."""
    run = summary["run"]
    verdict = summary.get("verdict") or {}
    if verdict:
        echo(verdict["sentence"])
        if verdict["remedy"]:
            echo(f"what to do: {verdict['remedy']}")
        echo()
    numbers = number_rows(summary)
    if numbers:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else WIDTH
        for line in number_lines(numbers, width):
            echo(escaped(line))
        if len(summary["metrics"]) > len(numbers):
            echo(f"all {len(summary['metrics'])} are in {run}/evaluation/result.json and on the page")
        echo()
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
    rows.append(("more", summary["more"]))
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        echo(f"{name:{width}}  {text}")  # not cut at the width of the terminal: paths and commands are copied


def print_json(values: Any) -> None:
    """Print one JSON document to the standard output."""
    echo(json.dumps(values, indent=2, ensure_ascii=False))
