"""One run at several values of one option of its architecture (temperature, truncation): quality against variety.

An adversarial generator can buy quality with variety, and so can any generator whose samples are made surer: a single
number says little (Caccia et al. 2018, arXiv:1811.02549, for texts; Karras et al. 2019 for truncation).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from gan.contracts import MetricValue
from gan.errors import UsageError
from gan.evaluation.comparison import paired
from gan.evaluation.evaluate import Evaluation, EvaluationRequest, judge
from gan.evaluation.receipts import Receipt
from gan.plugins.manager import Plugins
from gan.reporting.plots import plot_sweep
from gan.reporting.reporter import Reporter
from gan.reporting.tables import shown, shown_value


@dataclass(frozen=True)
class Sweep:
    """The answers, in the order of the option's values."""

    option: str
    values: list[str]
    judgements: list[Evaluation]

    @property
    def receipts(self) -> list[Receipt]:
        """Of all values."""
        return [receipt for judgement in self.judgements for receipt in judgement.receipts]

    def found(self, name: str) -> list[MetricValue | None]:
        """One metric's value at each of the option's."""
        return [
            next((value for value in _values(judgement) if value.name == name), None) for judgement in self.judgements
        ]

    def table(self) -> list[list[str]]:
        """Cells: a row a metric, a column a value of the option."""
        rows = [["metric", *(f"{self.option}={value}" for value in self.values), "real"]]
        for first in _values(self.judgements[0]):
            cells = ["" if value is None else shown_value(asdict(value)) for value in self.found(first.name)]
            rows.append([first.name, *cells, shown(first.real)])
        return rows

    def draw(self, folder: Path) -> list[Path]:
        """``sweep.png``: a curve for each of the modality's pairs of quality and variety that were measured."""
        names = {value.name for judgement in self.judgements for value in _values(judgement)}
        curves = {}
        for quality, variety in paired(sorted(names), self.judgements[0].modality.trade_offs):
            points = zip(self.values, self.found(quality), self.found(variety), strict=True)
            curves[quality, variety] = [(value, q.value, v.value) for value, q, v in points if q and v]
        return [plot_sweep(curves, self.option, folder / "sweep.png")] if curves else []


def sweep(
    question: EvaluationRequest,
    option: str,
    values: Sequence[str],
    plugins: Plugins,
    *,
    device: str = "auto",
    reporter: Reporter | None = None,
) -> Sweep:
    """Ask one question at each of `values` of `option`. Raises what `gan.evaluation.evaluate.judge` does."""
    if len(values) < 2:
        raise UsageError(f"--sweep {option}: name two values or more, --sweep {option}=0.7,1.0")
    if not (Path(question.target).expanduser() / "recipe.yaml").is_file():
        raise UsageError(f"{question.target} is no run folder; --sweep makes its samples anew at each value")
    if option in question.options:
        raise UsageError(f"--sweep and --option both set {option}")
    asked = [replace(question, options={**question.options, option: value}) for value in values]
    return Sweep(option, list(values), [judge(one, plugins, device=device, reporter=reporter) for one in asked])


def _values(judgement: Evaluation) -> list[MetricValue]:
    return [value for receipt in judgement.receipts for value in receipt.values]
