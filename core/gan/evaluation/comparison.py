"""Compare the metrics of several runs, as far as their receipts allow it, for `gan compare`."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gan.contracts import MetricValue, Modality
from gan.errors import UsageError
from gan.evaluation.receipts import RECEIPTS, Receipt, read_receipts
from gan.reporting.tables import shown, shown_value
from gan.storage.run_folder import RunFolder


@dataclass
class Comparison:
    """The values of several runs by metric; made by `of`."""

    names: list[str]
    """Names of the runs, as short as possible while distinct."""
    values: dict[str, list[MetricValue | None]] = field(default_factory=dict)
    """Name of a value -> the value of each run, None where it was not measured."""
    unlike: list[str] = field(default_factory=list)
    """Differences that forbid the comparison."""
    remarks: list[str] = field(default_factory=list)
    """Differences that do not forbid it."""
    modality: str = ""
    """Name of the modality, from the first receipt."""

    @classmethod
    def of(cls, targets: Sequence[Path]) -> Comparison:
        """Compare run folders, or files of receipts that `gan evaluate` wrote.

        Where a run was evaluated several times, the newest receipts that are comparable with the other runs' are used.
        """
        if len(targets) < 2:
            raise UsageError("name at least two runs")
        files = [RunFolder(target).evaluation / RECEIPTS if target.is_dir() else target for target in targets]
        found = [read_receipts(file) for file in files]
        comparison = cls(_short(targets))
        metrics = list(dict.fromkeys(receipt.metric_name for receipts in found for receipt in receipts))
        for metric in metrics:
            having = [[r for r in reversed(receipts) if r.metric_name == metric] for receipts in found]
            chosen = _comparable(having)
            comparison._take(metric, chosen)
            comparison.modality = comparison.modality or next(r.modality["name"] for r in chosen if r)
        if not metrics:
            raise UsageError("none of these has a receipt; write some with gan evaluate RUN")
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
        """Index of the run whose value is better than all others by more than the standard errors, or None."""
        row = self.values[name]
        costs = [math.inf if value is None else cost(asdict(value)) for value in row]
        order = sorted(range(len(row)), key=costs.__getitem__)
        if self.unlike or len(order) < 2 or math.isinf(costs[order[1]]):
            return None
        errors = [row[index].error or 0.0 for index in order[:2]]  # type: ignore[union-attr]
        gap = costs[order[1]] - costs[order[0]]
        return order[0] if gap > math.hypot(*(error for error in errors if not math.isnan(error))) else None

    def table(self) -> list[list[str]]:
        """Cells of a table; a star marks the best value of each row."""
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
        """Save ``metrics.png``, and ``quality-diversity.png`` if both values of a trade-off were measured."""
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
    """The (quality, diversity) pairs among the values called `names` that are plotted against each other.

    `trade_offs` are those of a modality (`gan.contracts.Modality.trade_offs`), without names of extractors.
    """
    found = []
    for quality, diversity in trade_offs:
        for name in names:
            metric, bracket, extractor = name.partition("[")
            other = diversity + bracket + extractor
            if metric == quality and other in names:
                found.append((name, other))
    return found


def cost(value: Mapping[str, Any]) -> float:
    """The number to minimize for a `MetricValue` as a mapping: the value, its negative, or its distance from `real`.

    Infinity where there is no number.
    """
    number, real = value["value"], value.get("real")
    if number is None or math.isnan(number):
        return math.inf
    if value["direction"] == "real":
        return math.inf if real is None else abs(number - real)
    return float(number if value["direction"] == "lower" else -number)


def _short(targets: Sequence[Path]) -> list[str]:
    """The last parts of paths, as many as make them distinct."""
    for depth in range(1, max(len(target.parts) for target in targets) + 1):
        names = ["/".join(target.parts[-depth:]) for target in targets]
        if len(set(names)) == len(names):
            return names
    return [f"{number}: {target}" for number, target in enumerate(targets, 1)]


def _comparable(having: list[list[Receipt]]) -> list[Receipt | None]:
    """One receipt of each run: comparable ones if there are such, otherwise the newest."""
    present = [receipts for receipts in having if receipts]
    for first in present[0]:
        chosen = [next((r for r in receipts if not first.unlike(r)), None) for receipts in having]
        if all(receipt is not None for receipt, receipts in zip(chosen, having, strict=True) if receipts):
            return chosen
    return [receipts[0] if receipts else None for receipts in having]
