"""The Python interface: `train`, `resume`, `generate`, `load` and `evaluate` do what the command line does.

Training and evaluation are imported by the functions that need them, so that generation does not wait for them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gan import recipe as recipes
from gan.build import recipe_values
from gan.control.controlled import ControlledModel
from gan.control.controlled import load as load_controlled
from gan.errors import UsageError
from gan.generation.chosen import split_flags
from gan.generation.shown import GeneratedSample, GeneratedSamples
from gan.plugins.manager import Plugins
from gan.plugins.models import found_run
from gan.reporting.reporter import Reporter, Several, Tick
from gan.reporting.result import Result
from gan.storage.run_folder import RunFolder

if TYPE_CHECKING:
    from gan.evaluation.receipts import Receipt

__all__ = [
    "GeneratedSample",
    "GeneratedSamples",
    "evaluate",
    "generate",
    "load",
    "recipe",
    "resume",
    "resume_run",
    "train",
]


def recipe(
    plugin: str,
    architecture: str | None = None,
    *,
    named: str | None = None,
    settings: Collection[str] | Mapping[str, Any] = (),
    plugins: Plugins | None = None,
) -> dict[str, Any]:
    """Return a plugin's recipe as plain values, changed by `settings` as in `train`."""
    return _changed(recipe_values(plugins or Plugins.installed(), plugin, architecture, named), settings)


def train(
    what: Mapping[str, Any] | str | Path,
    *,
    data: str | Path | None = None,
    architecture: str | None = None,
    recipe: str | None = None,
    settings: Collection[str] | Mapping[str, Any] = (),
    minutes: float | None = None,
    samples: int | None = None,
    seed: int | None = None,
    device: str | None = None,
    out: str | Path | None = None,
    or_resume: bool = False,
    progress: bool | None = None,
    on_tick: Callable[[Tick], None] | None = None,
    track: Collection[str] = (),
    reporter: Reporter | None = None,
    plugins: Plugins | None = None,
) -> Result:
    """Train, and return the result: its verdict, metrics and files.

    `what` is the name of a plugin, whose default recipe is meant (or that of `architecture`, or the one called
    `recipe`); a recipe file; or a recipe as a mapping. A mapping without ``architecture`` holds only what differs from
    the plugin's default recipe.
    `data` is a folder, file or archive, or the name of a dataset. `settings` are changes of the recipe: a mapping,
    nested (``{"training": {"batch": 32}}``) or with dots (``{"training.batch": 32}``), or ``"key=value"`` strings.
    `minutes` limits the time; `samples` is the total length of all phases, in real samples shown.
    `out` is the run folder (None: a new one in ``runs``); with `or_resume`, a run of this recipe there is continued.
    `progress` shows the training (None: on a terminal and in a notebook). `on_tick` is called with every
    `gan.reporting.reporter.Tick`. `track` names trackers (``"tensorboard"``). A `reporter` receives all events.
    """
    from gan.training.session import start

    plugins = plugins or Plugins.installed()
    values: Mapping[str, Any]
    if isinstance(what, Mapping):
        if "plugin" not in what:
            raise UsageError("a recipe names its plugin: {'plugin': 'image', …}")
        partial = "architecture" not in what or set(what) == {"plugin", "architecture"}
        chosen = architecture or what.get("architecture")
        values = recipe_values(plugins, what["plugin"], chosen, recipe) if partial else what
        values = _changed(values, {k: v for k, v in what.items() if k not in ("plugin", "architecture")})
    elif Path(what).suffix in (".yaml", ".yml"):
        values = recipes.read_values(Path(what))
    else:
        values = recipe_values(plugins, str(what), architecture, recipe)
    where = None if data is None else str(data)
    named = {"data.source": where, "training.minutes": minutes, "seed": seed, "training.device": device}
    values = _changed(values, {key: value for key, value in named.items() if value is not None})
    values = _changed(values, settings)
    told = _told(progress, on_tick, reporter, [plugins.load(plugins.find("gan_trackers", name))() for name in track])
    try:
        folder = None if out is None else Path(out)
        result = start(values, plugins, told, out=folder, total=samples, or_resume=or_resume)
        if result.run != Path():  # which only the first of several processes has
            told.finished(result.summary())
        return result
    finally:
        told.close()


def resume(
    run: str | Path | Result,
    *,
    minutes: float | None = None,
    force: bool = False,
    progress: bool | None = None,
    on_tick: Callable[[Tick], None] | None = None,
    reporter: Reporter | None = None,
    plugins: Plugins | None = None,
) -> Result:
    """Continue a run that was stopped; with `minutes`, one that its limit of time ended, for so many minutes more.

    With `force`, it is continued although the recipe, the data or a plugin has changed. The other arguments are those
    of `train`.
    """
    from gan.training import session

    told = _told(progress, on_tick, reporter)
    try:
        return session.resume(_folder(run), plugins or Plugins.installed(), told, force=force, minutes=minutes)
    finally:
        told.close()


