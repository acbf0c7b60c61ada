"""Sets of samples and receipts about them: what the end of a training and `gan evaluate` share.

What is real is chosen by a fixed permutation of the data, whoever asks and whatever the run's seed, so that equal
counts of the same data are the same samples. What is generated follows from (weights, seed, count).
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from gan.contracts import Metric, Modality, Samples
from gan.draws import derive
from gan.errors import BadData
from gan.evaluation.metric_names import measure_each
from gan.evaluation.receipts import Receipt, metric_identity, samples_sha256
from gan.generation.model import Model
from gan.reporting.manifest import versions
from gan.reporting.reporter import Reporter
from gan.reporting.scrub import scrub
from gan.source import Companion, SourceFile, list_source
from gan.storage.run_folder import PREVIEW


def read_samples(source: Path, modality: Modality, count: int | None, reporter: Reporter) -> SampleSet:
    """The samples of a folder, file or archive, in the order of their names; at most `count`.

    A ``preview.png`` that `gan generate` left beside the artefacts is not one of them. Raises `BadData` when nothing
    can be read.
    """
    listing = list_source(source, modality.suffixes)
    rows: list[dict[str, np.ndarray[Any, Any]]] = []
    skipped = dict(listing.skipped)
    files = [file for file in listing.files if file.name.rpartition("/")[2] != PREVIEW]
    for done, file in enumerate(files, 1):
        try:
            rows.extend(_checked(modality, file))
        except Companion:  # the other half of a sample that is there already
            pass
        except BadData as error:
            skipped[file.name] = error.reason
        reporter.packing(done, len(files))
        if count is not None and len(rows) >= count:
            break
    if not rows:
        first = "; ".join(f"{name}: {reason}" for name, reason in list(skipped.items())[:3])
        raise BadData(f"none of {len(files)} files can be used{f' ({first})' if first else ''}", source)
    for name, reason in list(skipped.items())[:3]:
        reporter.warn(f"{name} is left out: {reason}")
    if len(skipped) > 3:
        reporter.warn(f"and {len(skipped) - 3} more")
    rows = rows[:count]
    samples = {name: np.stack([row[name] for row in rows]) for name in modality.fields}
    return SampleSet(samples, {"files": str(source), "skipped": len(skipped)})


def _checked(modality: Modality, file: SourceFile) -> list[dict[str, np.ndarray[Any, Any]]]:
    found = []
    for sample in modality.read(file):
        for name, spec in modality.fields.items():
            value = np.asarray(sample.get(name))
            if value.shape != spec.shape or value.dtype != np.dtype(spec.dtype):
                raise BadData(f"its field '{name}' is {value.shape} {value.dtype}, not {spec.shape} {spec.dtype}")
        found.append(sample)
    return found


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
