"""VQ-VAE on decaying sines: do errors fall, and do the codes stay in use?

    python benchmarks/audio/vqvae_toy.py

400 sounds of half a second at 8 kHz, each one decaying sine of a drawn frequency, or the sum of three; the recipe
`vqvae` (16 samples a code, 64 codes) with batches of 16, for 200 updates. Reported are means over 25 updates each:
squared errors relative to the variance, spectral distances relative to the norms, and the entropy of the codes in nats
(at most ln 64 = 4.16); then figures on 64 unseen sounds.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from gan.api import evaluate, recipe, train
from gan.reporting.manifest import surroundings

HERE = Path(__file__).parent
RATE, SECONDS, BATCH, UPDATES, EVERY = 8000, 0.512, 16, 200, 25


def tones(folder: Path, count: int, sines: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    time_ = np.arange(round(RATE * SECONDS)) / RATE
    for number in range(count):
        parts = [
            rng.uniform(0.3, 1)
            * np.exp(-time_ * rng.uniform(2, 12))
            * np.sin(2 * np.pi * rng.uniform(80, 1500) * time_ + rng.uniform(0, 2 * np.pi))
            for _ in range(sines)
        ]
        wave = sum(parts)
        soundfile.write(folder / f"{number:03}.wav", 0.9 * wave / np.abs(wave).max(), RATE)


def trained(sines: int, updates: int) -> dict[str, Any]:
    """Train on sums of so many sines, and measure."""
    began = time.process_time()
    with tempfile.TemporaryDirectory() as temporary:
        data, unseen = Path(temporary) / "data", Path(temporary) / "unseen"
        for folder, seed in ((data, 0), (unseen, 1)):
            folder.mkdir()
            tones(folder, 400 if folder is data else 64, sines, seed)
        values = recipe("audio", named="vqvae")
        values["data"] = {"source": str(data)}
        values["training"] |= {
            "samples": updates * BATCH,
            "batch": BATCH,
            "tick": EVERY * BATCH,
            "preview_ticks": 0,
        }
        run = Path(temporary) / "run"
        train(values, out=run)
        seconds = time.process_time() - began
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        terms = {line["samples"] // BATCH: line["terms"] for line in lines if "terms" in line}
        found = evaluate(run, against=str(unseen), metrics=("stft", "codebook-use", "si-sdr"), count=64)
    return {
        "updates": {
            number: {
                "squares": now["autoencoder/squares0"],
                "spectrum": now["autoencoder/spectrum0"],
                "entropy_nats": now["autoencoder/_entropy0"] * math.log(2),
            }
            for number, now in terms.items()
            if number in (25, 50, 100, 200, 300, 400, 500)
        },
        "unseen": {value.name: value.value for receipt in found for value in receipt.values},
        "cpu_seconds_of_training": seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--updates", type=int, default=UPDATES)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    result = {f"sines: {sines}": trained(sines, arguments.updates) for sines in (1, 3)}
    report = {**result, "load": os.getloadavg(), **surroundings("soundfile", "soxr")}
    (HERE / "vqvae_toy.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
