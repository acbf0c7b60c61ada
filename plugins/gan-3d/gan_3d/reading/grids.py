"""Grids from voxel files of unknown origin: MagicaVoxel, NumPy archives and binvox."""

from __future__ import annotations

import io
import math
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from gan.errors import BadData
from gan.source import SourceFile
from numpy.typing import NDArray

from gan_3d.colours import codes, default_palette

GRIDS = (".vox", ".npz", ".binvox")
MAX_SIDE = 512
"""Largest side of one grid, in voxels."""
MAX_ARRAY_BYTES = 1 << 30
"""Largest array of an archive."""
MAX_MODELS = 4096
"""Largest number of models in a MagicaVoxel file."""


def read_grids(file: SourceFile, *, coloured: bool = False) -> Iterator[NDArray[Any]]:
    """Yield the occupied voxels ``(x, y, z)`` of each model of a file, in the axes of the file: booleans or, if
    `coloured` and the file has colours, codes (`gan_3d.colours`)."""
    reader = {".vox": _vox, ".npz": _npz, ".binvox": _binvox}[file.suffix]
    for indices, palette in reader(file.data(), file):
        yield indices != 0 if palette is None or not coloured else np.append(np.int32(0), codes(palette))[indices]


Indexed = tuple[NDArray[Any], NDArray[np.uint8] | None]
"""Voxels ``(x, y, z)``, 0 empty, and the colours ``(P, 3)`` of the indices from 1 on, if the file has any."""


def _vox(data: bytes, file: SourceFile) -> Iterator[Indexed]:
    """MagicaVoxel: each pair of SIZE and XYZI is a model; index 0 is empty, index i has row i - 1 of the palette."""
    if data[:4] != b"VOX " or data[8:12] != b"MAIN":
        raise BadData("is not a MagicaVoxel file", file.name)
    place, size, models, palette = (
        20,
        (0, 0, 0),
        list[tuple[tuple[int, int, int], NDArray[np.uint8]]](),
        default_palette(),
    )
    while place + 12 <= len(data):
        name, (length, children) = data[place : place + 4], struct.unpack("<II", data[place + 4 : place + 12])
        body = data[place + 12 : place + 12 + length]
        if len(body) < length:
            raise BadData(f"is truncated in its chunk {name!r}", file.name)
        place += 12 + length + children
        if name == b"SIZE" and length >= 12:
            size = struct.unpack("<3I", body[:12])
            if not all(1 <= side <= 256 for side in size):
                raise BadData(f"has sizes {' x '.join(map(str, size))}, and 256 is the largest side", file.name)
        elif name == b"XYZI":
            count = struct.unpack("<I", body[:4])[0] if length >= 4 else -1
            if len(models) == MAX_MODELS or count * 4 != length - 4 or not all(size):
                raise BadData("has a model of the wrong length, or too many models", file.name)
            cells = np.frombuffer(body[4:], np.uint8).reshape(-1, 4)
            if count and (cells[:, :3] >= np.array(size)).any():
                raise BadData("has a voxel outside of its size", file.name)
            models.append((size, cells))
        elif name == b"RGBA" and length >= 1024:
            palette = np.frombuffer(body[:1024], np.uint8).reshape(256, 4)[:, :3]
    if not models:
        raise BadData("holds no model", file.name)
    for size, cells in models:
        grid = np.zeros(size, np.uint8)
        grid[cells[:, 0], cells[:, 1], cells[:, 2]] = cells[:, 3]
        yield grid, palette[:255]


def _npz(data: bytes, file: SourceFile) -> Iterator[Indexed]:
    """The array ``voxels`` or ``grid``, or the only one with 3 or 4 axes: one grid or many; not 0 is occupied.

    Grids of uint8 are indices of colours where there is an array ``palette`` ``(256, 3 | 4)`` or ``(N, 256, 3 | 4)``.
    """
    palettes: NDArray[Any] | None = None
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            wanted = _wanted_member(archive, file)
            with archive.open(wanted) as member:
                array: NDArray[Any] = np.lib.format.read_array(member, allow_pickle=False)
            if array.dtype == np.uint8 and "palette.npy" in archive.namelist():
                palettes = _palettes(archive, len(array) if array.ndim == 4 else 1)
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        raise BadData(f"damaged: {str(error)[:100]}", file.name) from error
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise BadData("holds values that are not finite numbers", file.name)
    for number, grid in enumerate(array if array.ndim == 4 else array[None]):
        palette = None if palettes is None else palettes[number % len(palettes)]
        yield grid > 0.5 if array.dtype.kind == "f" else grid, palette


def _palettes(archive: zipfile.ZipFile, count: int) -> NDArray[np.uint8] | None:
    """The palettes ``(1 | count, 255, 3)``; None if the array has another form."""
    with archive.open("palette.npy") as member:
        shape, dtype = _header(member)
    if dtype != np.uint8 or shape not in {(*many, 256, axes) for many in ((), (count,)) for axes in (3, 4)}:
        return None
    with archive.open("palette.npy") as member:
        palettes: NDArray[np.uint8] = np.lib.format.read_array(member, allow_pickle=False)
    return palettes.reshape(-1, *shape[-2:])[:, :255, :3]


def _header(member: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """(shape, dtype) of an array in an archive, of which no more than the header is read."""
    version = np.lib.format.read_magic(member)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(member)
    return shape, dtype


def _wanted_member(archive: zipfile.ZipFile, file: SourceFile) -> str:
    """The name of the member to read; only headers are read, and its size is within the limits."""
    found = {}
    for info in archive.infolist()[:64]:
        if not info.filename.endswith(".npy"):
            continue
        with archive.open(info) as member:
            shape, dtype = _header(member)
        if len(shape) in (3, 4) and dtype.kind in "buif":
            size = math.prod(shape) * dtype.itemsize
            if max(shape[-3:]) > MAX_SIDE or min(shape) < 1 or not size <= MAX_ARRAY_BYTES or size > info.file_size:
                raise BadData(f"its array '{info.filename[:60]}' {shape} is not supported or truncated", file.name)
            found[info.filename.removesuffix(".npy")] = info.filename
    for name in ("voxels", "grid"):
        if name in found:
            return found[name]
    if len(found) != 1:
        known = ", ".join(sorted(found)[:6]) or "none"
        raise BadData(f"needs one array of grids, 'voxels' or 'grid' (with 3 or 4 axes: {known})", file.name)
    return next(iter(found.values()))


def _binvox(data: bytes, file: SourceFile) -> Iterator[Indexed]:
    """binvox: run lengths in the order x, z, y."""
    head, found, runs = data.partition(b"data\n")
    fields = {line.split()[0]: line.split()[1:] for line in head[:4096].splitlines() if line.split()}
    try:
        sides = [int(part) for part in fields[b"dim"]]
    except (KeyError, ValueError) as error:
        raise BadData("is not a binvox file", file.name) from error
    if not data.startswith(b"#binvox") or not found or len(sides) != 3:
        raise BadData("is not a binvox file", file.name)
    if not all(1 <= side <= MAX_SIDE for side in sides):
        raise BadData(f"has sizes {sides}, and {MAX_SIDE} is the largest side", file.name)
    pairs = np.frombuffer(runs[: len(runs) // 2 * 2], np.uint8).reshape(-1, 2)
    if int(pairs[:, 1].sum(dtype=np.int64)) != math.prod(sides):
        raise BadData("is damaged: its runs do not fill its grid", file.name)
    flat = np.repeat(pairs[:, 0] > 0, pairs[:, 1])
    yield flat.reshape(sides[0], sides[1], sides[2]).transpose(0, 2, 1), None
