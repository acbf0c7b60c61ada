"""Colours of voxels and surfaces: codes in grids, palettes, and light as glTF has it.

A grid of codes ``(x, y, z)`` int32 holds occupied voxels and their colours at once: 0 is empty, other codes hold red,
green and blue in their lower 24 bits. So whatever moves voxels moves colours with them.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[Any]

GREY = (176, 180, 190)
"""Colour of what has none."""


def codes(colours: Array) -> NDArray[np.int32]:
    """Colours ``(…, 3)`` 0 … 255 -> codes ``(…)``."""
    red, green, blue = np.moveaxis(np.asarray(colours, np.int32), -1, 0)
    return np.asarray((1 << 24) | (red << 16) | (green << 8) | blue, np.int32)


def spread(coded: Array, grid: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The colours ``(x, y, z, 3)`` of the voxels of `grid`, each that of the nearest code that is not 0, and 0 outside.
    A grid of booleans instead of codes has no colours: they are `GREY`."""
    if coded.dtype == np.bool_ or not coded.any():
        colours = np.broadcast_to(np.array(GREY, np.uint8), (*grid.shape, 3))
    else:
        nearest = ndimage.distance_transform_edt(coded == 0, return_distances=False, return_indices=True)
        found = coded[tuple(nearest)]
        colours = np.stack([(found >> shift) & 255 for shift in (16, 8, 0)], -1).astype(np.uint8)
    return np.asarray(colours * grid[..., None], np.uint8)


def default_palette() -> NDArray[np.uint8]:
    """MagicaVoxel's colours ``(256, 3)`` of the indices 1 … 255 and 0, for files without a palette: six levels of each
    colour, without black, then ramps of red, green, blue and grey."""
    levels = (255, 204, 153, 102, 51, 0)
    table = [*itertools.product(levels, repeat=3)][:-1]
    for ramp in ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1)):
        for level in (238, 221, 187, 170, 136, 119, 85, 68, 34, 17):
            table.append((level * ramp[0], level * ramp[1], level * ramp[2]))
    return np.array([*table, (0, 0, 0)], np.uint8)


def to_palette(colours: Array) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Colours ``(V, 3)`` uint8 -> a palette ``(P, 3)`` of at most 255 colours, and the row of each, ``(V,)``. More are
    merged by median cut."""
    if not len(colours):
        return np.zeros((0, 3), np.uint8), np.zeros(0, np.uint8)
    palette, rows = np.unique(colours, axis=0, return_inverse=True)
    if len(palette) > 255:
        from PIL import Image

        small = Image.fromarray(np.ascontiguousarray(colours[None])).quantize(255, Image.Quantize.MEDIANCUT)
        palette = np.array(small.getpalette(), np.uint8).reshape(-1, 3)
        rows = np.asarray(small)[0]
    return palette.astype(np.uint8), rows.ravel().astype(np.uint8)


def to_light(colours: Array) -> NDArray[np.uint8]:
    """Colours as screens have them (sRGB) -> linear in light, as glTF has them, both 0 … 255."""
    value = colours / 255
    light = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return np.asarray(np.rint(light * 255), np.uint8)


def from_light(colours: Array) -> NDArray[np.uint8]:
    """The inverse of `to_light`."""
    light = colours / 255
    value = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.asarray(np.rint(value * 255), np.uint8)
