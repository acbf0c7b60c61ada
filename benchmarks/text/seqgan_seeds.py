"""Results of `seqgan-fast` with other seeds and on other oracles; it was tuned on one oracle with one seed.

    python benchmarks/text/seqgan_seeds.py --work FOLDER [--out FILE]

Four runs of the recipe, each with its own seed for the real sequences and for training: two on the published oracle,
two on new oracles. A row has the end of maximum likelihood (the first phase of the same run), the end of SeqGAN, and
the end of maximum likelihood at lower temperatures, which trade diversity for quality without a GAN. The oracle's own
samples and uniform tokens give the scale of each oracle.

Rows that are in the file are not measured again; interrupted runs are resumed.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import gan
import numpy as np
import torch
from clock import Clock
from curve import COUNT, LENGTH, measured, texts_of
from gan.api import recipe, resume_run, train
from gan.reporting.manifest import surroundings
from gan.testing import real_file
from gan_text.oracle import draw_oracle, load_oracle, nll_oracle, oracle_samples, write_oracle_data

RUNS = {"published oracle, seed 1": 1, "published oracle, seed 2": 2, "new oracle 1": 1, "new oracle 2": 2}
TEMPERATURES = (0.7, 0.8)


def oracle_data(name, seed, folder):
    """Write the real sequences of a run and their oracle to a folder, unless it exists."""
    if not (folder / "sentences.txt").exists():
        folder.mkdir(parents=True, exist_ok=True)
        if name.startswith("published"):
            with np.load(real_file("text", "seqgan_oracle.npz"), allow_pickle=False) as file:
                arrays = {key: file[key] for key in file.files}
        else:
            arrays = draw_oracle(seed=seed)
        write_oracle_data(folder, arrays, length=LENGTH, seed=seed)
    return folder


def trained(run, data, seed):
    """CPU seconds of training; starts or resumes the training unless it is finished."""
    clock = Clock(run.with_suffix(".seconds"))
    if (run / "recipe.yaml").exists():
        resume_run(run, reporter=clock)
    else:
        values = recipe("text", named="seqgan-fast", settings=["training.keep_checkpoints=100", f"seed={seed}"])
        train(values | {"data": {"source": str(data)}}, out=run, reporter=clock)
    return float(clock.file.read_text())


def row(run, data):
    """NLL-oracle with its error, distinct-2 and Self-BLEU-2 of both ends, and of the first at lower temperatures."""
    oracle = load_oracle(data / "oracle.npz")
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    (end,) = [record["samples"] for record in records if record.get("reference")]
    known = sorted(int(path.name.removeprefix("samples-")) for path in (run / "checkpoints").glob("samples-*"))
    # the discriminator's phase, which is longer than the checkpoint interval, does not change the generator
    likelihood = gan.load(run, checkpoint=next(samples for samples in known if samples >= end))
    own = torch.from_numpy(oracle_samples(oracle, COUNT, LENGTH, 99))
    chance = torch.randint(oracle.words, (COUNT, LENGTH), generator=torch.Generator().manual_seed(0))
    return {
        "mle": measured(texts_of(likelihood, 0), oracle),
        "seqgan": measured(texts_of(gan.load(run), 0), oracle),
        "mle at lower temperatures": {str(t): measured(texts_of(likelihood, 0, t), oracle) for t in TEMPERATURES},
        "oracle's own samples": round(float(nll_oracle(oracle, own).mean()), 3),
        "uniform tokens": round(float(nll_oracle(oracle, chance).mean()), 3),
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--work", type=Path, required=True, help="data and runs; kept, so that runs can be resumed")
    options = parser.parse_args()
    torch.set_num_threads(1)
    result = json.loads(options.out.read_text()) if options.out.exists() else {"runs": {}}
    for name, seed in RUNS.items():
        if name in result["runs"]:
            continue
        folder = options.work / name.replace(",", "").replace(" ", "-")
        data = oracle_data(name, seed, folder / "data")
        seconds = trained(folder / "run", data, seed)
        result["runs"][name] = row(folder / "run", data) | {"cpu_seconds_of_training": round(seconds)}
        result["machine"] = surroundings()
        options.out.write_text(json.dumps(result, indent=1) + "\n")
        print(name, json.dumps(result["runs"][name]), flush=True)


if __name__ == "__main__":
    main()
