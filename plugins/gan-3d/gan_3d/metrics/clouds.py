"""Metrics of point clouds on surfaces: MMD, COV, 1-NNA and JSD.

Yang et al. 2019, "PointFlow", section 5.1; JSD: Achlioptas et al. 2018, "Learning representations and generative
models for 3D point clouds", section 4. Distances of all pairs are exact and computed cloud by cloud, so that 1,000
against 1,000 clouds of 2,048 points fit into some hundred MB.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from gan.contracts import MetricValue, Modality
from gan.errors import BadData
from numpy.typing import NDArray
from scipy import ndimage
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from gan_3d.surface import Mesh, surface_of
from gan_3d.voxels import Grid, occupied

if TYPE_CHECKING:
    from gan.contracts import Samples

Array = NDArray[Any]

POINTS, EMD_POINTS = 2048, 256
"""Points on a surface for the Chamfer and for the earth mover's distance."""
CELLS = 28
"""Side of the histogram of JSD."""
LARGEST = 0.9
BOUND_CELLS, BOUND_ROWS = 48, 128
"""Side of the grid for bounds of Chamfer distances, and clouds that are compared at once."""


def surface_points(mesh: Mesh, count: int, rng: np.random.Generator) -> Array:
    """`count` points ``(count, 3)`` on a mesh, uniform by area, by stratified draws of the area."""
    corners = mesh.vertices[mesh.faces]
    areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    ends = np.cumsum(areas)
    places = (np.arange(count) + rng.random(count)) / count * ends[-1]
    which = np.minimum(np.searchsorted(ends, places, side="right"), len(ends) - 1)
    u, v = rng.random((2, count))
    flip = u + v > 1
    u, v = np.where(flip, 1 - u, u)[:, None], np.where(flip, 1 - v, v)[:, None]
    a, b, c = corners[which].transpose(1, 0, 2)
    points: Array = a + u * (b - a) + v * (c - a)
    return points


def cloud(grid: Grid, count: int, *, solid: bool = True) -> Array:
    """`count` points on the surface of the largest component of a shape, centred, with a largest side of 0.9.

    The draws depend on the shape only, so that equal shapes have equal clouds. An empty shape is one point, repeated.
    """
    mesh = surface_of(grid, solid=solid)
    if not len(mesh.faces):
        return np.zeros((count, 3), np.float32)
    digest = hashlib.sha256(np.packbits(grid).tobytes()).digest()
    points = surface_points(mesh, count, np.random.default_rng(int.from_bytes(digest[:8], "little")))
    low, high = mesh.vertices.min(0), mesh.vertices.max(0)
    scaled: Array = ((points - (low + high) / 2) * (LARGEST / (high - low).max())).astype(np.float32)
    return scaled


def clouds(samples: Samples, count: int, modality: Modality) -> Array:
    """The clouds of all shapes, ``(N, count, 3)`` float32."""
    solid = modality.config.inside == "solid"
    return np.stack([cloud(grid, count, solid=solid) for grid in occupied(samples)])


# ------------------------------------------------------------------ distances


def chamfer_distances(first: Array, second: Array) -> Array:
    """Chamfer distances of all pairs, ``(N, n, 3), (M, m, 3) -> (N, M)``.

    The mean squared distance of each point to the nearest of the other cloud, in both directions. Exact, by k-d trees.
    """
    trees, others = ([cKDTree(points) for points in clouds] for clouds in (first, second))
    return np.array(
        [
            [_chamfer(first[i], trees[i], second[j], others[j], np.inf) for j in range(len(second))]
            for i in range(len(first))
        ]
    )


def _chamfer(one: Array, tree: cKDTree, other: Array, other_tree: cKDTree, limit: float) -> float:
    """The Chamfer distance, or a smaller number above `limit` if it is above it."""
    towards = float(np.square(other_tree.query(one)[0]).mean())
    if towards > limit:
        return towards
    return towards + float(np.square(tree.query(other)[0]).mean())


def earth_mover_distances(first: Array, second: Array) -> Array:
    """Earth mover's distances of all pairs, ``(N, n, 3), (M, n, 3) -> (N, M)``: the mean distance of the points in the
    best assignment, exact (the Hungarian algorithm; use few points)."""
    result = np.zeros((len(first), len(second)))
    for i, one in enumerate(first):
        for j, other in enumerate(second):
            costs = cdist(one, other)
            result[i, j] = costs[linear_sum_assignment(costs)].mean()
    return result


# ------------------------------------------------------------------ nearest clouds


@dataclass(frozen=True)
class Neighbours:
    """The nearest clouds of each cloud of two sets, the generated ones first."""

    own: Array
    """``(N + M,)`` distance to the nearest other cloud of the same set."""
    other: Array
    """``(N + M,)`` distance to the nearest cloud of the other set."""
    index: NDArray[np.int64]
    """``(N + M,)`` number of that cloud in its set."""


def neighbours_by_distance(generated: Array, real: Array, distances: Callable[[Array, Array], Array]) -> Neighbours:
    """The neighbours from the distances of all pairs."""
    cross = distances(generated, real)
    own = []
    for clouds in (generated, real):
        within = distances(clouds, clouds)
        np.fill_diagonal(within, np.inf)
        own.append(within.min(1))
    other, index = (np.concatenate([kept(cross, axis=1), kept(cross, axis=0)]) for kept in (np.min, np.argmin))
    return Neighbours(np.concatenate(own), other, index)


