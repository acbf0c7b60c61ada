"""Metrics: distances against plain definitions, ideal and broken sets, memory of the exact distances."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from gan.errors import BadData
from gan_3d.data.furniture import KINDS, shape
from gan_3d.metrics.clouds import (
    ChamferMetrics,
    EarthMoverMetrics,
    chamfer_distances,
    chamfer_neighbours,
    cloud,
    earth_mover_distances,
    neighbours_by_distance,
    occupancy_divergence,
    set_metrics,
    surface_points,
)
from gan_3d.metrics.grids import NearestIoU, ShapeStatistics, nearest_overlap
from gan_3d.metrics.views import EdgeHistograms, compared
from gan_3d.modality import Shape, ShapeConfig, normalised
from gan_3d.surface import surface_of
from gan_3d.views import DISTANCE, HALF, photograph
from gan_3d.voxels import filled, shell
from gan_3d.writing.picture import camera

MODALITY = Shape(ShapeConfig(resolution=16))


def furniture(kind: str, seeds: range) -> np.ndarray:
    grids = []
    for seed in seeds:
        vertices, faces = shape(kind, seed)
        grids.append(filled(shell(normalised(vertices[faces], kind), 16)))
    return np.stack(grids)


@pytest.fixture(scope="module")
def tables() -> np.ndarray:
    return furniture("table", range(12))


@pytest.fixture(scope="module")
def lamps() -> np.ndarray:
    return furniture("lamp", range(12))


def test_chamfer_and_earth_mover_are_their_definitions():
    rng = np.random.default_rng(0)
    first, second = rng.random((3, 7, 3)), rng.random((4, 7, 3))
    found = chamfer_distances(first, second)
    for i, j in itertools.product(range(3), range(4)):
        pairs = np.linalg.norm(first[i][:, None] - second[j][None], axis=2)
        assert np.isclose(found[i, j], (pairs**2).min(1).mean() + (pairs**2).min(0).mean())
    small = rng.random((2, 5, 3))
    pairs = np.linalg.norm(small[0][:, None] - small[1][None], axis=2)
    wanted = min(pairs[range(5), order].mean() for order in map(list, itertools.permutations(range(5))))
    assert np.isclose(earth_mover_distances(small[:1], small[1:])[0, 0], wanted)
    for distances in (chamfer_distances, earth_mover_distances):
        own = distances(first, first)
        assert np.allclose(own, own.T)
        assert np.allclose(np.diag(own), 0)
        assert np.allclose(own, distances(first, first.copy()))


def test_points_are_uniform_on_the_surface():
    grid = np.zeros((16, 16, 16), bool)
    grid[2:14, 2:14, 2:14] = True
    mesh = surface_of(grid)
    points = surface_points(mesh, 3000, np.random.default_rng(0))
    assert np.abs(np.abs(points).max(1) - 0.375).max() < 0.03
    for axis in range(3):
        share = (points[:, axis] > 0.36).mean()
        assert abs(share - 1 / 6) < 0.02
    assert (cloud(grid, 100) == cloud(grid.copy(), 100)).all()
    assert np.abs(cloud(grid, 2000)).max() <= 0.4501
    assert not cloud(np.zeros_like(grid), 10).any()


def test_set_metrics_of_points_on_a_line():
    """Real at 0, 1, 2, 3; generated at 0, 0.1, 0.2, 0.3: one mode is covered."""
    real, generated = np.arange(4.0), np.arange(4) / 10
    by_distance = neighbours_by_distance(generated, real, lambda a, b: np.abs(a[:, None] - b[None]))
    found = set_metrics(by_distance, 4)
    assert found["COV"] == 0.25
    assert np.isclose(found["MMD"], (0 + 0.7 + 1.7 + 2.7) / 4)
    assert np.isclose(found["1-NNA"], 4.5 / 8)  # generated 0, real 0 and 1 are wrong, generated 0.1 is a tie


def test_pruned_neighbours_are_those_of_all_distances(tables, lamps):
    mixed = np.stack([cloud(grid, 200) for grid in np.concatenate([tables[:8], lamps[:8]])])
    other = np.stack([cloud(grid, 200) for grid in np.concatenate([tables[8:], lamps[8:], tables[:2]])])
    fast, plain = chamfer_neighbours(mixed, other), neighbours_by_distance(mixed, other, chamfer_distances)
    assert np.allclose(fast.own, plain.own)
    assert np.allclose(fast.other, plain.other)
    assert (fast.index == plain.index).mean() > 0.9  # equal tables may tie


def test_equal_sets_are_ideal_and_other_kinds_are_told_apart(tables, lamps):
    same = {v.name: v for v in ChamferMetrics().compute({"voxels": tables}, {"voxels": tables}, MODALITY)}
    assert same["MMD-CD"].value == 0
    assert same["COV-CD"].value > 0.9  # two tables are the same voxels
    assert same["JSD"].value < 1e-9
    far = {v.name: v for v in ChamferMetrics().compute({"voxels": lamps}, {"voxels": tables}, MODALITY)}
    assert far["1-NNA-CD"].value == 1
    assert far["JSD"].value > 0.3
    assert far["MMD-CD"].value > 0.01
    others = {"voxels": furniture("table", range(100, 112))}
    close = {v.name: v for v in ChamferMetrics().compute(others, {"voxels": tables}, MODALITY)}
    assert close["1-NNA-CD"].value < 0.85
    with pytest.raises(BadData, match="at least 2"):
        ChamferMetrics().compute({"voxels": tables[:1]}, {"voxels": tables}, MODALITY)


def test_earth_mover_metrics(tables, lamps):
    found = {
        v.name: v.value for v in EarthMoverMetrics().compute({"voxels": lamps[:3]}, {"voxels": tables[:3]}, MODALITY)
    }
    assert found["1-NNA-EMD"] > 0.8
    assert found["MMD-EMD"] > 0.1


def test_divergence_is_a_bit_for_separate_clouds():
    assert occupancy_divergence(np.full((4, 3), -0.4), np.full((9, 3), 0.4)) == pytest.approx(1)


def test_overlap_with_the_nearest():
    rng = np.random.default_rng(0)
    first, second = rng.random((5, 4, 4, 4)) < 0.5, rng.random((300, 4, 4, 4)) < 0.5
    found = nearest_overlap(first, second)
    for grid, value in zip(first, found, strict=True):
        wanted = max((grid & other).sum() / (grid | other).sum() for other in second)
        assert np.isclose(value, wanted)
    assert nearest_overlap(np.zeros((1, 4, 4, 4), bool), np.zeros((1, 4, 4, 4), bool))[0] == 0


def test_copies_are_noticed(tables, lamps):
    mixed = {"voxels": np.concatenate([tables[:6], lamps[:6]])}
    values = {v.name: v.value for v in NearestIoU().compute(mixed, {"voxels": tables}, MODALITY)}
    assert values["copies"] == 0.5
    assert 0.5 < values["nearest IoU"] < 0.9


def test_statistics_of_single_shapes(tables):
    broken = tables.copy()
    broken[0] = False
    broken[1] = False
    broken[1, 0, 0, 0] = broken[1, 8:12, 8:12, 8:12] = True
    values = {v.name: v for v in ShapeStatistics().compute({"voxels": broken}, {"voxels": tables}, MODALITY)}
    assert values["watertight"].value == pytest.approx(11 / 12)
    assert values["connected"].value == pytest.approx(10 / 12)
    assert values["occupied"].real == pytest.approx(tables.mean())
    assert values["watertight"].real == values["connected"].real == 1


def test_all_kinds_have_points():
    for kind in KINDS:
        assert cloud(furniture(kind, range(1))[0], 64).shape == (64, 3)


def test_views_of_one_ball_agree_and_those_of_two_do_not():
    """Depths of a ball of radius 0.3 by the formula of a ray and a sphere. The error of true depths is that of pixels;
    a ball that is nearer or farther in the second view, or of another colour there, is noticed."""
    side, radius = 32, 0.3

    def view(azimuth, shift=0.0, shade=100):
        axes = camera(np.radians(azimuth), np.radians(20.0))
        line = ((np.arange(side) + 0.5) / side * 2 - 1) * HALF
        down, across = np.meshgrid(line, line, indexing="ij")
        rays = np.stack([across, -down, -np.ones_like(down)], -1)
        rays /= np.linalg.norm(rays, axis=2, keepdims=True)
        along = -rays[..., 2] * DISTANCE
        inner = radius**2 - DISTANCE**2 + along**2
        depth = np.where(inner > 0, along - np.sqrt(np.maximum(inner, 0)), DISTANCE) - shift
        picture = np.full((3, 2 * side, 2 * side), shade, np.uint8)
        found = {"axes": axes, "depth": depth, "opacity": (inner > 0).astype(float), "picture": picture}
        return {name: values[None] for name, values in found.items()}

    true = compared(view(10), view(30))
    assert true["reprojection error"] < 0.02
    assert true["agreement"] > 0.75  # the rest is behind the horizon of the other view
    assert true["colour difference"] == 0
    assert compared(view(10), view(30, 0.05, 130))["colour difference"] == 30
    assert compared(view(10), view(30, -0.2))["reprojection error"] > 0.15
    assert compared(view(10), view(30, -0.2))["agreement"] < 0.1


def test_histograms_of_edges_tell_directions_and_are_the_same_of_a_shape_and_its_pictures():
    extractor, modality = EdgeHistograms(), Shape(ShapeConfig(resolution=8))
    stripes = np.zeros((2, 3, 16, 16), np.uint8)
    stripes[0, :, ::4] = 255
    stripes[1, :, :, ::4] = 255
    across, along = extractor({"picture": stripes}, modality).vectors
    assert across.shape == (16 * 8 + 16,)
    assert np.abs(across[:128] - along[:128]).max() > 0.3
    grid = np.zeros((1, 8, 8, 8), bool)
    grid[0, 2:6, 3:5, 1:7] = True
    features = extractor({"voxels": grid}, modality).vectors
    seen = np.stack([photograph(modality.mesh({"voxels": grid[0]}), 32, turn, 20.0) for turn in (30.0, 120.0)])
    assert np.array_equal(features[0], extractor({"picture": seen}, modality).vectors.ravel())
