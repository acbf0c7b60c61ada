"""When a discriminator's score of a text is correlated with the oracle's likelihood.

    python benchmarks/text/informative.py RUN WEIGHTS.npz [--checkpoint 200000] [--out FILE]

RUN is a training run on the oracle's data; its generator at the end of maximum likelihood is not updated.
Discriminators are trained on the real sequences of the run and on negatives sampled at several temperatures, 64 + 64
per step. Then 4,000 fresh sequences at temperature 1 are scored by the discriminator and by the oracle: rewards can
improve NLL-oracle only if the two scores are correlated.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import gan
import numpy as np
import torch
from gan.reporting.manifest import surroundings
from gan_text.architectures.seqgan import Discriminator
from gan_text.oracle import load_oracle, nll_oracle, oracle_samples
from torch.nn.functional import softplus

FILTERS = [(1, 32), (2, 64), (3, 64)]
SETTINGS = [  # temperature of the negatives, reach of the initial embeddings, pooling
    (1.0, 1.0, "max"), (1.0, 0.17, "max"), (1.0, 0.17, "sum"),
    (1.3, 0.17, "sum"), (1.6, 0.17, "sum"), (2.0, 0.17, "sum"), (1.6, 0.17, "max"),
]  # fmt: skip
STEPS, HALF = 400, 64


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--checkpoint", type=int, default=200_000)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    oracle = load_oracle(options.weights)
    generator = gan.load(options.run, checkpoint=options.checkpoint).architecture.generator
    real = torch.from_numpy(oracle_samples(oracle, 10_000, 20, 0))  # as in `oracle_data.py`
    fresh_real = torch.from_numpy(oracle_samples(oracle, 2000, 20, 99))
    judged = generator.sample(torch.rand(4000, 20))
    truth = nll_oracle(oracle, judged).numpy()
    rows = []
    for temperature, reach, pooling in SETTINGS:
        negatives = generator.sample(torch.rand(20_000, 20), temperature=temperature)
        discriminator = Discriminator(5000, 20, 32, FILTERS, 0.75, pooling, reach)
        optimizer = torch.optim.Adam(discriminator.parameters(), lr=0.005)
        started = time.process_time()
        for _ in range(STEPS):
            texts = torch.cat([real[torch.randint(10_000, (HALF,))], negatives[torch.randint(20_000, (HALF,))]])
            scores = discriminator(texts, torch.rand(2 * HALF, discriminator.features))
            loss = (
                0.5 * (softplus(-scores[:HALF]).mean() + softplus(scores[HALF:]).mean()) + 0.01 * discriminator.decay()
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        seconds = time.process_time() - started
        with torch.no_grad():
            opinion, trained, fresh = discriminator(judged), discriminator(real[:2000]), discriminator(fresh_real)
        best = truth[opinion.topk(400).indices.numpy()].mean()
        rows.append(
            {
                "negatives_temperature": temperature,
                "reach": reach,
                "pooling": pooling,
                "above_zero": {
                    "trained real": round(float((trained > 0).float().mean()), 3),
                    "fresh real": round(float((fresh > 0).float().mean()), 3),
                    "generated": round(float((opinion > 0).float().mean()), 3),
                },
                "correlation_with_nll_oracle": round(float(np.corrcoef(opinion.numpy(), truth)[0, 1]), 3),
                "nll_oracle": {"all": round(float(truth.mean()), 3), "best tenth": round(float(best), 3)},
                "cpu_seconds": round(seconds, 1),
            }
        )
        print(rows[-1], flush=True)
    if options.out:
        options.out.write_text(json.dumps({"discriminators": rows, "machine": surroundings()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
