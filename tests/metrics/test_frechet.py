"""Fréchet distance: closed forms, the textbook formula, and covariances without full rank."""

from __future__ import annotations

import numpy as np
import pytest
from gan.contracts import Features
from gan.metrics import FrechetDistance, Moments, frechet_distance, trace_of_root
from gan.metrics.frechet import frechet_error
from scipy.linalg import sqrtm


def exact(rng, n, mean, covariance):
    """`n` rows whose sample mean and covariance are exactly these (white rows, coloured by a Cholesky factor)."""
    d = len(mean)
    rows = rng.standard_normal((n, d))
    rows -= rows.mean(axis=0)
    rows = np.linalg.solve(np.linalg.cholesky(np.atleast_2d(np.cov(rows.T))), rows.T).T
    return rows @ np.linalg.cholesky(covariance).T + mean


def textbook(a, b):
    root = sqrtm(np.cov(a.T) @ np.cov(b.T)).real
    return ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(np.cov(a.T) + np.cov(b.T) - 2 * root)


def distance(a, b):
    return frechet_distance(Moments.of(a), Moments.of(b))


@pytest.mark.parametrize("d", [1, 3, 40])
def test_closed_forms(d):
    """N(0, I) to N(μ, I) is ‖μ‖²; to N(0, 4I) it is Tr(I + 4I - 2·2I) = d; to itself 0."""
    rng = np.random.default_rng(d)
    mean = rng.standard_normal(d)
    white = exact(rng, 500, np.zeros(d), np.eye(d))
    assert distance(white, exact(rng, 300, mean, np.eye(d))) == pytest.approx(mean @ mean, rel=1e-9)
    assert distance(white, exact(rng, 300, np.zeros(d), 4 * np.eye(d))) == pytest.approx(d, rel=1e-9)
    assert abs(distance(white, white)) < 1e-9 * d


def test_the_textbook_formula_and_symmetry():
    rng = np.random.default_rng(0)
    a = rng.standard_normal((400, 30)) @ rng.standard_normal((30, 30))
    b = rng.standard_normal((500, 30)) @ rng.standard_normal((30, 30)) + 1
    assert distance(a, b) == pytest.approx(textbook(a, b), rel=1e-9)
    assert distance(a, b) == pytest.approx(distance(b, a), rel=1e-10)


def test_a_turn_of_both_sets_changes_nothing():
    rng = np.random.default_rng(1)
    turn, _ = np.linalg.qr(rng.standard_normal((20, 20)))
    a, b = rng.standard_normal((200, 20)), rng.standard_normal((200, 20)) ** 3
    assert distance(a @ turn, b @ turn) == pytest.approx(distance(a, b), rel=1e-9)


@pytest.mark.parametrize(("n", "m"), [(20, 30), (20, 500), (500, 20), (64, 65), (2, 2)])
def test_fewer_samples_than_dimensions(n, m):
    """Tr((Σ₁Σ₂)^½) is the sum of singular values of ``X₁ X₂ᵀ / √((n-1)(m-1))`` for centred rows: no root of a
    singular matrix is needed, so this holds where the textbook formula fails."""
    rng = np.random.default_rng(n * m)
    mix = rng.standard_normal((64, 64))
    a, b = rng.standard_normal((n, 64)) @ mix, rng.standard_normal((m, 64))
    a0, b0 = a - a.mean(0), b - b.mean(0)
    expected = np.linalg.svd(a0 @ b0.T, compute_uv=False).sum() / np.sqrt((n - 1) * (m - 1))
    assert trace_of_root(np.cov(a.T), np.cov(b.T)) == pytest.approx(expected, rel=1e-8)
    assert abs(distance(a, a)) < 1e-7 * np.trace(np.cov(a.T))


def test_constant_features_give_the_distance_of_the_means():
    assert distance(np.zeros((5, 3)), np.full((5, 3), 2.0)) == pytest.approx(12.0)


def test_the_metric_warns_when_the_covariance_is_singular():
    rng = np.random.default_rng(0)
    few = Features(rng.standard_normal((30, 64), dtype=np.float32))
    many = Features(rng.standard_normal((300, 64), dtype=np.float32))
    (value,) = FrechetDistance().compute(few, many)
    assert "singular" in value.details["warning"]
    (value,) = FrechetDistance().compute(many, many)
    assert "warning" not in value.details
    assert (value.name, value.direction) == ("FID", "lower")


def error(a, b):
    return frechet_error(a, b, Moments.of(a), Moments.of(b))


@pytest.mark.parametrize(("n", "m"), [(400, 300), (200, 2000)])
def test_the_error_is_the_spread_of_repeated_measurements(n, m):
    """Two Gaussians of 5 dimensions that differ in mean and covariance, measured 300 times: the error that one
    measurement states is, on the mean, the spread of the values to a tenth (the spread itself is known to
    ``1 / √600 = 4 %``)."""
    rng = np.random.default_rng(n)
    mix, other = rng.standard_normal((2, 5, 5))
    sets = [(rng.standard_normal((n, 5)) @ mix, rng.standard_normal((m, 5)) @ other + 1) for _ in range(300)]
    spread = np.std([distance(a, b) for a, b in sets])
    assert np.mean([error(a, b) for a, b in sets]) == pytest.approx(spread, rel=0.1)
    assert error(*sets[0]) == pytest.approx(error(*sets[0][::-1]), rel=1e-9)


def test_the_error_of_a_shift_in_one_dimension():
    """In one dimension ``T = s₂ / s₁``; here both variances are 1 exactly, so ``φ = 2 μ x`` and the error of a shift by
    μ is ``2 μ √(1/n + 1/m)``."""
    rng = np.random.default_rng(0)
    a, b = exact(rng, 400, np.zeros(1), np.eye(1)), exact(rng, 100, np.full(1, 3.0), np.eye(1))
    assert error(a, b) == pytest.approx(2 * 3 * np.sqrt(1 / 400 + 1 / 100), rel=1e-9)


def test_the_error_where_a_feature_never_varies_and_where_samples_are_too_few():
    """A feature that is constant in one set or in both adds nothing of its own; with as many samples as dimensions no
    error can be stated."""
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((200, 3)), rng.standard_normal((300, 3)) * 2
    wide_a, wide_b = np.pad(a, ((0, 0), (0, 1))), np.pad(b, ((0, 0), (0, 1)))
    assert error(wide_a, wide_b) == pytest.approx(error(a, b), rel=1e-9)
    varying = np.column_stack([b, rng.standard_normal(300)])
    assert np.isfinite(error(wide_a, varying))
    assert np.isnan(error(a[:3], b))
    (value,) = FrechetDistance().compute(Features(a[:3].astype(np.float32)), Features(b.astype(np.float32)))
    assert value.error is None
