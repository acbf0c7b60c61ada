"""Checks of losses, penalties, metrics and extractors: shapes, signs of gradients, determinism."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from gan.conformance.kit import Failed, Kit, Scene, Skipped
from gan.conformance.modalities import Subject, read_subject
from gan.conformance.small_game import play
from gan.contracts import Features, Measures, MetricValue, Window
from gan.draws import StepDraws
from gan.errors import BadData, UsageError
from gan.metrics.extractors import Raw
from gan.recipe import Schedule


def check_arithmetic(kit: Kit) -> None:
    """Check every loss, penalty, metric and extractor that the plugin offers."""
    for plugin_entry in kit.offered("gan_losses"):
        with kit.check("arithmetic", f"loss {plugin_entry.entry.name}"):
            _check_loss(kit.plugins.load(plugin_entry)())
    for plugin_entry in kit.offered("gan_penalties"):
        with kit.check("arithmetic", f"penalty {plugin_entry.entry.name}"):
            _check_penalty(kit.plugins.load(plugin_entry)())
    for plugin_entry in kit.offered("gan_augmentations"):
        with kit.check("arithmetic", f"augmentation {plugin_entry.entry.name}"):
            _check_augmentation(kit, plugin_entry)
    for plugin_entry in kit.offered("gan_guards"):
        with kit.check("on known input", f"guard {plugin_entry.entry.name}"):
            _check_guard(kit.plugins.load(plugin_entry)(), _subject(kit, plugin_entry.entry.modality))
    for plugin_entry in kit.offered("gan_metrics"):
        with kit.check("on known input", f"metric {plugin_entry.entry.name}"):
            try:
                metric = kit.plugins.load(plugin_entry)()
            except UsageError as error:
                raise Skipped(f"it cannot be used here: {error}") from error
            if plugin_entry.entry.on_model:
                _check_model_metric(kit, plugin_entry.entry, metric)
            elif plugin_entry.entry.on_features:
                _check_feature_metric(metric)
            else:
                _check_metric(metric, _scenes(kit, plugin_entry.entry.modality))
    for plugin_entry in kit.offered("gan_extractors"):
        with kit.check("on known input", f"extractor {plugin_entry.entry.name}"):
            if plugin_entry.entry.weights != "none":
                raise Skipped(f"it needs {plugin_entry.entry.weights}")
            _check_extractor(kit.plugins.load(plugin_entry)(None, "cpu"), _subject(kit, plugin_entry.entry.modality))
    for plugin_entry in kit.offered("gan_attributes"):
        with kit.check("on known input", f"attribute {plugin_entry.entry.name}"):
            _check_attribute(kit.plugins.load(plugin_entry), _subject(kit, plugin_entry.entry.modality))


def _check_attribute(attribute: Any, subject: Subject) -> None:
    """One finite number or NaN for each sample, which does not depend on the other samples."""
    samples = subject.stacked(8)
    values = np.asarray(attribute(samples, subject.modality))
    if values.shape != (8,) or np.isinf(values).any():
        raise Failed(f"it returned {values.shape}, not one number for each of 8 samples")
    alone = np.asarray(attribute({name: rows[3:4] for name, rows in samples.items()}, subject.modality))
    if not np.allclose(alone, values[3:4], rtol=1e-4, equal_nan=True):
        raise Failed("the number of a sample depends on the samples beside it")


def _scenes(kit: Kit, kind: str | None) -> list[Scene]:
    """The default dataset as real and generated samples, then what the architectures generated."""
    subject = _subject(kit, kind)
    samples = subject.stacked(32)
    made = [scene for scene in kit.scenes if kind in (None, scene.kind)]
    return [Scene(subject.name, subject.modality, samples, samples), *made]


def _subject(kit: Kit, modality: str | None) -> Subject:
    if modality is not None:
        found = read_subject(kit, kit.plugins.find("gan_modalities", modality, prefer=kit.plugin))
        if found is None:
            raise Failed(f"the modality '{modality}' could not be read")
        return found
    known: list[Subject] = [subject for subject in kit.modalities.values() if subject is not None]
    if not known:
        raise Skipped("the plugin has no modality to test it with")
    return known[0]


def _check_guard(guard: Any, subject: Subject) -> None:
    """Real samples raise no alarm, and neither do windows without signals."""
    signals: dict[str, float] = {}
    if isinstance(guard, Measures):
        samples = subject.stacked(64)
        signals = dict(guard.measure(samples, samples, subject.modality))
        if not all(isinstance(value, float) for value in signals.values()):
            raise Failed("`measure` returns values that are not floats")
    windows = [Window(100 * number, "p", signals) for number in range(1, 9)]
    for found in (list(guard.judge(windows)), list(guard.judge(windows[:1]))):
        if found:
            raise Failed(f"it raises {found[0].verdict} for real samples")


def _check_loss(loss: Any) -> None:
    if not isinstance(loss.needs_real, bool):
        raise Failed("`needs_real` is not a bool")
    generator = torch.Generator().manual_seed(0)
    for shape in ((5,), (5, 1), (5, 1, 3, 3)):
        real = torch.randn(shape, generator=generator).requires_grad_()
        fake = torch.randn(shape, generator=generator).requires_grad_()
        for player, value in (
            ("discriminator", loss.discriminator(real, fake)),
            ("generator", loss.generator(real, fake)),
        ):
            if tuple(value.shape) != (5,) or not bool(torch.isfinite(value).all()):
                raise Failed(f"`{player}` of scores {shape} gives {tuple(value.shape)}, not 5 finite values")
            slope = torch.autograd.grad(value.sum(), fake, allow_unused=True)[0]
            if slope is None:
                raise Failed(f"`{player}` does not depend on the scores of fakes")
            wrong = (slope.sum() if player == "generator" else -slope.sum()) > 1e-6
            if bool(wrong):
                better = "lower" if player == "generator" else "higher"
                raise Failed(f"raising the scores of fakes does not make the {player}'s loss {better}")


def _check_penalty(penalty: Any) -> None:
    if not (isinstance(penalty.weight, Schedule) or (isinstance(penalty.weight, (int, float)) and penalty.weight >= 0)):
        raise Failed(f"`weight` is {penalty.weight!r}")
    if not (isinstance(penalty.every, int) and penalty.every >= 1):
        raise Failed(f"`every` is {penalty.every!r}")
    torch.manual_seed(0)
    critic = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
    for shape in ((5, 12), (5, 3, 2, 2)):
        real, fake = torch.randn(shape), torch.randn(shape)
        for parameter in critic.parameters():
            parameter.grad = None
        value = penalty(critic, real, fake, StepDraws(0, 5, 0, 5, torch.device("cpu")))
        if tuple(value.shape) != (5,) or not bool(torch.isfinite(value).all()):
            raise Failed(f"of samples {shape} it gives {tuple(value.shape)}, not 5 finite values")
        if not value.requires_grad:
            raise Failed("its value has no gradient, so it penalises nothing")
        value.sum().backward()


def _check_augmentation(kit: Kit, plugin_entry: Any) -> None:
    """On real samples scaled to -1 … 1: shapes, identity at strength 0, rows of their own, gradients."""
    subject = _subject(kit, plugin_entry.entry.modality)
    names = [name for name in plugin_entry.entry.fields if name in subject.modality.fields]
    if not names:
        raise Failed(
            f"the modality '{plugin_entry.entry.modality}' has no field {' or '.join(plugin_entry.entry.fields)}"
        )
    spec = subject.modality.fields[names[0]]
    values = torch.from_numpy(subject.stacked(6)[names[0]].astype(np.float32))
    samples = (2 * (values - spec.low) / (spec.high - spec.low) - 1).requires_grad_()
    augmentation = kit.plugins.load(plugin_entry)()

    def apply(rows: torch.Tensor, start: int, strength: float) -> torch.Tensor:
        rng = StepDraws(0, 6, start, len(rows), torch.device("cpu"))
        changed: torch.Tensor = augmentation(rows, rng, torch.tensor(strength))
        return changed

    whole = apply(samples, 0, 1.0)
    if whole.shape != samples.shape or whole.dtype != samples.dtype:
        raise Failed(f"it changes {tuple(samples.shape)} {samples.dtype} to {tuple(whole.shape)} {whole.dtype}")
    if not bool(torch.isfinite(whole).all()):
        raise Failed("it makes values that are not finite")
    if not torch.allclose(apply(samples, 0, 0.0), samples, atol=1e-5):
        raise Failed("at strength 0 it changes samples")
    if not torch.allclose(apply(samples[2:4], 2, 1.0), whole[2:4], rtol=1e-4, atol=1e-5):
        raise Failed("a row depends on the other rows, or it draws from elsewhere than `rng`")
    (slope,) = torch.autograd.grad(whole.square().sum(), samples, create_graph=True, allow_unused=True)
    if slope is None or not bool(torch.isfinite(slope).all()):
        raise Failed("it has no finite gradient, so the generator would learn nothing through it")
    if slope.requires_grad:
        slope.square().sum().backward()  # raises where a second derivative is missing, which penalties need


def _check_values(values: Any) -> list[MetricValue]:
    found = list(values)
    if not found or not all(isinstance(value, MetricValue) for value in found):
        raise Failed("`compute` gives no MetricValues")
    names = [value.name for value in found]
    if len(set(names)) != len(names):
        raise Failed(f"it gives the name '{max(names, key=names.count)}' twice")
    if not all(math.isfinite(value.value) for value in found):
        raise Failed("for identical sets of samples it gives a value that is not finite")
    return found


def _check_version(thing: Any) -> None:
    if not isinstance(thing.version, str) or not thing.version:
        raise Failed("`version` is not a non-empty string")


def _check_metric(metric: Any, scenes: Sequence[Scene]) -> None:
    """Compute on the first of the scenes that the metric accepts."""
    _check_version(metric)
    refusals = []
    for scene in scenes:
        sets = [scene.generated, scene.real]
        kept = [{name: values.copy() for name, values in samples.items()} for samples in sets]
        try:
            values = _check_values(metric.compute(*sets, scene.modality))
        except (BadData, UsageError) as error:
            refusals.append(error)
            continue
        again = _check_values(metric.compute(*sets, scene.modality))
        if [value.value for value in values] != [value.value for value in again]:
            raise Failed("the same samples give another value")
        for samples, before in zip(sets, kept, strict=True):
            if any(not np.array_equal(samples[name], before[name]) for name in before):
                raise Failed("it changes the samples")
        return
    raise Skipped(f"no data of the plugin suit it: {refusals[0]}")


def _check_feature_metric(metric: Any) -> None:
    _check_version(metric)
    rng = np.random.Generator(np.random.Philox(0))
    vectors = rng.standard_normal((96, 8)).astype(np.float32)
    shares = rng.dirichlet(np.ones(4), 96).astype(np.float32)
    near, far = Features(vectors[:48], shares[:48]), Features(vectors[48:] + 5, shares[48:])
    real = Features(vectors[48:], shares[48:])
    values = _check_values(metric.compute(near, real))
    if [v.value for v in values] != [v.value for v in _check_values(metric.compute(near, real))]:
        raise Failed("the same features give another value")
    for value, worse in zip(values, _check_values(metric.compute(far, near)), strict=True):
        if value.direction == "lower" and not worse.value > value.value:
            raise Failed(f"'{value.name}' is better when lower, but is not higher for features that are far away")


def _check_model_metric(kit: Kit, entry: Any, metric: Any) -> None:
    _check_version(metric)
    through = [Raw()] if entry.on_features else []
    reasons = ["the plugin has no architecture for it"]
    for plugin_entry in kit.offered("gan_architectures"):
        if entry.modality not in (None, plugin_entry.entry.modality):
            continue
        try:
            played = play(kit, plugin_entry)
            architecture = played.game().architecture.eval()
            subjects = (architecture, *through, played.rows.samples, played.rows.samples, played.modality)
            with torch.no_grad():
                first, again = (_check_values(metric.compute(*subjects)) for _ in range(2))
        except (BadData, UsageError, Skipped) as error:
            reasons.append(f"{plugin_entry.entry.name}: {error}")
            continue
        if [value.value for value in first] != [value.value for value in again]:
            raise Failed(f"the same weights of {plugin_entry.entry.name} give another value")
        return
    raise Skipped(reasons[-1])


def _check_extractor(extractor: Any, subject: Subject) -> None:
    _check_version(extractor)
    if not isinstance(extractor.preprocessing, str) or not isinstance(extractor.sha256, str):
        raise Failed("`preprocessing` and `sha256` must be strings")
    samples = subject.stacked(6)
    found = extractor(samples, subject.modality)
    vectors = found.vectors
    if vectors.ndim != 2 or len(vectors) != 6 or vectors.dtype != np.float32 or not np.isfinite(vectors).all():
        raise Failed(f"`vectors` are {vectors.shape} {vectors.dtype}, not (6, d) float32 and finite")
    one = extractor({name: values[2:3] for name, values in samples.items()}, subject.modality).vectors
    if not np.allclose(one, vectors[2:3], rtol=1e-3, atol=1e-5):
        raise Failed("a row depends on the other rows")
