"""Do phrases end where those of the data do? The last chords of FrameGAN's and the transformer's phrases on chorales.

    python benchmarks/music/endings.py [SECONDS]

Both are trained as in `compare.py`, three CPU minutes each; 1,000 phrases beside held-out ones. Of the end of each bar
of a phrase: whether all voices sound to its end, whether the last chord has been held for a beat at least (no voice
begins later), and whether its bass is the tonic or the dominant of C major or A minor, the keys that the recipe moves
all pieces to. The first three bars say what an end in the middle of a phrase looks like.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
from common import COUNT, record, rows_of, train
from compare import values_of
from gan.build import open_data, resolve
from gan.plugins.manager import Plugins
from gan.reporting.reporter import Reporter
from gan_music.metrics.statistics import onsets
from gan_music.rolls import joined

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


def main(seconds: float = 180.0) -> None:
    plugins = Plugins.installed()
    result = {}
    for name in ("framegan", "transformer"):
        values = values_of(name, seconds)
        kept, held = open_data(resolve(values, plugins), plugins, Reporter()).split(0.1)
        with tempfile.TemporaryDirectory() as folder:
            model, budget = train(values, Path(folder, "run"), seconds)
            made = joined(model.generate(COUNT, 1))
        config = model.modality.config
        about = {"samples_shown": budget.samples, "cpu_seconds": round(budget.used)}
        result[name] = {**about, **endings(made, config.lowest, config.steps_per_beat)}
        for kind, pack in (("held out", held), ("training", kept)):
            result[kind] = endings(rows_of(pack), config.lowest, config.steps_per_beat)
    for name, row in result.items():
        print(name, row)
    record("endings", {"what": "shares of phrases, for the end of each of their four bars", **result})


if __name__ == "__main__":
    main(*map(float, sys.argv[1:2]))
