"""Kernel distance: the definition by loops, unbiasedness, and errors that are true."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from gan.contracts import Features
from gan.errors import BadData
from gan.metrics import KernelDistance, kernel_distance, squared_mmd


def by_loops(x, y):
    """Gretton et al. 2012, eq. 3, as it is written."""

    def k(a, b):
        return (a @ b / len(a) + 1) ** 3

    n, m = len(x), len(y)
    within_x = sum(k(x[i], x[j]) for i, j in itertools.permutations(range(n), 2)) / (n * (n - 1))
    within_y = sum(k(y[i], y[j]) for i, j in itertools.permutations(range(m), 2)) / (m * (m - 1))
    return within_x + within_y - 2 * sum(k(a, b) for a in x for b in y) / (n * m)


def test_the_definition():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((9, 4)), rng.standard_normal((7, 4)) + 0.5
    assert squared_mmd(x, y)[0] == pytest.approx(by_loops(x, y), rel=1e-12)


def test_the_error_is_the_jackknife():
    """Leaving each sample out by hand gives the same variance."""
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((8, 3)), rng.standard_normal((6, 3)) + 1
    without_x = np.array([by_loops(np.delete(x, i, 0), y) for i in range(8)])
    without_y = np.array([by_loops(x, np.delete(y, i, 0)) for i in range(6)])
    expected = np.sqrt(7 * without_x.var() + 5 * without_y.var())
    assert squared_mmd(x, y)[1] == pytest.approx(expected, rel=1e-9)


def test_unbiased_around_zero_for_one_distribution():
    """The mean of 200 estimates lies within four standard errors of 0, and some estimates are negative."""
    rng = np.random.default_rng(2)
    values = [squared_mmd(rng.standard_normal((30, 5)), rng.standard_normal((30, 5)))[0] for _ in range(200)]
    assert abs(np.mean(values)) < 4 * np.std(values) / np.sqrt(len(values))
    assert min(values) < 0


@pytest.mark.parametrize("size", [100, 400])
def test_the_error_is_the_spread_of_repeated_measurements(size):
    """Whole sets (jackknife, 100 of 100) and subsets (100 of 400): the error that one measurement states is, on the
    average of 40, the deviation of the measurements, within a factor of 1.6 (the deviation of 40 is known to 11 %)."""
    rng = np.random.default_rng(3)
    found = [
        kernel_distance(
            rng.standard_normal((size, 4)), rng.standard_normal((size, 4)) + 0.4, subsets=20, subset_size=100, seed=i
        )
        for i in range(40)
    ]
    spread = np.std([value for value, _, _ in found])
    stated = np.mean([error for _, error, _ in found])
    assert spread / 1.6 < stated < 1.6 * spread


def test_subsets_agree_with_the_whole():
    rng = np.random.default_rng(4)
    x, y = rng.standard_normal((1500, 6)), rng.standard_normal((1300, 6)) * 1.2
    value, error, deviation = kernel_distance(x, y)
    assert abs(value - squared_mmd(x, y)[0]) < 4 * deviation / 10
    assert 0 < error < deviation


def test_the_metric_names_its_settings_and_direction():
    rng = np.random.default_rng(5)
    metric = KernelDistance(subsets=3, subset_size=20)
    assert metric.settings == {"subsets": 3, "subset_size": 20, "seed": 0}
    features = Features(rng.standard_normal((50, 3), dtype=np.float32))
    (value,) = metric.compute(features, features)
    assert (value.name, value.direction) == ("KID", "lower")
    assert value.error > 0
    assert metric.compute(features, features) == [value]


def test_one_sample_is_refused():
    with pytest.raises(BadData, match="at least 2"):
        squared_mmd(np.zeros((1, 2)), np.zeros((5, 2)))
