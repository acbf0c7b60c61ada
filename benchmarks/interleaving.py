"""Two sides of a comparison of speed, in turn in one process: load of the machine then concerns both alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any


def interleaved(plain: Callable[[int], None], ours: Callable[[int], None], rounds: int, steps: int) -> dict[str, Any]:
    """CPU seconds of both sides in turn, and their ratio."""
    seconds: dict[str, list[float]] = {"plain": [], "ours": []}
    for number in range(rounds + 1):
        sides = {"plain": plain, "ours": ours}
        for name in list(sides)[:: 1 if number % 2 else -1]:
            start = time.process_time()
            sides[name](steps)
            if number:  # the first round warms up
                seconds[name].append((time.process_time() - start) / steps)
    ratios = [one / other for one, other in zip(seconds["plain"], seconds["ours"], strict=True)]
    return {
        "speed_of_ours_over_plain": statistics.median(ratios),
        "ratio_quartiles": statistics.quantiles(ratios, n=4),
        "plain_ms": 1000 * statistics.median(seconds["plain"]),
        "ours_ms": 1000 * statistics.median(seconds["ours"]),
    }
