"""What checkpoints cost a training: DCGAN at its published size, saved in the background every 30 s, or not at all.

    python benchmarks/checkpoints/cost.py

One process trains in blocks of about 30 s, in turn without a save and with one at its beginning, in the order
A B B A A B … so that a machine that grows slower favours neither. Compared is the throughput of neighbouring blocks:
real samples a second of CPU time over all threads (the writing thread's too, so that neither another program nor an
idle core flatters the result), and a second on the clock beside it, which on a busy machine says little. The time for
which the training itself stands still (taking the copy) is measured too.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import torch
from gan import provenance
from gan.checkpoint import Checkpoints
from gan.data import Order
from gan.device import choose
from gan.plugins import Plugins
from gan.recipe import Training
from gan.resolve import build_game, look_up
from gan.trainer import Trainer

INTERVAL = 30.0
"""Seconds between two checkpoints, of CPU time."""
PAIRS = int(os.environ.get("GAN_BENCH_PAIRS", "6"))


class Noise:
    """Pictures of noise: reading data is not what is measured."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._pictures = torch.randint(0, 256, (512, *shape), dtype=torch.uint8).numpy()

    def __len__(self) -> int:
        return len(self._pictures)

    def take(self, indices):
        return {"image": self._pictures[indices]}


def main() -> None:
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    plugins = Plugins.installed()
    values = {
        "plugin": "image",
        "architecture": "dcgan",
        "modality": {"resolution": 64, "channels": 3},
        "model": {"latent": 100, "generator_width": 64, "discriminator_width": 64},
        "training": {"samples": 10**9, "batch": 16, "ema_half_life": 5000, "device": "cpu"},
    }
    parts = look_up(values, plugins)
    fields = parts.modality_class(parts.modality_config).fields
    game = build_game(parts, fields)
    data = Noise(fields["image"].shape)
    training: Training = parts.recipe.training
    trainer = Trainer(
        game.architecture, game.players, game.phases, data, Order(len(data), 0), training, 0, choose("cpu", "fp32")
    )
    folder = Path(tempfile.mkdtemp())
    checkpoints = Checkpoints(folder, keep=2)

    def steps(count: int) -> None:
        wanted = trainer.samples + count * training.batch
        trainer.run(lambda tick: None, lambda: trainer.samples >= wanted)

    steps(4)  # warm-up
    before = time.process_time()
    steps(8)
    block = max(1, round(INTERVAL * 8 / (time.process_time() - before)))
    copying: list[float] = []

    def throughput(save: bool) -> tuple[float, float]:
        """Real samples a second of CPU time and on the clock, in one block."""
        cpu, clock, thread = time.process_time(), time.monotonic(), time.thread_time()
        if save:
            checkpoints.save(trainer.samples, trainer.owners(), {}, background=True)
            copying.append(time.thread_time() - thread)
        steps(block)
        checkpoints.wait()
        shown = block * training.batch
        return shown / (time.process_time() - cpu), shown / (time.monotonic() - clock)

    pairs = []
    for number in range(PAIRS):
        found = {save: throughput(save) for save in ((False, True) if number % 2 == 0 else (True, False))}
        pairs.append({"without": found[False], "with": found[True]})
        print(json.dumps(pairs[-1]), flush=True)
    ratios = [pair["with"][0] / pair["without"][0] for pair in pairs]
    clock_ratios = [pair["with"][1] / pair["without"][1] for pair in pairs]
    size = sum(path.stat().st_size for path in checkpoints.all()[-1].iterdir())
    shutil.rmtree(folder)
    result = {
        "what": "dcgan 64x64x3, widths 64, batch 16, Adam and averages, CPU; a save every 30 s against none",
        "checkpoint_mb": round(size / 1e6, 1),
        "samples_a_cpu_second": {
            kind: round(statistics.median(pair[kind][0] for pair in pairs), 2) for kind in ("without", "with")
        },
        "throughput_ratio": round(statistics.median(ratios), 4),
        "throughput_ratios": [round(ratio, 4) for ratio in ratios],
        "throughput_ratio_on_the_clock": round(statistics.median(clock_ratios), 4),
        "standstill_seconds_a_save": round(statistics.median(copying), 4),
        "steps_a_block": block,
        "machine": {**provenance.machine(), "threads": torch.get_num_threads(), "load": round(os.getloadavg()[0], 1)},
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
    }
    out = Path(__file__).with_name("cost.json")
    out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
    assert result["throughput_ratio"] > 0.98, "saving every 30 s costs 2 % of throughput or more"


if __name__ == "__main__":
    main()
