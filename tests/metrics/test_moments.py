"""Streaming moments equal those of the whole, however the rows arrive, in memory that does not grow with them."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from gan.errors import BadData
from gan.metrics import Moments
from hypothesis import given, settings
from hypothesis import strategies as st


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 700), min_size=1, max_size=8), st.integers(0, 2**32 - 1))
def test_any_batches_give_numpys_moments(sizes, seed):
    n = sum(sizes) + 1
    rows = np.random.default_rng(seed).normal(3, 2, (n, 5)).astype(np.float32)
    parts = np.split(rows, np.cumsum(sizes))
    moments = Moments.of(iter(parts))
    assert moments.count == n
    np.testing.assert_allclose(moments.mean, rows.mean(axis=0, dtype=np.float64), rtol=1e-12)
    np.testing.assert_allclose(moments.covariance, np.cov(rows.T.astype(np.float64)), rtol=1e-10, atol=1e-12)


def test_a_large_mean_does_not_cost_the_variance():
    """Rows around 10⁸ with deviation 1: sums of squares near 10¹⁶ would leave no digit of the variance."""
    rows = np.random.default_rng(0).normal(0, 1, (5000, 3))
    shifted = Moments.of(rows + 1e8)
    np.testing.assert_allclose(shifted.covariance, np.cov((rows + 1e8).T), rtol=1e-9)


def test_reading_the_moments_on_the_way_changes_nothing():
    rows = np.random.default_rng(1).normal(size=(3000, 4))
    asked = Moments(4)
    for part in np.array_split(rows, 7):
        asked.update(part)
        _ = asked.mean, (asked.covariance if asked.count > 1 else None)
    np.testing.assert_allclose(asked.covariance, Moments.of(rows).covariance, rtol=1e-12)


def test_the_callers_rows_are_left_alone():
    rows = np.random.default_rng(2).normal(size=(2000, 4))
    kept = rows.copy()
    _ = Moments.of(rows).covariance
    assert (rows == kept).all()


def peak_bytes(batches: int) -> int:
    rng = np.random.default_rng(0)
    tracemalloc.start()
    _ = Moments.of(rng.standard_normal((1000, 200), dtype=np.float32) for _ in range(batches)).covariance
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_memory_does_not_grow_with_the_rows():
    assert peak_bytes(40) < 1.2 * peak_bytes(4)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_feature_that_is_not_finite_is_named(bad):
    rows = np.zeros((3, 2))
    rows[2, 1] = bad
    with pytest.raises(BadData, match="sample 2"):
        Moments.of([np.zeros((0, 2)), rows])


def test_too_few_samples_are_refused():
    with pytest.raises(BadData, match="empty"):
        Moments.of(iter([]))
    with pytest.raises(BadData, match="1 samples"):
        _ = Moments.of(np.zeros((1, 2))).covariance
    with pytest.raises(ValueError, match="wanted"):
        Moments(3).update(np.zeros((4, 2)))
