"""Quality of 3D-GAN on furniture by class, beside other real shapes and an untrained generator.

    python benchmarks/shape3d/furniture.py train --work DIR       # the default recipe, one thread
    python benchmarks/shape3d/furniture.py evaluate --work DIR    # of the samples of the last tick

The reference are held-out shapes, drawn with seeds that the training data do not use, as many of each kind. The same
metrics of a second set of real shapes (the first of the training data) are what a perfect generator reaches. The
classifier is a small convolutional network, trained on the training shapes and checked on the held-out ones. All
generated shapes are exported as GLB and read again by trimesh. Time is the CPU time of training on one thread.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import trimesh
from gan import recipe as recipes
from gan.api import recipe as named_recipe
from gan.build import build_game, open_data, resolve
from gan.data.order import Order
from gan.generation.model import Model
from gan.plugins.manager import Plugins
from gan.reporting.manifest import surroundings
from gan.reporting.reporter import Reporter
from gan.runtime.device import choose_device
from gan.training.trainer import Trainer
from gan_3d.data.furniture import KINDS, shape
from gan_3d.metrics.clouds import ChamferMetrics
from gan_3d.metrics.grids import NearestIoU, ShapeStatistics, nearest_overlap
from gan_3d.modality import Shape, ShapeConfig, normalised
from gan_3d.surface import level_set, surface_of
from gan_3d.voxels import filled, shell
from gan_3d.writing.picture import sheet
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

HERE = Path(__file__).parent
HELD_OUT = 10_000
"""First seed of the shapes that are not in the training data."""


def real_shapes(first: int, each: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    """(voxels, classes) of `each` shapes of every kind."""
    grids, labels = [], []
    for number, kind in enumerate(KINDS):
        for index in range(first, first + each):
            vertices, faces = shape(kind, number * 1_000_000 + index)
            grids.append(filled(shell(normalised(np.round(vertices, 4)[faces], kind), side)))
            labels.append(number)
    return np.stack(grids), np.array(labels)


def opened(settings: list[str]):
    """(the default recipe, its packed data)."""
    plugins = Plugins.installed()
    resolved = resolve(named_recipe("3d", settings=["training.device=cpu", *settings], plugins=plugins), plugins)
    return resolved, open_data(resolved, plugins, Reporter())


def train(work: Path, each: int, settings: list[str]) -> None:
    """Train the recipe and keep the samples of the averaged weights at every tick."""
    resolved, pack = opened(settings)
    modality = resolved.modality_class(resolved.modality_config, pack.facts)
    game = build_game(resolved, modality.fields)
    device = choose_device("cpu", resolved.recipe.training.precision)
    trainer = Trainer(
        game.architecture,
        game.players,
        game.phases,
        pack,
        Order(len(pack), resolved.recipe.seed),
        resolved.recipe.training,
        resolved.recipe.seed,
        device,
    )
    model = Model(game.architecture, modality, resolved.title, device.device)

    def sampled() -> np.ndarray:
        labels = np.repeat(np.arange(len(KINDS)), each)
        with trainer.sampling():
            return model.generate(len(labels), 0, given={"label": labels})["voxels"]

    def keep(samples: np.ndarray, seconds: float) -> None:
        about = {
            "cpu_seconds": seconds,
            "real_samples_shown": trainer.samples,
            "parameters": trainer.parameter_counts(),
            "recipe": recipes.dump(resolved.recipe),
        }
        np.savez_compressed(work / "samples.npz", untrained=untrained, voxels=samples, about=json.dumps(about))

    untrained = sampled()
    start, sampling = time.process_time(), 0.0

    def on_tick(tick) -> None:
        nonlocal sampling
        begin = time.process_time()
        keep(sampled(), begin - start - sampling)
        print(f"{begin - start - sampling:6.0f} s  {tick.samples:9,}  {tick.terms}", flush=True)
        sampling += time.process_time() - begin

    trainer.run(on_tick, lambda: False)
    keep(sampled(), time.process_time() - start - sampling)


def classifier(grids: np.ndarray, labels: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """A function that names the class of shapes, trained on these."""
    torch.manual_seed(0)
    network = nn.Sequential(
        *(nn.Conv3d(1, 8, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv3d(8, 16, 4, 2, 1), nn.LeakyReLU(0.2)),
        *(nn.Flatten(), nn.LazyLinear(len(KINDS))),
    )
    inputs, targets = torch.from_numpy(grids).float()[:, None], torch.from_numpy(labels)
    network(inputs[:1])
    optimizer = torch.optim.Adam(network.parameters(), 2e-3)
    for _ in range(8):
        for rows in torch.randperm(len(inputs)).split(64):
            optimizer.zero_grad()
            cross_entropy(network(inputs[rows]), targets[rows]).backward()
            optimizer.step()

    @torch.no_grad()
    def name(shapes: np.ndarray) -> np.ndarray:
        scores: Tensor = network(torch.from_numpy(shapes).float()[:, None])
        return scores.argmax(1).numpy()

    return name


def exported(modality: Shape, grids: np.ndarray, work: Path) -> dict[str, float]:
    """Shares of written GLB files that trimesh finds watertight and of positive volume."""
    watertight = positive = 0
    for grid in grids:
        mesh = trimesh.load_mesh(modality.write({"voxels": grid}, work / "shape"))
        closed = len(mesh.faces) > 0 and mesh.is_watertight
        watertight += closed
        positive += closed and mesh.volume > 0
    return {"files": len(grids), "watertight": watertight / len(grids), "positive volume": positive / len(grids)}


def self_tests() -> dict[str, dict[str, float]]:
    """Euler number and relative error of the volume of a sphere and a torus."""
    line = (np.arange(48) + 0.5) / 48 - 0.5
    x, y, z = np.meshgrid(line, line, line, indexing="ij")
    solids = {
        "sphere": (np.sqrt(x**2 + y**2 + z**2) - 0.4, 4 / 3 * np.pi * 0.4**3),
        "torus": (np.hypot(np.hypot(x, y) - 0.3, z) - 0.12, 2 * np.pi**2 * 0.3 * 0.12**2),
    }
    found = {}
    for name, (field, volume) in solids.items():
        mesh = level_set(field, 0.0, 1.0)
        found[name] = {"euler_number": mesh.euler_number, "volume_error": mesh.volume / volume - 1}
    return found


def evaluate(work: Path, each: int, out: Path) -> None:
    """Measure the kept samples and write the record and a picture of eight shapes of each kind."""
    with np.load(work / "samples.npz") as kept:
        generated, untrained, about = kept["voxels"], kept["untrained"], json.loads(str(kept["about"]))
    side, made = generated.shape[1], len(generated) // len(KINDS)
    kept_rows = np.concatenate([np.arange(number * made, number * made + each) for number in range(len(KINDS))])
    whole, generated, untrained = generated, generated[kept_rows], untrained[kept_rows]
    modality = Shape(ShapeConfig(resolution=side))
    wanted = np.repeat(np.arange(len(KINDS)), each)
    _, pack = opened([f"modality.resolution={side}"])
    data = pack.take(np.arange(len(pack)))
    training, labels = data["voxels"], data["label"]
    held_out, _ = real_shapes(HELD_OUT, each, side)
    second = np.concatenate([training[labels == number][:each] for number in range(len(KINDS))])
    name = classifier(training, labels)
    start = time.process_time()
    sets = {}
    for title, grids in (("generated", generated), ("real", second), ("untrained", untrained)):
        values = []
        for metric in (ChamferMetrics(), ShapeStatistics()):
            values += metric.compute({"voxels": grids}, {"voxels": held_out}, modality)
        sets[title] = {value.name: value.value for value in values}
        sets[title]["class named rightly"] = float((name(grids) == wanted).mean())
        print(title, sets[title], flush=True)
    for title, grids in (("generated", generated), ("held out", held_out)):
        values = NearestIoU().compute({"voxels": grids}, {"voxels": training}, modality)
        sets.setdefault(title, {}).update({f"{value.name} (training data)": value.value for value in values})
    sets["held out"]["class named rightly"] = float((name(held_out) == wanted).mean())
    by_class = {kind: float((name(generated) == wanted)[wanted == n].mean()) for n, kind in enumerate(KINDS)}
    halves = {
        title: float(
            np.mean([nearest_overlap(*np.array_split(grids[wanted == n], 2)).mean() for n in range(len(KINDS))])
        )
        for title, grids in (("generated", generated), ("held out", held_out))
    }
    result = {
        "metric": f"{len(generated)} shapes, {each} of each kind, against as many held-out ones at {side} voxels",
        "sets": sets,
        "class named rightly by kind": by_class,
        "IoU of half of each kind with the nearest of the other half": halves,
        "exported": exported(modality, whole, work),
        "extraction at 48 voxels": self_tests(),
        "evaluation_cpu_seconds": time.process_time() - start,
        **about,
        "machine": surroundings("trimesh", "scikit-image"),
    }
    out.write_text(json.dumps(result, indent=1) + "\n")
    shown = np.concatenate([generated[wanted == number][:8] for number in range(len(KINDS))])
    sheet([surface_of(grid, keep_all=True) for grid in shown], 112, 8).save(out.with_suffix(".png"))
    print(json.dumps({key: result[key] for key in ("sets", "exported", "cpu_seconds")}, indent=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["train", "evaluate"])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--each", type=int, default=64, help="shapes of each kind")
    parser.add_argument("--set", action="append", default=[], help="settings of the recipe")
    parser.add_argument("--out", type=Path, default=HERE / "furniture.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.work.mkdir(parents=True, exist_ok=True)
    if arguments.what == "train":
        train(arguments.work, arguments.each, arguments.set)
    else:
        evaluate(arguments.work, arguments.each, arguments.out)


if __name__ == "__main__":
    main()
