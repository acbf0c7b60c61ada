"""The grid of a piano roll: tracks, time signature, bars, steps and pitches.

Code that only needs to know the axes of a roll takes a `Grid`, not the whole modality.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gan_music.config import MusicConfig, parse_meter, quarters
from gan_music.tracks import Track, resolve

if TYPE_CHECKING:
    from gan.contracts import Modality


@dataclass(frozen=True)
class Grid:
    """The axes of a roll ``(track, bar, step, pitch)``."""

    tracks: tuple[Track, ...]
    meter: tuple[int, int]
    """Time signature: beats of a bar and their note value."""
    bars: int
    """Bars of a phrase."""
    steps_per_beat: int
    """Steps of a quarter note."""
    lowest: int
    """MIDI pitch of the first row."""
    pitches: int

    @classmethod
    def of(cls, config: MusicConfig) -> Grid:
        """The grid that a configuration describes."""
        return cls(
            resolve(config.tracks, config.programs),
            parse_meter(config.meter),
            config.bars,
            config.steps_per_beat,
            config.lowest,
            config.pitches,
        )

    @property
    def steps(self) -> int:
        """Steps of a bar."""
        return round(quarters(self.meter) * self.steps_per_beat)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape of a phrase."""
        return len(self.tracks), self.bars, self.steps, self.pitches

    @property
    def pitched(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """``(tracks,)`` bool: whether a track is pitched, that is, not percussion."""
        return np.array([not track.drums for track in self.tracks])


def grid_of(modality: Modality) -> Grid:
    """The grid of the phrases of a music modality."""
    return Grid.of(MusicConfig.model_validate(modality.config))
