"""What the command line does, from Python: `train`, `resume`, `load`."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from gan import recipe as recipes
from gan.checkpoint import Checkpoints
from gan.device import choose
from gan.ema import Average
from gan.errors import CheckpointError, UsageError
from gan.model import Model, build
from gan.plugins import Plugins
from gan.report import Reporter
from gan.resolve import look_up, recipe_values
from gan.rundir import RunFolder
from gan.training import Result, resume, start

__all__ = ["load", "recipe", "resume_run", "train"]


def recipe(
    plugin: str,
    architecture: str | None = None,
    *,
    named: str | None = None,
    settings: Collection[str] = (),
    plugins: Plugins | None = None,
) -> dict[str, Any]:
    """A plugin's recipe as plain values, changed by ``key=value`` texts like those of ``--set``."""
    found = recipe_values(plugins or Plugins.installed(), plugin, architecture, named)
    return recipes.with_settings(found, settings)


def train(
    values: Mapping[str, Any] | str | Path,
    *,
    out: str | Path | None = None,
    samples: int | None = None,
    reporter: Reporter | None = None,
    plugins: Plugins | None = None,
) -> Result:
    """Train a recipe: a mapping, a recipe file, or the name of a plugin whose default recipe is meant.

    `samples` is the length of all phases together, in real samples shown; None: what the recipe says.
    """
    plugins = plugins or Plugins.installed()
    if isinstance(values, str | Path):
        path = Path(values)
        is_file = path.suffix in (".yaml", ".yml")
        wanted: Mapping[str, Any] = recipes.read_values(path) if is_file else recipe_values(plugins, str(values))
    elif set(values) <= {"plugin", "architecture"} and "plugin" in values:
        wanted = recipe_values(plugins, values["plugin"], values.get("architecture"))
    else:
        wanted = values
    return start(wanted, plugins, reporter or Reporter(), out=None if out is None else Path(out), total=samples)


def resume_run(run: str | Path, *, reporter: Reporter | None = None, plugins: Plugins | None = None) -> Result:
    """Go on with a run that was stopped."""
    return resume(Path(run), plugins or Plugins.installed(), reporter or Reporter())


def load(run: str | Path | Result, *, device: str = "auto", plugins: Plugins | None = None) -> Model:
    """The model of a run's newest good checkpoint, with averaged weights where there are some.

    Raises `UsageError` when `run` is no run folder, `CheckpointError` when it holds no good checkpoint.
    """
    folder = RunFolder.open(run.run if isinstance(run, Result) else Path(run))
    parts = look_up(recipes.read_values(folder.recipe), plugins or Plugins.installed())
    try:
        facts = json.loads(folder.facts.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{folder.facts}: {error}") from None
    modality = parts.modality_class(parts.modality_config, facts)
    checkpoint = Checkpoints(folder.checkpoints).newest()
    if checkpoint is None:
        raise CheckpointError(f"{folder.checkpoints} holds no checkpoint; train first with: gan resume {folder.path}")
    architecture = build(parts.architecture_class, parts.model_config, modality.fields, parts.recipe.seed, parts.title)
    averages = {
        f"average-{name}": Average(dict(player.named_parameters()), half_life=1)
        for name, player in architecture.players().items()
        if f"average-{name}" in checkpoint.owners
    }
    checkpoint.load({"architecture": architecture, **averages}, surplus=True)
    for average in averages.values():
        average.adopt()
    place = choose(device, "fp32").place
    return Model(architecture.to(place).eval(), modality, parts.title, place)
