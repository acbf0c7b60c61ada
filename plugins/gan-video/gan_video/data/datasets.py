"""Datasets that are drawn by formula: coloured shapes that move, grow or turn."""

from __future__ import annotations

import colorsys
import math
from pathlib import Path

import numpy as np
from gan.contracts import Download
from PIL import Image, ImageDraw

CLASSES = ("down", "grow", "left", "right", "turn", "up")
"""Classes of motion, which are the subfolders of the dataset."""
CLIPS = 100
"""Number of clips of each class."""
FRAMES, SIDE, FINER = 16, 64, 4
"""Frames of a clip, side of a frame in pixels, and the factor of its supersampling."""
CORNERS = (0, 3, 4)
"""Corners of the shapes; 0 is a disc."""


def motions(folder: Path, download: Download) -> None:
    """Write `CLIPS` lossless animated PNG files of each class of motion, one folder for each class."""
    for number, kind in enumerate(CLASSES):
        (folder / kind).mkdir()
        for index in range(CLIPS):
            first, *others = clip(kind, np.random.default_rng([number, index]))
            path = folder / kind / f"{index:04d}.png"
            first.save(path, save_all=True, append_images=others, duration=125, loop=0, compress_level=6)


def clip(kind: str, rng: np.random.Generator) -> list[Image.Image]:
    """The frames of one clip: a shape of random form, colour and size on a dark ground.

    ``left``, ``right``, ``up`` and ``down`` cross 0.36 to 0.56 of the picture, ``grow`` multiplies the radius by 2 to
    3, ``turn`` rotates a polygon clockwise by 120 to 240 degrees.
    """
    corners = int(rng.choice(CORNERS[1:] if kind == "turn" else CORNERS))
    red, green, blue = colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(0.7, 1.0), rng.uniform(0.8, 1.0))
    fill = (round(255 * red), round(255 * green), round(255 * blue))
    radius, way = rng.uniform(0.12, 0.18), rng.uniform(0.36, 0.56)
    start, across = rng.uniform(radius + 0.03, 0.97 - radius - way), rng.uniform(0.3, 0.7)
    heading, angle, growth = rng.uniform(0, 360), rng.uniform(120, 240), rng.uniform(2.0, 3.0)
    pictures = []
    for frame in range(FRAMES):
        share = frame / (FRAMES - 1)
        x, y, size, turned = 0.5, 0.5, radius, heading
        if kind in ("right", "left"):
            x, y = start + way * (share if kind == "right" else 1 - share), across
        elif kind in ("down", "up"):
            x, y = across, start + way * (share if kind == "down" else 1 - share)
        elif kind == "grow":
            size = 0.75 * radius * (1 + (growth - 1) * share)
        else:
            size, turned = 1.5 * radius, heading + angle * share
        pictures.append(_frame(corners, x, y, size, turned, fill))
    return pictures


def _frame(corners: int, x: float, y: float, radius: float, heading: float, fill: tuple[int, int, int]) -> Image.Image:
    whole = SIDE * FINER
    picture = Image.new("RGB", (whole, whole), (16, 16, 24))
    draw = ImageDraw.Draw(picture)
    x, y, radius = x * whole, y * whole, radius * whole
    if corners:
        angles = [math.radians(heading + 360 * corner / corners) for corner in range(corners)]
        draw.polygon([(x + radius * math.cos(angle), y + radius * math.sin(angle)) for angle in angles], fill)
    else:
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill)
    return picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
