"""CPU time of a training step of CycleGAN, pix2pix and CUT, compared with a hand-written training loop.

    python benchmarks/image/bare_loop.py

Both sides train the networks of the recipes `cyclegan-64`, `pix2pix-64` and `cut-64` on the same random images, with
torch's fused Adam or AdamW, fp32, one thread. CycleGAN and CUT use instance normalization, so that the images of a
batch do not affect each other. The hand-written loops follow the papers directly: players that are not updated are
frozen, networks are called as in the equations, past images are kept in a list. They report nothing and check no
values. Both sides are interleaved in one process. A ratio above 1 means that the trainer is faster. Neither side
averages weights; the cost of the recipe's average is measured separately.
"""

from __future__ import annotations

import argparse
import json
import random
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
from gan.recipe import number_at
from gan.reporting.manifest import surroundings
from gan.runtime.device import choose_device
from gan.training.trainer import Trainer
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, interpolate, l1_loss, mse_loss

HERE = Path(__file__).parent
PICTURE = FieldSpec((3, 64, 64), "uint8", 0, 255, "intensity")
LARGER = 72
"""Side to which images are enlarged before they are cropped to 64."""


class Pictures:
    """A dataset of random images in memory."""

    pixels = np.random.default_rng(0).integers(0, 256, (512, 3, 64, 64), dtype=np.uint8)

    def __len__(self) -> int:
        return len(self.pixels)

    def take(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        return {"source": self.pixels[indices], "target": self.pixels[indices[::-1]]}


def prepared(pictures: dict[str, np.ndarray], *, together: bool) -> tuple[Tensor, Tensor]:
    """Scale to -1 … 1 and augment: enlarge, crop and mirror at random; with `together`, pairs alike."""
    found = []
    places: list[tuple[int, int, bool]] = []
    for pixels in pictures.values():
        large = interpolate(torch.from_numpy(pixels).float() / 127.5 - 1, (LARGER, LARGER), mode="bicubic").clamp(-1, 1)
        if not (together and places):
            places = [
                (random.randrange(LARGER - 63), random.randrange(LARGER - 63), random.random() < 0.5) for _ in large
            ]
        cut = [picture[:, y : y + 64, x : x + 64] for picture, (y, x, _) in zip(large, places)]
        found.append(torch.stack([picture.flip(2) if m else picture for picture, (_, _, m) in zip(cut, places)]))
    return found[0], found[1]


def adam(*networks: torch.nn.Module) -> torch.optim.Adam:
    return torch.optim.Adam([p for n in networks for p in n.parameters()], 2e-4, (0.5, 0.999), fused=True)


class PoolByHand:
    """A pool of fifty past images in a list."""

    def __init__(self) -> None:
        self.pictures: list[Tensor] = []

    def show(self, fakes: Tensor) -> Tensor:
        shown = []
        for fake in fakes:
            if len(self.pictures) < 50:
                self.pictures.append(fake)
                shown.append(fake)
            elif random.random() < 0.5:
                place = random.randrange(50)
                shown.append(self.pictures[place])
                self.pictures[place] = fake
            else:
                shown.append(fake)
        return torch.stack(shown)


def cyclegan_by_hand(model: torch.nn.Module) -> Callable[[dict[str, np.ndarray]], None]:
    to_b, to_a, judge_b, judge_a = model.to_target, model.to_source, model.judge_target, model.judge_source
    generators, judges = adam(to_b, to_a), adam(judge_b, judge_a)
    pool_a, pool_b = PoolByHand(), PoolByHand()

    def step(pictures: dict[str, np.ndarray]) -> None:
        a, b = prepared(pictures, together=False)
        judge_a.requires_grad_(False), judge_b.requires_grad_(False)
        generators.zero_grad()
        fake_b, fake_a = to_b(a), to_a(b)
        scores_b, scores_a = judge_b(fake_b), judge_a(fake_a)
        loss = mse_loss(scores_b, torch.ones_like(scores_b)) + mse_loss(scores_a, torch.ones_like(scores_a))
        loss = loss + 10 * (l1_loss(to_a(fake_b), a) + l1_loss(to_b(fake_a), b))
        loss = loss + 5 * (l1_loss(to_b(b), b) + l1_loss(to_a(a), a))
        loss.backward()
        generators.step()
        judge_a.requires_grad_(True), judge_b.requires_grad_(True)
        judges.zero_grad()
        for judge, real, fake in (
            (judge_b, b, pool_b.show(fake_b.detach())),
            (judge_a, a, pool_a.show(fake_a.detach())),
        ):
            real_scores, fake_scores = judge(real), judge(fake)
            loss = mse_loss(real_scores, torch.ones_like(real_scores))
            (0.5 * (loss + mse_loss(fake_scores, torch.zeros_like(fake_scores)))).backward()
        judges.step()

    return step


def pix2pix_by_hand(model: torch.nn.Module) -> Callable[[dict[str, np.ndarray]], None]:
    generator, judge = model.generator, model.discriminator
    paints, judges = torch.optim.AdamW(generator.parameters(), 1e-3, (0.5, 0.999), fused=True), adam(judge)
    a, shown = torch.zeros(0), 0

    class ByTorch:
        """The noise of the U-Net's dropout, from torch's global generator."""

        def rand(self, *shape: int) -> Tensor:
            return torch.rand(len(a), *shape)

    def step(pictures: dict[str, np.ndarray]) -> None:
        nonlocal a, shown
        a, b = prepared(pictures, together=True)
        fake = generator(a, ByTorch())
        judge.requires_grad_(True)
        judges.zero_grad()
        real_scores, fake_scores = judge(torch.cat([a, b], 1)), judge(torch.cat([a, fake.detach()], 1))
        loss = binary_cross_entropy_with_logits(real_scores, torch.ones_like(real_scores))
        loss = loss + binary_cross_entropy_with_logits(fake_scores, torch.zeros_like(fake_scores))
        (0.5 * loss).backward()
        judges.step()
        judge.requires_grad_(False)
        paints.zero_grad()
        scores = judge(torch.cat([a, fake], 1))
        loss = binary_cross_entropy_with_logits(scores, torch.ones_like(scores))
        chroma = l1_loss(fake.amax(1) - fake.amin(1), b.amax(1) - b.amin(1))
        weight = number_at(model.config.chroma_weight, shown)
        (loss + model.config.l1_weight * l1_loss(fake, b) + weight * chroma).backward()
        paints.step()
        shown += len(a)

    return step


def cut_by_hand(model: torch.nn.Module) -> Callable[[dict[str, np.ndarray]], None]:
    generator, heads, judge = model.generator, model.heads, model.discriminator
    paints, judges = adam(generator, heads), adam(judge)
    layers, patches = model.config.contrast_layers, model.config.patches

    def contrast(made: Tensor, given: Tensor) -> Tensor:
        queries, keys = generator.features(made, layers), generator.features(given, layers)
        total = torch.zeros(())
        for head, query, key in zip(heads, queries, keys):
            columns, fixed = query.flatten(2).transpose(1, 2), key.flatten(2).transpose(1, 2)
            places = torch.randperm(columns.shape[1])[:patches]
            found, wanted = head(columns[:, places]), head(fixed[:, places]).detach()
            similar = found @ wanted.transpose(1, 2) / model.config.temperature
            truth = torch.arange(similar.shape[1]).expand(similar.shape[:2])
            total = total + cross_entropy(similar.flatten(0, 1), truth.flatten())
        return total / len(layers)

    def step(pictures: dict[str, np.ndarray]) -> None:
        a, b = prepared(pictures, together=False)
        fake, same = generator(torch.cat([a, b])).chunk(2)
        judge.requires_grad_(True)
        judges.zero_grad()
        real_scores, fake_scores = judge(b), judge(fake.detach())
        loss = mse_loss(real_scores, torch.ones_like(real_scores))
        (0.5 * (loss + mse_loss(fake_scores, torch.zeros_like(fake_scores)))).backward()
        judges.step()
        judge.requires_grad_(False)
        paints.zero_grad()
        scores = judge(fake)
        loss = mse_loss(scores, torch.ones_like(scores)) + contrast(fake, a) + contrast(same, b)
        loss.backward()
        paints.step()

    return step


BY_HAND = {"cyclegan": cyclegan_by_hand, "pix2pix": pix2pix_by_hand, "cut": cut_by_hand}


class BareLoop:
    """The hand-written loop on the networks of the recipe."""

    def __init__(self, kind: str, model: torch.nn.Module, batch: int) -> None:
        self.step = BY_HAND[kind](model)
        self.order, self.data, self.position, self.batch = Order(len(Pictures.pixels), 0), Pictures(), 0, batch

    def steps(self, count: int) -> None:
        for _ in range(count):
            self.step(self.data.take(self.order.indices(self.position, self.batch)))
            self.position += self.batch


class OurLoop:
    """The trainer, run a few iterations at a time."""

    def __init__(self, kind: str, plugins: Plugins, *settings: str) -> None:
        settings = ("training.device=cpu", "training.precision=fp32", "training.samples=1000000", *settings)
        if kind != "pix2pix":  # images of a batch do not affect each other
            settings += ("model.norm=instance",)
        resolved = resolve(named_recipe("image", named=f"{kind}-64", settings=list(settings), plugins=plugins), plugins)
        game = build_game(resolved, {"source": PICTURE, "target": PICTURE})
        self.batch = resolved.recipe.training.batch
        order, device = Order(len(Pictures.pixels), 0), choose_device("cpu", "fp32")
        self.trainer = Trainer(
            game.architecture, game.players, game.phases, Pictures(), order, resolved.recipe.training, 0, device
        )

    def steps(self, count: int) -> None:
        end = self.trainer.samples + count * self.batch
        self.trainer.run(lambda tick: None, lambda: self.trainer.samples >= end)


def timed(loop: BareLoop | OurLoop, count: int) -> float:
    start = time.process_time()
    loop.steps(count)
    return (time.process_time() - start) / count


def compared(kind: str, plugins: Plugins, rounds: int, steps: int) -> dict[str, object]:
    ours, averaging = OurLoop(kind, plugins, "training.ema_half_life=0"), OurLoop(kind, plugins)
    bare = BareLoop(kind, OurLoop(kind, plugins).trainer.architecture.train(), ours.batch)
    loops = [bare, ours, averaging]
    seconds: dict[object, list[float]] = {loop: [] for loop in loops}
    for loop in loops:
        timed(loop, 2)
    for number in range(rounds):
        for loop in loops[:: 1 if number % 2 else -1]:
            seconds[loop].append(timed(loop, steps))
    ratios = [by_hand / own for by_hand, own in zip(seconds[bare], seconds[ours])]
    average = [with_it - own for with_it, own in zip(seconds[averaging], seconds[ours])]
    return {
        "speed_of_trainer_over_bare_loop": statistics.median(ratios),
        "ratio_quartiles": statistics.quantiles(ratios, n=4),
        "bare_ms_per_step": 1000 * statistics.median(seconds[bare]),
        "trainer_ms_per_step": 1000 * statistics.median(seconds[ours]),
        "average_adds_ms_per_step": 1000 * statistics.median(average),
        "batch": ours.batch,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--out", type=Path, default=HERE / "bare_loop.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    plugins = Plugins.installed()
    result = {
        **{kind: compared(kind, plugins, arguments.rounds, arguments.steps) for kind in BY_HAND},
        "rounds": arguments.rounds,
        "steps_per_round": arguments.steps,
        "machine": surroundings(),
    }
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
