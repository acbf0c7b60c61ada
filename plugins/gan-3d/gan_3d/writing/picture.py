"""Shaded pictures of meshes, drawn in numpy: an orthographic camera, flat shading, a depth sort; no display needed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gan_3d.surface import Mesh

Array = NDArray[Any]

AZIMUTH, ELEVATION = math.radians(-55), math.radians(25)
"""Direction of the camera around z and above the ground."""
SPAN = 1.45
"""Width of the picture in units of the cube's side, so that a turned cube mostly fits."""
BACKGROUND, SURFACE = (250, 250, 250), (158, 176, 205)
LIGHT = np.array([-0.35, 0.55, 0.76])
"""Direction of the light in the camera's axes (right, up, towards the viewer)."""
FINER = 2
"""Each pixel is the mean of ``FINER²``."""


def camera(azimuth: float = AZIMUTH, elevation: float = ELEVATION) -> Array:
    """The camera's axes as rows ``(3, 3)``: right, up, towards the viewer."""
    towards = np.array(
        [math.cos(elevation) * math.cos(azimuth), math.cos(elevation) * math.sin(azimuth), math.sin(elevation)]
    )
    right = np.array([-math.sin(azimuth), math.cos(azimuth), 0.0])
    return np.stack([right, np.cross(towards, right), towards])


def render(mesh: Mesh, size: int, azimuth: float = AZIMUTH) -> Image.Image:
    """Draw a mesh on ``size x size`` pixels, seen from far away, without the faces that are turned away."""
    whole = size * FINER
    seen = mesh.vertices @ camera(azimuth).T
    corners = seen[mesh.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    facing = normals[:, 2] > 1e-12
    corners, normals = corners[facing], normals[facing]
    shade = 0.45 + 0.55 * np.clip(normals @ LIGHT / np.linalg.norm(normals, axis=1) / np.linalg.norm(LIGHT), 0, 1)
    colours = face_colours(mesh, facing) * (1.15 * shade[:, None])
    x, y = (corners[..., 0] / SPAN + 0.5) * whole - 0.5, (0.5 - corners[..., 1] / SPAN) * whole - 0.5
    return drawn(x, y, corners[..., 2], colours, BACKGROUND, size)


def face_colours(mesh: Mesh, which: Any = slice(None)) -> Array:
    """The colours of the faces `which`, ``(F, 3)`` or one for all, 0 … 255."""
    faces = mesh.faces[which]
    if mesh.colours is None:
        return np.broadcast_to(np.array(SURFACE, np.float64), (len(faces), 3))
    return np.asarray(mesh.colours[faces].mean(1))


def drawn(x: Array, y: Array, nearness: Array, colours: Array, background: Sequence[int], size: int) -> Image.Image:
    """Draw triangles on ``size x size`` pixels: places ``(F, 3)`` of their corners in pixels that are `FINER` times
    finer, a number ``(F, 3)`` that is larger for nearer corners and linear in the picture, colours ``(F, 3)``."""
    whole = size * FINER
    pixels = np.full((whole * whole, 3), background, np.uint8)
    shades = np.clip(colours, 0, 255).astype(np.uint8)
    left, top = (np.clip(np.floor(axis.min(1)), 0, whole).astype(int) for axis in (x, y))
    right, bottom = (np.clip(np.floor(axis.max(1)) + 1, 0, whole).astype(int) for axis in (x, y))
    widths, counts = right - left, (right - left) * (bottom - top)
    which = np.repeat(np.arange(len(x)), counts)
    place = np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts)
    column, row = left[which] + place % widths[which], top[which] + place // widths[which]
    area = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (x[:, 2] - x[:, 0]) * (y[:, 1] - y[:, 0])
    area = np.where(np.abs(area) < 1e-12, np.inf, area)  # seen from the side
    weights = [
        ((x[which, j] - column) * (y[which, k] - row) - (x[which, k] - column) * (y[which, j] - row)) / area[which]
        for j, k in ((1, 2), (2, 0), (0, 1))
    ]
    inside = (weights[0] >= -1e-9) & (weights[1] >= -1e-9) & (weights[2] >= -1e-9) & np.isfinite(area[which])
    which, target = which[inside], (row * whole + column)[inside]
    near = sum(weight[inside] * nearness[which, corner] for corner, weight in enumerate(weights))
    order = np.argsort(near, kind="stable")  # the nearest is written last
    pixels[target[order]] = shades[which[order]]
    picture = Image.fromarray(pixels.reshape(whole, whole, 3))
    return picture.resize((size, size), Image.Resampling.BOX)


def sheet(meshes: Sequence[Mesh], size: int, columns: int | None = None) -> Image.Image:
    """All meshes in one picture, row by row, as square as possible; an empty mesh gives an empty tile."""
    columns = columns or math.ceil(math.sqrt(len(meshes)))
    rows = math.ceil(len(meshes) / columns)
    whole = Image.new("RGB", (columns * (size + 2) + 2, rows * (size + 2) + 2), (226, 226, 226))
    for index, mesh in enumerate(meshes):
        place = (2 + index % columns * (size + 2), 2 + index // columns * (size + 2))
        whole.paste(render(mesh, size) if len(mesh.faces) else Image.new("RGB", (size, size), BACKGROUND), place)
    return whole
