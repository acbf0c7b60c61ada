"""Sets of real and generated samples, and their metrics; shared by validation during training and `gan evaluate`.

Real samples are chosen by a fixed permutation of the data that does not depend on the run's seed, so that equal counts
of the same data are the same samples. Generated samples are a function of (weights, seed, count).
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from gan.contracts import Metric, Modality, Sample, Samples
from gan.data.bounded import read_files
from gan.data.windows import pieces
from gan.draws import derive
from gan.errors import BadData
from gan.evaluation.feature_cache import FeatureCache
from gan.evaluation.metric_names import extractors_in, measure_each
from gan.evaluation.receipts import Receipt, metric_identity, samples_sha256
from gan.generation.model import Model
from gan.reporting.manifest import versions
from gan.reporting.reporter import Reporter
from gan.reporting.scrub import scrub
from gan.source import list_source
from gan.storage.run_folder import PREVIEW

NAMED_FILES = 3
"""How many unusable files an error or the warnings name."""


def read_samples(source: Path, modality: Modality, count: int | None, reporter: Reporter) -> SampleSet:
    """Read at most `count` samples of a folder, file or archive, in the order of their names.

    The ``preview.png`` that `gan generate` writes beside the samples is ignored. Raises `BadData` when nothing can be
    read.
    """
    listing = list_source(source, modality.suffixes)
    rows: list[dict[str, np.ndarray[Any, Any]]] = []
    skipped = dict(listing.skipped)
    files = [file for file in listing.files if not is_preview(file.name)]
    for done, (file, found, reason) in enumerate(read_files(modality, files), 1):
        found = list(pieces(modality.fields, found))
        reason = reason or _mismatch(modality, found)
        if reason:
            skipped[file.name] = reason
        else:
            rows.extend(found)
        reporter.packing(done, len(files))
        if count is not None and len(rows) >= count:
            break
    reasons = [f"{name}: {reason}" for name, reason in list(skipped.items())[:NAMED_FILES]]
    if not rows:
        first = f" ({'; '.join(reasons)})" if reasons else ""
        raise BadData(f"none of {len(files)} files can be used{first}", source)
    for reason in reasons:
        reporter.warn(f"skipped {reason}")
    if len(skipped) > NAMED_FILES:
        reporter.warn(f"skipped {len(skipped) - NAMED_FILES} more files")
    rows = rows[:count]
    samples = {name: np.stack([row[name] for row in rows]) for name in modality.fields}
    return SampleSet(samples, {"files": str(source), "skipped": len(skipped)})


def is_preview(name: str) -> bool:
    """Whether a file is the picture that `gan generate` writes beside the samples."""
    return name.rpartition("/")[2] == PREVIEW


def _mismatch(modality: Modality, samples: Sequence[Sample]) -> str:
    """Why the samples of a file do not fit the fields of the modality; empty if they do."""
    for sample in samples:
        for name, spec in modality.fields.items():
            value = np.asarray(sample.get(name))
            if value.shape != spec.shape or value.dtype != np.dtype(spec.dtype):
                return f"its field '{name}' is {value.shape} {value.dtype}, not {spec.shape} {spec.dtype}"
    return ""


@dataclass(frozen=True)
class SampleSet:
    """Samples, and where they come from as a receipt records it."""

    samples: Samples
    origin: Mapping[str, Any]

    @cached_property
    def sha256(self) -> str:
        """Hash of the samples."""
        return samples_sha256(self.samples)

    @property
    def record(self) -> dict[str, Any]:
        """Count, hash and origin."""
        return {"count": size(self.samples), "sha256": self.sha256, **self.origin}


@dataclass(frozen=True)
class Kind:
    """A modality with its name and settings."""

    name: str
    modality: Modality
    settings: Mapping[str, Any]


class Rows(Protocol):
    """A dataset of samples by index: a `gan.data.pack.Pack`, or `SamplesInMemory`."""

    def __len__(self) -> int: ...

    def take(self, indices: np.ndarray[Any, Any]) -> Samples:
        """The samples at `indices`."""


@dataclass(frozen=True)
class SamplesInMemory:
    """Samples in memory as `Rows`."""

    samples: Samples

    def __len__(self) -> int:
        return size(self.samples)

    def take(self, indices: np.ndarray[Any, Any]) -> Samples:
        """The samples at `indices`."""
        return {name: values[indices] for name, values in self.samples.items()}


def size(samples: Samples) -> int:
    """The number of samples."""
    return len(next(iter(samples.values())))


def real_samples(rows: Rows, count: int) -> Samples:
    """The first `count` samples of a fixed permutation of `rows`, repeated where there are fewer."""
    order = np.random.Generator(np.random.Philox(derive(0, "evaluation"))).permutation(len(rows))
    return rows.take(np.resize(order, count))


def real_set(
    rows: Rows, count: int, real_count: int | None, origin: Mapping[str, Any], *, paired: bool = False
) -> SampleSet:
    """The real samples for `count` generated ones: `real_count` of them (None: as many; 0: all), at most all.

    With `paired`, there is one real sample for each generated one, repeated where there are fewer.
    """
    wanted = count if paired else min(len(rows) if real_count == 0 else real_count or count, len(rows))
    return SampleSet(real_samples(rows, wanted), {**origin, "of": len(rows)})


def weights_sha256(architecture: torch.nn.Module) -> str:
    """Hash of all parameters and buffers at their present values (averaged weights where these are applied)."""
    digest = hashlib.sha256()
    for name, tensor in architecture.state_dict().items():
        array = tensor.detach().cpu().contiguous()
        digest.update(f"{name}\0{array.dtype}\0{tuple(array.shape)}\0".encode())
        digest.update(array.flatten().view(torch.uint8).numpy().data if array.numel() else b"")
    return digest.hexdigest()


def generate(model: Model, rows: Rows, count: int, seed: int, options: Mapping[str, Any] | None = None) -> Samples:
    """Generate `count` samples for previews and metrics, with the architecture's `preview_options`.

    An architecture that works on an input is given that of the first real samples.
    """
    chosen = {**getattr(model.architecture, "preview_options", {}), **(options or {})}
    needed = model.given_fields(chosen)
    real = real_samples(rows, count) if needed else {}
    given = {name: real[name] for name in needed} if needed else None
    return model.generate(count, seed, options=chosen, given=given)


def generated_set(
    model: Model,
    rows: Rows,
    count: int,
    seed: int,
    run: str,
    options: Mapping[str, Any] | None = None,
    trained: int | None = None,
) -> SampleSet:
    """Generate `count` samples and record the weights, seed and options that they come from.

    `trained` is the number of real samples that the weights were trained on; None: as when the model was loaded.
    """
    options = dict(options or {})
    return SampleSet(
        generate(model, rows, count, seed, options),
        {
            "run": run,
            "architecture": model.name,
            "checkpoint": model.trained if trained is None else trained,
            "weights": weights_sha256(model.architecture),
            "seed": seed,
            "options": options,
        },
    )


def receipts_of(
    metrics: Mapping[str, Metric],
    generated: SampleSet,
    real: SampleSet,
    kind: Kind,
    *,
    distributions: Mapping[str, str],
    device: str,
    request: Mapping[str, Any],
) -> list[Receipt]:
    """Compute the metrics and return a receipt for each. The features of the real samples are kept in the cache."""
    about = {"name": kind.name, "settings": dict(kind.settings), "version": getattr(kind.modality, "version", "1")}
    kept = FeatureCache(real.sha256, about, device)
    for extractor in extractors_in(metrics):
        extractor.keep(real.samples, kept)
    measured = measure_each(metrics, generated.samples, real.samples, kind.modality)
    shared: dict[str, Any] = {
        "generated": generated.record,
        "real": real.record,
        "modality": {"name": kind.name, "settings": dict(kind.settings)},
        "libraries": versions(distributions),
        "device": device,
        "precision": "fp32",
        "command": " ".join(scrub(["gan", *sys.argv[1:]])),
    }
    return [
        Receipt(
            metric=name,
            values=values,
            question={**request, "metrics": [name]},
            **metric_identity(metrics[name]),
            **shared,
        )
        for name, values in measured.items()
    ]
