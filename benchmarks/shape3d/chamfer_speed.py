"""CPU time and memory of 1-NNA on exact Chamfer distances, and how many distances the bounds leave to compute.

    python benchmarks/shape3d/chamfer_speed.py --count 1000

Two sets of furniture of the four kinds, 2,048 points on each surface, one thread. Memory is the growth of the process's
largest resident size after the clouds have been made. Some rows are checked against the distances to all clouds.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path

import numpy as np
from gan.reporting.manifest import surroundings
from gan_3d.metrics import clouds
from sets import HELD_OUT, real_furniture

HERE = Path(__file__).parent
CHECKED = 4
"""Rows that are compared with all distances."""


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000, help="clouds in each set")
    parser.add_argument("--out", type=Path, default=HERE / "chamfer_speed.json")
    arguments = parser.parse_args()
    sets = []
    for first in (0, HELD_OUT):
        grids = real_furniture(first, arguments.count // 4, 16)
        sets.append(np.stack([clouds.cloud(grid, clouds.POINTS) for grid in grids]))
    computed = 0
    plain = clouds._chamfer

    def counted(*values):
        nonlocal computed
        computed += 1
        return plain(*values)

    clouds._chamfer = counted
    before, start = peak_mib(), time.process_time()
    found = clouds.chamfer_neighbours(*sets)
    seconds, memory, needed = time.process_time() - start, peak_mib() - before, computed
    rows = np.linspace(0, len(sets[0]) - 1, CHECKED).astype(int)
    exact = clouds.chamfer_distances(sets[0][rows], sets[1])
    total = sum(map(len, sets))
    result = {
        "clouds": [len(clouds_of) for clouds_of in sets],
        "points": clouds.POINTS,
        "cpu_seconds": seconds,
        "memory_mib": memory,
        "distances_computed": needed,
        "distances_of_all_pairs": total * (total - 1),
        "largest_difference_to_all_distances": float(np.abs(exact.min(1) - found.other[rows]).max()),
        "1-NNA of two real sets": clouds.set_metrics(found, len(sets[0]))["1-NNA"],
        "machine": surroundings(),
    }
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps({name: value for name, value in result.items() if name != "machine"}, indent=1))


if __name__ == "__main__":
    main()
