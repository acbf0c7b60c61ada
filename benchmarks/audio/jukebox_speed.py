"""Thirty seconds of Jukebox: memory and speed on one CPU thread; random weights suffice.

    python benchmarks/audio/jukebox_speed.py

The networks of the recipe `jukebox` (8 kHz, two levels) make 10 and 30 seconds in parts, as ``gan generate --stream``
does. Recorded are the resident memory before, its peak, and seconds of sound by seconds of CPU time.
"""

from __future__ import annotations

import json
import os
import resource
import time
from pathlib import Path

import torch
from gan.api import recipe
from gan.contracts import Request
from gan.draws import SeededDraws
from gan.reporting.manifest import surroundings
from gan_audio.architectures.jukebox import Jukebox, JukeboxConfig, JukeboxOptions
from gan_audio.modality import Audio, AudioConfig


def resident() -> float:
    """Peak of the resident memory so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    values = recipe("audio", named="jukebox")
    model = Jukebox(JukeboxConfig(**values["model"]), Audio(AudioConfig(**values["modality"])).fields).eval()
    for level in model.autoencoder.levels:
        level.codebook.vectors.normal_()
    before, rows = resident(), {}
    with torch.no_grad():
        for seconds in (10, 30):
            rng = SeededDraws.of(0, 0, 1, torch.device("cpu"))
            began, samples = time.process_time(), 0
            for part in model.stream(rng, Request(JukeboxOptions(seconds=seconds))):
                samples += part["sound"].shape[2]
            spent = time.process_time() - began
            rows[seconds] = {
                "samples": samples,
                "cpu_seconds": spent,
                "times_real_time": seconds / spent,
                "peak_MB": resident(),
            }
    result = {"MB_before": before, "seconds": rows, "load": os.getloadavg(), **surroundings("transformers")}
    Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({"MB_before": before, "seconds": rows}, indent=1))


if __name__ == "__main__":
    main()
