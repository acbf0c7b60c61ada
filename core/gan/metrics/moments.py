"""Streaming mean and covariance of features: float64, in chunks, in memory that does not grow with the samples."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

import numpy as np
from scipy.linalg.blas import dsyrk

from gan.errors import BadData

Array: TypeAlias = np.ndarray[Any, Any]

CHUNK_ROWS = 1024
"""Rows that are accumulated at once: large matrix products are several times faster than small ones."""


class Moments:
    """Streaming mean and covariance of rows ``(n, dimensions)``.

    Rows are shifted by the mean of the first chunk, so that a large mean does not cancel the digits of a small
    variance, and accumulated in float64. Needs ``8 · dimensions²`` bytes, and as much again for the result.
    """

    def __init__(self, dimensions: int) -> None:
        if dimensions < 1:
            raise ValueError(f"features need at least one dimension, not {dimensions}")
        self.dimensions = dimensions
        self.count = 0
        self._shift: Array | None = None
        self._sum = np.zeros(dimensions)
        self._scatter = np.zeros((dimensions, dimensions), order="F")  # of shifted rows, upper triangle
        self._waiting: list[Array] = []
        self._rows_waiting = 0

    @classmethod
    def of(cls, rows: Array | Iterable[Array]) -> Moments:
        """The moments of one array ``(n, d)`` or of an iterable of such arrays."""
        moments: Moments | None = None
        for part in [rows] if isinstance(rows, np.ndarray) else rows:
            if moments is None:
                moments = cls(part.shape[-1])
            moments.update(part)
        if moments is None:
            raise BadData("no features: the set is empty")
        return moments

    def update(self, rows: Array) -> None:
        """Add rows ``(n, dimensions)``. Raises `BadData` if one is not finite."""
        if rows.ndim != 2 or rows.shape[1] != self.dimensions:
            raise ValueError(f"features have shape {rows.shape}, wanted (n, {self.dimensions})")
        for start in range(0, len(rows), CHUNK_ROWS):
            part = rows[start : start + CHUNK_ROWS]
            if not np.isfinite(part).all():
                bad = int((~np.isfinite(part).all(axis=1)).argmax()) + self.count
                raise BadData(f"the features of sample {bad} are not finite")
            self._waiting.append(np.array(part, dtype=np.float64))
            self._rows_waiting += len(part)
            self.count += len(part)
            if self._rows_waiting >= CHUNK_ROWS:
                self._flush()

    def _flush(self) -> None:
        if not self._rows_waiting:
            return
        rows = self._waiting[0] if len(self._waiting) == 1 else np.concatenate(self._waiting)
        self._waiting, self._rows_waiting = [], 0
        if self._shift is None:
            self._shift = rows.mean(axis=0)
        rows -= self._shift
        self._sum += rows.sum(axis=0)
        self._scatter = dsyrk(1.0, rows.T, beta=1.0, c=self._scatter, overwrite_c=1)

    @property
    def mean(self) -> Array:
        """``(dimensions,)``."""
        self._need(1)
        self._flush()
        assert self._shift is not None
        return self._shift + self._sum / self.count

    @property
    def covariance(self) -> Array:
        """``(dimensions, dimensions)``, symmetric, unbiased: divided by ``count - 1``."""
        self._need(2)
        self._flush()
        upper = self._scatter - np.outer(self._sum, self._sum / self.count)
        upper /= self.count - 1
        upper = np.triu(upper)
        upper += np.triu(upper, 1).T
        return upper

    def _need(self, count: int) -> None:
        if self.count < count:
            raise BadData(f"{self.count} samples, at least {count} are needed for a mean and a covariance")
