"""Loudness of a recording as ITU-R BS.1770-4 defines it, in LUFS (decibels relative to full scale)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

STEP = 0.1
"""Seconds between two of the overlapping blocks, of four steps each."""


def _shelf(rate: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The pre-filter, a high shelf: the analogue prototype whose bilinear transform at 48 kHz is that of table 1."""
    k = math.tan(math.pi * 1681.974450955533 / rate)
    quality, high = 0.7071752369554196, 10 ** (3.999843853973347 / 20)
    band = high**0.4996667741545416
    b = np.array([high + band * k / quality + k * k, 2 * (k * k - high), high - band * k / quality + k * k])
    a = np.array([1 + k / quality + k * k, 2 * (k * k - 1), 1 - k / quality + k * k])
    return b / a[0], a / a[0]


def _high_pass(rate: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The second filter, of table 2, obtained in the same way."""
    k = math.tan(math.pi * 38.13547087602444 / rate)
    quality = 0.5003270373238773
    a = np.array([1 + k / quality + k * k, 2 * (k * k - 1), 1 - k / quality + k * k])
    return np.array([1.0, -2.0, 1.0]), a / a[0]


class LoudnessMeter:
    """Measures the integrated loudness of a recording that arrives in parts; memory grows by 80 bytes per second."""

    def __init__(self, rate: int, channels: int) -> None:
        self._filters = [_shelf(rate), _high_pass(rate)]
        self._states: list[Any] = [np.zeros((2, channels)) for _ in self._filters]
        self._step = max(1, round(STEP * rate))
        self._rest = np.zeros(0)
        self._energies: list[float] = []

    def add(self, block: NDArray[np.float32]) -> None:
        """Add ``(n, channels)`` samples."""
        values = block.astype(np.float64)
        for number, (b, a) in enumerate(self._filters):
            values, self._states[number] = lfilter(b, a, values, axis=0, zi=self._states[number])
        self._rest = np.concatenate([self._rest, np.square(values).sum(1)])
        whole = len(self._rest) // self._step * self._step
        self._energies += self._rest[:whole].reshape(-1, self._step).mean(1).tolist()
        self._rest = self._rest[whole:]

    def loudness(self) -> float:
        """The integrated loudness in LUFS, with both gates; ``-inf`` where nothing is louder than -70 LUFS."""
        steps = np.array(self._energies if len(self._energies) >= 4 else [*self._energies, *self._tail()])
        if len(steps) == 0:
            return -math.inf
        width = min(4, len(steps))
        blocks = np.convolve(steps, np.full(width, 1 / width), "valid")
        loud = blocks[blocks > _energy(-70)]
        if len(loud) == 0:
            return -math.inf
        loud = loud[loud > loud.mean() * 0.1]  # ten decibels below the mean
        return _lufs(float(loud.mean()))

    def _tail(self) -> Iterable[float]:
        """The energy of the last, incomplete step, which counts in recordings shorter than a block only."""
        return [float(self._rest.mean())] if len(self._rest) else []


def _lufs(energy: float) -> float:
    return -0.691 + 10 * math.log10(energy)


def _energy(lufs: float) -> float:
    return float(10 ** ((lufs + 0.691) / 10))
