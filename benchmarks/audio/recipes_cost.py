"""What the recipes for a CPU cost: resident memory at the peak, and minutes of CPU time of one thread.

    python benchmarks/audio/recipes_cost.py [RECIPE …]

Each recipe is trained in a process of its own on hits of the default dataset (those for recordings on one recording of
200 hits), with all its sizes, but with phases of a few updates only. The CPU time of a sample is that between the first
and the last tick of a phase, so that nothing of the start counts, and the minutes of the whole training are
extrapolated from it to the lengths of the recipe; its evaluations are not counted. Memory is the peak of the process,
in which two samples are generated; that of the largest process that packs data, which ends before the training, is
stated beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
import torch
from gan.api import recipe, train
from gan.reporting.manifest import surroundings
from gan.reporting.reporter import Tick
from gan_audio.percussion import KINDS, RATE, hit

HERE = Path(__file__).parent
RECIPES = ("percussion", "hifigan-small", "vocos-small", "codec", "vqvae", "jukebox")
PHASES = {"warm-up": "warm_up", "autoencoder": "autoencoder_samples", "upsampler0": "upsampler_samples"}
"""Phases whose length is a setting of the section `model`; the other's is ``training.samples``."""
UPDATES = 9
"""Of each phase; eight of them are timed, so that a penalty of every eighth update counts once."""


def megabytes(who: int) -> float:
    return resource.getrusage(who).ru_maxrss / 1024


def measure(name: str, folder: Path) -> dict[str, object]:
    """Train one recipe, in this process."""
    torch.set_num_threads(1)
    values = recipe("audio", named=name)
    if values["modality"].get("labels") != "folder":
        values["data"] = {"source": str(folder / "data")}
    batch, model = values["training"]["batch"], values["model"]
    lengths = {"": values["training"]["samples"]}
    lengths |= {phase: model[key] for phase, key in PHASES.items() if model.get(key)}
    model |= {key: UPDATES * batch for phase, key in PHASES.items() if phase in lengths}
    values["training"] |= {"samples": UPDATES * batch, "tick": batch, "preview_ticks": 0, "checkpoint_ticks": 1000}
    values["evaluation"] |= {"samples": 2, "artefacts": 1, "metrics": []}
    ticks: dict[str, list[tuple[int, float]]] = {}

    def on_tick(tick: Tick) -> None:
        ticks.setdefault(tick.phase, []).append((tick.samples, time.process_time()))

    train(values, out=folder / "run", on_tick=on_tick)
    phases = {}
    for phase, seen in ticks.items():
        (first, began), (last, ended) = seen[0], seen[-1]
        length = lengths.get(phase, lengths[""])
        seconds = (ended - began) / (last - first)
        phases[phase] = {"samples": length, "CPU ms a sample": 1000 * seconds, "minutes": seconds * length / 60}
    return {
        "phases": phases,
        "minutes": sum(phase["minutes"] for phase in phases.values()),
        "MB": megabytes(resource.RUSAGE_SELF),
        "MB of the largest packing process": megabytes(resource.RUSAGE_CHILDREN),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipes", nargs="*", default=RECIPES)
    parser.add_argument("--one", type=Path, help="measure in this process, with this folder for data and run")
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.recipes[0], arguments.one)))
        return
    path = HERE / "recipes_cost.json"
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else {}
    for name in arguments.recipes:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "data"
            folder.mkdir()
            hits = [hit(kind, number) for number in range(200 // len(KINDS)) for kind in KINDS]
            soundfile.write(folder / "hits.wav", np.concatenate(hits), RATE)
            command = [sys.executable, __file__, name, "--one", temporary]
            told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        rows[name] = json.loads(told.splitlines()[-1])
        print(name, json.dumps(rows[name]))
        result = {"rows": rows, "load": os.getloadavg(), **surroundings("soundfile", "soxr", "transformers")}
        path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
