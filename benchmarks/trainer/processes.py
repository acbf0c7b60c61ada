"""One process and two on the same global batch: equal weights, and the CPU time that two spend together.

    python benchmarks/trainer/processes.py

R3GAN (no batch statistics) of 32 pixels, batch 64, fp32, one thread a process, on random pictures. The efficiency is
the CPU time of training with one process divided by that of both; imports and building are left out. Rounds of one and
of two processes follow each other, so that other load on the machine affects both.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from bare_loop import BATCH, Pictures
from gan.contracts import FieldSpec
from gan.data.order import Order
from gan.losses import RelativisticPairing
from gan.recipe import Training
from gan.reporting.manifest import surroundings
from gan.runtime.distributed import init_runtime, shutdown
from gan.training.trainer import Trainer
from gan_image.architectures.r3gan import R3GAN

HERE = Path(__file__).parent


def work(steps: int, folder: Path) -> None:
    """What each process does."""
    torch.set_num_threads(1)
    device = init_runtime("cpu", "fp32")
    torch.manual_seed(0)
    config = R3GAN.Config(width=16, group=4, latent=16, blocks=1)
    net = R3GAN(config, {"image": FieldSpec((1, 32, 32), "uint8", 0, 255, "intensity")})
    training = Training(samples=BATCH * 10**6, batch=BATCH, tick=BATCH * 10**5, device="cpu", ema_half_life=0)
    order = Order(len(Pictures.pixels), 0)
    phases = net.phases(RelativisticPairing(), {})
    trainer = Trainer(net, net.players(), phases, Pictures(), order, training, 0, device)

    def train(until: int) -> None:
        trainer.run(lambda tick: None, lambda: trainer.samples >= until * BATCH)

    train(16)  # processes agree to stop at every 16th iteration
    start, wall = time.process_time(), time.monotonic()
    train(16 + steps)
    spent = {"cpu": time.process_time() - start, "wall": time.monotonic() - wall}
    if device.rank == 0:
        torch.save(net.state_dict(), folder / "weights.pt")
    (folder / f"{device.rank}.json").write_text(json.dumps(spent))
    shutdown()


def run(processes: int, steps: int) -> tuple[dict[str, float], dict[str, Any]]:
    """(CPU seconds of all processes and wall seconds, weights)."""
    launcher = [sys.executable]
    if processes > 1:
        launcher += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        launcher += ["--local-addr", "127.0.0.1"]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([*launcher, __file__, "--work", folder, "--steps", str(steps)], check=True, timeout=900)
        spent = [json.loads((Path(folder) / f"{rank}.json").read_text()) for rank in range(processes)]
        weights = torch.load(Path(folder) / "weights.pt")
    return {"cpu": sum(s["cpu"] for s in spent), "wall": max(s["wall"] for s in spent)}, weights


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=16, help="a multiple of 16")
    parser.add_argument("--work", type=Path)
    parser.add_argument("--out", type=Path, default=HERE / "processes.json")
    arguments = parser.parse_args()
    if arguments.work:
        work(arguments.steps, arguments.work)
        return
    rounds = [(run(1, arguments.steps), run(2, arguments.steps)) for _ in range(arguments.rounds)]
    differences = [
        float((one[1][name] - two[1][name]).abs().max() / one[1][name].abs().max().clamp(min=1e-12))
        for one, two in rounds
        for name in one[1]
        if one[1][name].is_floating_point()
    ]
    ratios = [one[0]["cpu"] / two[0]["cpu"] for one, two in rounds]
    result = {
        "efficiency_in_cpu_time": statistics.median(ratios),
        "all_rounds": ratios,
        "target": 0.85,
        "largest_difference_of_weights": max(differences),
        "difference_relative_to": "the largest weight of the tensor",
        "one_process": [one[0] for one, _ in rounds],
        "two_processes": [two[0] for _, two in rounds],
        "steps": arguments.steps,
        "machine": surroundings(),
    }
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
