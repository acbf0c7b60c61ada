"""Generators of few images: distance over time with and without augmentation, with and without classes; copies.

    GAN_WEIGHTS=../shared/data/weights python benchmarks/image/small_data.py cifar10 stylegan2-ada --minutes 8

``cifar10`` learns from 1,000 of the 7,000 pictures of CIFAR-10 (a hundred of each class, drawn by a seeded shuffle) and
is compared with the 6,000 others by FID[resnet20]; ``flowers`` learns from 800 of 1,000 photographs at 64 pixels and is
compared with the 200 others by FID[squeezenet]. The same distance of real training images is the lower bound. Copies
are samples that are nearer to a training image than real images are to each other. The length of the training is set
by the speed of its first steps. Every case writes its own file; measuring does not count as training.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gan import recipe as recipes
from gan.plugins.manager import Plugins
from gan.reporting.manifest import surroundings
from gan.testing import real_file
from gan_image.modality import grid
from training import Training, length_for

HERE = Path(__file__).parent
ADA = "augmentations=[{name: ada, samples: 20000}]"
"""p can rise from 0 to 1 within 20,000 images: the published speed, 500,000, is for trainings of millions."""
DIFFAUGMENT = "augmentations=[{name: diffaugment, policy: [colour, translation, cutout]}]"
LABELS = "modality.labels=true"


@dataclass(frozen=True)
class Data:
    """Real data: an archive, how many images of each folder are trained on, and how images are compared."""

    archive: str
    per_class: int
    extractor: str
    settings: tuple[str, ...]
    cases: dict[str, tuple[str, ...]]
    """The recipe and settings of each case."""


SETS = {
    "cifar10": Data(
        archive="cifar10_train.zip",
        per_class=100,
        extractor="resnet20",
        settings=("modality.channels=3", "modality.mirror=true"),
        cases={
            "dcgan": ("dcgan-32",),
            "stylegan2": ("stylegan2-32",),
            "stylegan2-ada": ("stylegan2-32", ADA),
            "stylegan2-diffaugment": ("stylegan2-32", DIFFAUGMENT),
            "stylegan2-ada-classes": ("stylegan2-32", ADA, LABELS),
            "r3gan": ("r3gan-32",),
            "r3gan-ada": ("r3gan-32", ADA),
        },
    ),
    "flowers": Data(
        archive="flowers_128.zip",
        per_class=160,
        extractor="squeezenet",
        settings=("modality.resolution=64", "modality.channels=3", "modality.mirror=true"),
        cases={
            "dcgan": ("dcgan-digits",),
            "fewshot": ("fewshot-64",),
            "stylegan2-ada": ("stylegan2-32", "model.capacity=1024", ADA),
            "r3gan": ("r3gan-32", "model.full=2"),
        },
    ),
}


def split(data: Data, per_class: int, folder: Path) -> None:
    """Write the folders ``train`` and ``unseen``, each with a folder per class."""
    with zipfile.ZipFile(real_file("image", data.archive)) as archive:
        classes: dict[str, list[str]] = {}
        for name in sorted(archive.namelist()):
            if name.endswith((".png", ".jpg")):
                classes.setdefault(name.split("/")[-2], []).append(name)
        generator = np.random.Generator(np.random.Philox(0))
        for label, names in classes.items():
            for place, row in enumerate(generator.permutation(len(names))):
                part = folder / ("train" if place < per_class else "unseen") / label
                part.mkdir(parents=True, exist_ok=True)
                (part / Path(names[row]).name).write_bytes(archive.read(names[row]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=SETS)
    parser.add_argument("case")
    parser.add_argument("--minutes", type=float, default=8.0, help="of CPU time, training only")
    parser.add_argument("--marks", type=int, default=6, help="how often the distance is measured")
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--per-class", type=int, help="images of each class to train on; none: as above")
    parser.add_argument("--set", action="append", default=[])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data, plugins = SETS[arguments.data], Plugins.installed()
    recipe, *settings = data.cases[arguments.case]
    settings = [*data.settings, *settings, *arguments.set]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        split(data, arguments.per_class or data.per_class, folder)
        length = length_for(recipe, folder / "train", settings, arguments.minutes, plugins)
        settings += [f"training.samples={length}", f"training.tick={max(500, length // 40)}"]
        training = Training(recipe, folder / "train", settings, plugins)
        unseen = Training(recipe, folder / "unseen", settings, plugins).pack
        real = unseen.take(np.arange(len(unseen)))
        learned = training.pack.take(np.arange(min(arguments.samples, len(training.pack))))
        distance = [f"fid[{data.extractor}]"]
        floor = training.scores(distance, learned, real, plugins)
        curve: list[dict[str, Any]] = []
        for mark in range(1, arguments.marks + 1):
            training.run(66 * arguments.minutes, samples=length * mark / arguments.marks)
            made = training.samples(arguments.samples)
            point = {"real_samples_shown": training.trainer.samples, "cpu_seconds": training.seconds}
            point |= training.scores(distance, made, real, plugins)
            point |= {name: value for name, value in training.ticks[-1][1].items() if name.endswith("_ada_strength")}
            curve.append(point)
            print(json.dumps(point), flush=True)
        quality = training.scores(
            [f"precision-recall[{data.extractor}]", f"memorisation[{data.extractor}]"],
            made,
            training.pack.take(np.arange(len(training.pack))),
            plugins,
        )
        labelled = "label" in training.modality.fields
        shown = training.samples(60, np.arange(60) % len(training.modality.fields["label"].names) if labelled else None)
        result = {
            "metric": f"FID[{data.extractor}] of {arguments.samples:,} samples of the averaged weights against "
            f"{len(unseen):,} unseen images; precision, recall and copies against the {len(training.pack):,} of the "
            "training",
            "curve": curve,
            "at_the_end": quality,
            "real_floor": floor,
            "terms": [{"real_samples_shown": samples, **terms} for samples, terms in training.ticks],
            "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "parameters": training.trainer.parameter_counts(),
            "recipe": recipes.dump(training.resolved.recipe).replace(str(folder), arguments.data),
            "machine": surroundings(),
        }
    name = f"small_data_{arguments.data}_{arguments.case}"
    if arguments.per_class:
        name += f"_{len(training.pack)}"
    grid(shown["image"], 10).save(HERE / f"{name}.png")
    (HERE / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
