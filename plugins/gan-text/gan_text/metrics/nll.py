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
    """Nats per token of the generated sequences under the oracle (Yu et al. 2017, section 4); lower is better."""

    version = "1"

    def compute(self, generated: Samples, real: Samples, modality: Modality) -> Sequence[MetricValue]:
        """The oracle is next to the training data; raises `BadData` if it is missing or has changed."""
        oracle = oracle_of(modality)
        found, own = (
            nll_oracle(oracle, torch.from_numpy(s["tokens"].astype(np.int64))).numpy() for s in (generated, real)
        )
        return [MetricValue("nll-oracle", float(found.mean()), float(own.mean()), standard_error(found), "lower")]


class NLLTest:
    """Nats per token of the real texts under the model; lower is better. Held-out texts are used if the run has some
    (``data.holdout``), otherwise training texts.

    The value is high where the model misses modes: a model that repeats one good sentence has a high value.
    """

    version = "1"

    def compute(
        self, architecture: Architecture, generated: Samples, real: Samples, modality: Modality
    ) -> Sequence[MetricValue]:
        """Total nats over the number of tokens, including end tokens."""
        samples = {name: torch.from_numpy(values) for name, values in real.items()}
        value, error = _model_nll(architecture, samples)
        return [MetricValue("nll-test", value, None, error, "lower")]


class NLLGen:
    """Nats per token of fresh oracle sequences under the model (Yu et al. 2017; Zhu et al. 2018: coverage).

    It is reported with the oracle's nats for the same sequences, the lower bound.
    """

    version = "1"
    settings: Mapping[str, Any] = {"seed": 1, "sequences": "as many as real samples"}

    def compute(
        self, architecture: Architecture, generated: Samples, real: Samples, modality: Modality
    ) -> Sequence[MetricValue]:
        """Raises `BadData` if the data do not come from an oracle."""
        oracle = oracle_of(modality)
        count, length = real["tokens"].shape
        fresh = torch.from_numpy(oracle_samples(oracle, count, length, self.settings["seed"]))
        value, error = _model_nll(architecture, {"tokens": fresh, "length": torch.full((count,), length)})
        return [MetricValue("nll-gen", value, float(nll_oracle(oracle, fresh).mean()), error, "lower")]


def _model_nll(architecture: Any, samples: Mapping[str, Tensor], block: int = 64) -> tuple[float, float]:
    """Nats per token over all samples, and its standard error (that of a ratio of sums over texts)."""
    if not isinstance(architecture, Likelihood):
        raise UsageError(f"{type(architecture).__name__} has no likelihood: it has no `nll`")
    module: nn.Module = architecture  # type: ignore[assignment]
    device = next(module.parameters()).device
    count = len(samples["length"])
    parts = [
        architecture.nll({name: values[start : start + block].to(device) for name, values in samples.items()})
        for start in range(0, count, block)
    ]
    nats, tokens = (torch.cat(column).double().cpu().numpy() for column in zip(*parts))
    value = nats.sum() / tokens.sum()
    error = np.sqrt(np.square(nats - value * tokens).sum() / max(count - 1, 1) / count) / tokens.mean()
    return float(value), float(error)
