"""Mel spectrograms as numpy arrays, for features and pictures.

The mel scale and the normalisation of the filters are those of Slaney's Auditory Toolbox (1998), as in librosa.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float32]

MEL_FLOOR = 1e-5
"""Smallest mel magnitude of a vocoder's input, before the logarithm."""

_LINEAR = 200 / 3
"""Hertz per mel below the corner."""
_CORNER = 1000.0
"""Frequency in Hz above which the scale is logarithmic."""
_STEP = math.log(6.4) / 27
"""Logarithm of the frequency ratio per mel above the corner."""


def hz_to_mel(hertz: ArrayLike) -> NDArray[np.float64]:
    """Slaney's mel scale: linear below 1,000 Hz (mel 15), logarithmic above, where 27 mel are a factor of 6.4."""
    values = np.asarray(hertz, np.float64)
    high = _CORNER / _LINEAR + np.log(np.maximum(values, _CORNER) / _CORNER) / _STEP
    mel: NDArray[np.float64] = np.where(values < _CORNER, values / _LINEAR, high)
    return mel


def mel_to_hz(mel: ArrayLike) -> NDArray[np.float64]:
    """The inverse of `hz_to_mel`."""
    values = np.asarray(mel, np.float64)
    corner = _CORNER / _LINEAR
    high = _CORNER * np.exp(_STEP * (np.maximum(values, corner) - corner))
    hertz: NDArray[np.float64] = np.where(values < corner, values * _LINEAR, high)
    return hertz


@lru_cache(maxsize=16)
def mel_filters(rate: int, window: int, bands: int, low: float = 0.0, high: float | None = None) -> Floats:
    """``(bands, window // 2 + 1)``: triangular filters, equally spaced in mel between `low` and `high` Hz (default:
    half of `rate`), each with an area of 1 Hz."""
    edges = mel_to_hz(np.linspace(hz_to_mel(low), hz_to_mel(rate / 2 if high is None else high), bands + 2))
    bins = np.linspace(0, rate / 2, window // 2 + 1)
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    filters = np.maximum(0, np.minimum(rising, falling)) * (2 / (edges[2:] - edges[:-2]))[:, None]
    return filters.astype(np.float32)


def log_mel(
    waves: Floats, rate: int, *, window: int = 512, hop: int = 128, bands: int = 64, floor: float = 1e-5
) -> Floats:
    """``(N, samples)`` in -1 … 1 -> ``(N, bands, frames)``: the natural logarithm of mel magnitudes, at least
    ``log(floor)``.

    Frames have a Hann window and are centred on the multiples of `hop`, with zeros beyond both ends; there are
    ``samples // hop + 1`` of them.
    """
    filters = mel_filters(rate, window, bands)
    rows = [np.log(np.maximum(magnitudes(wave, window, hop) @ filters.T, floor)).T for wave in waves]
    return np.stack(rows) if rows else np.zeros((0, bands, waves.shape[1] // hop + 1), np.float32)


def magnitudes(wave: Floats, window: int, hop: int) -> Floats:
    """``(samples,)`` -> ``(frames, window // 2 + 1)``: magnitudes of the frames that `log_mel` has."""
    padded = np.pad(wave.astype(np.float32), window // 2)
    taper = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)).astype(np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop]
    found: Floats = np.abs(np.fft.rfft(frames * taper, axis=1)).astype(np.float32)
    return found


@dataclass(frozen=True)
class MelSettings:
    """How the mel spectrogram of a vocoder's input is computed."""

    rate: int
    """Samples per second."""
    hop: int
    """Samples per frame; windows have four times as many."""
    bands: int
    high: float
    """Upper end of the highest band, in Hz."""


def vocoder_mel(
    wave: Floats, settings: MelSettings, before: Floats | None = None, after: Floats | None = None
) -> Floats:
    """``(samples,)`` in -1 … 1 -> ``(bands, samples // hop)``: the mel spectrogram that HiFi-GAN and others are given.

    Windows of four hops (periodic Hann) that start ``1.5 hop`` before each hop, with reflected ends; natural logarithm
    of mel magnitudes of at least `MEL_FLOOR`. `before` and `after` are what is beside `wave`, where it is a part.
    """
    rate, hop = settings.rate, settings.hop
    window = 4 * hop
    edge = (window - hop) // 2
    left, right = (0 if beside is None else min(edge, len(beside)) for beside in (before, after))
    whole = wave.astype(np.float32)
    if before is not None:
        whole = np.concatenate([before[len(before) - left :], whole])
    if after is not None:
        whole = np.concatenate([whole, after[:right]])
    padded = np.pad(whole, (edge - left, edge - right), mode="reflect" if len(whole) > edge else "constant")
    taper = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)).astype(np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop][: len(wave) // hop]
    spectrum = np.sqrt(np.square(np.abs(np.fft.rfft(frames * taper, axis=1))) + 1e-9).astype(np.float32)
    mel: Floats = np.log(
        np.maximum(spectrum @ mel_filters(rate, window, settings.bands, 0.0, settings.high).T, MEL_FLOOR)
    ).T.astype(np.float32)
    return np.ascontiguousarray(mel)
