"""Super-resolution of unseen photographs of flowers: PSNR, SSIM and a perceptual distance beside bicubic enlargement.

    GAN_WEIGHTS=../shared/data/weights python benchmarks/image/super_resolution.py --factor 2

The recipe `esrgan-x2` learns from 800 photographs of 128 pixels, cut into squares of 64, without degradations (the
classical task: an image made smaller by bicubic interpolation is to be enlarged). 200 others, drawn by a seeded
shuffle, are made two or four times smaller and enlarged whole. Measured are the end of the pixel phase and the end of
the training. The run is kept under runs/benchmarks and is continued when the script is called again.
"""

from __future__ import annotations

import argparse
import json
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gan import api
from gan.build import resolve
from gan.plugins.manager import Plugins
from gan.recipe import dump
from gan.reporting.manifest import surroundings
from gan.reporting.reporter import Reporter
from gan.testing import real_file
from gan_image.metrics.pairs import enlarged, psnr, ssim
from gan_image.metrics.perceptual import FeatureDistance
from PIL import Image

HERE = Path(__file__).parent
WORK = Path("runs/benchmarks/super-resolution")
UNSEEN = 200


def split() -> list[Path]:
    """Write the training photographs to a folder and return the paths of the unseen ones, in another."""
    with zipfile.ZipFile(real_file("image", "flowers_128.zip")) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
        order = np.random.Generator(np.random.Philox(0)).permutation(len(names))
        for folder, rows in (("train", order[:-UNSEEN]), ("unseen", order[-UNSEEN:])):
            (WORK / folder).mkdir(parents=True, exist_ok=True)
            for row in rows:
                (WORK / folder / names[row].replace("/", "-")).write_bytes(archive.read(names[row]))
    return sorted((WORK / "unseen").iterdir())


def measured(made: np.ndarray, wanted: np.ndarray, distance: FeatureDistance) -> dict[str, float]:
    """Means over all photographs."""
    one, other = made / 255.0, wanted / 255.0
    return {
        "PSNR": float(psnr(one, other).mean()),
        "SSIM": float(ssim(one, other).mean()),
        "feature distance[squeezenet]": float(distance.between(made, wanted).mean()),
    }


class Shown(Reporter):
    """Prints every tick."""

    def tick(self, tick: Any) -> None:
        terms = {name: round(value, 4) for name, value in tick.terms.items() if "/_" not in name}
        print(f"{tick.samples:8,} {tick.seconds:6.0f} s {terms}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--factor", type=int, choices=(2, 4), default=2)
    parser.add_argument("--pixels", type=int, default=20_000, help="samples of the first phase")
    parser.add_argument("--adversarial", type=int, default=5_000, help="samples of the second phase")
    parser.add_argument("--no-training", action="store_true", help="measure what a run that was stopped has reached")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    factor = arguments.factor
    photographs = split()
    plugins = Plugins.installed()
    settings = [
        f"data.source={WORK / 'train'}", "data.holdout=0", "model.rounds=0", "training.device=cpu",
        f"modality.factor={factor}", f"phases.pixels.samples={arguments.pixels}",
        f"training.samples={arguments.adversarial}", "training.tick=500",
        "training.checkpoint_ticks=2", "training.keep_checkpoints=100", "training.preview_ticks=0",
        "training.watch=off", "evaluation.samples=8",
    ]  # fmt: skip
    values = api.recipe("image", named="esrgan-x2", settings=settings, plugins=plugins)
    run = WORK / f"run-x{factor}"
    seconds = None
    if not arguments.no_training:
        resumed, began = run.exists(), time.process_time()
        api.train(values, out=run, or_resume=True, reporter=Shown(), plugins=plugins)
        seconds = None if resumed else time.process_time() - began
    wanted = np.stack([np.asarray(Image.open(path).convert("RGB")).transpose(2, 0, 1) for path in photographs])
    small = [
        Image.open(path).convert("RGB").resize((128 // factor,) * 2, Image.Resampling.BICUBIC) for path in photographs
    ]
    plain = enlarged(np.stack([np.asarray(image).transpose(2, 0, 1) for image in small]), 128)
    distance = FeatureDistance()
    reached = 0
    rows = {"bicubic": measured(plain, wanted, distance)}
    shown = [plain[:6], wanted[:6]]
    wanted_checkpoints: list[tuple[str, str | int]] = [("pixel loss", arguments.pixels), ("adversarial", "newest")]
    if api.load(run, device="cpu", plugins=plugins).trained <= arguments.pixels:  # stopped in the first phase
        wanted_checkpoints = [("pixel loss", "newest")]
    for name, checkpoint in wanted_checkpoints:
        model = api.load(run, device="cpu", plugins=plugins, checkpoint=checkpoint)
        made = np.concatenate([model.translate(image)["target"] for image in small])
        rows[name] = measured(made, wanted, distance)
        shown.insert(-1, made[:6])
        reached = model.trained
    sheet = np.concatenate([np.concatenate(list(row), 2) for row in shown], 1).transpose(1, 2, 0)
    Image.fromarray(sheet).resize((sheet.shape[1] * 2, sheet.shape[0] * 2), Image.Resampling.NEAREST).save(
        HERE / f"super_resolution_x{factor}.png"
    )
    record = {
        "photographs": {"training": 1000 - UNSEEN, "unseen": UNSEEN, "pixels": 128, "factor": factor},
        "values": rows,
        "samples": {
            "pixels": min(reached, arguments.pixels),
            "adversarial": max(0, reached - arguments.pixels),
        },
        "cpu_seconds_of_training": seconds,
        "recipe": dump(resolve(values, plugins).recipe).replace(str(WORK), "flowers"),
        "machine": surroundings(),
    }
    print(json.dumps(rows, indent=1))
    (HERE / f"super_resolution_x{factor}.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
