"""What checkpoints cost a training: DCGAN at its published size, saved in the background every 30 s, or not at all.

    python benchmarks/checkpoints/cost.py [short] [long]

One process trains in blocks, in turn without a save and with one at its beginning, in the order A B B A A B … so that a
machine that grows slower favours neither. Compared are neighbouring blocks by the CPU time of all threads (the writing
thread's too, so that neither another program nor an idle core flatters the result).

* long: blocks of 30 s of CPU time, the throughput itself. On a machine with other work neighbouring blocks differ by
  more than a save costs.
* short: blocks of a few steps, where a save is a large part of a block and the noise a small one. What a save adds,
  over 30 s, is the share of throughput that it costs.

The CPU time of the copy and of the writing thread is noted beside; for that of the copy the training stands still.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from gan.build import build_game, resolve
from gan.data.order import Order
from gan.plugins.manager import Plugins
from gan.recipe import Training
from gan.reporting import manifest
from gan.runtime.device import choose_device
from gan.storage.checkpoint import Checkpoints
from gan.training.trainer import Trainer

INTERVAL = 30.0
"""Seconds between two checkpoints, of CPU time."""
PAIRS = {"short": int(os.environ.get("GAN_BENCH_SHORT", "12")), "long": int(os.environ.get("GAN_BENCH_LONG", "4"))}
SHORT = 6
"""Steps of a short block."""


class Noise:
    """Pictures of noise: reading data is not what is measured."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._pictures = torch.randint(0, 256, (512, *shape), dtype=torch.uint8).numpy()

    def __len__(self) -> int:
        return len(self._pictures)

    def take(self, indices):
        return {"image": self._pictures[indices]}


class Timed(Checkpoints):
    """Notes the CPU time of its writing threads."""

    writing: list[float] = []

    def _attempt(self, *arguments):
        before = time.thread_time()
        super()._attempt(*arguments)
        self.writing.append(time.thread_time() - before)


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
    parts = resolve(values, plugins)
    fields = parts.modality_class(parts.modality_config).fields
    game = build_game(parts, fields)
    data = Noise(fields["image"].shape)
    training: Training = parts.recipe.training
    trainer = Trainer(
        game.architecture,
        game.players,
        game.phases,
        data,
        Order(len(data), 0),
        training,
        0,
        choose_device("cpu", "fp32"),
    )
    folder = Path(tempfile.mkdtemp())
    checkpoints = Timed(folder, keep=2)

    def steps(count: int) -> None:
        wanted = trainer.samples + count * training.batch
        trainer.run(lambda tick: None, lambda: trainer.samples >= wanted)

    steps(4)  # warm-up
    before = time.process_time()
    steps(8)
    a_step = (time.process_time() - before) / 8
    copying: list[float] = []

    def cpu_seconds(count: int, save: bool) -> float:
        """Of one block of `count` steps, with a save or without."""
        cpu, thread = time.process_time(), time.thread_time()
        if save:
            checkpoints.save(trainer.samples, trainer.owners(), {}, background=True)
            copying.append(time.thread_time() - thread)
        steps(count)
        checkpoints.wait()
        return time.process_time() - cpu

    out = Path(__file__).with_name("cost.json")
    result = json.loads(out.read_text()) if out.exists() else {}
    for kind in sys.argv[1:] or PAIRS:
        count = SHORT if kind == "short" else max(1, round(INTERVAL / a_step))
        pairs = []
        for number in range(PAIRS[kind]):
            found = {save: cpu_seconds(count, save) for save in ((False, True) if number % 2 == 0 else (True, False))}
            pairs.append((found[False], found[True]))
            print(kind, pairs[-1], flush=True)
        added = statistics.median(b - a for a, b in pairs)
        result[kind] = {
            "steps_a_block": count,
            "throughput_ratios": [round(a / b, 4) for a, b in pairs],
            "throughput_ratio": round(statistics.median(a / b for a, b in pairs), 4),
            "cpu_seconds_that_a_save_adds": round(added, 4),
            "share_of_throughput": round(added / INTERVAL, 4),
            "cpu_seconds_of_the_copy": round(statistics.median(copying), 4),
            "cpu_seconds_of_the_writing": round(statistics.median(checkpoints.writing), 4),
            "load": round(os.getloadavg()[0], 1),
        }
    size = sum(path.stat().st_size for path in checkpoints.all()[-1].iterdir())
    shutil.rmtree(folder)
    result |= {
        "what": "dcgan 64x64x3, widths 64, batch 16, Adam and averages, CPU; a save every 30 s against none",
        "checkpoint_mb": round(size / 1e6, 1),
        "machine": {**manifest.machine(), "threads": torch.get_num_threads()},
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
    }
    out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
    if "short" in result:
        assert result["short"]["share_of_throughput"] < 0.02, "saving every 30 s costs 2 % of throughput or more"


if __name__ == "__main__":
    main()
