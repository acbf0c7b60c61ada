"""The result of a training: final losses, metrics, artefacts and plots."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gan.contracts import MetricValue, value_from_json
from gan.errors import CheckpointError, UsageError
from gan.reporting.side_files import read_side_file
from gan.reporting.tables import number_rows

if TYPE_CHECKING:
    from gan.storage.run_folder import RunFolder


@dataclass
class Result:
    """The result of a training."""

    run: Path
    title: str
    samples: int
    seconds: float
    losses: dict[str, float]
    metrics: list[MetricValue]
    untrained: list[MetricValue]
    """The same metrics before training."""
    artefacts: list[Path] = field(default_factory=list)
    pictures: list[Path] = field(default_factory=list)
    data: str = ""
    """A description of the training data."""
    published: Mapping[str, float] = field(default_factory=dict)
    """Published values by name of the metric value."""
    references: Mapping[str, list[MetricValue]] = field(default_factory=dict)
    """The same metrics at the end of each baseline phase of the method (`gan.game.Phase.is_baseline`)."""
    verdict: Mapping[str, str] = field(default_factory=dict)
    """What became of the training: ``kind``, ``sentence`` and ``remedy`` of a `gan.watch.verdict.Verdict`."""
    more: str = ""
    """The command that makes more samples; it names an input where the architecture works on one."""
    headline: Sequence[Mapping[str, Any]] = ()
    """The numbers that matter most (`gan.watch.verdict.headline`)."""

    def _repr_html_(self) -> str:
        """The verdict, the numbers that matter most and the picture of the samples, for notebooks."""
        verdict = html.escape(self.verdict.get("sentence", f"{self.samples:,} samples shown"))
        remedy = self.verdict.get("remedy", "")
        rows = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
            for row in number_rows(self.summary())
        )
        pictures = [path for path in self.pictures[:1] if path.is_file()]
        shown = "".join(
            f'<img src="data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}">' for path in pictures
        )
        return f"<p><b>{verdict}</b> {html.escape(remedy)}</p><table>{rows}</table>{shown}"

    def summary(self) -> dict[str, Any]:
        """JSON values for tables, programs and ``result.json``."""
        return {
            "run": str(self.run),
            "architecture": self.title,
            "data": self.data,
            "samples": self.samples,
            "seconds": self.seconds,
            "losses": self.losses,
            "metrics": [asdict(value) for value in self.metrics],
            "untrained": [asdict(value) for value in self.untrained],
            "published": dict(self.published),
            "references": {phase: [asdict(value) for value in values] for phase, values in self.references.items()},
            "artefacts": [str(path) for path in self.artefacts],
            "pictures": [str(path) for path in self.pictures],
            "verdict": dict(self.verdict),
            "more": self.more or f"gan generate {self.run} --count 16 --seed 1 --out samples",
            "headline": [dict(number) for number in self.headline],
        }


def read_result(run: RunFolder) -> Result:
    """The result of a finished run, with paths in its current folder. Raises `UsageError` if it has not finished."""
    if not run.result.exists():
        raise UsageError(f"{run.path} has not ended; continue with: gan resume {run.path}")
    remedy = f"Make it anew: gan resume {run.path}"
    summary = read_side_file(run, run.result, remedy)
    try:
        return _result(run, summary)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{run.result}: damaged: it is no summary of a training. {remedy}") from error


def _result(run: RunFolder, summary: Mapping[str, Any]) -> Result:
    def values(found: Sequence[Mapping[str, Any]]) -> list[MetricValue]:
        return [value_from_json(value) for value in found]

    def paths(found: Sequence[str]) -> list[Path]:
        inside = [Path(path).relative_to(summary["run"]) for path in found]
        if any(".." in path.parts for path in inside):
            raise ValueError("a path leads out of the run")
        return [run.path / path for path in inside]

    return Result(
        run.path,
        summary["architecture"],
        summary["samples"],
        summary["seconds"],
        summary["losses"],
        values(summary["metrics"]),
        values(summary["untrained"]),
        paths(summary["artefacts"]),
        paths(summary["pictures"]),
        summary["data"],
        summary["published"],
        {phase: values(found) for phase, found in summary.get("references", {}).items()},
        dict(summary.get("verdict", {})),
        str(summary.get("more", "")).replace(summary["run"], str(run.path)),
        [dict(number) for number in summary.get("headline", [])],
    )


def references_of(run: RunFolder) -> dict[str, list[MetricValue]]:
    """Baseline phase -> the metrics at its end, from the records of the run."""
    return {
        record["phase"]: [value_from_json(value) for value in record["metrics"].values()]
        for record in run.read_metrics()
        if record.get("reference")
    }