resume_run = resume
"""The name of `resume` in version 0.1.0."""


def generate(
    run: str | Path | Result,
    count: int = 8,
    seed: int = 0,
    *,
    first: int = 0,
    out: str | Path | None = None,
    device: str = "auto",
    checkpoint: str | int = "newest",
    plugins: Plugins | None = None,
    **chosen: Any,
) -> GeneratedSamples:
    """Generate samples `first` … ``first + count - 1`` of `seed`; the same seed always gives the same samples.

    `chosen` are the options of the run's architecture and of its files, and values of its conditions, by the names of
    the flags of ``gan generate RUN --help``: ``truncation=0.7``, ``tempo=90``, ``label="rose"``. With `out` the samples
    are also written as files there. Use `load` for many calls, and for latents.
    """
    model = load(run, device=device, checkpoint=checkpoint, plugins=plugins)
    flags = split_flags(model, chosen)
    made = model.generate(count, seed, first=first, options=flags.options, conditions=flags.conditions)
    samples = GeneratedSamples(model, made, flags, seed, first)
    if out is not None:
        model.write(made, Path(out), first=first, options=flags.output_options, seed=seed)
        model.write_preview(made, Path(out))
    return samples


def load(
    run: str | Path | Result,
    *,
    device: str = "auto",
    plugins: Plugins | None = None,
    checkpoint: str | int = "newest",
    provenance: Mapping[str, Any] | None = None,
) -> ControlledModel:
    """Load the model of a run's newest intact checkpoint, with averaged weights (EMA) if the checkpoint has them.

    `run` may also be ``"zoo:NAME"``, a model that came with a plugin (`gan zoo`).

    `checkpoint` may also be ``"best"``, if the recipe's ``evaluation.best`` kept one, or a number of samples shown.
    `provenance` changes settings of the recipe's section `provenance` for written files: ``{"mark": True}``.
    Raises `UsageError` when `run` is not a run folder, `CheckpointError` when it holds no intact checkpoint.
    """
    plugins = plugins or Plugins.installed()
    folder = RunFolder.open(found_run(_folder(run), plugins))
    return load_controlled(folder, plugins, device=device, checkpoint=checkpoint, provenance=provenance)


def evaluate(
    target: str | Path | Result,
    against: str | Path | None = None,
    metrics: Collection[str] | str = (),
    *,
    count: int | None = None,
    device: str = "auto",
    plugins: Plugins | None = None,
    **more: Any,
) -> list[Receipt]:
    """Evaluate a run, or files against real ones; return a receipt with the values of each metric.

    `metrics` are names such as ``"kid[raw]"`` (empty: those of the recipe). `more` are further members of
    `gan.evaluation.evaluate.EvaluationRequest`.
    """
    from gan.evaluation import evaluate as evaluation

    plugins = plugins or Plugins.installed()
    request = evaluation.EvaluationRequest(
        str(found_run(_folder(target), plugins)),
        None if against is None else str(against),
        (metrics,) if isinstance(metrics, str) else tuple(metrics),
        count,
        **more,
    )
    return evaluation.evaluate(request, plugins, device=device).receipts


def _folder(run: str | Path | Result) -> Path:
    return run.run if isinstance(run, Result) else Path(run)


def _changed(values: Mapping[str, Any], settings: Collection[str] | Mapping[str, Any]) -> dict[str, Any]:
    """`values` changed by a mapping or by ``key=value`` strings."""
    if isinstance(settings, Mapping):
        return recipes.merged(values, settings)
    return recipes.with_settings(values, [settings] if isinstance(settings, str) else settings)


class _Calls(Reporter):
    def __init__(self, on_tick: Callable[[Tick], None]) -> None:
        self._on_tick = on_tick

    def tick(self, tick: Tick) -> None:
        """Call the user's function."""
        self._on_tick(tick)


def _told(
    progress: bool | None,
    on_tick: Callable[[Tick], None] | None,
    reporter: Reporter | None,
    trackers: Collection[Reporter] = (),
) -> Reporter:
    """Everybody who is to hear of a training."""
    from gan.reporting.terminal import LiveReporter, PlainReporter, can_move, in_notebook

    found = [] if reporter is None else [reporter]
    if progress or (progress is None and reporter is None and (can_move() or in_notebook())):
        found.append(LiveReporter() if can_move() else PlainReporter())
    found += trackers
    if on_tick is not None:
        found.append(_Calls(on_tick))
    return found[0] if len(found) == 1 else Several(found)
