"""Distances of sounds from the recordings that they were made from: mel L1, SI-SDR and spectral convergence.

They are for architectures that make recordings again (a vocoder, a codec): row i of both sets belongs together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from gan.contracts import MetricValue
from gan.errors import UsageError
from numpy.typing import NDArray

from gan_audio.modality import Audio
from gan_audio.spectra import magnitudes, vocoder_mel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gan.contracts import Modality, Samples

Wave = NDArray[np.float32]
WINDOWS = (2048, 512)
"""Windows of the spectrograms that are compared, in samples; hops are a quarter (Kumar et al. 2023, arXiv:2306.06546).
"""
QUIETEST = 1e-5
"""Magnitudes below this count as this, before the logarithm."""


def paired(generated: Samples, real: Samples, name: str) -> Iterator[tuple[Wave, Wave]]:
    """Yield (sound, the recording it was made from), mono, in -1 ... 1. Raises `UsageError` if there are none.

    A codec returns the recordings beside the sounds; those of a vocoder have the mel spectrograms that it was given.
    """
    originals = generated.get("original")
    if (
        originals is None
        and "mel" in generated
        and np.array_equal(generated["mel"], real["mel"][: len(generated["mel"])])
    ):
        originals = real["sound"]
    if originals is None:
        raise UsageError(f"{name} compares sounds with the recordings they were made from; these have none")
    for made, original in zip(generated["sound"], originals, strict=False):
        yield _mono(made), _mono(original)


def _mono(sound: NDArray[np.int16]) -> Wave:
    wave: Wave = (sound.mean(0) / 32_768).astype(np.float32)
    return wave


def _value(
    name: str,
    distance: Callable[[Wave, Wave], float],
    pairs: Sequence[tuple[Wave, Wave]],
    direction: Literal["lower", "higher"] = "lower",
) -> MetricValue:
    """The mean of a distance over the pairs, with its standard error."""
    found = [distance(made, original) for made, original in pairs]
    error = float(np.std(found, ddof=1) / np.sqrt(len(found))) if len(found) > 1 else None
    return MetricValue(name, float(np.mean(found)), error=error, direction=direction)


class MelL1:
    """Mean absolute difference of log-mel spectrograms (natural logarithm) of sounds and their recordings."""

    version = "1"

    def compute(self, generated: Samples, real: Samples, modality: Modality) -> Sequence[MetricValue]:
        """``mel L1``; lower is better."""
        pairs = list(paired(generated, real, "mel-l1"))
        assert isinstance(modality, Audio)
        settings = modality.mel_settings

        def distance(made: Wave, original: Wave) -> float:
            return float(np.abs(vocoder_mel(made, settings) - vocoder_mel(original, settings)).mean())

        return [_value("mel L1", distance, pairs)]


class SignalToDistortion:
    """SI-SDR of sounds and their recordings, in dB: 10 log10 |a x|^2 / |a x - y|^2 with the scale a that fits best.

    Le Roux et al. 2019, arXiv:1811.02508, equation 4; both without their mean.
    """

    version = "1"

    def compute(self, generated: Samples, real: Samples, modality: Modality) -> Sequence[MetricValue]:
        """``SI-SDR``; higher is better. Vocoders draw other phases, so that it is low for good ones."""
        pairs = list(paired(generated, real, "si-sdr"))
        return [_value("SI-SDR", signal_to_distortion, pairs, "higher")]


def signal_to_distortion(made: Wave, original: Wave) -> float:
    """SI-SDR in dB, at most 120."""
    y, x = (wave.astype(np.float64) - wave.mean(dtype=np.float64) for wave in (made, original))
    target = x * ((x @ y) / max(float(x @ x), 1e-12))
    ratio = (target @ target + 1e-12) / ((target - y) @ (target - y) + 1e-12)
    return float(min(120.0, 10 * np.log10(ratio)))


class SpectralConvergence:
    """How far spectrograms of sounds are from those of their recordings, mean over two resolutions.

    Spectral convergence is ||S(x)| - |S(y)|| / ||S(x)|| in dB (Arik et al. 2018, arXiv:1808.06719, section 4), the STFT
    distance the mean absolute difference of natural logarithms.
    """

    version = "1"
    settings = {"windows": list(WINDOWS), "floor": QUIETEST}

    def compute(self, generated: Samples, real: Samples, modality: Modality) -> Sequence[MetricValue]:
        """``spectral convergence`` and ``STFT distance``; lower is better."""
        pairs = list(paired(generated, real, "stft"))
        return [_value("spectral convergence", convergence, pairs), _value("STFT distance", log_distance, pairs)]


def convergence(made: Wave, original: Wave) -> float:
    """Spectral convergence in dB, at least -120."""
    found = []
    for window in WINDOWS:
        one, other = (magnitudes(wave, window, window // 4) for wave in (original, made))
        found.append(np.linalg.norm(one - other) / max(float(np.linalg.norm(one)), 1e-12))
    return float(20 * np.log10(max(float(np.mean(found)), 1e-6)))


def log_distance(made: Wave, original: Wave) -> float:
    """Mean absolute difference of the logarithms of magnitudes."""
    found = []
    for window in WINDOWS:
        logs = [np.log(np.maximum(magnitudes(wave, window, window // 4), QUIETEST)) for wave in (original, made)]
        found.append(np.abs(logs[0] - logs[1]).mean())
    return float(np.mean(found))
