"""Measures learning: a GAN trained for ten minutes of CPU time; statistics before, during and after, and of real data.

``learning.py [SECONDS [FOLDER]]``: ``pop909.yaml`` beside this file. A run in FOLDER is kept; started again, it
resumes from its newest checkpoint.

How far a statistic went: (after - before) / (data - before); 1 is the data's value, more than 1 too far. Phrases before
and after are made in the same way, the recipe's own: what `gan generate` does when nothing else is said.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
from common import HERE, Budget, Model, real, recipe_from, record, table, train, untrained
from gan_music.rolls import joined

COUNT = 1000
JUDGED = ("scale-consistency", "empty-bars", "qualified-notes", "polyphony")


def main(seconds: float = 600.0, folder: str | None = None) -> None:
    values = recipe_from(HERE / "pop909.yaml")
    kept, held = real(values)
    fresh = untrained(values)
    music = fresh.modality
    data = table(joined(held.take(np.arange(min(COUNT, len(held))))), music)
    before = table(joined(fresh.generate(COUNT, 1)), music)

    def way(found: dict[str, float]) -> dict[str, float]:
        return {name: round((found[name] - before[name]) / (data[name] - before[name]), 3) for name in JUDGED}

    curve: list[dict[str, float]] = []

    def judge(model: Model, budget: Budget) -> None:
        shares = way(table(joined(model.generate(COUNT // 4, 1)), music))
        curve.append({"cpu_seconds": round(budget.used), "samples": budget.samples, **shares})
        print(curve[-1], flush=True)

    with tempfile.TemporaryDirectory() as own:
        model, budget = train(values, Path(folder or own, "run"), seconds, judge)
        after = table(joined(model.generate(COUNT, 1)), music)
        others = {
            how: {
                name: table(joined(made.generate(COUNT // 4, 1, options={"binarisation": how})), music)
                for name, made in (("untrained", fresh), ("generated", model))
            }
            for how in ("threshold", "bernoulli")
        }
        model.modality.preview(model.generate(8, 1)).save(HERE / "learning.png")
    shares = way(after)
    record(
        "learning",
        {
            "what": f"{values['architecture']} on POP909, {COUNT} phrases made as the recipe makes them",
            "cpu_seconds": round(budget.used),
            "samples_shown": budget.samples,
            "training_phrases": len(kept),
            "held_out_phrases": len(held),
            "share_of_the_way": shares,
            "aim": 0.8,
            "left_of_the_way": {name: round(abs(1 - share), 3) for name, share in shares.items()},
            "on_the_way": curve,
            "untrained": before,
            "generated": after,
            "data": data,
            "by_other_binarisations": {
                how: {name: {key: found[key] for key in JUDGED} for name, found in pair.items()}
                for how, pair in others.items()
            },
        },
    )
    print(shares)


if __name__ == "__main__":
    main(*map(float, sys.argv[1:2]), *sys.argv[2:4])
