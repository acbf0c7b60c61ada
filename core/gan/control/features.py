"""Features of samples for control: extractors by name, perceptual where their weights are at hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from gan.contracts import DifferentiableExtractor, SmoothLatentSpace
from gan.control.model import LatentModel, Latents
from gan.errors import GanError, UnknownName, UsageError
from gan.evaluation.metric_names import extractors_of, load_extractor
from gan.metrics.extractors import NamedExtractor

if TYPE_CHECKING:
    from gan.plugins.manager import Plugins

Array: TypeAlias = np.ndarray[Any, Any]


def plugins_of(model: LatentModel) -> Plugins:
    """The plugins that the model was loaded with. Raises `UsageError` for one that was not loaded from a run."""
    if model.plugins is None:
        raise UsageError("the model was not loaded from a run folder, so extractors and scores have no names")
    return model.plugins


def extractor_of(model: LatentModel, text: str) -> NamedExtractor:
    """The extractor ``NAME`` or ``NAME=WEIGHTS``. Raises `UsageError` where there is none for this kind of data."""
    name, _, weights = text.partition("=")
    try:
        return load_extractor(name, weights, model.kind, plugins_of(model), str(model.device), model.plugin)
    except UnknownName:
        known = [found.entry.name for found in extractors_of(model.kind, plugins_of(model))]
        raise UnknownName(f"extractor for {model.kind}", name, known) from None


def perceptual(model: LatentModel) -> NamedExtractor | None:
    """The first of the modality's perceptual extractors whose weights are at hand; None if there is none."""
    if model.plugins is None:
        return None
    for name in model.modality.perceptual:
        try:
            return extractor_of(model, name)
        except GanError:  # its weights are not here
            continue
    return None


def differentiable(extractor: NamedExtractor | None) -> DifferentiableExtractor | None:
    """The extractor itself if gradients pass it, else None."""
    found = None if extractor is None else extractor.extractor
    return found if isinstance(found, DifferentiableExtractor) else None


def comparison(model: LatentModel, name: str = "") -> Callable[[Latents, Mapping[str, Any] | None], Array]:
    """``(latents, options) -> (N, d)``: vectors whose Euclidean distances are those of samples.

    By the extractor of this name; without a name see `gan.control.paths.distance_of`.
    """
    extractor = extractor_of(model, name) if name else perceptual(model)
    found = differentiable(extractor)

    def vectors(latents: Latents, options: Mapping[str, Any] | None = None) -> Array:
        if not isinstance(model.architecture, SmoothLatentSpace):
            samples = model.decode(latents, options=options)
            return extractor.extract(samples, model.modality).vectors if extractor else numbers(model, samples)
        if extractor is not None and found is None:
            return extractor.extract(model.decode(latents, options=options), model.modality).vectors
        rows = []
        for _, made in smooth_batches(model, latents, options):
            rows.append(numbers(model, made) if found is None else found.features(made)[0].double().cpu().numpy())
        return np.concatenate(rows)

    return vectors


def smooth_batches(model: LatentModel, latents: Latents, options: Mapping[str, Any] | None = None) -> Any:
    """Yield (slice, samples before rounding) of latents, `generation_batch` at a time, without gradients."""
    chosen = model._options(options or {})
    given = model._with_conditions(dict(latents.given), chosen, None, 0, 0, len(latents)) or {}
    most = getattr(model.architecture, "generation_batch", 16)
    for start in range(0, len(latents), most):
        size = min(most, len(latents) - start)
        with torch.no_grad():
            rows = model._rows(given, start, size) or None
            yield slice(start, start + size), model.smooth(latents.values[start : start + size], rows, chosen)


def numbers(model: LatentModel, samples: Mapping[str, Tensor] | Mapping[str, Array]) -> Array:
    """``(N, d)``: all numbers of samples, scaled from low … high to 0 … 1, over √d."""
    parts = []
    for name, spec in model.modality.fields.items():
        if name in samples and not spec.condition:
            values = samples[name]
            array = values.detach().cpu().numpy() if isinstance(values, Tensor) else values
            flat = array.reshape(len(array), -1).astype(np.float64)
            parts.append((flat - spec.low) / ((spec.high - spec.low) * flat.shape[1] ** 0.5))
    return np.concatenate(parts, 1)
