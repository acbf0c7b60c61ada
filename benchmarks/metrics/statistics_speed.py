"""Streaming statistics and the Fréchet distance at 2,048 dimensions: memory and CPU seconds, one thread.

50,000 rows of 2,048 float32 numbers come in batches of 50 and are never held together.
"""

from __future__ import annotations

import json
import resource
import time
from pathlib import Path

import numpy as np
from gan.metrics import Moments, frechet_distance
from gan.reporting.manifest import surroundings

DIMENSIONS, ROWS, BATCH = 2048, 50_000, 50


def megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def batches(seed: int):
    rng = np.random.default_rng(seed)
    scale = np.exp(-np.arange(DIMENSIONS) / 400).astype(np.float32) * (1 + seed / 10)
    for _ in range(ROWS // BATCH):
        yield np.maximum(rng.standard_normal((BATCH, DIMENSIONS), dtype=np.float32) * scale, 0)


def main() -> None:
    before = megabytes()
    made = time.process_time()
    for _ in batches(0):
        pass
    making = time.process_time() - made
    start = time.process_time()
    first = Moments.of(batches(0))
    _ = first.covariance
    gathering = time.process_time() - start - making
    after_one = megabytes()
    second = Moments.of(batches(1))
    start = time.process_time()
    distance = frechet_distance(first, second)
    seconds = time.process_time() - start
    seconds_again = []
    for _ in range(3):
        start = time.process_time()
        frechet_distance(first, second)
        seconds_again.append(time.process_time() - start)
    few = Moments.of(next(batches(2))[:40])
    start = time.process_time()
    frechet_distance(few, second)
    result = {
        "what": __doc__.split("\n")[0],
        "rows": ROWS,
        "dimensions": DIMENSIONS,
        "peak memory of the process, MB": round(after_one),
        "of which before (Python, numpy, scipy)": round(before),
        "CPU seconds of the statistics of one set": round(gathering, 2),
        "CPU seconds of a distance, first and further": [round(s, 2) for s in [seconds, *seconds_again]],
        "CPU seconds of a distance, one set of rank 39": round(time.process_time() - start, 2),
        "distance": distance,
        "machine": surroundings(),
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
