"""Conditions: fields that describe a sample and may be asked for, and what values of them the training data have.

A run keeps `KEPT` rows of the data's conditions in ``conditions.json``, with the range of each. What a user does not
ask for is drawn from these rows, all fields of a row together, so that a model is asked for what it has seen.
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
"""Rows of the data's conditions that a run keeps."""
NAMED = 20
"""Names of values that a message or a help text lists."""
NEAR = 16
"""Where some fields are asked for, the others come from a row among the 1/16 of the kept ones that are nearest."""


@dataclass(frozen=True)
class Conditions:
    """What values of their conditions the training data have."""

    rows: Samples = field(default_factory=dict)
    """Condition -> its value in each kept row."""
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Condition -> the smallest and the largest value of all the data."""
    units: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, pack: Pack) -> Conditions:
        """Of the samples that a pack shows."""
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
        """From what `to_json` gave. Raises `KeyError`, `TypeError` and `ValueError` for anything else."""
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
        """`fields` whose conditions have the range of the data: what an architecture is built with."""
        return {
            name: dataclasses.replace(spec, low=self.ranges[name][0], high=self.ranges[name][1])
            if name in self.ranges
            else spec
            for name, spec in fields.items()
        }

    def check(self, name: str, value: float, spec: FieldSpec) -> None:
        """Raises `UsageError` for a value that the data do not have."""
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
        self, fields: Mapping[str, FieldSpec], asked: Mapping[str, float], seed: int, first: int, count: int
    ) -> Samples:
        """Values of `fields` for samples `first` … of `seed`: what is asked for, the others as the data have them
        beside it. A sample's do not depend on how many are drawn."""
        missing = [name for name in fields if name not in asked]
        found = {name: np.full(count, asked[name], fields[name].dtype) for name in fields if name in asked}
        if not missing:
            return found
        lacking = [name for name in missing if name not in self.rows]
        if lacking:
            raise UsageError(f"the run does not know what values of {lacking[0]} its data have; ask for one")
        size = len(self.rows[missing[0]])
        near = np.arange(size)
        if found:
            distance = np.zeros(size)
            for name, value in asked.items():
                low, high = self.ranges[name]
                distance += np.abs(self.rows[name].astype(float) - value) / max(high - low, 1e-9)
            near = np.argsort(distance, kind="stable")[: max(1, size // NEAR)]
        seeds = [derive(seed, "conditions", index) for index in range(first, first + count)]
        chosen = near[[int(np.random.Generator(np.random.Philox(s)).integers(len(near))) for s in seeds]]
        return found | {name: self.rows[name][chosen] for name in missing}
