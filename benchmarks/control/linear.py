"""SeFa and GANSpace in the linear case: their first directions beside the first singular vector.

    python benchmarks/control/linear.py

For y = A z with 50 random matrices A of growing column scales and z from N(0, 1). SeFa scales the rows of A to length 1
and is compared with the singular vectors of that map. GANSpace sees 5,000 samples of y, and maps its component back.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from gan.control.directions import ganspace, sefa
from gan.reporting.manifest import surroundings

HERE = Path(__file__).parent


def main() -> None:
    of_sefa, of_ganspace = [], []
    for seed in range(50):
        rng = torch.Generator().manual_seed(seed)
        matrix = torch.randn(96, 16, generator=rng, dtype=torch.float64) * torch.linspace(0.5, 2, 16)
        latents = torch.randn(5000, 16, generator=rng, dtype=torch.float64)
        scaled = matrix / matrix.norm(dim=1, keepdim=True)
        for found, reference, values in (
            (sefa([matrix], 1)[0][0], scaled, of_sefa),
            (ganspace(latents, [matrix], 1)[0][0], matrix, of_ganspace),
        ):
            first = torch.linalg.svd(reference, full_matrices=False)[2][0]
            values.append(float((found @ first).abs()))
    result = {
        "smallest |cos| of SeFa's first direction and the first right singular vector": min(of_sefa),
        "median |cos| of GANSpace's first direction and it, 5,000 samples": float(np.median(of_ganspace)),
        "matrices": 50,
        "machine": surroundings(),
    }
    (HERE / "linear.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
