"""A spread-spectrum mark of sound: keyed signs on the magnitudes of a short-time spectrum, found without the original.

At 16 kHz, frames of 1024 samples with a hop of 512: the magnitudes from 1 to 6 kHz are raised or lowered by `strength`
decibels, by a sign drawn for each frequency and each group of four frames; phases stay. Kirovski and Malvar,
Spread-Spectrum Watermarking of Audio Signals, IEEE Trans. Signal Processing 2003. The signs repeat after 16 groups
(2 s), so that a part of a recording is found by trying all starts: 16 within a hop, 4 within a group, 16 groups.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, rfft
from scipy.ndimage import uniform_filter1d
from scipy.signal import resample_poly

from gan.contracts import Detection
from gan.marks.chips import chips, decoys

Array = NDArray[Any]

RATE, FRAME, HOP = 16_000, 1024, 512
LOWEST, HIGHEST = 1_000, 6_000
"""Hz."""
GROUP, PERIOD = 4, 16
"""Frames with one sign; groups after which signs repeat."""
STEP = 32
"""Samples between the starts within a hop that are tried."""
FIRST, LAST = LOWEST * FRAME // RATE, HIGHEST * FRAME // RATE
NEIGHBOURS = 9
"""Frequencies whose mean is subtracted, so that only the difference of neighbours counts."""
MOST_DB = 6.0
"""Largest influence of one magnitude, in decibels."""
TRIES = HOP // STEP * GROUP * PERIOD
SHORTEST, LONGEST = 1.0, 60.0
"""Seconds below which nothing can be said, and after which detection stops to read."""
WINDOW: Array = np.sqrt(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FRAME) / FRAME)).astype(np.float32)
"""Square root of the periodic Hann window; its squares add up to 1 at this hop."""


class WaveformSpectrum:
    """The mark of one key. `strength` is the change of magnitudes in decibels."""

    def __init__(self, key: bytes, strength: float) -> None:
        self.strength = strength
        self._key = key
        self._signs = chips(key, "waveform", (PERIOD, LAST - FIRST))

    @cached_property
    def _decoys(self) -> Array:
        """``(DECOYS, PERIOD, frequencies)``."""
        return decoys(self._key, "waveform", self._signs.shape)

    def embed(self, sound: Array, rate: int) -> Array:
        """``(channels, samples)`` float, full scale 1 -> the same with the mark. Not clipped."""
        gains = 10 ** (self._signs * self.strength / 20) - 1
        marked = np.array(sound, np.float32)
        for channel in marked:
            low = _resampled(channel, rate, RATE)
            spectra = rfft(_frames(np.pad(low, (0, FRAME))) * WINDOW, axis=1)
            change = np.zeros_like(spectra)
            groups = np.arange(len(spectra)) // GROUP % PERIOD
            change[:, FIRST:LAST] = spectra[:, FIRST:LAST] * gains[groups]
            difference = _added(irfft(change, FRAME, axis=1) * WINDOW, len(low))
            channel += _resampled(difference, RATE, rate)[: len(channel)]
        return marked

    def detect(self, sound: Array, rate: int, false_positives: float, *, band: int | None = None) -> Detection:
        """Look for the mark in ``(channels, samples)`` float; channels are averaged, and only the first `LONGEST`
        seconds are used. `band` is the rate of the recording before it was resampled to `rate`, if it was lower."""
        mono = sound[:, : round(rate * LONGEST)].mean(0).astype(np.float32)
        if len(mono) < SHORTEST * rate:
            return Detection(
                0.0, 1.0, false_positives, None, f"too short: {len(mono) / rate:.1f} s, needs {SHORTEST:g} s"
            )
        low = _resampled(mono, rate, RATE)
        if np.abs(low).max() < 1e-4:
            return Detection(0.0, 1.0, false_positives, None, "silent")
        last = min(LAST, int(0.47 * (band or rate) * FRAME / RATE))
        signs = np.fft.rfft(self._signs[:, : last - FIRST], axis=0)
        window = WINDOW * WINDOW
        aligned, best = 0.0, -math.inf
        others: Array = np.zeros(0)
        for start in range(0, HOP, STEP):
            magnitudes = np.abs(rfft(_frames(low[start:]) * window, axis=1)[:, FIRST - NEIGHBOURS : last + NEIGHBOURS])
            decibels = 20 * np.log10(magnitudes + 1e-6)
            relative = decibels - uniform_filter1d(decibels, NEIGHBOURS, axis=1, mode="nearest")
            relative = np.clip(relative[:, NEIGHBOURS:-NEIGHBOURS], -MOST_DB, MOST_DB)
            for phase in range(GROUP):
                folded = _folded(relative[phase:])
                products = np.conj(np.fft.rfft(folded, axis=0)) * signs
                z = np.fft.irfft(products.sum(1), PERIOD)  # for each group with which the first may coincide
                best = max(best, float(z.max()))
                if start == phase == 0:
                    aligned = float(z[0])
                    others = np.tensordot(self._decoys[..., : folded.shape[1]], folded, 2)
        return Detection.of(aligned, best, TRIES, false_positives, others)


def _folded(relative: Array) -> Array:
    """``(PERIOD, frequencies)``: the sum of all periods' groups, of norm 1."""
    count = len(relative) // GROUP
    means = relative[: count * GROUP].reshape(count, GROUP, -1).mean(1)
    whole = np.zeros((-(-count // PERIOD) * PERIOD, means.shape[1]), np.float32)
    whole[:count] = means
    folded = whole.reshape(-1, PERIOD, means.shape[1]).sum(0)
    normed: Array = folded / math.sqrt(float(np.square(folded).sum()) + 1e-9)
    return normed


def _frames(samples: Array) -> Array:
    """``(frames, FRAME)``, every `HOP` samples."""
    count = max(0, (len(samples) - FRAME) // HOP + 1)
    return np.lib.stride_tricks.sliding_window_view(samples, FRAME)[::HOP][:count]


def _added(frames: Array, length: int) -> Array:
    """Frames every `HOP` samples added up, cut to `length`."""
    halves = frames.reshape(len(frames), 2, HOP)
    total = np.zeros((len(frames) + 1, HOP), np.float32)
    total[:-1] += halves[:, 0]
    total[1:] += halves[:, 1]
    return total.reshape(-1)[:length]


def _resampled(samples: Array, rate: int, target: int) -> Array:
    if rate == target:
        return samples
    divisor = math.gcd(rate, target)
    found: Array = resample_poly(samples, target // divisor, rate // divisor).astype(np.float32)
    return found
