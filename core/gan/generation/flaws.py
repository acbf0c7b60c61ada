"""What is wrong with samples of any kind: they are empty, or nearly equal. The verdict and commands warn of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from gan.contracts import FieldSpec, Modality, Samples

Array: TypeAlias = np.ndarray[Any, Any]

ALIKE = 0.05
"""Mean distance of generated pairs over that of real ones, below which samples are nearly equal."""
PAIRED = 64
"""Samples of a set, at most, whose distances are measured."""
CLASS_PAIRS = 6
"""Pairs of one class, at least, in both sets, for distances within the classes."""


def percent(share: float) -> str:
    """``"2 %"``, ``"0.3 %"``, ``"100 %"``."""
    return f"{100 * share:.1g} %" if share < 0.01 else f"{100 * share:.0f} %"


def generated_fields(modality: Modality, samples: Samples, given: Sequence[str] = ()) -> dict[str, FieldSpec]:
    """The fields of `samples` that were generated: no conditions, and none of those that were `given`."""
    fields = modality.fields
    return {n: spec for n, spec in fields.items() if not spec.condition and n not in given and n in samples}


def count_empty(modality: Modality, samples: Samples, fields: Mapping[str, FieldSpec]) -> int:
    """How many samples hold nothing (`gan.contracts.Modality.is_empty`) in the generated `fields`."""
    count = len(samples[next(iter(fields))]) if fields else 0
    return sum(modality.is_empty({name: samples[name][row] for name in fields}) for row in range(count))


def variety(generated: Samples, real: Samples, fields: Mapping[str, FieldSpec]) -> float | None:
    """Mean distance of pairs of generated samples over that of real ones, of their raw values; None for fewer than two.

    `fields` are those that were generated; one whose samples have another shape than real ones (longer texts) is left
    out. Where both sets have classes (an integer field without axes beside them), only pairs of one class count:
    samples that differ by their class alone are nearly equal.
    """
    from gan.metrics.neighbours import squared_distances  # scipy, which `gan generate` does without

    same = [name for name in fields if name in real and generated[name].shape[1:] == real[name].shape[1:]]
    if not same:
        return None
    classes = [
        name
        for name, values in generated.items()
        if name not in fields and name in real and values.ndim == 1 and np.issubdtype(values.dtype, np.integer)
    ]
    sets = [{name: values[:PAIRED] for name, values in samples.items()} for samples in (generated, real)]
    pairs = [_pairs(samples, classes, len(samples[same[0]])) for samples in sets]
    if min(int(allowed.sum()) for allowed in pairs) < 2 * CLASS_PAIRS:
        pairs = [_pairs(samples, [], len(samples[same[0]])) for samples in sets]
    distances = []
    for samples, allowed in zip(sets, pairs, strict=True):
        if not allowed.any():
            return None
        rows = [_scaled(samples[name], fields[name]) for name in same]
        joined = np.concatenate(rows, axis=1)
        blocks = [np.sqrt(part) for _, part in squared_distances(joined, joined)]
        distances.append(float(np.concatenate(blocks)[allowed].mean()))
    return distances[0] / distances[1] if distances[1] > 0 else None


def _pairs(samples: Samples, classes: list[str], count: int) -> Array:
    """``(count, count)``: whether two samples are a pair, which are those of one class."""
    allowed = ~np.eye(count, dtype=np.bool_)
    for name in classes:
        allowed &= samples[name][:, None] == samples[name]
    return allowed


def _scaled(values: Array, spec: FieldSpec) -> Array:
    rows = values.reshape(len(values), -1).astype(np.float32)
    return (rows - spec.low) / max(spec.high - spec.low, 1e-12)


def sentence(written: int, empty: int, variety: float | None) -> str:
    """What is wrong with samples, as the beginning of a sentence: most of them are empty, or they are nearly equal.
    An empty text where nothing is wrong."""
    if written and empty > written / 2:
        number = "all" if empty == written else f"{empty} of"
        return f"empty artefacts: {number} {written} samples hold nothing"
    if variety is not None and variety < ALIKE:
        return f"nearly equal artefacts: they differ by {percent(variety)} of what real samples differ"
    return ""
