"""Attributes: numbers that describe a sound, by which directions in latent spaces are found (`gan edit`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from gan.contracts import Modality, Samples

Array = np.ndarray[Any, Any]


def loudness(samples: Samples, modality: Modality) -> Array:
    """``(N,)``: the root mean square in decibels, 0 at full scale; -120 for silence."""
    waves = samples["sound"].astype(np.float64) / 32_768
    return np.asarray(20 * np.log10(np.maximum(np.sqrt(np.square(waves).mean((1, 2))), 1e-6)))


def centroid(samples: Samples, modality: Modality) -> Array:
    """``(N,)``: the mean frequency in Hz, weighted by the magnitude of the spectrum; NaN for silence."""
    spectrum = np.abs(np.fft.rfft(samples["sound"].astype(np.float64).mean(1)))
    rate = float(modality.facts.get("rate", modality.config.rate))
    frequencies = np.linspace(0, rate / 2, spectrum.shape[1])
    total = spectrum.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((spectrum @ frequencies) / total)
