"""Surfaces: from a grid to a closed mesh by marching cubes, smoothing, and what makes a mesh closed.

A mesh is ``(vertices, faces)``: float64 ``(V, 3)`` in the cube -0.5 … 0.5 with z up, int64 ``(F, 3)``. Faces are
counter-clockwise seen from outside.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from gan_3d.voxels import DENSITY_LEVEL, Grid, filled, largest_component

Array = NDArray[Any]

OCCUPIED_LEVEL = 0.49
"""Level at which the surface of a grid of zeros and ones is extracted. At one half, the two diagonals of a face of a
cube would tie, and neighbouring cubes might decide differently."""
TAUBIN = (0.5, -0.53)
"""Factors of the two steps of a pass of smoothing."""


class Mesh(NamedTuple):
    """A surface of triangles."""

    vertices: Array
    """``(V, 3)`` float64."""
    faces: Array
    """``(F, 3)`` int64."""
    colours: Array | None = None
    """``(V, 3)`` uint8: red, green and blue of each vertex; None: no colour of its own."""

    @property
    def volume(self) -> float:
        """Enclosed volume, negative for a surface that is inside out: a sixth of the sum of v0 · (v1 x v2)."""
        a, b, c = self.vertices[self.faces].transpose(1, 0, 2)
        return float((a * np.cross(b, c)).sum() / 6)

    @property
    def closed(self) -> bool:
        """Whether each edge is shared by exactly two faces, in opposite directions."""
        edges = self.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
        count = len(self.vertices)
        forward, backward = (np.unique(part[:, 0] * count + part[:, 1]) for part in (edges, edges[:, ::-1]))
        return len(edges) > 0 and len(forward) == len(edges) and np.array_equal(forward, backward)

    @property
    def euler_number(self) -> int:
        """Vertices minus edges plus faces: 2 for a sphere, 0 for a torus."""
        edges = np.unique(np.sort(self.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1), axis=0)
        return len(np.unique(self.faces)) - len(edges) + len(self.faces)


NOTHING = Mesh(np.zeros((0, 3)), np.zeros((0, 3), np.int64))
"""The surface of an empty grid."""


def level_set(field: Array, level: float, outside: float) -> Mesh:
    """The surface where `field`, ``(x, y, z)`` with small values inside, passes `level`: Lewiner et al. 2003.

    The field is padded with the value `outside`, so that the surface is closed where the shape touches the border.
    """
    from skimage.measure import marching_cubes

    side = field.shape[0]
    padded = np.pad(field.astype(np.float32), 1, constant_values=outside)
    if not padded.min() < level < padded.max():
        return NOTHING
    vertices, faces, _, _ = marching_cubes(padded, level, allow_degenerate=True)
    return Mesh((vertices.astype(np.float64) - 0.5) / side - 0.5, faces.astype(np.int64))


def surface_of(grid: Grid, smooth: int = 0, *, keep_all: bool = False, solid: bool = True) -> Mesh:
    """The closed surface of the occupied voxels, after `smooth` passes of smoothing.

    Only the largest component is kept unless `keep_all`, and cavities are filled if `solid`.
    """
    if not grid.any():
        return NOTHING
    grid = grid if keep_all else largest_component(grid)
    grid = filled(grid) if solid else grid
    return smoothed(level_set(1.0 - grid, 1 - OCCUPIED_LEVEL, 1.0), smooth)


def surface_at_zero(distance: Array, kept: Grid, smooth: int = 0) -> Mesh:
    """The closed surface where a signed distance ``(R, R, R)`` is 0, of the voxels `kept` only."""
    least = 1e-3 / len(distance)  # keeps vertices apart from the centres of voxels, where faces would degenerate
    inside, outside = np.minimum(distance, -least), np.maximum(distance, least)
    return smoothed(level_set(np.where(kept, inside, outside), 0.0, 2 / len(distance)), smooth)


def surface_of_density(density: Array, kept: Grid, smooth: int = 0) -> Mesh:
    """The closed surface where a density ``(R, R, R)`` is `DENSITY_LEVEL`, of the voxels `kept` only."""
    voxel = 2 / len(density)
    return surface_at_zero(np.clip(1 - density / DENSITY_LEVEL, -1, 1) * voxel, kept, smooth)


def coloured(mesh: Mesh, colours: Array) -> Mesh:
    """`mesh` with the colours of a grid ``(R, R, R, 3)`` uint8 at its vertices, of the nearest voxel."""
    side = len(colours)
    x, y, z = np.clip(((mesh.vertices + 0.5) * side).astype(int), 0, side - 1).T
    return mesh._replace(colours=colours[x, y, z])


def smoothed(mesh: Mesh, passes: int) -> Mesh:
    """Move vertices towards and away from the mean of their neighbours, which keeps the volume: Taubin 1995, "A signal
    processing approach to fair surface design"."""
    if not passes or not len(mesh.faces):
        return mesh
    count = len(mesh.vertices)
    edges = mesh.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    links = sparse.coo_matrix((np.ones(len(edges)), edges.T), (count, count)).tocsr()
    links = (links + links.T).sign()
    mean = sparse.diags(1 / np.maximum(np.asarray(links.sum(axis=1)).ravel(), 1)) @ links
    vertices = mesh.vertices
    for factor in TAUBIN * passes:
        vertices = vertices + factor * (mean @ vertices - vertices)
    return mesh._replace(vertices=vertices)
