"""Batch statistics are settled for the weights that sample, and training keeps its own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gan import api
from gan.contracts import Settles
from gan.generation.settling import PASSES, ROWS, settle, settled
from gan.plugins.manager import Plugins
from gan.testing import toy
from torch import nn

CPU = torch.device("cpu")
SOURCE = """
from gan.contracts import ArchitectureEntry
from gan.hookspecs import hookimpl
from gan.testing.mlp import MLP as Plain
from torch import nn

@hookimpl
def gan_architectures():
    yield ArchitectureEntry(name="normed", summary="s", target="gan_normed:Normed", modality="points", paper="p")

class Normed(Plain):
    def __init__(self, config, fields):
        super().__init__(config, fields)
        self.generator = nn.Sequential(*self.generator[:-1], nn.BatchNorm1d(config.hidden), self.generator[-1])

    def settle(self, rng):
        self.generator(rng.randn(self.config.latent))
"""
RECIPE = {
    "plugin": "normed", "architecture": "normed", "model": {"hidden": 8, "layers": 1}, "data": {"source": "ring"},
    "training": {"samples": 1280, "batch": 64, "ema_half_life": 400, "tick": 320, "device": "cpu", "precision": "fp32"},
    "evaluation": {"samples": 16, "artefacts": 2},
}  # fmt: skip


class Net(nn.Module):
    """A normalization that runs when settled, and one that does not."""

    def __init__(self):
        super().__init__()
        self.used, self.idle = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
        self.dropout = nn.Dropout()
        self.seen = []

    def settle(self, rng):
        self.seen.append((rng.randn(3), self.used.training, self.dropout.training))
        self.used(2 + 3 * self.seen[-1][0])


def test_statistics_are_the_mean_over_all_batches_whatever_was_there():
    net = Net().train()
    with torch.no_grad():
        net.used.running_mean.fill_(100)
    settle(net, CPU)
    rows = [2 + 3 * rows for rows, *_ in net.seen]
    assert [tuple(batch.shape) for batch in rows] == [(ROWS, 3)] * PASSES
    torch.testing.assert_close(net.used.running_mean, torch.stack([batch.mean(0) for batch in rows]).mean(0))
    torch.testing.assert_close(net.used.running_var, torch.stack([batch.var(0) for batch in rows]).mean(0))
    assert not torch.equal(rows[0], rows[1])
    assert net.idle.running_mean.tolist() == [0, 0, 0]
    assert all(used and not dropout for _, used, dropout in net.seen)
    assert net.training
    assert net.dropout.training
    assert net.used.momentum == 0.1


def test_settling_is_a_function_of_the_weights_and_leaves_no_trace():
    net, other = Net(), Net()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with settled(net, CPU):
        with torch.no_grad():
            other.used.running_mean.fill_(100)
        settle(other, CPU)
        assert torch.equal(net.used.running_mean, other.used.running_mean)
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_nothing_happens_to_a_network_that_does_not_settle():
    net = nn.BatchNorm1d(3)
    assert not isinstance(net, Settles)
    settle(net, CPU)
    with settled(net, CPU):
        assert net.running_mean.tolist() == [0, 0, 0]


@pytest.fixture
def plugins(tmp_path, monkeypatch, cache):
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "gan_normed.py").write_text(SOURCE)
    found = Plugins()
    found.register("toy", toy)
    found.register("normed", "gan_normed")
    return found


@pytest.mark.parametrize("micro_batch", [None, 16])
def test_a_trained_and_a_loaded_model_sample_alike_and_weights_do_not_change(
    plugins, tmp_path, monkeypatch, micro_batch
):
    """The artefacts at the end are those of the loaded run; without settling the same weights are trained, and the
    samples of the averages differ."""
    values = {**RECIPE, "training": {**RECIPE["training"], "micro_batch": micro_batch}}
    result = api.train(values, out=tmp_path / "run", plugins=plugins)
    model = api.load(tmp_path / "run", device="cpu", plugins=plugins)
    made = model.generate(2, 0)
    paths = model.write(made, tmp_path / "again")
    assert [path.read_bytes() for path in paths] == [path.read_bytes() for path in result.artefacts]
    layer = model.architecture.generator[2]

    monkeypatch.setattr("gan.generation.settling.PASSES", 0)
    api.train(values, out=tmp_path / "plain", plugins=plugins)
    plain = api.load(tmp_path / "plain", device="cpu", plugins=plugins)
    for name, parameter in plain.architecture.named_parameters():
        assert torch.equal(parameter, model.architecture.get_parameter(name)), name
    assert not np.array_equal(plain.generate(2, 0)["points"], made["points"])
    assert not torch.equal(plain.architecture.generator[2].running_mean, layer.running_mean)
