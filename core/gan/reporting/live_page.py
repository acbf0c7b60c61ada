"""The page of a run that is still training: how far it is, real samples beside generated ones, and the curves.

It is made from what the run folder holds alone, so that any process can write it. A browser loads it again by itself
while the training lasts; the page needs no script and no network. At the end of the training the page of
`gan.reporting.page` takes its place.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gan.contracts import MetricValue
from gan.reporting.manifest import read_manifest
from gan.reporting.page import TEMPLATE, content_policy
from gan.reporting.reporter import Progress, Reporter, Tick
from gan.reporting.terminal import estimate
from gan.storage.durable import make_dirs, write_text
from gan.storage.regular import Broken, read_json, read_regular
from gan.storage.run_folder import REAL_PREVIEW, RunFolder

RENEWED = 5
"""Seconds after which a browser loads the page of a running training again."""
POINTS = 300
"""Most points of a curve."""
WIDTH, HEIGHT = 420, 130


def write_live_page(run: RunFolder, progress: Progress | None = None) -> Path:
    """Write ``RUN/page/index.html`` from the records of a run that has not ended; returns its path."""
    records = run.read_metrics()
    manifest = read_manifest(run.manifest) if run.manifest.exists() else {}
    shown = progress.samples if progress is not None else (records[-1]["samples"] if records else 0)
    lengths = manifest.get("length")
    total = progress.total if progress is not None else (lengths or {}).get("asked", 0)
    share = progress.share if progress is not None else min(1.0, shown / total) if total else 0.0
    ended = manifest.get("exit")
    about = f"{shown:,} of {total:,} real samples shown" if total else f"{shown:,} real samples shown"
    if ended:
        about += f"; {ended}; continue with gan resume {run.path}"
    elif progress is not None and progress.rate:
        about += f"; {estimate(progress)}"
    previews = sorted(run.previews.glob("samples-*.png"))
    pictures = [(run.previews / REAL_PREVIEW, "real samples"), *((path, "generated") for path in previews[-1:])]
    live = {
        "renews": 0 if ended else RENEWED,
        "sentence": "stopped" if ended else f"training: {100 * share:.0f} %",
        "share": f"{share:.4f}",
        "about": about,
        "pictures": [
            {"link": f"../previews/{path.name}?{path.stat().st_mtime_ns}", "name": name}
            for path, name in pictures
            if path.is_file()
        ],
        "curves": [{"name": name, "svg": curve(points)} for name, points in _series(records).items() if points],
        "health": _health(run),
    }
    text = TEMPLATE.render(
        title=run.path.resolve().name, policy=content_policy(()), figures=[], left_out=0, summary=None, header=[],
        rows=[], numbers=[], health=None, health_picture="", pictures=[], live=live,
    )  # fmt: skip
    make_dirs(run.page.parent)
    write_text(run.page, text)
    return run.page


def _series(records: Sequence[Mapping[str, Any]]) -> dict[str, list[tuple[float, float]]]:
    """Curve -> (samples, value): the losses, then the metrics."""
    found: dict[str, list[tuple[float, float]]] = {}
    for record in records:
        terms = {
            name: v for name, v in (record.get("terms") or {}).items() if not name.rpartition("/")[2].startswith("_")
        }
        metrics = {name: value["value"] for name, value in (record.get("metrics") or {}).items()}
        for name, value in {**terms, **metrics}.items():
            if isinstance(value, int | float) and math.isfinite(value):
                found.setdefault(name, []).append((record["samples"], float(value)))
    return found


def _health(run: RunFolder) -> list[str]:
    """The verdicts of the watch that last."""
    try:
        found = read_json(read_regular(run.health, None), run.health.name)
        lasting = [verdict for verdict in found["verdicts"] if verdict["until"] is None]
        return [f"{verdict['verdict']}: {verdict['evidence']}. Try: {verdict['advice']}" for verdict in lasting]
    except (Broken, OSError, KeyError, TypeError):
        return []


def curve(points: Sequence[tuple[float, float]]) -> str:
    """A curve as SVG, with its smallest and largest value."""
    step = max(1, len(points) // POINTS)
    points = [*points[:-1:step], points[-1]]
    low, high = min(y for _, y in points), max(y for _, y in points)
    first, last = points[0][0], points[-1][0]
    scale_x, scale_y = (WIDTH - 60) / max(last - first, 1), (HEIGHT - 20) / max(high - low, 1e-12)
    places = " ".join(f"{50 + (x - first) * scale_x:.1f},{HEIGHT - 10 - (y - low) * scale_y:.1f}" for x, y in points)
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img">'
        f'<polyline class="curve" points="{places}"/>'
        f'<text x="0" y="14">{high:.3g}</text><text x="0" y="{HEIGHT - 6}">{low:.3g}</text></svg>'
    )


class LivePage(Reporter):
    """Renews the page of a run while it trains; the last one is that of the ended run."""

    def __init__(self, pause: float = 1.0) -> None:
        self.pause = pause
        """Fewest seconds between two pages."""
        self._run: RunFolder | None = None
        self._progress: Progress | None = None
        self._written = -math.inf

    def started(self, run: Path, title: str, samples: int, total: int) -> None:
        """Write the page at once."""
        self._run = RunFolder(run)
        self._write()

    def moved(self, progress: Progress) -> None:
        """Remember how far training is."""
        self._progress = progress
        if time.monotonic() - self._written > RENEWED:
            self._write()

    def tick(self, tick: Tick) -> None:
        """Renew the page, unless it was renewed just now."""
        if not tick.final and time.monotonic() - self._written > self.pause:
            self._write()

    def measured(self, samples: int, values: Sequence[MetricValue], best: bool) -> None:
        """Renew the page."""
        self._write()

    def close(self) -> None:
        """Say on the page of a training that was stopped that it was."""
        if self._run is not None and not self._run.result.is_file():
            self._write()

    def _write(self) -> None:
        if self._run is not None:
            self._written = time.monotonic()
            write_live_page(self._run, self._progress)
