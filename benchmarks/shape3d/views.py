"""EG3D on pictures of furniture: do views of a shape agree, and are the meshes, which no training picture shows, right?

    gan run --plugin 3d --recipe eg3d-furniture --out RUN
    python benchmarks/shape3d/views.py RUN

Meshes of 32 shapes of each kind, from densities on 48³ points, are read again by trimesh, named by a classifier that
was trained on real voxels, and compared with as many real shapes of seeds that the training does not use. Pictures are
compared with pictures of these shapes by the Fréchet distance of their edges. "Untrained" is the network before its
first step.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import gan
import numpy as np
import torch
from gan import recipe as recipes
from gan.build import build_game, open_data, resolve
from gan.generation.conditions import Conditions
from gan.generation.model import Model
from gan.metrics.frechet import FrechetDistance
from gan.plugins.manager import Plugins
from gan.reporting.manifest import surroundings
from gan.reporting.reporter import Reporter
from gan_3d.data.furniture import KINDS, shape
from gan_3d.metrics.clouds import ChamferMetrics
from gan_3d.metrics.grids import ShapeStatistics
from gan_3d.metrics.views import DepthConsistency, EdgeHistograms
from gan_3d.modality import Shape, ShapeConfig, _welded, normalised
from gan_3d.views import photographs
from gan_3d.voxels import centred, cropped, occupied
from PIL import Image
from sets import HELD_OUT, classifier, exported, real_furniture

HERE = Path(__file__).parent
EACH = 32
"""Shapes of each kind of furniture in a set."""
SIDE = 16
"""Voxels along each side where shapes are named and compared."""
OPTIONS = {"resolution": 48}


def real_pictures(first: int, each: int, config: Any) -> dict[str, np.ndarray]:
    """One picture of each of `each` shapes of every kind."""
    found: list[dict[str, np.ndarray]] = []
    for number, kind in enumerate(KINDS):
        for index in range(first, first + each):
            vertices, faces = shape(kind, number * 1_000_000 + index)
            mesh = _welded(normalised(np.round(vertices, 4)[faces], kind), None)
            (sample,) = photographs(mesh, config.resolution, 1, config.elevations)
            found.append({**sample, "label": np.asarray(number)})
    return {name: np.stack([sample[name] for sample in found]) for name in found[0]}


def coarse(grids: np.ndarray, side: int) -> np.ndarray:
    """Occupied voxels at a lower resolution, as the modality scales grids: the largest side is 0.9 of the cube's."""
    found = []
    for grid in grids:
        block = cropped(grid, grid) if grid.any() else grid[:1, :1, :1]
        found.append(np.pad(centred(block, side - 2), 1))
    return np.stack(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--cpu-seconds", type=float, default=None, help="of the training, if its log says so")
    parser.add_argument("--out", type=Path, default=HERE / "views.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    plugins = Plugins.installed()
    resolved = resolve(recipes.read_values(arguments.run / "recipe.yaml"), plugins)
    pack = open_data(resolved, plugins, Reporter())
    modality = resolved.modality_class(resolved.modality_config, pack.facts)
    held_out = real_pictures(HELD_OUT, EACH, modality.config)
    other = real_pictures(HELD_OUT + EACH, EACH, modality.config)
    given = {name: values for name, values in held_out.items() if name != "picture"}
    trained = gan.load(arguments.run)
    network = build_game(resolved, modality.fields).architecture.eval()
    untrained = Model(network, modality, "untrained", trained.device, conditions=Conditions())
    plain, wanted = Shape(ShapeConfig(resolution=SIDE)), np.repeat(np.arange(len(KINDS)), EACH)
    shapes, data = real_furniture(HELD_OUT, EACH, SIDE), real_furniture(0, 4 * EACH, SIDE)
    name = classifier(data, np.repeat(np.arange(len(KINDS)), 4 * EACH))
    start, extractor, sets = time.process_time(), EdgeHistograms(), dict[str, dict[str, Any]]()
    samples: dict[str, np.ndarray] = {}
    for title, model in (("generated", trained), ("untrained", untrained)):
        samples = model.generate(len(wanted), seed=1, given=given, options=OPTIONS)
        grids = coarse(np.stack([modality.kept(grid) for grid in occupied(samples)]), SIDE)
        (frechet,) = FrechetDistance().compute(extractor(samples, modality), extractor(held_out, modality))
        sets[title] = {"FID[hog] of pictures": frechet.value}
        with torch.no_grad():
            values = DepthConsistency().compute(model.architecture, samples, held_out, modality)
        sets[title] |= {value.name: value.value for value in values}
        sets[title] |= {f"{value.name}, of two shapes": value.details["of other shapes"] for value in values}
        named = name(grids) == wanted
        sets[title]["class named rightly"] = float(named.mean())
        sets[title]["class named rightly by kind"] = {
            kind: float(named[wanted == number].mean()) for number, kind in enumerate(KINDS)
        }
        sets[title]["empty"] = float((~grids.any((1, 2, 3))).mean())
        if title == "generated":
            for metric in (ChamferMetrics(), ShapeStatistics()):
                values = metric.compute({"voxels": grids}, {"voxels": shapes}, plain)
                sets[title] |= {value.name: value.value for value in values}
            sets[title]["exported"] = exported(modality, samples, arguments.run)
            draw(trained, modality, given, arguments.out)
        print(title, json.dumps(sets[title], indent=1), flush=True)
    (frechet,) = FrechetDistance().compute(extractor(other, modality), extractor(held_out, modality))
    sets["real"] = {
        "FID[hog] of pictures": frechet.value,
        "class named rightly": float((name(shapes) == wanted).mean()),
    }
    for metric in (ChamferMetrics(), ShapeStatistics()):
        values = metric.compute(
            {"voxels": data[np.tile(np.arange(4 * EACH) < EACH, len(KINDS))]}, {"voxels": shapes}, plain
        )
        sets["real"] |= {value.name: value.value for value in values}
    result = {
        "metric": f"{len(wanted)} shapes, {EACH} of each kind, against as many held-out ones",
        "sets": sets,
        "last record of the training": json.loads((arguments.run / "metrics.jsonl").read_text().splitlines()[-1]),
        "training_cpu_seconds": arguments.cpu_seconds,
        "evaluation_cpu_seconds": time.process_time() - start,
        "recipe": (arguments.run / "recipe.yaml").read_text(),
        "machine": surroundings("trimesh", "scikit-image"),
    }
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")


def draw(model: Model, modality: Any, given: dict[str, np.ndarray], out: Path) -> None:
    """Two shapes of each kind: eight views, and the mesh drawn from eight sides below."""
    from gan_3d.views import photograph

    rows = np.concatenate([number * EACH + np.arange(2) for number in range(len(KINDS))])
    some = {key: values[rows] for key, values in given.items()}
    some["elevation"][:] = 25
    some["azimuth"][:] = 30
    made = model.generate(len(rows), seed=1, given=some, options={**OPTIONS, "views": 8})
    lines = []
    for row in range(len(rows)):
        mesh = modality.mesh({key: values[row] for key, values in made.items()})
        side = modality.config.resolution
        views = np.concatenate(list(made["views"][row]), 2)
        drawn = (
            [photograph(mesh, side, 30 + 45 * turn, 25) for turn in range(8)]
            if len(mesh.faces)
            else [views[:, :, :side]] * 8
        )
        lines += [views, np.concatenate(drawn, 2)]
    whole = np.concatenate(lines, 1).transpose(1, 2, 0)
    picture = Image.fromarray(np.ascontiguousarray(whole))
    picture.resize((picture.width * 3, picture.height * 3), Image.Resampling.NEAREST).save(out.with_suffix(".png"))


if __name__ == "__main__":
    main()
