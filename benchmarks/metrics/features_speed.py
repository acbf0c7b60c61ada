"""Speed of Inception features: ours (folded BatchNorm, channels_last) over torch-fidelity's, fp32, one thread.

The weights are random, since the published file is not redistributed here; the work is the same. Both take uint8
pictures of 64 pixels and resize them as TensorFlow 1 does. Their turns alternate within one process, CPU time.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
from gan.reporting.manifest import surroundings
from gan_image.extractors.inception import InceptionExtractor, InceptionV3
from references import inception, versions

BATCH, ROUNDS = 16, 7


class RandomInception(InceptionExtractor):
    batch = BATCH

    def __init__(self, state: dict[str, torch.Tensor]) -> None:
        network = InceptionV3()
        network.load_published(state)
        self.device = torch.device("cpu")
        self.network = network.requires_grad_(False).eval().to(memory_format=torch.channels_last)


def cpu_seconds(call) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def main() -> None:
    torch.set_num_threads(1)
    theirs = inception()
    ours = RandomInception(theirs.state_dict())
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (BATCH, 3, 64, 64), dtype=np.uint8)
    tensor = torch.from_numpy(images.copy())
    with torch.inference_mode():
        features, logits = theirs(tensor)
    found = ours({"image": images}, None)
    scale = features.abs().max().item()
    difference = np.abs(found.vectors - features.numpy()).max() / scale
    probability_difference = np.abs(found.probabilities - logits.softmax(1).numpy()).max()
    seconds: dict[str, list[float]] = {"ours": [], "torch-fidelity": []}

    def run_theirs() -> None:
        with torch.inference_mode():
            theirs(tensor)

    for _ in range(ROUNDS):
        seconds["torch-fidelity"].append(cpu_seconds(run_theirs))
        seconds["ours"].append(cpu_seconds(lambda: ours({"image": images}, None)))
    ratios = [b / a for a, b in zip(seconds["ours"], seconds["torch-fidelity"], strict=True)]
    result = {
        "what": __doc__.split("\n")[0],
        "batch": BATCH,
        "rounds": ROUNDS,
        "images per CPU second": {k: round(BATCH / statistics.median(v), 2) for k, v in seconds.items()},
        "ratio": round(statistics.median(ratios), 3),
        "ratio, lowest and highest": [round(min(ratios), 3), round(max(ratios), 3)],
        "largest feature difference, relative to the largest feature": float(difference),
        "largest difference of a probability": float(probability_difference),
        "machine": surroundings() | versions(),
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
