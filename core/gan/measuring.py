"""Sets of samples and receipts about them: what the end of a training and `gan evaluate` share.

What is real is chosen by a fixed permutation of the data, whoever asks and whatever the run's seed, so that equal
counts of the same data are the same samples. What is generated follows from (weights, seed, count).
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from gan.contracts import Metric, Modality, Samples
from gan.draws import derive
from gan.evaluation import measure_each
from gan.model import Model
from gan.provenance import scrub, versions
from gan.receipts import Receipt, metric_identity, samples_sha256


@dataclass(frozen=True)
class SampleSet:
    """Samples and where they come from, as a receipt says it."""

    samples: Samples
    origin: Mapping[str, Any]

    @property
    def record(self) -> dict[str, Any]:
        """Count, hash and origin."""
        return {"count": size(self.samples), "sha256": samples_sha256(self.samples), **self.origin}


@dataclass(frozen=True)
class Kind:
    """One kind of data as it is set up."""

    name: str
    modality: Modality
    settings: Mapping[str, Any]


class Rows(Protocol):
    """Packed samples."""

    def __len__(self) -> int: ...

    def take(self, indices: np.ndarray[Any, Any]) -> Samples:
        """The samples at `indices`."""


def size(samples: Samples) -> int:
    """How many samples."""
    return len(next(iter(samples.values())))


def real_samples(rows: Rows, count: int) -> Samples:
    """The first `count` of a fixed permutation of `rows`, repeated where there are fewer."""
    order = np.random.Generator(np.random.Philox(derive(0, "evaluation"))).permutation(len(rows))
    return rows.take(np.resize(order, count))


def weights_sha256(architecture: torch.nn.Module) -> str:
    """Of all parameters and buffers as they are now (with averaged weights where these are applied)."""
    digest = hashlib.sha256()
    for name, tensor in architecture.state_dict().items():
        array = tensor.detach().cpu().contiguous()
        digest.update(f"{name}\0{array.dtype}\0{tuple(array.shape)}\0".encode())
        digest.update(array.flatten().view(torch.uint8).numpy().data if array.numel() else b"")
    return digest.hexdigest()


def generate(model: Model, rows: Rows, count: int, seed: int, options: Mapping[str, Any] | None = None) -> Samples:
    """`count` samples of `seed`, as previews and metrics want them (`preview_options` of the architecture); where it
    works on an input, that of the first real samples."""
    chosen = {**getattr(model.architecture, "preview_options", {}), **(options or {})}
    needed = model.given_fields(chosen)
    real = real_samples(rows, count) if needed else {}
    given = {name: real[name] for name in needed} if needed else None
    return model.generate(count, seed, options=chosen, given=given)


def receipts_of(
    metrics: Mapping[str, Metric],
    generated: SampleSet,
    real: SampleSet,
    kind: Kind,
    *,
    distributions: Mapping[str, str],
    device: str,
    question: Mapping[str, Any],
) -> list[Receipt]:
    """Measure, and say of every metric how its values came about."""
    measured = measure_each(metrics, generated.samples, real.samples, kind.modality)
    shared: dict[str, Any] = {
        "generated": generated.record,
        "real": real.record,
        "modality": {"name": kind.name, "settings": dict(kind.settings)},
        "libraries": versions(distributions),
        "device": device,
        "precision": "fp32",
        "command": " ".join(scrub(["gan", *sys.argv[1:]])),
        "question": dict(question),
    }
    receipts = []
    for name, values in measured.items():
        asked = {**shared["question"], "metrics": [name]}
        identity = metric_identity(metrics[name])
        receipts.append(Receipt(metric=name, values=values, **identity, **{**shared, "question": asked}))
    return receipts
