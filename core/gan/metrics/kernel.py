"""Kernel distance: squared maximum mean discrepancy with a cubic kernel.

Bińkowski et al. 2018, "Demystifying MMD GANs", section 4: ``k(x, y) = (xᵀy / d + 1)³``, the unbiased estimate of
Gretton et al. 2012, eq. 3, averaged over subsets. Unbiased in the number of samples, so it may be negative.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np

from gan.contracts import Features, MetricValue
from gan.errors import BadData
from gan.metrics.blocks import product

Array: TypeAlias = np.ndarray[Any, Any]


def cubic_kernel(first: Array, second: Array) -> Array:
    """``(xᵀy / d + 1)³`` for all pairs: ``(n, d), (m, d) -> (n, m)``, float64.

    Products of float32 features are computed in float32, whose rounding is far below the noise of a kernel distance.
    """
    if first.dtype == second.dtype == np.float32:
        products = product(first, second).astype(np.float64)
    else:
        products = first.astype(np.float64) @ second.astype(np.float64).T
    products /= first.shape[1]
    products += 1
    return products * products * products


def squared_mmd(first: Array, second: Array) -> tuple[float, float]:
    """Unbiased squared MMD of features ``(n, d)`` and ``(m, d)``, and its standard error by the jackknife.

    The estimate without sample i needs only the sums of row i of the kernel matrices, so the error is almost free.
    """
    n, m = len(first), len(second)
    if min(n, m) < 2:
        raise BadData(f"{min(n, m)} samples, at least 2 are needed for a kernel distance")
    within_first = cubic_kernel(first, first)
    within_second = cubic_kernel(second, second)
    np.fill_diagonal(within_first, 0)
    np.fill_diagonal(within_second, 0)
    across = cubic_kernel(first, second)
    rows_first, rows_second = within_first.sum(axis=1), within_second.sum(axis=1)
    sum_first, sum_second, sum_across = rows_first.sum(), rows_second.sum(), across.sum()
    value = sum_first / (n * (n - 1)) + sum_second / (m * (m - 1)) - 2 * sum_across / (n * m)
    if min(n, m) < 3:
        return float(value), math.nan
    left_out_first = (
        (sum_first - 2 * rows_first) / ((n - 1) * (n - 2))
        + sum_second / (m * (m - 1))
        - 2 * (sum_across - across.sum(axis=1)) / ((n - 1) * m)
    )
    left_out_second = (
        sum_first / (n * (n - 1))
        + (sum_second - 2 * rows_second) / ((m - 1) * (m - 2))
        - 2 * (sum_across - across.sum(axis=0)) / (n * (m - 1))
    )
    variance = (n - 1) * left_out_first.var() + (m - 1) * left_out_second.var()
    return float(value), math.sqrt(variance)


def kernel_distance(
    first: Array, second: Array, *, subsets: int = 100, subset_size: int = 1000, seed: int = 0
) -> tuple[float, float, float]:
    """Return (value, standard error, standard deviation over subsets) of the kernel distance.

    Each subset has ``min(subset_size, n, m)`` samples of each set without replacement. The standard error accounts for
    the overlap of subsets: with ``s²`` the variance over subsets of size b out of N samples, the variance of their mean
    is ``s² · (b / N + (1 - b / N) / subsets)``. Sets of at most `subset_size` samples are used whole, once, with the
    error of the jackknife; the deviation is then NaN.
    """
    size = min(subset_size, len(first), len(second))
    fewest = min(len(first), len(second))
    if fewest <= subset_size:
        value, error = squared_mmd(first, second)
        return value, error, math.nan
    rng = np.random.default_rng(seed)
    values = np.array(
        [
            squared_mmd(
                first[np.sort(rng.choice(len(first), size, replace=False))],
                second[np.sort(rng.choice(len(second), size, replace=False))],
            )[0]
            for _ in range(subsets)
        ]
    )
    deviation = float(values.std(ddof=1)) if subsets > 1 else math.nan
    share = size / fewest
    return float(values.mean()), deviation * math.sqrt(share + (1 - share) / subsets), deviation


class KernelDistance:
    """Kernel distance (KID) of any extractor, unscaled; papers often report it times 1,000."""

    version = "1"
    label = "KID"

    def __init__(self, subsets: int = 100, subset_size: int = 1000, seed: int = 0) -> None:
        self.settings = {"subsets": subsets, "subset_size": subset_size, "seed": seed}

    def compute(self, generated: Features, real: Features) -> list[MetricValue]:
        """One value with its standard error; lower is better, about 0 for samples of one distribution."""
        value, error, deviation = kernel_distance(generated.vectors, real.vectors, **self.settings)
        details = {} if math.isnan(deviation) else {"deviation over subsets": deviation}
        return [MetricValue(self.label, value, error=error, direction="lower", details=details)]
