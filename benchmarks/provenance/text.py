"""The mark of texts: false positives, detection after edits, and what it costs in likelihood.

    python benchmarks/provenance/text.py [--work FOLDER]

A small GPT learns captions as running text (7,000 of COCO's captions, byte-level BPE of 1,000 tokens). Marked: 200 of
its texts of 200 tokens. Unmarked: 200 of its texts without the mark, and 800 pieces of 200 tokens that people wrote
(the captions that it has not seen, and Shakespeare), each searched with a key of its own. The threshold is the mark's
own and was not chosen on these texts. The cost is the likelihood of the texts under the model without the mark.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import gan
import numpy as np
import torch
from common import MARKED, UNMARKED, attacked, false_positives, key, record, row
from gan.reporting.reporter import Reporter
from gan.testing import real_file
from gan_text.marking import GreenList

LENGTH = 200
RECIPE = {
    "plugin": "text",
    "architecture": "gpt",
    "modality": {"tokens": "bpe", "vocabulary": 1000, "items": "running", "length": LENGTH},
    "model": {"layers": 2, "heads": 4, "width": 96, "dropout": 0.0},
    "optimizers": {"generator": {"lr": 2e-3, "warmup_samples": 400}},
    "training": {"samples": 4_800, "batch": 16, "preview_ticks": 0, "checkpoint_ticks": 10},
    "evaluation": {"metrics": ["distinct"], "samples": 16, "artefacts": 1},
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, default=Path("runs/benchmarks/marks-text"))
    work = parser.parse_args().work
    work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    started = time.process_time()
    lines = real_file("text", "image_coco_train.txt").read_text(encoding="utf-8").splitlines()
    (work / "captions.txt").write_text("\n".join(lines[:7000]) + "\n", encoding="utf-8")
    if not (work / "run" / "recipe.yaml").is_file():
        gan.train(RECIPE | {"data": {"source": str(work / "captions.txt")}}, out=work / "run", reporter=Reporter())
    else:
        gan.resume_run(work / "run")
    model = gan.load(work / "run", device="cpu")
    encode = model.modality.vocabulary.encode
    plain = texts_of(model, model.generate(MARKED, 1))
    result: dict[str, object] = {
        "training_nll": float(nll(model, model.generate(64, 5)).mean()),
        "human": "captions and Shakespeare",
    }
    captions = pieces(encode("\n".join(lines[7000:])))
    shakespeare = pieces(encode(real_file("text", "tinyshakespeare_train.txt").read_text(encoding="utf-8")))
    human = (captions + shakespeare)[: UNMARKED - MARKED]
    result["pieces"] = {"model": len(plain), "captions": len(captions), "shakespeare": len(human) - len(captions)}
    unmarked = [encode(text) for text in plain] + human
    result["unmarked"] = false_positives([GreenList(key(n)).detect_tokens([t]) for n, t in enumerate(unmarked)])
    rng = np.random.Generator(np.random.Philox(0))
    words = sorted({word for line in lines for word in line.split()})

    def replaced(share: float):
        def attack(text: str) -> str:
            parts = text.split(" ")
            chosen = rng.random(len(parts)) < share
            return " ".join(words[rng.integers(len(words))] if new else old for old, new in zip(parts, chosen))

        return attack

    attacks = {
        "none": lambda text: text,
        "first third cut": lambda text: text[len(text) // 3 :],
        "last third cut": lambda text: text[: -(len(text) // 3)],
        "half cut": lambda text: text[: len(text) // 2],
        "10 % of words replaced": replaced(0.1),
        "20 % of words replaced": replaced(0.2),
        "40 % of words replaced": replaced(0.4),
        "sentences shuffled": lambda text: "\n".join(rng.permutation(text.split("\n"))),
        "capitals": lambda text: text.upper(),
    }
    base = float(nll(model, model.generate(MARKED, 2)).mean())
    result["nats_per_token_unmarked"] = base
    for strength in (1.0, 2.0, 4.0):
        mark = GreenList(key(0), strength)
        model.labels = type(model.labels)(mark=mark, mark_name="green-list")
        samples = model.generate(MARKED, 2)
        marked = texts_of(model, samples)
        print(f"strength {strength}")
        found = attacked(
            marked,
            attacks,
            lambda text, mark=mark: mark.detect_tokens([encode(text)]),
        )
        found["another key"] = row([GreenList(key(99)).detect_tokens([encode(text)]) for text in marked])
        marked_nll = float(nll(model, samples).mean())
        result[f"strength {strength}"] = {
            "attacks": found,
            "nats_per_token": marked_nll,
            "cost_nats_per_token": marked_nll - base,
            "example": marked[0][:300],
        }
    record("text", result, started)


def texts_of(model, samples) -> list[str]:
    return list(model.modality.texts(samples))


def pieces(tokens) -> list:
    return [tokens[at : at + LENGTH] for at in range(0, len(tokens) - LENGTH + 1, LENGTH)]


def nll(model, samples) -> np.ndarray:
    """Nats per token of each text under the model, without the mark."""
    tensors = {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in samples.items()}
    with torch.no_grad():
        nats, tokens = model.architecture.nll(tensors)
    return (nats / tokens).numpy()


if __name__ == "__main__":
    main()
