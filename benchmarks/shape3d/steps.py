"""CPU time of a training step: 3D-GAN at 16 voxels and EG3D at 32 pixels, by their recipes, against plain loops.

    python benchmarks/shape3d/steps.py

The hand-written loops train the same networks on the same random data: 3D-GAN with paired losses and R1 and R2 every
8th step, EG3D with R1 every 16th, the density's regularization every 4th and the average of w. Both use torch's
fused Adam, fp32 and one thread, report nothing and check no values; neither side averages weights. Sides are
interleaved in one process; a ratio above 1 means that ours is faster.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gan.api import recipe as named_recipe
from gan.build import build_game, resolve
from gan.conformance.small_game import Rows
from gan.data.order import Order
from gan.draws import StepDraws
from gan.plugins.manager import Plugins
from gan.reporting.manifest import surroundings
from gan.runtime.device import choose_device
from gan.training.trainer import Trainer
from gan_3d.architectures.eg3d import POINTS, SHIFT, camera_axes
from torch import Tensor
from torch.nn.functional import softplus

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from interleaving import interleaved  # noqa: E402  (beside the folders of the benchmarks)

CPU = torch.device("cpu")
LABELS = ("chair", "lamp", "shelf", "table")
Step = Callable[[dict[str, np.ndarray]], None]


def random_rows(fields: Any) -> Rows:
    """128 random samples."""
    rng, found = np.random.default_rng(0), {}
    for name, spec in fields.items():
        if spec.dtype == "bool":
            found[name] = rng.random((128, *spec.shape)) < 0.15
        elif spec.dtype == "float32":
            found[name] = rng.uniform(spec.low, spec.high, (128, *spec.shape)).astype(np.float32)
        else:
            found[name] = rng.integers(0, int(spec.high) + 1, (128, *spec.shape)).astype(spec.dtype)
    return Rows(found, fields)


def adams(net: Any, generator: float, discriminator: float, lazy: dict[str, float]) -> list[torch.optim.Adam]:
    """Fused Adam of both players, corrected for what they do every k-th step: ``1 / (1 + sum of 1 / k)``."""
    found = []
    for name, lr in (("generator", generator), ("discriminator", discriminator)):
        c = 1 / (1 + lazy[name])
        parameters = [parameter for _, parameter in net.players()[name].named_parameters()]
        found.append(torch.optim.Adam(parameters, lr=lr * c, betas=(0.0, 0.99**c), fused=True))
    return found


def slope(judge: Callable[[Tensor], Tensor], samples: Tensor) -> Tensor:
    points = samples.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(judge(points).sum(), points, create_graph=True)
    return gradient.square().flatten(1).sum(1).mean()


def voxels_by_hand(net: Any) -> Step:
    paints, judges = adams(net, 5e-4, 5e-4, {"generator": 0.0, "discriminator": 2 / 8})
    number = 0

    def step(rows: dict[str, np.ndarray]) -> None:
        nonlocal number
        real, labels = torch.from_numpy(rows["voxels"]).float()[:, None], torch.from_numpy(rows["label"])
        made = net.probabilities(torch.randn(len(real), net.config.latent), labels)
        judges.zero_grad()
        softplus(net.critic(made.detach(), labels) - net.critic(real, labels)).mean().backward()
        judges.step()
        if number % 8 == 0:
            for samples in (real, made):
                judges.zero_grad()
                (8 * 0.5 * slope(lambda points: net.critic(points, labels), samples)).backward()
                judges.step()
        paints.zero_grad()
        with torch.no_grad():
            scores = net.critic(real, labels)
        for parameter in judges.param_groups[0]["params"]:
            parameter.requires_grad_(False)
        softplus(scores - net.critic(made, labels)).mean().backward()
        for parameter in judges.param_groups[0]["params"]:
            parameter.requires_grad_(True)
        paints.step()
        number += 1

    return step


def views_by_hand(net: Any) -> Step:
    paints, judges = adams(net, 2.5e-3, 2e-3, {"generator": 1 / 4, "discriminator": 1 / 16})
    generator, triplanes = net.generator, net.generator.triplanes
    average, number = torch.zeros(net.config.style), 0

    def cameras(count: int) -> Tensor:
        return camera_axes(torch.rand(count) * 360, torch.rand(count) * 40)

    def styles(count: int, axes: Tensor, labels: Tensor) -> Tensor:
        told = torch.where(torch.rand(count, 1, 1) < net.config.swap, cameras(count), axes)
        return triplanes.backbone.mapping(torch.randn(count, net.config.latent), net._told(told, labels))

    def step(rows: dict[str, np.ndarray]) -> None:
        nonlocal number
        given = {name: torch.from_numpy(values) for name, values in rows.items()}
        labels, count = given["label"], len(given["label"])
        real = net._reals(given)
        seen_by = net._told(camera_axes(given["azimuth"], given["elevation"]), labels)
        axes = cameras(count)
        w = styles(count, axes, labels)
        rng = StepDraws(number, count, 0, count, CPU)
        made = net._dual(*generator.pictures(net._in_layers(w), axes, rng))
        told = net._told(axes, labels)
        judge = net.discriminator
        judges.zero_grad()
        (softplus(-judge(real, seen_by)).mean() + softplus(judge(made.detach(), told)).mean()).backward()
        judges.step()
        if number % 16 == 0:
            judges.zero_grad()
            (16 * 0.3 * 0.5 * slope(lambda points: judge(points, seen_by), real)).backward()
            judges.step()
        judge.requires_grad_(False)
        paints.zero_grad()
        softplus(-judge(made, told)).mean().backward()
        paints.step()
        judge.requires_grad_(True)
        average.lerp_(w.detach().mean(0), 0.005)
        if number % 4 == 0:
            planes = triplanes.planes(net._in_layers(styles(count, cameras(count), labels)))
            points = torch.rand(count, POINTS, 3) - 0.5
            beside = points + torch.randn(count, POINTS, 3) * (SHIFT / 2)
            densities = triplanes.at(planes, torch.cat([points, beside], 1))[0]
            paints.zero_grad()
            (4 * net.config.density * (densities[:, :POINTS] - densities[:, POINTS:]).abs().mean()).backward()
            paints.step()
        number += 1

    return step


BY_HAND = {"3dgan-furniture": voxels_by_hand, "eg3d-furniture": views_by_hand}


def compared(name: str, plugins: Plugins, rounds: int, steps: int) -> dict[str, Any]:
    """A training by the recipe `name` and by hand."""
    settings = ["training.device=cpu", "training.precision=fp32", "training.samples=10000000"]
    settings += ["training.ema_half_life=0", "training.minutes=null"]
    settings += ["model.blur=0"] if name.startswith("eg3d") else []
    resolved = resolve(named_recipe("3d", named=name, settings=settings, plugins=plugins), plugins)
    modality = resolved.modality_class(resolved.modality_config, {"classes": list(LABELS)})
    rows, training = random_rows(modality.fields), resolved.recipe.training
    game, order = build_game(resolved, modality.fields), Order([len(rows)], 0)
    trainer = Trainer(
        game.architecture, game.players, game.phases, rows, order, training, 0, choose_device("cpu", "fp32"),
        resolved.augmentations, resolved.penalties,
    )  # fmt: skip
    plain, position, batch = (
        BY_HAND[name](build_game(resolved, modality.fields).architecture.train()),
        0,
        training.batch,
    )

    def by_hand(count: int) -> None:
        nonlocal position
        for _ in range(count):
            plain(rows.take(order.indices(position, batch).reshape(-1)))
            position += batch

    def ours(count: int) -> None:
        end = trainer.samples + count * batch
        trainer.run(lambda tick: None, lambda: trainer.samples >= end)

    return {**interleaved(by_hand, ours, rounds, steps), "batch": batch}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=16, help="in a round: everything that is lazy is taken in sixteen")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    plugins = Plugins.installed()
    result: dict[str, Any] = {}
    for name in BY_HAND:
        result[name] = compared(name, plugins, arguments.rounds, arguments.steps)
        print(json.dumps({name: result[name]}, indent=1), flush=True)
    result["machine"] = surroundings()
    (HERE / "steps.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
