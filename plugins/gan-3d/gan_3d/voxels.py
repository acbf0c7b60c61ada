"""Grids of voxels: triangles become occupied voxels, insides are filled, components are separated.

A grid is a boolean array ``(x, y, z)`` of equal sides over the cube -0.5 … 0.5; z points up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gan.errors import BadData
from numpy.typing import NDArray
from scipy import ndimage

Grid = NDArray[np.bool_]
Array = NDArray[Any]

MAX_POINTS = 100_000_000
"""Maximum number of points that are sampled on the triangles of one mesh: some seconds of CPU time."""
POINTS_AT_ONCE = 1_000_000
SPACING = 0.3
"""Largest distance of neighbouring points, in voxels."""
DENSITY_LEVEL = 10.0
"""Density from which a place of a volume counts as occupied, as in the release of EG3D (Chan et al. 2022)."""


def shell(triangles: Array, side: int, painted: Array | None = None) -> Array:
    """The voxels that the surface passes through: triangles ``(F, 3, 3)`` in -0.5 … 0.5 -> ``(side, side, side)`` bool,
    or the largest of the numbers `painted` ``(F,)`` of the triangles in each voxel.

    Each triangle is sampled on a lattice whose spacing is at most `SPACING` voxels along its longest edge and across
    it, and its other two edges likewise. Triangles outside of the cube are cut off. Raises `BadData` for surfaces of
    more than `MAX_POINTS` points.
    """
    corners = (triangles + 0.5) * side
    lengths = np.linalg.norm(np.roll(corners, -1, axis=1) - corners, axis=2)
    first = lengths.argmax(axis=1)
    rows = np.arange(len(corners))
    a, b, apex = (corners[rows, (first + step) % 3] for step in range(3))
    base = lengths[rows, first]
    height = np.linalg.norm(np.cross(b - a, apex - a), axis=1) / np.maximum(base, 1e-12)
    along = np.ceil(base / SPACING).astype(np.int64) + 1
    across = np.ceil(height / SPACING).astype(np.int64) + 1
    needed = int((along * (across + 2)).sum())
    if needed > MAX_POINTS:
        raise BadData(
            f"its surface needs {needed:,} points at a resolution of {side}, more than the limit of {MAX_POINTS:,}"
        )
    marks = np.ones(len(corners), np.bool_) if painted is None else painted
    grid = np.zeros((side, side, side), marks.dtype)
    one = np.ones_like(along)
    _mark(grid, marks, a, b, apex, along, across)
    _mark(grid, marks, a, apex, apex, along, one)
    _mark(grid, marks, b, apex, apex, along, one)
    return grid


def _mark(
    grid: Array, marks: Array, a: Array, b: Array, apex: Array, along: NDArray[np.int64], across: NDArray[np.int64]
) -> None:
    """Mark the voxels of ``along · across`` points on each triangle with its mark, some triangles at a time."""
    side = len(grid)
    counts = along * across
    ends = np.cumsum(counts)
    start = 0
    while start < len(counts):
        done = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + POINTS_AT_ONCE, side="right")))
        part = slice(start, stop)
        which = np.repeat(np.arange(start, stop), counts[part])
        place = np.arange(len(which)) - np.repeat(ends[part] - counts[part] - done, counts[part])
        s = (place % along[which] / np.maximum(along[which] - 1, 1))[:, None]
        t = (place // along[which] / np.maximum(across[which] - 1, 1))[:, None]
        points = (1 - t) * ((1 - s) * a[which] + s * b[which]) + t * apex[which]
        cells = np.floor(points).astype(np.int64)
        inside = ((cells >= 0) & (cells < side)).all(axis=1)
        places = tuple(cells[inside].T)
        if grid.dtype == np.bool_:
            grid[places] = True
        else:
            np.maximum.at(grid, places, marks[which[inside]])
        start = stop


def filled(grid: Grid) -> Grid:
    """The grid with its cavities: everything that a flood fill from outside through faces of voxels does not reach."""
    empty = np.pad(~grid, 1, constant_values=True)
    regions, _ = ndimage.label(empty)
    inner: Grid = (regions != regions[0, 0, 0])[1:-1, 1:-1, 1:-1]
    return inner


def largest_component(grid: Grid) -> Grid:
    """The largest set of voxels that are connected through faces; of equal ones, the first in the order of memory."""
    regions, count = ndimage.label(grid)
    if count <= 1:
        return grid
    largest: Grid = regions == 1 + np.bincount(regions.ravel())[1:].argmax()
    return largest


def component_count(grid: Grid) -> int:
    """Number of sets of voxels that are connected through faces."""
    return int(ndimage.label(grid)[1])


def surface_voxels(grid: Grid) -> Grid:
    """The occupied voxels with an empty neighbour at a face."""
    outer: Grid = grid & ~ndimage.binary_erosion(grid)
    return outer


def distances(grid: Grid, times: int = 1) -> NDArray[np.float32]:
    """The signed distance from the surface of a grid's occupied voxels, negative inside; the cube is -1 … 1.

    Exact between the centres of voxels (Euclidean distance transform), half a voxel nearer than the nearest voxel of
    the other kind. Blocks of ``times³`` voxels are averaged: ``(S, S, S)`` -> ``(S / times, …)``.
    """
    if not grid.any():
        raise BadData("has no occupied voxel")
    outside = ndimage.distance_transform_edt(~grid)
    inside = np.zeros_like(outside)
    block = _block(grid)  # what is outside of it is empty, or beyond the border of the grid, which is not
    around = tuple(slice(max(0, part.start - 1), part.stop + 1) for part in block)
    inside[around] = ndimage.distance_transform_edt(grid[around])
    signed = np.where(grid, 0.5 - inside, outside - 0.5) * (2 / len(grid))
    side = len(grid) // times
    blocks = signed.reshape(side, times, side, times, side, times)
    return np.asarray(blocks.mean((1, 3, 5)), np.float32)


def occupied(samples: Mapping[str, Any]) -> Grid:
    """The occupied voxels of samples, or of one sample, in any form. Raises `BadData` for other kinds of samples."""
    if "distance" in samples:
        return np.asarray(samples["distance"] < 0)
    if "density" in samples:
        return np.asarray(samples["density"] > DENSITY_LEVEL)
    if "voxels" not in samples:
        raise BadData(f"the samples hold no shapes (fields: {', '.join(samples)})")
    return np.asarray(samples["voxels"], np.bool_)


def cropped(grid: Array, occupied: Grid) -> Array:
    """The smallest block of `grid` that contains all `occupied` voxels. Raises `BadData` if there are none."""
    if not occupied.any():
        raise BadData("has no occupied voxel")
    return grid[_block(occupied)]


def _block(grid: Grid) -> tuple[slice, slice, slice]:
    """The smallest block that contains all occupied voxels, of which there is one at least."""
    ends = []
    for axis in range(3):
        places = np.flatnonzero(grid.any(axis=tuple(other for other in range(3) if other != axis)))
        ends.append(slice(int(places[0]), int(places[-1]) + 1))
    return ends[0], ends[1], ends[2]


def centred(block: Array, side: int) -> Array:
    """Place a block of voxels in the middle of a grid ``(side, side, side)``, after scaling it down where it is larger.

    Scaling takes the voxel at the centre of each new one for indices of colours, so a thin part may vanish; of a shape
    that would vanish whole it takes the largest index in each.
    """
    largest = max(block.shape)
    if largest > side:
        sizes = [max(1, round(length * side / largest)) for length in block.shape]
        picks = [((np.arange(size) + 0.5) * length / size).astype(int) for size, length in zip(sizes, block.shape)]
        whole, block = block, block[np.ix_(*picks)]
        if not block.any():
            for axis, size in enumerate(sizes):
                whole = np.maximum.reduceat(whole, np.arange(size) * whole.shape[axis] // size, axis)
            block = whole
    grid = np.zeros((side, side, side), block.dtype)
    begin = [(side - length) // 2 for length in block.shape]
    grid[tuple(slice(at, at + length) for at, length in zip(begin, block.shape))] = block
    return grid
