"""LeNet-FID of a DCGAN on MNIST that is driven into collapse, without and with `act`, beside the sane recipe's.

    GAN_WEIGHTS=../shared/data/weights python benchmarks/watch/mnist.py [--seconds 150] [--seeds 0 1 2]

The recipe `dcgan-32` at half its widths and with constant learning rates on 20,000 digits for equal CPU time;
driven into collapse by a discriminator without normalisation that learns a hundred times as fast. FID[lenet5] of 2,000
samples of the averaged weights against 10,000 unseen digits. The target is 1.5 times the sane recipe's.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch
from common import HERE, WORK, plugins, record, recorded, summary
from gan.build import open_data, recipe_values, resolve
from gan.errors import Stopped
from gan.evaluation.metric_names import find_metrics, measure
from gan.generation.loading import load_model
from gan.recipe import with_settings
from gan.reporting.manifest import surroundings
from gan.reporting.reporter import Reporter, Tick
from gan.storage.run_folder import RunFolder
from gan.training.session import start

sys.path.insert(0, str(HERE.parent / "image"))

DRIVEN = ["optimizers.discriminator.lr=0.03"]
CASES = {
    "sane": ("dcgan", []),
    "driven": ("dcgan-unnormalised", [*DRIVEN]),
    "driven, act": ("dcgan-unnormalised", [*DRIVEN, "training.watch=act"]),
}


class Clock(Reporter):
    """Stops the training, as a user does, after some CPU time."""

    def __init__(self, seconds: float) -> None:
        self.end = time.process_time() + seconds

    def tick(self, tick: Tick) -> None:
        if time.process_time() > self.end:
            os.kill(os.getpid(), signal.SIGTERM)

    def warn(self, text: str) -> None:
        print("   ", text, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=150)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--out", type=Path, default=HERE / "mnist.json")
    arguments = parser.parse_args()
    from dcgan_mnist import digits

    torch.set_num_threads(1)
    import unnormalised

    known = plugins()
    known.register("unnormalised", unnormalised)
    folder = WORK / "digits"
    if not folder.exists():
        folder.mkdir(parents=True)
        digits(folder)
    result = recorded(arguments.out)
    runs = result.setdefault("runs", {})
    for seed in arguments.seeds:
        for case in arguments.cases:
            architecture, changes = CASES[case]
            name = f"{case}/{seed}"
            if name in runs:
                continue
            values = recipe_values(known, "image", named="dcgan-32")
            values["plugin"] = "image" if architecture == "dcgan" else "unnormalised"
            values["architecture"] = architecture
            settings = [
                "modality.fit=stretch", "model.generator_width=16", "model.discriminator_width=16",
                "training.device=cpu", "training.tick=1200", "training.preview_ticks=0",
                "optimizers.generator.schedule=constant", "optimizers.discriminator.schedule=constant",
                f"data.source={folder / 'train'}", f"seed={seed}", "evaluation.metrics=[]", *changes,
            ]  # fmt: skip
            values = with_settings(values, settings)
            out = WORK / f"mnist-{name.replace(', ', '-').replace('/', '-')}"
            shutil.rmtree(out, ignore_errors=True)
            before = time.process_time()
            with contextlib.suppress(Stopped):
                start(values, known, Clock(arguments.seconds), out=out)
            seconds = time.process_time() - before
            resolved = resolve(values, known)
            rest = open_data(
                resolve(with_settings(values, [f"data.source={folder / 'rest'}"]), known), known, Reporter()
            )
            newest = sorted((out / "checkpoints").iterdir())[-1].name.removeprefix("samples-")
            model = load_model(RunFolder(out), known, checkpoint=str(int(newest)), device="cpu")
            metrics = find_metrics(["fid[lenet5]"], resolved.modality.entry.name, known)
            samples = model.generate(2000, 0)
            (value,) = measure(metrics, samples, rest.take(np.arange(len(rest))), model.modality)
            model.modality.preview({"image": samples["image"][:64]}).save(
                arguments.out.parent / f"mnist-{case.replace(', ', '-')}.png"
            )
            found = summary(out)
            runs[name] = {
                "fid_lenet5": value.value,
                "samples": model.trained,
                "cpu_seconds": seconds,
                "verdicts": [[v["verdict"], v["since"], v["until"], v["evidence"]] for v in found["verdicts"]],
                "actions": [[a["samples"], a["verdict"], a["remedy"], a["dials"]] for a in found["actions"]],
            }
            print(name, runs[name], flush=True)
            result["machine"] = surroundings()
            sane, act = runs.get(f"sane/{seed}"), runs.get(f"driven, act/{seed}")
            if sane and act:
                result.setdefault("ratio_of_act_to_sane", {})[str(seed)] = act["fid_lenet5"] / sane["fid_lenet5"]
            record(arguments.out, result)


if __name__ == "__main__":
    main()
