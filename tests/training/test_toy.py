"""The toy plugin of `gan.testing`: the kind of data, the game and the metric that the core's own tests train."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gan.contracts import Architecture, LatentSpace, Request
from gan.draws import SeededDraws
from gan.errors import BadData
from gan.source import SourceFile
from gan.testing.mlp import MLP
from gan.testing.points import Points, RingModes, ring_centres, write_grid, write_ring


@pytest.fixture
def points():
    return Points(Points.Config())


def source(path):
    return SourceFile(path.name, path, None, path.stat().st_size)


def test_every_target_of_the_toy_is_there(plugins):
    assert plugins.require("toy").reason == ""
    for hook in ("gan_modalities", "gan_architectures", "gan_datasets", "gan_metrics"):
        for plugin_entry in plugins.entries(hook, "toy"):
            assert callable(plugins.load(plugin_entry))
    (recipe,) = plugins.entries("gan_recipes", "toy")
    assert "architecture: mlp" in plugins.resource(recipe)


@pytest.mark.parametrize(("write", "sigma", "modes"), [(write_ring, 0.02, 8), (write_grid, 0.05, 25)])
def test_a_data_set_has_its_modes_and_spread(tmp_path, points, write, sigma, modes):
    """Distances from the nearest centre follow a Rayleigh law: their mean is sigma·sqrt(pi/2)."""
    write(tmp_path, None)
    (path,) = tmp_path.iterdir()
    data = np.stack([sample["points"] for sample in points.read(source(path))])
    centres = ring_centres() if modes == 8 else np.unique(np.round(data), axis=0)
    distances = np.linalg.norm(data[:, None] - centres, axis=2)
    assert len(centres) == modes
    assert len(np.unique(distances.argmin(1))) == modes
    assert abs(distances.min(1).mean() - sigma * np.sqrt(np.pi / 2)) < 0.02 * sigma


def test_a_point_survives_its_file(tmp_path, points):
    sample = {"points": np.array([1.25, -2.5], np.float32)}
    path = points.write(sample, tmp_path / "a.b")
    assert path.name == "a.b.csv"
    (again,) = points.read(source(path))
    np.testing.assert_array_equal(again["points"], sample["points"])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "holds no points"),
        ("1,2\n3\n", "line 2: 1 columns"),
        ("a,b\n", "holds no numbers"),
        ("1,99\n", "outside ±6"),
        ("nan,0\n", "outside"),
    ],
)
def test_a_bad_table_says_why(tmp_path, points, text, reason):
    path = tmp_path / "x.csv"
    path.write_text(text)
    with pytest.raises(BadData, match=reason):
        list(points.read(source(path)))


def test_the_preview_puts_y_upwards(points):
    """The point (extent, extent) is the upper right corner, the last column of the first row."""
    picture = np.asarray(points.preview({"points": np.array([[6.0, 6.0]], np.float32)}))
    assert np.argwhere(picture == 0).tolist() == [[0, 255]]


def test_the_metric_counts_by_hand(points):
    """Two of eight centres are hit by three samples of four; the fourth lies 0.3 away from one."""
    centres = ring_centres()
    generated = np.stack([centres[0], centres[0] + [0.2, 0], centres[3], centres[5] + [0, 0.3]]).astype(np.float32)
    modes, near = RingModes().compute({"points": generated}, {"points": centres.astype(np.float32)}, points)
    assert (modes.value, modes.real) == (2, 8)
    assert (near.value, near.real) == (0.75, 1)


def test_a_sample_does_not_depend_on_its_batch(points):
    torch.manual_seed(0)
    net = MLP(MLP.Config(), points.fields).eval()
    assert isinstance(net, Architecture)
    assert isinstance(net, LatentSpace)
    cpu = torch.device("cpu")
    many = net.generate(5, SeededDraws.of(3, 0, 5, cpu), Request())["points"]
    one = net.generate(1, SeededDraws.of(3, 4, 1, cpu), Request())["points"]
    torch.testing.assert_close(many[4:], one)
    assert many.shape == (5, 2)


def test_players_share_no_parameter_and_own_all(points):
    net = MLP(MLP.Config(), points.fields)
    plugin_entry = [id(p) for player in net.players().values() for _, p in player.named_parameters()]
    assert len(plugin_entry) == len(set(plugin_entry)) == len(list(net.parameters()))
