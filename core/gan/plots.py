"""Pictures of a training and of its metrics, as PNG files."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def read_metrics(file: Path) -> list[dict[str, Any]]:
    """The lines of a ``metrics.jsonl``; a torn last line (the training writes it just now) is left out."""
    lines: list[dict[str, Any]] = []
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(record, dict) and "samples" in record:
            lines.append(record)
    return lines


def plot_training(metrics_jsonl: Path, png: Path) -> Path:
    """Draw every term over real samples shown, a panel a player, and every metric measured on the way.

    Terms that are reported only (``_real_score``) are dashed; dotted vertical lines part the phases. Values that are
    not finite (``null``) leave gaps. An empty file gives a picture that says so. Returns `png`.
    """
    records = read_metrics(metrics_jsonl)
    curves: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for record in records:
        for term, value in (record.get("terms") or {}).items():
            player, _, name = term.partition("/")
            curves.setdefault(player, {}).setdefault(name or player, []).append((record["samples"], _number(value)))
        for metric, value in (record.get("metrics") or {}).items():
            value = value.get("value") if isinstance(value, Mapping) else value
            curves.setdefault(metric, {}).setdefault(metric, []).append((record["samples"], _number(value)))
    figure, axes = _panels(max(1, len(curves)))
    if not curves:
        axes[0].text(0.5, 0.5, "no measurements", ha="center", va="center", transform=axes[0].transAxes)
    for axis, (title, lines) in zip(axes, sorted(curves.items()), strict=False):
        axis.set_title(title, loc="left")
        for name, points in lines.items():
            style = "--" if name.startswith("_") else "-"
            label = name.lstrip("_").replace("_", " ")
            marker = "." if len(points) < 40 else None
            axis.plot(*zip(*points, strict=True), style, label=label, marker=marker, linewidth=1.2)
        if len(lines) > 1 or next(iter(lines)) != title:
            axis.legend(fontsize="small", frameon=False, loc="best")
        for start, phase in _phase_starts(records):
            axis.axvline(start, color="0.6", linestyle=":", linewidth=1)
            axis.annotate(phase, (start, 1), xycoords=("data", "axes fraction"), fontsize="x-small", color="0.4",
                          xytext=(3, -9), textcoords="offset points")  # fmt: skip
    axes[-1].set_xlabel("real samples shown")
    return _save(figure, png)


def _phase_starts(records: Sequence[Mapping[str, Any]]) -> Iterator[tuple[float, str]]:
    """Where each phase begins; nothing when there is only one."""
    phases = [record.get("phase") for record in records]
    if len(set(phases)) < 2:
        return
    for index, phase in enumerate(phases):
        if index == 0 or phase != phases[index - 1]:
            yield records[max(0, index - 1)]["samples"], str(phase)


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _panels(count: int, height: float = 2.4, width: float = 8.0) -> tuple[Figure, list[Axes]]:
    """`count` panels under each other that share their horizontal axis.

    Figures are made without pyplot: it keeps a global state and picks a window system.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, 0.6 + height * count), layout="constrained")
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0])
    for axis in axes:
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _save(figure: Figure, png: Path) -> Path:
    png.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(png, dpi=120, format="png", metadata={"Software": None})
    return png
