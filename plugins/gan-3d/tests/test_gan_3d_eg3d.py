"""EG3D: published sizes, cameras that agree with those of the pictures, volume rendering, and its game."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys

import gan_3d
import numpy as np
import pytest
import torch
from gan.api import recipe as named_recipe
from gan.contracts import FieldSpec, Request, SmoothLatentSpace, StyleSpace
from gan.draws import SeededDraws, StepDraws
from gan.errors import BadData, UsageError
from gan.game import Batch
from gan.losses import NonSaturating
from gan.source import list_source
from gan.storage.checkpoint import Checkpoints
from gan_3d.architectures import eg3d
from gan_3d.architectures.eg3d import EG3D, EG3DConfig, EG3DOptions, blurred, camera_axes, composite, important
from gan_3d.data.furniture import write_furniture
from gan_3d.modality import Shape, ShapeConfig, ShapeOptions
from gan_3d.surface import Mesh, level_set
from gan_3d.views import DISTANCE, photograph
from gan_3d.voxels import occupied

CPU = torch.device("cpu")
SMALL = {"latent": 6, "style": 6, "capacity": 32, "max_channels": 6, "plane_resolution": 8, "features": 4, "hidden": 5,
         "raw_resolution": 4, "coarse": 4, "fine": 3, "superresolution": (4, 4)}  # fmt: skip


def fields(side=8, classes=0):
    return Shape(
        ShapeConfig(resolution=side, form="views", labels=classes > 0), {"classes": [str(n) for n in range(classes)]}
    ).fields


def build(side=8, classes=0, **settings):
    torch.manual_seed(0)
    return EG3D(EG3DConfig(**{**SMALL, **settings}), fields(side, classes))


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_the_networks_have_the_sizes_of_the_release():
    """At 128 pixels: backbone 29,008,301, decoder 4,257, superresolution 574,954, of which four are strengths of noise
    that it never adds."""
    with torch.device("meta"):
        made = EG3D(EG3DConfig(), fields(128)).generator
    assert count(made.triplanes.backbone) == 29_008_301
    assert count(made.triplanes.hidden) + count(made.triplanes.out) == 4_257
    assert count(made.superresolution) == 574_954 - 4


# ---------------------------------------------------------------------- cameras and rendering


def ball(side=48, radius=0.3, centre=(0.15, 0.05, -0.1)):
    line = (np.arange(side) + 0.5) / side - 0.5
    x, y, z = np.meshgrid(line, line, line, indexing="ij")
    return level_set(np.sqrt((x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2) - radius, 0.0, 1.0)


def of_ball(radius=0.3, centre=(0.15, 0.05, -0.1)):
    """Densities and features of an opaque grey ball in place of `TriPlanes.at`."""

    def at(planes, points):
        inside = (points - torch.tensor(centre)).norm(dim=2, keepdim=True) < radius
        return torch.where(inside, 400.0, -400.0), torch.full((*points.shape[:2], 4), 0.25)

    return at


@pytest.mark.parametrize(("azimuth", "elevation"), [(0.0, 0.0), (70.0, 30.0), (200.0, -20.0)])
def test_volume_rendering_sees_what_the_camera_of_the_data_sees(monkeypatch, azimuth, elevation):
    """An opaque ball off the centre: its silhouette is that of the drawn picture of its mesh, in place and size; the
    ray through the centre of the ball's picture meets its surface at the distance of the centre less the radius."""
    made = build(side=32, raw_resolution=32, coarse=64, fine=0)
    monkeypatch.setattr(made.generator.triplanes, "at", of_ball())
    axes = camera_axes(torch.tensor([azimuth]), torch.tensor([elevation]))
    with torch.no_grad():
        seen, depth, opacity = made.generator.rendered(torch.zeros(1, 3, 4, 8, 8), axes)
    drawn = photograph(ball(), 32, azimuth, elevation)
    silhouette = drawn.min(0) < 200
    assert (silhouette ^ (opacity[0].numpy() > 0.5)).sum() <= 0.08 * silhouette.sum()
    assert seen[0, :, 0, 0].tolist() == pytest.approx([1.0] * 4)  # white
    middle = np.argwhere(silhouette).mean(0).round().astype(int)
    centre = DISTANCE * axes[0, 2] - torch.tensor([0.15, 0.05, -0.1])
    assert depth[0, middle[0], middle[1]].item() == pytest.approx(centre.norm().item() - 0.3, abs=0.03)
    assert seen[0, 0, middle[0], middle[1]].item() == pytest.approx(0.25, abs=0.01)


