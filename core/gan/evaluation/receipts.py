"""Receipts: how the values of a metric were computed, so that they can be reproduced and only like is compared.

Each receipt belongs to one metric. `Receipt.unlike` lists the differences that forbid a comparison: the version or
settings of the metric, the extractor, preprocessing or precision, the counts (most distances are biased in them), and
the real samples. The origin of the generated samples may differ, since that is what a comparison is about. Library
versions and devices may differ too and are reported by `Receipt.remarks`.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gan.contracts import Metric, MetricValue, Samples, value_from_json
from gan.errors import CheckpointError, UsageError
from gan.storage.durable import dump_json, make_dirs, write_json
from gan.storage.regular import Broken, read_json, read_regular
from gan.storage.run_folder import RunFolder

RECEIPTS = "receipts.json"
"""Name of the file of receipts in the folder of a run's evaluations."""

FORMAT = 1


@dataclass(frozen=True)
class Receipt:
    """The values of one metric and how they were computed. All members are plain JSON values."""

    metric: str
    """The metric as the user typed it: ``"fid[lenet5]"``."""
    metric_version: str
    settings: Mapping[str, Any]
    """Settings of the metric: neighbours, subsets, a seed."""
    extractor: Mapping[str, str] | None
    """Name, version, sha256 of the weights, and preprocessing; None for a metric on samples."""
    generated: Mapping[str, Any]
    """Count, sha256 of the samples, and their origin: run, seed and sha256 of the weights, or a folder."""
    real: Mapping[str, Any]
    """Count, sha256 of the samples, source, fingerprint, and the number of samples that they were chosen from."""
    modality: Mapping[str, Any]
    """Name and settings of the modality, which determine how files become samples."""
    libraries: Mapping[str, str]
    device: str
    precision: str
    command: str
    question: Mapping[str, Any] = field(default_factory=dict)
    """The `gan.evaluation.evaluate.EvaluationRequest` that computes it again."""
    values: Sequence[MetricValue] = field(default_factory=list)

    def unlike(self, other: Receipt) -> list[str]:
        """Differences that forbid comparing the two, as sentences."""
        differences = []
        for what, mine, theirs in (
            ("metric", self.metric_name, other.metric_name),
            ("metric version", self.metric_version, other.metric_version),
            *_entries("metric setting", self.settings, other.settings),
            *_entries("extractor", self.extractor or {}, other.extractor or {}),
            ("generated samples", self.generated["count"], other.generated["count"]),
            ("real samples", self.real["count"], other.real["count"]),
            ("real data", self.real["sha256"], other.real["sha256"]),
            ("kind of data", self.modality["name"], other.modality["name"]),
            *_entries("modality setting", self.modality["settings"], other.modality["settings"]),
            ("precision", self.precision, other.precision),
        ):
            if mine != theirs:
                differences.append(f"{what}: {_shown(mine)} and {_shown(theirs)}")
        return differences

    def remarks(self, other: Receipt) -> list[str]:
        """Differences that do not forbid a comparison."""
        pairs = [("device", self.device, other.device), *_entries("library", self.libraries, other.libraries)]
        return [f"{what}: {_shown(mine)} and {_shown(theirs)}" for what, mine, theirs in pairs if mine != theirs]

    @property
    def metric_name(self) -> str:
        """The metric without the path of weights, which the extractor's sha256 identifies."""
        return self.metric.partition("=")[0].rstrip("]") + ("]" if self.extractor else "")

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        record = {"format": FORMAT, **asdict(self)}
        return {**record, "seal": _seal(record)}

    @classmethod
    def from_json(cls, record: Mapping[str, Any], where: str) -> Receipt:
        """The inverse of `to_json`. Raises `UsageError` for anything else."""
        try:
            known = dict(record)
            if "seal" in known and known.pop("seal") != _seal(known):
                raise ValueError("it is not what was written (its seal differs)")
            if known.pop("format") != FORMAT:
                raise ValueError(f"its format is {record['format']}, this version reads {FORMAT}")
            values = [value_from_json(item) for item in known.pop("values")]
            receipt = cls(**known, values=values)
            for part in (receipt.generated, receipt.real):
                if not isinstance(part["count"], int) or not isinstance(part["sha256"], str):
                    raise TypeError("a count or a sha256 is missing")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(
                f"{where}: damaged: not a receipt of `gan evaluate`: {error}. Remove it and evaluate again"
            ) from None
        return receipt


