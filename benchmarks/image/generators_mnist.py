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
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gan import recipe as recipes
from gan.api import recipe as named_recipe
from gan.build import build_game, open_data, resolve
from gan.data.order import Order
from gan.evaluation.metric_names import find_metrics, measure
from gan.generation.conditions import Conditions
from gan.generation.model import Model
from gan.plugins.manager import Plugins
from gan.reporting.manifest import surroundings
from gan.reporting.reporter import Reporter
from gan.runtime.device import choose_device
from gan.testing import real_file
from gan.training.trainer import Trainer
from gan_image.data.datasets import write_idx
from gan_image.extractors.lenet5 import LeNet5Extractor

HERE = Path(__file__).parent
SPEED = 6.0
"""CPU seconds of training from which the speed is measured."""


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


class Training:
    """A trainer of a recipe on the training digits, without a run folder."""

    def __init__(self, name: str, folder: Path, settings: list[str], plugins: Plugins) -> None:
        fixed = ["modality.fit=stretch", "modality.channels=1", "training.device=cpu", f"data.source={folder}"]
        values = named_recipe("image", named=name, settings=[*fixed, *settings], plugins=plugins)
        self.resolved = resolve(values, plugins)
        self.pack = open_data(self.resolved, plugins, Reporter())
        self.modality = self.resolved.modality_class(self.resolved.modality_config, self.pack.facts)
        self.game = build_game(self.resolved, self.modality.fields)
        recipe = self.resolved.recipe
        self.device = choose_device("cpu", recipe.training.precision)
        self.trainer = Trainer(
            self.game.architecture,
            self.game.players,
            self.game.phases,
            self.pack,
            Order(len(self.pack), recipe.seed),
            recipe.training,
            recipe.seed,
            self.device,
            self.resolved.augmentations,
            self.resolved.penalties,
        )

    def run(self, seconds: float) -> float:
        """Train until the end or for that many CPU seconds; returns those used."""
        start = time.process_time()

        def show(tick: Any) -> None:
            terms = {name: round(value, 3) for name, value in tick.terms.items()}
            print(f"{time.process_time() - start:6.0f} s  {tick.samples:9,}  {terms}", flush=True)

        self.trainer.run(show, lambda: time.process_time() - start > seconds)
        return time.process_time() - start

    def samples(self, count: int, labels: np.ndarray | None = None, **options: Any) -> dict[str, np.ndarray]:
        """Samples of the averaged weights; with classes, of those that are given, or of the data's."""
        model = Model(
            self.game.architecture,
            self.modality,
            self.resolved.title,
            self.device.device,
            conditions=Conditions.of(self.pack),
        )
        with self.trainer.sampling():
            return model.generate(count, 0, given=None if labels is None else {"label": labels}, options=options)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("--minutes", type=float, default=4.0, help="of CPU time, training only")
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--pilot", action="store_true", help="choose settings: never look at the unseen digits")
    parser.add_argument("--truncations", type=float, nargs="*", help="measure with these values of truncation, too")
    parser.add_argument("--name", help="of the files that are written; none: the recipe's")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    plugins = Plugins.installed()
    name = arguments.name or arguments.recipe
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        split(folder, pilot=arguments.pilot)
        first = Training(arguments.recipe, folder / "train", arguments.set, plugins)
        speed = first.run(SPEED), first.trainer.samples
        seconds = 60 * arguments.minutes
        length = round(speed[1] / speed[0] * seconds)
        print(f"{name}: {speed[1] / speed[0]:.0f} images in a CPU second, {length:,} in all", flush=True)
        settings = [*arguments.set, f"training.samples={length}", f"training.tick={max(2000, length // 10)}"]
        training = Training(arguments.recipe, folder / "train", settings, plugins)
        unseen = Training(arguments.recipe, folder / "unseen", arguments.set, plugins).pack
        real = unseen.take(np.arange(len(unseen)))
        metrics = find_metrics(["fid[lenet5]", "precision-recall[lenet5]"], "image", plugins)

        def score(samples: dict[str, np.ndarray]) -> dict[str, float]:
            pictures, others = {"image": samples["image"]}, {"image": real["image"]}
            return {value.name: value.value for value in measure(metrics, pictures, others, training.modality)}

        rows = np.random.Generator(np.random.Philox(1)).permutation(len(training.pack))[: arguments.samples]
        floor = score(training.pack.take(np.sort(rows)))
        used = training.run(1.1 * seconds)
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
        from gan_image.modality import grid

        grid(shown, 10).save(HERE / f"generators_mnist_{name}.png")
        (HERE / f"generators_mnist_{name}.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
