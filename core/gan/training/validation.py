"""Validation: metrics before, during and after a training, the best checkpoint, and early stopping.

During the training metrics are computed every ``evaluation.every`` samples. The checkpoint with the best value of
``evaluation.best`` is kept, and training ends when ``evaluation.patience`` measurements brought no better one.
Validation uses its own random numbers and keeps no state: the best value is read from the run's records, so a run that
was killed and resumed decides alike.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from gan.build import ResolvedRecipe
from gan.contracts import MetricValue
from gan.data.pack import Pack
from gan.draws import derive
from gan.errors import UnknownName
from gan.evaluation.comparison import cost
from gan.evaluation.evaluate import EvaluationRequest
from gan.evaluation.metric_names import find_metrics
from gan.evaluation.receipts import Receipt
from gan.evaluation.sample_sets import Kind, generated_set, real_set, receipts_of
from gan.generation.model import Model
from gan.plugins.manager import Plugins
from gan.storage.checkpoint import Checkpoints
from gan.storage.run_folder import RunFolder
from gan.training.trainer import Trainer
from gan.watch.verdict import meaning


class Evaluator:
    """Computes the metrics of one training and decides about its best checkpoint and early stopping."""

    def __init__(
        self, resolved: ResolvedRecipe, plugins: Plugins, trainer: Trainer, model: Model, pack: Pack, rows: Pack
    ) -> None:
        self.settings = resolved.recipe.evaluation
        self._resolved = resolved
        self._trainer = trainer
        self._model = model
        self._fingerprint = pack.fingerprint
        self._rows = rows
        self._measured: int | None = None
        """Real samples shown at the last measurement; None: not known yet."""
        self._seen = 0
        """Real samples shown when `due` was called last."""
        self._kind = Kind(resolved.modality.entry.name, model.modality, resolved.recipe.modality)
        names = self.settings.metrics
        self._plugins = plugins
        self.metrics = find_metrics(
            resolved.modality_class.metrics if names is None else names,
            self._kind.name,
            plugins,
            device=str(model.device),
            prefer=resolved.modality.info.name,
            architecture=model.architecture,
        )

    def meanings(self, receipts: Sequence[Receipt]) -> dict[str, str]:
        """What each value says, by its name."""
        found: dict[str, str] = {}
        for receipt in receipts:
            base = receipt.metric.partition("[")[0].partition("=")[0]
            entry = self._plugins.find("gan_metrics", base, prefer=self._resolved.modality.info.name).entry
            known = {name.lower(): text for name, text in entry.meanings.items()}
            found |= {value.name: meaning(value.name, known) or entry.summary for value in receipt.values}
        return found

    def receipts(self, run: RunFolder) -> list[Receipt]:
        """Measure samples of the averaged weights as they are now; one receipt for each metric."""
        if not self.metrics:
            return []
        recipe, settings = self._resolved.recipe, self.settings
        count, seed = settings.samples, derive(recipe.seed, "evaluation")
        paired = bool(self._model.input_fields())
        origin = {"source": recipe.data.source, "fingerprint": self._fingerprint}
        real = real_set(self._rows, count, settings.real_samples, origin, paired=paired)
        with self._trainer.sampling():
            generated = generated_set(
                self._model, self._rows, count, seed, str(run.path), trained=self._trainer.samples
            )
            return receipts_of(
                self.metrics,
                generated,
                real,
                self._kind,
                distributions=self._resolved.distributions,
                device=self._trainer.device.name,
                request=asdict(EvaluationRequest(str(run.path), count=count, real_count=settings.real_samples)),
            )

    def values(self, run: RunFolder) -> list[MetricValue]:
        """The values of all `receipts`."""
        return [value for receipt in self.receipts(run) for value in receipt.values]

    def due(self, run: RunFolder, samples: int) -> bool:
        """Whether training has passed a multiple of ``evaluation.every`` since the last measurement."""
        every = self.settings.every
        if not every or not self.metrics:
            return False
        if self._measured is None or samples < self._seen:  # the records are read once, and after a way back
            measured = (record["samples"] for record in run.read_metrics() if record.get("metrics"))
            self._measured = max(measured, default=0)
        self._seen = samples
        return samples // every > self._measured // every

    def recorded(self, samples: int) -> None:
        """Note that the metrics after `samples` real samples are in the records."""
        self._measured = samples

    def is_best(self, run: RunFolder, values: Sequence[MetricValue]) -> bool:
        """Whether ``evaluation.best`` is better than in every earlier record of the run.

        Raises `UnknownName` if no metric has a value of that name.
        """
        name = self.settings.best
        if name is None:
            return False
        known = {value.name: value for value in values}
        if name not in known:
            raise UnknownName("value for evaluation.best", name, known)
        newest = cost(asdict(known[name]))
        return math.isfinite(newest) and all(newest < cost(old) for _, old in self._history(run))

    def stop_early(self, run: RunFolder) -> bool:
        """Whether the last ``evaluation.patience`` measurements brought no better value."""
        patience, history = self.settings.patience, [cost(old) for _, old in self._history(run)]
        if not patience or not history:
            return False
        return len(history) - 1 - min(range(len(history)), key=history.__getitem__) >= patience

    def remove_outdated_best(self, run: RunFolder) -> None:
        """Remove a best checkpoint whose measurement is no longer in the records and will be repeated."""
        if self.settings.best is None:
            return
        history = self._history(run)
        kept = Checkpoints(run.best).all()
        best = min(history, key=lambda item: cost(item[1]))[0] if history else None
        if kept and kept[-1].name != f"samples-{best or 0:09d}":
            shutil.rmtree(run.best)

    def _history(self, run: RunFolder) -> list[tuple[int, Mapping[str, Any]]]:
        """(samples, value) of every record that has ``evaluation.best``."""
        name = self.settings.best
        return [
            (record["samples"], record["metrics"][name])
            for record in run.read_metrics()
            if name is not None and name in (record.get("metrics") or {})
        ]
