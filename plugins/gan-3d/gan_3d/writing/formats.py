"""Bytes of files: GLB, OBJ, PLY, STL and MagicaVoxel. Equal shapes give equal bytes.

GLB and OBJ have y up, as their viewers expect; PLY, STL and VOX have z up. Coordinates are those of the cube
-0.5 … 0.5.
"""

from __future__ import annotations

import base64
import json
import struct
import zlib

import numpy as np

from gan_3d.surface import Array, Mesh
from gan_3d.voxels import Grid

GREY = (176, 180, 190, 255)
"""Colour of the voxels in a VOX file."""


def y_up(mesh: Mesh) -> Mesh:
    """Turn z up into y up."""
    x, y, z = mesh.vertices.T
    return mesh._replace(vertices=np.stack([x, z, -y], 1))


def glb(mesh: Mesh, grid: Grid | None = None) -> bytes:
    """Binary glTF 2.0: one mesh, positions and indices; a scene without nodes for an empty mesh.

    The occupied voxels of `grid` are kept in ``asset.extras.voxels`` (read by `gan_3d.reading`), since a mesh
    alone does not give them back.
    """
    extras: dict[str, object] = {}
    if grid is not None and grid.any():
        packed = zlib.compress(np.packbits(grid).tobytes(), 9)
        extras["voxels"] = {"side": len(grid), "bits": base64.b64encode(packed).decode()}
    document: dict[str, object] = {
        "asset": {"version": "2.0", "generator": "gan-3d", "extras": extras},
        "scene": 0,
        "scenes": [{"nodes": [0] if len(mesh.faces) else []}],
    }
    binary = b""
    if len(mesh.faces):
        points, faces = y_up(mesh).vertices.astype("<f4"), mesh.faces.astype("<u4")
        parts, attributes = [(points, 34962), (faces, 34963)], {"POSITION": 0}
        accessors: list[dict[str, object]] = [
            {"bufferView": 0, "componentType": 5126, "count": len(points), "type": "VEC3",
             "min": points.min(0).tolist(), "max": points.max(0).tolist()},
            {"bufferView": 1, "componentType": 5125, "count": faces.size, "type": "SCALAR"},
        ]  # fmt: skip
        if mesh.colours is not None:
            parts.append((_linear(mesh.colours), 34962))
            attributes["COLOR_0"] = 2
            accessors.append(
                {"bufferView": 2, "componentType": 5121, "normalized": True, "count": len(points), "type": "VEC4"}
            )
        starts = np.cumsum([0, *(part.nbytes for part, _ in parts)]).tolist()
        binary = b"".join(part.tobytes() for part, _ in parts)
        document |= {
            "nodes": [{"mesh": 0}],
            "meshes": [{"primitives": [{"attributes": attributes, "indices": 1, "material": 0}]}],
            "materials": [{"pbrMetallicRoughness": {"metallicFactor": 0, "roughnessFactor": 0.8}}],
            "buffers": [{"byteLength": len(binary)}],
            "bufferViews": [
                {"buffer": 0, "byteOffset": start, "byteLength": part.nbytes, "target": target}
                for start, (part, target) in zip(starts, parts, strict=False)
            ],
            "accessors": accessors,
        }
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<II", len(text), 0x4E4F534A) + text
    if binary:
        chunks += struct.pack("<II", len(binary), 0x004E4942) + binary
    return struct.pack("<III", 0x46546C67, 2, 12 + len(chunks)) + chunks


def _linear(colours: Array) -> Array:
    """Colours ``(V, 3)`` uint8 as glTF has them: linear in light, with opacity, ``(V, 4)`` uint8."""
    value = colours / 255
    light = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    opaque = np.full((len(colours), 1), 255, np.uint8)
    return np.concatenate([np.rint(light * 255).astype(np.uint8), opaque], 1)


def obj(mesh: Mesh) -> bytes:
    """Wavefront OBJ."""
    lines = [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in (y_up(mesh).vertices + 0.0).tolist()]
    lines += [f"f {a} {b} {c}" for a, b, c in (mesh.faces + 1).tolist()]
    return ("\n".join(lines) + "\n").encode()


def ply(mesh: Mesh) -> bytes:
    """Binary PLY."""
    head = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(mesh.vertices)}\n"
    head += "property float x\nproperty float y\nproperty float z\n"
    head += f"element face {len(mesh.faces)}\nproperty list uchar int vertex_indices\nend_header\n"
    faces = np.empty(len(mesh.faces), np.dtype([("count", "u1"), ("corners", "<i4", 3)]))
    faces["count"], faces["corners"] = 3, mesh.faces
    return head.encode() + mesh.vertices.astype("<f4").tobytes() + faces.tobytes()


def stl(mesh: Mesh) -> bytes:
    """Binary STL."""
    corners = mesh.vertices[mesh.faces].astype("<f4")
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-20)
    faces = np.zeros(len(corners), np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("colour", "<u2")]))
    faces["normal"], faces["corners"] = normals, corners
    return b"gan-3d".ljust(80, b" ") + struct.pack("<I", len(faces)) + faces.tobytes()


def vox(grid: Grid) -> bytes:
    """MagicaVoxel 150: all occupied voxels, in one colour."""
    places = np.argwhere(grid).astype(np.uint8)
    cells = np.concatenate([places, np.ones((len(places), 1), np.uint8)], 1).tobytes()
    palette = bytes(GREY) + bytes(4 * 255)
    children = _chunk(b"SIZE", struct.pack("<3I", *grid.shape))
    children += _chunk(b"XYZI", struct.pack("<I", len(places)) + cells) + _chunk(b"RGBA", palette)
    return b"VOX " + struct.pack("<I", 150) + b"MAIN" + struct.pack("<II", 0, len(children)) + children


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<II", len(content), 0) + content
