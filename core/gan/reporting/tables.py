"""Tables of metrics: their rows as text, and as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def metric_rows(summary: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the metrics in `summary`, a `gan.reporting.result.Result.summary`.

    The columns are the values of generated and real samples, of each baseline phase, before training, and published
    ones, if there are any. The standard error of a value follows ±; a failed metric shows its error.
    """
    published = summary.get("published") or {}
    untrained = {value["name"]: value["value"] for value in summary["untrained"]}
    baselines = {
        f"after {phase}": {value["name"]: value for value in values}
        for phase, values in (summary.get("references") or {}).items()
    }
    header = ["metric", "generated", "real", *baselines, "untrained", *(["published"] if published else [])]
    rows = []
    for value in summary["metrics"]:
        name = value["name"]
        beside = [shown_value(values[name]) if name in values else "" for values in baselines.values()]
        row = [name, shown_value(value), shown(value["real"]), *beside, shown(untrained.get(name))]
        rows.append(row + ([shown(published.get(name))] if published else []))
    return header, rows


def number_rows(summary: Mapping[str, Any]) -> list[list[str]]:
    """Rows of the numbers that matter most (`gan.reporting.result.Result.headline`): name, value, aim, value before
    training, meaning.

    The aim is ``↓`` where lower is better, ``↑`` where higher is, ``→`` where closer to the value of real samples is,
    which follows where it is known: ``→ 0.5``.
    """
    arrows = {"lower": "↓", "higher": "↑"}
    rows = []
    for number in summary.get("headline") or ():
        aim = f"{arrows.get(number['direction'], '→')} {shown(number['real'])}".rstrip()
        value = shown_value({**number, "details": {}})
        rows.append([number["name"], value, aim, shown(number["untrained"]), number["meaning"]])
    return rows


def shown_value(value: Mapping[str, Any]) -> str:
    """``"3.512 ± 0.1"``, or the error of a failed metric. `value` is a `MetricValue` as a mapping."""
    failed = value["details"].get("error")
    if failed:
        return f"failed: {failed}"
    error = value["error"]
    return shown(value["value"]) + (f" ± {error:.2g}" if error is not None and error == error else "")


def shown(number: float | None) -> str:
    """Four significant digits; an empty string for None and NaN."""
    return "" if number is None or number != number else f"{number:.4g}"


def markdown_table(summary: Mapping[str, Any]) -> list[str]:
    """The lines of `metric_rows` as a Markdown table."""
    header, rows = metric_rows(summary)
    lines = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(cell.replace("|", "/") for cell in line) + " |" for line in lines]
