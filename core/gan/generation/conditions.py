"""Conditions: fields that describe a sample and that a user may specify, with their values in the training data.

A run stores `KEPT` rows of the data's conditions in ``conditions.json``, with the range of each. Unspecified conditions
are sampled from these rows, all fields of a row together, so that combinations occur in the training data.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from gan.contracts import FieldSpec, Samples
from gan.data.pack import Pack
from gan.draws import derive
from gan.errors import UsageError, nearest

KEPT = 1024
"""Number of rows of conditions that a run stores."""
NAMED = 20
"""Number of named values that a message or a help text lists."""
NEAR = 16
"""When some conditions are specified, the others are sampled from the nearest 1/16 of the stored rows."""


Shares: TypeAlias = "np.ndarray[Any, Any]"
"""Shares of the classes of a condition with names, ``(classes,)`` float32."""


def read_shares(text: str, spec: FieldSpec) -> Shares | None:
    """The shares that ``0.7*rose+0.3*tulip`` stands for; None for any other text. Shares without a number are equal.

    Raises `ValueError` for an unknown name and for shares without a sum to divide by.
    """
    if text in spec.names or not spec.names or not ("+" in text or "*" in text):
        return None
    shares = np.zeros(len(spec.names), np.float32)
    for part in text.split("+"):
        amount, star, name = part.strip().partition("*")
        name, amount = (name.strip(), amount) if star else (amount, "1")
        if name not in spec.names:
            close = nearest(name, spec.names)
            raise ValueError(f"'{name}' is no class" + (f"; did you mean '{close}'?" if close else ""))
        try:
            shares[spec.names.index(name)] += float(amount)
        except ValueError:
            raise ValueError(f"'{amount}' is no number; write for example 0.7*{spec.names[0]}") from None
    if not np.isfinite(shares).all() or shares.min() < 0 or shares.sum() <= 0:
        raise ValueError("shares are numbers from 0 on, and one of them is larger")
    return np.asarray(shares / shares.sum(), np.float32)


def repeated(value: float | Shares, count: int, spec: FieldSpec) -> Shares:
    """The rows of `count` samples with one value."""
    return np.repeat(value[None], count, 0) if isinstance(value, np.ndarray) else np.full(count, value, spec.dtype)


def between(one: Shares, other: Shares, at: Shares, spec: FieldSpec, *, mixes: bool) -> Shares:
    """``(n, …)`` values of a condition at positions `at` ``(n,)`` in 0 … 1 between two values ``(1, …)``.

    Numbers lie on a line. Classes are mixed where the architecture can (`mixes`), else the nearer one is taken.
    """
    if not spec.names:
        return np.asarray(one + at * (other - one)).astype(spec.dtype)
    if one.ndim == other.ndim == 1 and (not mixes or one[0] == other[0]):
        return np.where(at < 0.5, one, other)
    classes = np.eye(len(spec.names), dtype=np.float32)
    first, second = (value if value.ndim == 2 else classes[value] for value in (one, other))
    return np.asarray(first + at[:, None] * (second - first), np.float32)


def chosen_classes(values: Samples, fields: Mapping[str, FieldSpec]) -> Samples:
    """`values` with the class of the largest share in place of shares, as samples hold it."""
    return {n: v.argmax(1).astype(fields[n].dtype) if fields[n].names and v.ndim == 2 else v for n, v in values.items()}


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
            if name in self.ranges and not spec.any_value
            else spec
            for name, spec in fields.items()
        }

    def check(self, name: str, value: float | Shares, spec: FieldSpec) -> None:
        """Raise `UsageError` for a value outside the range of the training data, or of the field (`any_value`)."""
        if isinstance(value, np.ndarray):
            return
        low, high = self._range(name, spec)
        if not low <= value <= high:
            raise UsageError(f"{name} {value:g}: the training data have {self.describe(name, spec)}")

    def _range(self, name: str, spec: FieldSpec) -> tuple[float, float]:
        whole = (spec.low, spec.high)
        return whole if spec.any_value else self.ranges.get(name, whole)

    def describe(self, name: str, spec: FieldSpec) -> str:
        """The values that the training data have, by name where the field's values have names, else as a range."""
        low, high = self._range(name, spec)
        names = spec.names[int(low) : int(high) + 1]
        if not names:
            return f"{low:.4g} to {high:.4g} ({spec.unit})"
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        return ", ".join(names[:NAMED]) + more

    def draw(
        self,
        fields: Mapping[str, FieldSpec],
        specified: Mapping[str, float | Shares],
        seed: int,
        first: int,
        count: int,
    ) -> Samples:
        """Return values of `fields` for samples `first` … ``first + count - 1`` of `seed`.

        Unspecified conditions are sampled from the stored rows that are nearest to the specified values. The values of
        a sample do not depend on `count`.
        """
        missing = [name for name in fields if name not in specified]
        found = {name: repeated(specified[name], count, fields[name]) for name in fields if name in specified}
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
                if isinstance(value, np.ndarray):  # a sample of classes in shares is near to those of each class
                    distance += 1 - value[self.rows[name].astype(int)]
                else:
                    distance += np.abs(self.rows[name].astype(float) - value) / max(high - low, 1e-9)
            near = np.argsort(distance, kind="stable")[: max(1, size // NEAR)]
        seeds = [derive(seed, "conditions", index) for index in range(first, first + count)]
        chosen = near[[int(np.random.Generator(np.random.Philox(s)).integers(len(near))) for s in seeds]]
        return found | {name: self.rows[name][chosen] for name in missing}
