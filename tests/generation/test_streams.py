"""Samples that are made and written part by part."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gan.contracts import FieldSpec, Streams
from gan.errors import GanError, UsageError
from gan.generation.model import Model
from gan.testing.mlp import MLP
from gan.testing.points import Points

CPU = torch.device("cpu")


class Walk(torch.nn.Module):
    """A random walk in the plane, any number of steps long, in parts of three."""

    def generate(self, count, rng, request):
        return {"walk": torch.stack([rng.randn(2) for _ in range(7)], 1).cumsum(1)}

    def stream(self, rng, request):
        place = 0
        for steps in (3, 3, 1):
            walk = place + torch.stack([rng.randn(2) for _ in range(steps)], 1).cumsum(1)
            place = walk[:, -1:]
            yield {"walk": walk}


class Walks(Points):
    """Walks of five steps and more; each is a file of its numbers."""

    fields = {"walk": FieldSpec((5, 2), "float32", -99, 99, "place", longer=True)}

    def write(self, sample, stem, options=None):
        path = stem.with_suffix(".npy")
        np.save(path, sample["walk"])
        return path


@pytest.mark.parametrize("draws", ["generators", "counters"])
def test_a_stream_is_the_sample_in_parts(tmp_path, draws):
    """The default of `write_stream` joins the parts."""
    net = Walk()
    assert isinstance(net, Streams)
    model = Model(net, Walks(Points.Config()), "toy/walk", CPU, draws=draws)
    paths, beginnings = model.write_stream(tmp_path, 2, 4, first=3)
    whole = model.generate(2, 4, first=3)["walk"]
    assert [path.name for path in paths] == ["sample-0003.npy", "sample-0004.npy"]
    np.testing.assert_allclose([np.load(path) for path in paths], whole, atol=1e-6)
    np.testing.assert_allclose(beginnings["walk"], whole[:, :3], atol=1e-6)


def test_a_part_of_another_shape_is_refused(tmp_path):
    net = Walk()
    net.stream = lambda rng, request: iter([{"walk": torch.zeros(1, 4, 3)}])
    with pytest.raises(GanError, match=r"returned a 'walk' that is \(1, 4, 3\)"):
        Model(net, Walks(Points.Config()), "toy/walk", CPU).write_stream(tmp_path, 1)
    assert not list(tmp_path.rglob("*.npy"))


def test_a_model_that_makes_samples_whole_says_so(tmp_path):
    points = Points(Points.Config())
    model = Model(MLP(MLP.Config(), points.fields), points, "toy/mlp", CPU)
    with pytest.raises(UsageError, match="leave out --stream"):
        model.write_stream(tmp_path, 1)
