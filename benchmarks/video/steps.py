"""CPU time of a training step of MoCoGAN's recipe `motions` and of `animate`, compared with a hand-written loop.

    python benchmarks/video/steps.py

Both sides train the same networks on the same random clips, with torch's fused Adam, fp32, one thread. The hand-written
loops follow the recipes: hinge loss, and critics with spectral normalization that are frozen while the generator
learns. They report nothing and check no values. Both sides are interleaved in one process. A ratio above 1 means that
the trainer is faster. Neither side averages weights.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from gan.api import recipe as named_recipe
from gan.build import build_game, resolve
from gan.contracts import FieldSpec
from gan.data.order import Order
from gan.plugins.manager import Plugins
from gan.reporting.manifest import surroundings
from gan.runtime.device import choose_device
from gan.training.trainer import Trainer
from gan_video.architectures.clips import projected
from torch import Tensor
from torch.nn.functional import l1_loss, one_hot, relu

HERE = Path(__file__).parent
FIELDS = {
    "video": FieldSpec((16, 3, 32, 32), "uint8", 0, 255, "intensity"),
    "label": FieldSpec((), "int64", 0, 5, "class index", condition=True),
}


class Clips:
    """A dataset of random clips in memory."""

    video = np.random.default_rng(0).integers(0, 256, (256, 16, 3, 32, 32), dtype=np.uint8)
    label = np.arange(256) % 6

    def __len__(self) -> int:
        return len(self.video)

    def take(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        return {"video": self.video[indices], "label": self.label[indices]}


def mocogan(model: torch.nn.Module) -> tuple[list[torch.nn.Module], Callable[[Tensor, Tensor], Tensor], Callable]:
    """(generator's networks, clips of real ones and labels, scores of clips and labels)."""

    def make(real: Tensor, label: Tensor) -> Tensor:
        sizes = (model.config.content, *(model.config.motion,) * (1 + model.frames))
        return model.clips(torch.cat([torch.randn(len(real), size) for size in sizes], 1), label)

    def scores(clips: Tensor, shares: Tensor) -> list[Tensor]:
        chosen = torch.randint(clips.shape[1], (len(clips),))
        image = model.image_critic(clips[torch.arange(len(clips)), chosen])
        return [image, projected(model.video_critic(clips.flatten(1, 2)), shares)]

    return [model.motion_cell, model.image_generator, model.motion_start, model.styles], make, scores


def animate(model: torch.nn.Module) -> tuple[list[torch.nn.Module], Callable[[Tensor, Tensor], Tensor], Callable]:
    """The same for `animate`, whose drawn first frames have to be the given ones."""

    def make(real: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        noise = [torch.randn(len(real), model.config.motion) for _ in range(model.frames)]
        clips, drawn = model.generator(real[:, 0], one_hot(label, 6).float(), noise)
        return clips, model.config.reconstruction * l1_loss(drawn, real[:, 0])

    def scores(clips: Tensor, shares: Tensor) -> list[Tensor]:
        chosen = 1 + torch.randint(clips.shape[1] - 1, (len(clips),))
        pairs = torch.cat([clips[:, 0], clips[torch.arange(len(clips)), chosen]], 1)
        return [
            projected(model.image_critic(pairs), shares),
            projected(model.video_critic(clips.flatten(1, 2)), shares),
        ]

    return [model.generator], make, scores


class BareLoop:
    """The hand-written loop on the networks of the recipe."""

    def __init__(self, kind: str, model: torch.nn.Module, batch: int) -> None:
        generators, self.make, self.scores = {"motions": mocogan, "animate": animate}[kind](model)
        critics = [model.image_critic, model.video_critic]
        self.weights = [p for critic in critics for p in critic.parameters()]
        makes = [p for network in generators for p in network.parameters()]
        self.makes = torch.optim.Adam(makes, 1e-3, (0.0, 0.99), fused=True)
        self.judges = torch.optim.Adam(self.weights, 2e-3, (0.0, 0.99), fused=True)
        self.order, self.data, self.position, self.batch = Order(len(Clips.video), 0), Clips(), 0, batch

    def step(self, rows: dict[str, np.ndarray]) -> None:
        real, label = torch.from_numpy(rows["video"]).float() / 127.5 - 1, torch.from_numpy(rows["label"])
        shares = one_hot(label, 6).float()
        made = self.make(real, label)
        fake, more = made if isinstance(made, tuple) else (made, 0.0)
        self.judges.zero_grad()
        pairs = zip(self.scores(real, shares), self.scores(fake.detach(), shares))
        sum(relu(1 - true).mean() + relu(1 + false).mean() for true, false in pairs).backward()
        self.judges.step()
        for weight in self.weights:
            weight.requires_grad_(False)
        self.makes.zero_grad()
        (more - sum(score.mean() for score in self.scores(fake, shares))).backward()
        self.makes.step()
        for weight in self.weights:
            weight.requires_grad_(True)

    def steps(self, count: int) -> None:
        for _ in range(count):
            self.step(self.data.take(self.order.indices(self.position, self.batch)))
            self.position += self.batch


class OurLoop:
    """The trainer, run a few iterations at a time."""

    def __init__(self, kind: str, plugins: Plugins) -> None:
        settings = [
            "training.device=cpu",
            "training.precision=fp32",
            "training.minutes=null",
            "training.ema_half_life=0",
        ]
        resolved = resolve(named_recipe("video", named=kind, settings=settings, plugins=plugins), plugins)
        game = build_game(resolved, FIELDS)
        self.batch = resolved.recipe.training.batch
        order, device = Order(len(Clips.video), 0), choose_device("cpu", "fp32")
        self.trainer = Trainer(
            game.architecture, game.players, game.phases, Clips(), order, resolved.recipe.training, 0, device
        )

    def steps(self, count: int) -> None:
        end = self.trainer.samples + count * self.batch
        self.trainer.run(lambda tick: None, lambda: self.trainer.samples >= end)


def timed(loop: BareLoop | OurLoop, count: int) -> float:
    start = time.process_time()
    loop.steps(count)
    return (time.process_time() - start) / count


def compared(kind: str, plugins: Plugins, rounds: int, steps: int) -> dict[str, object]:
    ours = OurLoop(kind, plugins)
    bare = BareLoop(kind, OurLoop(kind, plugins).trainer.architecture.train(), ours.batch)
    seconds: dict[object, list[float]] = {bare: [], ours: []}
    for loop in seconds:
        timed(loop, 2)
    for number in range(rounds):
        for loop in list(seconds)[:: 1 if number % 2 else -1]:
            seconds[loop].append(timed(loop, steps))
    ratios = [by_hand / own for by_hand, own in zip(seconds[bare], seconds[ours])]
    return {
        "speed_of_trainer_over_bare_loop": statistics.median(ratios),
        "ratio_quartiles": statistics.quantiles(ratios, n=4),
        "bare_ms_per_step": 1000 * statistics.median(seconds[bare]),
        "trainer_ms_per_step": 1000 * statistics.median(seconds[ours]),
        "batch": ours.batch,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--steps", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    plugins = Plugins.installed()
    result = {
        **{kind: compared(kind, plugins, arguments.rounds, arguments.steps) for kind in ("motions", "animate")},
        "rounds": arguments.rounds,
        "steps_per_round": arguments.steps,
        "machine": surroundings(),
    }
    (HERE / "steps.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
