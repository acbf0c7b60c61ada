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

from gan_3d.colours import GREY, to_light, to_palette
from gan_3d.surface import Array, Mesh
from gan_3d.voxels import Grid


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
            opaque = np.full((len(points), 1), 255, np.uint8)
            parts.append((np.concatenate([to_light(mesh.colours), opaque], 1), 34962))
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


def obj(mesh: Mesh) -> bytes:
    """Wavefront OBJ; colours follow the places of vertices, 0 … 1, as many programs read them."""
    lines = [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in (y_up(mesh).vertices + 0.0).tolist()]
    if mesh.colours is not None:
        shades = [f" {r:.4f} {g:.4f} {b:.4f}" for r, g, b in (mesh.colours / 255).tolist()]
        lines = [line + shade for line, shade in zip(lines, shades, strict=True)]
    lines += [f"f {a} {b} {c}" for a, b, c in (mesh.faces + 1).tolist()]
    return ("\n".join(lines) + "\n").encode()


def ply(mesh: Mesh) -> bytes:
    """Binary PLY."""
    head = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(mesh.vertices)}\n"
    head += "property float x\nproperty float y\nproperty float z\n"
    kind: list[tuple[str, str, int]] = [("place", "<f4", 3)]
    if mesh.colours is not None:
        head += "property uchar red\nproperty uchar green\nproperty uchar blue\n"
        kind.append(("colour", "u1", 3))
    head += f"element face {len(mesh.faces)}\nproperty list uchar int vertex_indices\nend_header\n"
    vertices, faces = (
        np.empty(len(mesh.vertices), kind),
        np.empty(len(mesh.faces), [("count", "u1"), ("corners", "<i4", 3)]),
    )
    vertices["place"], faces["count"], faces["corners"] = mesh.vertices, 3, mesh.faces
    if mesh.colours is not None:
        vertices["colour"] = mesh.colours
    return head.encode() + vertices.tobytes() + faces.tobytes()


def stl(mesh: Mesh) -> bytes:
    """Binary STL."""
    corners = mesh.vertices[mesh.faces].astype("<f4")
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-20)
    faces = np.zeros(len(corners), np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("colour", "<u2")]))
    faces["normal"], faces["corners"] = normals, corners
    return b"gan-3d".ljust(80, b" ") + struct.pack("<I", len(faces)) + faces.tobytes()


def vox(grid: Grid, colours: Array | None = None) -> bytes:
    """MagicaVoxel 150: all occupied voxels, in grey or in their colours ``(R, R, R, 3)``, of which 255 are kept."""
    places = np.argwhere(grid).astype(np.uint8)
    shades = np.tile(np.array(GREY, np.uint8), (len(places), 1)) if colours is None else colours[grid]
    used, rows = to_palette(shades)
    cells = np.concatenate([places, rows[:, None] + np.uint8(1)], 1).tobytes()
    palette = np.zeros((256, 4), np.uint8)
    palette[: len(used), :3], palette[: len(used), 3] = used, 255
    children = _chunk(b"SIZE", struct.pack("<3I", *grid.shape))
    children += _chunk(b"XYZI", struct.pack("<I", len(places)) + cells) + _chunk(b"RGBA", palette.tobytes())
    return b"VOX " + struct.pack("<I", 150) + b"MAIN" + struct.pack("<II", 0, len(children)) + children


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<II", len(content), 0) + content
