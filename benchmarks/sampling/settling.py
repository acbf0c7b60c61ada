"""What settled batch statistics are worth: metrics of the same averaged weights with running and with settled ones.

    python benchmarks/sampling/settling.py

Trains `image/dcgan-digits` and `music/default` for a part of their length with some seeds each and measures samples of
the averaged weights twice: with the running statistics that training left in the BatchNorm layers, and with those
that `gan.generation.settling` collects for the averaged weights. Lower is better for every value listed as such.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from gan.build import recipe_values
from gan.draws import Draws
from gan.evaluation.evaluate import EvaluationRequest, evaluate
from gan.generation import loading
from gan.generation.settling import settle
from gan.plugins.manager import Plugins
from gan.reporting.manifest import surroundings
from gan.reporting.reporter import Reporter
from gan.training.session import start
from gan_image.architectures.dcgan import DCGAN

HERE = Path(__file__).parent
CASES = {
    "image": ("dcgan-digits", 8_000, ["swd", "kid[raw]", "precision-recall[raw]"]),
    "music": ("musegan", 1_600, []),  # the modality's own
}


def run_once(architecture: DCGAN, rng: Draws) -> None:
    """What DCGAN's `settle` was: the measurement led to its removal."""
    architecture.generator(architecture.latents(rng.count, rng))


def values_of(run: Path, plugins: Plugins, metrics: list[str], settled: bool) -> dict[str, dict[str, Any]]:
    def settle_all(architecture: torch.nn.Module, device: torch.device, identity: str) -> None:
        if settled:
            settle(architecture, device)

    with (
        mock.patch.object(loading, "settle_once", settle_all),
        mock.patch.object(DCGAN, "settle", run_once, create=True),
    ):
        found = evaluate(EvaluationRequest(str(run), metrics=metrics, count=512), plugins, device="cpu")
    return {value.name: asdict(value) for receipt in found.receipts for value in receipt.values}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--only", choices=CASES)
    parser.add_argument("--out", type=Path, default=HERE / "settling.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    plugins, results = Plugins.installed(), {}
    for plugin, (recipe, samples, metrics) in CASES.items():
        if arguments.only not in (None, plugin):
            continue
        runs = []
        for seed in range(arguments.seeds):
            values = recipe_values(plugins, plugin, named=recipe)
            values["training"] = {**values["training"], "samples": samples, "preview_ticks": 0, "device": "cpu"}
            values |= {"evaluation": {"metrics": None, "samples": 16, "artefacts": 0}, "seed": seed}
            with tempfile.TemporaryDirectory() as folder:
                run = Path(folder, "run")
                start(values, plugins, Reporter(), out=run)
                before = time.process_time()
                loading.load_model(loading.RunFolder.open(run), plugins, device="cpu")
                seconds = time.process_time() - before
                both = {name: values_of(run, plugins, metrics, name == "settled") for name in ("running", "settled")}
            runs.append({"seed": seed, "load_seconds": seconds, **both})
        names = runs[0]["running"]
        results[f"{plugin}/{recipe}"] = {
            "samples": samples,
            "values": {
                name: {
                    "direction": names[name]["direction"],
                    **{k: statistics.mean(run[k][name]["value"] for run in runs) for k in ("running", "settled")},
                }
                for name in names
            },
            "runs": [
                {**run, **{k: {n: v["value"] for n, v in run[k].items()} for k in ("running", "settled")}}
                for run in runs
            ],
        }
    if arguments.only and arguments.out.exists():
        results = {**json.loads(arguments.out.read_text()), **results}
    results["machine"] = surroundings()
    arguments.out.write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps({k: v.get("values", v) for k, v in results.items()}, indent=1))


if __name__ == "__main__":
    main()
