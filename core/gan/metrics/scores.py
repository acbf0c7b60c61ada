"""The Inception Score and its relatives: metrics on the class probabilities of a classifier.

Salimans et al. 2016, "Improved Techniques for Training GANs", section 4: ``exp(E KL(p(y|x) ‖ p(y)))``.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
from scipy.special import xlogy

from gan.contracts import Features, MetricValue
from gan.errors import BadData

Array: TypeAlias = np.ndarray[Any, Any]


def inception_score(probabilities: Array, *, splits: int = 10, seed: int | None = 0) -> tuple[float, float]:
    """Return (mean, standard deviation) over `splits` of the score of class probabilities ``(n, classes)``.

    The score is between 1 (equal probabilities for all samples) and the number of classes. Rows are shuffled with
    `seed` first, since datasets are often sorted by class; None keeps their order.
    """
    n = len(probabilities)
    if n < splits:
        raise BadData(f"{n} samples cannot be split into {splits} parts")
    rows = probabilities.astype(np.float64)
    if seed is not None:
        rows = rows[np.random.default_rng(seed).permutation(n)]
    scores = []
    for i in range(splits):
        part = rows[i * n // splits : (i + 1) * n // splits]
        marginal = part.mean(axis=0)
        divergence = xlogy(part, part).sum(axis=1) - xlogy(part, marginal).sum(axis=1)
        scores.append(math.exp(divergence.mean()))
    return float(np.mean(scores)), float(np.std(scores))


class InceptionScore:
    """Inception Score (IS) of any classifier: high if each sample has a clear class and all classes occur.

    It does not measure diversity within a class.
    """

    version = "1"
    label = "IS"

    def __init__(self, splits: int = 10, seed: int = 0) -> None:
        self.settings = {"splits": splits, "seed": seed}

    def compute(self, generated: Features, real: Features) -> list[MetricValue]:
        """Return one value and that of the real samples; the error is the deviation over splits, as in papers."""
        if generated.probabilities is None or real.probabilities is None:
            raise BadData("the Inception Score needs class probabilities, and this extractor returns none")
        value, deviation = inception_score(generated.probabilities, **self.settings)
        own, _ = inception_score(real.probabilities, **self.settings)
        return [MetricValue(self.label, value, own, error=deviation, direction="higher")]
