"""LeNet-FID of DCGAN on MNIST after a given CPU time of training.

    GAN_WEIGHTS=../shared/data/weights python benchmarks/image/dcgan_mnist.py --minutes 10

Trains the recipe `dcgan-32` on 20,000 of the 30,000 digits, drawn by a seeded shuffle and enlarged to 32 pixels as for
LeNet-5, and compares 2,000 samples of the averaged weights with the other 10,000, which are held out. The distance of
2,000 training digits, in five draws, is the lower bound, and that of the untrained generator the starting point. For a
CPU without bf16 and AVX-512: ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2.
"""

from __future__ import annotations

import argparse
import gzip
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from gan import recipe as recipes
from gan.api import recipe as named_recipe
from gan.build import build_game, open_data, resolve
from gan.data.order import Order
from gan.evaluation.metric_names import find_metrics, measure
from gan.generation.model import Model
from gan.plugins.manager import Plugins
from gan.reporting.manifest import surroundings
from gan.reporting.reporter import Reporter
from gan.runtime.device import choose_device
from gan.testing import real_file
from gan.training.trainer import Trainer
from gan_image.data.datasets import write_idx

HERE = Path(__file__).parent


def digits(folder: Path) -> tuple[Path, np.ndarray, np.ndarray]:
    """(folder with 20,000 as an IDX file and the other 10,000 as another, the 20,000, the 10,000)."""
    packed = real_file("image", "mnist", "train-images-idx3-ubyte.gz")
    pixels = np.frombuffer(gzip.decompress(packed.read_bytes()), np.uint8, offset=16).reshape(-1, 28, 28)
    pixels = pixels[np.random.Generator(np.random.Philox(0)).permutation(len(pixels))]
    for name, part in (("train", pixels[:20_000]), ("rest", pixels[20_000:30_000])):
        (folder / name).mkdir()
        write_idx(folder / name / f"{name}-images-idx3-ubyte", part)
    return folder, pixels[:20_000], pixels[20_000:30_000]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="of CPU time, training only")
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--out", type=Path, default=HERE / "dcgan_mnist.json")
    parser.add_argument("--grid", type=Path, help="file for an image of 64 samples")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    plugins = Plugins.installed()
    with tempfile.TemporaryDirectory() as temporary:
        folder, _, _ = digits(Path(temporary))
        fixed = ["modality.fit=stretch", "training.device=cpu", "training.tick=20000"]

        def opened(part: str):
            settings = [*fixed, f"data.source={folder / part}", *arguments.set]
            resolved = resolve(named_recipe("image", named="dcgan-32", settings=settings, plugins=plugins), plugins)
            return resolved, open_data(resolved, plugins, Reporter())

        resolved, pack = opened("train")
        _, rest = opened("rest")
        modality = resolved.modality_class(resolved.modality_config, pack.facts)
        game = build_game(resolved, modality.fields)
        order = Order(len(pack), resolved.recipe.seed)
        device = choose_device("cpu", resolved.recipe.training.precision)
        trainer = Trainer(
            game.architecture,
            game.players,
            game.phases,
            pack,
            order,
            resolved.recipe.training,
            resolved.recipe.seed,
            device,
        )
        model = Model(game.architecture, modality, resolved.title, device.device)
        real = rest.take(np.arange(len(rest)))
        metrics = find_metrics(["fid[lenet5]"], "image", plugins)

        def score(samples: dict[str, np.ndarray]) -> float:
            return measure(metrics, samples, real, modality)[0].value

        def generated() -> dict[str, np.ndarray]:
            with trainer.sampling():
                return model.generate(arguments.samples, 0)

        untrained = score(generated())
        draws = [np.random.Generator(np.random.Philox(seed)).permutation(len(pack)) for seed in range(5)]
        floors = [score(pack.take(np.sort(draw[: arguments.samples]))) for draw in draws]
        start = time.process_time()
        trainer.run(
            lambda tick: print(f"{time.process_time() - start:6.0f} s  {tick.samples:9,}  {tick.terms}", flush=True),
            lambda: time.process_time() - start > 60 * arguments.minutes,
        )
        seconds = time.process_time() - start
        samples = generated()
        result = {
            "metric": "FID[lenet5], 2,000 samples of the averaged weights against 10,000 unseen digits, 32 pixels",
            "value": score(samples),
            "untrained": untrained,
            "real_floor": {"mean": statistics.mean(floors), "deviation": statistics.stdev(floors), "draws": 5},
            "target": 12,
            "cpu_seconds": seconds,
            "real_samples_shown": trainer.samples,
            "parameters": trainer.parameter_counts(),
            "recipe": recipes.dump(resolved.recipe).replace(str(folder), "digits"),
            "kernels": torch.backends.cpu.get_cpu_capability(),
            "machine": surroundings(),
        }
        if arguments.grid:
            modality.preview({"image": samples["image"][:64]}).save(arguments.grid)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print({name: result[name] for name in ("value", "untrained", "real_floor", "cpu_seconds", "real_samples_shown")})


if __name__ == "__main__":
    main()
