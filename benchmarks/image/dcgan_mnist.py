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
from pathlib import Path

import numpy as np
import torch
from gan import recipe as recipes
from gan.plugins.manager import Plugins
from gan.reporting.manifest import surroundings
from gan.testing import real_file
from gan_image.data.datasets import write_idx
from training import Training

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
        settings = ["modality.fit=stretch", "training.tick=20000", *arguments.set]
        training = Training("dcgan-32", folder / "train", settings, plugins)
        rest = Training("dcgan-32", folder / "rest", settings, plugins).pack
        pack, real = training.pack, rest.take(np.arange(len(rest)))

        def score(samples: dict[str, np.ndarray]) -> float:
            return training.scores(["fid[lenet5]"], samples, real, plugins)["FID[lenet5]"]

        untrained = score(training.samples(arguments.samples))
        draws = [np.random.Generator(np.random.Philox(seed)).permutation(len(pack)) for seed in range(5)]
        floors = [score(pack.take(np.sort(draw[: arguments.samples]))) for draw in draws]
        seconds = training.run(60 * arguments.minutes)
        samples = training.samples(arguments.samples)
        result = {
            "metric": "FID[lenet5], 2,000 samples of the averaged weights against 10,000 unseen digits, 32 pixels",
            "value": score(samples),
            "untrained": untrained,
            "real_floor": {"mean": statistics.mean(floors), "deviation": statistics.stdev(floors), "draws": 5},
            "target": 12,
            "cpu_seconds": seconds,
            "real_samples_shown": training.trainer.samples,
            "parameters": training.trainer.parameter_counts(),
            "recipe": recipes.dump(training.resolved.recipe).replace(str(folder), "digits"),
            "kernels": torch.backends.cpu.get_cpu_capability(),
            "machine": surroundings(),
        }
        if arguments.grid:
            training.modality.preview({"image": samples["image"][:64]}).save(arguments.grid)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print({name: result[name] for name in ("value", "untrained", "real_floor", "cpu_seconds", "real_samples_shown")})


if __name__ == "__main__":
    main()
