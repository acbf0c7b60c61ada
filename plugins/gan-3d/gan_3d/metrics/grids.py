"""Metrics of grids: overlap with the nearest real shape, and statistics of single shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from gan.contracts import MetricValue, Modality
from numpy.typing import NDArray

from gan_3d.surface import surface_of
from gan_3d.voxels import largest_component, occupied

if TYPE_CHECKING:
    from gan.contracts import Samples

COPY = 0.98
"""IoU from which a shape counts as a copy of a real one."""
AT_ONCE = 256


def nearest_overlap(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> NDArray[Any]:
    """The largest intersection over union of each grid of `first` with one of `second`: ``(N, …), (M, …) -> (N,)``.

    Two empty grids have 0.
    """
    one, other = (grids.reshape(len(grids), -1) for grids in (first, second))
    size, other_size = one.sum(1, dtype=np.float32), other.sum(1, dtype=np.float32)
    best = np.zeros(len(one), np.float32)
    for start in range(0, len(other), AT_ONCE):
        block = other[start : start + AT_ONCE].astype(np.float32)
        for row in range(0, len(one), AT_ONCE):
            rows = slice(row, row + AT_ONCE)
            common = one[rows].astype(np.float32) @ block.T
            union = size[rows, None] + other_size[None, start : start + AT_ONCE] - common
            best[rows] = np.maximum(best[rows], (common / np.maximum(union, 1)).max(1))
    return best


class NearestIoU:
    """Overlap of each generated shape with the most similar real one, to detect copies of the training data.

    A low mean is a sign of shapes unlike the data, and a large share above 0.98 of memorisation. Small grids of simple
    shapes coincide often: compare with the value of other real shapes.
    """

    version = "1"
    settings = {"copy": COPY}

    def compute(self, generated: Samples, real: Samples, modality: Modality) -> Sequence[MetricValue]:
        """The mean, and the share of shapes above 0.98."""
        best = nearest_overlap(occupied(generated), occupied(real))
        return [
            MetricValue("nearest IoU", float(best.mean()), direction="higher"),
            MetricValue("copies", float((best > COPY).mean()), direction="lower"),
        ]


class ShapeStatistics:
    """Statistics of single shapes beside those of the data.

    The occupied share is that of the cube; a shape is connected if all of its voxels are joined through faces; it is
    watertight if the mesh that is written (of the largest component) is closed and has a positive volume.
    """

    version = "1"

    def compute(self, generated: Samples, real: Samples, modality: Modality) -> Sequence[MetricValue]:
        """Five values, each with that of the real shapes."""
        solid = modality.config.inside == "solid"
        own, theirs = (_statistics(occupied(samples), solid) for samples in (generated, real))
        return [MetricValue(name, own[name], theirs[name]) for name in own]


def _statistics(grids: NDArray[np.bool_], solid: bool) -> dict[str, float]:
    largest = [largest_component(grid) for grid in grids]
    share = grids.mean((1, 2, 3))
    kept = np.array([part.sum() / max(grid.sum(), 1) for part, grid in zip(largest, grids, strict=True)])
    meshes = [surface_of(part, solid=solid) for part in largest]
    return {
        "occupied": float(share.mean()),
        "occupied (deviation)": float(share.std()),
        "largest component": float(kept.mean()),
        "connected": float((kept == 1).mean()),
        "watertight": float(np.mean([mesh.closed and mesh.volume > 0 for mesh in meshes])),
    }
