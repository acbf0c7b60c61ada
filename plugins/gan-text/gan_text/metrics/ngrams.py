"""Metrics of text that count n-grams: BLEU, Self-BLEU and distinct-n."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from gan.contracts import MetricValue, Modality
from numpy.typing import NDArray

from gan_text.metrics.bleu import ORDERS, Corpus, bleu, distinct, self_bleu

if TYPE_CHECKING:
    from gan.contracts import Samples


def _corpus(samples: Samples) -> Corpus:
    return Corpus.padded(samples["tokens"], samples["length"])


def standard_error(values: NDArray[Any]) -> float:
    """The standard error of a mean; NaN for a single value."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")


class Bleu:
    """Mean BLEU-2 … 5 of the generated texts against all real ones.

    Papineni et al. 2002; smoothing 1 of Chen and Cherry 2014. High BLEU alone proves nothing: a copied text scores 1.
    `details` holds the score of the real texts against each other.
    """

    version = "1"

    def compute(self, generated: Samples, real: Samples, modality: Modality) -> Sequence[MetricValue]:
        """One value in 0 … 1 for each n."""
        references = _corpus(real)
        found = bleu(_corpus(generated), references)
        own = self_bleu(references) if len(references) > 1 else {}
        return [
            MetricValue(
                f"bleu-{n}",
                float(found[n].mean()),
                None,
                standard_error(found[n]),
                "higher",
                {"real against real": float(own[n].mean())} if own else {},
            )
            for n in ORDERS
        ]


class SelfBleu:
    """BLEU-2 … 5 of each text against the others of its set (Zhu et al. 2018); high values mean little variety."""

    version = "1"

    def compute(self, generated: Samples, real: Samples, modality: Modality) -> Sequence[MetricValue]:
        """One value in 0 … 1 for each n, and that of equally many real texts."""
        found = self_bleu(_corpus(generated))
        count = len(generated["length"])
        same = {name: values[:count] for name, values in real.items()}
        own = self_bleu(_corpus(same)) if len(same["length"]) > 1 else {}
        return [
            MetricValue(
                f"self-bleu-{n}",
                float(found[n].mean()),
                float(own[n].mean()) if own else None,
                standard_error(found[n]),
                "real",
            )
            for n in ORDERS
        ]


class Distinct:
    """The share of different n-grams, n = 1 … 3 (Li et al. 2016), of equally many texts of both sets."""

    version = "1"

    def compute(self, generated: Samples, real: Samples, modality: Modality) -> Sequence[MetricValue]:
        """One value in 0 … 1 for each n."""
        count = min(len(generated["length"]), len(real["length"]))
        sets = [{name: values[:count] for name, values in samples.items()} for samples in (generated, real)]
        found, own = (distinct(_corpus(samples)) for samples in sets)
        return [MetricValue(f"distinct-{n}", found[n], own[n], None, "real") for n in found]
