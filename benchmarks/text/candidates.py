"""Does a discriminator that chooses between texts beat the curve of likelihood on Shakespeare?

    python benchmarks/text/candidates.py --work FOLDER [--seeds 1,2,3] [--out FILE]

The network and length of `shakespeare.py`: windows of 64 characters, so that all texts are equally long. After maximum
likelihood a discriminator of windows learns the model's texts from real ones. The model alone at several temperatures
is the curve; with the discriminator each text is drawn from eight (`--candidates 8`). Of 3,000 texts each: BLEU against
unseen windows and Self-BLEU of the first 1,000 (whole words; the first and last of a window are cut), the share of
words that the play knows, and whether a discriminator that is trained afterwards tells unseen windows from generated
ones (`judge.py`). "real" are windows of the training. The first half of the unseen windows had served to choose
what kind of discriminator learns fastest; temperatures and candidates were not chosen, all are recorded.

Runs are kept in FOLDER; finished parts are not repeated.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import gan
import numpy as np
import torch
from clock import Clock
from gan.reporting.manifest import surroundings
from gan.testing import real_file
from gan_text.metrics.bleu import bleu, corpora, self_bleu
from judge import distinguished
from shakespeare import RECIPE

LENGTH, MADE, SCORED, CANDIDATES = 64, 3000, 1000, 8
CURVE, CHOSEN = (0.9, 0.95, 1.0), (0.95, 1.0)
GAME: dict[str, Any] = {
    **RECIPE,
    "architecture": "gpt-gad",
    "loss": "relativistic-pairing",
    "model": {
        **RECIPE["model"], "discriminator": "windows", "discriminator_dropout": 0.0, "discriminator_repeats": 4,
        "credit": 0.9, "group": 2,
    },
    "optimizers": {
        "generator": {"lr": 1e-3, "warmup_samples": 1200},
        "discriminator": {"name": "adamw", "lr": 1e-3, "weight_decay": 0.05},
    },
    "phases": {
        "mle": {"samples": 24_000, "batch": 12},
        "discriminator": {"samples": 25_600, "batch": 32},
        "adversarial": {"samples": 128, "batch": 32},
    },
    "training": {
        "preview_ticks": 0, "tick": 800, "checkpoint_ticks": 1, "keep_checkpoints": 100, "watch": "off",
        "device": "cpu",
    },
}  # fmt: skip
END = 24_000 + 25_600
"""Samples after which the discriminator has learned and the policy gradient has not begun."""


def whole_words(texts: list[str]) -> list[list[str]]:
    return [text.split()[1:-1] for text in texts]


def scores(texts: list[str], references: list[str], known: set[str]) -> dict[str, Any]:
    words = whole_words(texts)
    ours, held = corpora(words[:SCORED], whole_words(references))
    every = [word for text in words for word in text]
    return {
        "words": round(len(every) / len(words), 2),
        "known words": round(float(np.mean([word in known for word in every])), 4),
        "bleu": [round(float(values.mean()), 4) for values in bleu(ours, held).values()],
        "self-bleu": [round(float(values.mean()), 4) for values in self_bleu(ours).values()],
    }


def windows(text: str) -> list[str]:
    return [text[at : at + LENGTH] for at in range(0, len(text) - LENGTH + 1, LENGTH)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.work.mkdir(parents=True, exist_ok=True)
    text = real_file("text", "tinyshakespeare_train.txt").read_text()
    cut = len(text) * 9 // 10
    known, references = set(text.split()), windows(text[cut:])
    source = options.work / "train.txt"
    source.write_text(text[:cut])
    learned = windows(text[:cut])
    draw = np.random.default_rng(0).permutation(len(learned))[:MADE]
    result = json.loads(options.out.read_text()) if options.out.exists() else {"seeds": {}}
    real = scores([learned[row] for row in draw], references, known)
    result |= {"settings": GAME, "real": real, "machine": surroundings()}
    for seed in options.seeds.split(","):
        if seed in result["seeds"]:
            continue
        run, clock = options.work / f"run-{seed}", Clock(options.work / f"run-{seed}.seconds")
        if not (run / "samples").exists():
            gan.train({**GAME, "seed": int(seed), "data": {"source": str(source)}}, out=run, reporter=clock)
        model = gan.load(run, checkpoint=END)
        encode = model.modality.vocabulary.encode
        tokens = [torch.from_numpy(np.stack([encode(window) for window in part])) for part in (learned, references)]
        points: dict[str, list[dict[str, Any]]] = {"likelihood": [], "chosen": []}
        for kind, temperature in (*(("likelihood", t) for t in CURVE), *(("chosen", t) for t in CHOSEN)):
            chosen = {"candidates": CANDIDATES} if kind == "chosen" else {}
            made = model.generate(MADE, 3, options={"temperature": temperature, **chosen})
            texts = model.modality.texts(made)
            told = distinguished(*tokens, torch.as_tensor(made["tokens"].astype(np.int64)), model.architecture.words)
            point = {"temperature": temperature, **scores(texts, references, known), "told apart": round(told, 4)}
            points[kind].append({**point, "texts": texts[:4]})
            print(seed, kind, point, flush=True)
        result["seeds"][seed] = {"training_cpu_seconds": round(float(clock.file.read_text())), **points}
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
