"""Metrics of text that are likelihoods: NLL under the oracle, and NLL under the model (nll-test, nll-gen)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gan.contracts import Architecture, Likelihood, MetricValue, Modality
from gan.errors import UsageError
from torch import Tensor, nn

from gan_text.metrics.ngrams import standard_error
from gan_text.oracle import nll_oracle, oracle_of, oracle_samples

if TYPE_CHECKING:
    from gan.contracts import Samples


class NLLOracle:
    """What the oracle thinks of generated sequences, nats a token (Yu et al. 2017, section 4); lower is better."""

    version = "1"

    def compute(self, generated: Samples, real: Samples, modality: Modality) -> Sequence[MetricValue]:
        """The oracle lies beside the training's data; `BadData` where it is gone or another one."""
        oracle = oracle_of(modality)
        found, own = (
            nll_oracle(oracle, torch.from_numpy(s["tokens"].astype(np.int64))).numpy() for s in (generated, real)
        )
        return [MetricValue("nll-oracle", float(found.mean()), float(own.mean()), standard_error(found), "lower")]


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
        oracle = oracle_of(modality)
        count, length = real["tokens"].shape
        fresh = torch.from_numpy(oracle_samples(oracle, count, length, self.settings["seed"]))
        value, error = _model_nll(architecture, {"tokens": fresh, "length": torch.full((count,), length)})
        return [MetricValue("nll-gen", value, float(nll_oracle(oracle, fresh).mean()), error, "lower")]


def _model_nll(architecture: Any, samples: Mapping[str, Tensor], block: int = 64) -> tuple[float, float]:
    """Nats a token over all samples, and its standard error (of a ratio of sums over texts)."""
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
