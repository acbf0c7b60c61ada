"""The trainer against a loop written by hand, on the same DCGAN, in one process, in turns; and its own CPU time a step.

The bare loop is the best that we can write: fused Adam, fakes made once an iteration, the discriminator frozen in the
generator's update, no logging. Both read uint8 pictures from memory. The trainer does everything that it does in a run:
order, seeds, statistics, the check of every gradient. CPU time, one thread, the median of interleaved blocks.

A no-op game (one parameter, one turn) bounds what the trainer itself costs: its time less that of the same update by
hand.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from gan.contracts import Field
from gan.data import Order
from gan.device import Device
from gan.game import Optimizer, Phase, Player, Turn
from gan.losses import NonSaturating
from gan.recipe import Training
from gan.trainer import Trainer
from gan_image.dcgan import DCGAN
from gan_image.pixels import to_network
from torch import nn
from torch.nn.functional import softplus

sys.path.insert(0, str(Path(__file__).parents[1] / "metrics"))
from machine import machine

CPU = Device(torch.device("cpu"), torch.float32)
FIELDS = {"image": Field((3, 64, 64), "uint8", 0, 255, "intensity")}


class Pictures:
    """Random pictures in memory."""

    def __init__(self, count: int = 1024) -> None:
        self.pixels = np.random.Generator(np.random.Philox(0)).integers(0, 256, (count, 3, 64, 64), dtype=np.uint8)

    def __len__(self) -> int:
        return len(self.pixels)

    def take(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        return {"image": self.pixels[indices]}


def network(width: int) -> DCGAN:
    torch.manual_seed(0)
    config = DCGAN.Config(generator_width=width, discriminator_width=width)
    return DCGAN(config, FIELDS)


def by_trainer(width: int, batch: int) -> Callable[[int], None]:
    net, data = network(width), Pictures()
    phases = net.phases(NonSaturating(), {})
    training = Training(samples=10**9, batch=batch, tick=10**8)
    trainer = Trainer(net, net.players(), phases, data, Order(len(data), 0), training, 0, CPU)

    def steps(count: int) -> None:
        goal = trainer.samples + count * batch
        trainer.run(lambda tick: None, lambda: trainer.samples >= goal)

    return steps


def by_hand(width: int, batch: int) -> Callable[[int], None]:
    net, data = network(width), Pictures()
    adam = {"lr": 2e-4, "betas": (0.5, 0.999), "fused": True}
    opt_g = torch.optim.Adam(net.generator.parameters(), **adam)
    opt_d = torch.optim.Adam(net.discriminator.parameters(), **adam)
    order = np.random.permutation(len(data))
    place = 0

    def steps(count: int) -> None:
        nonlocal place
        for _ in range(count):
            indices = order[np.arange(place, place + batch) % len(order)]
            place += batch
            real = to_network(torch.from_numpy(data.pixels[indices]))
            fake = net.generator(torch.randn(batch, net.config.latent, 1, 1))
            opt_d.zero_grad()
            real_scores = net.discriminator(real).flatten()
            fake_scores = net.discriminator(fake.detach()).flatten()
            (softplus(-real_scores).mean() + softplus(fake_scores).mean()).backward()
            opt_d.step()
            net.discriminator.requires_grad_(False)
            opt_g.zero_grad()
            softplus(-net.discriminator(fake).flatten()).mean().backward()
            opt_g.step()
            net.discriminator.requires_grad_(True)

    return steps


def no_op() -> dict[str, float]:
    """Microseconds of CPU a step: in the trainer, by hand, and the difference."""
    count = 3000
    data = Pictures(64)
    data.pixels = data.pixels[:, :1, :1, :1].copy()
    net = nn.Linear(1, 1)
    settings = Optimizer(name="sgd", lr=1e-9, betas=(0.0, 0.0))
    turn = Turn("one", lambda batch: {"loss": net.weight.sum()})
    training = Training(samples=10**9, batch=8, tick=10**8)
    phases = [Phase("only", [turn])]
    trainer = Trainer(net, {"one": Player(net, settings)}, phases, data, Order(64, 0), training, 0, CPU)
    twin = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(twin.parameters(), lr=1e-9, fused=True)

    def by_trainer(number: int) -> None:
        goal = trainer.samples + number * 8
        trainer.run(lambda tick: None, lambda: trainer.samples >= goal)

    def by_hand(number: int) -> None:
        for _ in range(number):
            optimizer.zero_grad()
            twin.weight.sum().backward()
            optimizer.step()

    ways = {"trainer": by_trainer, "by hand": by_hand}
    times = interleaved(ways, count, 5)
    found = {name: 1e6 * statistics.median(values) for name, values in times.items()}
    return {**found, "trainer's own": found["trainer"] - found["by hand"]}


def interleaved(ways: dict[str, Callable[[int], None]], steps: int, blocks: int) -> dict[str, list[float]]:
    """CPU seconds a step of every way, block by block, the order turned round each time."""
    for way in ways.values():
        way(2)
    times: dict[str, list[float]] = {name: [] for name in ways}
    for block in range(blocks):
        names = list(ways) if block % 2 == 0 else list(ways)[::-1]
        for name in names:
            start = time.process_time()
            ways[name](steps)
            times[name].append((time.process_time() - start) / steps)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--blocks", type=int, default=15)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    ways = {
        "trainer": by_trainer(arguments.width, arguments.batch),
        "bare loop": by_hand(arguments.width, arguments.batch),
    }
    times = interleaved(ways, arguments.steps, arguments.blocks)
    ratios = [bare / ours for ours, bare in zip(times["trainer"], times["bare loop"], strict=True)]
    result = {
        "what": f"DCGAN-64 (width {arguments.width}), batch {arguments.batch}: speed of the trainer over a bare loop",
        "ratio, median of blocks": statistics.median(ratios),
        "ratio, quartiles": statistics.quantiles(ratios, n=4)[::2],
        "target": 0.97,
        "CPU seconds a step, medians": {name: statistics.median(values) for name, values in times.items()},
        "microseconds a step with a no-op model": no_op(),
        "machine": machine(),
    }
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
