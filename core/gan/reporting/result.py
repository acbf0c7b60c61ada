"""What a training ends with: its result, as values for programs and as the model card for people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gan.contracts import MetricValue, value_from_json
from gan.errors import UsageError

if TYPE_CHECKING:
    from gan.storage.run_folder import RunFolder


@dataclass
class Result:
    """What a training ended with."""

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
    """What was trained on, in words."""
    published: Mapping[str, float] = field(default_factory=dict)
    """What others report, by the value's name."""
    references: Mapping[str, list[MetricValue]] = field(default_factory=dict)
    """The same metrics at the end of phases that are baselines of the method (`gan.game.Phase.is_baseline`)."""

    def summary(self) -> dict[str, Any]:
        """Plain values for tables and programs."""
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
        }


def result_from(summary: Mapping[str, Any]) -> Result:
    """The result whose `Result.summary` was written."""
    return Result(
        Path(summary["run"]),
        summary["architecture"],
        summary["samples"],
        summary["seconds"],
        summary["losses"],
        [value_from_json(value) for value in summary["metrics"]],
        [value_from_json(value) for value in summary["untrained"]],
        [Path(path) for path in summary["artefacts"]],
        [Path(path) for path in summary["pictures"]],
        summary["data"],
        summary["published"],
        {
            phase: [value_from_json(value) for value in values]
            for phase, values in summary.get("references", {}).items()
        },
    )


def read_result(run: RunFolder) -> Result:
    """What a run ended with, its paths where the folder is now. Raises `UsageError` for a run that has not ended."""
    try:
        result = result_from(json.loads(run.result.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise UsageError(f"{run.path} has not ended; go on with: gan resume {run.path}") from None

    def here(paths: list[Path]) -> list[Path]:
        return [run.path / path.relative_to(result.run) for path in paths]

    return replace(result, run=run.path, artefacts=here(result.artefacts), pictures=here(result.pictures))


def references_of(run: RunFolder) -> dict[str, list[MetricValue]]:
    """Phase -> what was measured at its end, of the phases that are baselines, from the run's records."""
    return {
        record["phase"]: [value_from_json(value) for value in record["metrics"].values()]
        for record in run.read_metrics()
        if record.get("reference")
    }
