"""CPU time of the two forms of a modulated convolution, forward and backward, on one thread.

    python benchmarks/image/modulation.py

Both forms are run in turns, and the fastest of `REPEATS` runs counts. The ratio is grouped over scaled: above 1,
scaling the activations is faster than weights for each image.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import torch
from gan.parts.style import ModulatedConvolution
from gan.reporting.manifest import surroundings

REPEATS = 5
SIZES = [(1, 64, 8), (16, 64, 8), (16, 64, 16), (16, 32, 32), (1, 32, 32), (1, 512, 8), (4, 512, 8), (4, 256, 32)]
"""Images, channels, resolution."""


def main() -> None:
    """Measure, and write the record."""
    torch.set_num_threads(1)
    rows = []
    for images, channels, resolution in SIZES:
        for up in (False, True):
            layer = ModulatedConvolution(channels, channels, 3, 64, up=up)
            x = torch.randn(images, channels, resolution, resolution, requires_grad=True)
            w = torch.randn(images, 64, requires_grad=True)
            best = {"grouped": float("inf"), "scaled": float("inf")}
            for _ in range(REPEATS):
                for form in best:
                    start = time.process_time()
                    layer(x, w, form).sum().backward()
                    best[form] = min(best[form], time.process_time() - start)
            row = {"images": images, "channels": channels, "resolution": resolution, "up": up}
            row |= {f"{form}_ms": round(1000 * seconds, 2) for form, seconds in best.items()}
            rows.append(row | {"ratio": round(best["grouped"] / best["scaled"], 2)})
            print(rows[-1], flush=True)
    record = {"what": __doc__.split("\n")[0], "rows": rows, "machine": surroundings()}
    Path(__file__).with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
