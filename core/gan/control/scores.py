"""Scores of samples by which directions are found and latents optimized: attributes, classes, labelled examples.

A score has a name: an attribute of the kind of data (``density``, ``brightness``; hook ``gan_attributes``), or a class
of an extractor that is a classifier (``lenet5:7``, by the number of the class), whose score is its log-odds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from gan.contracts import SmoothLatentSpace
from gan.control.features import differentiable, extractor_of, perceptual, plugins_of, smooth_batches
from gan.control.model import LatentModel, Latents
from gan.errors import BadData, UnknownName, UsageError
from gan.metrics.extractors import NamedExtractor, Raw

if TYPE_CHECKING:
    from gan.contracts import Samples

Array: TypeAlias = np.ndarray[Any, Any]
EXAMPLES = 1000
"""Most examples of a label that are read."""


def attributes_of(model: LatentModel) -> dict[str, Any]:
    """The attributes of the model's kind of data: name -> entry."""
    entries = plugins_of(model).entries("gan_attributes")
    return {found.entry.name: found for found in entries if found.entry.modality in (None, model.kind)}


class Score:
    """One named score of samples."""

    def __init__(self, model: LatentModel, name: str) -> None:
        self.name = name
        self._model = model
        self._extractor: NamedExtractor | None = None
        self._attribute: Callable[[Samples, Any], Array] | None = None
        known = attributes_of(model)
        extractor, colon, number = name.rpartition(":")
        if name in known:
            self._attribute = plugins_of(model).load(known[name])
        elif colon and number.isdecimal():
            self._extractor, self._class = extractor_of(model, extractor), int(number)
        else:
            raise UnknownName(
                f"score of {model.kind} (or EXTRACTOR:CLASS of a classifier, such as lenet5:7)", name, sorted(known)
            )

    def of(self, samples: Samples) -> Array:
        """``(N,)``. Raises `UsageError` where the extractor is no classifier with this class."""
        if self._attribute is not None:
            values = np.asarray(self._attribute(samples, self._model.modality), np.float64)
            if values.shape != (len(next(iter(samples.values()))),):
                raise BadData(f"the attribute '{self.name}' returned {values.shape}, not one number for each sample")
            return np.nan_to_num(values, nan=float(np.nanmean(values)) if np.isfinite(values).any() else 0.0)
        assert self._extractor is not None
        found = self._extractor.extract(samples, self._model.modality).probabilities
        self._check(None if found is None else found.shape[1])
        assert found is not None
        probability = np.clip(found[:, self._class].astype(np.float64), 1e-7, 1 - 1e-7)
        return np.log(probability) - np.log1p(-probability)

    def smooth(self, samples: Mapping[str, Tensor]) -> Tensor | None:
        """``(N,)`` of samples before rounding, with gradients; None where none pass."""
        found = differentiable(self._extractor)
        if found is None:
            return None
        _, logits = found.features(samples)
        self._check(None if logits is None else logits.shape[1])
        assert logits is not None
        others = torch.cat([logits[:, : self._class], logits[:, self._class + 1 :]], 1)
        return logits[:, self._class] - others.logsumexp(1)

    def _check(self, classes: int | None) -> None:
        name = self.name.rpartition(":")[0]
        if classes is None:
            raise UsageError(f"{self.name}: the extractor '{name}' is no classifier")
        if self._class >= classes:
            raise UsageError(f"{self.name}: '{name}' has the classes 0 to {classes - 1}")


def named_scores(
    model: LatentModel, names: Sequence[str], latents: Latents, options: Mapping[str, Any] | None
) -> dict[str, Array]:
    """The scores of the samples of latents, by name; ``all`` stands for all attributes of the kind of data."""
    names = [each for name in names for each in (sorted(attributes_of(model)) if name == "all" else [name])]
    if not names or not all(names):
        known = sorted(attributes_of(model))
        more = f": {', '.join(known)}" if known else f"; {model.kind} data have no attributes"
        raise UsageError(f"name a score{more}, or EXTRACTOR:CLASS of a classifier")
    scores = [Score(model, name) for name in names]
    samples = model.decode(latents, options=options)
    return {score.name: score.of(samples) for score in scores}


def label_scores(
    model: LatentModel, folder: Path, latents: Latents, extractor: str, options: Mapping[str, Any] | None
) -> dict[str, Array]:
    """Scores by labelled examples, one for each subfolder of `folder`: how much a sample is like its files.

    A linear classifier (least squares with a ridge) on features of the examples, by `extractor` or as
    `gan.control.paths.distance_of` says, is applied to the samples. Of two labels only the second gives a score. Raises
    `BadData` for a folder without two labels of examples.
    """
    from gan.contracts import Given
    from gan.data.foreign import read_given
    from gan.generation.model import stacked
    from gan.source import list_source

    fields = [name for name, spec in model.modality.fields.items() if not spec.condition]
    by_label: dict[str, list[Any]] = {}
    for file in list_source(folder, model.modality.suffixes).files:
        if file.folder and len(by_label.setdefault(file.folder, [])) < EXAMPLES:
            by_label[file.folder] += read_given(model.modality, file, Given(tuple(fields)))
    if len(by_label) < 2:
        raise BadData("needs two subfolders of examples or more, one for each label", str(folder))
    reader = extractor_of(model, extractor) if extractor else perceptual(model) or NamedExtractor("raw", Raw())
    labels = sorted(by_label)
    examples = stacked([row for label in labels for row in by_label[label][:EXAMPLES]], fields)
    owners = np.concatenate([np.full(len(by_label[label][:EXAMPLES]), index) for index, label in enumerate(labels)])
    conditions = {n: np.zeros(len(owners), s.dtype) for n, s in model.modality.fields.items() if s.condition}
    known = reader.extract({**examples, **conditions}, model.modality).vectors.astype(np.float64)
    made = reader.extract(model.decode(latents, options=options), model.modality).vectors.astype(np.float64)
    scores = _linear_classifier(known, owners, len(labels), made)
    wanted = labels[1:] if len(labels) == 2 else labels
    return {label: scores[:, labels.index(label)] for label in wanted}


def _linear_classifier(known: Array, owners: Array, classes: int, made: Array) -> Array:
    """``(N, classes)``: one-against-all ridge regression of labels on features, in its dual form where that is smaller.

    Classes weigh the same, however many examples they have.
    """
    mean, deviation = known.mean(0), known.std(0) + 1e-6 * known.std() + 1e-12
    x, y = (known - mean) / deviation, (made - mean) / deviation
    weight = np.sqrt(len(owners) / classes / np.bincount(owners, minlength=classes))[owners][:, None]
    target = (np.where(owners[:, None] == np.arange(classes), 1.0, -1.0)) * weight
    x = np.concatenate([x, np.ones((len(x), 1))], 1) * weight
    y = np.concatenate([y, np.ones((len(y), 1))], 1)
    kernel = x @ x.T
    ridge = 1e-2 * np.trace(kernel) / len(kernel)
    return np.asarray(y @ (x.T @ np.linalg.solve(kernel + ridge * np.eye(len(kernel)), target)))


def smooth_scores(model: LatentModel, score: Score, latents: Latents, options: Mapping[str, Any] | None) -> Array:
    """``(N,)``: the score of latents' samples, before rounding where gradients pass it."""
    if isinstance(model.architecture, SmoothLatentSpace):
        values = []
        for _, made in smooth_batches(model, latents, options):
            found = score.smooth(made)
            if found is None:
                break
            values.append(found.double().cpu().numpy())
        else:
            return np.concatenate(values)
    return score.of(model.decode(latents, options=options))