def _seal(record: Mapping[str, Any]) -> str:
    """The SHA-256 of a receipt's values as they are written."""
    return hashlib.sha256(dump_json(record, sort_keys=True).encode("utf-8")).hexdigest()


def write_receipts(receipts: Iterable[Receipt], path: Path) -> None:
    """Write receipts as a JSON list."""
    make_dirs(path.parent)
    write_json(path, [receipt.to_json() for receipt in receipts])


def read_receipts(path: Path) -> list[Receipt]:
    """Read the receipts of a file. Raises `UsageError` with the file and the reason."""
    if not path.exists():
        raise UsageError(f"{path}: no such file; `gan evaluate RUN` writes receipts")
    try:
        records = read_json(read_regular(path, None), path.name)
        if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
            raise Broken("it is not a list of receipts")
    except Broken as error:
        raise CheckpointError(f"{path}: damaged: {error}. Remove it and evaluate again") from error
    return [Receipt.from_json(record, str(path)) for record in records]


def keep(receipts: Sequence[Receipt], file: Path) -> None:
    """Add receipts to a file; they replace older ones of the same metric for the same samples."""
    old = read_receipts(file) if file.is_file() else []

    def key(receipt: Receipt) -> str:
        settings = dict(receipt.modality["settings"])
        parts = [receipt.metric, receipt.generated["sha256"], receipt.real["sha256"], settings]
        return json.dumps(parts, sort_keys=True)

    new = {key(receipt) for receipt in receipts}
    write_receipts([*(receipt for receipt in old if key(receipt) not in new), *receipts], file)


def receipts_file(target: str) -> Path | None:
    """The file that keeps the receipts of a run folder; None for anything else."""
    run = Path(target).expanduser()
    return RunFolder(run).evaluation / RECEIPTS if (run / "recipe.yaml").is_file() else None


def values_of(receipts: Iterable[Receipt]) -> list[MetricValue]:
    """The values of several receipts, in order."""
    return [value for receipt in receipts for value in receipt.values]


def samples_sha256(samples: Samples) -> str:
    """Hash of the names, types, shapes and bytes of all fields: equal if and only if all samples are."""
    digest = hashlib.sha256()
    for name, values in sorted(samples.items()):
        digest.update(f"{name}\0{values.dtype.str}\0{values.shape}\0".encode())
        for start in range(0, len(values), 1024):
            digest.update(np.ascontiguousarray(values[start : start + 1024]).data)
    return digest.hexdigest()


def metric_identity(metric: Metric) -> dict[str, Any]:
    """Version, settings and extractor of a metric, as fields of a receipt."""
    extractor = getattr(metric, "extractor", None)
    return {
        "metric_version": metric.version,
        "settings": dict(getattr(metric, "settings", {})),
        "extractor": None if extractor is None else extractor.identity(),
    }


def agreement(old: Receipt, new: Receipt, tolerance: float = 1e-6) -> list[str]:
    """What differs between two computations of the same values; an empty list means agreement.

    Values agree within `tolerance` relative to the larger of the value and its standard error.
    """
    differences = old.unlike(new)
    for what in ("sha256", "weights"):
        mine, theirs = old.generated.get(what), new.generated.get(what)
        if mine != theirs:
            differences.append(
                f"generated {'samples' if what == 'sha256' else what}: {_shown(mine)} and {_shown(theirs)}"
            )
    found = {value.name: value for value in new.values}
    for value in old.values:
        again = found.get(value.name)
        if again is None:
            differences.append(f"{value.name} was {value.value:.6g} and is missing now")
            continue
        scale = max(abs(value.value), abs(value.error or 0.0), 1e-9)
        same = abs(again.value - value.value) <= tolerance * scale
        if not same and not (math.isnan(value.value) and math.isnan(again.value)):
            differences.append(f"{value.name} was {value.value:.8g} and is {again.value:.8g} now")
    return differences


def _entries(what: str, mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for key in sorted({*mine, *theirs}):
        yield f"{what} {key}", mine.get(key), theirs.get(key)


def _shown(value: object) -> str:
    text = "none" if value in (None, "") else str(value)
    if len(text) == 64 and all(letter in "0123456789abcdef" for letter in text):
        return f"sha256 {text[:12]}…"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else text
