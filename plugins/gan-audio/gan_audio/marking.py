"""The invisible mark of sounds: the core's spread spectrum on the waveform that is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from gan.contracts import Detection, Mark
from gan.marks import WaveformSpectrum

from gan_audio.recordings import Recording

if TYPE_CHECKING:
    from gan.contracts import Modality
    from gan.source import SourceFile

RATE = 16_000
"""Samples per second at which the mark is looked for."""


class AudioMark(Mark):
    """The strength is the change of spectral magnitudes between 1 and 6 kHz in dB: 1 gives an SNR of about 30 dB."""

    suffixes = (".wav", ".flac", ".ogg", ".mp3")
    strength = 1.0

    def __init__(self, key: bytes, strength: float | None = None) -> None:
        super().__init__(key, strength)
        self._spectrum = WaveformSpectrum(key, self.amount)

    def embed(self, content: Any, **about: Any) -> Any:
        """``(channels, samples)`` int16 at ``rate`` samples per second -> the same, marked."""
        sound = self._spectrum.embed(content.astype(np.float32) / 32_768, about["rate"])
        return np.clip(np.rint(sound * 32_768), -32_768, 32_767).astype(np.int16)

    def detect(self, file: SourceFile, modality: Modality | None = None) -> Detection:
        """Look for the mark from every possible start."""
        recording = Recording(file, RATE, 1)
        sound = np.concatenate(list(recording.blocks())).T
        rate = min(RATE, recording.source_rate)
        return self._spectrum.detect(sound, RATE, self.false_positive_rate, band=rate)
