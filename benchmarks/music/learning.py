"""Does it learn? MuseGAN on POP909 for ten minutes of CPU time: statistics before, after, and of phrases held out.

How far a statistic went: (after - before) / (data - before). Before training no cell of a roll exceeds one half, so the
untrained generator is measured with its notes drawn by their probability; after training notes are those above one
half.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
from common import HERE, real, recipe_from, record, table, train, untrained

COUNT = 1000
JUDGED = ("scale-consistency", "empty-bars", "qualified-notes", "polyphony")


def main(seconds: float = 600.0) -> None:
    values = recipe_from(HERE / "pop909.yaml")
    kept, held = real(values)
    rows = held.take(np.arange(min(COUNT, len(held))))["roll"]
    with tempfile.TemporaryDirectory() as folder:
        model, budget = train(values, Path(folder, "run"), seconds)
        music = model.modality
        before = table(untrained(values).generate(COUNT, 1, options={"binarisation": "bernoulli"})["roll"], music)
        after = {
            how: table(model.generate(COUNT, 1, options={"binarisation": how})["roll"], music)
            for how in ("threshold", "bernoulli")
        }
        model.modality.preview(model.generate(8, 1)).save(HERE / "learning.png")
    data = table(rows, music)
    way = {
        how: {name: round((found[name] - before[name]) / (data[name] - before[name]), 3) for name in JUDGED}
        for how, found in after.items()
    }
    record(
        "learning",
        {
            "what": "MuseGAN (composer, width 128) on POP909, statistics of 1,000 phrases",
            "cpu_seconds": round(budget.used),
            "samples_shown": budget.samples,
            "training_phrases": len(kept),
            "held_out_phrases": len(rows),
            "share_of_the_way": way,
            "untrained": before,
            "generated": after,
            "data": data,
        },
    )
    for how, shares in way.items():
        print(how, shares)


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
