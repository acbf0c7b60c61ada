"""Triangles from mesh files of unknown origin, read by trimesh, whose sizes are checked before they are loaded."""

from __future__ import annotations

import base64
import io
import json
import re
import struct
import zlib
from typing import Any

import numpy as np
from gan.errors import BadData
from gan.source import SourceFile
from numpy.typing import NDArray

from gan_3d.colours import GREY, from_light

MESHES = (".glb", ".gltf", ".obj", ".ply", ".stl", ".off")
MAX_FACES = 2_000_000
"""Maximum number of triangles of a file, with all instances of a mesh counted."""
MAX_TEXT_BYTES, MAX_BINARY_BYTES = 64 << 20, 160 << 20
"""Maximum size of a file; trimesh needs up to ten times as much memory for text."""
MAX_BUFFERS = 256 << 20
"""Maximum size of what the accessors of a glTF file promise, in bytes."""
COMPONENTS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}


class _Beside:
    """Finds the buffers of a glTF file next to it, and nothing else."""

    def __init__(self, file: SourceFile) -> None:
        self.file = file

    def __getitem__(self, name: str) -> bytes:
        beside = self.file.sibling(name) if name.lower().endswith(".bin") else None
        if beside is None or beside.size > MAX_BINARY_BYTES:
            raise BadData(f"its buffer '{name[:80]}' is not next to it, or too large", self.file.name)
        return beside.data()


def read_triangles(file: SourceFile) -> tuple[NDArray[np.float64], NDArray[np.uint8] | None]:
    """The triangles of all meshes of a file, placed by its scene, ``(F, 3, 3)`` in the units of the file, and their
    colours ``(F, 3)``, of vertices or faces; None if no mesh has any.

    Polygons are split into triangles; materials, textures, points and lines are ignored. Raises `BadData` for files
    without faces, with vertices that are not finite, or above the limits of this module.
    """
    import trimesh

    data = _bounded(file)
    try:
        scene = trimesh.load_scene(
            io.BytesIO(data),
            file_type=file.suffix[1:],
            resolver=_Beside(file) if file.suffix == ".gltf" else None,
            process=False,
            skip_materials=True,
        )
        count = sum(
            len(scene.geometry[scene.graph[node][1]].faces)
            for node in scene.graph.nodes_geometry
            if isinstance(scene.geometry[scene.graph[node][1]], trimesh.Trimesh)
        )
        _check_faces(count, file)
        parts, colours = [], list[NDArray[np.uint8] | None]()
        for node in scene.graph.nodes_geometry:
            transform, name = scene.graph[node]
            mesh = scene.geometry[name]
            if isinstance(mesh, trimesh.Trimesh) and len(mesh.faces):
                faces = np.asarray(mesh.faces)
                if faces.min() < 0 or faces.max() >= len(mesh.vertices):
                    raise BadData("a face names a vertex that does not exist", file.name)
                points = np.asarray(mesh.vertices, np.float64) @ transform[:3, :3].T + transform[:3, 3]
                parts.append(points[faces])
                has = mesh.visual.kind in ("vertex", "face") and len(mesh.visual.face_colors) == len(faces)
                colours.append(np.asarray(mesh.visual.face_colors, np.uint8)[:, :3] if has else None)
    except BadData:
        raise
    except Exception as error:  # trimesh raises whatever its parsers meet
        text = str(error).strip().splitlines()
        raise BadData(f"damaged: {text[0][:120] if text else type(error).__name__}", file.name) from error
    if not parts:
        raise BadData("has no faces", file.name)
    triangles = np.concatenate(parts)
    if not np.isfinite(triangles).all():
        raise BadData("has vertices that are not finite numbers", file.name)
    if all(part is None for part in colours):
        return triangles, None
    grey = [np.tile(np.array(GREY, np.uint8), (len(part), 1)) for part in parts]
    joined = np.concatenate([own if own is not None else other for own, other in zip(colours, grey, strict=True)])
    return triangles, from_light(joined) if file.suffix in (".glb", ".gltf") else joined


