"""The arithmetic of marks that several plugins share: keyed chips, a mark of pixels, a mark of sound.

A plugin wraps it in its `gan.contracts.Mark`, which reads its own files. Nothing here knows a format or a framework.
"""

from __future__ import annotations

from gan.marks.chips import DECOYS, chips, decoys
from gan.marks.pixels import PixelSpectrum
from gan.marks.waveform import WaveformSpectrum

__all__ = ["DECOYS", "PixelSpectrum", "WaveformSpectrum", "chips", "decoys"]
