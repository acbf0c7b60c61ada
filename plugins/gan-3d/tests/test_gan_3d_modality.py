"""The modality: rules of reading, round trips of every format, hostile files, labels, pages."""

from __future__ import annotations

import io
import json
import re
import struct
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import trimesh
from gan.errors import BadData
from gan.source import SourceFile, list_source
from gan.testing import shared_data
from gan_3d.data.furniture import box, write_off
from gan_3d.modality import Shape, ShapeConfig, ShapeOptions
from gan_3d.reading import meshes
from gan_3d.surface import surface_of
from gan_3d.writing import formats


def shapes(**settings) -> Shape:
    return Shape(ShapeConfig(**{"resolution": 16, **settings}))


def read(modality: Shape, path: Path) -> list[np.ndarray]:
    (file,) = list_source(path, modality.suffixes).files
    return [sample["voxels"] for sample in modality.read(file)]


def refused(modality: Shape, path: Path, content: bytes, reason: str) -> None:
    path.write_bytes(content)
    with pytest.raises(BadData, match=reason) as error:
        read(modality, path)
    assert len(str(error.value)) < 300
    path.unlink()


def chair_like(side: int = 16) -> np.ndarray:
    """A shape without symmetry: each axis and direction can be told."""
    grid = np.zeros((side, side, side), bool)
    grid[2:12, 3:11, 4:6] = True
    grid[2:4, 3:5, 1:6] = True
    grid[2:12, 9:11, 4:15] = True
    return grid


@pytest.mark.parametrize("kind", ["glb", "obj", "ply", "stl", "vox"])
def test_equal_samples_give_equal_bytes(tmp_path, kind):
    paths = [shapes().write({"voxels": chair_like()}, tmp_path / name, ShapeOptions(file=kind)) for name in ("a", "b")]
    assert paths[0].suffix == f".{kind}"
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_glb_keeps_the_voxels_that_it_was_made_from(tmp_path):
    grid = chair_like()
    grid[14, 14, 1] = True
    path = shapes().write({"voxels": grid}, tmp_path / "a", ShapeOptions(smooth=3))
    (again,) = read(shapes(), path)
    assert (again == chair_like()).all()
    (other,) = read(shapes(resolution=24), path)  # from its surface
    assert other.sum() > 2 * again.sum()
    content = path.read_bytes()
    start = content.index(b'"bits":"') + 8
    path.write_bytes(content[:start] + b"AAAA" + content[start + 4 :])  # damaged bits: the surface again
    (surface,) = read(shapes(), path)
    assert 0 < (surface != again).sum() < 900


def test_a_vox_holds_the_voxels(tmp_path):
    path = shapes().write({"voxels": chair_like()}, tmp_path / "a", ShapeOptions(file="vox"))
    (again,) = read(shapes(normalise="keep"), path)
    assert (again == chair_like()).all()


@pytest.mark.parametrize("kind", ["glb", "obj", "ply", "stl"])
def test_trimesh_reads_a_closed_mesh_with_the_axes_of_the_format(tmp_path, kind):
    grid = chair_like()
    path = shapes().write({"voxels": grid}, tmp_path / "a", ShapeOptions(file=kind))
    mesh = trimesh.load_mesh(path)
    assert mesh.is_watertight
    assert mesh.volume > 0
    low, high = mesh.bounds
    height = (high - low)[1 if kind in ("glb", "obj") else 2]
    assert abs(height - 14 / 16) < 2e-3
    (again,) = read(shapes(normalise="keep", resolution=32), path)
    small = again.reshape(16, 2, 16, 2, 16, 2).mean((1, 3, 5)) > 0.6
    assert (small & grid).sum() / (small | grid).sum() > 0.95


def test_options_of_writing(tmp_path):
    grid = chair_like()
    grid[14:, :2, :2] = True
    modality = shapes()
    whole, kept = (
        trimesh.load_mesh(modality.write({"voxels": grid}, tmp_path / "a", ShapeOptions(keep_all=all_of_them)))
        for all_of_them in (True, False)
    )
    assert (whole.body_count, kept.body_count) == (2, 1)
    plain, smooth = (modality.mesh({"voxels": grid}, ShapeOptions(smooth=passes)) for passes in (0, 5))
    assert np.abs(plain.vertices - smooth.vertices).max() > 0.005
    assert smooth.closed


