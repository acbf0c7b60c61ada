"""Triplane-SDF: published sizes, distances as samples, any resolution, watertight surfaces."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gan.contracts import FieldSpec, Request
from gan.draws import SeededDraws, StepDraws
from gan.errors import BadData, UsageError
from gan.game import Batch
from gan.losses import Wasserstein
from gan.source import SourceFile
from gan_3d.architectures.triplanesdf import TriplaneSDF, TriplaneSDFConfig, TriplaneSDFOptions
from gan_3d.metrics.grids import ShapeStatistics
from gan_3d.modality import Shape, ShapeConfig
from gan_3d.surface import level_set, surface_at_zero
from gan_3d.voxels import distances, occupied

CPU = torch.device("cpu")


def fields(side=16, classes=0):
    found = {"distance": FieldSpec((side,) * 3, "float32", -2, 4, "half sides", finer=True)}
    if classes:
        found["label"] = FieldSpec((), "int64", 0, classes - 1, "class index", condition=True)
    return found


def build(side=16, classes=0, **settings):
    torch.manual_seed(0)
    sizes = {"latent": 6, "width": 16, "features": 4, "discriminator_width": 4, "embedding": 3}
    return TriplaneSDF(TriplaneSDFConfig(**{**sizes, **settings}), fields(side, classes))


def count(*modules):
    return sum(p.numel() for module in modules for p in module.parameters())


def points_of(side):
    centres = (torch.arange(side) + 0.5) * (2 / side) - 1
    return torch.stack(torch.meshgrid(centres, centres, centres, indexing="ij"), -1)


def ball(side, radius=0.6):
    return (points_of(side).norm(dim=3) - radius).numpy()


def test_the_networks_have_the_sizes_of_the_specification():
    """Planes 1,520,112 and decoder 5,313; the discriminator's four convolutions with biases."""
    made = TriplaneSDF(TriplaneSDFConfig(), fields(32))
    generator = made.generator
    assert count(generator.hidden1, generator.hidden2, generator.out) == 5_313
    assert count(generator) == 1_525_425
    assert count(made.features, made.score) == 665_825


@pytest.mark.parametrize("side", [16, 48])
def test_a_grid_is_what_single_points_give(side):
    """The shortcut by pairs of axes equals bilinear samples of the three planes at every centre of a voxel."""
    made = build().eval()
    planes = made.generator.planes(torch.randn(2, 6))
    grid = made.generator.distances(planes, side)
    points = points_of(side).reshape(1, -1, 3).expand(2, -1, 3)
    if side > 16:  # enlarging antialiases nothing: centres between those of the planes are bilinear
        planes = planes[..., :64, :64]
    assert torch.allclose(grid.reshape(2, -1), made.generator.at(planes, points), atol=2e-2 if side == 48 else 1e-1)
    at = made.generator.at(planes, torch.tensor([[[0.0, 0.0, 0.0]]]).expand(2, -1, -1))
    swapped = made.generator.at(planes, torch.tensor([[[0.5, -0.25, 0.0]]]).expand(2, -1, -1))
    assert not torch.allclose(at, swapped)


def test_without_features_the_shape_is_a_sphere_and_the_eikonal_term_vanishes():
    made = build(side=32)
    torch.nn.init.zeros_(made.generator.out.weight)
    torch.nn.init.zeros_(made.generator.out.bias)
    sphere = made.shapes(torch.randn(2, 6), None, 32)
    assert torch.allclose(sphere[0], points_of(32).norm(dim=3) - 0.5, atol=1e-6)

    class Given:
        fake = made.occupancy(sphere)

    assert made._eikonal(Given()).item() < 1e-3 * made.config.eikonal
    Given.fake = made.occupancy(2 * sphere)
    assert made._eikonal(Given()).item() == pytest.approx(made.config.eikonal, rel=0.1)  # a slope of two


def test_occupancy_is_one_half_on_the_surface():
    made = build(sharpness=0.04)
    values = made.occupancy(torch.tensor([-0.04, 0.0, 0.04]))
    assert torch.allclose(values, torch.tensor([0.7311, 0.5, 0.2689]), atol=1e-4)


@pytest.mark.parametrize("classes", [0, 3])
def test_every_turn_teaches_all_of_its_player(classes):
    made = build(classes=classes)
    batch = {"distance": torch.from_numpy(np.stack([ball(16)] * 3)).float()}
    if classes:
        batch["label"] = torch.arange(3)
    given = Batch(batch, StepDraws(1, 3, 0, 3, CPU), 0, 0.0)
    for turn in made.phases(Wasserstein(), {})[0].turns:
        made.zero_grad()
        terms = turn.objective(given)
        assert ("eikonal" in terms) == (turn.player == "generator")
        sum(value for name, value in terms.items() if not name.startswith("_")).backward()
        for name, parameter in made.players()[turn.player].named_parameters():
            assert parameter.grad is not None, (turn.player, name)
            assert parameter.grad.isfinite().all()


