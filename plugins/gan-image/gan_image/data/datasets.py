"""Named image datasets. Each function fills an empty folder with files that the modality reads."""

from __future__ import annotations

import colorsys
import math
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from gan.contracts import Download
from numpy.typing import NDArray
from PIL import Image, ImageDraw


def digits(folder: Path, download: Download) -> None:
    """Write scikit-learn's handwritten digits as IDX files: 1,797 images of 8x8 pixels and their labels.

    The original values 0 … 16 are scaled to 0 … 255.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    write_idx(folder / "digits-images-idx3-ubyte", np.rint(bunch.images * (255 / 16)).astype(np.uint8))
    write_idx(folder / "digits-labels-idx1-ubyte", bunch.target.astype(np.uint8))


def write_idx(path: Path, values: NDArray[np.uint8]) -> None:
    """Write `values` in the format of MNIST: big-endian magic and sizes, then bytes."""
    path.write_bytes(struct.pack(f">{1 + values.ndim}I", 0x0800 + values.ndim, *values.shape) + values.tobytes())


# ------------------------------------------------------------------ drawn shapes


PAIRS = 400
"""Number of pairs in `shape_pairs`, and of images in each domain of `shape_domains`."""
SIDE, FINER = 64, 4
"""Side of an image in pixels, and the factor of its supersampling."""
CORNERS = (0, 3, 4, 5)
"""Corners of the shapes; 0 is a disc."""


@dataclass(frozen=True)
class Shape:
    """A disc or a regular polygon. Lengths are fractions of the image's side."""

    corners: int
    x: float
    y: float
    radius: float
    turn: float
    """Radians."""

    def draw(self, draw: ImageDraw.ImageDraw, fill: tuple[int, int, int], outline: tuple[int, int, int]) -> None:
        """Draw the shape with its border."""
        whole, width = SIDE * FINER, 2 * FINER
        x, y, radius = self.x * whole, self.y * whole, self.radius * whole
        if self.corners:
            draw.regular_polygon((x, y, radius), self.corners, math.degrees(self.turn), fill, outline, width)
        else:
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill, outline, width)


def some_shapes(rng: np.random.Generator) -> list[Shape]:
    """One to three shapes in separate columns, so that none hides another."""
    count = int(rng.integers(1, 4))
    radius = 0.44 / count
    shapes = []
    for column in range(count):
        share = rng.uniform(0.6, 1.0)
        y = rng.uniform(radius, 1 - radius)
        shapes.append(
            Shape(int(rng.choice(CORNERS)), (column + 0.5) / count, y, radius * share, rng.uniform(0, 2 * math.pi))
        )
    return shapes


def drawn(shapes: list[Shape], colours: list[tuple[int, int, int]]) -> Image.Image:
    """Draw shapes with black borders on white, ``SIDE`` pixels wide."""
    large = Image.new("RGB", (SIDE * FINER, SIDE * FINER), (255, 255, 255))
    draw = ImageDraw.Draw(large)
    for shape, colour in zip(shapes, colours, strict=True):
        shape.draw(draw, colour, (0, 0, 0))
    return large.resize((SIDE, SIDE), Image.Resampling.BOX)


def hue(degrees: float) -> tuple[int, int, int]:
    """A saturated colour: 0 red, 120 green, 240 blue."""
    red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(degrees % 360 / 360, 0.75, 0.95))
    return red, green, blue


def shape_pairs(folder: Path, download: Download) -> None:
    """Write pairs of outlines, on the left, and the same shapes coloured: discs red, triangles green, squares blue,
    pentagons yellow."""
    rng = np.random.Generator(np.random.Philox(1))
    colours = dict(zip(CORNERS, map(hue, (0, 130, 220, 50)), strict=True))
    for number in range(PAIRS):
        shapes = some_shapes(rng)
        both = Image.new("RGB", (2 * SIDE, SIDE))
        both.paste(drawn(shapes, [(255, 255, 255)] * len(shapes)), (0, 0))
        both.paste(drawn(shapes, [colours[shape.corners] for shape in shapes]), (SIDE, 0))
        both.save(folder / f"{number:03}.png")


def shape_domains(folder: Path, download: Download) -> None:
    """Write two folders of unpaired shapes: ``warm`` has red to yellow ones, ``cold`` the opposite, cyan to blue."""
    rng = np.random.Generator(np.random.Philox(2))
    for name, first in (("cold", 180), ("warm", 0)):
        (folder / name).mkdir()
        for number in range(PAIRS):
            shapes = some_shapes(rng)
            colours = [hue(first + rng.uniform(0, 60)) for _ in shapes]
            drawn(shapes, colours).save(folder / name / f"{number:03}.png")
