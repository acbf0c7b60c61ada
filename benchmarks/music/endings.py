"""Do phrases end where those of the data do? The last chords of FrameGAN's and the transformer's phrases on chorales.

    python benchmarks/music/endings.py [SECONDS]

FrameGAN is trained with three seeds, the transformer with one, as in `compare.py`, three CPU minutes each; 1,000
phrases beside held-out ones. Of the end of each bar
of a phrase: whether all voices sound to its end, whether the last chord has been held for a beat at least (no voice
begins later), and whether its bass is the tonic or the dominant of C major or A minor, the keys that the recipe moves
all pieces to. The first three bars say what an end in the middle of a phrase looks like.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
from common import COUNT, record, rows_of, table, train, with_rests
from compare import frechet, values_of
from gan.build import open_data, resolve
from gan.plugins.manager import Plugins
from gan.reporting.reporter import Reporter
from gan_music.metrics.statistics import onsets
from gan_music.rolls import joined

TRANSFORMER = ("transformer", "transformer", 0)
STABLE = (0, 7, 9, 4)
"""Pitch classes of the bass: tonic and dominant of C major (C, G) and of A minor (A, E)."""


def endings(rolls: np.ndarray, lowest: int, beat: int) -> dict[str, list[float]]:
    """Shares of phrases ``(N, track, bar, step, pitch)``, for each of their bars."""
    last = rolls[:, :, :, -2]  # (N, track, bar, pitch); the last step is silent before a repeated note
    sounding = last.any(3).all(1)
    held = ~onsets(rolls)[:, :, :, -beat + 1 :].any(axis=(1, 3, 4))
    bass = np.where(last.any((1, 3)), last.any(1).argmax(2), -1)
    stable = (bass >= 0) & np.isin((bass + lowest) % 12, STABLE)
    found = {"all voices sound": sounding, "held for a beat": sounding & held, "on tonic or dominant": stable}
    return {name: [round(float(share), 3) for share in values.mean(0)] for name, values in found.items()}


def struck(rolls: np.ndarray) -> dict[str, float]:
    """Per bar: notes that repeat the pitch before them without a rest, and steps at which any note begins."""
    bars = rolls.shape[0] * rolls.shape[2]
    starts = onsets(rolls)
    return {
        "repeated notes": round(float((starts & ~onsets(rolls > 0)).sum()) / bars, 3),
        "steps with an onset": round(float(starts.any((1, 4)).sum()) / bars, 3),
    }


def main(seconds: float = 180.0) -> None:
    plugins = Plugins.installed()
    result = {}
    for name, row, seed in (*((f"framegan, seed {seed}", "framegan", seed) for seed in range(3)), TRANSFORMER):
        values = {**values_of(row, seconds), "seed": seed}
        kept, held = open_data(resolve(values, plugins), plugins, Reporter()).split(0.1)
        with tempfile.TemporaryDirectory() as folder:
            model, budget = train(values, Path(folder, "run"), seconds)
            made = joined(model.generate(COUNT, 1))
        config = model.modality.config
        about = {"samples_shown": budget.samples, "cpu_seconds": round(budget.used)}
        told = {
            "frechet": frechet(with_rests(made), with_rests(rows_of(held)), model.modality),
            **{key: table(made, model.modality)[key] for key in ("notes-per-bar", "note-length", "groove-consistency")},
            **struck(made),
        }
        result[name] = {**about, **told, **endings(made, config.lowest, config.steps_per_beat)}
        for kind, pack in (("held out", held), ("training", kept)):
            rows = rows_of(pack)
            result[kind] = {**struck(rows), **endings(rows, config.lowest, config.steps_per_beat)}
    for name, row in result.items():
        print(name, row)
    record("endings", {"what": "shares of phrases, for the end of each of their four bars", **result})


if __name__ == "__main__":
    main(*map(float, sys.argv[1:2]))
