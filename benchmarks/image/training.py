"""What the benchmarks of generators share: a training of a recipe by CPU time, without a run folder."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from gan.api import recipe as named_recipe
from gan.build import build_game, open_data, resolve
from gan.data.order import Order
from gan.evaluation.metric_names import find_metrics, measure
from gan.generation.conditions import Conditions
from gan.generation.model import Model
from gan.plugins.manager import Plugins
from gan.reporting.reporter import Reporter
from gan.runtime.device import choose_device
from gan.training.trainer import Trainer

SPEED = 6.0
"""CPU seconds of training from which the speed is measured."""


class Training:
    """A trainer of a recipe of gan-image on the images of a folder, or on a dataset by its name."""

    def __init__(self, recipe: str, folder: Path | str, settings: list[str], plugins: Plugins) -> None:
        fixed = ["training.device=cpu", f"data.source={folder}"]
        values = named_recipe("image", named=recipe, settings=[*fixed, *settings], plugins=plugins)
        self.folder = folder
        self.resolved = resolve(values, plugins)
        self.pack = open_data(self.resolved, plugins, Reporter())
        self.modality = self.resolved.modality_class(self.resolved.modality_config, self.pack.facts)
        self.game = build_game(self.resolved, self.modality.fields)
        seed, training = self.resolved.recipe.seed, self.resolved.recipe.training
        self.device = choose_device("cpu", training.precision)
        self.trainer = Trainer(
            self.game.architecture,
            self.game.players,
            self.game.phases,
            self.pack,
            Order(self.pack.sizes, seed),
            training,
            seed,
            self.device,
            self.resolved.augmentations,
            self.resolved.penalties,
        )
        self.seconds = 0.0
        """CPU seconds of training so far."""
        self.ticks: list[tuple[int, dict[str, float]]] = []
        """(images shown, terms) of every tick."""

    def run(self, seconds: float, samples: float = float("inf")) -> float:
        """Train until the end, for that many CPU seconds, or until so many images were shown; returns the seconds."""
        start = time.process_time()

        def show(tick: Any) -> None:
            terms = {name: round(value, 3) for name, value in tick.terms.items()}
            self.ticks.append((tick.samples, terms))
            print(f"{self.seconds + time.process_time() - start:6.0f} s  {tick.samples:9,}  {terms}", flush=True)

        self.trainer.run(show, lambda: time.process_time() - start > seconds or self.trainer.samples >= samples)
        used = time.process_time() - start
        self.seconds += used
        return used

    def model(self) -> Model:
        """The model in its present state; the averaged weights within ``trainer.sampling()``."""
        return Model(
            self.game.architecture,
            self.modality,
            self.resolved.title,
            self.device.device,
            conditions=Conditions.of(self.pack),
        )

    def samples(self, count: int, labels: np.ndarray | None = None, **options: Any) -> dict[str, np.ndarray]:
        """Samples of the averaged weights; with classes, of those that are given, or of the data's."""
        given = None if labels is None else {"label": labels}
        with self.trainer.sampling():
            return self.model().generate(count, 0, given=given, options=options)

    def scores(
        self, metrics: list[str], samples: Mapping[str, np.ndarray], real: Mapping[str, np.ndarray], plugins: Plugins
    ) -> dict[str, float]:
        """The values of metrics on images alone; a metric that fails ends the benchmark."""
        found = measure(
            find_metrics(metrics, "image", plugins),
            {"image": samples["image"]},
            {"image": real["image"]},
            self.modality,
        )
        for value in found:
            if "error" in value.details:
                raise RuntimeError(f"{value.name}: {value.details['error']}")
        return {value.name: value.value for value in found}


def length_for(recipe: str, folder: Path, settings: list[str], minutes: float, plugins: Plugins) -> int:
    """Number of images that a training shows in so many CPU minutes, by the speed of its first seconds.

    A training of this length lets its schedules end with the time.
    """
    first = Training(recipe, folder, settings, plugins)
    used = first.run(SPEED)
    speed = first.trainer.samples / used
    length = round(speed * 60 * minutes)
    print(f"{recipe}: {speed:.0f} images in a CPU second, {length:,} in all", flush=True)
    return length
