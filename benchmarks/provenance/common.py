"""What the benchmarks of marks share: a rate with its confidence limit, the table of attacks, the record."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gan.contracts import Detection
from gan.reporting.manifest import surroundings
from scipy.stats import beta

HERE = Path(__file__).parent
MARKED, UNMARKED, ATTACKED = 200, 1000, 100
"""Files of each kind, and marked files that are attacked."""


def key(number: int) -> bytes:
    """A key of marks. Every unmarked file is searched with a key of its own, so that keys are sampled as well."""
    return number.to_bytes(32, "big")


def limit(successes: int, count: int) -> float:
    """Upper limit of a rate with 95 % confidence (Clopper and Pearson)."""
    return 1.0 if successes == count else float(beta.ppf(0.95, successes + 1, count - successes))


def false_positives(found: Sequence[Detection]) -> dict[str, Any]:
    """What was found in files without a mark."""
    hits = sum(one.found for one in found)
    aligned = np.array([one.aligned for one in found if one.aligned is not None])
    return {
        "files": len(found),
        "found": hits,
        "rate": hits / len(found),
        "rate_at_most_95": limit(hits, len(found)),
        "threshold_p": found[0].false_positive_rate,
        "smallest_p": min(one.p_value for one in found),
        "share_of_p_below_5_percent": sum(one.p_value <= 0.05 for one in found) / len(found),
        "z_aligned_mean": float(aligned.mean()),
        "z_aligned_deviation": float(aligned.std()),
        "z_largest": max(one.z for one in found),
    }


def row(found: Sequence[Detection]) -> dict[str, Any]:
    """What was found in marked files after one attack."""
    z = np.array([one.z for one in found])
    hits = sum(one.found for one in found)
    quartiles = [round(float(value), 2) for value in np.percentile(z, [5, 50, 95])]
    return {"files": len(found), "found": hits / len(found), "z_5_50_95": quartiles}


def attacked(
    marked: Sequence[Any], attacks: dict[str, Callable[[Any], Any]], detect: Callable[[Any], Detection]
) -> dict[str, Any]:
    """Attack -> row; ``none`` is of every marked work, the others are applied to the first `ATTACKED`."""
    table = {}
    for name, attack in attacks.items():
        works = marked if name == "none" else marked[:ATTACKED]
        table[name] = row([detect(attack(work)) for work in works])
        print(f"{name:28} found {table[name]['found']:.3f}  z {table[name]['z_5_50_95']}", flush=True)
    return table


def record(name: str, result: dict[str, Any], started: float) -> None:
    """Write the result beside the scripts, with the machine and the versions."""
    result = {**result, "cpu_seconds": round(time.process_time() - started, 1), **surroundings()}
    (HERE / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result.get("unmarked", result), indent=2))
