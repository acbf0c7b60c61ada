"""Our values beside torch-fidelity's, clean-fid's and prdc's on the same features.

Features: 2 x 3,000 rows of 512 numbers with a decaying spectrum, shifted; the Inception Score on logits of 100 classes.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
from gan.metrics import Moments, frechet_distance, inception_score, precision_recall_density_coverage, squared_mmd
from gan.reporting.manifest import surroundings
from references import make_importable, versions


def main() -> None:
    torch.set_num_threads(1)
    make_importable()
    from prdc import compute_prdc
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
    from torch_fidelity.metric_isc import isc_features_to_metric
    from torch_fidelity.metric_kid import kid_features_to_metric
    from torch_fidelity.metric_prc import prc_features_to_metric

    rng = np.random.default_rng(0)
    mix = rng.standard_normal((512, 512)) * np.exp(-np.arange(512) / 150)
    real = np.maximum(rng.standard_normal((3000, 512)) @ mix / 10, 0)
    generated = np.maximum(rng.standard_normal((3000, 512)) @ mix / 11 + 0.1, 0)
    logits = 3 * rng.standard_normal((3000, 100))
    a, b = torch.from_numpy(generated), torch.from_numpy(real)

    rows: list[tuple[str, str, float, float]] = []
    fid = frechet_distance(Moments.of(generated), Moments.of(real))
    statistics = fid_features_to_statistics(a), fid_features_to_statistics(b)
    theirs = fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    rows.append(("Fréchet distance", "torch-fidelity", fid, theirs))
    rows.append(("Fréchet distance", "clean-fid", fid, clean_fid(*statistics)))
    kid, _ = squared_mmd(generated, real)
    theirs = kid_features_to_metric(a, b, kid_subsets=1, kid_subset_size=3000, verbose=False)
    rows.append(("kernel distance, one subset of all", "torch-fidelity", kid, theirs["kernel_inception_distance_mean"]))
    score, deviation = inception_score(torch.from_numpy(logits).softmax(1).numpy(), seed=None)
    theirs = isc_features_to_metric(torch.from_numpy(logits), shuffle=False)
    rows.append(("Inception Score", "torch-fidelity", score, theirs["inception_score_mean"]))
    rows.append(("its deviation over splits", "torch-fidelity", deviation, theirs["inception_score_std"]))
    found = precision_recall_density_coverage(generated, real, k_manifold=3, k_density=5)
    theirs = prc_features_to_metric(a, b, verbose=False, save_cpu_ram=True)
    rows += [(name, "torch-fidelity, k = 3", found[name][0], theirs[name]) for name in ("precision", "recall")]
    with contextlib.redirect_stdout(io.StringIO()):
        theirs = compute_prdc(real, generated, nearest_k=5)
    rows += [(name, "prdc, k = 5", found[name][0], float(theirs[name])) for name in ("density", "coverage")]

    result = {
        "what": __doc__.split("\n")[0],
        "rows": [
            {"metric": m, "reference": r, "ours": x, "theirs": y, "relative difference": abs(x - y) / abs(y)}
            for m, r, x, y in rows
        ],
        "machine": surroundings("prdc", "scikit-learn") | versions(),
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    for row in result["rows"]:
        print(*row.values(), sep="\t")


def clean_fid(first: dict, second: dict) -> float:
    """clean-fid's function on the same statistics. Its module imports a network builder that downloads, so only the
    function is taken, from its source."""
    import ast

    from references import folder
    from scipy import linalg

    tree = ast.parse(Path(folder(), "cleanfid", "fid.py").read_text())
    function = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "frechet_distance")
    space = {"np": np, "linalg": _OldSqrtm(linalg)}
    exec(compile(ast.Module([function], []), "cleanfid", "exec"), space)
    return float(space["frechet_distance"](first["mu"], first["sigma"], second["mu"], second["sigma"]))


class _OldSqrtm:
    """clean-fid calls scipy.linalg.sqrtm with an argument that scipy has removed; the matrix root is the same."""

    def __init__(self, linalg) -> None:
        self._linalg = linalg

    def sqrtm(self, matrix, disp=True):
        root = self._linalg.sqrtm(matrix)
        return root if disp else (root, 0.0)


if __name__ == "__main__":
    main()
