"""COCO captions: maximum likelihood, SeqGAN, RelGAN, a small GPT and self-play, compared with Texygen's table.

    python benchmarks/text/coco.py [--only seqgan,relgan,gpt] [--out coco.json] [--work FOLDER]

Data: the 10,000 captions of Texygen's training file, tokenized by NLTK's word tokenizer, with which its published
values can be reproduced. The last 1,000 are held out, and NLL-test is over them. Texygen's BLEU is against 10,000
captions of a test file that is not available; here BLEU is against the 1,000 held-out captions, and against all 10,000,
nine tenths of which were trained on. Self-BLEU is over 2,000 texts. "real" has the 1,000 held-out captions against the
9,000 others, and 2,000 of these against the 1,000: as many texts and references as for a model, and therefore the score
of a perfect generator.

The first phases of SeqGAN and RelGAN are their baselines: the rows "mle" and "relgan-mle" are the ends of these phases.
Every row is also measured at other temperatures (Caccia et al. 2018: a text GAN below the quality-diversity curve of
its baseline has gained nothing).

Each architecture has its own run folder and its own part of the result: finished parts are not repeated, and
interrupted runs are resumed.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import gan
import numpy as np
import torch
from clock import Clock
from gan.api import resume_run
from gan.evaluation.evaluate import EvaluationRequest, evaluate
from gan.plugins.manager import Plugins
from gan.reporting.manifest import surroundings
from gan.testing import real_file
from gan_text.metrics.bleu import bleu, corpora, self_bleu
from nltk.tokenize import NLTKWordTokenizer

COUNT = 2000
TEMPERATURES = (0.7, 0.85, 1.0, 1.15)
PUBLISHED = {  # Texygen, docs/evaluation.md: BLEU-2 … 5 on the test captions, Self-BLEU-2 … 5
    "mle": {"bleu": [0.731, 0.497, 0.305, 0.189], "self-bleu": [0.916, 0.769, 0.583, 0.408]},
    "seqgan": {"bleu": [0.745, 0.498, 0.294, 0.180], "self-bleu": [0.950, 0.840, 0.670, 0.489]},
    "leakgan": {"bleu": [0.746, 0.528, 0.355, 0.230], "self-bleu": [0.966, 0.913, 0.848, 0.780]},
}
SHARED = {
    "plugin": "text",
    "modality": {"tokens": "words", "split": "blanks", "length": 24, "vocabulary": 5000},
    "evaluation": {"metrics": ["bleu", "self-bleu", "nll-test"], "samples": COUNT, "real_samples": 0, "artefacts": 16},
}
TRAINING = {
    "batch": 64, "tick": 6400, "preview_ticks": 0, "checkpoint_ticks": 2, "keep_checkpoints": 100, "device": "cpu",
}  # fmt: skip
RECIPES = {
    "seqgan": {
        "architecture": "seqgan",
        "loss": {"name": "non-saturating"},
        "model": {
            "rollouts": 4, "rollout_precision": "bf16", "generator_interval": 4, "policy_rate": 0.05, "negatives": 512,
            "negatives_temperature": 1.3, "renew": 512, "filters": [[1, 32], [2, 64], [3, 64]], "pooling": "sum",
            "discriminator_embedding": 32, "discriminator_reach": 0.17, "decay": 0.01,
        },
        "optimizers": {"discriminator": {"lr": 0.005}},
        "phases": {
            "mle": {"samples": 96_000},
            "discriminator": {"samples": 25_600, "batch": 128},
            "adversarial": {"samples": 25_600},
        },
    },
    "relgan": {
        "architecture": "relgan",
        "loss": {"name": "relativistic-pairing"},
        "model": {
            "head_width": 64, "representations": 16, "filters": 100, "critic_repeats": 1,
            "first_sharpness": 10, "sharpness": 10,
        },
        "optimizers": {"discriminator": {"lr": 1e-3}},
        "phases": {"mle": {"samples": 48_000}, "adversarial": {"samples": 96_000}},
    },
    "gpt": {
        "architecture": "gpt",
        "model": {"layers": 2, "heads": 4, "width": 128, "dropout": 0.2},
        "optimizers": {"generator": {"lr": 2e-3, "warmup_samples": 3200}},
        "samples": 72_000,
    },
    "gpt-spin": {
        "architecture": "gpt-spin",
        "model": {"layers": 2, "heads": 4, "width": 128, "dropout": 0.2},
        "optimizers": {"generator": {"lr": 2e-3, "warmup_samples": 3200}},
        "phases": {"mle": {"samples": 72_000}},
        "samples": 12_800,
    },
}  # fmt: skip


# names of the rows for the ends of the first phases
BASELINES = {"seqgan": "mle", "relgan": "relgan-mle", "gpt-spin": "gpt-spin-mle"}


def tokenised(folder):
    """The captions as words separated by blanks, in the file that training reads."""
    split = NLTKWordTokenizer().tokenize
    lines = real_file("text", "image_coco_train.txt").read_text().splitlines()
    file = folder / "captions.txt"
    text = "\n".join(" ".join(split(line)) for line in lines) + "\n"
    if not file.exists() or file.read_text() != text:
        file.write_text(text)
    return file


def trained(name, captions, folder):
    """(run, CPU seconds of training); starts or resumes the training unless it is finished."""
    run, clock = folder / name, Clock(folder / f"{name}.seconds")
    if (run / "recipe.yaml").exists():
        resume_run(run, reporter=clock)
    else:
        recipe = {**SHARED, **RECIPES[name], "data": {"source": str(captions), "holdout": 0.1}}
        training = dict(TRAINING)
        if "samples" in recipe:
            training["samples"] = recipe.pop("samples")
        gan.train({**recipe, "training": training}, out=run, reporter=clock)
    return run, float(clock.file.read_text())


def measured(run, captions, temperature, checkpoint="newest"):
    """One row: BLEU against the held-out captions and against all, Self-BLEU, NLL-test."""
    request = EvaluationRequest(
        str(run), metrics=["bleu", "self-bleu", "nll-test"], count=COUNT, real_count=0, checkpoint=checkpoint,
        options={"temperature": temperature},
    )  # fmt: skip
    evaluation = evaluate(request, Plugins.installed(), device="cpu")
    row = {"temperature": temperature}
    for receipt in evaluation.receipts:
        values = [round(value.value, 4) for value in receipt.values]
        row["bleu held-out" if receipt.metric == "bleu" else receipt.metric] = values
    (row["nll-test"],) = row["nll-test"]
    texts = [text.split() for text in evaluation.modality.texts(evaluation.generated)]
    found = bleu(*corpora(texts, [line.split() for line in captions.read_text().splitlines()]))
    row["bleu all"] = [round(float(values.mean()), 4) for values in found.values()]
    return row


def real_row(captions):
    lines = [line.split() for line in captions.read_text().splitlines()]
    held, rest = corpora(lines[9000:], lines[:9000])
    like_models = []
    for seed in range(3):
        chosen = np.random.default_rng(seed).permutation(9000)[:COUNT]
        ours, references = corpora([lines[row] for row in chosen], lines[9000:])
        found = [*bleu(ours, references).values(), *self_bleu(ours).values()]
        like_models.append([float(values.mean()) for values in found])
    means = np.round(np.mean(like_models, 0), 4).tolist()
    return {
        "bleu of 2,000 against the held-out": means[:4],
        "self-bleu of 2,000": means[4:],
        "bleu against the other 9,000": [round(float(v.mean()), 4) for v in bleu(held, rest).values()],
        "self-bleu of 1,000": [round(float(v.mean()), 4) for v in self_bleu(held).values()],
    }


def end_of_mle(run):
    """The checkpoint at the end of the baseline phase, or None if there is none."""
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return next((str(record["samples"]) for record in records if record.get("reference")), None)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default=",".join(RECIPES))
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--work", type=Path, required=True, help="run folders; kept, so that runs can be resumed")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.work.mkdir(parents=True, exist_ok=True)
    captions = tokenised(options.work)
    result = json.loads(options.out.read_text()) if options.out.exists() else {"rows": {}}
    result |= {"published": PUBLISHED, "real": real_row(captions), "machine": surroundings()}
    for name in options.only.split(","):
        if name in result["rows"]:
            continue
        run, seconds = trained(name, captions, options.work)
        about = {"settings": RECIPES[name], "training_cpu_seconds": round(seconds)}
        rows = {name: {**about, "sweep": [measured(run, captions, t) for t in TEMPERATURES]}}
        end = end_of_mle(run)
        if end is not None:
            rows[BASELINES[name]] = {"sweep": [measured(run, captions, t, end) for t in TEMPERATURES]}
        model = gan.load(run)
        texts = model.generate(8, seed=0)
        rows[name]["texts"] = model.modality.texts(texts)
        result["rows"] |= rows
        options.out.write_text(json.dumps(result, indent=1) + "\n")
        print(json.dumps({key: row["sweep"] for key, row in rows.items()}), flush=True)


if __name__ == "__main__":
    main()
