"""Fréchet distance between Gaussians fitted to features.

Heusel et al. 2017, "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium", eq. 6, after
Dowson and Landau 1982: ``‖μ₁ - μ₂‖² + Tr(Σ₁ + Σ₂ - 2 (Σ₁ Σ₂)^½)``.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
from scipy.linalg import cholesky, eigh, eigvalsh, solve_triangular
from scipy.linalg.lapack import dpstrf

from gan.contracts import Features, MetricValue
from gan.metrics.moments import Moments

Array: TypeAlias = np.ndarray[Any, Any]


def frechet_distance(first: Moments, second: Moments) -> float:
    """Return the distance between two sets, in the unit of the features squared; 0 for equal means and covariances.

    Rounding errors can make it negative, about ``-1e-12 · Tr(Σ)``; this is not clipped.
    """
    difference = first.mean - second.mean
    covariance, other = first.covariance, second.covariance
    return float(
        difference @ difference + np.trace(covariance) + np.trace(other) - 2 * trace_of_root(covariance, other)
    )


def trace_of_root(first: Array, second: Array) -> float:
    """Return ``Tr((Σ₁ Σ₂)^½)`` of two covariances ``(d, d)``.

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


def frechet_error(rows: Array, other_rows: Array, first: Moments, second: Moments) -> float:
    """Return the standard error of `frechet_distance` for rows ``(n, d)`` and ``(m, d)``; NaN unless n and m exceed d.

    The delta method, as in the distance's limit law (Rippl, Munk, Sturm 2016, "Limit laws of the empirical Wasserstein
    distance: Gaussian distributions"). With ``T = Σ₁^-½ (Σ₁^½ Σ₂ Σ₁^½)^½ Σ₁^-½``, which carries the first Gaussian to
    the second, a row x of the first set moves the distance by ``φ(x) / n``, without the mean of
    ``φ(x) = 2 (μ₁ - μ₂)ᵀ(x - μ₁) + (x - μ₁)ᵀ(I - T)(x - μ₁)``; one of the second set likewise with ``T⁻¹``. The error
    is that of the sampling and does not include the bias.
    """
    if min(first.count, second.count) <= first.dimensions:
        return math.nan
    factor, other_factor = _factor(first.covariance), _factor(second.covariance)
    if factor.shape[1] > other_factor.shape[1]:
        rows, other_rows, first, second, factor = other_rows, rows, second, first, other_factor
    variance = 0.0
    difference = first.mean - second.mean
    if factor.shape[1]:
        squares, basis = eigh(factor.T @ (second.covariance @ factor), driver="evd", check_finite=False)
        roots = np.sqrt(np.clip(squares, 0.0, None))
        kept = roots > roots[-1] * 1e-7
        gram = cholesky(factor.T @ factor, lower=True)
        whiten = solve_triangular(gram, factor.T, lower=True)
        whiten = basis.T @ solve_triangular(gram.T, whiten, lower=False)  # basisᵀ · pseudo-inverse of the factor
        inward = np.sqrt(roots)[:, None] * whiten
        outward = (factor @ basis[:, kept] / np.sqrt(roots[kept])).T
    else:
        inward = outward = np.zeros((0, first.dimensions))
    for part, mean, carried, slope in (
        (rows, first.mean, inward, 2 * difference),
        (other_rows, second.mean, outward, -2 * difference),
    ):
        moved = np.concatenate(
            [_influence(part[at : at + 1024] - mean, carried, slope) for at in range(0, len(part), 1024)]
        )
        variance += moved.var(ddof=1) / len(moved)
    return math.sqrt(variance)


def _influence(centred: Array, carried: Array, slope: Array) -> Array:
    """``slopeᵀx + xᵀ(I - carriedᵀ carried)x`` of rows x."""
    moved: Array = centred @ slope + np.square(centred).sum(axis=1) - np.square(centred @ carried.T).sum(axis=1)
    return moved


def _factor(covariance: Array) -> Array:
    """``L (d, r)`` with ``L Lᵀ = covariance`` and r its numerical rank."""
    packed, pivots, rank, _ = dpstrf(covariance, lower=1)
    factor = np.zeros((len(covariance), rank))
    factor[pivots - 1] = np.tril(packed)[:, :rank]
    return factor


class FrechetDistance:
    """Fréchet distance (FID) of any extractor; called FID alone only with the Inception network of 2015. The metric
    ``fd`` is the same under its plain name.

    It is biased in the number of samples: only values of equal counts are comparable.
    """

    version = "1"
    label = "FID"

    def compute(self, generated: Features, real: Features) -> list[MetricValue]:
        """Return one value, with its standard error if there are more samples than dimensions; lower is better."""
        first, second = Moments.of(generated.vectors), Moments.of(real.vectors)
        details: dict[str, Any] = {"mean term": float(((first.mean - second.mean) ** 2).sum())}
        fewest, dimensions = min(first.count, second.count), first.dimensions
        if fewest <= dimensions:
            details["warning"] = (
                f"{fewest:,} samples for {dimensions:,} dimensions: the covariance is singular and the distance is "
                "mostly bias; use more samples or the kernel distance"
            )
        error = frechet_error(generated.vectors, real.vectors, first, second)
        return [
            MetricValue(
                self.label,
                frechet_distance(first, second),
                error=None if math.isnan(error) else error,
                direction="lower",
                details=details,
            )
        ]


class PlainFrechetDistance(FrechetDistance):
    """`FrechetDistance`, called FD: a reader cannot take it for the FID of papers."""

    label = "FD"
