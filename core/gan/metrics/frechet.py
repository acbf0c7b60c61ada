"""Fréchet distance between Gaussians fitted to features.

Heusel et al. 2017, "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium", eq. 6, after
Dowson and Landau 1982: ``‖μ₁ - μ₂‖² + Tr(Σ₁ + Σ₂ - 2 (Σ₁ Σ₂)^½)``.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from scipy.linalg import eigvalsh
from scipy.linalg.lapack import dpstrf

from gan.contracts import Features, MetricValue
from gan.metrics.moments import Moments

Array: TypeAlias = np.ndarray[Any, Any]


def frechet_distance(first: Moments, second: Moments) -> float:
    """The distance between two sets, in the unit of the features squared; 0 for equal means and covariances.

    Rounding can leave a value of about ``-1e-12 · Tr(Σ)``; it is not hidden.
    """
    difference = first.mean - second.mean
    covariance, other = first.covariance, second.covariance
    return float(
        difference @ difference + np.trace(covariance) + np.trace(other) - 2 * trace_of_root(covariance, other)
    )


def trace_of_root(first: Array, second: Array) -> float:
    """``Tr((Σ₁ Σ₂)^½)`` of two covariances ``(d, d)``.

    With ``Σ₁ = L Lᵀ`` the eigenvalues of ``Σ₁ Σ₂`` that are not 0 are those of ``Lᵀ Σ₂ L``, which is symmetric: no
    matrix root, no complex numbers. A Cholesky factorisation with pivots stops at the numerical rank r, so a
    covariance of fewer samples than dimensions gives a smaller ``(r, r)`` problem and no noise from null directions;
    the covariance of lower rank is factored.
    """
    factor, other_factor = _factor(first), _factor(second)
    if factor.shape[1] > other_factor.shape[1]:
        factor, first, second = other_factor, second, first
    if factor.shape[1] == 0:
        return 0.0
    inner = factor.T @ (second @ factor)
    eigenvalues = eigvalsh(inner, overwrite_a=True, check_finite=False, driver="evd")
    return float(np.sqrt(np.clip(eigenvalues, 0.0, None)).sum())


def _factor(covariance: Array) -> Array:
    """``L (d, r)`` with ``L Lᵀ = covariance`` and r its numerical rank."""
    packed, pivots, rank, _ = dpstrf(covariance, lower=1)
    factor = np.zeros((len(covariance), rank))
    factor[pivots - 1] = np.tril(packed)[:, :rank]
    return factor


class FrechetDistance:
    """FID of any extractor; a plain FID only with the Inception network of 2015.

    Biased in the number of samples: only values of equal counts compare.
    """

    version = "1"
    label = "FID"

    def compute(self, generated: Features, real: Features) -> list[MetricValue]:
        """One value; lower is better."""
        first, second = Moments.of(generated.vectors), Moments.of(real.vectors)
        details: dict[str, Any] = {"mean term": float(((first.mean - second.mean) ** 2).sum())}
        fewest, dimensions = min(first.count, second.count), first.dimensions
        if fewest <= dimensions:
            details["warning"] = (
                f"{fewest:,} samples for {dimensions:,} dimensions: the covariance is singular and the distance is "
                "mostly bias; use more samples or the kernel distance"
            )
        return [MetricValue(self.label, frechet_distance(first, second), direction="lower", details=details)]