def test_points_are_taken_where_a_ray_is_opaque(monkeypatch):
    """The surface of the ball is found ten times as precisely by 8 + 24 points as by 8."""
    errors = []
    for fine in (0, 24):
        made = build(side=32, raw_resolution=8, coarse=8, fine=fine)
        monkeypatch.setattr(made.generator.triplanes, "at", of_ball(0.4, (0.0, 0.0, 0.0)))
        axes = camera_axes(torch.tensor([30.0]), torch.tensor([10.0]))
        with torch.no_grad():
            _, depth, opacity = made.generator.rendered(torch.zeros(1, 3, 4, 8, 8), axes)
        errors.append((depth[0, 3:5, 3:5] - (DISTANCE - 0.4)).abs().max().item())
        assert opacity[0, 3, 3] > 0.99
    assert errors[1] < 0.35 * errors[0]


def test_composition_is_that_of_a_fog():
    """A fog of constant density d over a length L lets exp(-L · softplus(d - 1)) of the white behind it pass."""
    depths = torch.linspace(1.0, 1.5, 11).view(1, 1, 11, 1)
    seen, weights, depth = composite(depths, torch.full((1, 1, 11, 1), 3.0), torch.zeros(1, 1, 11, 3))
    passed = math.exp(-0.5 * math.log1p(math.exp(2.0)))
    assert seen.flatten().tolist() == pytest.approx([passed] * 3, rel=1e-4)
    assert weights.sum().item() == pytest.approx(1 - passed, rel=1e-4)
    assert 1.0 < depth.item() < 1.25


def test_important_places_follow_the_weights():
    depths = torch.linspace(0, 1, 11).view(1, 1, 11, 1)
    weights = torch.zeros(1, 1, 10, 1)
    weights[0, 0, 6] = 1.0  # from 0.6 to 0.7
    found = important(depths, weights, torch.linspace(0.01, 0.99, 200).view(1, 1, 200)).flatten()
    assert found.diff().min() >= 0
    assert ((found > 0.5) & (found < 0.8)).float().mean() > 0.8
    even = important(depths, torch.ones(1, 1, 10, 1), torch.tensor([[[0.0, 0.25, 0.75, 1.0]]])).flatten()
    assert even.tolist() == pytest.approx([0.0, 0.25, 0.75, 1.0], abs=1e-5)


def test_blur_keeps_the_mean_and_softens_edges():
    pictures = torch.zeros(1, 3, 16, 16)
    pictures[..., 8:] = 1.0
    soft = blurred(pictures, 1.5)
    assert soft.mean().item() == pytest.approx(0.5, abs=1e-5)
    assert 0.2 < soft[0, 0, 8, 7].item() < 0.5
    assert blurred(pictures, 0.3) is pictures


# ---------------------------------------------------------------------- the game


def batch_of(made, classes=0, size=4):
    low, high = made.elevations
    given = {
        "picture": torch.randint(0, 256, (size, 3, made.side, made.side), dtype=torch.uint8),
        "azimuth": torch.linspace(0, 300, size),
        "elevation": torch.linspace(low, high, size),
    }
    if classes:
        given["label"] = torch.arange(size) % classes
    return Batch(given, StepDraws(1, size, 0, size, CPU), 0, 0.0)


@pytest.mark.parametrize("classes", [0, 3])
def test_every_turn_teaches_all_of_its_player(classes):
    made = build(classes=classes)
    given = batch_of(made, classes)
    for turn in made.phases(NonSaturating(), {})[0].turns:
        made.zero_grad()
        terms = turn.objective(given)
        sum(value for name, value in terms.items() if not name.startswith("_")).backward()
        if "density" in terms:  # the superresolution has no density
            assert made.generator.triplanes.out.weight.grad[0].abs().sum() > 0
            continue
        for name, parameter in made.players()[turn.player].named_parameters():
            assert parameter.grad is not None, (turn.player, name)
            assert parameter.grad.isfinite().all()