def kept_voxels(file: SourceFile, side: int) -> NDArray[np.bool_] | None:
    """The voxels ``(side, side, side)``, z up, that a GLB of this plugin was made from; None for other files."""
    if file.suffix != ".glb" or file.size > MAX_BINARY_BYTES:
        return None
    data = file.data()
    try:
        length = struct.unpack("<I", data[12:16])[0]
        kept = json.loads(data[20 : 20 + length])["asset"]["extras"]["voxels"]
        if kept["side"] != side:
            return None
        size = (side**3 + 7) // 8
        bits = zlib.decompressobj().decompress(base64.b64decode(kept["bits"]), size + 1)
        if len(bits) != size:
            return None
        grid = np.unpackbits(np.frombuffer(bits, np.uint8), count=side**3).astype(np.bool_)
    except (ValueError, KeyError, TypeError, struct.error, zlib.error, RecursionError):
        return None
    return grid.reshape(side, side, side) if grid.any() else None


def _check_faces(count: int, file: SourceFile) -> None:
    if count > MAX_FACES:
        raise BadData(f"{count:,} faces, more than the limit of {MAX_FACES:,}", file.name)


def _bounded(file: SourceFile) -> bytes:
    """The content of a file whose header promises a bounded amount of data."""
    limit = MAX_BINARY_BYTES if file.suffix in (".glb", ".ply", ".stl") else MAX_TEXT_BYTES
    if file.size > limit:
        raise BadData(f"{file.size:,} bytes, more than the limit of {limit:,} for {file.suffix}", file.name)
    data = file.data()
    if not data.strip():
        raise BadData("is empty", file.name)
    if file.suffix in (".glb", ".gltf"):
        _check_gltf(data, file)
    elif file.suffix == ".stl" and data.lstrip()[:5] != b"solid":
        if len(data) < 84:
            raise BadData("is truncated", file.name)
        _check_faces(struct.unpack("<I", data[80:84])[0], file)
    elif file.suffix == ".ply":
        _check_ply(data, file)
    elif file.suffix == ".off":
        _check_off(data, file)
    return data


def _check_ply(data: bytes, file: SourceFile) -> None:
    head, found, _ = data[: 1 << 16].partition(b"end_header")
    if not data.startswith(b"ply") or not found:
        raise BadData("is not a PLY file, or its header has no end", file.name)
    for name, number in re.findall(rb"^element\s+(\S+)\s+(\d+)", head, re.MULTILINE):
        if len(number) > 12 or int(number) > len(data):
            raise BadData(f"is truncated: its header promises {number[:20].decode()} of {name[:20]!r}", file.name)
        if name == b"face":
            _check_faces(int(number), file)


def _check_off(data: bytes, file: SourceFile) -> None:
    numbers = re.match(rb"\s*(?:\w*OFF)?(?:\s*#[^\n]*\n)*\s*(\d{1,12})\s+(\d{1,12})", data)
    if not numbers:
        raise BadData("is not an OFF file", file.name)
    _check_faces(int(numbers[2]), file)
    if int(numbers[1]) + int(numbers[2]) > len(data):
        raise BadData("is truncated: its header promises more than it holds", file.name)


def _check_gltf(data: bytes, file: SourceFile) -> None:
    """Refuse accessors and instances that would unpack to more than the limits, and compressed meshes."""
    if file.suffix == ".glb":
        if len(data) < 20 or data[:4] != b"glTF":
            raise BadData("is not a GLB file", file.name)
        length, kind = struct.unpack("<II", data[12:20])
        if kind != 0x4E4F534A or length > len(data) - 20:
            raise BadData("is truncated, or does not begin with its description", file.name)
        text = data[20 : 20 + length]
    else:
        text = data
    try:
        document: Any = json.loads(text)
        required = document.get("extensionsRequired", [])
        if required:
            raise BadData(f"needs the extension {str(required[0])[:60]}, which is not supported", file.name)
        accessors = document.get("accessors", [])
        promised = sum(int(item["count"]) * COMPONENTS[item["type"]] * 4 for item in accessors)
        faces = [_gltf_faces(mesh, accessors) for mesh in document.get("meshes", [])]
        instances = sum(faces[node["mesh"]] for node in document.get("nodes", []) if "mesh" in node)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise BadData("its description is damaged", file.name) from error
    if promised > MAX_BUFFERS:
        raise BadData(f"its accessors hold {promised:,} bytes, more than the limit of {MAX_BUFFERS:,}", file.name)
    _check_faces(max(instances, sum(faces)), file)


def _gltf_faces(mesh: Any, accessors: Any) -> int:
    total = 0
    for primitive in mesh["primitives"]:
        source = primitive["indices"] if "indices" in primitive else primitive["attributes"]["POSITION"]
        total += int(accessors[source]["count"]) // 3
    return total
