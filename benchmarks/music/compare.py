"""The composition models, binary neurons, the temporal model and the transformer on Bach's chorales, for equal CPU
time.

Each row is measured on 1,000 phrases: means over the tracks, the distance from the data, and the Fréchet distance on
phrase statistics to 1,000 held-out phrases (that of real training phrases is the lower bound).
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from common import COUNT, HERE, record, rows_of, table, train, untrained, with_rests
from gan import recipe as recipes
from gan.build import open_data, recipe_values, resolve
from gan.metrics import FrechetDistance
from gan.plugins.manager import Plugins
from gan.reporting.reporter import Reporter
from gan_music.metrics.features import PhraseFeatures
from gan_music.metrics.statistics import chroma, tonal_distance
from gan_music.rolls import joined

A_SECOND = {"frames": 370, "accompany": 500, "accompaniment": 180, "transformer": 85}
"""Phrases trained on per CPU second on the machine of the recorded result, for recipes whose learning rate decays to
the end and so need the length of training in advance."""
SHOWN = (
    "empty-bars",
    "pitches",
    "pitch-classes",
    "polyphony",
    "note-length",
    "tonal-distance",
    "scale-consistency",
    "pitch-class-entropy",
    "groove-consistency",
    "notes-per-bar",
)
ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "composer": ("musegan", {"composition": "composer"}),
    "jamming": ("musegan", {"composition": "jamming"}),
    "hybrid": ("musegan", {"composition": "hybrid"}),
    "deterministic neurons": ("binary", {"neuron": "deterministic"}),
    "stochastic neurons": ("binary", {"neuron": "stochastic"}),
    "temporal hybrid": ("temporal", {}),
    "transformer": ("transformer", {}),
    "accompaniment": ("accompaniment", {}),
    "framegan": ("frames", {}),
    "framegan accompaniment": ("accompany", {}),
}


def values_of(row: str, seconds: float) -> dict[str, Any]:
    named, model = ROWS[row]
    values = recipe_values(Plugins.installed(), "music", named=named)
    values["model"] = {**values["model"], **model}
    values["data"] = {**values["data"], "holdout": 0.1}
    values["evaluation"] = {"metrics": [], "samples": 16, "artefacts": 0}
    values["training"] = {**values["training"], "tick": 256, "preview_ticks": 0, "checkpoint_ticks": 1000}
    if named == "binary":  # two thirds of the time for the first stage, at the rate measured for it
        values["phases"] = {"pretraining": {"samples": int(seconds * 100)}, "binary": {"samples": 1_000_000}}
    elif named in A_SECOND:
        values["training"].update(samples=int(seconds * A_SECOND[named]), checkpoint_ticks=100)
    else:
        values["training"]["samples"] = 1_000_000
    return values


def frechet(rolls: np.ndarray, held: np.ndarray, music: Any) -> float:
    features = [PhraseFeatures()({"roll": r}, music) for r in (rolls, held)]
    return round(FrechetDistance().compute(*features)[0].value, 4)


def accompanied(rolls: np.ndarray, held: np.ndarray, music: Any) -> dict[str, float]:
    """Mean tonal distance to the held-out soprano: of the composed voices, the real ones, and those of random other
    phrases."""

    def distance(others: np.ndarray) -> float:
        melody, below = (chroma(r, music.config.steps_per_beat, music.config.lowest) for r in (held, others))
        return float(np.nanmean([tonal_distance(melody[:, 0], below[:, track]) for track in (1, 2, 3)]))

    order = np.random.default_rng(0).permutation(len(held))
    found = {"generated": distance(rolls), "real": distance(held), "random phrase": distance(held[order])}
    return {name: round(value, 4) for name, value in found.items()}


def main(seconds: float = 60.0, *names: str) -> None:
    plugins = Plugins.installed()
    first = values_of("composer", seconds)
    kept, held = open_data(resolve(first, plugins), plugins, Reporter()).split(0.1)
    result: dict[str, Any] = {
        "what": "1,000 phrases after equal CPU time on Bach's chorales",
        "cpu_seconds_each": seconds,
        "rows": {},
    }
    old = HERE / "compare.json"
    if names and old.exists():
        result = {**recipes.read_values(old), "cpu_seconds_each": seconds}
    music = untrained(first).modality
    held_rolls = rows_of(held)
    result["data"] = {"table": table(held_rolls, music), "frechet": frechet(rows_of(kept), held_rolls, music)}
    noise = untrained(first).generate(COUNT, 1, options={"binarisation": "bernoulli"})["roll"]
    result["untrained"] = {"table": table(noise, music), "frechet": frechet(noise, held_rolls, music)}
    for row in names or ROWS:
        with tempfile.TemporaryDirectory() as folder:
            model, budget = train(values_of(row, seconds), Path(folder, "run"), seconds)
            given = None
            if "accompaniment" in row:  # the same phrases as its own recipe has them
                _, own = open_data(resolve(values_of(row, seconds), plugins), plugins, Reporter()).split(0.1)
                given = own.take(np.resize(np.arange(len(own)), COUNT))
            rolls = with_rests(joined(model.generate(COUNT, 1, given=given)))
        found: dict[str, Any] = {
            "table": table(rolls, music),
            "frechet": frechet(rolls, held_rolls, music),
            "samples_shown": budget.samples,
            "cpu_seconds": round(budget.used),
            "parameters": {
                n: sum(p.numel() for _, p in pl.named_parameters()) for n, pl in model.architecture.players().items()
            },
        }
        if given is not None:
            found["tonal distance to the melody"] = accompanied(rolls, with_rests(joined(given)), music)
        result["rows"][row] = found
        result.pop("machine", None)
        record("compare", result)
        print(row, found["frechet"], {name: found["table"].get(name) for name in SHOWN}, flush=True)


if __name__ == "__main__":
    main(*([float(sys.argv[1]), *sys.argv[2:]] if sys.argv[1:] else []))
