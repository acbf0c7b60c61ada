"""Colours: palettes and vertex colours become those of voxels, 3D-GAN learns them, and files keep them."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from gan.contracts import Request
from gan.draws import SeededDraws, StepDraws
from gan.game import Batch
from gan.losses import Wasserstein
from gan.source import list_source
from gan_3d.architectures.voxelgan import VoxelGAN, VoxelGANConfig, VoxelGANOptions
from gan_3d.colours import GREY, codes, default_palette, from_light, spread, to_light, to_palette
from gan_3d.data.furniture import box
from gan_3d.modality import Shape, ShapeConfig, ShapeOptions
from gan_3d.writing import formats

RED, BLUE = (200, 30, 10), (20, 40, 220)
CPU = torch.device("cpu")


def shapes(**settings) -> Shape:
    return Shape(ShapeConfig(**{"resolution": 16, "colours": True, "normalise": "keep", **settings}))


def read(modality: Shape, path: Path) -> dict[str, np.ndarray]:
    (file,) = list_source(path, modality.suffixes).files
    (sample,) = modality.read(file)
    for name, spec in modality.fields.items():
        assert spec.mismatch(sample[name]) == ""
    return sample


def two_halves(side: int = 16) -> dict[str, np.ndarray]:
    """A block that is red below and blue above."""
    grid = np.zeros((side, side, side), bool)
    grid[3:13, 5:11, 2:14] = True
    colours = np.zeros((side, side, side, 3), np.uint8)
    colours[..., :8, :], colours[..., 8:, :] = RED, BLUE
    return {"voxels": grid, "colours": colours * grid[..., None]}


def test_a_vox_keeps_voxels_and_colours(tmp_path):
    sample = two_halves()
    path = shapes().write(sample, tmp_path / "a", ShapeOptions(file="vox"))
    again = read(shapes(), path)
    assert np.array_equal(again["voxels"], sample["voxels"])
    assert np.array_equal(again["colours"], sample["colours"])


@pytest.mark.parametrize("kind", ["glb", "obj", "ply"])
def test_meshes_keep_colours_and_their_axes(tmp_path, kind):
    """Read again by this plugin and by trimesh: red below and blue above; glTF has colours in light."""
    sample = two_halves()
    path = shapes().write(sample, tmp_path / "a", ShapeOptions(file=kind))
    again = read(shapes(normalise="unit" if kind == "glb" else "keep"), path)
    both = again["voxels"] & sample["voxels"]
    assert both.sum() > 0.9 * sample["voxels"].sum()
    for level, wanted in ((4, RED), (12, BLUE)):
        layer = both[:, :, level]
        assert np.abs(again["colours"][:, :, level][layer].astype(int) - wanted).max() <= 4
    (mesh,) = trimesh.load_scene(path, skip_materials=True).geometry.values()
    up = mesh.vertices[:, 2 if kind == "ply" else 1]
    top = mesh.visual.vertex_colors[up > 0.2][:, :3].astype(int)
    assert np.abs(top - (to_light(np.array(BLUE)) if kind == "glb" else BLUE)).max() <= 1


def test_palettes_of_npz_and_of_files_without_one(tmp_path):
    """Index i has row i - 1; MagicaVoxel's own colours begin with white and end with a dark grey."""
    indices = np.zeros((2, 16, 16, 16), np.uint8)
    indices[0, 4:8, 4:8, 4:8], indices[1, 4:8, 4:8, 4:8] = 1, 7
    palette = np.zeros((2, 256, 4), np.uint8)
    palette[0, 0, :3], palette[1, 6, :3] = RED, BLUE
    np.savez(tmp_path / "a.npz", grid=indices, palette=palette, name=np.array(["one", "two"]))
    (file,) = list_source(tmp_path / "a.npz", Shape.suffixes).files
    first, second = shapes().read(file)
    assert first["colours"][5, 5, 5].tolist() == list(RED)
    assert second["colours"][5, 5, 5].tolist() == list(BLUE)
    assert first["colours"][0, 0, 0].tolist() == [0, 0, 0]
    table = default_palette()
    assert table.shape == (256, 3)
    assert [table[i].tolist() for i in (0, 1, 214, 215, 254)] == [
        [255, 255, 255], [255, 255, 204], [0, 0, 51], [238, 0, 0], [17, 17, 17],
    ]  # fmt: skip
    content = formats.vox(indices[0] > 0)
    start = content.index(b"RGBA")
    (tmp_path / "b.vox").write_bytes(content[:start])
    assert read(shapes(), tmp_path / "b.vox")["colours"][5, 5, 5].tolist() == [255, 255, 255]


