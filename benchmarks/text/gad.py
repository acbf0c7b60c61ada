"""Does a discriminator's reward make a language model better? `gpt-gad` beside the curve of its own likelihood.

    python benchmarks/text/gad.py --work FOLDER [--seeds 1,2,3] [--pilot]

Texygen's captions as in `coco.py`, the same network as its GPT. The model after maximum likelihood at several
temperatures is the curve; the end of the game at temperature 1 is compared with it: BLEU-3 against Self-BLEU-3 of 2,000
texts, also at equal counts of every length; nats per word of unseen captions; and whether a discriminator that is
trained afterwards tells unseen captions from generated ones (`judge.py`: 0.5 if not). "real" are 2,000 captions of the
training.

Half of the held-out captions is for the choice of settings (`--pilot`), the other half is reported. Runs are kept in
FOLDER; finished parts are not repeated.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import gan
import numpy as np
import torch
from clock import Clock
from coco import SHARED, TRAINING, end_of_mle, tokenised
from coco_lengths import at_equal_lengths
from gan.api import resume_run
from gan.reporting.manifest import surroundings
from gan_text.metrics.bleu import bleu, corpora, self_bleu
from judge import distinguished

MADE, SCORED = 9000, 2000
TEMPERATURES = (0.85, 0.95, 1.0, 1.05, 1.15)
RECIPE = {
    "architecture": "gpt-gad",
    "loss": "relativistic-pairing",
    "model": {
        "layers": 2, "heads": 4, "width": 128, "dropout": 0.2,
        "generator_interval": 2, "policy_rate": 0.05, "divergence": 0.1,
    },
    "optimizers": {"generator": {"lr": 2e-3, "warmup_samples": 3200}, "discriminator": {"lr": 3e-4}},
    "phases": {
        "mle": {"samples": 72_000},
        "discriminator": {"samples": 3200, "batch": 8},
        "adversarial": {"samples": 6400, "batch": 8},
    },
}  # fmt: skip


def trained(seed, captions, folder):
    """(run, CPU seconds of training); starts or resumes the training unless it is finished."""
    run, clock = folder / f"gad-{seed}", Clock(folder / f"gad-{seed}.seconds")
    if (run / "recipe.yaml").exists():
        resume_run(run, reporter=clock)
    else:
        data = {"source": str(captions), "holdout": 0.1}
        gan.train({**SHARED, **RECIPE, "seed": seed, "data": data, "training": TRAINING}, out=run, reporter=clock)
    return run, float(clock.file.read_text())


def tokens_of(model, lines):
    """Texts ``(N, T)`` as the model reads them, and their lengths."""
    found = torch.zeros(len(lines), model.architecture.length, dtype=torch.int64)
    for row, line in zip(found, lines, strict=True):
        words = torch.as_tensor(model.modality.vocabulary.encode(" ".join(line)).astype(np.int64))[: len(row)]
        row[: len(words)] = words
    return found, (found != 0).sum(1)


def scores(texts, references):
    ours, held = corpora(texts, references)
    return {
        "words": round(sum(map(len, texts)) / len(texts), 2),
        "bleu": [round(float(values.mean()), 4) for values in bleu(ours, held).values()],
        "self-bleu": [round(float(values.mean()), 4) for values in self_bleu(ours).values()],
    }


def measured(run, checkpoint, temperature, lines, references):
    """One point, and its texts."""
    model = gan.load(run, checkpoint=checkpoint)
    made = model.generate(MADE, 3, options={"temperature": temperature})
    texts = [text.split() for text in model.modality.texts(made)]
    unseen, lengths = tokens_of(model, references)
    with torch.no_grad():
        nats, counts = model.architecture.nll({"tokens": unseen, "length": lengths})
    told = distinguished(
        tokens_of(model, lines[:9000])[0], unseen, torch.as_tensor(made["tokens"].astype(np.int64)),
        model.architecture.words,
    )  # fmt: skip
    point = {
        "temperature": temperature,
        **scores(texts[:SCORED], references),
        "nll of unseen": round(float(nats.sum() / counts.sum()), 4),
        "told apart": round(told, 4),
    }
    print(point, flush=True)
    return point, texts


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--pilot", action="store_true")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.work.mkdir(parents=True, exist_ok=True)
    captions = tokenised(options.work)
    lines = [line.split() for line in captions.read_text().splitlines()]
    references = lines[9000:9500] if options.pilot else lines[9500:]
    draws = [np.random.default_rng(draw).permutation(9000)[:SCORED] for draw in range(3)]
    real = [scores([lines[row] for row in draw], references) for draw in draws]
    result = json.loads(options.out.read_text()) if options.out.exists() else {"seeds": {}}
    result |= {"settings": RECIPE, "real": real, "machine": surroundings()}
    for seed in options.seeds.split(","):
        if seed in result["seeds"]:
            continue
        run, seconds = trained(int(seed), captions, options.work)
        curve, written = {}, {}
        for temperature in TEMPERATURES:
            point, written[temperature] = measured(run, int(end_of_mle(run)), temperature, lines, references)
            curve[temperature] = point
        game, texts = measured(run, "newest", 1.0, lines, references)
        equal = []
        for temperature in (1.0, 1.05):
            ours, theirs = at_equal_lengths(texts[: SCORED + SCORED // 2], written[temperature])
            pair = {"game": scores(ours, references), "likelihood": scores(theirs, references)}
            equal.append({"temperature": temperature, "texts": len(ours), **pair})
        result["seeds"][seed] = {
            "training_cpu_seconds": round(seconds), "likelihood": list(curve.values()), "game": game,
            "at equal lengths": equal, "texts": [" ".join(text) for text in texts[:8]],
        }  # fmt: skip
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
