"""Grids and surfaces: what is inside, closed meshes of every grid, volumes and Euler numbers of known shapes."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from gan.errors import BadData
from gan_3d.data.furniture import KINDS, box, frustum, shape
from gan_3d.modality import normalised
from gan_3d.surface import NOTHING, level_set, smoothed, surface_of
from gan_3d.voxels import centred, component_count, cropped, filled, largest_component, shell, surface_voxels
from gan_3d.writing import formats
from gan_3d.writing.picture import render, sheet


def axes(side: int) -> tuple[np.ndarray, ...]:
    """Coordinates of the centres of voxels."""
    line = (np.arange(side) + 0.5) / side - 0.5
    return tuple(np.meshgrid(line, line, line, indexing="ij"))


def sphere_field(side: int, radius: float) -> np.ndarray:
    x, y, z = axes(side)
    return np.sqrt(x**2 + y**2 + z**2) - radius


def torus_field(side: int, large: float, small: float) -> np.ndarray:
    x, y, z = axes(side)
    return np.hypot(np.hypot(x, y) - large, z) - small


@pytest.mark.parametrize(
    ("field", "euler", "volume"),
    [
        (sphere_field(32, 0.4), 2, 4 / 3 * np.pi * 0.4**3),
        (torus_field(40, 0.3, 0.12), 0, 2 * np.pi**2 * 0.3 * 0.12**2),
    ],
)
def test_sphere_and_torus_have_their_euler_number_and_volume(field, euler, volume):
    mesh = level_set(field, 0.0, 1.0)
    assert mesh.euler_number == euler
    assert mesh.closed
    assert abs(mesh.volume / volume - 1) < 0.02
    theirs = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    assert theirs.is_watertight
    assert theirs.is_winding_consistent
    assert theirs.euler_number == euler
    assert np.isclose(theirs.volume, mesh.volume)


@pytest.mark.parametrize(("field", "euler"), [(sphere_field(32, 0.4), 2), (torus_field(40, 0.3, 0.12), 0)])
def test_grids_of_zeros_and_ones_keep_topology_and_volume_also_when_smoothed(field, euler):
    grid = field < 0
    rough, smooth = surface_of(grid), surface_of(grid, 10)
    assert rough.euler_number == smooth.euler_number == euler
    assert smooth.closed
    truth = grid.mean()
    assert abs(rough.volume / truth - 1) < 0.04
    assert abs(smooth.volume / rough.volume - 1) < 0.04


@pytest.mark.parametrize("share", [0.02, 0.2, 0.5, 0.8, 1.0])
def test_every_grid_has_a_closed_surface_of_positive_volume(share):
    rng = np.random.default_rng(3)
    for _ in range(8):
        grid = rng.random((9, 9, 9)) < share
        for mesh in (surface_of(grid), surface_of(grid, keep_all=True, solid=False)):
            assert mesh.closed
            assert mesh.volume > 0


def test_an_inside_out_or_open_mesh_is_noticed():
    mesh = surface_of(np.ones((4, 4, 4), bool))
    assert mesh._replace(faces=mesh.faces[:, ::-1]).volume < 0
    assert not mesh._replace(faces=mesh.faces[1:]).closed
    assert not mesh._replace(faces=np.concatenate([mesh.faces[1:], mesh.faces[1:2]])).closed
    assert not NOTHING.closed


def test_nothing_has_no_surface():
    assert len(surface_of(np.zeros((6, 6, 6), bool), 3).faces) == 0


def test_only_the_largest_component_is_kept_and_cavities_are_filled():
    grid = np.zeros((12, 12, 12), bool)
    grid[1:7, 1:7, 1:7] = True
    grid[3:5, 3:5, 3:5] = False
    grid[10:12, 10:12, 10:12] = True
    assert component_count(grid) == 2
    assert largest_component(grid).sum() == 6**3 - 2**3
    assert filled(grid).sum() == 6**3 + 2**3
    assert surface_of(grid).volume > surface_of(grid, solid=False).volume
    assert surface_of(grid).euler_number == 2
    assert surface_of(grid, solid=False).euler_number == 4
    assert surface_of(grid, keep_all=True).euler_number == 4


def test_smoothing_moves_vertices_only():
    mesh = surface_of(sphere_field(16, 0.4) < 0)
    assert smoothed(mesh, 0) is mesh
    again = smoothed(mesh, 5)
    assert (again.faces == mesh.faces).all()
    radii = [np.linalg.norm(m.vertices, axis=1).std() for m in (mesh, again)]
    assert radii[1] < 0.6 * radii[0]


# ------------------------------------------------------------------ triangles -> voxels


def box_triangles(*size: float) -> np.ndarray:
    vertices, faces = box(0, 0, -size[2] / 2, *size)
    return vertices[faces]


def test_a_box_fills_the_voxels_that_it_touches():
    grid = filled(shell(box_triangles(0.44, 0.33, 0.68), 20))
    inside = [np.abs(np.arange(20) - 9.5) - 0.5 < half * 20 for half in (0.22, 0.165, 0.34)]
    wanted = inside[0][:, None, None] & inside[1][None, :, None] & inside[2][None, None, :]
    assert (grid == wanted).all()
    assert shell(box_triangles(0.44, 0.33, 0.68), 20).sum() == surface_voxels(wanted).sum()


def test_parts_of_furniture_face_outwards():
    for vertices, faces in (box(1, 2, 3, 0.5, 0.6, 0.7), frustum(1, 2, 3, 0.4, 0.2, 0.5)):
        mesh = trimesh.Trimesh(vertices, faces, process=False)
        assert mesh.is_watertight
        assert mesh.volume > 0


def test_an_open_mesh_is_its_surface_and_a_closed_one_is_filled():
    triangles = box_triangles(0.6, 0.6, 0.6)
    whole = filled(shell(triangles, 16))
    opened = filled(shell(triangles[:-2], 16))
    assert whole[8, 8, 8]
    assert not opened[8, 8, 8]
    assert opened.any()


def test_a_long_thin_triangle_costs_little_and_leaves_no_gap():
    triangle = np.array([[[-0.45, 0.0, 0.01], [0.45, 0.0, 0.01], [0.45, 0.0005, 0.01]]])
    grid = shell(triangle, 64)
    assert grid[:, 32, 32].sum() == 58
    assert grid.sum() == 58


def test_surfaces_of_too_many_points_are_refused():
    with pytest.raises(BadData, match="more than the limit"):
        shell(np.repeat(box_triangles(0.9, 0.9, 0.9), 60, axis=0), 256)


def test_blocks_are_centred_and_only_scaled_down():
    block = np.zeros((9, 9, 9), bool)
    block[2:5, 3:4, 4:8] = True
    grid = centred(cropped(block, block), 8)
    assert grid.sum() == 12
    assert grid[2:5, 3, 2:6].all()
    assert centred(np.ones((40, 20, 10), bool), 10).sum() == 10 * 5 * 2
    with pytest.raises(BadData, match="no occupied"):
        cropped(block, np.zeros_like(block))


def test_furniture_is_one_solid_of_its_kind():
    for kind in KINDS:
        for seed in range(6):
            vertices, faces = shape(kind, seed)
            grid = filled(shell(normalised(vertices[faces], "x"), 16))
            assert component_count(grid) == 1
            assert 0.02 < grid.mean() < 0.35
    assert (shape("lamp", 3)[0] == shape("lamp", 3)[0]).all()
    assert (shape("lamp", 3)[0] != shape("lamp", 4)[0]).any()


# ------------------------------------------------------------------ pictures


def test_a_picture_shows_the_near_faces_and_hides_the_far_ones():
    cube = surface_of(np.pad(np.ones((6, 6, 6), bool), 2))
    whole = np.asarray(render(cube, 64)).astype(int)
    drawn = (whole != 250).any(axis=2)
    assert 0.15 < drawn.mean() < 0.5
    assert not drawn[0].any()
    near_only = cube._replace(faces=cube.faces[np.random.default_rng(0).permutation(len(cube.faces))])
    again = np.asarray(render(near_only, 64)).astype(int)
    assert np.abs(again - whole).max() <= 40  # edges of equal depth may differ
    assert (np.abs(again - whole).max(axis=2) > 0).mean() < 0.02
    sides = {tuple(whole[row, column]) for row, column in ((22, 32), (40, 22), (40, 44))}
    assert len(sides) == 3  # three faces, three shades


def test_the_camera_looks_from_above():
    """A cone's tip is above its foot in the picture."""
    vertices, faces = frustum(0, 0, -0.4, 0.3, 0.01, 0.8)
    from gan_3d.surface import Mesh

    drawn = (np.asarray(render(Mesh(vertices, faces), 64)) != 250).any(axis=2)
    widths = drawn.sum(axis=1)
    rows = np.flatnonzero(widths)
    assert widths[rows[2]] < widths[rows[-6]]


def test_a_sheet_has_a_tile_for_each_shape_even_an_empty_one():
    picture = sheet([surface_of(np.ones((4, 4, 4), bool)), NOTHING, NOTHING], 20)
    assert picture.size == (46, 46)
    assert (np.asarray(picture)[2:22, 24:44] == 250).all()


def test_equal_meshes_give_equal_bytes_and_a_valid_file():
    mesh = surface_of(sphere_field(12, 0.4) < 0)
    for writer in (formats.glb, formats.obj, formats.ply, formats.stl):
        assert writer(mesh) == writer(mesh)
        assert writer(NOTHING)
    assert formats.glb(mesh)[:4] == b"glTF"
    assert len(formats.glb(mesh)) % 4 == 0


def test_a_thin_shape_does_not_vanish_when_it_is_scaled_down():
    """A rod in an odd row of 32 is between the centres that are kept for 16; its cells keep their index."""
    rod = np.zeros((32, 32, 32), np.uint8)
    rod[:, 0, 0] = 7
    rod[:, 31, 31] = 9
    small = centred(rod, 10)
    assert sorted(np.unique(small)) == [0, 7, 9]
    assert (small == 7).sum() == 10
