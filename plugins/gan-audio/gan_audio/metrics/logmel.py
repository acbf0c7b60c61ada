"""Statistics of log-mel spectrograms as features, without a network."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from gan.contracts import Features
from gan.errors import BadData

from gan_audio.spectra import log_mel

if TYPE_CHECKING:
    from pathlib import Path

    from gan.contracts import Modality, Samples

BANDS, PARTS, GROUPS = 32, 8, 4
FLOOR = 1e-3


class LogMelStatistics:
    """Timbre and course of each sound: of 32 mel bands the mean level over time, its standard deviation and its mean
    absolute change from frame to frame; of 4 groups of bands the mean level in each eighth of the time."""

    version = "1"
    sha256 = ""
    preprocessing = (
        f"channels averaged, {BANDS} Slaney mel bands to half the rate, Hann windows of about 32 ms, hops of a "
        f"quarter, natural logarithm of magnitudes of at least {FLOOR}"
    )

    def __init__(self, weights: Path | None = None, device: str = "cpu") -> None:
        pass

    def __call__(self, samples: Samples, modality: Modality) -> Features:
        """``(N, 128)`` float32."""
        if "sound" not in samples:
            raise BadData(f"the samples hold no sounds (fields: {', '.join(samples)})")
        rate = int(modality.config.rate)
        window = 1 << max(6, round(np.log2(0.032 * rate)))
        rows = []
        for sound in samples["sound"]:
            wave = (sound.mean(0) / 32_768).astype(np.float32)[None]
            mel = log_mel(wave, rate, window=window, hop=window // 4, bands=BANDS, floor=FLOOR)[0]
            change = np.abs(np.diff(mel, axis=1)).mean(1) if mel.shape[1] > 1 else np.zeros(BANDS)
            edges = np.linspace(0, mel.shape[1], PARTS + 1).astype(int)
            course = [
                group[:, start : max(end, start + 1)].mean()
                for group in np.split(mel, GROUPS)
                for start, end in pairwise(edges.tolist())
            ]
            rows.append(np.concatenate([mel.mean(1), mel.std(1), change, course]))
        return Features(np.asarray(rows, np.float32).reshape(len(rows), -1))
