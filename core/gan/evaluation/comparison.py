"""Runs beside each other, as far as their receipts allow it."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gan.contracts import MetricValue, Modality
from gan.errors import UsageError
from gan.evaluation.receipts import Receipt, read_receipts
from gan.reporting.tables import shown, shown_value


@dataclass
class Comparison:
    """Values by name and run; see `of`."""

    names: list[str]
    """Of the runs, as short as they can be told apart."""
    values: dict[str, list[MetricValue | None]] = field(default_factory=dict)
    """Value's name -> one for each run, None where it was not measured."""
    unlike: list[str] = field(default_factory=list)
    """What forbids the comparison."""
    remarks: list[str] = field(default_factory=list)
    """What differs without forbidding it."""
    modality: str = ""
    """The kind of data, of the first receipt."""

    @classmethod
    def of(cls, targets: Sequence[Path]) -> Comparison:
        """The receipts of run folders or of files that `gan evaluate` wrote.

        Where a run was measured several times, the receipts that are like the other runs' are taken, newest first.
        """
        if len(targets) < 2:
            raise UsageError("name two runs or more")
        found = [read_receipts(_file(target)) for target in targets]
        comparison = cls(_short(targets))
        metrics = list(dict.fromkeys(receipt.metric_name for receipts in found for receipt in receipts))
        for metric in metrics:
            having = [[r for r in reversed(receipts) if r.metric_name == metric] for receipts in found]
            chosen = _alike(having)
            comparison._take(metric, chosen)
            comparison.modality = comparison.modality or next(r.modality["name"] for r in chosen if r)
        if not metrics:
            raise UsageError("none of these has a receipt; measure with gan evaluate RUN")
        return comparison

    def _take(self, metric: str, chosen: list[Receipt | None]) -> None:
        measured = [(name, receipt) for name, receipt in zip(self.names, chosen, strict=True) if receipt is not None]
        if len(measured) < 2:
            self.remarks.append(f"{metric} was measured for {measured[0][0]} only")
        first_name, first = measured[0]
        for name, receipt in measured[1:]:
            self.unlike += [f"{metric}, {first_name} and {name}: {what}" for what in first.unlike(receipt)]
            for what in first.remarks(receipt):
                line = f"{first_name} and {name}: {what}"
                if line not in self.remarks:
                    self.remarks.append(line)
        for value in first.values:
            row = [
                next((v for v in receipt.values if v.name == value.name), None) if receipt is not None else None
                for receipt in chosen
            ]
            self.values[value.name] = row

    def best(self, name: str) -> int | None:
        """Which run is best, where that can be said: one has a better value, by more than the errors."""
        row = self.values[name]
        costs = [math.inf if value is None or math.isnan(value.value) else _cost(value) for value in row]
        order = sorted(range(len(row)), key=costs.__getitem__)
        if self.unlike or len(order) < 2 or math.isinf(costs[order[1]]):
            return None
        errors = [row[index].error or 0.0 for index in order[:2]]  # type: ignore[union-attr]
        gap = costs[order[1]] - costs[order[0]]
        return order[0] if gap > math.hypot(*(error for error in errors if not math.isnan(error))) else None

    def table(self) -> list[list[str]]:
        """Cells; a star stands behind the best value of a row."""
        rows = [["metric", *self.names, "real"]]
        for name, row in self.values.items():
            best = self.best(name)
            cells = [
                "" if value is None else shown_value(asdict(value)) + (" *" if index == best else "")
                for index, value in enumerate(row)
            ]
            real = next((value.real for value in row if value is not None), None)
            rows.append([name, *cells, shown(real)])
        return rows

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "runs": self.names,
            "values": {
                name: [None if value is None else asdict(value) for value in row] for name, row in self.values.items()
            },
            "best": {name: None if (best := self.best(name)) is None else self.names[best] for name in self.values},
            "unlike": self.unlike,
            "remarks": self.remarks,
        }

    def draw(self, folder: Path, trade_offs: Sequence[tuple[str, str]] = Modality.trade_offs) -> list[Path]:
        """``metrics.png``, and ``quality-diversity.png`` where both values of one of the `trade_offs` stand."""
        from gan.reporting.plots import plot_bars, plot_quality_diversity

        pictures = [plot_bars(self.names, self.values, folder / "metrics.png")]
        points = {}
        for quality, diversity in paired(self.values, trade_offs):
            rows = zip(self.names, self.values[quality], self.values[diversity], strict=True)
            points[quality, diversity] = {run: (q.value, d.value) for run, q, d in rows if q and d}
        if points:
            pictures.append(plot_quality_diversity(points, folder / "quality-diversity.png"))
        return pictures


def paired(names: Collection[str], trade_offs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Which of the values called `names` are to be drawn against each other, quality before diversity.

    `trade_offs` are a modality's (`gan.contracts.Modality.trade_offs`), values on features named without extractor.
    """
    found = []
    for quality, diversity in trade_offs:
        for name in names:
            metric, bracket, extractor = name.partition("[")
            other = diversity + bracket + extractor
            if metric == quality and other in names:
                found.append((name, other))
    return found


def _cost(value: MetricValue) -> float:
    if value.direction == "real":
        return math.inf if value.real is None else abs(value.value - value.real)
    return value.value if value.direction == "lower" else -value.value


def _file(target: Path) -> Path:
    if target.is_dir():
        return target / "evaluation" / "receipts.json"
    return target


def _short(targets: Sequence[Path]) -> list[str]:
    """The last parts of paths, as many as tell them apart."""
    for depth in range(1, max(len(target.parts) for target in targets) + 1):
        names = ["/".join(target.parts[-depth:]) for target in targets]
        if len(set(names)) == len(names):
            return names
    return [f"{number}: {target}" for number, target in enumerate(targets, 1)]


def _alike(having: list[list[Receipt]]) -> list[Receipt | None]:
    """One receipt of each run: alike if there are such, else the newest ones."""
    present = [receipts for receipts in having if receipts]
    for first in present[0]:
        chosen = [next((r for r in receipts if not first.unlike(r)), None) for receipts in having]
        if all(receipt is not None for receipt, receipts in zip(chosen, having, strict=True) if receipts):
            return chosen
    return [receipts[0] if receipts else None for receipts in having]
