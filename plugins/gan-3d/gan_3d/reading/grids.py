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

GRIDS = (".vox", ".npz", ".binvox")
MAX_SIDE = 512
"""Largest side of one grid, in voxels."""
MAX_ARRAY_BYTES = 1 << 30
"""Largest array of an archive."""
MAX_MODELS = 4096
"""Largest number of models in a MagicaVoxel file."""


def read_grids(file: SourceFile) -> Iterator[NDArray[np.bool_]]:
    """Yield the occupied voxels ``(x, y, z)`` of each model of a file, in the axes of the file."""
    reader = {".vox": _vox, ".npz": _npz, ".binvox": _binvox}[file.suffix]
    yield from reader(file.data(), file)


def _vox(data: bytes, file: SourceFile) -> Iterator[NDArray[np.bool_]]:
    """MagicaVoxel: each pair of SIZE and XYZI is a model. Colours are ignored; index 0 is empty."""
    if data[:4] != b"VOX " or data[8:12] != b"MAIN":
        raise BadData("is not a MagicaVoxel file", file.name)
    place, size, models = 20, (0, 0, 0), 0
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
            models += 1
            count = struct.unpack("<I", body[:4])[0] if length >= 4 else -1
            if models > MAX_MODELS or count * 4 != length - 4 or not all(size):
                raise BadData("has a model of the wrong length, or too many models", file.name)
            cells = np.frombuffer(body[4:], np.uint8).reshape(-1, 4)
            if count and (cells[:, :3] >= np.array(size)).any():
                raise BadData("has a voxel outside of its size", file.name)
            grid = np.zeros(size, np.bool_)
            grid[cells[:, 0], cells[:, 1], cells[:, 2]] = cells[:, 3] > 0
            yield grid
    if not models:
        raise BadData("holds no model", file.name)


def _npz(data: bytes, file: SourceFile) -> Iterator[NDArray[np.bool_]]:
    """The array ``voxels`` or ``grid``, or the only one with 3 or 4 axes: one grid or many; not 0 is occupied."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            wanted = _wanted_member(archive, file)
            with archive.open(wanted) as member:
                array: NDArray[Any] = np.lib.format.read_array(member, allow_pickle=False)
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        raise BadData(f"damaged: {str(error)[:100]}", file.name) from error
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise BadData("holds values that are not finite numbers", file.name)
    for grid in array if array.ndim == 4 else array[None]:
        yield grid > 0.5 if array.dtype.kind == "f" else grid != 0


def _wanted_member(archive: zipfile.ZipFile, file: SourceFile) -> str:
    """The name of the member to read; only headers are read, and its size is within the limits."""
    found = {}
    for info in archive.infolist()[:64]:
        if not info.filename.endswith(".npy"):
            continue
        with archive.open(info) as member:
            version = np.lib.format.read_magic(member)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = read(member)
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


def _binvox(data: bytes, file: SourceFile) -> Iterator[NDArray[np.bool_]]:
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
    yield flat.reshape(sides[0], sides[1], sides[2]).transpose(0, 2, 1)
