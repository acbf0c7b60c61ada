"""The invisible mark of videos: the core's spread spectrum on every frame, and one statistic over all frames."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from gan.contracts import Detection, Mark
from gan.errors import BadData
from gan.marks import PixelSpectrum

from gan_video.data.files import frames, strip

if TYPE_CHECKING:
    from gan.contracts import Modality
    from gan.source import SourceFile

LOOKED_AT = 64
"""Frames from the beginning in which the mark is looked for."""


class VideoMark(Mark):
    """The strength is the mean change of a DCT coefficient, for pixels of 0 … 255."""

    suffixes = (".mp4", ".gif", ".webp", ".png", ".apng", ".m4v", ".webm", ".mov", ".mkv", ".avi")
    strength = 2.5

    def __init__(self, key: bytes, strength: float | None = None) -> None:
        super().__init__(key, strength)
        self._spectrum = PixelSpectrum(key, self.amount)

    def embed(self, content: Any, **about: Any) -> Any:
        """A frame ``(H, W)`` or ``(H, W, 3)`` uint8 -> the same, marked."""
        return self._spectrum.embed(content)

    def detect(self, file: SourceFile, modality: Modality | None = None) -> Detection:
        """Look for the mark in the first `LOOKED_AT` frames of a film, an animation or a strip."""
        try:
            pictures = list(islice(frames(file), LOOKED_AT))
        except BadData:
            if file.suffix != ".png":
                raise
            pictures = list(islice(strip(file), LOOKED_AT))
        return self._spectrum.detect(
            [np.asarray(picture) for picture in pictures if picture is not None], self.false_positive_rate
        )