def generate(made, resolution=0, count=2, **options):
    request = Request(TriplaneSDFOptions(resolution=resolution, **options))
    with torch.no_grad():
        return made.generate(count, SeededDraws.of(1, 0, count, CPU), request)["distance"]


def test_any_resolution_is_the_same_shape(monkeypatch):
    made = build().eval()
    coarse, fine = generate(made), generate(made, 64)
    monkeypatch.setattr("gan_3d.architectures.triplanesdf.AT_ONCE", 2 * 64 * 64 * 5)  # in 13 slabs
    assert torch.allclose(generate(made, 64), fine, atol=1e-6)
    assert coarse.shape == (2, 16, 16, 16)
    assert fine.shape == (2, 64, 64, 64)
    spec = fields()["distance"]
    assert spec.mismatch(fine, 2) == spec.mismatch(coarse, 2) == ""
    assert spec.mismatch(fine[:, :32], 2)
    assert spec.mismatch(fine[:, :8, :8, :8], 2)
    blocks = torch.nn.functional.avg_pool3d(fine[:, None], 4)[:, 0]
    assert (blocks - coarse).abs().mean() < 0.02
    mirrored = generate(made, symmetric=True)
    assert torch.allclose(mirrored, mirrored.flip(1))
    with pytest.raises(UsageError, match="at least that of the training, 16, not 8"):
        generate(made, 8)


def test_other_fields_and_sides_are_refused():
    with pytest.raises(UsageError, match="set modality.form=distance"):
        TriplaneSDF(TriplaneSDFConfig(), {"voxels": FieldSpec((16,) * 3, "bool", 0, 1, "occupied")})
    with pytest.raises(UsageError, match="multiple of 8"):
        build(side=20)


# ---------------------------------------------------------------------- distances as samples


def test_distances_of_a_grid_are_those_of_a_ball():
    """Within a voxel of 2/32, and more exact with a finer grid; empty grids are refused."""
    errors = []
    for times in (1, 2):
        found = distances(ball(32 * times) < 0, times)
        assert found.shape == (32, 32, 32)
        assert found.dtype == np.float32
        errors.append(np.abs(found - ball(32)).max())
    assert errors[1] < errors[0] < 2 / 32
    with pytest.raises(BadData, match="no occupied voxel"):
        distances(np.zeros((4, 4, 4), np.bool_))


def test_the_surface_of_a_distance_is_smooth_and_closed():
    """A ball and a torus: Euler numbers 2 and 0, volumes within 2 %."""
    sphere = surface_at_zero(ball(48), ball(48) < 0)
    assert sphere.closed
    assert sphere.euler_number == 2
    assert sphere.volume == pytest.approx(4 / 3 * np.pi * 0.3**3, rel=0.02)
    x, y, z = points_of(48).numpy().transpose(3, 0, 1, 2)
    field = np.hypot(np.hypot(x, y) - 0.6, z) - 0.25
    torus = surface_at_zero(field, field < 0)
    assert torus.closed
    assert torus.euler_number == 0
    assert torus.volume == pytest.approx(2 * np.pi**2 * 0.3 * 0.125**2, rel=0.02)
    assert len(level_set(np.ones((4, 4, 4)), 0, 1).faces) == 0


def test_a_distance_sample_is_read_written_and_judged(tmp_path):
    """A mesh of noise around a ball: files are watertight; loose parts are left out; read again it is the shape."""
    modality = Shape(ShapeConfig(resolution=24, form="distance"))
    rng = np.random.default_rng(0)
    field = (ball(24) + 0.1 * rng.standard_normal((24, 24, 24))).astype(np.float32)
    field[0, 0, 0] = -0.3
    sample = {"distance": field}
    mesh = modality.mesh(sample)
    assert mesh.closed
    assert mesh.volume > 0
    assert np.abs(mesh.vertices).max() < 0.45
    path = modality.write(sample, tmp_path / "ball")
    source = SourceFile(path.name, path, None, path.stat().st_size)
    (again,) = modality.read(source)
    assert modality.fields["distance"].mismatch(again["distance"]) == ""
    both = occupied(again) & occupied(sample)
    assert both.sum() / (occupied(again) | occupied(sample)).sum() > 0.7
    assert modality.inventory(source)["components"] == 1
    samples = {"distance": np.stack([field, field])}
    values = {v.name: v.value for v in ShapeStatistics().compute(samples, samples, modality)}
    assert values["watertight"] == 1.0
    assert modality.preview(samples).size[0] > 0
