"""Metrics of neighbours and of kernels at 2,048 dimensions, and features from the cache: CPU seconds, one thread.

    python benchmarks/metrics/blocks_speed.py [--before CHECKOUT]

Features have a decaying spectrum and are at least 0, like Inception's. Precision and recall are computed for sets of
growing size, of which the largest is extrapolated with the square to 50,000 x 2,048. An earlier checkout computes the
same in processes of its own, which alternate with the others; values are compared.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from gan.reporting.manifest import surroundings
from gan.testing import real_file

DIMENSIONS = 2048
MEASURE = """
import json, resource, sys, time
import numpy as np
import torch
from gan.contracts import Features
from gan.metrics import KernelDistance, Moments, NearestNeighbourTest, PrecisionRecall, frechet_distance
torch.set_num_threads(1)
count, what = int(sys.argv[1]), sys.argv[2]
def rows(seed):
    rng = np.random.default_rng(seed)
    scale = np.exp(-np.arange(2048) / 400).astype(np.float32) * (1 + seed / 20)
    return np.maximum(rng.standard_normal((count, 2048), dtype=np.float32) * scale + 0.1, 0)
first, second = Features(rows(0)), Features(rows(1))
if what == "frechet":
    moments = Moments.of(first.vectors), Moments.of(second.vectors)
    call = lambda: {"distance": frechet_distance(*moments)}
else:
    kinds = {"precision": PrecisionRecall, "kernel": lambda: KernelDistance(subsets=10), "1-nna": NearestNeighbourTest}
    metric = kinds[what]()
    call = lambda: {value.name: value.value for value in metric.compute(first, second)}
few = slice(0, 300)
if what == "precision":  # what is imported at the first call
    metric.compute(Features(first.vectors[few]), Features(second.vectors[few]))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
began = time.process_time()
values = call()
print(json.dumps({"cpu_s": round(time.process_time() - began, 3), "values": values,
    "further_memory_mb": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10) - before}))
"""
CACHED = """
import json, time
import numpy as np
import torch
from gan.evaluation.feature_cache import FeatureCache
from gan.metrics.extractors import NamedExtractor
from gan.plugins.manager import Plugins
from gan_image.modality import ImageModality
torch.set_num_threads(1)
plugins = Plugins.installed()
extractor = plugins.load(plugins.find("gan_extractors", "lenet5"))(None, "cpu")
modality = ImageModality(ImageModality.Config(resolution=32, channels=1), {})
samples = {"image": np.random.default_rng(0).integers(0, 256, (10_000, 1, 32, 32), np.uint8)}
seconds = []
for _ in range(3):
    named = NamedExtractor("lenet5", extractor)
    named.keep(samples, FeatureCache("0" * 64, {"name": "image"}, "cpu"))
    began = time.process_time()
    named(samples, modality)
    seconds.append(round(time.process_time() - began, 3))
print(json.dumps({"samples": 10_000, "extracted_cpu_s": seconds[0], "from_the_cache_cpu_s": min(seconds[1:])}))
"""


def measured(program: str, checkout: Path | None, *arguments: object, **more: str) -> dict[str, object]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", **more}
    if checkout is not None:
        environment["PYTHONPATH"] = os.pathsep.join(map(str, (checkout / "core", checkout / "plugins" / "gan-image")))
    command = [sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, object] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", type=Path, help="a checkout of an earlier commit")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 2000, 4000])
    arguments = parser.parse_args()
    versions = {"after": None} | ({"before": arguments.before.resolve()} if arguments.before else {})
    calls = [(size, "precision") for size in arguments.sizes]
    calls += [(arguments.sizes[-1], what) for what in ("1-nna", "kernel", "frechet")]
    result: dict[str, object] = {}

    def record() -> None:
        recorded = {"what": (__doc__ or "").split("\n")[0], **result, "machine": surroundings()}
        Path(__file__).with_suffix(".json").write_text(json.dumps(recorded, indent=1) + "\n")

    for size, what in calls:
        found = {version: measured(MEASURE, path, size, what) for version, path in versions.items()}
        result[f"{what} of {size} x {DIMENSIONS}"] = found
        if (size, what) == (arguments.sizes[-1], "precision"):
            scale = (50_000 / size) ** 2
            extrapolated = {version: round(float(str(one["cpu_s"])) * scale) for version, one in found.items()}
            result["precision of 50000 x 2048, extrapolated, CPU s"] = extrapolated
        print(size, what, found, flush=True)
        record()
    with tempfile.TemporaryDirectory() as cache:
        weights = str(real_file("weights", "mnist_lenet5.npz").parent)
        result["features of real samples, lenet5"] = measured(CACHED, None, GAN_CACHE=cache, GAN_WEIGHTS=weights)
    record()


if __name__ == "__main__":
    main()
