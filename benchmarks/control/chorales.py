"""FrameGAN on Bach's chorales: projection of phrases of unseen chorales, and directions by four attributes.

    python benchmarks/control/chorales.py [--work DIR] [--no-training]

The recipe ``frames`` with a tenth of the chorales held out. Projected are phrases of held-out chorales into z, and then
with a tuned generator: the share of their sounding cells that the projected phrase has (found), and of its cells that
they have (right). Directions are found by the attributes of many phrases, each without what changes the other three,
and measured on other phrases.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import HERE, curves, record, trained
from gan.api import recipe
from gan.build import open_data, resolve
from gan.control.directions import find
from gan.plugins.manager import Plugins
from gan.reporting.films import pictures_of, save_sheet
from gan.reporting.reporter import Reporter

ATTRIBUTES = ["density", "register", "polyphony", "key-clarity"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/benchmarks/control"))
    parser.add_argument("--no-training", action="store_true", help="measure the run as it is")
    parser.add_argument("--phrases", type=int, default=12)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--samples", type=int, default=4000, help="phrases that directions are found by")
    given = parser.parse_args()
    torch.set_num_threads(1)
    settings = ["data.holdout=0.1", "evaluation.metrics=[]", "evaluation.samples=64"]
    values = recipe("music", named="frames", settings=settings)
    model = trained({} if given.no_training else values, given.work / "runs" / "frames")
    begin = time.process_time()
    _, held = open_data(resolve(values, Plugins.installed()), Plugins.installed(), Reporter()).split(0.1)
    unseen = held.take(np.linspace(0, len(held) - 1, given.phrases).astype(int))
    played = [name for name in ("roll", "onset") if name in unseen]
    shares: dict[str, dict[str, list[float]]] = {}
    pairs = []
    for row in range(given.phrases):
        found = model.project(
            {name: unseen[name][row] for name in played}, steps=given.steps, tune=2 * given.steps // 3
        )
        for stage, values_of in found.likeness.items():
            for name in ("found", "right"):
                shares.setdefault(stage, {}).setdefault(name, []).append(round(values_of[name], 4))
        print({stage: row["found"][-1] for stage, row in shares.items()}, flush=True)
        pairs += [found.target, found.stages["z"], found.stages["tuned"]]
    tiles = pictures_of(model.modality, {name: np.concatenate([pair[name] for pair in pairs[:9]]) for name in played})
    save_sheet(tiles, 3, HERE / "chorales-projected.png")
    result: dict[str, Any] = {
        "unseen phrases": {
            stage: {**row, **{f"mean {name}": float(np.mean(row[name])) for name in row}}
            for stage, row in shares.items()
        }
    }
    find(model, "score", ",".join(ATTRIBUTES), samples=given.samples, keep=["each"])
    result["directions"] = {
        name: {
            "explained": model.directions.direction(name).explained,
            **curves(model, name, ATTRIBUTES, given.samples // 10, 99),
        }
        for name in ATTRIBUTES
    }
    row = model.draw(2, 7).values
    edits = torch.cat([r[None] + s * model.directions["register"][None] for r in row for s in (-2.0, 0.0, 2.0)])
    save_sheet(pictures_of(model.modality, model.decode(edits)), 3, HERE / "chorales-register.png")
    result["cpu_seconds of measuring"] = time.process_time() - begin
    record("chorales", result, model)


if __name__ == "__main__":
    main()
