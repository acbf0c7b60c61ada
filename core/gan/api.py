"""The Python interface: `train`, `resume_run`, `load` and `evaluate` do what the command line does.

Training and evaluation are imported by the functions that need them, so that generation does not wait for them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gan import recipe as recipes
from gan.build import recipe_values
from gan.control.controlled import ControlledModel
from gan.control.controlled import load as load_controlled
from gan.plugins.manager import Plugins
from gan.reporting.reporter import Reporter
from gan.reporting.result import Result
from gan.storage.run_folder import RunFolder

if TYPE_CHECKING:
    from gan.evaluation.receipts import Receipt

__all__ = ["evaluate", "load", "recipe", "resume_run", "train"]


def recipe(
    plugin: str,
    architecture: str | None = None,
    *,
    named: str | None = None,
    settings: Collection[str] = (),
    plugins: Plugins | None = None,
) -> dict[str, Any]:
    """Return a plugin's recipe as plain values, changed by ``key=value`` strings like those of ``--set``."""
    found = recipe_values(plugins or Plugins.installed(), plugin, architecture, named)
    return recipes.with_settings(found, settings)


def train(
    values: Mapping[str, Any] | str | Path,
    *,
    out: str | Path | None = None,
    samples: int | None = None,
    or_resume: bool = False,
    reporter: Reporter | None = None,
    plugins: Plugins | None = None,
) -> Result:
    """Train a recipe: a mapping, a recipe file, or the name of a plugin, which stands for its default recipe.

    `samples` is the total length of all phases, in real samples shown; None: as in the recipe. With `or_resume`, a run
    of this recipe in `out` is continued.
    """
    from gan.training.session import start

    plugins = plugins or Plugins.installed()
    if isinstance(values, str | Path):
        path = Path(values)
        is_file = path.suffix in (".yaml", ".yml")
        wanted: Mapping[str, Any] = recipes.read_values(path) if is_file else recipe_values(plugins, str(values))
    elif set(values) <= {"plugin", "architecture"} and "plugin" in values:
        wanted = recipe_values(plugins, values["plugin"], values.get("architecture"))
    else:
        wanted = values
    folder = None if out is None else Path(out)
    return start(wanted, plugins, reporter or Reporter(), out=folder, total=samples, or_resume=or_resume)


def resume_run(run: str | Path, *, reporter: Reporter | None = None, plugins: Plugins | None = None) -> Result:
    """Continue a run that was stopped."""
    from gan.training.session import resume

    return resume(Path(run), plugins or Plugins.installed(), reporter or Reporter())


def load(
    run: str | Path | Result,
    *,
    device: str = "auto",
    plugins: Plugins | None = None,
    checkpoint: str | int = "newest",
    provenance: Mapping[str, Any] | None = None,
) -> ControlledModel:
    """Load the model of a run's newest intact checkpoint, with averaged weights (EMA) if the checkpoint has them.

    `checkpoint` may also be ``"best"``, if the recipe's ``evaluation.best`` kept one, or a number of samples shown.
    `provenance` changes settings of the recipe's section `provenance` for written files: ``{"mark": True}``.
    Raises `UsageError` when `run` is not a run folder, `CheckpointError` when it holds no intact checkpoint.
    """
    folder = RunFolder.open(run.run if isinstance(run, Result) else Path(run))
    return load_controlled(
        folder, plugins or Plugins.installed(), device=device, checkpoint=checkpoint, provenance=provenance
    )


def evaluate(
    target: str | Path | Result,
    against: str | Path | None = None,
    metrics: Collection[str] = (),
    *,
    count: int | None = None,
    device: str = "auto",
    plugins: Plugins | None = None,
    **more: Any,
) -> list[Receipt]:
    """Evaluate a run, or files against real ones; return a receipt with the values of each metric.

    `more` are further members of `gan.evaluation.evaluate.EvaluationRequest`.
    """
    from gan.evaluation import evaluate as evaluation

    request = evaluation.EvaluationRequest(
        str(target.run if isinstance(target, Result) else target),
        None if against is None else str(against),
        tuple(metrics),
        count,
        **more,
    )
    return evaluation.evaluate(request, plugins or Plugins.installed(), device=device).receipts
