"""HTML that shows one shape: a canvas that turns it, drawn by a small script beside the page; nothing is fetched."""

from __future__ import annotations

import base64
import html
import io
from importlib.resources import files
from pathlib import Path

import numpy as np

from gan_3d.surface import Mesh
from gan_3d.writing.picture import face_colours, render

STILL = 300
"""Side of the still picture, in pixels."""
MOST_FACES = 60_000
"""Meshes with more faces are shown as a still picture, because turning them would be slow."""


def viewer(mesh: Mesh, stem: str, folder: Path) -> str:
    """HTML of a mesh in the cube -0.5 … 0.5; writes ``stem-viewer.js`` into `folder`.

    The mesh is in the page itself (positions as 16-bit integers), and a page opened from a disk needs no server.
    """
    if not len(mesh.faces):
        return "<small>an empty shape</small>"
    picture = io.BytesIO()
    render(mesh, STILL).save(picture, "PNG")
    still = f"data:image/png;base64,{base64.b64encode(picture.getvalue()).decode()}"
    facts = f"{len(mesh.vertices):,} vertices, {len(mesh.faces):,} faces, volume {mesh.volume:.3f}"
    facts += ", watertight" if mesh.closed else ", open"
    if len(mesh.faces) > MOST_FACES:
        return f'<img alt="shape" width="{STILL}" src="{still}"><small>{facts}</small>'
    points = np.clip(np.rint(mesh.vertices * 32767), -32768, 32767).astype("<i2")
    faces = mesh.faces.astype("<u4" if len(points) > 65535 else "<u2")
    shades = np.rint(face_colours(mesh)).astype(np.uint8)
    encoded = [base64.b64encode(array.tobytes()).decode() for array in (points, faces, shades)]
    script = folder / f"{stem}-viewer.js"
    script.write_bytes(files("gan_3d").joinpath("writing/viewer.js").read_bytes())
    return (
        f'<canvas class="gan-3d" width="{STILL}" height="{STILL}" title="drag to turn" '
        f'style="background:url({still});touch-action:none;cursor:grab" '
        f'data-points="{encoded[0]}" data-faces="{encoded[1]}" data-colours="{encoded[2]}" '
        f'data-wide="{int(faces.itemsize == 4)}"></canvas>'
        f'<small>{facts}; drag to turn</small><script src="{html.escape(script.name)}"></script>'
    )
