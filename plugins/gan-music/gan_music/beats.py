"""Finds the beats of files whose notes do not lie on them, as in recordings of performances.

The grid of such a file is a click that nobody played to: POP909 (Wang et al. 2020, arXiv:2008.07142), for one, has the
tempo of its songs, but their first beat anywhere. Without this, notes that are together and repeat from bar to bar
fall on other steps in every song.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from gan_music.reading import Part, Score

Array = np.ndarray[Any, Any]

PARTS = 4
"""Parts of a quarter note, by which the strength of a place in the bar is told."""
BETTER = 1.1
"""How much more notes must fall on strong places than by the file's own bars, for the bars to be moved."""


def strengths(quarters: float) -> Array:
    """``(quarters · PARTS,)``: 4 for the first place of a bar, 3 for its middle if that is a quarter note, 2 for other
    quarter notes, 1 for eighths, 0 for the rest."""
    found = np.zeros(round(quarters * PARTS))
    found[:: PARTS // 2] = 1
    found[::PARTS] = 2
    if quarters % 2 == 0:
        found[len(found) // 2] = 3
    found[0] = 4
    return found


def lateness(score: Score, quarters: float) -> int:
    """Ticks by which the bars that the notes suggest begin after those of the file, less than a bar; 0: as they are.

    Each note counts by its length, up to a bar. Their mean phase within a sixteenth gives the fine position, and the
    places in the bar on which most of their weight is strong give the rest.
    """
    notes = np.concatenate([part.notes for part in score.parts])
    part, bar = score.division / PARTS, quarters * score.division
    weights = np.minimum(notes[:, 1] - notes[:, 0], bar).astype(float) + 1.0
    turns = np.exp(2j * np.pi * notes[:, 0] / part)
    phase = np.angle((weights * turns).sum()) / (2 * np.pi) * part
    strong = strengths(quarters)

    def strength(late: float) -> float:
        """The mean strength of the notes' places where bars begin `late` ticks later."""
        places = (notes[:, 0] - late) / part
        nearest = np.rint(places)
        found = weights * strong[nearest.astype(np.int64) % len(strong)] * (np.abs(places - nearest) <= 0.25)
        return float(found.sum() / weights.sum())

    candidates = [float((phase + part * place) % bar) for place in range(len(strong))]
    best = max(candidates, key=strength)
    return round(best) if strength(best) > BETTER * strength(0.0) else 0


def aligned(score: Score, quarters: float) -> tuple[Score, int]:
    """The piece with its bars where its notes suggest them, and by how many ticks everything was moved later."""
    late = lateness(score, quarters)
    if not late:
        return score, 0
    moved = round(quarters * score.division) - late  # the first bar begins with silence
    shift = np.array([moved, moved, 0, 0])
    parts = [Part(part.name, part.program, part.drums, part.notes + shift) for part in score.parts]
    meters = [(tick + moved if tick else 0, above, below) for tick, above, below in score.meters]
    tempos = [(tick + moved if tick else 0, pace) for tick, pace in score.tempos]
    return dataclasses.replace(score, parts=parts, meters=meters, tempos=tempos), moved
