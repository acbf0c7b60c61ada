"""Plots of a training and of its metrics, as PNG files: learning curves, bars, quality against diversity."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gan.storage.durable import make_dirs, write_bytes

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from PIL import Image

    from gan.contracts import MetricValue


Curves = dict[str, list[tuple[float, float]]]
"""Name of a line -> its points (x, y)."""
PANELS = {
    "_gradient_norm": "gradient norm",
    "_output_gradient": "gradient norm",
    "_accuracy": "signs of scores",
    "_sign": "signs of scores",
    "_saturation": "signs of scores",
}
"""Reported term -> title of its panel; the others are shown with the losses of their player."""
_HEALTH = {
    "variety (1: as the real samples)": ("diversity", "coverage"),
    "duplicates, and changes of modes": ("duplicates", "drift", "distance"),
    "validation gap": ("validation_gap",),
}
_LOGARITHMIC = ("gradient norm", "spectral norm")


def plot_training(records: Sequence[Mapping[str, Any]], png: Path) -> Path:
    """Plot the records of a run (`RunFolder.read_metrics`) over the real samples shown; returns `png`.

    There is one panel for each player, those of the signals of health and one for each metric. Terms that are only
    reported (``_real_score``) and values of the real samples are dashed; dotted vertical lines separate the phases.
    Values that are not finite (None) leave gaps. Without records the picture says so.
    """
    players: dict[str, Curves] = {}
    metrics: dict[str, Curves] = {}
    for record in records:
        here = record["samples"]
        for term, value in (record.get("terms") or {}).items():
            player, _, name = term.partition("/")
            if name not in PANELS and name not in ("_level", "_power"):
                players.setdefault(player, {}).setdefault(name or player, []).append((here, _number(value)))
        for name, value in (record.get("metrics") or {}).items():
            lines = metrics.setdefault(name, {})
            lines.setdefault(name, []).append((here, _number(value["value"])))
            if value.get("real") is not None:
                lines.setdefault("_real samples", []).append((here, _number(value["real"])))
    figure, _ = _lines(players | _health_curves(records) | metrics, records)
    return _save(figure, png)


def plot_health(
    records: Sequence[Mapping[str, Any]],
    verdicts: Sequence[Mapping[str, Any]],
    actions: Sequence[Mapping[str, Any]],
    png: Path,
) -> Path:
    """Plot the signals of health in the records of a run; returns `png`. Verdicts (`gan.watch`) are shaded and named,
    and remedies are vertical lines."""
    figure, axes = _lines(_health_curves(records), records)
    end = records[-1]["samples"] if records else 0
    for axis in axes:
        for verdict in verdicts:
            until = end if verdict["until"] is None else verdict["until"]
            axis.axvspan(verdict["since"], until, color="tab:red", alpha=0.12, linewidth=0)
        for action in actions:
            axis.axvline(action["samples"], color="tab:green", linewidth=1)
    for number, verdict in enumerate(verdicts):
        axes[0].annotate(verdict["verdict"], (verdict["since"], 1), xycoords=("data", "axes fraction"), color="tab:red",
                         fontsize="x-small", xytext=(3, -9 - 9 * (number % 3)), textcoords="offset points")  # fmt: skip
    return _save(figure, png)


def _health_curves(records: Sequence[Mapping[str, Any]]) -> dict[str, Curves]:
    """Panels of the signals of health: those that objectives report and those that are measured at windows."""
    panels: dict[str, Curves] = {}

    def add(title: str, line: str, here: int, value: object) -> None:
        panels.setdefault(title, {}).setdefault(line, []).append((here, _number(value)))

    for record in records:
        for term, value in (record.get("terms") or {}).items():
            player, _, name = term.partition("/")
            if name in PANELS:
                line = player if name == "_gradient_norm" else f"{name} ({player})"
                add(PANELS[name], line, record["samples"], value)
        health = record.get("health") or {}
        for title, names in _HEALTH.items():
            for name in names:
                if name in health:
                    add(title, name, record["samples"], health[name])
        for name, value in health.items():
            player, _, kind = name.partition("/")
            if kind == "spectral":
                add("spectral norm", player, record["samples"], value)
    return panels


def _lines(curves: Mapping[str, Curves], records: Sequence[Mapping[str, Any]]) -> tuple[Figure, list[Axes]]:
    """A figure with a panel of lines for each title, over the real samples shown."""
    figure, axes = _panels(max(1, len(curves)))
    if not curves:
        axes[0].text(0.5, 0.5, "no measurements", ha="center", va="center", transform=axes[0].transAxes)
    for axis, (title, lines) in zip(axes, curves.items(), strict=False):
        axis.set_title(title, loc="left")
        for name, points in lines.items():
            style = "--" if name.startswith("_") else "-"
            label = name.lstrip("_").replace("_", " ")
            marker = "." if len(points) < 40 else None
            axis.plot(*zip(*points, strict=True), style, label=label, marker=marker, linewidth=1.2)
        if title in _LOGARITHMIC and any(y > 0 for points in lines.values() for _, y in points):
            axis.set_yscale("log")
        if len(lines) > 1 or next(iter(lines)) != title:
            axis.legend(fontsize="small", frameon=False, loc="best")
        for start, phase in _phase_starts(records):
            axis.axvline(start, color="0.6", linestyle=":", linewidth=1)
            axis.annotate(phase, (start, 1), xycoords=("data", "axes fraction"), fontsize="x-small", color="0.4",
                          xytext=(3, -9), textcoords="offset points")  # fmt: skip
    axes[-1].set_xlabel("real samples shown")
    return figure, axes


def plot_bars(runs: Sequence[str], values: Mapping[str, Sequence[MetricValue | None]], png: Path) -> Path:
    """One panel for each value, with a bar and an error for each run and a line for the value of the real samples."""
    figure, axes = _panels(max(1, len(values)), height=0.5 + 0.28 * len(runs), shared=False)
    for axis, (name, row) in zip(axes, values.items(), strict=False):
        measured = [(place, value) for place, value in enumerate(row) if value is not None]
        errors = [_number(value.error) if value.error is not None else 0.0 for _, value in measured]
        axis.barh([place for place, _ in measured], [value.value for _, value in measured], xerr=errors, height=0.6)
        real = next((value.real for _, value in measured if value.real is not None), None)
        if real is not None:
            axis.axvline(real, color="0.3", linestyle="--", linewidth=1)
        wanted = {"lower": "lower is better", "higher": "higher is better", "real": "dashed: real samples"}
        axis.set_title(f"{name}  ({wanted[measured[0][1].direction]})" if measured else name, loc="left")
        axis.set_yticks(range(len(runs)), runs)
        axis.invert_yaxis()
    return _save(figure, png)


def plot_quality_diversity(points: Mapping[tuple[str, str], Mapping[str, tuple[float, float]]], png: Path) -> Path:
    """One panel for each pair such as ``("precision", "recall")``, with a point for each run; quality is on x."""
    figure, axes = _panels(max(1, len(points)), height=4.5, width=6.0, shared=False)
    for axis, ((quality, diversity), runs) in zip(axes, points.items(), strict=False):
        for run, (x, y) in runs.items():
            axis.plot([x], [y], "o", label=run)
        axis.set_xlabel(quality)
        axis.set_ylabel(diversity)
        axis.margins(0.25, 0.15)
        axis.legend(fontsize="small", frameon=False, loc="best")
    return _save(figure, png)


def plot_sweep(curves: Mapping[tuple[str, str], Sequence[tuple[str, float, float]]], option: str, png: Path) -> Path:
    """One panel for each pair of values, with a line through the points ``(option's value, quality, diversity)``."""
    figure, axes = _panels(max(1, len(curves)), height=4.0, width=6.0, shared=False)
    for axis, ((quality, diversity), points) in zip(axes, curves.items(), strict=False):
        axis.plot([x for _, x, _ in points], [y for _, _, y in points], "o-")
        for value, x, y in points:
            axis.annotate(f"{option} {value}", (x, y), textcoords="offset points", xytext=(6, 4), fontsize="small")
        axis.set_xlabel(quality)
        axis.set_ylabel(diversity)
        axis.margins(0.25, 0.15)
    return _save(figure, png)


def plot_class_shares(probabilities: Mapping[str, np.ndarray[Any, Any]], png: Path, most: int = 20) -> Path:
    """Share of samples in each class, from the class probabilities ``(N, classes)`` of each set of samples.

    Of more than `most` classes, those most frequent in the first set are shown.
    """
    import numpy as np

    shares = {
        title: np.bincount(rows.argmax(1), minlength=rows.shape[1]) / len(rows) for title, rows in probabilities.items()
    }
    first = next(iter(shares.values()))
    classes = np.sort(np.argsort(-first, kind="stable")[:most])
    figure, (axis,) = _panels(1, height=2.6)
    width = 0.8 / len(shares)
    for place, (title, share) in enumerate(shares.items()):
        axis.bar(np.arange(len(classes)) + (place - (len(shares) - 1) / 2) * width, share[classes], width, label=title)
    axis.set_xticks(np.arange(len(classes)), [str(index) for index in classes])
    axis.set_xlabel("class")
    axis.set_ylabel("share of the samples")
    axis.legend(fontsize="small", frameon=False)
    return _save(figure, png)


def plot_side_by_side(pictures: Mapping[str, Image.Image], png: Path) -> Path:
    """Pictures in a row at their own size with titles; in a column if they are wide."""
    from PIL import Image, ImageDraw

    title, gap = 18, 8
    images = [picture.convert("RGB") for picture in pictures.values()]
    stacked = max(image.width for image in images) > 700
    if stacked:
        size = max(image.width for image in images), sum(image.height + title + gap for image in images)
    else:
        size = sum(image.width + gap for image in images) - gap, max(image.height for image in images) + title
    sheet = Image.new("RGB", size, (255, 255, 255))
    draw = ImageDraw.Draw(sheet)
    x = y = 0
    for name, image in zip(pictures, images, strict=True):
        draw.text((x + 2, y + 3), name, fill=(0, 0, 0))
        sheet.paste(image, (x, y + title))
        x, y = (x, y + image.height + title + gap) if stacked else (x + image.width + gap, y)
    png.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(png)
    return png


def _phase_starts(records: Sequence[Mapping[str, Any]]) -> Iterator[tuple[float, str]]:
    """The start of each phase; empty if there is only one."""
    phases = [record.get("phase") for record in records]
    if len(set(phases)) < 2:
        return
    for index, phase in enumerate(phases):
        if index == 0 or phase != phases[index - 1]:
            yield records[max(0, index - 1)]["samples"], str(phase)


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _panels(count: int, height: float = 2.4, width: float = 8.0, *, shared: bool = True) -> tuple[Figure, list[Axes]]:
    """A figure with `count` panels in a column, with a shared x axis if `shared`.

    Figures are created without pyplot, which keeps global state and chooses a window system.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, 0.6 + height * count), layout="constrained")
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(count, 1, sharex=shared, squeeze=False)[:, 0])
    for axis in axes:
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _save(figure: Figure, png: Path) -> Path:
    content = io.BytesIO()
    figure.savefig(content, dpi=120, format="png", metadata={"Software": None})
    make_dirs(png.parent)
    write_bytes(png, content.getvalue())
    return png
