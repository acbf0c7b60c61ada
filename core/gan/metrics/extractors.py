"""The core's own feature extractors: they need no weights and serve any kind of data."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gan.contracts import Features, Modality

if TYPE_CHECKING:
    from gan.contracts import Samples


WIDEST = 2048
"""Numbers in a sample above which `Raw` projects them."""
PROJECTED = 512


class Raw:
    """The numbers of a sample themselves, fields in the order of their names, each scaled to 0 … 1.

    A sample of more than 2,048 numbers is projected to 512 by a fixed Gaussian matrix, which keeps distances within
    some percent (Johnson and Lindenstrauss 1984). No network: good for points, tables and tests; on images it sees
    what a pixel-wise comparison sees.
    """

    version = "1"
    sha256 = ""
    preprocessing = "fields by name, scaled from low … high to 0 … 1, flattened; over 2,048 numbers projected to 512"

    def __init__(self, weights: Path | None = None, device: str = "cpu") -> None:
        self._matrix: np.ndarray[Any, Any] | None = None

    def __call__(self, samples: Samples, modality: Modality) -> Features:
        """``(N, d)`` with d the numbers of one sample, or 512."""
        parts = []
        for name, field in sorted(modality.fields.items()):
            values = samples[name].reshape(len(samples[name]), -1).astype(np.float32)
            parts.append((values - field.low) / (field.high - field.low))
        rows = np.concatenate(parts, axis=1)
        if rows.shape[1] > WIDEST:
            rows = rows @ self._projection(rows.shape[1])
        return Features(rows)

    def _projection(self, width: int) -> np.ndarray[Any, Any]:
        if self._matrix is None or len(self._matrix) != width:
            seed = int.from_bytes(hashlib.sha256(f"gan raw projection {width}".encode()).digest()[:8], "little")
            matrix = np.random.Generator(np.random.PCG64(seed)).standard_normal((width, PROJECTED))
            self._matrix = (matrix / PROJECTED**0.5).astype(np.float32)
        return self._matrix
