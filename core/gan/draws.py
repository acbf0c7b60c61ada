"""Random sampling: random numbers for the rows of a batch, derived from (seed, purpose, position).

No state is kept between steps. Generators are seeded from the training's position, so that sampling, evaluating and
saving never change the random numbers of a training, and resuming needs no random state.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def derive(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed for one purpose and position, from the first bytes of a SHA-256; the same on every machine."""
    text = "/".join([str(seed), *map(str, purpose)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


class Draws(ABC):
    """Random rows for `count` samples. Every method returns a tensor ``(count, *shape)`` on `device`.

    The rows are numbers `start` … ``start + count - 1`` of `total`: one process's part of a global batch.
    """

    def __init__(self, count: int, device: torch.device, *, total: int | None = None, start: int = 0) -> None:
        self.count = count
        self.device = device
        self.total = count if total is None else total
        self.start = start

    @abstractmethod
    def _rows(self, draw: Callable[[tuple[int, ...], torch.Generator], Tensor], shape: tuple[int, ...]) -> Tensor: ...

    def randn(self, *shape: int) -> Tensor:
        """Samples from N(0, 1), float32."""
        return self._rows(lambda size, g: torch.randn(size, generator=g, device=g.device), shape)

    def rand(self, *shape: int) -> Tensor:
        """Samples from U[0, 1), float32."""
        return self._rows(lambda size, g: torch.rand(size, generator=g, device=g.device), shape)

    def randint(self, high: int, *shape: int) -> Tensor:
        """Samples from {0, …, high - 1}, int64."""
        return self._rows(lambda size, g: torch.randint(high, size, generator=g, device=g.device), shape)

    def truncated_normal(self, *shape: int) -> Tensor:
        """Samples from N(0, 1) truncated to [-2, 2], by inversion, float32."""
        low, high = 0.022750131948179195, 0.9772498680518208  # the standard normal CDF at -2 and 2
        rows: Tensor = torch.special.ndtri(low + (high - low) * self.rand(*shape))
        return rows


class StepDraws(Draws):
    """The rows that one process needs for a turn of the global batch.

    All `total` rows are drawn and `count` of them are kept, so that the numbers do not depend on the number of
    processes.
    """

    def __init__(self, seed: int, total: int, start: int, count: int, device: torch.device) -> None:
        super().__init__(count, device, total=total, start=start)
        self._seed = seed
        self._generator: torch.Generator | None = None  # made where a turn draws

    def _rows(self, draw: Callable[[tuple[int, ...], torch.Generator], Tensor], shape: tuple[int, ...]) -> Tensor:
        if self._generator is None:
            self._generator = torch.Generator(self.device).manual_seed(self._seed)
        rows = draw((self.total, *shape), self._generator)
        return rows if self.count == self.total else rows[self.start : self.start + self.count]


class SeededDraws(Draws):
    """One CPU generator per sample, so that a sample does not depend on its batch or device."""

    def __init__(self, seeds: Sequence[int], device: torch.device) -> None:
        super().__init__(len(seeds), device)
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    @classmethod
    def of(cls, seed: int, first: int, count: int, device: torch.device) -> SeededDraws:
        """The draws for samples `first` … ``first + count - 1`` of a user's seed."""
        return cls([derive(seed, "sample", index) for index in range(first, first + count)], device)

    def _rows(self, draw: Callable[[tuple[int, ...], torch.Generator], Tensor], shape: tuple[int, ...]) -> Tensor:
        return torch.stack([draw(shape, generator) for generator in self._generators]).to(self.device)
