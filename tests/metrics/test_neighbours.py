"""Neighbour metrics: the reference implementation, scenes with known answers, and the memorisation check."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from gan.contracts import Features
from gan.errors import BadData
from gan.metrics import (
    DensityCoverage,
    Memorisation,
    NearestNeighbourTest,
    PrecisionRecall,
    blocks,
    neighbour_distances,
    precision_recall_density_coverage,
)
from gan.metrics.blocks import nearest, within
from scipy.spatial.distance import cdist


def features(rows):
    return Features(np.asarray(rows, dtype=np.float32))


def values(metric, generated, real):
    return {value.name: value for value in metric.compute(features(generated), features(real))}


def test_neighbours_are_those_of_scipy_for_any_block(monkeypatch):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((50, 7)) + 100, rng.standard_normal((33, 7)) + 100
    for rows in (7, 50, 1024):
        monkeypatch.setattr(blocks, "QUERIES", rows)
        monkeypatch.setattr(blocks, "BASE", rows)
        distances, indices = nearest(x, y, 4)
        np.testing.assert_allclose(distances, np.sort(cdist(x, y, "sqeuclidean"), axis=1)[:, :4], rtol=1e-12)
        np.testing.assert_array_equal(indices, cdist(x, y, "sqeuclidean").argsort(axis=1)[:, :4])
        own = np.sort(cdist(x, x, "sqeuclidean"), axis=1)[:, 1:4]
        np.testing.assert_allclose(neighbour_distances(x, 3), own, rtol=1e-12)


def test_comparisons_that_float32_cannot_decide_are_those_of_float64(monkeypatch):
    """Radii are distances themselves, or the numbers next to them: no float32 tells on which side a pair is."""
    monkeypatch.setattr(blocks, "QUERIES", 16)
    monkeypatch.setattr(blocks, "BASE", 32)
    rng = np.random.default_rng(11)
    x, y = (rng.standard_normal((n, 24)).astype(np.float32) for n in (40, 70))
    difference = (x[:, None].astype(np.float64) - y).reshape(-1, 24)
    squares = np.einsum("ij,ij->i", difference, difference).reshape(40, 70)
    for many in (0.01, 0.0):  # pairs one by one, and blocks in float64, where rounding may exceed the last bit
        monkeypatch.setattr(blocks, "MANY", many)
        for radii in (squares[7] * (1 + 1e-12), squares[7] * (1 - 1e-12)):
            found = within(x, y, query_radii=None, base_radii=radii)
            np.testing.assert_array_equal(found["balls"], (squares <= radii).sum(axis=1))
            np.testing.assert_array_equal(found["visitors"], (squares <= radii).sum(axis=0))
            assert found["balls"][7] in (0, 70)
        radii = squares[:, 5] * (1 + 1e-12)
        found = within(x, y, query_radii=radii, base_radii=None)["reached"]
        np.testing.assert_array_equal(found, (squares <= radii[:, None]).sum(axis=0))
    monkeypatch.setattr(blocks, "MANY", 1.0)
    assert within(x, y, query_radii=None, base_radii=squares[7])["balls"][7] == 70  # the border is inside


def test_doubles_are_at_distance_nought():
    rows = np.random.default_rng(1).standard_normal((40, 300)).astype(np.float32) + 5
    doubled = np.concatenate([rows, rows])
    assert (neighbour_distances(doubled, 1) == 0).all()
    assert (neighbour_distances(rows, 1) > 0).all()


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_the_reference_implementation_gives_the_same(k, shift):
    from prdc import compute_prdc

    rng = np.random.default_rng(k)
    real, generated = rng.standard_normal((300, 16)), 0.8 * rng.standard_normal((200, 16)) + shift
    with contextlib.redirect_stdout(io.StringIO()):
        expected = compute_prdc(real, generated, nearest_k=k)
    found = precision_recall_density_coverage(generated, real, k_manifold=k, k_density=k)
    for name, value in expected.items():
        assert found[name][0] == pytest.approx(value, rel=1e-9), name


def test_identical_sets_and_far_sets():
    rows = np.random.default_rng(2).standard_normal((100, 8))
    same = precision_recall_density_coverage(rows, rows)
    assert (same["precision"][0], same["recall"][0], same["coverage"][0]) == (1, 1, 1)
    far = precision_recall_density_coverage(rows + 1e3, rows)
    assert all(value == 0 for value, _ in far.values())


def test_collapse_keeps_precision_and_loses_recall():
    """Real: ten clusters; generated: one of them. Everything generated is real; a tenth of the real is generated.
    Exchanging the sets exchanges the two, which nails the direction."""
    rng = np.random.default_rng(3)
    centres = 20 * np.eye(10)
    real = np.concatenate([centre + 0.5 * rng.standard_normal((60, 10)) for centre in centres])
    collapsed = centres[0] + 0.5 * rng.standard_normal((600, 10))
    found = values(PrecisionRecall(), collapsed, real) | values(DensityCoverage(), collapsed, real)
    assert found["precision"].value > 0.8
    assert 0.08 < found["recall"].value <= 0.1
    assert 0.08 < found["coverage"].value <= 0.1
    turned = values(PrecisionRecall(), real, collapsed)
    assert turned["recall"].value == found["precision"].value
    assert turned["precision"].value == found["recall"].value


def test_one_outlier_moves_precision_and_not_density():
    """Naeem et al. 2020, figure 1(a): a lone real sample far away has a huge ball, in which everything is precise."""
    rng = np.random.default_rng(4)
    real = np.concatenate([rng.standard_normal((200, 2)), [[60.0, 0.0]]])
    generated = rng.standard_normal((200, 2)) + [30, 0]
    found = values(PrecisionRecall(), generated, real) | values(DensityCoverage(), generated, real)
    assert found["precision"].value == 1
    assert found["density"].value == pytest.approx(0.2, abs=1e-6)


def test_too_few_samples_are_refused():
    with pytest.raises(BadData, match="3 samples, more than 3"):
        precision_recall_density_coverage(np.zeros((3, 2)), np.random.default_rng(0).standard_normal((9, 2)))


@pytest.mark.parametrize("copied", [0.0, 0.5, 1.0])
def test_copies_of_training_samples_are_counted(copied):
    """A share c of the generated samples are training samples with a little noise, the rest are new. New samples
    count as copies as often as held-out real ones do (r), so the expected share is c + (1 - c) r."""
    rng = np.random.default_rng(5)
    real = rng.standard_normal((600, 12))
    generated = rng.standard_normal((400, 12))
    count = int(copied * 400)
    generated[:count] = real[rng.choice(600, count, replace=False)] + 1e-3 * rng.standard_normal((count, 12))
    found = values(Memorisation(), generated, real)
    copies = found["copies"]
    assert copies.value == pytest.approx(copied + (1 - copied) * copies.real, abs=0.08)
    z = found["nearest distance"].details["z"]
    assert (z < -3) == (copied > 0)
    assert found["nearest distance"].details["duplicates"] == 0


@pytest.mark.parametrize(("dimensions", "mutual"), [(1, 2 / 3), (2, 6 * np.pi / (8 * np.pi + 3 * np.sqrt(3)))])
def test_new_samples_are_copies_as_often_as_neighbours_are_mutual(dimensions, mutual):
    """A new sample x is called a copy of r when it is nearer to r than r's neighbours are: when x and r are each
    other's nearest. In a uniform scatter that is 2/3 on a line and 0.6215 in the plane (Clark and Evans 1955)."""
    rng = np.random.default_rng(8)
    real, fresh = rng.random((6000, dimensions)), rng.random((3000, dimensions))
    copies = values(Memorisation(), fresh, real)["copies"]
    assert copies.value == pytest.approx(mutual, abs=4 * copies.error)
    assert copies.real == pytest.approx(mutual, abs=4 * copies.error)


def test_exact_doubles_are_copies():
    rng = np.random.default_rng(6)
    real = rng.standard_normal((50, 4)).astype(np.float32)
    found = values(Memorisation(), np.repeat(real[:5], 4, axis=0), np.concatenate([real, real]))
    assert found["copies"].value == 1
    assert found["nearest distance"].details["duplicates"] == 20


def test_the_nearest_neighbour_test_tells_sets_apart():
    rng = np.random.default_rng(7)
    rows = rng.standard_normal((1000, 6))
    halves = values(NearestNeighbourTest(), rows[:500], rows[500:])["1-NNA"]
    assert abs(halves.value - 0.5) < 4 * halves.error
    apart = values(NearestNeighbourTest(), rows[:500] + 50, rows[500:])["1-NNA"]
    assert apart.value == 1
    copies = values(NearestNeighbourTest(), rows[:500] + 1e-6, rows[:500])["1-NNA"]
    assert copies.value == 0
