"""Inception Score: its bounds, the formula, and data sorted by class."""

from __future__ import annotations

import numpy as np
import pytest
from gan.contracts import Features
from gan.errors import BadData
from gan.metrics import InceptionScore, inception_score


def test_bounds():
    """Uniform opinions: 1. Sure and balanced opinions on C classes: C. Sure and all alike: 1."""
    uniform = np.full((100, 5), 0.2)
    assert inception_score(uniform)[0] == pytest.approx(1, rel=1e-12)
    balanced = np.tile(np.eye(5), (20, 1))
    assert inception_score(balanced, splits=2, seed=None)[0] == pytest.approx(5, rel=1e-12)
    assert inception_score(np.tile(np.eye(5)[0], (100, 1)))[0] == pytest.approx(1, rel=1e-12)


def test_the_formula():
    """exp(H(mean p) - mean H(p)) is the same number by entropies."""
    p = np.random.default_rng(0).dirichlet(np.ones(7), 400)

    def entropy(q):
        return -(q * np.log(q)).sum(-1)

    expected = np.exp(entropy(p.mean(0)) - entropy(p).mean())
    assert inception_score(p, splits=1)[0] == pytest.approx(expected, rel=1e-12)


def test_data_sorted_by_class_is_shuffled():
    """Ten splits of sorted one-hot rows hold one class each and would score 1; shuffled they score near 10."""
    rows = np.repeat(np.eye(10), 200, axis=0)
    assert inception_score(rows, seed=None)[0] == pytest.approx(1)
    assert inception_score(rows)[0] > 9.5


def test_the_metric_gives_the_real_value_too_and_needs_a_classifier():
    p = np.random.default_rng(1).dirichlet(np.ones(4), 100)
    sure = np.tile(np.eye(4), (25, 1))
    vectors = np.zeros((100, 2), np.float32)
    (value,) = InceptionScore().compute(Features(vectors, p), Features(vectors, sure))
    assert value.value < value.real <= 4
    with pytest.raises(BadData, match="needs class probabilities"):
        InceptionScore().compute(Features(vectors), Features(vectors, sure))
    with pytest.raises(BadData, match="cannot be split"):
        inception_score(p[:5])
