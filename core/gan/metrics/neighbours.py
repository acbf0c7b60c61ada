"""Metrics of nearest neighbours in a feature space: precision and recall, density and coverage, memorisation.

Distances are Euclidean. `gan.metrics.blocks` computes them in blocks, so that memory does not grow with the square.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np

from gan.contracts import Features, MetricValue
from gan.errors import BadData
from gan.metrics.blocks import QUERIES, ROUNDING, nearest, within

Array: TypeAlias = np.ndarray[Any, Any]


def squared_distances(queries: Array, base: Array) -> Iterator[tuple[int, Array]]:
    """Yield (index of the first query, squared distances ``(rows, m)`` of the next queries to all of `base`)."""
    centre = base.mean(axis=0, dtype=np.float64)  # fewer digits cancel near the origin
    base_rows = base - centre
    base_norms = np.einsum("ij,ij->i", base_rows, base_rows)
    for start in range(0, len(queries), QUERIES):
        rows = queries[start : start + QUERIES] - centre
        scale = np.einsum("ij,ij->i", rows, rows)[:, None] + base_norms
        distances = scale - 2 * (rows @ base_rows.T)
        distances[distances < ROUNDING * scale] = 0.0
        yield start, distances


def neighbour_distances(rows: Array, k: int) -> Array:
    """Return the squared distances ``(n, k)`` of each row to its k nearest other rows, ascending."""
    if len(rows) <= k:
        raise BadData(f"{len(rows)} samples, more than {k} are needed for {k} neighbours")
    return nearest(rows, None, k)[0]


def nearest_rows(queries: Array, base: Array) -> Array:
    """Return the index ``(n,)`` of the row of `base` that is nearest to each query."""
    found: Array = nearest(queries, base, 1)[1][:, 0]
    return found


def precision_recall_density_coverage(
    generated: Array, real: Array, *, k_manifold: int = 3, k_density: int = 5
) -> dict[str, tuple[float, float]]:
    """Return (value, standard error given the other set) of four metrics on features ``(n, d)`` and ``(m, d)``.

    * precision: share of generated samples inside at least one real ball; recall: the same with the roles exchanged.
      Kynkäänniemi et al. 2019, "Improved Precision and Recall Metric", eq. 1 to 3. A ball of a sample reaches to its
      k-th nearest neighbour in its own set, border included.
    * density: real balls around a generated sample, over k; may exceed 1. coverage: share of real balls with at least
      one generated sample. Naeem et al. 2020, "Reliable Fidelity and Diversity Metrics", eq. 5 and 6.
    """
    real_radii = neighbour_distances(real, max(k_manifold, k_density))
    generated_radii = neighbour_distances(generated, k_manifold)[:, -1]
    counts = within(generated, real, query_radii=generated_radii, base_radii=real_radii[:, k_manifold - 1])
    wide = counts
    if k_density != k_manifold:
        wide = within(generated, real, query_radii=None, base_radii=real_radii[:, k_density - 1])
    per_sample = {
        "precision": counts["balls"] > 0,
        "recall": counts["reached"] > 0,
        "density": wide["balls"] / k_density,
        "coverage": wide["visitors"] > 0,
    }
    return {name: (float(v.mean()), float(v.std() / math.sqrt(len(v)))) for name, v in per_sample.items()}


class _Manifold:
    version = "1"
    names: tuple[str, str]

    def __init__(self, k: int) -> None:
        self.settings = {"k": k}

    def compute(self, generated: Features, real: Features) -> list[MetricValue]:
        """Return two values, higher is better; errors are those of a share, given the other set."""
        k = self.settings["k"]
        found = precision_recall_density_coverage(generated.vectors, real.vectors, k_manifold=k, k_density=k)
        return [MetricValue(name, found[name][0], error=found[name][1], direction="higher") for name in self.names]


class PrecisionRecall(_Manifold):
    """Improved precision and recall: generated samples that look real, and real samples that can be generated."""

    names = ("precision", "recall")

    def __init__(self, k: int = 3) -> None:
        super().__init__(k)


class DensityCoverage(_Manifold):
    """Density and coverage: like precision and recall, but less sensitive to outliers."""

    names = ("density", "coverage")

    def __init__(self, k: int = 5) -> None:
        super().__init__(k)


class Memorisation:
    """Memorisation of the training data: whether generated samples are copies of real ones.

    * copies: share of generated samples nearer to a real sample than that sample is to any other real one, or exact
      duplicates: 1 - authenticity of Alaa et al. 2022, "How Faithful is your Synthetic Data?", section 3. `real` is the
      share among one half of the real samples against the other half: how often neighbours are mutual (2/3 on a line,
      less in more dimensions). A value well above `real` indicates copies of the training data.
    * nearest distance: median distance to the nearest real sample; `real` is that of real samples to the other real
      ones. Its details hold the number of exact duplicates and a rank test of the two distributions of distances
      (Meehan et al. 2020, "A Non-Parametric Test to Detect Data-Copying"): z below -3 indicates copying.
    """

    version = "1"

    def compute(self, generated: Features, real: Features) -> list[MetricValue]:
        """Return two values; the closer to those of the real samples, the better."""
        from scipy.stats import mannwhitneyu  # slow to import: half of all that a command imports beside torch

        copies, nearest = _copies(generated.vectors, real.vectors)
        halves, _ = _copies(real.vectors[1::2], real.vectors[0::2])
        own = neighbour_distances(real.vectors, 1)[:, 0]
        n, m = len(nearest), len(own)
        u = float(mannwhitneyu(nearest, own, method="asymptotic").statistic)
        z = (u - n * m / 2) / math.sqrt(n * m * (n + m + 1) / 12)
        duplicates = int((nearest == 0).sum())
        share = float(copies.mean())
        return [
            MetricValue("copies", share, float(halves.mean()), error=math.sqrt(share * (1 - share) / n)),
            MetricValue(
                "nearest distance",
                float(np.median(np.sqrt(nearest))),
                float(np.median(np.sqrt(own))),
                details={"duplicates": duplicates, "z": z},
            ),
        ]


def _copies(generated: Array, real: Array) -> tuple[Array, Array]:
    """(whether each generated sample is a copy, its squared distance to the nearest real sample)."""
    own = neighbour_distances(real, 1)[:, 0]
    distances, index = (found[:, 0] for found in nearest(generated, real, 1))
    return (distances < own[index]) | (distances == 0), distances


class NearestNeighbourTest:
    """1-NNA: accuracy of a classifier that separates generated from real samples by the nearest other sample.

    Lopez-Paz and Oquab 2017, "Revisiting Classifier Two-Sample Tests"; Xu et al. 2018. One half when the sets cannot be
    separated; 1 when they can; 0 when every generated sample is a copy. The larger set is cut to the other's size.
    """

    version = "1"

    def compute(self, generated: Features, real: Features) -> list[MetricValue]:
        """Return one value; `real` is one half, the expected value of two sets of one distribution."""
        n = min(len(generated.vectors), len(real.vectors))
        if n < 2:
            raise BadData(f"{n} samples, at least 2 are needed for a nearest neighbour")
        rows = np.concatenate([generated.vectors[:n], real.vectors[:n]])
        label = np.arange(2 * n) < n
        correct = label[nearest(rows, None, 1)[1][:, 0]] == label
        accuracy = float(correct.mean())
        error = math.sqrt(accuracy * (1 - accuracy) / (2 * n))
        parts = {"on generated": float(correct[:n].mean()), "on real": float(correct[n:].mean())}
        return [MetricValue("1-NNA", accuracy, 0.5, error=error, details=parts)]
