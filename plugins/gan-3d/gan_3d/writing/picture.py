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
    """Draw a mesh on ``size x size`` pixels."""
    whole = size * FINER
    pixels = np.full((whole * whole, 3), BACKGROUND, np.uint8)
    seen = mesh.vertices @ camera(azimuth).T
    corners = seen[mesh.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    facing = normals[:, 2] > 1e-12
    corners, normals = corners[facing], normals[facing]
    shade = 0.45 + 0.55 * np.clip(normals @ LIGHT / np.linalg.norm(normals, axis=1) / np.linalg.norm(LIGHT), 0, 1)
    colours = np.clip(shade[:, None] * SURFACE * 1.15, 0, 255).astype(np.uint8)
    x = (corners[..., 0] / SPAN + 0.5) * whole - 0.5
    y = (0.5 - corners[..., 1] / SPAN) * whole - 0.5
    left, top = (np.clip(np.floor(axis.min(1)), 0, whole).astype(int) for axis in (x, y))
    right, bottom = (np.clip(np.floor(axis.max(1)) + 1, 0, whole).astype(int) for axis in (x, y))
    widths, counts = right - left, (right - left) * (bottom - top)
    which = np.repeat(np.arange(len(corners)), counts)
    place = np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts)
    column, row = left[which] + place % widths[which], top[which] + place // widths[which]
    area = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (x[:, 2] - x[:, 0]) * (y[:, 1] - y[:, 0])
    weights = [
        ((x[which, j] - column) * (y[which, k] - row) - (x[which, k] - column) * (y[which, j] - row)) / area[which]
        for j, k in ((1, 2), (2, 0), (0, 1))
    ]
    inside = (weights[0] >= -1e-9) & (weights[1] >= -1e-9) & (weights[2] >= -1e-9)
    which, target = which[inside], (row * whole + column)[inside]
    depth = sum(weight[inside] * corners[which, corner, 2] for corner, weight in enumerate(weights))
    order = np.argsort(depth, kind="stable")  # the nearest is written last
    pixels[target[order]] = colours[which[order]]
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
