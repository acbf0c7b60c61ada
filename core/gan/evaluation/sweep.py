"""Evaluate a run at several values of one option, such as temperature or truncation: quality against diversity.

Most generators can trade diversity for quality at sampling time, so that a single number says little (Caccia et al.
2018, arXiv:1811.02549, for text; Karras et al. 2019 for truncation).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from gan.contracts import MetricValue
from gan.errors import UsageError
from gan.evaluation.comparison import paired
from gan.evaluation.evaluate import Evaluation, EvaluationRequest, evaluate
from gan.evaluation.receipts import Receipt, values_of
from gan.plugins.manager import Plugins
from gan.reporting.plots import plot_sweep
from gan.reporting.reporter import Reporter
from gan.reporting.tables import shown, shown_value


@dataclass(frozen=True)
class Sweep:
    """The evaluations, in the order of the option's values."""

    option: str
    values: list[str]
    evaluations: list[Evaluation]

    @property
    def receipts(self) -> list[Receipt]:
        """The receipts of all evaluations."""
        return [receipt for evaluation in self.evaluations for receipt in evaluation.receipts]

    def found(self, name: str) -> list[MetricValue | None]:
        """One metric's value for each value of the option."""
        return [
            next((value for value in values_of(evaluation.receipts) if value.name == name), None)
            for evaluation in self.evaluations
        ]

    def table(self) -> list[list[str]]:
        """Cells of a table with a row for each metric and a column for each value of the option."""
        rows = [["metric", *(f"{self.option}={value}" for value in self.values), "real"]]
        for first in values_of(self.evaluations[0].receipts):
            cells = ["" if value is None else shown_value(asdict(value)) for value in self.found(first.name)]
            rows.append([first.name, *cells, shown(first.real)])
        return rows

    def draw(self, folder: Path) -> list[Path]:
        """Save ``sweep.png``: a curve for each measured pair of the modality's `trade_offs`."""
        curves = {}
        names = sorted({value.name for value in values_of(self.receipts)})
        for quality, diversity in paired(names, self.evaluations[0].modality.trade_offs):
            points = zip(self.values, self.found(quality), self.found(diversity), strict=True)
            curves[quality, diversity] = [(value, q.value, d.value) for value, q, d in points if q and d]
        return [plot_sweep(curves, self.option, folder / "sweep.png")] if curves else []


def sweep(
    request: EvaluationRequest,
    option: str,
    values: Sequence[str],
    plugins: Plugins,
    *,
    device: str = "auto",
    reporter: Reporter | None = None,
) -> Sweep:
    """Evaluate one request at each of `values` of `option`. Raises what `gan.evaluation.evaluate.evaluate` does."""
    if len(values) < 2:
        raise UsageError(f"--sweep {option}: name at least two values, for example --sweep {option}=0.7,1.0")
    if not (Path(request.target).expanduser() / "recipe.yaml").is_file():
        raise UsageError(f"{request.target} is no run folder; --sweep generates samples at each value")
    if option in request.options:
        raise UsageError(f"--sweep and --option both set {option}")
    requests = [replace(request, options={**request.options, option: value}) for value in values]
    return Sweep(option, list(values), [evaluate(one, plugins, device=device, reporter=reporter) for one in requests])
