"""Random sampling: random numbers for the rows of a batch, derived from (seed, purpose, position).

No state is kept between steps. Random numbers are derived from the training's position, so that sampling, evaluating
and saving never change those of a training, and resuming needs no random state. There are two ways: generators of
PyTorch (`StepDraws`, `SeededDraws`), and a hash of counters (`CounterDraws`), which gives the same numbers on every
device. A run keeps the way that it began with (``training.draws``).
"""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor


def derive(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed for one purpose and position, from the first bytes of a SHA-256; the same on every machine."""
    text = "/".join([str(seed), *map(str, purpose)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


Way = Literal["generators", "counters"]
"""How random numbers are made (``training.draws``)."""


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
    def randn(self, *shape: int) -> Tensor:
        """Samples from N(0, 1), float32."""

    @abstractmethod
    def rand(self, *shape: int) -> Tensor:
        """Samples from U[0, 1), float32."""

    @abstractmethod
    def randint(self, high: int, *shape: int) -> Tensor:
        """Samples from {0, …, high - 1}, int64."""

    def truncated_normal(self, *shape: int) -> Tensor:
        """Samples from N(0, 1) truncated to [-2, 2], by inversion, float32."""
        low, high = 0.022750131948179195, 0.9772498680518208  # the standard normal CDF at -2 and 2
        rows: Tensor = torch.special.ndtri(low + (high - low) * self.rand(*shape))
        return rows


class _GeneratorDraws(Draws):
    """Rows by the generators of PyTorch."""

    @abstractmethod
    def _rows(self, draw: Callable[[tuple[int, ...], torch.Generator], Tensor], shape: tuple[int, ...]) -> Tensor: ...

    def randn(self, *shape: int) -> Tensor:
        return self._rows(lambda size, g: torch.randn(size, generator=g, device=g.device), shape)

    def rand(self, *shape: int) -> Tensor:
        return self._rows(lambda size, g: torch.rand(size, generator=g, device=g.device), shape)

    def randint(self, high: int, *shape: int) -> Tensor:
        return self._rows(lambda size, g: torch.randint(high, size, generator=g, device=g.device), shape)


class StepDraws(_GeneratorDraws):
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


class SeededDraws(_GeneratorDraws):
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


class CounterDraws(Draws):
    """Rows by a hash of counters, computed on the device: docs/random-numbers.md specifies every number.

    Uniform numbers and integers have the same bits on every device; logarithms and cosines round differently, so that
    normal numbers agree to about 1e-6. `key` is an int32 tensor of two words ``(2,)`` on the device, which may be
    overwritten between replays of a captured step; row r of it belongs to row ``start + r`` of the global batch.
    """

    def __init__(self, key: Tensor, total: int, start: int, count: int) -> None:
        super().__init__(count, key.device, total=total, start=start)
        rows = torch.arange(start, start + count, dtype=torch.int32, device=key.device)
        self._keys = _hash(torch.stack([2 * rows, 2 * rows + 1]), key[0], key[1])  # (2, count)
        self._calls = 0

    @classmethod
    def of_step(cls, seed: int, total: int, start: int, count: int, device: torch.device) -> CounterDraws:
        """The rows that one process needs for a turn of the global batch of `total` rows."""
        return cls(step_key(seed, device), total, start, count)

    @classmethod
    def of_samples(cls, seed: int, first: int, count: int, device: torch.device) -> CounterDraws:
        """The draws for samples `first` … ``first + count - 1`` of a user's seed."""
        return cls(step_key(derive(seed, "samples"), device), first + count, first, count)

    def _words(self, number: int) -> Tensor:
        """``(count, number)`` words of 32 random bits, as int32."""
        call = self._calls * _GOLDEN
        self._calls += 1
        columns = torch.arange(number, dtype=torch.int32, device=self.device)
        return _hash(columns, self._keys[0, :, None], self._keys[1, :, None] + _signed(call))

    def rand(self, *shape: int) -> Tensor:
        """Samples from U[0, 1), float32: multiples of 2^-24."""
        return _uniform(self._words(math.prod(shape))).view(self.count, *shape)

    def randn(self, *shape: int) -> Tensor:
        """Samples from N(0, 1), float32, by the method of Box and Muller (1958)."""
        number = math.prod(shape)
        half = (number + 1) // 2
        uniform = _uniform(self._words(2 * half))
        radius = uniform[:, :half].neg().log1p_().mul_(-2).sqrt_()
        angle = uniform[:, half:].mul_(2 * math.pi)
        found = torch.cat([radius * angle.cos(), radius * angle.sin()], 1)
        return found[:, :number].reshape(self.count, *shape)

    def randint(self, high: int, *shape: int) -> Tensor:
        """Samples from {0, …, high - 1}, int64; uneven by at most ``high / 2^63``."""
        number = math.prod(shape)
        words = self._words(2 * number).to(torch.int64)
        upper, lower = words[:, :number] & 0x7FFFFFFF, words[:, number:] & 0xFFFFFFFF
        return (((upper << 32) | lower) % high).view(self.count, *shape)


_GOLDEN = 0x9E3779B9


def step_key(seed: int, device: torch.device) -> Tensor:
    """The key of `CounterDraws`: the lower and the upper 32 bits of `seed`, ``(2,)`` int32."""
    words = [torch.full((), word, dtype=torch.int32, device=device) for word in key_words(seed)]
    return torch.stack(words)  # no copy from the host, which would wait for the device


def key_words(seed: int) -> tuple[int, int]:
    """The two words of a key, as int32."""
    return _signed(seed), _signed(seed >> 32)


def _signed(word: int) -> int:
    """The int32 with the bits of the lower 32 of `word`."""
    return ((word + (1 << 31)) & 0xFFFFFFFF) - (1 << 31)


def _hash(counter: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """32 random bits for each counter under a key of two words; int32, whose arithmetic is modulo 2^32."""
    word = counter + first
    _fold(word, 17).mul_(_signed(0xED5AD4BB)).add_(second)
    _fold(word, 11).mul_(_signed(0xAC4C1B51))
    _fold(word, 15).mul_(0x31848BAB)
    return _fold(word, 14)


def _fold(word: Tensor, shift: int) -> Tensor:
    """``word ^= word >>> shift``; PyTorch shifts the sign in, which the mask removes."""
    return word.bitwise_xor_((word >> shift).bitwise_and_((1 << (32 - shift)) - 1))


def _uniform(words: Tensor) -> Tensor:
    """The upper 24 bits as multiples of 2^-24 in [0, 1), float32."""
    return (words >> 8).bitwise_and_(0xFFFFFF).to(torch.float32).mul_(2.0**-24)


def sample_draws(way: Way, seed: int, first: int, count: int, device: torch.device) -> Draws:
    """The draws for samples `first` … ``first + count - 1`` of a user's seed, by one of the two ways."""
    kind = CounterDraws.of_samples if way == "counters" else SeededDraws.of
    return kind(seed, first, count, device)
