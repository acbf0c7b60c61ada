"""Protocols of metrics and feature extractors, and the values that they give."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np


import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gan.contracts.modality import Samples

from gan.contracts.architecture import Architecture
from gan.contracts.modality import Modality, Samples


@dataclass(frozen=True)
class MetricValue:
    """One number of a metric."""

    name: str
    value: float
    real: float | None = None
    """The same statistic of the real samples, where it is a statistic of one set."""
    error: float | None = None
    """Standard error or half-width, in the value's unit."""
    direction: Literal["lower", "higher", "real"] = "real"
    """What is better: lower, higher, or close to `real`."""
    details: Mapping[str, Any] = field(default_factory=dict)


class Metric(Protocol):
    """A number computed from generated and real samples. It may have `settings`, as a `FeatureMetric`."""

    version: str
    """Changes when the same samples would give another value."""

    def compute(self, generated: Samples, real: Samples, modality: Modality) -> Sequence[MetricValue]:
        """Values in the order of the table. Both sets hold the modality's fields with a leading axis."""


@dataclass(frozen=True)
class Features:
    """What an extractor says of N samples."""

    vectors: np.ndarray[Any, Any]
    """``(N, d)`` float32."""
    probabilities: np.ndarray[Any, Any] | None = None
    """``(N, classes)``, rows that sum to 1, where the extractor is a classifier."""


class Extractor(Protocol):
    """Turns samples into feature vectors, always the same for the same samples.

    One entry that serves many networks (any model in a folder) has a `label`, which names the scores instead of the
    entry's name.
    """

    version: str
    """Changes when the same samples would give other features."""
    sha256: str
    """Of the file of weights, or ``""`` where there is none."""
    preprocessing: str
    """What is done to the samples first, in words: size, filter, range, normalisation."""

    def __call__(self, samples: Samples, modality: Modality) -> Features:
        """Features of samples with a leading axis, row by row: a row does not depend on the others."""


class FeatureMetric(Protocol):
    """A number computed from features, so that it serves every kind of data. `MetricEntry.on_features` is set.

    Beside the two members below it may have `settings`, a mapping of what its value depends on (neighbours, subsets,
    a seed), which goes into the receipt.
    """

    version: str

    def compute(self, generated: Features, real: Features) -> Sequence[MetricValue]:
        """Values in the order of the table, named without the extractor, which is added: ``FID`` -> ``FID[lenet5]``."""


class ModelMetric(Protocol):
    """A number computed from the trained networks: likelihoods, smoothness of a latent space. `MetricEntry.on_model` is
    set.

    The core calls it with the weights that samples are made with, in evaluation mode, without gradients. Its receipt
    names these weights by their sha256. Files without a run have no such metric.
    """

    version: str

    def compute(
        self, architecture: Architecture, generated: Samples, real: Samples, modality: Modality
    ) -> Sequence[MetricValue]:
        """Values in the order of the table; `generated` is what the architecture has made, `real` the real samples.

        Raises `UsageError` where the architecture cannot be asked (it keeps no `Likelihood`, no `LatentSpace`). What
        it draws comes from a seed in its `settings`.
        """


class ModelFeatureMetric(Protocol):
    """A `ModelMetric` that looks at what it makes through an extractor, as `FeatureMetric` does. `MetricEntry.on_model`
    and `MetricEntry.on_features` are set."""

    version: str

    def compute(
        self,
        architecture: Architecture,
        extractor: Callable[[Samples, Modality], Features],
        generated: Samples,
        real: Samples,
        modality: Modality,
    ) -> Sequence[MetricValue]:
        """As `ModelMetric.compute`; the values are named without the extractor, which is added."""


def value_from_json(item: Mapping[str, Any]) -> MetricValue:
    """JSON has no NaN: a value that is null was not a number."""
    return MetricValue(**{**item, "value": math.nan if item["value"] is None else item["value"]})
