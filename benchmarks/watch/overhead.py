"""Cost of the watch in a DCGAN training: CPU time with `warn` over that with `off`, interleaved in one process.

    python benchmarks/watch/overhead.py [--rounds 12]

Two sessions train the recipe `dcgan-32` (width 32, batch 64, fp32) on drawn pictures; blocks alternate between them. A
tick is 10,800 real samples, as in the recipe, and a block is a whole tick, so that each block of the watched training
holds one measurement, its probes and its record. Memory is what the watch keeps and what a measurement allocates.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import time
import tracemalloc
from pathlib import Path

import torch
from common import HERE, WORK, plugins
from gan.build import recipe_values, resolve
from gan.recipe import with_settings
from gan.reporting.manifest import surroundings
from gan.reporting.reporter import Reporter
from gan.runtime.device import choose_device
from gan.runtime.signals import StopSignals
from gan.storage.run_folder import RunFolder
from gan.training.session import Session


class Loop:
    """A session of which some samples are trained at a time."""

    def __init__(self, watch: str, tick: int) -> None:
        known = plugins()
        values = with_settings(
            recipe_values(known, "image", named="dcgan-32"),
            [
                "data.source=digits", "training.device=cpu", f"training.watch={watch}", f"training.tick={tick}",
                "training.samples=100000000", "evaluation.metrics=[]", "training.preview_ticks=0",
                "training.checkpoint_ticks=1000000",
            ],
        )  # fmt: skip
        out = WORK / f"overhead-{watch}"
        shutil.rmtree(out, ignore_errors=True)
        device = choose_device("cpu", "fp32")
        self.session = Session(resolve(values, known), known, Reporter(), device, StopSignals())
        self.session.open(RunFolder.create(out))
        self.trainer = self.session.trainer

    def train(self, samples: int) -> float:
        end = self.trainer.samples + samples
        before = time.process_time()
        self.trainer.run(self.session._on_tick, lambda: self.trainer.samples >= end)
        return time.process_time() - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--tick", type=int, default=10_800, help="real samples in a tick and in a block")
    parser.add_argument("--out", type=Path, default=HERE / "overhead.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    loops = {watch: Loop(watch, arguments.tick) for watch in ("off", "warn")}
    for loop in loops.values():
        loop.train(640)
    parts = 18
    share = arguments.tick // parts
    ratios, seconds = [], {"off": [], "warn": []}
    for number in range(arguments.rounds):
        total = {"off": 0.0, "warn": 0.0}
        for part in range(parts):  # short blocks in turn, so that other load meets both alike
            for watch in ("off", "warn") if (number + part) % 2 else ("warn", "off"):
                total[watch] += loops[watch].train(share)
        ratios.append(total["warn"] / total["off"])
        for watch, value in total.items():
            seconds[watch].append(value)
        print(number, round(ratios[-1], 4), flush=True)
    measure = loops["warn"].session.watch._measure
    before = time.process_time()
    tracemalloc.start()
    measure(256, None)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    state = loops["warn"].session.watch.state_dict()["state"]
    result = {
        "cpu_time_with_watch_over_without": statistics.median(ratios),
        "ratio_quartiles": statistics.quantiles(ratios, n=4),
        "ratio_of_sums": sum(seconds["warn"]) / sum(seconds["off"]),
        "target": 1.02,
        "seconds_of_a_measurement_of_256_samples": time.process_time() - before,
        "seconds_of_a_tick_without": statistics.median(seconds["off"]),
        "host_memory_of_a_measurement_mb": peak / 1e6,
        "state_in_a_checkpoint_kb": len(state) / 1e3,
        "windows": len(loops["warn"].session.watch.windows),
        "rounds": arguments.rounds,
        "tick": arguments.tick,
        "machine": surroundings(),
    }
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
