"""Signals of samples and weights, against values that are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gan.testing.points import SIGMA, ring_centres
from gan.watch.signals import Reference, features_of, spectral_norms


def ring(count, modes=8, seed=0):
    rng = np.random.default_rng(seed)
    return (ring_centres()[rng.integers(modes, size=count)] + SIGMA * rng.standard_normal((count, 2))).astype("float32")


@pytest.fixture(scope="module")
def reference():
    return Reference(ring(128, seed=1), ring(128, seed=2))


def test_real_samples_look_real(reference):
    """Another draw: pairs as far from each other, all modes hit, no more duplicates, and tight clusters."""
    signals, histogram = reference.signals(ring(128, seed=3), None)
    assert signals["diversity"] == pytest.approx(1.0, abs=0.1)
    assert signals["coverage"] >= 0.9
    assert signals["duplicates"] < 0.1
    assert signals["looseness"] < 0.05
    assert "drift" not in signals
    assert sum(histogram) == pytest.approx(1.0)


def test_one_mode_and_one_point_are_seen(reference):
    """A mode of 8 covers an eighth of the bins at most but for those inside it; a point has no diversity at all, and
    every sample of it is a duplicate."""
    mode, before = reference.signals(ring(128, modes=1, seed=4), None)
    assert mode["diversity"] < 0.05
    assert mode["coverage"] < 0.4
    point, _ = reference.signals(np.repeat(ring(1), 128, axis=0), before)
    assert point["diversity"] == pytest.approx(0.0, abs=1e-6)
    assert point["duplicates"] > 0.9


def test_drift_is_the_total_variation_from_the_window_before(reference):
    """All mass on other modes: 1. The same samples: 0."""
    first, second = ring(128, modes=4, seed=5), -ring(128, modes=4, seed=5)
    _, histogram = reference.signals(first, None)
    assert reference.signals(first, histogram)[0]["drift"] == 0
    assert reference.signals(second, histogram)[0]["drift"] == pytest.approx(1.0)


def test_spectral_norms_are_the_largest_singular_values():
    """Three power iterations find the largest singular value of a matrix with a gap, and the largest over a player."""
    torch.manual_seed(0)
    u, _ = torch.linalg.qr(torch.randn(8, 8))
    v, _ = torch.linalg.qr(torch.randn(6, 6))
    matrix = u[:, :6] @ torch.diag(torch.tensor([5.0, 0.5, 0.4, 0.3, 0.2, 0.1])) @ v.T
    found = spectral_norms({"g": [torch.zeros(3), 0.1 * torch.ones(2, 2), matrix.reshape(8, 3, 2)]})
    assert found["g/spectral"] == pytest.approx(5.0, rel=1e-3)


def test_given_fields_are_no_work_of_the_generator():
    """Two fields of which one is given: the features see the other alone differ."""
    samples = {"a": np.arange(6.0).reshape(3, 2), "b": np.arange(3.0).reshape(3, 1)}

    class Both:
        def __init__(self, samples):
            self.vectors = np.concatenate([samples["a"], samples["b"]], 1)

    rows = features_of(Both, samples, ("a",))
    assert (rows[:, :2] == 0).all()
    assert rows[:, 2].tolist() == [0, 1, 2]
