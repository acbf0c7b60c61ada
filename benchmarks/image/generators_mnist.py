"""Generators of digits after equal CPU time: FID[lenet5], precision, recall, and whether the asked digit comes.

    GAN_WEIGHTS=../shared/data/weights python benchmarks/image/generators_mnist.py r3gan-32 --minutes 4

The 30,000 digits are split by a seeded shuffle: 20,000 for training, 10,000 unseen ones for the comparison. With
`--pilot`, 16,000 are trained on and 4,000 others compared with, which never touches the unseen ones: settings are
chosen so. The length of the training is set by the speed of its first steps, so that the schedules end with the CPU
time. Digits are enlarged to 32 pixels, as for LeNet-5. 2,000 training digits give the lower bound of the distance.
"""

from __future__ import annotations

import argparse
import gzip
import json
import resource
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gan import recipe as recipes
from gan.evaluation.metric_names import find_metrics, measure
from gan.plugins.manager import Plugins
from gan.reporting.manifest import surroundings
from gan.testing import real_file
from gan_image.data.datasets import write_idx
from gan_image.extractors.lenet5 import LeNet5Extractor
from gan_image.modality import grid
from training import Training, length_for

HERE = Path(__file__).parent


def split(folder: Path, *, pilot: bool) -> None:
    """Write the folders ``train`` and ``unseen`` with an IDX file of digits and one of labels each."""
    packed = [real_file("image", "mnist", f"train-{kind}-ubyte.gz") for kind in ("images-idx3", "labels-idx1")]
    pixels = np.frombuffer(gzip.decompress(packed[0].read_bytes()), np.uint8, offset=16).reshape(-1, 28, 28)
    labels = np.frombuffer(gzip.decompress(packed[1].read_bytes()), np.uint8, offset=8)
    order = np.random.Generator(np.random.Philox(0)).permutation(len(pixels))
    parts = (order[:16_000], order[16_000:20_000]) if pilot else (order[:20_000], order[20_000:])
    for name, rows in zip(("train", "unseen"), parts, strict=True):
        (folder / name).mkdir()
        write_idx(folder / name / f"{name}-images-idx3-ubyte", pixels[rows])
        write_idx(folder / name / f"{name}-labels-idx1-ubyte", labels[rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("--minutes", type=float, default=4.0, help="of CPU time, training only")
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--pilot", action="store_true", help="choose settings: never look at the unseen digits")
    parser.add_argument("--truncations", type=float, nargs="*", help="measure with these values of truncation, too")
    parser.add_argument("--path-length", action="store_true", help="measure the perceptual path length, too")
    parser.add_argument("--name", help="of the files that are written; none: the recipe's")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    plugins = Plugins.installed()
    name = arguments.name or arguments.recipe
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        split(folder, pilot=arguments.pilot)
        fixed = ["modality.fit=stretch", "modality.channels=1", *arguments.set]
        length = length_for(arguments.recipe, folder / "train", fixed, arguments.minutes, plugins)
        settings = [*fixed, f"training.samples={length}", f"training.tick={max(2000, length // 10)}"]
        training = Training(arguments.recipe, folder / "train", settings, plugins)
        unseen = Training(arguments.recipe, folder / "unseen", fixed, plugins).pack
        real = unseen.take(np.arange(len(unseen)))

        def score(samples: dict[str, np.ndarray]) -> dict[str, float]:
            return training.scores(["fid[lenet5]", "precision-recall[lenet5]"], samples, real, plugins)

        rows = np.random.Generator(np.random.Philox(1)).permutation(len(training.pack))[: arguments.samples]
        floor = score(training.pack.take(np.sort(rows)))
        used = training.run(66 * arguments.minutes)
        result: dict[str, Any] = {
            "metric": f"{arguments.samples:,} samples of the averaged weights against {len(unseen):,} unseen digits "
            "drawn by a seeded shuffle, 32 pixels",
            "values": score(training.samples(arguments.samples)),
            "real_floor": floor,
            "cpu_seconds": used,
            "real_samples_shown": training.trainer.samples,
            "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "parameters": training.trainer.parameter_counts(),
        }
        if arguments.truncations:
            result["truncation"] = {
                f"{psi:g}": score(training.samples(arguments.samples, truncation=psi)) for psi in arguments.truncations
            }
        if arguments.path_length:
            metric = find_metrics(["ppl[lenet5]"], "image", plugins, architecture=training.game.architecture)
            with training.trainer.sampling():
                (found,) = measure(metric, training.samples(arguments.samples), real, training.modality)
            result["path_length"] = {"value": found.value, "error": found.error, "label": found.name}
        if "label" in training.modality.fields:
            names = training.modality.fields["label"].names
            asked = np.arange(1000) % len(names)
            judge = LeNet5Extractor(None, "cpu")
            pictures = training.samples(1000, asked)
            features = judge({"image": pictures["image"]}, training.modality)
            answers = np.asarray(features.probabilities).argmax(1)
            result["asked_digit_share"] = float((np.array(names, int)[asked] == answers).mean())
            truth = np.array(names, int)[real["label"]]
            found = np.asarray(judge({"image": real["image"]}, training.modality).probabilities).argmax(1)
            result["asked_digit_share_of_real"] = float((truth == found).mean())
            shown = training.samples(60, np.arange(60) % 10)["image"]
        else:
            shown = training.samples(60)["image"]
        print(json.dumps(result, indent=1), flush=True)
        if arguments.pilot:
            training.modality.preview({"image": shown}).save(folder.parent / f"pilot-{name}.png")
            return
        result["recipe"] = recipes.dump(training.resolved.recipe).replace(str(folder), "digits")
        result["machine"] = surroundings()
        grid(shown, 10).save(HERE / f"generators_mnist_{name}.png")
        (HERE / f"generators_mnist_{name}.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
