"""Protocols of evaluation metrics and feature extractors, and the values that they return."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

from gan.contracts.architecture import Architecture
from gan.contracts.modality import Modality, Samples


@dataclass(frozen=True)
class MetricValue:
    """One number that a metric returns."""

    name: str
    """The name shown in tables (``"FID"``)."""
    value: float
    """The value for the generated samples; NaN if it could not be computed."""
    real: float | None = None
    """The same statistic of the real samples, if it is a statistic of one set."""
    error: float | None = None
    """Standard error or half-width of the interval, in the unit of `value`."""
    direction: Literal["lower", "higher", "real"] = "real"
    """Which values are better: lower ones, higher ones, or those close to `real`."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """Additional JSON values for the receipt; ``"warning"`` and ``"error"`` are printed."""


class Metric(Protocol):
    """Numbers computed from generated and real samples.

    It may have an attribute `settings`, a mapping of everything that its value depends on (neighbours, subsets, a
    seed), which is recorded in the receipt.
    """

    version: str
    """Must change when the same samples would give a different value."""

    def compute(self, generated: Samples, real: Samples, modality: Modality) -> Sequence[MetricValue]:
        """Return the values in table order. Both sets hold the modality's fields, ``(N, *shape)`` each."""


@dataclass(frozen=True)
class Features:
    """The features of N samples."""

    vectors: np.ndarray[Any, Any]
    """``(N, d)`` float32."""
    probabilities: np.ndarray[Any, Any] | None = None
    """``(N, classes)``, rows that sum to 1; None if the extractor is not a classifier."""


class Extractor(Protocol):
    """Maps samples to feature vectors, deterministically.

    If one entry serves many networks (any model in a folder), the extractor has an attribute `label`, a string that
    names the values instead of the entry's name. An attribute `value_names` maps names of values to others that they
    have on this extractor (``{"FID": "FD"}``).
    """

    version: str
    """Must change when the same samples would give different features."""
    sha256: str
    """The sha256 of the file of weights; ``""`` if there is none."""
    preprocessing: str
    """Description of the preprocessing: size, filter, range, normalisation."""

    def __call__(self, samples: Samples, modality: Modality) -> Features:
        """Return the features of `samples`, ``(N, *shape)`` by field. A row does not depend on the other rows."""


@runtime_checkable
class DifferentiableExtractor(Protocol):
    """An extractor that gradients pass: a distance or a score by which latents are optimized."""

    def features(self, samples: Mapping[str, Tensor]) -> tuple[Tensor, Tensor | None]:
        """Return vectors ``(N, d)`` and, of a classifier, logits ``(N, classes)``.

        `samples` are as `gan.contracts.SmoothLatentSpace.decode_smooth` returns them, on any device. For integer
        samples the vectors are those of the call, up to rounding.
        """


class FeatureMetric(Protocol):
    """Numbers computed from features, so that they are available for every kind of data with an extractor.

    `MetricEntry.on_features` is set. It may have `settings`, as a `Metric`.
    """

    version: str
    """Must change when the same features would give a different value."""

    def compute(self, generated: Features, real: Features) -> Sequence[MetricValue]:
        """Return the values in table order. The core appends the extractor to the names: ``FID`` -> ``FID[lenet5]``."""


class ModelMetric(Protocol):
    """Numbers computed from the trained networks, such as likelihoods or the smoothness of a latent space.

    `MetricEntry.on_model` is set. The core calls it with the weights that samples are made with, in evaluation mode and
    without gradients; the receipt records the sha256 of these weights. It is not available for files without a run.
    """

    version: str
    """Must change when the same weights would give a different value."""

    def compute(
        self, architecture: Architecture, generated: Samples, real: Samples, modality: Modality
    ) -> Sequence[MetricValue]:
        """Return the values in table order. `generated` holds samples of the architecture, `real` real ones.

        Random numbers come from a seed in `settings`. Raises `UsageError` if the architecture does not support the
        metric (it implements no `Likelihood` or no `LatentSpace`).
        """


class ModelFeatureMetric(Protocol):
    """A `ModelMetric` that maps the samples which it makes to features, as path length does.

    `MetricEntry.on_model` and `MetricEntry.on_features` are set.
    """

    version: str
    """Must change when the same weights would give a different value."""

    def compute(
        self,
        architecture: Architecture,
        extractor: Callable[[Samples, Modality], Features],
        generated: Samples,
        real: Samples,
        modality: Modality,
    ) -> Sequence[MetricValue]:
        """Like `ModelMetric.compute`. The core appends the extractor to the names of the values."""


def value_from_json(item: Mapping[str, Any]) -> MetricValue:
    """Return the value of a JSON record. JSON has no NaN, so null stands for it."""
    return MetricValue(**{**item, "value": math.nan if item["value"] is None else item["value"]})
