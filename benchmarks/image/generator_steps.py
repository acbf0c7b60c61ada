"""CPU time of a training step and of sampling: StyleGAN2 at 64 pixels and BigGAN at 32 against plain loops.

    python benchmarks/image/generator_steps.py

The hand-written loops train the same networks on the same random images as their papers say: StyleGAN2 with R1 every
16th and path lengths of half a batch every 4th step, style mixing and the average of w; BigGAN with the hinge loss and
classes. Both use torch's fused Adam, fp32 and one thread, report nothing and check no values; neither side averages
weights. Sampling compares `Model.generate`, which makes images in batches of the architecture's choice with a prepared
copy of the networks, with one pass of all images through the networks as they are. Sides are interleaved in one
process; a ratio above 1 means that ours is faster.
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
from gan.contracts import FieldSpec, Request
from gan.data.order import Order
from gan.draws import SeededDraws, StepDraws
from gan.generation.conditions import Conditions
from gan.generation.model import Model
from gan.plugins.manager import Plugins
from gan.reporting.manifest import surroundings
from gan.runtime.device import choose_device
from gan.training.trainer import Trainer
from gan_image.architectures.stylegan2 import mixed_styles, path_lengths
from torch import Tensor
from torch.nn.functional import relu, softplus

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from interleaving import interleaved  # noqa: E402  (beside the folders of the benchmarks)

CPU = torch.device("cpu")
KINDS = {"stylegan2": ("stylegan2-32", 64, 0), "biggan": ("biggan-32", 32, 10)}
"""Architecture -> recipe, pixels and classes."""


class Images:
    """Random images, with classes if the recipe has them."""

    def __init__(self, side: int, classes: int) -> None:
        rng = np.random.default_rng(0)
        self.fields = {"image": rng.integers(0, 256, (256, 3, side, side), dtype=np.uint8)}
        if classes:
            self.fields["label"] = rng.integers(0, classes, 256)

    def __len__(self) -> int:
        return 256

    def take(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        return {name: values[indices] for name, values in self.fields.items()}


def adam(parameters: Any, lr: float, betas: tuple[float, float], every: int = 0) -> torch.optim.Adam:
    """Fused Adam, corrected for a lazy regularizer that is taken every k-th step."""
    c = every / (every + 1) if every else 1.0
    return torch.optim.Adam(parameters, lr=lr * c, betas=(betas[0] ** c, betas[1] ** c), fused=True)


def stylegan2_by_hand(net: Any, classes: int) -> Callable[[dict[str, np.ndarray]], None]:
    generator, judge = net.generator, net.discriminator
    paints = adam(generator.parameters(), 0.0025, (0.0, 0.99), 4)
    judges = adam(judge.parameters(), 0.0025, (0.0, 0.99), 16)
    average, mean_length = torch.zeros(net.config.style), torch.zeros(())
    state = {"step": 0}

    def fakes(count: int) -> tuple[Tensor, Tensor, Tensor]:
        rng = StepDraws(state["step"], count, 0, count, CPU)
        w = generator.mapping(torch.randn(count, net.config.latent))
        other = generator.mapping(torch.randn(count, net.config.latent))
        styles = mixed_styles(w, other, generator.styles, rng, 0.9)
        return generator(styles, generator.random_noise(rng)), styles, w

    def step(rows: dict[str, np.ndarray]) -> None:
        number, state["step"] = state["step"], state["step"] + 1
        real = torch.from_numpy(rows["image"]).float() / 127.5 - 1
        judge.requires_grad_(True)
        with torch.no_grad():
            made = fakes(len(real))[0]
        judges.zero_grad()
        (softplus(-judge(real)).mean() + softplus(judge(made)).mean()).backward()
        judges.step()
        if number % 16 == 0:
            points = real.clone().requires_grad_()
            (slope,) = torch.autograd.grad(judge(points).sum(), points, create_graph=True)
            judges.zero_grad()
            (16 * 0.01 / 2 * slope.square().sum((1, 2, 3)).mean()).backward()
            judges.step()
        judge.requires_grad_(False)
        paints.zero_grad()
        made, _, w = fakes(len(real))
        softplus(-judge(made)).mean().backward()
        paints.step()
        average.lerp_(w.detach().mean(0), 0.005)
        if number % 4 == 0:
            made, styles, _ = fakes(len(real) // 2)
            lengths = path_lengths(made, styles, torch.randn_like(made))
            mean_length.lerp_(lengths.detach().mean(), 0.01)
            paints.zero_grad()
            (4 * 2 * (lengths - mean_length).square().mean()).backward()
            paints.step()

    return step


def biggan_by_hand(net: Any, classes: int) -> Callable[[dict[str, np.ndarray]], None]:
    generator, judge = net.generator, net.discriminator
    paints, judges = (adam(part.parameters(), 0.001, (0.0, 0.99)) for part in (generator, judge))

    def step(rows: dict[str, np.ndarray]) -> None:
        real, labels = torch.from_numpy(rows["image"]).float() / 127.5 - 1, torch.from_numpy(rows["label"])
        judge.requires_grad_(True)
        with torch.no_grad():
            made = generator(torch.randn(len(real), net.config.latent), labels)
        judges.zero_grad()
        (relu(1 - judge(real, labels)).mean() + relu(1 + judge(made, labels)).mean()).backward()
        judges.step()
        judge.requires_grad_(False)
        paints.zero_grad()
        made = generator(torch.randn(len(real), net.config.latent), labels)
        (-judge(made, labels).mean()).backward()
        paints.step()

    return step


BY_HAND = {"stylegan2": stylegan2_by_hand, "biggan": biggan_by_hand}


def built(kind: str, plugins: Plugins) -> Any:
    """(resolved recipe, its game, its modality) for random images."""
    name, side, classes = KINDS[kind]
    settings = ["training.device=cpu", "training.precision=fp32", "training.samples=10000000", "modality.channels=3"]
    settings += [f"modality.resolution={side}", "training.ema_half_life=0", f"modality.labels={classes > 0}".lower()]
    resolved = resolve(named_recipe("image", named=name, settings=settings, plugins=plugins), plugins)
    modality = resolved.modality_class(resolved.modality_config, {"channels": 3, "classes": list("0123456789")})
    fields: dict[str, FieldSpec] = modality.fields
    return resolved, build_game(resolved, fields), modality


def compared(kind: str, plugins: Plugins, rounds: int, steps: int) -> dict[str, Any]:
    _, side, classes = KINDS[kind]
    images = Images(side, classes)
    resolved, game, _ = built(kind, plugins)
    training, order = resolved.recipe.training, Order(len(images), 0)
    trainer = Trainer(
        game.architecture, game.players, game.phases, images, order, training, 0, choose_device("cpu", "fp32"),
        resolved.augmentations, resolved.penalties,
    )  # fmt: skip
    other = built(kind, plugins)[1].architecture.train()
    if training.channels_last:
        other = other.to(memory_format=torch.channels_last)
    plain, batch, position = BY_HAND[kind](other, classes), training.batch, 0

    def by_hand(count: int) -> None:
        nonlocal position
        for _ in range(count):
            plain(images.take(order.indices(position, batch)))
            position += batch

    def ours(count: int) -> None:
        end = trainer.samples + count * batch
        trainer.run(lambda tick: None, lambda: trainer.samples >= end)

    return {**interleaved(by_hand, ours, rounds, steps), "batch": batch}


def sampled(kind: str, plugins: Plugins, rounds: int, count: int) -> dict[str, Any]:
    _, _, classes = KINDS[kind]
    _, game, modality = built(kind, plugins)
    net = game.architecture.eval()
    labels = np.arange(count) % classes if classes else None
    model = Model(net, modality, "benchmark", CPU, conditions=Conditions(), frozen=True)
    given = None if labels is None else {"label": torch.from_numpy(labels)}

    def plain(_: int) -> None:
        with torch.no_grad():
            made = net.generate(count, SeededDraws.of(0, 0, count, CPU), Request(None, given))
        made["image"].numpy()

    def ours(_: int) -> None:
        model.generate(count, 0, given=None if labels is None else {"label": labels})

    return {**interleaved(plain, ours, rounds, 1), "images": count, "images_in_a_batch": net.generation_batch}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=16, help="in a round: all lazy regularizers are taken in sixteen")
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--only", choices=list(KINDS), action="append")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    plugins = Plugins.installed()
    result: dict[str, Any] = {}
    for kind in arguments.only or KINDS:
        result[kind] = {
            "step": compared(kind, plugins, arguments.rounds, arguments.steps),
            "sampling": sampled(kind, plugins, arguments.rounds, arguments.images),
        }
        print(json.dumps({kind: result[kind]}, indent=1), flush=True)
    result["machine"] = surroundings()
    if not arguments.only:
        (HERE / "generator_steps.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
