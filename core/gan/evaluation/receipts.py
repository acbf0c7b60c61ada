"""Receipts: everything that made a number, so that it can be computed again and unlike numbers are not compared.

A receipt belongs to one metric's values. `Receipt.unlike` names what forbids a comparison: another version or setting
of the metric, another extractor, preprocessing or precision, other counts (most distances are biased in them), other
real samples. What made the generated samples may differ, since that is what a comparison is about. Library versions
and devices may differ too and are told.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gan.contracts import Metric, MetricValue, Samples
from gan.errors import UsageError

if TYPE_CHECKING:
    from gan.contracts import Samples

from gan.contracts import value_from_json

RECEIPTS = "receipts.json"
"""Name of the file of receipts in a folder of evaluations."""

FORMAT = 1


@dataclass(frozen=True)
class Receipt:
    """How the values of one metric came about. All members are plain JSON values."""

    metric: str
    """As it was typed: ``"fid[lenet5]"``."""
    metric_version: str
    settings: Mapping[str, Any]
    """Of the metric: neighbours, subsets, a seed."""
    extractor: Mapping[str, str] | None
    """Name, version, sha256 of the weights, preprocessing; None for a metric on samples."""
    generated: Mapping[str, Any]
    """Count, sha256 of the samples, and where they come from: run, seed, sha256 of the weights; or a folder."""
    real: Mapping[str, Any]
    """Count, sha256 of the samples, source, fingerprint, and which of its samples were taken."""
    modality: Mapping[str, Any]
    """The kind of data and its settings, which decide how files become samples."""
    libraries: Mapping[str, str]
    device: str
    precision: str
    command: str
    question: Mapping[str, Any] = field(default_factory=dict)
    """A `gan.evaluation.evaluate.EvaluationRequest`: what to ask to compute it again."""
    values: Sequence[MetricValue] = field(default_factory=list)

    def unlike(self, other: Receipt) -> list[str]:
        """What forbids comparing the two, a sentence each; empty when nothing does."""
        said = []
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
                said.append(f"{what}: {_shown(mine)} and {_shown(theirs)}")
        return said

    def remarks(self, other: Receipt) -> list[str]:
        """What differs without forbidding a comparison."""
        pairs = [("device", self.device, other.device), *_entries("library", self.libraries, other.libraries)]
        return [f"{what}: {_shown(mine)} and {_shown(theirs)}" for what, mine, theirs in pairs if mine != theirs]

    @property
    def metric_name(self) -> str:
        """The metric without a path of weights: the extractor's sha256 says which they are."""
        return self.metric.partition("=")[0].rstrip("]") + ("]" if self.extractor else "")

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_json(cls, record: Mapping[str, Any], where: str) -> Receipt:
        """The inverse of `to_json`. Raises `UsageError` for anything else."""
        try:
            known = dict(record)
            if known.pop("format") != FORMAT:
                raise ValueError(f"its format is {record['format']}, this version reads {FORMAT}")
            values = [value_from_json(item) for item in known.pop("values")]
            receipt = cls(**known, values=values)
            for part in (receipt.generated, receipt.real):
                if not isinstance(part["count"], int) or not isinstance(part["sha256"], str):
                    raise TypeError("a count or a sha256 is missing")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UsageError(f"{where}: no receipt of `gan evaluate`: {error}") from None
        return receipt


def write_receipts(receipts: Iterable[Receipt], path: Path) -> None:
    """A JSON list."""
    from gan.storage.durable import make_dirs, write_json

    make_dirs(path.parent)
    write_json(path, [receipt.to_json() for receipt in receipts])


def read_receipts(path: Path) -> list[Receipt]:
    """The receipts of a file. Raises `UsageError` with the place and the reason."""
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}; `gan evaluate RUN` writes receipts") from None
    except ValueError as error:
        raise UsageError(f"{path}: no JSON: {error}") from None
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise UsageError(f"{path}: no list of receipts")
    return [Receipt.from_json(record, str(path)) for record in records]


def samples_sha256(samples: Samples) -> str:
    """Of all fields by name, their types, shapes and bytes: equal where and only where all samples are."""

    digest = hashlib.sha256()
    for name, values in sorted(samples.items()):
        digest.update(f"{name}\0{values.dtype.str}\0{values.shape}\0".encode())
        for start in range(0, len(values), 1024):
            digest.update(np.ascontiguousarray(values[start : start + 1024]).data)
    return digest.hexdigest()


def metric_identity(metric: Metric) -> dict[str, Any]:
    """Version, settings and extractor of a metric, as a receipt keeps them."""
    extractor = getattr(metric, "extractor", None)
    return {
        "metric_version": metric.version,
        "settings": dict(getattr(metric, "settings", {})),
        "extractor": None if extractor is None else extractor.identity(),
    }


def agreement(old: Receipt, new: Receipt, tolerance: float = 1e-6) -> list[str]:
    """What a second computation found to be otherwise; empty when it agrees.

    Values agree within `tolerance` of their size, or within that of a real counterpart or error near 0.
    """
    said = [*old.unlike(new)]
    for what in ("sha256", "weights"):
        mine, theirs = old.generated.get(what), new.generated.get(what)
        if mine != theirs:
            said.append(f"generated {'samples' if what == 'sha256' else what}: {_shown(mine)} and {_shown(theirs)}")
    found = {value.name: value for value in new.values}
    for value in old.values:
        again = found.get(value.name)
        if again is None:
            said.append(f"{value.name} was {value.value:.6g} and is missing now")
            continue
        scale = max(abs(value.value), abs(value.error or 0.0), 1e-9)
        same = abs(again.value - value.value) <= tolerance * scale
        if not same and not (math.isnan(value.value) and math.isnan(again.value)):
            said.append(f"{value.name} was {value.value:.8g} and is {again.value:.8g} now")
    return said


def _entries(what: str, mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for key in sorted({*mine, *theirs}):
        yield f"{what} {key}", mine.get(key), theirs.get(key)


def _shown(value: object) -> str:
    text = "none" if value in (None, "") else str(value)
    if len(text) == 64 and all(letter in "0123456789abcdef" for letter in text):
        return f"sha256 {text[:12]}…"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else text
