"""A network prepared for sampling gives the same samples to rounding, and leaves the one that was loaded as it was."""

from __future__ import annotations

import torch
from gan.generation.folding import prepared
from gan.generation.settling import settle_once
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import spectral_norm


def normalised(kind, channels):
    layer = kind(channels)
    layer.running_mean.normal_()
    layer.running_var.uniform_(0.5, 2)
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    return layer


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.ConvTranspose2d(6, 8, 3, groups=2, bias=False),
            normalised(nn.BatchNorm2d, 8),
            nn.ReLU(),
            nn.Conv2d(8, 4, 3, groups=2),
            normalised(nn.BatchNorm2d, 4),
            nn.Sequential(nn.ConvTranspose2d(4, 4, 4, 2), nn.BatchNorm2d(4, affine=False)),
        )
        self.shared = nn.Conv2d(4, 4, 1)
        self.first = nn.Sequential(self.shared, normalised(nn.BatchNorm2d, 4))
        self.second = nn.Sequential(self.shared, normalised(nn.BatchNorm2d, 4))
        self.spectral = nn.Sequential(spectral_norm(nn.Conv2d(4, 4, 1)), normalised(nn.BatchNorm2d, 4))
        self.statistics = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4, track_running_stats=False))

    def forward(self, x):
        x = self.body(x)
        return self.statistics(self.spectral(self.first(x) + self.second(x)))


def norms(net):
    return sum(isinstance(layer, nn.BatchNorm2d) for layer in net.modules())


def test_folded_layers_do_what_both_did_and_others_stay():
    torch.manual_seed(0)
    net = Net().eval()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    x = torch.randn(5, 6, 9, 9)
    with torch.no_grad():
        wanted = net(x)
        fast = prepared(net)
        found = fast(x)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    assert (norms(net), norms(fast)) == (7, 3)  # shared and statistics of the batch stay
    assert not any(parametrize.is_parametrized(layer) for layer in fast.modules())
    assert any(parametrize.is_parametrized(layer) for layer in net.modules())
    assert fast.body[3].weight.is_contiguous(memory_format=torch.channels_last)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert net.body[0].bias is None
    assert fast.first[1].running_mean is net.first[1].running_mean


def test_nothing_is_copied_where_nothing_is_gained():
    net = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
    assert prepared(net) is net


def test_what_cannot_be_copied_samples_as_it_is():
    net = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)).eval()
    net.handle = (number for number in range(3))
    assert prepared(net) is net


def test_settled_statistics_are_kept_and_made_anew_when_damaged(cache, monkeypatch):
    class Settling(nn.Sequential):
        passes = 0

        def settle(self, rng):
            self.passes += 1
            self(rng.randn(3))

    net = Settling(nn.BatchNorm1d(3)).eval()
    cpu = torch.device("cpu")
    settle_once(net, cpu, "weights")
    first, passes = net[0].running_mean.clone(), net.passes
    assert passes > 0
    net[0].reset_running_stats()
    settle_once(net, cpu, "weights")
    assert (net.passes, torch.equal(net[0].running_mean, first)) == (passes, True)
    (path,) = (cache / "settled").iterdir()
    path.write_bytes(path.read_bytes()[:-30])
    settle_once(net, cpu, "weights")
    assert net.passes == 2 * passes
    assert torch.equal(net[0].running_mean, first)
    settle_once(net, cpu, "other weights")
    assert net.passes == 3 * passes
