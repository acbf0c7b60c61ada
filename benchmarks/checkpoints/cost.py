"""What checkpoints cost a training: DCGAN at its published size, saved in the background.

    python benchmarks/checkpoints/cost.py

Blocks of training with one background save are alternated with blocks without one, in one process. What is compared is
the process's CPU time over all threads, so that neither another program nor an idle core flatters the result: the time
that a save adds, over the 30 s between two saves, bounds the share of throughput that it costs. The time for which the
training itself stands still (taking the copy) is measured beside it.
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
"""Seconds between two checkpoints."""
BLOCKS = int(os.environ.get("GAN_BENCH_BLOCKS", "8"))
STEPS = 6


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
    iterations = 0

    def steps() -> None:
        nonlocal iterations
        wanted = trainer.samples + STEPS * training.batch
        trainer.run(lambda tick: None, lambda: trainer.samples >= wanted)
        iterations += STEPS

    steps()  # warm-up
    plain, saving, copying = [], [], []
    for _ in range(BLOCKS):
        for save in (False, True):
            cpu, thread = time.process_time(), time.thread_time()
            if save:
                checkpoints.save(trainer.samples, trainer.owners(), {}, background=True)
                copying.append(time.thread_time() - thread)
            steps()
            if save:
                checkpoints.wait()
            (saving if save else plain).append(time.process_time() - cpu)
    size = sum(path.stat().st_size for path in checkpoints.all()[-1].iterdir())
    shutil.rmtree(folder)
    added = statistics.median(b - a for a, b in zip(plain, saving, strict=True))
    result = {
        "what": "dcgan 64x64x3, widths 64, batch 16, Adam and averages, CPU",
        "checkpoint_mb": round(size / 1e6, 1),
        "cpu_seconds_a_step": statistics.median(plain) / STEPS,
        "cpu_seconds_a_save": added,
        "standstill_seconds_a_save": statistics.median(copying),
        "share_of_throughput": added / INTERVAL,
        "blocks": BLOCKS,
        "machine": {**provenance.machine(), "threads": torch.get_num_threads(), "load": round(os.getloadavg()[0], 1)},
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
    }
    out = Path(__file__).with_name("cost.json")
    out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
    assert result["share_of_throughput"] < 0.02, "saving every 30 s costs 2 % of throughput or more"


if __name__ == "__main__":
    main()
