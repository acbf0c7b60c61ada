"""Conditions: fields that describe a sample and that a user may specify, with their values in the training data.

A run stores `KEPT` rows of the data's conditions in ``conditions.json``, with the range of each. Unspecified conditions
are sampled from these rows, all fields of a row together, so that combinations occur in the training data.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gan.contracts import FieldSpec, Samples
from gan.data.pack import Pack
from gan.draws import derive
from gan.errors import UsageError

KEPT = 1024
"""Number of rows of conditions that a run stores."""
NAMED = 20
"""Number of named values that a message or a help text lists."""
NEAR = 16
"""When some conditions are specified, the others are sampled from the nearest 1/16 of the stored rows."""


@dataclass(frozen=True)
class Conditions:
    """Values of the conditions in the training data."""

    rows: Samples = field(default_factory=dict)
    """Condition -> its value in each stored row."""
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Condition -> smallest and largest value in all training data."""
    units: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, pack: Pack) -> Conditions:
        """Collect the conditions of the samples of a pack."""
        rows: dict[str, Any] = {}
        ranges, units = {}, {}
        for name, spec in pack.fields.items():
            if spec.condition:
                column = pack.column(name)
                order = np.random.Generator(np.random.Philox(derive(0, "conditions"))).permutation(len(column))
                rows[name] = np.array(column[order[:KEPT]])
                ranges[name] = (float(column.min()), float(column.max()))
                units[name] = spec.unit
        return cls(rows, ranges, units)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Conditions:
        """The inverse of `to_json`. Raises `KeyError`, `TypeError` and `ValueError` for anything else."""
        if any(np.dtype(column["dtype"]).kind not in "biuf" for column in values.values()):
            raise ValueError("a condition is no number")
        rows = {name: np.array(column["rows"], column["dtype"]) for name, column in values.items()}
        ranges = {name: (float(column["low"]), float(column["high"])) for name, column in values.items()}
        return cls(rows, ranges, {name: str(column["unit"]) for name, column in values.items()})

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            name: {"low": low, "high": high, "unit": self.units[name], "dtype": str(rows.dtype), "rows": rows.tolist()}
            for (name, rows), (low, high) in zip(self.rows.items(), self.ranges.values(), strict=True)
        }

    def narrowed(self, fields: Mapping[str, FieldSpec]) -> dict[str, FieldSpec]:
        """Return `fields` with the conditions limited to their range in the data, as an architecture is built with."""
        return {
            name: dataclasses.replace(spec, low=self.ranges[name][0], high=self.ranges[name][1])
            if name in self.ranges
            else spec
            for name, spec in fields.items()
        }

    def check(self, name: str, value: float, spec: FieldSpec) -> None:
        """Raise `UsageError` for a value outside the range of the training data."""
        low, high = self.ranges.get(name, (spec.low, spec.high))
        if not low <= value <= high:
            raise UsageError(f"{name} {value:g}: the training data have {self.describe(name, spec)}")

    def describe(self, name: str, spec: FieldSpec) -> str:
        """The values that the training data have, by name where the field's values have names, else as a range."""
        low, high = self.ranges.get(name, (spec.low, spec.high))
        names = spec.names[int(low) : int(high) + 1]
        if not names:
            return f"{low:.4g} to {high:.4g} ({spec.unit})"
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        return ", ".join(names[:NAMED]) + more

    def draw(
        self, fields: Mapping[str, FieldSpec], specified: Mapping[str, float], seed: int, first: int, count: int
    ) -> Samples:
        """Return values of `fields` for samples `first` … ``first + count - 1`` of `seed`.

        Unspecified conditions are sampled from the stored rows that are nearest to the specified values. The values of
        a sample do not depend on `count`.
        """
        missing = [name for name in fields if name not in specified]
        found = {name: np.full(count, specified[name], fields[name].dtype) for name in fields if name in specified}
        if not missing:
            return found
        lacking = [name for name in missing if name not in self.rows]
        if lacking:
            raise UsageError(f"the run does not know what values of {lacking[0]} its data have; specify one")
        size = len(self.rows[missing[0]])
        near = np.arange(size)
        if found:
            distance = np.zeros(size)
            for name, value in specified.items():
                low, high = self.ranges[name]
                distance += np.abs(self.rows[name].astype(float) - value) / max(high - low, 1e-9)
            near = np.argsort(distance, kind="stable")[: max(1, size // NEAR)]
        seeds = [derive(seed, "conditions", index) for index in range(first, first + count)]
        chosen = near[[int(np.random.Generator(np.random.Philox(s)).integers(len(near))) for s in seeds]]
        return found | {name: self.rows[name][chosen] for name in missing}
