"""Connects the watch (`gan.watch`) with a training: its guards, its dials, and the measurements at a tick."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gan.build import ResolvedRecipe
from gan.contracts import Guard, Measures, Samples
from gan.contracts.guards import NOISE, SMOOTHING
from gan.data.pack import Pack
from gan.draws import StepDraws, derive
from gan.errors import GanError, PluginError
from gan.evaluation.metric_names import extractors_in, find_metrics
from gan.evaluation.sample_sets import generate, real_samples
from gan.game import Batch
from gan.generation.model import Model
from gan.plugins.manager import Plugins
from gan.recipe import number_at
from gan.runtime.distributed import share_text
from gan.training.trainer import Trainer
from gan.watch.signals import Reference, features_of, spectral_norms
from gan.watch.watch import Watch

PROBE_EVERY = 8
"""Most iterations between two in which objectives report their signals …"""
PROBES = 4
"""… and fewest reports in a window, if it has so many iterations."""
VALIDATED = 64
"""Real samples of each kind that a critic scores for the validation gap."""


def build_watch(
    resolved: ResolvedRecipe, plugins: Plugins, trainer: Trainer, model: Model, train: Pack, held_out: Pack | None
) -> Watch:
    """The watch of a training, whose state becomes part of its checkpoints. `held_out` are files that it does not see.

    The guards are those of the core and of the plugins of the architecture and the modality, so that a plugin that is
    only installed changes nothing.
    """
    training = resolved.recipe.training
    modality = resolved.modality.entry.name
    guards = guards_of(resolved, plugins) if training.watch != "off" else []
    measure = None
    if guards:
        (extractor,) = extractors_in(
            find_metrics([f"diversity[{training.watch_features}]"], modality, plugins, device=str(model.device))
        )
        measure = _Measurements(trainer, model, extractor.extract, guards, train, held_out, resolved.recipe.seed)
    watch = Watch(
        training.watch,
        guards,
        measure,
        _dials(resolved, trainer),
        training.batch,
        lambda signals: json.loads(share_text(json.dumps(signals), trainer.device)),
        _numbers(resolved, trainer),
    )
    if guards:
        iterations = max(training.tick or 0, watch.spacing) // training.batch
        trainer.probe_every = max(1, min(PROBE_EVERY, iterations // PROBES))
    trainer.companions["watch"] = watch
    return watch


def guards_of(resolved: ResolvedRecipe, plugins: Plugins) -> list[Guard]:
    """The guards of a recipe: those of the core first."""
    names = dict.fromkeys(["builtin", resolved.architecture.info.name, resolved.modality.info.name])
    return [
        plugins.load(plugin_entry)()
        for name in names
        for plugin_entry in plugins.entries("gan_guards", name)
        if plugin_entry.entry.modality in (None, resolved.modality.entry.name)
    ]


def _dials(resolved: ResolvedRecipe, trainer: Trainer) -> list[str]:
    """The dials that remedies may turn in this training."""
    names = [f"penalties.{name}.weight" for name in resolved.penalties]
    for name, augmentation in resolved.augmentations.items():
        if not isinstance(augmentation.strength, Tensor):
            names.append(f"augmentations.{name}.strength")
    for player in trainer.player_states:
        names += [f"optimizers.{player}.{number}" for number in ("lr", "betas.0", "betas.1")]
        names.append(f"turns.{player}.every")
    if not resolved.penalties and any(turn.smoothed for phase in trainer.phases for turn in phase.turns):
        names.append(SMOOTHING)
    return [*names, NOISE]


def _numbers(resolved: ResolvedRecipe, trainer: Trainer) -> dict[str, float]:
    """The recipe's numbers of dials that remedies compare, at the beginning of the training."""
    rates = {f"optimizers.{name}.lr": number_at(state.settings.lr, 0) for name, state in trainer.player_states.items()}
    return rates | {
        f"penalties.{name}.weight": number_at(penalty.weight, 0) for name, penalty in resolved.penalties.items()
    }


