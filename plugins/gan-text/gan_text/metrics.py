"""Metrics of text: BLEU, Self-BLEU, distinct-n, the oracle's likelihood and the model's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from gan.contracts import Architecture, Likelihood, MetricValue, Modality
from gan.errors import UsageError

from gan_text.bleu import ORDERS, Corpus, bleu, distinct, self_bleu

if TYPE_CHECKING:
    from gan.contracts import Samples
    from torch import Tensor, nn


def _corpus(samples: Samples) -> Corpus:
    return Corpus.padded(samples["tokens"], samples["length"])


def _error(values: np.ndarray[Any, Any]) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")


class Bleu:
    """BLEU-2 … 5 of each generated text against all real ones, averaged.

    Papineni et al. 2002; smoothing 1 of Chen and Cherry 2014. High BLEU alone proves nothing: a copied text scores 1.
    `details` hold what the real texts score against each other.
    """

    version = "1"

    def compute(self, generated: Samples, real: Samples, modality: Modality) -> Sequence[MetricValue]:
        """Values between 0 and 1."""
        references = _corpus(real)
        found = bleu(_corpus(generated), references)
        own = self_bleu(references) if len(references) > 1 else {}
        return [
            MetricValue(
                f"bleu-{n}",
                float(found[n].mean()),
                None,
                _error(found[n]),
                "higher",
                {"real against real": float(own[n].mean())} if own else {},
            )
            for n in ORDERS
        ]


class SelfBleu:
    """BLEU-2 … 5 of each text against the others of its own set (Zhu et al. 2018): high means little variety."""

    version = "1"

    def compute(self, generated: Samples, real: Samples, modality: Modality) -> Sequence[MetricValue]:
        """Values between 0 and 1; the real texts' beside them, of as many texts."""
        found = self_bleu(_corpus(generated))
        count = len(generated["length"])
        same = {name: values[:count] for name, values in real.items()}
        own = self_bleu(_corpus(same)) if len(same["length"]) > 1 else {}
        return [
            MetricValue(
                f"self-bleu-{n}",
                float(found[n].mean()),
                float(own[n].mean()) if own else None,
                _error(found[n]),
                "real",
            )
            for n in ORDERS
        ]


class Distinct:
    """Different n-grams over all n-grams, n = 1 … 3 (Li et al. 2016), of equally many texts of both sets."""

    version = "1"

    def compute(self, generated: Samples, real: Samples, modality: Modality) -> Sequence[MetricValue]:
        """Values between 0 and 1."""
        count = min(len(generated["length"]), len(real["length"]))
        sets = [{name: values[:count] for name, values in samples.items()} for samples in (generated, real)]
        found, own = (distinct(_corpus(samples)) for samples in sets)
        return [MetricValue(f"distinct-{n}", found[n], own[n], None, "real") for n in found]


class NLLOracle:
    """What the oracle thinks of generated sequences, nats a token (Yu et al. 2017, section 4); lower is better."""

    version = "1"

    def compute(self, generated: Samples, real: Samples, modality: Modality) -> Sequence[MetricValue]:
        """The oracle lies beside the training's data; `BadData` where it is gone or another one."""
        import torch

        from gan_text.oracle import nll_oracle, oracle_of

        oracle = oracle_of(modality)
        found, own = (
            nll_oracle(oracle, torch.from_numpy(s["tokens"].astype(np.int64))).numpy() for s in (generated, real)
        )
        return [MetricValue("nll-oracle", float(found.mean()), float(own.mean()), _error(found), "lower")]


class NLLTest:
    """Nats a token that the model gives the real texts; lower is better. Held-out ones where the run has some
    (``data.holdout``), else texts that it was trained on.

    High where the model misses what real texts say: a model that writes one good sentence has a high one.
    """

    version = "1"

    def compute(
        self, architecture: Architecture, generated: Samples, real: Samples, modality: Modality
    ) -> Sequence[MetricValue]:
        """Nats of all tokens, ends included, over their number."""
        import torch

        samples = {name: torch.from_numpy(values) for name, values in real.items()}
        value, error = _model_nll(architecture, samples)
        return [MetricValue("nll-test", value, None, error, "lower")]


class NLLGen:
    """Nats a token that the model gives fresh sequences of the oracle (Yu et al. 2017; Zhu et al. 2018: coverage).

    The oracle's own nats for the same sequences stand beside it: nobody can do better.
    """

    version = "1"
    settings: Mapping[str, Any] = {"seed": 1, "sequences": "as many as real samples"}

    def compute(
        self, architecture: Architecture, generated: Samples, real: Samples, modality: Modality
    ) -> Sequence[MetricValue]:
        """`BadData` where the data come from no oracle."""
        import torch

        from gan_text.oracle import nll_oracle, oracle_of, oracle_samples

        oracle = oracle_of(modality)
        count, length = real["tokens"].shape
        fresh = torch.from_numpy(oracle_samples(oracle, count, length, self.settings["seed"]))
        value, error = _model_nll(architecture, {"tokens": fresh, "length": torch.full((count,), length)})
        return [MetricValue("nll-gen", value, float(nll_oracle(oracle, fresh).mean()), error, "lower")]


def _model_nll(architecture: Any, samples: Mapping[str, Tensor], block: int = 64) -> tuple[float, float]:
    """Nats a token over all samples, and its standard error (of a ratio of sums over texts)."""
    import torch

    if not isinstance(architecture, Likelihood):
        raise UsageError(f"{type(architecture).__name__} cannot say how likely a text is: it has no `nll`")
    module: nn.Module = architecture  # type: ignore[assignment]
    place = next(module.parameters()).device
    count = len(samples["length"])
    parts = [
        architecture.nll({name: values[start : start + block].to(place) for name, values in samples.items()})
        for start in range(0, count, block)
    ]
    nats, tokens = (torch.cat(column).double().cpu().numpy() for column in zip(*parts))
    value = nats.sum() / tokens.sum()
    error = np.sqrt(np.square(nats - value * tokens).sum() / max(count - 1, 1) / count) / tokens.mean()
    return float(value), float(error)
