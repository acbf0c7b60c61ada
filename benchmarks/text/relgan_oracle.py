"""RelGAN on a published SeqGAN oracle, after a few minutes of training on one core.

    python benchmarks/text/relgan_oracle.py ../shared/data/text/seqgan_oracle.npz --work FOLDER [--out FILE]

Trains on 10,000 sequences of the oracle, or resumes an interrupted run, and measures the checkpoints as `curve.py`
does. The networks are smaller and training is shorter than published (Nie et al. 2019: 150 epochs, 3,000 rounds of five
discriminator updates with learning rate 1e-4); see SETTINGS.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import gan
import torch
from clock import Clock
from curve import curve
from gan.api import resume_run
from oracle_data import write

SETTINGS = {
    "plugin": "text",
    "architecture": "relgan",
    "modality": {"tokens": "numbers", "vocabulary": 5000, "length": 20},
    "loss": {"name": "relativistic-pairing"},
    "model": {
        "head_width": 64, "representations": 16, "filters": 100, "critic_repeats": 1,
        "first_sharpness": 1, "sharpness": 1,
    },
    "optimizers": {"discriminator": {"lr": 1e-3}},
    "phases": {"mle": {"samples": 64_000}, "adversarial": {"samples": 38_400}},
    "evaluation": {"metrics": [], "samples": 16, "artefacts": 4},
    "training": {
        "batch": 64, "tick": 6400, "preview_ticks": 0, "checkpoint_ticks": 1, "keep_checkpoints": 100, "device": "cpu",
    },
}  # fmt: skip


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("weights", type=Path)
    parser.add_argument(
        "--work", type=Path, required=True, help="data and run folder; kept, so that runs can be resumed"
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    run, data, clock = options.work / "run", options.work / "data", Clock(options.work / "seconds")
    if not data.exists():
        write(options.weights, data, seed=0)
    if (run / "recipe.yaml").exists():
        resume_run(run, reporter=clock)
    else:
        options.work.mkdir(parents=True, exist_ok=True)
        gan.train({**SETTINGS, "data": {"source": str(data)}}, out=run, reporter=clock)
    result = {"settings": SETTINGS, "training_cpu_seconds": round(float(clock.file.read_text()))}
    result |= curve(run, options.weights, last=8)
    options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
