"""The invisible mark of MIDI files: keyed signs on the velocities of notes.

The sign of a note depends on the number of its onset (modulo 64) and on its pitch class; its velocity is raised or
lowered by that sign times the strength. Velocities are compared with the mean of their track, and summed over the notes
that share a sign, so that a repeated pattern counts once. A beginning that was cut off shifts the onsets and a
transposition the pitch classes: both shifts are tried. Flattened or newly played velocities lose the mark.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from gan.contracts import Detection, Mark
from gan.errors import BadData
from gan.marks import chips, decoys

from gan_music.reading.midi import read_midi

if TYPE_CHECKING:
    from gan.contracts import Modality
    from gan.source import SourceFile

Array = np.ndarray[Any, Any]

ONSETS, CLASSES = 64, 12
FEWEST = 25
"""Notes below which nothing can be said."""


class VelocityMark(Mark):
    """The strength is the change of a velocity, of 127 steps."""

    suffixes = (".mid", ".midi")
    strength = 2.0

    def __init__(self, key: bytes, strength: float | None = None) -> None:
        super().__init__(key, strength)
        self._signs = chips(key, "velocities", (2, ONSETS, CLASSES))
        """Of pitched notes and of drums ``(2, onset, pitch class)``."""

    def embed(self, content: Any, **about: Any) -> Any:
        """The bytes of a MIDI file -> the same with other velocities."""
        import mido

        file = mido.MidiFile(file=io.BytesIO(content), charset="utf-8")
        struck: list[tuple[int, Any]] = []
        for track in file.tracks:
            now = 0
            for message in track:
                now += message.time
                if message.type == "note_on" and message.velocity:
                    struck.append((now, message))
        places = {tick: number % ONSETS for number, tick in enumerate(sorted({tick for tick, _ in struck}))}
        for tick, message in struck:
            sign = self._signs[int(message.channel == 9), places[tick], message.note % CLASSES]
            message.velocity = int(np.clip(message.velocity + round(float(sign) * self.amount), 1, 127))
        buffer = io.BytesIO()
        file.save(file=buffer)
        return buffer.getvalue()

    def detect(self, file: SourceFile, modality: Modality | None = None) -> Detection:
        """Look for the mark with every shift of onsets and pitch classes."""
        try:
            parts = [part for part in read_midi(file.data()).parts if len(part.notes)]
        except BadData as error:
            raise BadData(error.reason, file.name) from None
        count = sum(len(part.notes) for part in parts)
        if count < FEWEST:
            return Detection(0.0, 1.0, self.false_positive_rate, None, f"too short: {count} notes, needs {FEWEST}")
        starts = np.unique(np.concatenate([part.notes[:, 0] for part in parts]))
        sums = np.zeros((2, ONSETS, CLASSES))
        for part in parts:
            deviations = part.notes[:, 3] - part.notes[:, 3].mean()
            onsets = np.searchsorted(starts, part.notes[:, 0]) % ONSETS
            np.add.at(sums[int(part.drums)], (onsets, part.notes[:, 2] % CLASSES), deviations)
        if not sums.any():
            return Detection(0.0, 1.0, self.false_positive_rate, None, "all notes of a track have one velocity")
        sums /= np.sqrt(np.square(sums).sum())
        z = self._products(sums)
        others = decoys(self.key, "velocities", sums.shape).reshape(-1, sums.size) @ sums.reshape(-1)
        return Detection.of(float(z[0, 0]), float(z.max()), z.size, self.false_positive_rate, others)

    def _products(self, sums: Array) -> Array:
        """``(onset shift, pitch shift)``: the sum of products with the signs; drums have no pitch to shift."""
        pitched = np.fft.irfft2(np.conj(np.fft.rfft2(sums[0])) * np.fft.rfft2(self._signs[0]), (ONSETS, CLASSES))
        drums = np.conj(np.fft.rfft(sums[1], axis=0)) * np.fft.rfft(self._signs[1], axis=0)
        found: Array = pitched + np.fft.irfft(drums.sum(1), ONSETS)[:, None]
        return found