class _Measurements:
    """Measures samples and weights at the end of a window; on the first process only, the others are told."""

    def __init__(
        self,
        trainer: Trainer,
        model: Model,
        extract: Any,
        guards: Sequence[Guard],
        train: Pack,
        held_out: Pack | None,
        seed: int,
    ) -> None:
        self._trainer = trainer
        self._model = model
        self._extract = lambda samples: extract(samples, model.modality)
        self._guards = [guard for guard in guards if isinstance(guard, Measures)]
        self._train = train
        self._held_out = held_out
        self._seed = derive(seed, "watch")
        self._references: dict[int, tuple[Samples, Reference]] = {}

    def __call__(self, count: int, before: Sequence[float] | None) -> tuple[dict[str, float], list[float] | None]:
        """Signals, with `count` generated samples (0: none), and their histogram."""
        if self._trainer.device.rank:
            return {}, None
        signals = spectral_norms({name: state.parameters for name, state in self._trainer.player_states.items()})
        histogram = None
        count = min(count, len(self._train) // 2)
        if count >= 16:
            found, histogram = self._of_samples(count, before)
            signals.update(found)
            if self._held_out is not None:
                signals.update(self._validation())
        return signals, histogram

    def _of_samples(self, count: int, before: Sequence[float] | None) -> tuple[dict[str, float], list[float]]:
        model = self._model
        given = model.given_fields(getattr(model.architecture, "preview_options", {}))
        if count not in self._references:
            real = real_samples(self._train, 2 * count)
            rows = features_of(self._extract, real, given)
            half = {name: values[:count] for name, values in real.items()}
            self._references[count] = half, Reference(rows[:count], rows[count:])
        real, reference = self._references[count]
        with self._trainer.sampling(averaged=False):
            samples = generate(model, self._train, count, self._seed)
        signals, histogram = reference.signals(features_of(self._extract, samples, given), before)
        for guard in self._guards:
            try:
                signals.update(guard.measure(samples, real, model.modality))
            except GanError:
                raise
            except Exception as error:
                name = type(guard).__name__
                raise PluginError(name, f"the guard {name} failed: {type(error).__name__}: {error}") from error
        return signals, histogram

    def _validation(self) -> dict[str, float]:
        """``validation_gap``: (E D(train) - E D(held out)) / (E D(train) - E D(G)) (Karras et al. 2020, section 3)."""
        assert self._held_out is not None
        train, held = (self._scores(rows) for rows in (self._train, self._held_out))
        if train is None or held is None or train[0] - train[1] <= 0:
            return {}
        return {"validation_gap": (train[0] - held[0]) / (train[0] - train[1])}

    def _scores(self, rows: Pack) -> tuple[float, float] | None:
        """The critic's mean scores of real samples and of generated ones, by the objective that trains it.

        The objective changes buffers, which get their values back, and draws from a seed of its own.
        """
        trainer = self._trainer
        real = real_samples(rows, VALIDATED)
        device = trainer.device.device
        fields = {name: torch.from_numpy(np.ascontiguousarray(v)).to(device) for name, v in real.items()}
        buffers = [(buffer, buffer.clone()) for buffer in trainer.architecture.buffers()]
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), torch.no_grad():
            try:
                for turn in trainer.phase.turns:
                    rng = StepDraws(self._seed, VALIDATED, 0, VALIDATED, device)
                    batch = Batch(fields, rng, trainer.position, 0.0, {}, {}, trainer.augmentations)
                    if turn.every > 1:
                        continue
                    terms: Mapping[str, Tensor] = turn.objective(batch)
                    if "_real_score" in terms and "_fake_score" in terms:
                        return float(terms["_real_score"]), float(terms["_fake_score"])
            finally:
                for buffer, value in buffers:
                    buffer.copy_(value)
        return None
