"""Held-out loss of a small GPT on tinyshakespeare, with the settings of nanoGPT's CPU preset.

    python benchmarks/text/shakespeare.py [--out FILE] [--work FOLDER]

Four layers, four heads, width 128, context 64, batch 12, 2,000 updates. Trains on nine tenths of
``tinyshakespeare_train.txt`` (itself the first nine tenths of the text) and evaluates on the last tenth. nanoGPT's
README reports 1.88 on the last tenth of the text. In its windows every token has at least one before it; ours begin
after a start token, so that two means are recorded: over all tokens, and without the first token of each window.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import gan
import torch
from gan.reporting.manifest import surroundings
from gan.reporting.reporter import Reporter
from gan.testing import real_file

RECIPE = {
    "plugin": "text",
    "architecture": "gpt",
    "modality": {"tokens": "characters", "items": "running", "length": 64},
    "model": {"layers": 4, "heads": 4, "width": 128, "dropout": 0.0},
    "optimizers": {"generator": {"lr": 1e-3, "warmup_samples": 1200}},
    "training": {"samples": 24_000, "batch": 12, "preview_ticks": 0, "checkpoint_ticks": 10},
    "evaluation": {"metrics": ["distinct"], "samples": 64, "artefacts": 4},
}


class Printer(Reporter):
    """Prints ticks."""

    def tick(self, tick):
        print(tick.samples, {k: round(v, 3) for k, v in tick.terms.items()}, f"{tick.seconds:.0f} s", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path)
    parser.add_argument("--work", type=Path, default=Path(tempfile.mkdtemp()))
    options = parser.parse_args()
    torch.set_num_threads(1)
    text = real_file("text", "tinyshakespeare_train.txt").read_text()
    cut = len(text) * 9 // 10
    (options.work / "train.txt").write_text(text[:cut])
    started = time.process_time()
    run = gan.train(
        RECIPE | {"data": {"source": str(options.work / "train.txt")}}, out=options.work / "run", reporter=Printer()
    )
    cpu = time.process_time() - started
    model = gan.load(run)
    held = torch.from_numpy(model.modality.vocabulary.encode(text[cut:]))
    windows = held[: len(held) // 64 * 64].view(-1, 64)
    with torch.no_grad():
        nll = torch.cat(
            [
                torch.nn.functional.cross_entropy(
                    model.architecture.logits(part).transpose(1, 2), part, reduction="none"
                )
                for part in windows.split(128)
            ]
        )
    texts = model.generate(2, seed=0, options={"prompt": "ROMEO:", "max_length": 400, "temperature": 0.8})
    samples = [model.modality.text({k: v[i] for k, v in texts.items()}) for i in range(2)]
    result = {
        "held_out_nats_per_token": {
            "all": round(float(nll.mean()), 4),
            "without_first": round(float(nll[:, 1:].mean()), 4),
        },
        "published": 1.88,
        "training_cpu_seconds": round(cpu, 1),
        "parameters": sum(p.numel() for p in model.architecture.parameters()),
        "samples": samples,
        "machine": surroundings(),
    }
    print(json.dumps(result, indent=1))
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
