"""Ring of 8 and grid of 25 Gaussians with settings that collapse, without `act` and with it.

    python benchmarks/watch/rings.py [--seeds 0 1 …] [--modes act] [--samples 102400] [--out FILE]

The recipe of the toy plugin without its penalty, with `training.watch: warn` and `act`. Ring: generator 2e-3,
discriminator 2e-1, which learns a hundred times as fast. Grid: 1e-2 for both, fifty times the recipe's. A mode counts
when one of 2,500 samples of the averaged weights lies within 0.25 of it, and counts as held when as many samples do as
a fifth of its share. What remedies do was chosen with seeds 3 and 7 of the ring and 2 and 5 of the grid.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np
from common import HERE, WORK, plugins, record, recorded, train
from gan.generation.loading import load_model
from gan.reporting.manifest import surroundings
from gan.storage.run_folder import RunFolder
from gan.testing.points import NEAR, ring_centres

RATES = {"ring": (0.002, 0.2), "grid": (0.01, 0.01)}
"""Learning rates of generator and discriminator."""
SAMPLES = {"ring": 512_000, "grid": 1_024_000}


def centres(data: str) -> np.ndarray:
    axis = np.arange(-4.0, 5.0, 2.0)
    return ring_centres() if data == "ring" else np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)


def count(points: np.ndarray, data: str) -> dict[str, float]:
    """Modes that are hit, modes that are held, and the share of samples near one."""
    hit = np.linalg.norm(points[:, None] - centres(data), axis=2) <= NEAR
    return {
        "modes": int(hit.any(0).sum()),
        "held": int((hit.mean(0) >= 0.2 / hit.shape[1]).sum()),
        "near": float(hit.any(1).mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(10)))
    parser.add_argument("--data", nargs="+", default=list(SAMPLES))
    parser.add_argument("--modes", nargs="+", default=["warn", "act"])
    parser.add_argument("--samples", type=int, help="points shown, instead of the whole training")
    parser.add_argument("--out", type=Path, default=HERE / "rings.json")
    arguments = parser.parse_args()
    known = plugins()
    result = recorded(arguments.out)
    runs = result.setdefault("runs", {})
    for data in arguments.data:
        for seed in arguments.seeds:
            for watch in arguments.modes:
                name = f"{data}/{watch}/{seed}"
                if name in runs:
                    continue
                out = WORK / name.replace("/", "-")
                shutil.rmtree(out, ignore_errors=True)
                rates = zip(("generator", "discriminator"), RATES[data], strict=True)
                settings = [
                    "penalties=[]",
                    *(f"optimizers.{player}.lr={rate}" for player, rate in rates),
                    f"data.source={data}",
                    f"training.watch={watch}",
                ]
                found = train(known, out, "toy", None, settings, seed, arguments.samples or SAMPLES[data])
                model = load_model(RunFolder(out), known, checkpoint="newest")
                runs[name] = {
                    **count(model.generate(2500, 0)["points"], data),
                    "verdicts": [[v["verdict"], v["since"], v["pronounced"]] for v in found["verdicts"]],
                    "actions": [[a["samples"], a["verdict"], a["remedy"], a["dials"]] for a in found["actions"]],
                    "samples": found["signals"][-1]["samples"],
                    "cpu_seconds": found["cpu_seconds"],
                }
                shutil.rmtree(out)
                print(name, {k: v for k, v in runs[name].items() if k != "verdicts"}, flush=True)
                result["modes"] = {
                    case: [run["modes"] for name, run in runs.items() if name.startswith(f"{case}/")]
                    for case in sorted({name.rpartition("/")[0] for name in runs})
                }
                result["machine"] = surroundings()
                record(arguments.out, result)


if __name__ == "__main__":
    main()
