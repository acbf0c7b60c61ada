"""NLL-oracle, NLL-gen and diversity at the checkpoints of a run on an oracle.

    python benchmarks/text/curve.py RUN WEIGHTS.npz [--out FILE]

Each checkpoint generates 2,000 sequences with its own seed; NLL-gen is over 2,000 fresh sequences of the oracle. The
end of maximum likelihood and the last checkpoint are also measured at other temperatures: quality against diversity.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import gan
import torch
from gan.reporting.manifest import surroundings
from gan_text.metrics.bleu import Corpus, distinct, self_bleu
from gan_text.oracle import load_oracle, nll_oracle, oracle_samples

COUNT, LENGTH = 2000, 20
TEMPERATURES = (0.7, 0.8, 0.85, 0.9, 1.0, 1.1, 1.2)


def texts_of(model, seed, temperature=1.0):
    """``(COUNT, LENGTH)`` tokens."""
    made = model.generate(COUNT, seed, options={"temperature": temperature})
    return torch.from_numpy(made["tokens"].astype("int64"))


def measured(tokens, oracle):
    """NLL-oracle, its standard error, distinct-2 and Self-BLEU-2 of generated tokens."""
    own = nll_oracle(oracle, tokens)
    corpus = Corpus.padded(tokens.numpy(), torch.full((COUNT,), LENGTH).numpy())
    return {
        "nll_oracle": round(float(own.mean()), 3),
        "error": round(float(own.std() / COUNT**0.5), 3),
        "distinct_2": round(distinct(corpus, (2,))[2], 3),
        "self_bleu_2": round(float(self_bleu(corpus, (2,))[2].mean()), 3),
    }


def curve(run, weights, last=0):
    """Rows of the `last` checkpoints (0: all), rows at other temperatures, and that of the oracle."""
    oracle = load_oracle(weights)
    fresh = torch.from_numpy(oracle_samples(oracle, COUNT, LENGTH, 99))
    phases = {}
    for line in (run / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line)
        phases[record["samples"]] = record["phase"]
    lengths = torch.full((COUNT,), LENGTH)
    rows, ends = [], {}
    for checkpoint in sorted((run / "checkpoints").glob("samples-*"))[-last:]:
        samples = int(checkpoint.name.removeprefix("samples-"))
        model = gan.load(run, checkpoint=samples)
        row = measured(texts_of(model, samples), oracle)
        with torch.no_grad():
            parts = zip(fresh.split(500), lengths.split(500))
            nats = sum(float(model.architecture.nll({"tokens": t, "length": n})[0].sum()) for t, n in parts)
        row["nll_gen"] = round(nats / fresh.numel(), 3)
        rows.append({"samples": samples, "phase": phases.get(samples, ""), **row})
        if rows[-1]["phase"] == "mle":
            ends["mle"] = model
        ends["last"] = model
        print(rows[-1], flush=True)
    return {
        "checkpoints": rows,
        "temperatures": {
            name: {str(t): measured(texts_of(model, 0, t), oracle) for t in TEMPERATURES}
            for name, model in ends.items()
        },
        "oracle": measured(fresh, oracle),
        "machine": surroundings(),
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--last", type=int, default=0, help="number of last checkpoints; 0: all")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    result = curve(options.run, options.weights, options.last)
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