def chamfer_neighbours(generated: Array, real: Array) -> Neighbours:
    """The neighbours by Chamfer distance: those of `neighbours_by_distance`, with few distances computed.

    Lower bounds of all distances come from a distance transform of each cloud on a grid, corrected by how far points
    are from the centres of their cells. Candidates are then compared in the order of their bounds until a bound exceeds
    the best distance. Clouds lie within -0.5 … 0.5.
    """
    clouds = np.concatenate([generated, real])
    count, total = len(generated), len(generated) + len(real)
    bounds = _lower_bounds(clouds)
    trees = [cKDTree(points) for points in clouds]
    own, other, index = np.full(total, np.inf), np.full(total, np.inf), np.zeros(total, np.int64)
    for row in range(total):
        for begin, end in ((0, count), (count, total)):
            is_own = begin <= row < end
            best, found = np.inf, begin
            for candidate in begin + np.argsort(bounds[row, begin:end], kind="stable"):
                if candidate == row:
                    continue
                if bounds[row, candidate] > best:
                    break
                distance = _chamfer(clouds[row], trees[row], clouds[candidate], trees[candidate], best)
                if distance < best:
                    best, found = distance, candidate
            if is_own:
                own[row] = best
            else:
                other[row], index[row] = best, found - begin
    return Neighbours(own, other, index)


def _lower_bounds(clouds: Array) -> Array:
    """``(T, T)`` numbers that the Chamfer distances of all pairs are not below."""
    places = np.clip((clouds + 0.5) * BOUND_CELLS, 0, BOUND_CELLS - 1e-3)
    cells = places.astype(np.int64)
    offsets = np.linalg.norm(places - cells - 0.5, axis=2).astype(np.float32)
    flat = np.ravel_multi_index(tuple(np.moveaxis(cells, 2, 0)), (BOUND_CELLS,) * 3).astype(np.int32)
    one_way = np.zeros((len(clouds), len(clouds)), np.float32)
    for column in range(len(clouds)):
        empty = np.ones(BOUND_CELLS**3, np.bool_)
        empty[flat[column]] = False
        field = ndimage.distance_transform_edt(empty.reshape((BOUND_CELLS,) * 3)).astype(np.float32).ravel()
        slack = offsets[column].max() + 1e-3  # in cells; rounding included
        for start in range(0, len(clouds), BOUND_ROWS):
            rows = slice(start, start + BOUND_ROWS)
            nearest = np.maximum(field[flat[rows]] - offsets[rows] - slack, 0)
            one_way[rows, column] = np.square(nearest).mean(1)
    return (one_way + one_way.T) * (1 - 1e-5) / BOUND_CELLS**2


def set_metrics(found: Neighbours, count: int) -> dict[str, float]:
    """MMD, COV and 1-NNA of `count` generated and the other, real clouds.

    MMD is the mean over real shapes of the distance to the nearest generated one; COV the share of real shapes that are
    the nearest of some generated one; 1-NNA the accuracy of a classifier by the nearest other shape of both sets, in
    which a tie counts as half.
    """
    right = np.where(found.own == found.other, 0.5, found.own < found.other)
    return {
        "MMD": float(found.other[count:].mean()),
        "COV": len(np.unique(found.index[:count])) / (len(found.own) - count),
        "1-NNA": float(right.mean()),
    }


def occupancy_divergence(first: Array, second: Array) -> float:
    """Jensen-Shannon divergence, in bits, of the histograms of all points in 28³ cells of the cube: 0 … 1."""
    histograms = []
    for points in (first, second):
        cells = np.clip(((points.reshape(-1, 3) + 0.5) * CELLS).astype(int), 0, CELLS - 1)
        counts = np.bincount(np.ravel_multi_index(tuple(cells.T), (CELLS,) * 3), minlength=CELLS**3)
        histograms.append(counts / counts.sum())
    middle = sum(histograms) / 2
    total = 0.0
    for histogram in histograms:
        used = histogram > 0
        total += float((histogram[used] * np.log2(histogram[used] / middle[used])).sum()) / 2
    return total


class _CloudMetrics:
    version = "1"

    def __init__(self, neighbours: Callable[[Array, Array], Neighbours], points: int, name: str, *, jsd: bool) -> None:
        self.settings = {"points": points}
        self._neighbours, self._name, self._jsd = neighbours, name, jsd

    def compute(self, generated: Samples, real: Samples, modality: Modality) -> Sequence[MetricValue]:
        """The values of both sets, cut to the size of the smaller one, since COV and 1-NNA depend on their ratio."""
        first, second = (clouds(samples, self.settings["points"], modality) for samples in (generated, real))
        count = min(len(first), len(second))
        if count < 2:
            raise BadData(f"{count} shapes, at least 2 are needed")
        first, second = first[:count], second[:count]
        found = set_metrics(self._neighbours(first, second), count)
        details = {"count": count}
        values = [
            MetricValue(f"MMD-{self._name}", found["MMD"], direction="lower", details=details),
            MetricValue(f"COV-{self._name}", found["COV"], direction="higher", details=details),
            MetricValue(f"1-NNA-{self._name}", found["1-NNA"], 0.5, direction="real", details=details),
        ]
        if self._jsd:
            values.append(MetricValue("JSD", occupancy_divergence(first, second), direction="lower", details=details))
        return values


class ChamferMetrics(_CloudMetrics):
    """MMD, COV and 1-NNA on the Chamfer distance of 2,048 points, and JSD."""

    def __init__(self) -> None:
        super().__init__(chamfer_neighbours, POINTS, "CD", jsd=True)


class EarthMoverMetrics(_CloudMetrics):
    """MMD, COV and 1-NNA on the earth mover's distance of 256 points."""

    def __init__(self) -> None:
        super().__init__(partial(neighbours_by_distance, distances=earth_mover_distances), EMD_POINTS, "EMD", jsd=False)
