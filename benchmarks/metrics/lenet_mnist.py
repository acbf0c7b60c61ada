"""FID[lenet5] and the other metrics on MNIST: equal halves, fewer samples, and data that get worse step by step.

The first 30,000 training digits are at hand (../shared/data). 10,000 of them, damaged, are held against 15,000 others.
"""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import numpy as np
import torch
from gan.contracts import Features
from gan.metrics import FrechetDistance, InceptionScore, KernelDistance, precision_recall_density_coverage, vendi_score
from gan.reporting.manifest import surroundings
from gan.testing import real_file
from scipy.ndimage import gaussian_filter

COUNT, REAL = 10_000, 15_000
FEW = 3000
"""Samples of either set for the metrics of neighbours."""


def read(name: str, header: int) -> np.ndarray:
    return np.frombuffer(gzip.decompress(real_file("image", "mnist", name).read_bytes()), np.uint8)[header:]


def noisy(images: np.ndarray, sigma: float) -> np.ndarray:
    noise = np.random.default_rng(1).standard_normal(images.shape) * sigma
    return np.clip(np.round(images + noise), 0, 255).astype(np.uint8)


def blurred(images: np.ndarray, sigma: float) -> np.ndarray:
    return np.round(gaussian_filter(images.astype(np.float32), (0, 0, sigma, sigma))).astype(np.uint8)


def main() -> None:
    torch.set_num_threads(1)
    os.environ.setdefault("GAN_WEIGHTS", str(real_file("weights")))
    from gan_image.extractors.lenet5 import LeNet5Extractor

    extractor = LeNet5Extractor()
    images = read("train-images-idx3-ubyte.gz", 16).reshape(-1, 1, 28, 28)
    labels = read("train-labels-idx1-ubyte.gz", 8)
    order = np.random.default_rng(0).permutation(len(images))
    images, labels = images[order], labels[order]
    real = extractor({"image": images[REAL:]}, None)
    clean, clean_labels = images[:COUNT], labels[:COUNT]
    pool, pool_labels = images[:REAL], labels[:REAL]

    def scores(samples: np.ndarray, light: bool = False) -> dict[str, float]:
        features = extractor({"image": samples}, None)
        found = [*FrechetDistance().compute(features, real), *InceptionScore().compute(features, real)]
        named = {value.name: value.value for value in found}
        if not light:
            named["KID"] = KernelDistance(subsets=20).compute(features, real)[0].value
            spread = np.linspace(0, len(features.vectors) - 1, FEW).astype(int)
            four = precision_recall_density_coverage(features.vectors[spread], real.vectors[:FEW])
            named |= {name: value for name, (value, _) in four.items()}
            named["Vendi score"] = vendi_score(features.vectors)
        return {name: round(value, 5) for name, value in named.items()}

    accuracy = float((extractor({"image": images}, None).probabilities.argmax(1) == labels).mean())
    in_order = read("train-images-idx3-ubyte.gz", 16).reshape(-1, 1, 28, 28)
    first, second = (extractor({"image": half}, None) for half in (in_order[:REAL], in_order[REAL:]))
    halves = FrechetDistance().compute(first, second)[0].value
    ten = FrechetDistance().compute(Features(first.vectors[:COUNT]), second)[0].value
    even = extractor({"image": in_order[0:20_000:2]}, None)
    odd = extractor({"image": in_order[1:20_000:2]}, None)
    result = {
        "what": __doc__.split("\n")[0],
        "accuracy of LeNet-5 on these digits": round(accuracy, 4),
        "FID of the halves in the file's order, 15,000 against 15,000": round(halves, 4),
        "FID of the first 10,000 against the last 15,000": round(ten, 4),
        "FID of 10,000 even against 10,000 odd digits (two sources of writers alternate in the file)": round(
            FrechetDistance().compute(even, odd)[0].value, 4
        ),
        "fewer samples of shuffled digits": {
            str(n): scores(images[:n], light=True) for n in (500, 1000, 2000, 5000, 10_000, 15_000)
        },
        "damage": {
            "none": scores(clean),
            "noise, deviation of 255": {str(s): scores(noisy(clean, s)) for s in (16, 32, 64, 128)},
            "blur, pixels": {str(s): scores(blurred(clean, s)) for s in (0.5, 1.0, 1.5, 2.0)},
            "classes that are missing": {
                str(k): scores(pool[pool_labels >= k][:COUNT][: len(clean)]) for k in (1, 3, 5, 7, 9)
            },
            "share of the samples that is one picture": {
                str(s): scores(np.concatenate([clean[: int(COUNT * (1 - s))], np.repeat(clean[:1], int(COUNT * s), 0)]))
                for s in (0.1, 0.5, 0.9)
            },
        },
        "machine": surroundings() | {"extractor": f"lenet5, sha256 {extractor.sha256}"},
    }
    assert len(clean_labels) == COUNT
    Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
