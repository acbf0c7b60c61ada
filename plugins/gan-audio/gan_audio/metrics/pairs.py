"""Distances of sounds from the recordings that they were made from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from gan.contracts import MetricValue
from gan.errors import UsageError

from gan_audio.modality import Audio
from gan_audio.spectra import vocoder_mel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gan.contracts import Modality, Samples


class MelL1:
    """Mean absolute difference of log-mel spectrograms (natural logarithm) of sounds and their recordings.

    Only for sounds that were made from mel spectrograms of recordings: row i of both sets must belong together.
    """

    version = "1"

    def compute(self, generated: Samples, real: Samples, modality: Modality) -> Sequence[MetricValue]:
        """``mel L1``; lower is better."""
        if "mel" not in generated or not np.array_equal(generated["mel"], real["mel"][: len(generated["mel"])]):
            raise UsageError("mel-l1 compares sounds with the recordings they were made from; these have none")
        assert isinstance(modality, Audio)
        settings = modality.mel_settings
        distances = []
        for made, mel in zip(generated["sound"], generated["mel"], strict=True):
            wave = (made[0] / 32_768).astype(np.float32)
            distances.append(np.abs(vocoder_mel(wave, settings) - mel).mean())
        error = float(np.std(distances, ddof=1) / np.sqrt(len(distances))) if len(distances) > 1 else None
        return [MetricValue("mel L1", float(np.mean(distances)), error=error, direction="lower")]
