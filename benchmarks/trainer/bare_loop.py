"""The trainer against a hand-written loop on the same DCGAN, interleaved in one process; CPU time on one thread.

    python benchmarks/trainer/bare_loop.py

Both train the recipe `dcgan-32` (width 32, batch 64, fp32) on the same random pictures with torch's fused Adam. The
bare loop is what one would write by hand: its discriminator is frozen while the generator learns, it averages nothing
and reports nothing. The last figure is the time of the trainer itself: an iteration of two players of one number each.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gan.contracts import FieldSpec
from gan.data.order import Order
from gan.game import Optimizer, Phase, Player, Turn
from gan.losses import NonSaturating
from gan.recipe import Training
from gan.reporting.manifest import surroundings
from gan.runtime.device import choose_device
from gan.training.trainer import Trainer
from gan_image.architectures.dcgan import DCGAN, DCGANConfig
from torch import nn
from torch.nn.functional import softplus

HERE = Path(__file__).parent
BATCH = 64


class Pictures:
    """Random pictures in memory."""

    pixels = np.random.default_rng(0).integers(0, 256, (1024, 1, 32, 32), dtype=np.uint8)

    def __len__(self) -> int:
        return len(self.pixels)

    def take(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        return {"image": self.pixels[indices]}


def model() -> DCGAN:
    torch.manual_seed(0)
    config = DCGANConfig(generator_width=32, discriminator_width=32)
    return DCGAN(config, {"image": FieldSpec((1, 32, 32), "uint8", 0, 255, "intensity")})


class BareLoop:
    """The same steps by hand."""

    def __init__(self) -> None:
        self.model = model()
        g, d = self.model.generator, self.model.discriminator
        self.optimizers = [torch.optim.Adam(n.parameters(), 2e-4, (0.5, 0.999), fused=True) for n in (g, d)]
        self.order, self.data, self.position = Order(len(Pictures.pixels), 0), Pictures(), 0

    def steps(self, count: int) -> None:
        g, d = self.model.generator, self.model.discriminator
        g_optimizer, d_optimizer = self.optimizers
        for _ in range(count):
            pixels = self.data.take(self.order.indices(self.position, BATCH))["image"]
            self.position += BATCH
            real = torch.from_numpy(pixels).float() / 127.5 - 1
            fake = g(torch.randn(BATCH, 100, 1, 1))
            d_optimizer.zero_grad()
            (softplus(-d(real)).mean() + softplus(d(fake.detach())).mean()).backward()
            d_optimizer.step()
            d.requires_grad_(False)
            g_optimizer.zero_grad()
            softplus(-d(fake)).mean().backward()
            g_optimizer.step()
            d.requires_grad_(True)


class OurLoop:
    """The trainer, taken some iterations at a time."""

    def __init__(self, architecture: nn.Module, phases: list[Phase], **settings: Any) -> None:
        training = Training(
            samples=BATCH * 10**7, batch=BATCH, tick=BATCH * 50, device="cpu", precision="fp32", **settings
        )  # fmt: skip
        order = Order(len(Pictures.pixels), 0)
        device = choose_device("cpu", "fp32")
        self.trainer = Trainer(architecture, architecture.players(), phases, Pictures(), order, training, 0, device)

    def steps(self, count: int) -> None:
        end = self.trainer.samples + count * BATCH
        self.trainer.run(lambda tick: None, lambda: self.trainer.samples >= end)


class Nothing(nn.Module):
    """Two players of one number each."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)

    def players(self) -> dict[str, Player]:
        return {name: Player(getattr(self, name), Optimizer()) for name in ("first", "second")}

    def phases(self) -> list[Phase]:
        turns = [Turn(n, lambda batch, n=n: {"loss": getattr(self, n).weight.sum()}) for n in ("first", "second")]
        return [Phase("nothing", turns)]


def timed(loop: BareLoop | OurLoop, count: int) -> float:
    start = time.process_time()
    loop.steps(count)
    return (time.process_time() - start) / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--out", type=Path, default=HERE / "bare_loop.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    dcgan = model()
    bare, ours = BareLoop(), OurLoop(dcgan, dcgan.phases(NonSaturating(), {}))
    nothing = Nothing()
    empty = OurLoop(nothing, nothing.phases())
    timed(bare, 2), timed(ours, 2), timed(empty, 20)
    ratios, bare_seconds, our_seconds = [], [], []
    for number in range(arguments.rounds):
        pair = [bare, ours] if number % 2 else [ours, bare]
        found = {loop: timed(loop, arguments.steps) for loop in pair}
        bare_seconds.append(found[bare])
        our_seconds.append(found[ours])
        ratios.append(found[bare] / found[ours])
    result = {
        "speed_of_trainer_over_bare_loop": statistics.median(ratios),
        "ratio_quartiles": statistics.quantiles(ratios, n=4),
        "target": 0.97,
        "bare_ms_per_step": 1000 * statistics.median(bare_seconds),
        "trainer_ms_per_step": 1000 * statistics.median(our_seconds),
        "trainer_own_ms_per_step": 1000 * statistics.median(timed(empty, 50) for _ in range(7)),
        "rounds": arguments.rounds,
        "steps_per_round": arguments.steps,
        "machine": surroundings(),
    }
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
