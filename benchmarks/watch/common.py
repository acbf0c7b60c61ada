"""What the benchmarks of the watch share: trainings whose windows and verdicts are kept."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gan.testing.toy
import torch
from gan.build import recipe_values
from gan.plugins.manager import Plugins
from gan.recipe import with_settings
from gan.reporting.reporter import Reporter
from gan.storage.run_folder import RunFolder
from gan.training.session import start

HERE = Path(__file__).parent
WORK = Path("runs/benchmarks/watch")


def plugins() -> Plugins:
    """The installed plugins and the toy one."""
    found = Plugins.installed()
    found.register("toy", gan.testing.toy)
    return found


def train(
    known: Plugins,
    out: Path,
    plugin: str,
    recipe: str | None,
    settings: Sequence[str],
    seed: int,
    samples: int | None = None,
) -> dict[str, Any]:
    """Train without metrics at the end; the verdicts, the actions and every window's signals."""
    torch.set_num_threads(1)
    values = with_settings(
        recipe_values(known, plugin, named=recipe),
        [
            "training.device=cpu", "training.preview_ticks=0", "training.checkpoint_ticks=5", "evaluation.metrics=[]",
            "evaluation.samples=16", "evaluation.artefacts=0", f"seed={seed}", *settings,
        ],
    )  # fmt: skip
    before = time.process_time()
    start(values, known, Reporter(), out=out, total=samples)
    return {**summary(out), "cpu_seconds": time.process_time() - before}


def summary(out: Path) -> dict[str, Any]:
    """What a run's folder tells of its health."""
    run = RunFolder(out)
    health = json.loads(run.health.read_text()) if run.health.exists() else {"verdicts": [], "actions": []}
    windows = [record for record in run.read_metrics() if "health" in record]
    return {
        "windows": len(windows),
        "verdicts": health["verdicts"],
        "actions": health["actions"],
        "signals": [{"samples": w["samples"], **_rounded(w["terms"]), **_rounded(w["health"])} for w in windows],
    }


def _rounded(values: Mapping[str, float | None]) -> dict[str, float | None]:
    return {name: None if value is None else float(f"{value:.4g}") for name, value in values.items()}


def recorded(path: Path) -> dict[str, Any]:
    """A result that is being made, so that an interrupted benchmark goes on."""
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def record(path: Path, result: Mapping[str, Any]) -> None:
    """Write a result."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
