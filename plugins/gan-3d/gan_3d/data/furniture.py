"""Furniture by formula: tables, chairs, lamps and shelves of boxes and frustums, with sizes drawn at random."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from gan.contracts import Download
from numpy.typing import NDArray

Rng = np.random.Generator
Array = NDArray[np.float64]
Part = tuple[Array, NDArray[np.int64]]
"""Vertices ``(V, 3)`` and faces ``(F, 3)`` of a closed surface, z up."""

EACH = 400
"""Shapes of each kind."""
CORNERS = 16
"""Sides of a frustum."""


def box(x: float, y: float, z: float, width: float, depth: float, height: float) -> Part:
    """A box whose bottom is centred at (x, y, z)."""
    corners = np.array([(i, j, k) for i in (-0.5, 0.5) for j in (-0.5, 0.5) for k in (0.0, 1.0)])
    faces = np.array(
        [(0, 1, 3), (0, 3, 2), (4, 6, 7), (4, 7, 5), (0, 4, 5), (0, 5, 1), (2, 3, 7), (2, 7, 6), (0, 2, 6), (0, 6, 4),
         (1, 5, 7), (1, 7, 3)]
    )  # fmt: skip
    return corners * np.array([width, depth, height]) + np.array([x, y, z]), faces


def frustum(x: float, y: float, z: float, bottom: float, top: float, height: float) -> Part:
    """A cone with its tip cut off (a cylinder for equal radii) whose bottom is centred at (x, y, z)."""
    angles = 2 * np.pi * np.arange(CORNERS) / CORNERS
    ring = np.stack([np.cos(angles), np.sin(angles), np.zeros(CORNERS)], 1)
    vertices = np.concatenate([ring * bottom, ring * top + np.array([0, 0, height]), [(0, 0, 0), (0, 0, height)]])
    faces = []
    for i in range(CORNERS):
        j = (i + 1) % CORNERS
        faces += [(i, j, CORNERS + j), (i, CORNERS + j, CORNERS + i)]
        faces += [(j, i, 2 * CORNERS), (CORNERS + i, CORNERS + j, 2 * CORNERS + 1)]
    return vertices + np.array([x, y, z]), np.array(faces)


def joined(parts: list[Part]) -> Part:
    """All parts as one surface. Parts overlap, so it intersects itself."""
    starts = np.cumsum([0, *(len(vertices) for vertices, _ in parts)])
    faces = [faces + start for (_, faces), start in zip(parts, starts)]
    return np.concatenate([vertices for vertices, _ in parts]), np.concatenate(faces)


def _legs(width: float, depth: float, height: float, thick: float) -> list[Part]:
    x, y = (width - thick) / 2, (depth - thick) / 2
    return [box(i * x, j * y, 0, thick, thick, height) for i in (-1, 1) for j in (-1, 1)]


def table(rng: Rng) -> Part:
    """A board on four legs, or a round or square one on a column with a foot."""
    height, board = rng.uniform(0.45, 0.75), rng.uniform(0.05, 0.09)
    thick = rng.uniform(0.07, 0.11)
    if rng.random() < 0.7:
        width, depth = rng.uniform(0.8, 1.0), rng.uniform(0.5, 1.0)
        return joined([*_legs(width, depth, height, thick), box(0, 0, height, width, depth, board)])
    radius = rng.uniform(0.4, 0.5)
    foot = frustum(0, 0, 0, radius * rng.uniform(0.5, 0.7), radius * 0.4, 0.07)
    column = frustum(0, 0, 0, thick * 0.7, thick * 0.7, height)
    return joined([foot, column, frustum(0, 0, height, radius, radius, board)])


def chair(rng: Rng) -> Part:
    """A seat on four legs with a back, sometimes with arm rests."""
    width, depth = rng.uniform(0.42, 0.58), rng.uniform(0.42, 0.55)
    seat, thick, rise = rng.uniform(0.36, 0.5), rng.uniform(0.06, 0.09), rng.uniform(0.4, 0.55)
    y = (depth - thick) / 2
    parts = [*_legs(width, depth, seat, thick), box(0, 0, seat, width, depth, 0.08)]
    if rng.random() < 0.6:
        parts.append(box(0, y, seat, width, thick, rise))
    else:
        posts = [box(i * (width - thick) / 2, y, seat, thick, thick, rise) for i in (-1, 1)]
        parts += [*posts, box(0, y, seat + rise * 0.6, width, thick, rise * 0.4)]
    if rng.random() < 0.4:
        for i in (-1, 1):
            x = i * (width - thick) / 2
            parts += [box(x, 0, seat + 0.2, thick, depth, 0.06), box(x, -y, seat, thick, thick, 0.22)]
    return joined(parts)


def lamp(rng: Rng) -> Part:
    """A foot, a pole and a shade."""
    pole = rng.uniform(0.55, 0.75)
    shade, wide = rng.uniform(0.22, 0.35), rng.uniform(0.2, 0.32)
    foot = frustum(0, 0, 0, rng.uniform(0.14, 0.24), 0.1, 0.06)
    narrow = wide * rng.uniform(0.4, 1.0)
    return joined([foot, frustum(0, 0, 0, 0.045, 0.045, pole + 0.05), frustum(0, 0, pole, wide, narrow, shade)])


def shelf(rng: Rng) -> Part:
    """Two sides, two to five boards, often a back."""
    width, depth, height = rng.uniform(0.45, 0.8), rng.uniform(0.22, 0.36), rng.uniform(0.8, 1.0)
    thick, boards = rng.uniform(0.05, 0.07), int(rng.integers(2, 5))
    parts = [box(i * (width - thick) / 2, 0, 0, thick, depth, height) for i in (-1, 1)]
    step = (height - thick) / boards
    parts += [box(0, 0, step * board, width, depth, thick) for board in range(boards + 1)]
    if rng.random() < 0.6:
        parts.append(box(0, (depth - thick) / 2, 0, width, thick, height))
    return joined(parts)


KINDS: dict[str, Callable[[Rng], Part]] = {"chair": chair, "lamp": lamp, "shelf": shelf, "table": table}


def shape(kind: str, seed: int) -> Part:
    """One piece of furniture; `seed` determines its sizes."""
    return KINDS[kind](np.random.Generator(np.random.Philox(seed)))


def write_off(path: Path, vertices: Array, faces: NDArray[np.int64]) -> None:
    """Write a surface in the text format OFF."""
    lines = ["OFF", f"{len(vertices)} {len(faces)} 0"]
    lines += [f"{x:.4f} {y:.4f} {z:.4f}" for x, y, z in vertices]
    lines += [f"3 {a} {b} {c}" for a, b, c in faces]
    path.write_text("\n".join(lines) + "\n")


def furniture(folder: Path, download: Download) -> None:
    """Write 400 surfaces of each kind as OFF files, one folder per kind, z up."""
    write_furniture(folder, 0, EACH)


def write_furniture(folder: Path, first: int, count: int) -> None:
    """Write the pieces with the seeds `first` … ``first + count - 1`` of each kind."""
    for number, kind in enumerate(KINDS):
        (folder / kind).mkdir()
        for index in range(first, first + count):
            write_off(folder / kind / f"{index:04}.off", *shape(kind, number * 1_000_000 + index))
