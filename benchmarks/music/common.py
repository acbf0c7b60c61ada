"""Shared code of the music benchmarks: training for a budget of CPU time, and tables of statistics."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gan
import numpy as np
from gan import recipe as recipes
from gan.api import resume_run
from gan.build import build_architecture, open_data, resolve
from gan.data.pack import Pack
from gan.errors import Stopped
from gan.generation.model import Model
from gan.plugins.manager import Plugins
from gan.reporting.manifest import surroundings
from gan.reporting.reporter import Reporter, Tick
from gan.testing import real_file
from gan_music.metrics.statistics import statistics
from gan_music.rolls import BEGINS, joined

HERE = Path(__file__).parent
COUNT = 1000
"""Number of phrases of a table."""


class Budget(Reporter):
    """Stops the training (which saves a checkpoint first) once its process has used `seconds` of CPU time.

    `judge` is called with every checkpoint; its time is not counted.
    """

    def __init__(self, seconds: float, judge: Callable[[Model, Budget], None] | None = None, used: float = 0.0) -> None:
        self.seconds = seconds
        self.judge = judge
        self.used = used
        self.samples = 0
        self.begin = time.process_time() - used

    def started(self, run: Path, title: str, samples: int, total: int) -> None:
        self.begin = time.process_time() - self.used

    def tick(self, tick: Tick) -> None:
        self.used = time.process_time() - self.begin
        self.samples = tick.samples
        print(
            f"{tick.samples:,} samples, {self.used:.0f} CPU seconds",
            {k: round(v, 3) for k, v in tick.terms.items()},
            flush=True,
        )
        if self.used > self.seconds:
            signal.raise_signal(signal.SIGTERM)

    def saved(self, path: Path, samples: int) -> None:
        now = time.process_time()
        if self.judge is not None and self.used < self.seconds:
            self.judge(gan.load(path.parent.parent, device="cpu"), self)
        self.begin += time.process_time() - now


def train(
    values: Mapping[str, Any],
    run: Path,
    seconds: float,
    judge: Callable[[Model, Budget], None] | None = None,
    used: float = 0.0,
) -> tuple[Model, Budget]:
    """A recipe trained for `seconds` of CPU time; an existing run that used `used` of them is resumed."""
    budget = Budget(seconds, judge, used)
    try:
        if (run / "recipe.yaml").exists():
            resume_run(run, reporter=budget)
        else:
            gan.train(values, out=run, reporter=budget)
    except Stopped:
        if budget.used <= seconds:  # stopped from outside: not a result
            raise
    return gan.load(run, device="cpu"), budget


def untrained(values: Mapping[str, Any]) -> Model:
    """The same recipe before training."""
    import torch

    resolved = resolve(values, Plugins.installed())
    modality = resolved.modality_class(resolved.modality_config)
    network = build_architecture(
        resolved.architecture_class, resolved.model_config, modality.fields, resolved.recipe.seed, resolved.title
    )
    return Model(network.eval(), modality, resolved.title, torch.device("cpu"))


def real(values: Mapping[str, Any]) -> tuple[Pack, Pack]:
    """(training, held out) phrases of a recipe's data."""
    plugins = Plugins.installed()
    pack = open_data(resolve(values, plugins), plugins, Reporter())
    return pack.split(values["data"].get("holdout", 0.0), balance=values["data"].get("balance", False))


def rows_of(pack: Pack) -> np.ndarray:
    """Phrases of a pack in a fixed order, so that every folder has its share."""
    chosen = np.random.default_rng(0).permutation(len(pack))[:COUNT]
    return joined(pack.take(chosen))


def with_rests(roll: np.ndarray) -> np.ndarray:
    """Phrases as the other architectures have them: bool, with a step of rest before a repeated note unless the note
    before it has one step only."""
    if roll.dtype == bool:
        return roll
    line = roll.reshape(*roll.shape[:2], -1, roll.shape[-1])
    follows = np.zeros(line.shape, bool)
    follows[:, :, :-1] = line[:, :, 1:] == BEGINS
    return ((line > 0) & ~(follows & (line == 1))).reshape(roll.shape)


def table(roll: np.ndarray, music: Any) -> dict[str, float]:
    """Statistic -> value, and for those of tracks their mean over the tracks, named without one."""
    found = {name: value for name, (value, _) in statistics(roll, music.grid).items()}
    for group in dict.fromkeys(name.partition("/")[0] for name in found if "/" in name):
        values = [value for name, value in found.items() if name.startswith(group + "/") and not np.isnan(value)]
        found[group] = float(np.mean(values)) if values else float("nan")
    return {name: round(value, 5) for name, value in found.items()}


def recipe_from(path: Path, **data: Any) -> dict[str, Any]:
    """A recipe file whose data are those beside the checkout."""
    values = recipes.read_values(path)
    source = real_file("music", values["data"]["source"])
    values["data"] = {**values["data"], "source": str(source), **data}
    return values


def record(name: str, result: Mapping[str, Any]) -> None:
    """Write ``name.json`` beside the scripts."""
    text = json.dumps(
        {**result, "machine": surroundings("symusic", "music21"), "date": time.strftime("%Y-%m-%d")}, indent=1
    )
    HERE.joinpath(f"{name}.json").write_text(text + "\n")
