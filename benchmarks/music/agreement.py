"""Compares our statistics with those of muspy (Dong et al. 2020) that are defined alike; needs ``pip install muspy``.

The phrases consist of notes of one step, of which no two of one pitch touch: muspy counts notes in scales and pitch
classes, we count sounding steps, and for such phrases the counts are equal. Intended differences: muspy's polyphony
rate requires more pitches than its threshold (2: three or more) over the whole piece, ours as many as its threshold per
bar; muspy's groove consistency counts one more empty bar if the music ends on a bar line.
"""

from __future__ import annotations

from importlib.metadata import version

import muspy
import numpy as np
from common import record
from gan_music.metrics.statistics import (
    chroma,
    groove_consistency,
    pitch_class_entropy,
    polyphony,
    scale_consistency,
    used_pitch_classes,
    used_pitches,
)

PHRASES, BARS, STEPS, PITCHES, LOWEST = 200, 4, 16, 48, 36


def phrase(rng: np.random.Generator) -> np.ndarray:
    """``(1, 1, BARS, STEPS, PITCHES)``: single steps; silent at the last step and not at the one before."""
    line = rng.random((BARS * STEPS, PITCHES)) < rng.uniform(0.01, 0.1)
    line[1:] &= ~line[:-1]
    line[-2:] = False
    line[-3], line[-2, 5] = False, True
    return line.reshape(1, 1, BARS, STEPS, PITCHES)


def theirs(roll: np.ndarray) -> muspy.Music:
    """The same notes for muspy."""
    line = roll.reshape(-1, PITCHES)
    notes = [muspy.Note(time=int(step), pitch=int(pitch) + LOWEST, duration=1) for step, pitch in np.argwhere(line)]
    return muspy.Music(resolution=4, tracks=[muspy.Track(notes=notes)])


def main() -> None:
    rng = np.random.default_rng(0)
    worst: dict[str, float] = {}
    for _ in range(PHRASES):
        roll = phrase(rng)
        music = theirs(roll)
        whole = chroma(roll, STEPS, LOWEST).sum(axis=(1, 2))
        heard = roll.reshape(1, 1, 1, -1, PITCHES)[:, :, :, :-1]  # muspy ends with the last note
        pairs = {
            "scale consistency": (scale_consistency(whole)[0], muspy.scale_consistency(music)),
            "pitch-class entropy": (pitch_class_entropy(whole)[0], muspy.pitch_class_entropy(music)),
            "polyphony (three or more)": (polyphony(heard, 3)[0, 0, 0], muspy.polyphony_rate(music, 2)),
            "groove consistency": (groove_consistency(roll)[0], muspy.groove_consistency(music, STEPS)),
            "pitches": (used_pitches(heard)[0, 0, 0], muspy.n_pitches_used(music)),
            "pitch classes": (used_pitch_classes(heard, LOWEST)[0, 0, 0], muspy.n_pitch_classes_used(music)),
        }
        for name, (ours, other) in pairs.items():
            worst[name] = max(worst.get(name, 0.0), abs(float(ours) - float(other)))
    result = {"what": f"largest differences to muspy {version('muspy')} over {PHRASES} phrases", "differences": worst}
    record("agreement", result)
    print(result)


if __name__ == "__main__":
    main()
