"""CPU time of BLEU-2 … 5 of 1,000 sentences on 10,000 and of Self-BLEU of 10,000, compared with NLTK.

    python benchmarks/text/bleu.py [--nltk 3] [--out FILE]

Sentences of 15 to 25 words, Zipf-distributed over 5,000. NLTK takes half a second per sentence and order, so it scores
the first few sentences only; its total time is extrapolated.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np
from gan.reporting.manifest import surroundings
from gan_text.metrics.bleu import Corpus, bleu, self_bleu
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu


def sentences(count, random):
    shares = 1 / np.arange(1, 5001)
    lengths = random.integers(15, 26, count)
    return Corpus(random.choice(5000, lengths.sum(), p=shares / shares.sum()), lengths)


def as_lists(corpus):
    return [part.tolist() for part in np.split(corpus.words, np.cumsum(corpus.lengths)[:-1])]


def timed(work):
    """(median CPU seconds of five, the last result)."""
    seconds = []
    for _ in range(5):
        started = time.process_time()
        result = work()
        seconds.append(time.process_time() - started)
    return statistics.median(seconds), result


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--nltk", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    random = np.random.default_rng(0)
    hypotheses, references = sentences(1_000, random), sentences(10_000, random)
    bleu_seconds, ours = timed(lambda: bleu(hypotheses, references))
    self_seconds, _ = timed(lambda: self_bleu(references))
    method, lists, worst = SmoothingFunction().method1, as_lists(references), 0.0
    started = time.process_time()
    for index, hypothesis in enumerate(as_lists(hypotheses)[: options.nltk]):
        for n in (2, 3, 4, 5):
            theirs = sentence_bleu(lists, hypothesis, (1 / n,) * n, smoothing_function=method)
            worst = max(worst, abs(theirs - ours[n][index]))
    nltk_seconds = (time.process_time() - started) / max(options.nltk, 1) * 1_000
    result = {
        "bleu_1000_on_10000_cpu_seconds": round(bleu_seconds, 3),
        "self_bleu_10000_cpu_seconds": round(self_seconds, 3),
        "nltk_bleu_cpu_seconds_extrapolated": round(nltk_seconds),
        "ratio": round(nltk_seconds / bleu_seconds),
        "largest_difference": worst,
        "machine": surroundings(),
    }
    print(json.dumps(result, indent=1))
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