@pytest.mark.parametrize("kind", ["glb", "obj", "ply", "stl", "vox"])
def test_a_sample_without_voxels_gives_a_file_without_faces(tmp_path, kind):
    modality = shapes()
    path = modality.write({"voxels": np.zeros((16, 16, 16), bool)}, tmp_path / "a", ShapeOptions(file=kind))
    with pytest.raises(BadData):
        read(modality, path)
    assert modality.preview({"voxels": np.zeros((3, 16, 16, 16), bool)}).size[0] > 100


# ------------------------------------------------------------------ rules of reading


def test_the_up_axis_and_the_normalisation(tmp_path):
    vertices, faces = box(5, -3, 100, 10, 20, 40)
    write_off(tmp_path / "a.off", vertices, faces)
    for up, wanted in (("auto", (0.225, 0.45, 0.9)), ("y", (0.225, 0.9, 0.45)), ("x", (0.45, 0.9, 0.225))):
        (grid,) = read(shapes(resolution=20, up=up), tmp_path / "a.off")
        sizes = np.ptp(np.argwhere(grid), axis=0) + 1
        assert (np.abs(sizes - np.array(wanted) * 20) <= 2).all(), up
        low, high = np.argwhere(grid).min(0), np.argwhere(grid).max(0)
        assert np.abs(low + high - 19).max() <= 1
    with pytest.raises(BadData, match="leaves the cube"):
        read(shapes(normalise="keep"), tmp_path / "a.off")


def test_a_shell_is_hollow(tmp_path):
    write_off(tmp_path / "a.off", *box(0, 0, 0, 1, 1, 1))
    (solid,), (hollow,) = (read(shapes(inside=inside), tmp_path / "a.off") for inside in ("solid", "shell"))
    assert solid[8, 8, 8]
    assert not hollow[8, 8, 8]
    assert (solid | hollow == solid).all()


def test_labels_are_subfolders(tmp_path):
    for name in ("b", "a"):
        (tmp_path / name).mkdir()
        write_off(tmp_path / name / "x.off", *box(0, 0, 0, 1, 1, 1))
    write_off(tmp_path / "stray.off", *box(0, 0, 0, 1, 1, 1))
    config = ShapeConfig(resolution=8, labels=True)
    files = list_source(tmp_path, Shape.suffixes).files
    modality = Shape(config, Shape(config).survey(files))
    spec = modality.fields["label"]
    assert (spec.names, spec.high, spec.condition) == (("a", "b"), 1, True)
    found = {file.name: [int(s["label"]) for s in modality.read(file)] for file in files if file.folder}
    assert found == {"a/x.off": [0], "b/x.off": [1]}
    with pytest.raises(BadData, match="class folder"):
        list(modality.read(next(file for file in files if not file.folder)))
    with pytest.raises(BadData, match="two subfolders"):
        Shape(config).survey([file for file in files if file.folder != "b"])
    assert modality.read_condition("label", "b") == 1


def test_grids_of_numpy_and_binvox(tmp_path):
    grid = chair_like()
    np.savez(tmp_path / "a.npz", grid=np.stack([grid, grid[::-1]]).astype(np.uint8) * 7, palette=np.zeros((2, 5, 4)))
    first, second = read(shapes(normalise="keep"), tmp_path / "a.npz")
    assert (first == grid).all()
    assert (second == grid[::-1]).all()
    file_axes = grid[:, ::-1].transpose(0, 2, 1)  # y up
    flat = file_axes.transpose(0, 2, 1).ravel()  # x, z, y
    runs = b"".join(bytes([int(value), 1]) for value in flat)
    (tmp_path / "a.binvox").write_bytes(b"#binvox 1\ndim 16 16 16\ntranslate 0 0 0\nscale 1\ndata\n" + runs)
    (tmp_path / "a.npz").unlink()
    (again,) = read(shapes(normalise="keep"), tmp_path / "a.binvox")
    assert (again == grid).all()


