"""Feature vectors of phrases for metrics that compare distributions: hand-made statistics, without a network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from gan.contracts import Features

from gan_music.grid import grid_of
from gan_music.metrics import statistics as metrics
from gan_music.rolls import joined

if TYPE_CHECKING:
    from pathlib import Path

    from gan.contracts import Modality, Samples


class PhraseFeatures:
    """Statistics of each phrase, each scaled to about 0 … 1; 0 where a silent phrase has no value.

    Of every track: silent bars, pitch classes, polyphony, notes per bar, note length, mean pitch and range. Of the
    whole: pitch classes, scale consistency, entropy and groove.
    """

    version = "1"
    sha256 = ""
    preprocessing = (
        "boolean rolls as they are; statistics of gan_music.metrics, each divided by its usual largest value"
    )

    def __init__(self, weights: Path | None = None, device: str = "cpu") -> None:
        pass

    def __call__(self, samples: Samples, modality: Modality) -> Features:
        """``(N, 7 · tracks + 15)`` float32."""
        rolls = joined(samples)
        grid = grid_of(modality)
        count, _, bars = rolls.shape[:3]
        lowest, per_beat = grid.lowest, grid.steps_per_beat
        sounding = metrics.sounding_bars(rolls)
        bars_sounding = np.maximum(sounding.sum(axis=2), 1)
        _, notes = metrics.qualified_notes(rolls)
        rows = (rolls > 0).sum(axis=(2, 3), dtype=np.int64)  # (N, track, pitch)
        cells = np.maximum(rows.sum(axis=2), 1)
        pitch = np.arange(rolls.shape[4])
        used = rows > 0
        top = np.where(used, pitch, -1).max(axis=2)
        bottom = np.where(used, pitch, rolls.shape[4]).min(axis=2)
        by_track = [
            1 - sounding.mean(axis=2),
            (metrics.used_pitch_classes(rolls, lowest) * sounding).sum(axis=2) / bars_sounding / 12,
            (metrics.polyphony(rolls) * sounding).sum(axis=2) / bars_sounding,
            notes / bars / 16,
            np.minimum(rows.sum(axis=2) / np.maximum(notes, 1) / per_beat / 4, 2),
            (rows @ pitch) / cells / rolls.shape[4],
            np.maximum(top - bottom, 0) / rolls.shape[4],
        ]
        pitched = [index for index, track in enumerate(grid.tracks) if not track.drums]
        chroma = metrics.chroma(rolls[:, pitched], rolls.shape[3], lowest).sum(axis=(1, 2)).astype(float)
        share = chroma / np.maximum(chroma.sum(axis=1, keepdims=True), 1)
        whole = [
            share,
            np.nan_to_num(metrics.scale_consistency(chroma))[:, None],
            np.nan_to_num(metrics.pitch_class_entropy(chroma))[:, None] / np.log2(12),
            np.nan_to_num(metrics.groove_consistency(rolls))[:, None],
        ]
        vectors = np.concatenate([np.stack(by_track, axis=2).reshape(count, -1), *whole], axis=1)
        return Features(vectors.astype(np.float32))