def test_a_mesh_without_colours_is_grey_and_one_with_them_fills_its_inside(tmp_path):
    vertices, faces = box(0, 0, -0.4, 0.8, 0.6, 0.8)
    plain = trimesh.Trimesh(vertices, faces, process=False)
    (tmp_path / "a.ply").write_bytes(plain.export(file_type="ply"))
    sample = read(shapes(), tmp_path / "a.ply")
    assert (sample["colours"][sample["voxels"]] == GREY).all()
    colours = np.where(vertices[:, 2:] > 0, BLUE, RED)
    painted = trimesh.Trimesh(vertices, faces, vertex_colors=colours, process=False)
    (tmp_path / "b.ply").write_bytes(painted.export(file_type="ply"))
    sample = read(shapes(), tmp_path / "b.ply")
    assert sample["colours"][8, 8, 2].tolist() == list(RED)  # inside, near the ground
    assert sample["colours"][8, 8, 13].tolist() == list(BLUE)


def test_codes_palettes_and_light():
    shades = np.random.default_rng(0).integers(0, 256, (500, 3)).astype(np.uint8)
    grid = np.ones((500, 1, 1), bool)
    assert np.array_equal(spread(codes(shades)[:, None, None], grid)[:, 0, 0], shades)
    palette, rows = to_palette(shades[:200])
    assert np.array_equal(palette[rows], shades[:200])
    palette, rows = to_palette(shades)
    assert len(palette) <= 255
    assert np.abs(palette[rows].astype(int) - shades).mean() < 12
    bright = np.arange(60, 256)
    assert np.abs(from_light(to_light(bright)).astype(int) - bright).max() <= 3


def test_3dgan_learns_four_numbers_of_a_voxel():
    """Both players see colours; what is generated is black where it is empty, and within the range of its field."""
    torch.manual_seed(0)
    modality = shapes(resolution=8)
    config = VoxelGANConfig(latent=4, generator_width=4, discriminator_width=4)
    model = VoxelGAN(config, modality.fields)
    sample = two_halves(16)
    batch = {name: torch.from_numpy(np.stack([values[::2, ::2, ::2]] * 2)) for name, values in sample.items()}
    assert model.volumes(batch)[0, :, 4, 4, 6].tolist() == pytest.approx([1, 20 / 255, 40 / 255, 220 / 255])
    given = Batch(batch, StepDraws(1, 2, 0, 2, CPU), 0, 0.0)
    for turn in model.phases(Wasserstein(), {})[0].turns:
        model.zero_grad()
        sum(value for name, value in turn.objective(given).items() if not name.startswith("_")).backward()
        for name, parameter in model.players()[turn.player].named_parameters():
            assert parameter.grad.abs().sum() > 0, name
    with torch.no_grad():
        made = model.eval().generate(2, SeededDraws.of(0, 0, 2, CPU), Request(VoxelGANOptions(symmetric=True)))
    for name, spec in modality.fields.items():
        assert spec.mismatch(made[name], 2) == ""
    assert made["voxels"].any()
    assert not made["voxels"].all()
    assert made["colours"][~made["voxels"]].max() == 0
    assert made["colours"][made["voxels"]].float().std() > 0
    assert torch.equal(made["colours"], made["colours"].flip(1))
    picture = np.asarray(modality.preview({name: values.numpy() for name, values in made.items()}))
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 20


def test_pages_and_pictures_show_colours(tmp_path):
    sample = two_halves()
    path = shapes().write(sample, tmp_path / "a")
    (file,) = list_source(path, Shape.suffixes).files
    html = shapes().show(file, "a.glb", tmp_path)
    assert "data-colours=" in html
    seen = np.asarray(shapes().preview({name: values[None] for name, values in sample.items()})).astype(int)
    assert (seen[..., 0] - seen[..., 2]).max() > 100
    assert (seen[..., 2] - seen[..., 0]).max() > 100
    content = path.read_bytes()
    document = json.loads(content[20 : 20 + struct.unpack("<I", content[12:16])[0]])
    assert document["meshes"][0]["primitives"][0]["attributes"] == {"POSITION": 0, "COLOR_0": 2}
    with pytest.raises(ValueError, match="form=voxels"):
        ShapeConfig(colours=True, form="distance")