def test_gltf_with_its_buffer_beside_it_and_instances(tmp_path):
    content = formats.glb(surface_of(chair_like()))
    length = struct.unpack("<I", content[12:16])[0]
    document, binary = json.loads(content[20 : 20 + length]), content[28 + length :]
    document["buffers"][0]["uri"] = "a.bin"
    document["nodes"] = [{"mesh": 0}, {"mesh": 0, "translation": [3, 0, 0]}]
    document["scenes"][0]["nodes"] = [0, 1]
    (tmp_path / "a.bin").write_bytes(binary)
    (tmp_path / "a.gltf").write_text(json.dumps(document))
    (grid,) = read(shapes(resolution=32), tmp_path)
    assert np.ptp(np.argwhere(grid), axis=0)[0] > 2 * np.ptp(np.argwhere(grid), axis=0)[2]
    document["buffers"][0]["uri"] = "../secret.bin"
    refused(shapes(), tmp_path / "b.gltf", json.dumps(document).encode(), "not next to it")


# ------------------------------------------------------------------ hostile files


def glb_of(document: dict, binary: bytes = b"") -> bytes:
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    body = struct.pack("<II", len(text), 0x4E4F534A) + text + struct.pack("<II", len(binary), 0x004E4942) + binary
    return struct.pack("<III", 0x46546C67, 2, 12 + len(body)) + body


def test_files_that_promise_too_much_are_refused_at_once(tmp_path):
    started = time.process_time()
    accessor = {"componentType": 5126, "count": 3_000_000_000, "type": "VEC3"}
    primitive = {"primitives": [{"attributes": {"POSITION": 0}}]}
    bomb = {"asset": {"version": "2.0"}, "accessors": [accessor], "meshes": [primitive], "nodes": [{"mesh": 0}]}
    refused(shapes(), tmp_path / "a.glb", glb_of(bomb), "limit")
    instances = {
        **bomb, "accessors": [{**accessor, "count": 3_000_000}], "nodes": [{"mesh": 0}] * 1000,
    }  # fmt: skip
    refused(shapes(), tmp_path / "a.glb", glb_of(instances), "1,000,000,000 faces")
    draco = {**bomb, "accessors": [], "meshes": [], "extensionsRequired": ["KHR_draco_mesh_compression"]}
    refused(shapes(), tmp_path / "a.glb", glb_of(draco), "KHR_draco")
    head = "ply\nformat ascii 1.0\nelement vertex {}\nproperty float x\nelement face {}\nend_header\n"
    refused(shapes(), tmp_path / "a.ply", head.format(4_000_000_000, 1).encode(), "truncated")
    refused(shapes(), tmp_path / "a.ply", head.format(3, "9" * 40).encode(), "truncated")
    refused(shapes(), tmp_path / "a.off", b"OFF\n3 10000000 0\n", "10,000,000 faces")
    refused(shapes(), tmp_path / "a.off", b"OFF\n999999999 1 0\n", "truncated")
    refused(shapes(), tmp_path / "a.stl", bytes(80) + struct.pack("<I", 10_000_000) + bytes(200), "10,000,000 faces")
    huge = struct.pack("<3I", 2**31, 2**31, 2**31)
    vox = b"VOX " + struct.pack("<I", 150) + b"MAIN" + struct.pack("<II", 0, 24) + b"SIZE" + struct.pack("<II", 12, 0)
    refused(shapes(), tmp_path / "a.vox", vox + huge, "256 is the largest side")
    refused(shapes(), tmp_path / "a.binvox", b"#binvox 1\ndim 9999 9999 9999\ndata\n\1\1", "512 is the largest")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        array = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            array, {"descr": "|u1", "fortran_order": False, "shape": (10**6, 512, 512, 512)}
        )
        archive.writestr("voxels.npy", array.getvalue())
    refused(shapes(), tmp_path / "a.npz", packed.getvalue(), "not supported or truncated")
    assert time.process_time() - started < 30


