"""Signals measured at the end of a window: diversity, coverage and duplicates of samples; spectral norms of weights.

Everything is a function of the weights and of fixed seeds, and draws nothing that the training draws. Samples are
compared with two disjoint batches of real ones, so that each signal has the value that real samples would have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from gan.contracts import Features, Samples
from gan.metrics.neighbours import nearest_rows, squared_distances

Array: TypeAlias = np.ndarray[Any, Any]

MOST_BINS = 20
DUPLICATE = 0.05
"""Share of the median distance of a real sample to its nearest neighbour, below which two samples are duplicates."""
PASSES = 3
"""Power iterations of a spectral norm."""


class Reference:
    """Two disjoint batches of real samples, ``(n, d)`` features each, and the bins that k-means makes of both."""

    def __init__(self, first: Array, second: Array) -> None:
        self._distance = 0.5 * (_mean_distance(first) + _mean_distance(second))
        near = np.sqrt(_nearest(first))
        self._near = DUPLICATE * float(np.median(near))
        self.duplicates = max(self._duplicates(first), self._duplicates(second))
        self._centres = _centres(np.concatenate([first, second]), max(4, min(MOST_BINS, len(first) // 8)))
        own = np.sqrt(np.concatenate([part.min(1) for _, part in squared_distances(first, self._centres)]))
        self.looseness = float(own.mean()) / max(self._distance, 1e-12)
        one, two = self.histogram(first), self.histogram(second)
        self._both = (one > 0) & (two > 0)
        self._shares = 0.5 * (one + two)
        self.spread = distance(one, two)
        """Total variation between the histograms of the two real batches: what chance alone makes."""

    def signals(self, rows: Array, before: Sequence[float] | None) -> tuple[dict[str, float], list[float]]:
        """(signals of generated features ``(n, d)``, their histogram); `before` is the histogram of the last window.

        ``diversity``: mean distance of pairs over that of real pairs. ``coverage``: share of the bins hit by both real
        batches that are hit. ``duplicates``: share of samples with a duplicate, beyond that of the real ones.
        ``distance`` and ``real_distance``: total variation of the histogram from the real one, and between the two
        real ones. ``drift``: that from the last window. ``looseness``: distance of a real sample from the centre of its
        bin over that of pairs; near 1 where the features have no clusters.
        """
        shares = self.histogram(rows)
        found = {
            "diversity": _mean_distance(rows) / max(self._distance, 1e-12),
            "coverage": float((shares > 0)[self._both].mean()) if self._both.any() else 1.0,
            "duplicates": max(0.0, self._duplicates(rows) - self.duplicates),
            "distance": distance(shares, self._shares),
            "real_distance": self.spread,
            "looseness": self.looseness,
        }
        if before is not None and len(before) == len(shares):
            found["drift"] = distance(shares, np.asarray(before))
        return found, shares.tolist()

    def histogram(self, rows: Array) -> Array:
        """``(bins,)``: share of rows in each bin."""
        return np.bincount(nearest_rows(rows, self._centres), minlength=len(self._centres)) / len(rows)

    def _duplicates(self, rows: Array) -> float:
        return float((np.sqrt(_nearest(rows)) <= self._near).mean())


def distance(first: Array, second: Array) -> float:
    """Total variation between two histograms, 0 … 1."""
    return 0.5 * float(np.abs(first - second).sum())


def _mean_distance(rows: Array) -> float:
    total = sum(float(np.sqrt(part).sum()) for _, part in squared_distances(rows, rows))
    return total / max(1, len(rows) * (len(rows) - 1))


def _nearest(rows: Array) -> Array:
    """``(n,)``: squared distance of each row to its nearest other row."""
    found = np.empty(len(rows))
    for start, part in squared_distances(rows, rows):
        here = np.arange(len(part))
        part[here, start + here] = np.inf
        found[start : start + len(part)] = part.min(1)
    return found


def _centres(rows: Array, count: int, passes: int = 10) -> Array:
    """``(count, d)``: centres of k-means, begun by k-means++ (Arthur and Vassilvitskii 2007)."""
    rng = np.random.Generator(np.random.Philox(0))
    chosen = [int(rng.integers(len(rows)))]
    far = np.full(len(rows), np.inf)
    while len(chosen) < count:
        far = np.minimum(far, np.square(rows - rows[chosen[-1]]).sum(1))
        chosen.append(int(np.searchsorted(far.cumsum(), rng.random() * far.sum(), side="right").clip(0, len(rows) - 1)))
    centres = rows[chosen].astype(np.float64)
    for _ in range(passes):
        member = nearest_rows(rows, centres)
        for index in np.unique(member):
            centres[index] = rows[member == index].mean(0)
    return centres


def features_of(extract: Any, samples: Samples, given: Sequence[str]) -> Array:
    """Features of the samples, with the `given` fields the same everywhere: they are no work of the generator."""
    shown = {name: np.full_like(v, v.flat[0]) if name in given else v for name, v in samples.items()}
    features: Features = extract(shown)
    return features.vectors


@torch.no_grad()
def spectral_norms(players: Mapping[str, Sequence[Tensor]]) -> dict[str, float]:
    """``player/spectral``: the largest singular value over the player's matrices and convolutions, by power iteration
    from a fixed vector (Brock et al. 2019, arXiv:1809.11096, section 4.1). Waits for the device once."""
    names, values = [], []
    for player, parameters in players.items():
        norms = [_spectral_norm(p.detach().float().flatten(1)) for p in parameters if p.ndim >= 2 and p.numel()]
        if norms:
            names.append(f"{player}/spectral")
            values.append(torch.stack(norms).max())
    return dict(zip(names, torch.stack(values).tolist(), strict=True)) if values else {}


def _spectral_norm(matrix: Tensor) -> Tensor:
    vector = torch.ones(matrix.shape[1], device=matrix.device)
    vector = nn.functional.normalize(vector + 0.1 * torch.linspace(-1, 1, len(vector), device=matrix.device), dim=0)
    for _ in range(PASSES):
        vector = nn.functional.normalize(matrix.T @ (matrix @ vector), dim=0)
    norm: Tensor = (matrix @ vector).norm()
    return norm
