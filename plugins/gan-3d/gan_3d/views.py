"""Pictures of shapes by cameras around them: where a camera is, what it sees, and the pictures of ``form=views``.

A camera looks at the centre of the cube -0.5 … 0.5 from `DISTANCE`, with the angle of view `ANGLE`. Its azimuth is the
angle around z from x, its elevation the angle above the ground, both in degrees.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gan_3d.surface import Mesh
from gan_3d.writing.picture import FINER, camera, drawn, face_colours

Array = NDArray[Any]

DISTANCE, ANGLE = 2.2, math.radians(36)
"""Of the camera from the centre, in sides of the cube, and its angle of view: a turned cube mostly fits."""
HALF = math.tan(ANGLE / 2)
"""Half of the width of a picture at distance 1."""
LIGHT = np.array([0.35, -0.6, 0.72]) / math.sqrt(0.35**2 + 0.6**2 + 0.72**2)
"""Direction of the light, which stays where it is when the camera moves: a place of a surface has one colour."""
WHITE = (255, 255, 255)


def photograph(mesh: Mesh, side: int, azimuth: float, elevation: float) -> NDArray[np.uint8]:
    """A picture of a mesh, ``(3, side, side)``, on white. Both sides of its faces are seen, for open meshes."""
    right, up, towards = camera(math.radians(azimuth), math.radians(elevation))
    whole, corners = side * FINER, mesh.vertices[mesh.faces]
    seen = corners @ np.stack([right, up, towards]).T
    away = np.maximum(DISTANCE - seen[..., 2], 1e-3)
    x = (seen[..., 0] / away / (2 * HALF) + 0.5) * whole - 0.5
    y = (0.5 - seen[..., 1] / away / (2 * HALF)) * whole - 0.5
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-20)
    outward = np.sign((normals * (DISTANCE * towards - corners.mean(1))).sum(1))  # towards the camera
    shade = 0.65 + 0.45 * outward * (normals @ LIGHT)
    picture = drawn(x, y, 1 / away, face_colours(mesh) * shade[:, None], WHITE, side)
    return np.ascontiguousarray(np.asarray(picture).transpose(2, 0, 1))


def photographs(mesh: Mesh, side: int, count: int, elevations: tuple[float, float]) -> Iterator[dict[str, Array]]:
    """`count` pictures of a mesh by cameras all around it, which depend on the mesh only: ``picture``, ``azimuth`` and
    ``elevation``, evenly distributed over the circle and the range of elevations."""
    digest = hashlib.sha256(np.ascontiguousarray(mesh.vertices, "<f4").tobytes()).digest()
    rng = np.random.Generator(np.random.Philox(int.from_bytes(digest[:8], "little")))
    for azimuth, elevation in zip(rng.random(count) * 360, rng.uniform(*elevations, count)):
        yield {
            "picture": photograph(mesh, side, azimuth, elevation),
            "azimuth": np.asarray(azimuth, np.float32),
            "elevation": np.asarray(elevation, np.float32),
        }