def test_damaged_files_are_refused_with_a_reason(tmp_path):
    for suffix in Shape.suffixes:
        refused(shapes(), tmp_path / f"a{suffix}", b"", "empty|is not|damaged|needs")
        refused(shapes(), tmp_path / f"a{suffix}", b"\0\1\2 nothing known" * 9, r"a\.")
    write_off(tmp_path / "a.off", *box(0, 0, 0, 1, 1, 1))
    good = (tmp_path / "a.off").read_bytes()
    refused(shapes(), tmp_path / "a.off", good.replace(b"0.5000", b"nan", 1), "not finite|damaged")
    refused(shapes(), tmp_path / "a.off", good.replace(b"3 0 1 3", b"3 0 1 99"), "does not exist|damaged")
    refused(shapes(), tmp_path / "a.obj", b"v 1 1 1\nv 1 1 1\nv 1 1 1\nf 1 2 3\n", "largest side is 0")
    refused(shapes(), tmp_path / "a.obj", b"v 0 0 0\nv 1e200 1 1\nv 1 1 1\nf 1 2 3\n", "largest side is 1e")
    refused(shapes(), tmp_path / "a.obj", b"v 0 0 0\nv nan 1 1\nv 1 1 1\nf 1 2 3\n", "not finite")
    refused(shapes(), tmp_path / "a.obj", b"v 0 0 0\n", "no faces|damaged")
    for kind in ("glb", "ply", "stl", "vox"):
        content = shapes().write({"voxels": chair_like()}, tmp_path / "good", ShapeOptions(file=kind)).read_bytes()
        for keep in (10, 40, 100, len(content) // 2):
            refused(shapes(), tmp_path / f"a.{kind}", content[:keep], r"a\.")
        (tmp_path / f"good.{kind}").unlink()
    buffer = io.BytesIO()
    np.savez(buffer, voxels=np.array([[[object()]]]))
    refused(shapes(), tmp_path / "a.npz", buffer.getvalue(), "needs one array")
    refused(shapes(), tmp_path / "a.npz", buffer.getvalue()[:60], "damaged")


def test_a_large_text_is_refused_before_it_is_read(tmp_path):
    file = SourceFile("a.obj", tmp_path / "missing.obj", None, meshes.MAX_TEXT_BYTES + 1)
    with pytest.raises(BadData, match="limit"):
        list(shapes().read(file))


# ------------------------------------------------------------------ pages and data


def test_the_page_has_a_viewer_that_requests_nothing(tmp_path):
    modality = shapes()
    path = modality.write({"voxels": chair_like()}, tmp_path / "a")
    shown = modality.show(SourceFile("a.glb", path, None, path.stat().st_size), "../a.glb", tmp_path)
    script = (tmp_path / "a-viewer.js").read_text()
    assert 'src="a-viewer.js"' in shown
    assert "watertight" in shown
    assert not re.search(r"https?:|fetch|XMLHttp|import\b|eval", script + shown)
    assert len(shown) < 200_000
    for kind in ("vox", "stl"):
        path = modality.write({"voxels": chair_like()}, tmp_path / "b", ShapeOptions(file=kind))
        assert "<canvas" in modality.show(SourceFile(path.name, path, None, path.stat().st_size), "", tmp_path)


@pytest.mark.shared
def test_small_figures_of_the_shared_data():
    archive = shared_data("shape3d", "mmmm_vox.zip")
    modality = shapes(resolution=32)
    files = list_source(archive, modality.suffixes).files
    assert len(files) == 296
    started = time.process_time()
    grids = [next(modality.read(file))["voxels"] for file in files]
    assert time.process_time() - started < 30
    assert all(grid.any() and grid.shape == (32, 32, 32) for grid in grids)
    grid_file = shared_data("shape3d", "mmmm_voxels_32.npz")
    assert len(read(shapes(resolution=32), grid_file)) == 245