def test_parts_of_a_batch_are_the_whole():
    """Losses of two micro-batches have the mean of the whole batch's, and observe its sums: each draw is that of a row.
    The discriminator compares no pictures with each other here."""
    made, whole = build(group=1, classes=2), {}
    full = batch_of(made, 2).fields
    for start, size in ((0, 4), (0, 2), (2, 2)):
        shared = {}
        rows = {name: values[start : start + size] for name, values in full.items()}
        for number, turn in enumerate(made.phases(NonSaturating(), {})[0].turns):
            part = Batch(rows, StepDraws(number, 4, start, size, CPU), 5000, 0.0, shared)
            found = {name: value.detach() for name, value in turn.objective(part).items()}
            found |= {f"observed {name}": value for name, value in part.observed.items()}
            for name, value in found.items():
                whole.setdefault((number, name), []).append(value)
    assert (1, "observed w") in whole
    for (_, name), (all_of_it, first, second) in whole.items():
        joined = first + second if name.startswith("observed") else (first + second) / 2
        assert torch.allclose(all_of_it, joined, atol=1e-4), name


@pytest.mark.slow
def test_one_process_and_two_learn_the_same(tmp_path):
    """Weights, averages and the average of w agree but for rounding, with SGD (Adam amplifies rounding near zero)."""
    (tmp_path / "few").mkdir()
    write_furniture(tmp_path / "few", 0, 2)
    sgd = "{name: sgd, lr: 0.01, betas: [0.0, 0.0]}"
    small = next(entry.small for entry in gan_3d.gan_architectures() if entry.name == "eg3d")
    settings = [
        *small, "model.group=1", f"data.source={tmp_path / 'few'}", f"optimizers.generator={sgd}",
        f"optimizers.discriminator={sgd}", "training.samples=32", "training.batch=8", "training.device=cpu",
        "training.preview_ticks=0", "evaluation.metrics=[]", "evaluation.samples=4", "evaluation.artefacts=1",
    ]  # fmt: skip
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(json.dumps(named_recipe("3d", named="eg3d-furniture", settings=settings)))  # JSON is YAML
    environment = {**os.environ, "GAN_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--local-addr", "127.0.0.1"]
    states = {}
    for name, launcher in {"one": [], "two": torchrun}.items():
        command = [
            sys.executable,
            *launcher,
            "-m",
            "gan",
            "run",
            "--recipe",
            str(recipe),
            "--out",
            str(tmp_path / name),
        ]
        done = subprocess.run(
            [*command, "--quiet"], env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr
        found = Checkpoints(tmp_path / name / "checkpoints").newest()
        states[name] = {**found.state("architecture"), **found.state("average-generator")}
    for key, value in states["one"].items():
        torch.testing.assert_close(states["two"][key], value, rtol=2e-3, atol=2e-5, msg=key)


def test_both_critics_inputs_are_of_the_same_kind():
    """The real picture's second half is itself made small and large again, that of a generated one its raw picture."""
    made = build(side=16)
    given = batch_of(made)
    smooth = torch.full((1, 3, 16, 16), 200, dtype=torch.uint8)
    given = Batch({**given.fields, "picture": smooth.expand(4, -1, -1, -1)}, given.rng, 0, 0.0)
    real = made._reals(given)
    assert real.shape == (4, 6, 16, 16)
    assert torch.allclose(real, torch.full_like(real, 200 / 127.5 - 1), atol=1e-5)
    assert made._fakes(given).shape == (4, 6, 16, 16)


def test_cameras_are_drawn_as_the_data_have_them_and_told_or_not():
    made = build(swap=0.0)
    axes = made._cameras(SeededDraws.of(0, 0, 4000, CPU))
    towards = axes[:, 2]
    elevations = torch.rad2deg(torch.asin(towards[:, 2]))
    assert 0 <= elevations.min() < 1 < 39 < elevations.max() <= 40
    assert towards[:, :2].mean(0).abs().max() < 0.05
    given = batch_of(made)
    seen = []
    mapping = made.generator.triplanes.backbone.mapping
    mapping.register_forward_hook(lambda module, inputs, output: seen.append(inputs[1]))
    axes = made._cameras(StepDraws(5, 4, 0, 4, CPU))
    made._styles(given, axes)
    made.config = EG3DConfig(**{**SMALL, "swap": 1.0})
    made._styles(given, axes)
    assert torch.equal(seen[0], eg3d.pose(axes))
    assert not torch.isclose(seen[1][:, 0], seen[0][:, 0]).any()


# ---------------------------------------------------------------------- generation


def request(made, size=2, options=None, azimuth=30.0):
    given = {"azimuth": torch.full((size,), azimuth), "elevation": torch.full((size,), 20.0)}
    return Request(options, given)


def generate(made, options=None, size=2, azimuth=30.0):
    with torch.no_grad():
        return made.generate(size, SeededDraws.of(1, 0, size, CPU), request(made, size, options, azimuth))


def test_views_go_around_the_shape_that_the_mesh_is_of():
    made = build().eval()
    assert isinstance(made, SmoothLatentSpace | StyleSpace)
    whole = generate(made, EG3DOptions(views=4, resolution=8))
    assert whole["views"].shape == (2, 4, 3, 8, 8)
    assert torch.equal(whole["views"][:, 0], whole["picture"])
    quarter = EG3D._shapes(made, made.latents(2, SeededDraws.of(1, 0, 2, CPU)), request(made))
    seen = made._seen(*quarter[:2], camera_axes(torch.full((2,), 120.0), torch.full((2,), 20.0)))
    assert (eg3d.to_pixels(seen).int() - whole["views"][:, 1].int()).abs().max() <= 1
    assert whole["density"].shape == (2, 8, 8, 8)
    assert whole["colours"].shape == (2, 8, 8, 8, 3)
    assert set(generate(made, EG3DOptions(mesh=False))) == {"picture"}
    with pytest.raises(UsageError, match="azimuth"):
        made.generate(1, SeededDraws.of(1, 0, 1, CPU), Request())


def test_densities_of_a_grid_are_those_of_its_points(monkeypatch):
    made = build().eval()
    planes = made.generator.triplanes.planes(torch.randn(2, made.generator.triplanes.backbone.styles, 6))
    monkeypatch.setattr(eg3d, "AT_ONCE", 100)
    densities, colours = made.volumes(planes, 8)
    place = torch.tensor([[[(3 + 0.5) / 8 - 0.5, (6 + 0.5) / 8 - 0.5, (1 + 0.5) / 8 - 0.5]]]).expand(2, -1, -1)
    density, features = made.generator.triplanes.at(planes, place)
    assert torch.allclose(densities[:, 3, 6, 1], density[:, 0, 0], atol=1e-5)
    assert (colours[:, 3, 6, 1] - features[:, 0, :3] * 255).abs().max() <= 0.51


def test_planes_are_those_of_their_axes():
    """A feature in one corner of the plane xz is seen at that x and z, whatever y is."""
    made = build()
    planes = torch.zeros(1, 3, 4, 8, 8)
    planes[0, 1, :, 7, 0] = 100.0  # rows are z, columns x
    empty = made.generator.triplanes.at(torch.zeros_like(planes), torch.zeros(1, 1, 3))[0].item()

    def changed(x, y, z):
        return abs(made.generator.triplanes.at(planes, torch.tensor([[[x, y, z]]]))[0].item() - empty) > 1e-3

    assert changed(-0.44, -0.4, 0.44)
    assert changed(-0.44, 0.3, 0.44)
    assert not changed(0.44, -0.4, -0.44)
    assert not changed(0.0, 0.0, 0.44)


def test_what_it_cannot_learn_is_refused():
    with pytest.raises(UsageError, match="form=views"):
        EG3D(EG3DConfig(**SMALL), {"voxels": FieldSpec((16,) * 3, "bool", 0, 1, "occupied")})
    with pytest.raises(UsageError, match="not 24"):
        build(side=24)
    with pytest.raises(UsageError, match="raw_resolution"):
        build(raw_resolution=16)
    with pytest.raises(UsageError, match="plane_resolution"):
        build(plane_resolution=20)


# ---------------------------------------------------------------------- the form views of the modality


def test_pictures_of_a_folder_have_cameras_all_around(tmp_path):
    write_furniture(tmp_path, 0, 2)
    settings = ShapeConfig(resolution=16, form="views", labels=True, views=5, elevations=(10, 50))
    files = list_source(tmp_path, Shape.suffixes).files
    modality = Shape(settings, Shape(settings).survey(files))
    samples = [sample for file in files for sample in modality.read(file)]
    assert len(samples) == 4 * 2 * 5
    for name, spec in modality.fields.items():
        assert not any(spec.mismatch(sample[name]) for sample in samples)
    azimuths = np.array([sample["azimuth"] for sample in samples])
    elevations = np.array([sample["elevation"] for sample in samples])
    assert len(np.unique(azimuths)) == 40
    assert np.histogram(azimuths, 4, (0, 360))[0].min() >= 4
    assert 10 <= elevations.min() < 20 < 40 < elevations.max() <= 50
    again = list(modality.read(files[0]))
    assert all(np.array_equal(one["picture"], two["picture"]) for one, two in zip(samples, again, strict=False))
    assert modality.inventory(files[0]) == {"pictures": 5}
    assert modality.read_condition("azimuth", "-90") == 270
    with pytest.raises(ValueError, match="the lower first"):
        ShapeConfig(elevations=(40, 10))


def test_a_picture_is_drawn_by_perspective_on_both_sides_of_faces():
    """A square at x = 0.3 is seen from x and from -x; it is larger from the nearer side. Its corner at (y, z) is drawn
    at 1/2 + y / (2 · (2.2 - 0.3) · tan 18°)."""
    corners = np.array([[0.3, -0.2, -0.2], [0.3, 0.2, -0.2], [0.3, 0.2, 0.2], [0.3, -0.2, 0.2]])
    square = Mesh(corners, np.array([[0, 1, 2], [0, 2, 3]]))
    widths = []
    for azimuth, distance in ((0.0, DISTANCE - 0.3), (180.0, DISTANCE + 0.3)):
        dark = photograph(square, 64, azimuth, 0.0).min(0) < 250
        widths.append(dark.any(0).sum())
        assert abs(widths[-1] - 64 * 0.4 / (2 * distance * math.tan(math.radians(18)))) <= 1.5
    assert widths[0] > widths[1]


def test_a_generated_sample_is_written_as_mesh_and_pictures(tmp_path):
    """The mesh is where the density passes 10, watertight and coloured; pictures lie beside it."""
    trimesh = pytest.importorskip("trimesh")
    modality = Shape(ShapeConfig(resolution=8, form="views"))
    line = (np.arange(32) + 0.5) / 32 - 0.5
    x, y, z = np.meshgrid(line, line, line, indexing="ij")
    density = (40 * (0.5 - np.sqrt(x**2 + y**2 + z**2) / 0.6) + 10).astype(np.float32)
    colours = np.zeros((32, 32, 32, 3), np.uint8)
    colours[16:, ..., 0] = 255
    picture = np.zeros((3, 8, 8), np.uint8)
    sample = {"picture": picture, "views": np.stack([picture] * 3), "density": density, "colours": colours}
    path = modality.write(sample, tmp_path / "shape", ShapeOptions(smooth=1))
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "shape-view-0.png", "shape-view-1.png", "shape-view-2.png", "shape.glb", "shape.png",
    ]  # fmt: skip
    mesh = trimesh.load_mesh(path)
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(4 / 3 * math.pi * 0.3**3, rel=0.03)
    (mesh,) = trimesh.load_scene(path, skip_materials=True).geometry.values()
    red = mesh.visual.vertex_colors[:, 0]
    assert (red[mesh.vertices[:, 0] > 0.1] == 255).all()
    assert (red[mesh.vertices[:, 0] < -0.1] == 0).all()
    samples = {name: values[None] for name, values in sample.items()}
    assert modality.preview(samples).size[0] > 3 * 8
    assert modality.write({"picture": picture}, tmp_path / "alone").name == "alone.png"
    assert modality.is_empty({"picture": picture})
    assert not modality.is_empty(sample)
    with pytest.raises(BadData, match="hold no shapes"):
        occupied({"picture": picture[None]})
