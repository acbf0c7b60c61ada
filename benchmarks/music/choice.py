"""Measures whether one accompanist accepts any given tracks: held-out chorales with different voices given.

The recipe `accompany` with ``model.given: any``, for `SECONDS` of CPU time. For each choice of given voices: mean tonal
distance of the composed voices to the given ones, of Bach's own, and of those of a random other phrase; and the Fréchet
distance on phrase statistics of whole phrases.
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from common import COUNT, real, record, train
from gan.api import recipe
from gan.metrics import FrechetDistance
from gan_music.metrics.features import PhraseFeatures
from gan_music.metrics.statistics import chroma, tonal_distance
from gan_music.rolls import fields_of, joined

SECONDS = 240
CHOICES = ("", "soprano", "bass", "alto,tenor", "soprano,bass", "alto,tenor,bass")


def distance(heard: np.ndarray, played: np.ndarray, given: list[int], others: list[int], music: Any) -> float:
    """Mean tonal distance of given tracks of one set to the other tracks of another."""
    a, b = (chroma(rolls, music.config.steps_per_beat, music.config.lowest) for rolls in (heard, played))
    return float(np.nanmean([tonal_distance(a[:, one], b[:, two]) for one, two in product(given, others)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, default=Path("runs/benchmark-choice"))
    run = parser.parse_args().run
    values = recipe("music", named="accompany", settings=["model.given=any", "training.samples=80000"])
    values["evaluation"] = {**values["evaluation"], "metrics": []}
    values["training"] = {**values["training"], "preview_ticks": 0}
    model, budget = train(values, run, SECONDS)
    music = model.modality
    _, pack = real(values)
    unseen = pack.take(np.random.default_rng(0).permutation(len(pack))[:COUNT])
    held = joined(unseen)
    mixed = held[np.random.default_rng(0).permutation(len(held))]
    features = PhraseFeatures()
    names = [track.name for track in music.tracks]
    rows = {}
    for choice in CHOICES:
        places = [names.index(name) for name in choice.split(",") if name]
        others = [track for track in range(len(names)) if track not in places]
        options = {"given": choice} if choice else {}
        rolls = joined(model.generate(len(held), 1, options=options, given=unseen if choice else None))
        assert np.array_equal(rolls[:, places], held[:, places])
        row = {
            "frechet": FrechetDistance().compute(features(fields_of(rolls), music), features(unseen, music))[0].value
        }
        if choice:
            for name, played in (("generated", rolls), ("real", held), ("random phrase", mixed)):
                row[name] = distance(held, played, places, others, music)
        rows[choice or "none"] = {name: round(value, 4) for name, value in row.items()}
        print(choice or "none", rows[choice or "none"], flush=True)
    record(
        "choice",
        {
            "what": "tonal distance of composed voices to whichever were given",
            "phrases": len(held),
            "phrases shown": model.trained,
            "CPU seconds": round(budget.used),
            "rows": rows,
        },
    )


if __name__ == "__main__":
    main()
