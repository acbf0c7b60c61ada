"""What a training measures before it begins, on its way and at its end.

On the way it measures where ``evaluation.every`` says, keeps the checkpoint with the best value of
``evaluation.best``, and ends the training when ``evaluation.patience`` measurements brought no better one. It draws no
number that the training draws, and keeps no state: what was best is read from the run's records, so a killed and
resumed run decides alike.
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


class Evaluator:
    """Measures one training."""

    def __init__(
        self, parts: ResolvedRecipe, plugins: Plugins, trainer: Trainer, model: Model, pack: Pack, rows: Pack
    ) -> None:
        self.settings = parts.recipe.evaluation
        self._parts = parts
        self._trainer = trainer
        self._model = model
        self._fingerprint = pack.fingerprint
        self._rows = rows
        self._kind = Kind(parts.modality.entry.name, model.modality, parts.recipe.modality)
        names = self.settings.metrics
        self.metrics = find_metrics(
            parts.modality_class.metrics if names is None else names,
            self._kind.name,
            plugins,
            device=str(model.device),
            prefer=parts.modality.info.name,
            architecture=model.architecture,
        )

    def receipts(self, run: RunFolder) -> list[Receipt]:
        """Measure the weights as samples are made with them now; a receipt a metric."""
        if not self.metrics:
            return []
        recipe, settings = self._parts.recipe, self.settings
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
                distributions=self._parts.distributions,
                device=self._trainer.device.name,
                request=asdict(EvaluationRequest(str(run.path), count=count, real_count=settings.real_samples)),
            )

    def due(self, run: RunFolder, samples: int) -> bool:
        """Whether a multiple of ``evaluation.every`` was passed since the last measurement."""
        every = self.settings.every
        if not every or not self.metrics:
            return False
        before = max((record["samples"] for record in run.read_metrics() if record.get("metrics")), default=0)
        return samples // every > before // every

    def is_best(self, run: RunFolder, values: Sequence[MetricValue]) -> bool:
        """Whether ``evaluation.best`` is better than in every record of the run before this one.

        Raises `UnknownName` when no metric gives a value of that name.
        """
        name = self.settings.best
        if name is None:
            return False
        known = {value.name: value for value in values}
        if name not in known:
            raise UnknownName("value for evaluation.best", name, known)
        newest = cost(asdict(known[name]))
        return math.isfinite(newest) and all(newest < cost(old) for _, old in self._history(run))

    def enough(self, run: RunFolder) -> bool:
        """Whether the last ``evaluation.patience`` measurements brought nothing better."""
        patience, history = self.settings.patience, [cost(old) for _, old in self._history(run)]
        if not patience or not history:
            return False
        return len(history) - 1 - min(range(len(history)), key=history.__getitem__) >= patience

    def tidy(self, run: RunFolder) -> None:
        """Drop a best checkpoint that belongs to measurements that a resumed run takes again."""
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
