"""Random numbers for a batch, row by row, derived from (seed, purpose, position).

Nothing here keeps a state between steps: a generator is seeded from where the training stands, so sampling, evaluating
and saving more or less often never change what a training draws, and resuming needs no random state.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def derive(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed for one purpose and position: the first bytes of a SHA-256, the same on every machine."""
    text = "/".join([str(seed), *map(str, purpose)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


class Draws(ABC):
    """Random rows for `count` samples; every method returns ``(count, *shape)`` on `device`.

    They are the rows `start` … ``start + count - 1`` of `total`: one process's part of a global batch.
    """

    def __init__(self, count: int, device: torch.device, *, total: int | None = None, start: int = 0) -> None:
        self.count = count
        self.device = device
        self.total = count if total is None else total
        self.start = start

    @abstractmethod
    def _rows(self, draw: Callable[[tuple[int, ...], torch.Generator], Tensor], shape: tuple[int, ...]) -> Tensor: ...

    def randn(self, *shape: int) -> Tensor:
        """From N(0, 1), float32."""
        return self._rows(lambda size, g: torch.randn(size, generator=g, device=g.device), shape)

    def rand(self, *shape: int) -> Tensor:
        """From U[0, 1), float32."""
        return self._rows(lambda size, g: torch.rand(size, generator=g, device=g.device), shape)

    def randint(self, high: int, *shape: int) -> Tensor:
        """From {0, …, high - 1}, int64."""
        return self._rows(lambda size, g: torch.randint(high, size, generator=g, device=g.device), shape)

    def truncated_normal(self, *shape: int) -> Tensor:
        """From N(0, 1) cut at ±2, by inversion, float32."""
        low, high = 0.022750131948179195, 0.9772498680518208  # the normal distribution function at -2 and 2
        rows: Tensor = torch.special.ndtri(low + (high - low) * self.rand(*shape))
        return rows


class StepDraws(Draws):
    """The rows that one process needs of one turn's global batch.

    Rows of the whole batch are drawn and `count` of them from `start` on are kept, so that one process and many
    draw the same numbers.
    """

    def __init__(self, seed: int, total: int, start: int, count: int, device: torch.device) -> None:
        super().__init__(count, device, total=total, start=start)
        self._generator = torch.Generator(device).manual_seed(seed)

    def _rows(self, draw: Callable[[tuple[int, ...], torch.Generator], Tensor], shape: tuple[int, ...]) -> Tensor:
        rows = draw((self.total, *shape), self._generator)
        return rows if self.count == self.total else rows[self.start : self.start + self.count]


class SeededDraws(Draws):
    """One CPU generator a sample, so that a sample is the same in any batch and on any device."""

    def __init__(self, seeds: Sequence[int], device: torch.device) -> None:
        super().__init__(len(seeds), device)
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    @classmethod
    def of(cls, seed: int, first: int, count: int, device: torch.device) -> SeededDraws:
        """The draws of samples `first` … `first + count - 1` of a user's seed."""
        return cls([derive(seed, "sample", index) for index in range(first, first + count)], device)

    def _rows(self, draw: Callable[[tuple[int, ...], torch.Generator], Tensor], shape: tuple[int, ...]) -> Tensor:
        return torch.stack([draw(shape, generator) for generator in self._generators]).to(self.device)
