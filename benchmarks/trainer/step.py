"""What a training step costs beside the networks: work for each tensor, operations dispatched, random numbers.

    python benchmarks/trainer/step.py

*Tensors*: two players share 2, 100 or 1,000 tensors of one number; the weights of the first are averaged. The objective
hands out gradients that exist already, so that an iteration is bookkeeping but for autograd's own work, which a loop of
the same objectives with nothing but `backward` measures. A loop by hand with torch's fused Adam stands beside it; it
averages nothing and looks for no NaN. All are interleaved in one process, in CPU time on one thread.

*Operations*: those that PyTorch dispatches in one iteration of DCGAN (views left out), each a kernel on a GPU, by the
trainer on the path of an accelerator and by the loop by hand of `bare_loop.py`.

*Draws*: 256 rows of 512 normal numbers: for samples with seeds of their own and for a training step, by generators and
by counters. *Image pool*: 16 pictures of 64 pixels through a pool of 50, and a loop over the pictures.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from bare_loop import BareLoop, OurLoop, model, timed
from gan.draws import CounterDraws, SeededDraws, StepDraws
from gan.game import Optimizer, Phase, Player, Turn
from gan.losses import NonSaturating
from gan.reporting.manifest import surroundings
from gan_image.architectures.translation import ImagePool
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

HERE = Path(__file__).parent


class Given(torch.autograd.Function):
    """A loss of 0 whose gradients are given."""

    @staticmethod
    def forward(ctx: Any, gradients: list[Tensor], *parameters: Tensor) -> Tensor:
        ctx.gradients = gradients
        return torch.zeros(())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return (None, *ctx.gradients)


class ManyTensors(nn.Module):
    """Two players with half of the tensors each."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.first, self.second = (
            nn.ParameterList([nn.Parameter(torch.zeros(1)) for _ in range(count // 2)]) for _ in range(2)
        )
        self.gradients = [torch.ones(1) for _ in range(count // 2)]

    def players(self) -> dict[str, Player]:
        return {"first": Player(self.first, Optimizer(), average=True), "second": Player(self.second, Optimizer())}

    def phases(self) -> list[Phase]:
        def turn(name: str) -> Turn:
            parameters = list(getattr(self, name))
            return Turn(name, lambda batch: {"loss": Given.apply(self.gradients, *parameters)})

        return [Phase("bookkeeping", [turn("first"), turn("second")])]


class ByHand:
    """The same objectives with a backward pass, and with torch's fused Adam if it `steps`."""

    def __init__(self, made: ManyTensors, *, step: bool) -> None:
        self.gradients, self.parameters = made.gradients, [list(made.first), list(made.second)]
        self.optimizers = [torch.optim.Adam(p, 2e-4, (0.5, 0.999), fused=True) for p in self.parameters]
        self.step = step

    def steps(self, count: int) -> None:
        for _ in range(count):
            for parameters, optimizer in zip(self.parameters, self.optimizers, strict=True):
                optimizer.zero_grad()
                Given.apply(self.gradients, *parameters).backward(inputs=parameters)
                if self.step:
                    optimizer.step()


def bookkeeping(count: int, rounds: int) -> dict[str, float]:
    """Milliseconds of an iteration with `count` tensors."""
    made = ManyTensors(count)
    loops = {
        "iteration": OurLoop(made, made.phases(), ema_half_life=1000),
        "objectives_and_backward": ByHand(ManyTensors(count), step=False),
        "loop_by_hand": ByHand(ManyTensors(count), step=True),
    }
    found: dict[str, list[float]] = {name: [] for name in loops}
    for loop in loops.values():
        timed(loop, 20)
    for _ in range(rounds):
        for name, loop in loops.items():
            found[name].append(1000 * timed(loop, 15))
    own = [a - b for a, b in zip(found["iteration"], found["objectives_and_backward"], strict=True)]
    hand = [a - b for a, b in zip(found["loop_by_hand"], found["objectives_and_backward"], strict=True)]
    result = {name: statistics.median(values) for name, values in found.items()}
    return result | {
        "bookkeeping": statistics.median(own),
        "bookkeeping_least": min(own),
        "bookkeeping_over_that_by_hand": statistics.median(a / b for a, b in zip(own, hand, strict=True)),
    }


class Dispatched(TorchDispatchMode):
    """Counts operations that compute something: no views, no empty tensors."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.name().partition("::")[2].partition(".")[0]
        aliases = any(r.alias_info is not None and not r.alias_info.is_write for r in func._schema.returns)
        self.count += not (aliases or name in ("detach", "empty", "empty_like", "_local_scalar_dense"))
        return func(*args, **(kwargs or {}))


def operations() -> dict[str, float]:
    """Operations of an iteration of DCGAN."""
    dcgan = model()
    loops = {"trainer": OurLoop(dcgan, dcgan.phases(NonSaturating(), {}), ema_half_life=0), "loop_by_hand": BareLoop()}
    found: dict[str, float] = {}
    for name, loop in loops.items():
        loop.steps(2)
        with Dispatched() as dispatched:
            loop.steps(1)
        found[name] = dispatched.count
    return found


def best(call: Callable[[], object], rounds: int = 30) -> float:
    """The least CPU milliseconds of a call."""
    seconds = []
    for _ in range(rounds):
        start = time.process_time()
        call()
        seconds.append(time.process_time() - start)
    return 1000 * min(seconds)


CPU = torch.device("cpu")


def draws() -> dict[str, float]:
    """Milliseconds of 256 rows of 512 normal numbers, with what comes before them (seeds, generators, keys)."""
    ways = {
        "samples_by_generators": lambda: SeededDraws.of(0, 0, 256, CPU).randn(512),
        "samples_by_counters": lambda: CounterDraws.of_samples(0, 0, 256, CPU).randn(512),
        "step_by_a_generator": lambda: StepDraws(0, 256, 0, 256, CPU).randn(512),
        "step_by_counters": lambda: CounterDraws.of_step(0, 256, 0, 256, CPU).randn(512),
    }
    return {name: best(call) for name, call in ways.items()}


def pool() -> dict[str, float]:
    """Milliseconds of 16 pictures of 64 pixels shown through a pool of 50: ours, and a loop over pictures."""
    ours = ImagePool(50, (3, 64, 64))
    pictures, stored = torch.rand(16, 3, 64, 64), list(torch.rand(50, 3, 64, 64))
    ours.show(torch.rand(64, 3, 64, 64), StepDraws(0, 64, 0, 64, CPU))

    def loop() -> Tensor:
        shown = []
        for picture in pictures:
            if torch.rand(()).item() < 0.5:
                place = int(torch.randint(50, ()))
                shown.append(stored[place].clone())
                stored[place] = picture.clone()
            else:
                shown.append(picture)
        return torch.stack(shown)

    return {"ours": best(lambda: ours.show(pictures, StepDraws(1, 16, 0, 16, CPU))), "loop": best(loop)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path, default=HERE / "step.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    result = {
        "tensors_ms": {count: bookkeeping(count, arguments.rounds) for count in (2, 100, 1000)},
        "operations_of_dcgan": operations(),
        "draws_ms": draws(),
        "image_pool_ms": pool(),
        "machine": surroundings(),
    }
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
