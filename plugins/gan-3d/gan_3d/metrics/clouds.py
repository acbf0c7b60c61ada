"""Metrics of point clouds on surfaces: MMD, COV, 1-NNA and JSD.

Yang et al. 2019, "PointFlow", section 5.1; JSD: Achlioptas et al. 2018, "Learning representations and generative
models for 3D point clouds", section 4. Distances of all pairs are exact and computed cloud by cloud, so that 1,000
against 1,000 clouds of 2,048 points fit into some hundred MB.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from gan.contracts import MetricValue, Modality
from gan.errors import BadData
from numpy.typing import NDArray

from gan_3d.surface import Mesh, surface_of
from gan_3d.voxels import Grid

if TYPE_CHECKING:
    from gan.contracts import Samples

Array = NDArray[Any]

POINTS, EMD_POINTS = 2048, 256
"""Points on a surface for the Chamfer and for the earth mover's distance."""
CELLS = 28
"""Side of the histogram of JSD."""
LARGEST = 0.9


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
    if "voxels" not in samples:
        raise BadData(f"the samples hold no shapes (fields: {', '.join(samples)})")
    solid = modality.config.inside == "solid"
    return np.stack([cloud(grid, count, solid=solid) for grid in samples["voxels"]])


# ------------------------------------------------------------------ distances of all pairs


def chamfer_distances(first: Array, second: Array) -> Array:
    """Chamfer distances of all pairs, ``(N, n, 3), (M, m, 3) -> (N, M)``.

    The mean squared distance of each point to the nearest of the other cloud, in both directions.

    Exact, by k-d trees: one per cloud, so that memory grows with the clouds and not with their pairs.
    """
    from scipy.spatial import cKDTree

    same = first is second
    trees = [cKDTree(points) for points in first]
    others = trees if same else [cKDTree(points) for points in second]
    result = np.zeros((len(first), len(second)))
    for i, tree in enumerate(trees):
        begin = i + 1 if same else 0
        if begin == len(second):
            break
        towards = np.square(tree.query(second[begin:].reshape(-1, 3))[0]).reshape(-1, second.shape[1]).mean(1)
        back = np.array([np.square(other.query(first[i])[0]).mean() for other in others[begin:]])
        result[i, begin:] = towards + back
        if same:
            result[begin:, i] = result[i, begin:]
    return result


def earth_mover_distances(first: Array, second: Array) -> Array:
    """Earth mover's distances of all pairs, ``(N, n, 3), (M, n, 3) -> (N, M)``: the mean distance of the points in the
    best assignment, exact (the Hungarian algorithm; use few points)."""
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    same = first is second
    result = np.zeros((len(first), len(second)))
    for i, one in enumerate(first):
        for j in range(i + 1 if same else 0, len(second)):
            costs = cdist(one, second[j])
            result[i, j] = costs[linear_sum_assignment(costs)].mean()
            if same:
                result[j, i] = result[i, j]
    return result


def set_metrics(generated: Array, real: Array, cross: Array) -> dict[str, float]:
    """MMD, COV and 1-NNA from the distances within the generated ``(N, N)`` and the real set ``(M, M)`` and between
    them ``(N, M)``.

    MMD is the mean over real shapes of the distance to the nearest generated one; COV the share of real shapes that are
    the nearest of some generated one; 1-NNA the accuracy of a classifier by the nearest other shape of both sets.
    """
    count = len(generated)
    whole = np.block([[generated, cross], [cross.T, real]])
    np.fill_diagonal(whole, np.inf)
    is_generated = np.arange(len(whole)) < count
    accuracy = (is_generated[whole.argmin(1)] == is_generated).mean()
    return {
        "MMD": float(cross.min(0).mean()),
        "COV": len(np.unique(cross.argmin(1))) / cross.shape[1],
        "1-NNA": float(accuracy),
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

    def __init__(self, distances: Callable[[Array, Array], Array], points: int, name: str, *, jsd: bool) -> None:
        self.settings = {"points": points}
        self._distances, self._name, self._jsd = distances, name, jsd

    def compute(self, generated: Samples, real: Samples, modality: Modality) -> Sequence[MetricValue]:
        """The values of both sets, cut to the size of the smaller one, since COV and 1-NNA depend on their ratio."""
        first, second = (clouds(samples, self.settings["points"], modality) for samples in (generated, real))
        count = min(len(first), len(second))
        if count < 2:
            raise BadData(f"{count} shapes, at least 2 are needed")
        first, second = first[:count], second[:count]
        cross = self._distances(first, second)
        found = set_metrics(self._distances(first, first), self._distances(second, second), cross)
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
        super().__init__(chamfer_distances, POINTS, "CD", jsd=True)


class EarthMoverMetrics(_CloudMetrics):
    """MMD, COV and 1-NNA on the earth mover's distance of 256 points."""

    def __init__(self) -> None:
        super().__init__(earth_mover_distances, EMD_POINTS, "EMD", jsd=False)
