"""Diversity: closed forms, and the order of collapsed, real and repeated sets."""

from __future__ import annotations

import numpy as np
import pytest
from gan.contracts import Features
from gan.errors import BadData
from gan.metrics import Diversity, mean_distance, vendi_score


def test_mean_distance_of_two_points_and_of_a_gaussian():
    """Two different points: their distance. N(0, I₃): the difference of two has deviation √2 an axis, and its length
    is √2 times a χ₃ variable with mean √(8/π): 4 / √π = 2.2568."""
    assert mean_distance(np.array([[0.0, 0.0], [3.0, 4.0]]))[0] == pytest.approx(5)
    rows = np.random.default_rng(0).standard_normal((2000, 3))
    value, error = mean_distance(rows)
    assert abs(value - 4 / np.sqrt(np.pi)) < 4 * error
    assert error < 0.1


def test_vendi_score_counts_what_differs():
    """n orthogonal rows: n. n copies of one: 1. Two groups of copies at a right angle: exp(H(p, 1 - p))."""
    assert vendi_score(np.eye(6)) == pytest.approx(6)
    assert vendi_score(np.ones((50, 3))) == pytest.approx(1)
    groups = np.repeat(np.eye(2), [30, 10], axis=0)
    assert vendi_score(groups) == pytest.approx(np.exp(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25))))
    tall = np.random.default_rng(1).standard_normal((40, 6))
    k = tall / np.linalg.norm(tall, axis=1, keepdims=True)
    p = np.linalg.eigvalsh(k @ k.T / 40)
    p = p[p > 1e-12]
    assert vendi_score(tall) == pytest.approx(np.exp(-(p * np.log(p)).sum()))


def test_a_collapsed_set_has_less_of_each():
    rng = np.random.default_rng(2)
    real = rng.standard_normal((300, 10)).astype(np.float32)
    collapsed = np.repeat(real[:3], 100, axis=0)
    found = {value.name: value for value in Diversity().compute(Features(collapsed), Features(real))}
    assert all(value.value < value.real for value in found.values())
    assert found["distinct"].value == 0
    assert found["distinct"].real == 1
    assert found["Vendi score"].value < 3.1


def test_the_larger_set_is_cut():
    rng = np.random.default_rng(3)
    rows = Features(rng.standard_normal((400, 50)).astype(np.float32))
    few = Features(rows.vectors[:40])
    vendi = next(value for value in Diversity().compute(few, rows) if value.name == "Vendi score")
    assert vendi.real == vendi.value


def test_one_sample_is_refused():
    with pytest.raises(BadData, match="at least 2"):
        mean_distance(np.zeros((1, 3)))
