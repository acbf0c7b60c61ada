"""Compares a text GAN with its baseline at equal text lengths, to see how much of its gain is due to length.

    python benchmarks/text/coco_lengths.py --work FOLDER [--name relgan] [--out coco_lengths.json]

FOLDER is that of `coco.py`. A GAN that learns to stop earlier makes fewer mistakes, and the brevity penalty of BLEU,
which uses the closest reference length, does not penalize it. The GAN's texts at temperature 1 and the baseline's at
two temperatures are subsampled to equal counts of every length. BLEU is computed against the held-out captions.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path

import gan
import torch
from coco import end_of_mle, tokenised
from gan.reporting.manifest import surroundings
from gan_text.metrics.bleu import bleu, corpora, self_bleu

COUNT, POOL = 2000, 5000
TEMPERATURES = (0.85, 1.0)


def texts(run, checkpoint, temperature, count):
    """Generated texts as lists of words."""
    model = gan.load(run, checkpoint=checkpoint)
    made = model.generate(count, 7, options={"temperature": temperature})
    return [text.split() for text in model.modality.texts(made)]


def at_equal_lengths(first, second):
    """Subsets of both with equal counts of every length."""
    pools = [defaultdict(list) for _ in range(2)]
    for pool, found in zip(pools, (first, second)):
        for text in found:
            pool[len(text)].append(text)
    counts = {length: min(len(pool[length]) for pool in pools) for length in list(pools[0])}
    return [[text for length, count in counts.items() for text in pool[length][:count]] for pool in pools]


def scores(found, held):
    ours, references = corpora(found, held)
    quality, sameness = bleu(ours, references), self_bleu(ours)
    return {
        "words": round(sum(map(len, found)) / len(found), 2),
        "bleu": [round(float(values.mean()), 4) for values in quality.values()],
        "self-bleu": [round(float(values.mean()), 4) for values in sameness.values()],
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--name", default="relgan")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    held = [line.split() for line in tokenised(options.work).read_text().splitlines()[9000:]]
    run = options.work / options.name
    game, rows = texts(run, "newest", 1.0, COUNT), []
    for temperature in TEMPERATURES:
        baseline = texts(run, int(end_of_mle(run)), temperature, POOL)
        ours, theirs = at_equal_lengths(game, baseline)
        row = {"texts": len(ours), "game": scores(ours, held), "baseline": scores(theirs, held)}
        rows.append({"temperature of the baseline": temperature, **row})
        print(rows[-1], flush=True)
    result = {
        options.name: rows,
        "words": {"game": scores(game, held)["words"], "held-out captions": scores(held, held)["words"]},
        "machine": surroundings(),
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
