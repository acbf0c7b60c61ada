"""Diversity metrics: how much samples differ from each other."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
from scipy.linalg import eigvalsh

from gan.contracts import Features, MetricValue
from gan.errors import BadData
from gan.metrics.neighbours import neighbour_distances

Array: TypeAlias = np.ndarray[Any, Any]


def mean_distance(rows: Array, *, pairs: int = 10_000, seed: int = 0) -> tuple[float, float]:
    """Return (mean, standard error) of the Euclidean distance between random pairs of different rows ``(n, d)``.

    Pairs share rows, so their mean is less certain than that of independent pairs: by the theory of U-statistics its
    variance is at most that of one pair times ``1 / pairs + 2 / n``. The error is this bound.
    """
    n = len(rows)
    if n < 2:
        raise BadData(f"{n} samples, at least 2 are needed for a distance between them")
    rng = np.random.default_rng(seed)
    first = rng.integers(n, size=pairs)
    second = (first + 1 + rng.integers(n - 1, size=pairs)) % n
    distances = np.empty(pairs)
    for start in range(0, pairs, 1024):
        part = slice(start, start + 1024)
        difference = rows[first[part]].astype(np.float64) - rows[second[part]]
        distances[part] = np.sqrt(np.einsum("ij,ij->i", difference, difference))
    return float(distances.mean()), float(distances.std() * math.sqrt(1 / pairs + 2 / n))


def vendi_score(rows: Array) -> float:
    """Return the effective number of different rows ``(n, d)``, between 1 and ``min(n, d)``.

    Friedman and Dieng 2023, "The Vendi Score", definition 3.1 with the cosine kernel: the exponential of the entropy of
    the eigenvalues of ``K / n``. They are those of ``XᵀX / n`` for normalised rows, whichever matrix is smaller.
    """
    x = rows.astype(np.float64)
    lengths = np.linalg.norm(x, axis=1, keepdims=True)
    x /= np.where(lengths > 0, lengths, 1.0)
    gram = (x.T @ x if x.shape[0] > x.shape[1] else x @ x.T) / len(x)
    eigenvalues = eigvalsh(gram)
    eigenvalues = eigenvalues[eigenvalues > 1e-12]
    eigenvalues /= eigenvalues.sum()
    return float(np.exp(-(eigenvalues * np.log(eigenvalues)).sum()))


class Diversity:
    """Distance between samples, effective number of samples, and share of samples without a duplicate.

    After mode collapse each is smaller than for real samples; for noise it can be larger. Both sets are cut to the size
    of the smaller one, since the last two values depend on it.
    """

    version = "1"

    def __init__(self, pairs: int = 10_000, seed: int = 0) -> None:
        self.settings = {"pairs": pairs, "seed": seed}

    def compute(self, generated: Features, real: Features) -> list[MetricValue]:
        """Return three values; the closer to those of the real samples, the better."""
        n = min(len(generated.vectors), len(real.vectors))
        first, second = generated.vectors[:n], real.vectors[:n]
        distance, error = mean_distance(first, **self.settings)
        own, _ = mean_distance(second, **self.settings)
        distinct, own_distinct = (float((neighbour_distances(x, 1) > 0).mean()) for x in (first, second))
        return [
            MetricValue("pair distance", distance, own, error=error),
            MetricValue("Vendi score", vendi_score(first), vendi_score(second)),
            MetricValue("distinct", distinct, own_distinct),
        ]
