"""An architecture for any data is trained on the data of another plugin; what does not suit it is refused."""

from __future__ import annotations

import pytest
import torch
from gan import api
from gan.build import build_architecture, find_architecture, resolve
from gan.contracts import AnyData, FieldSpec
from gan.errors import UnknownName, UsageError
from gan.plugins.manager import Plugins
from gan.testing.mlp import MLP
from gan_image.architectures.fully_connected import FullyConnected, FullyConnectedConfig

SMALL = {
    "training": {"batch": 8, "device": "cpu", "preview_ticks": 0},
    "evaluation": {"samples": 4, "artefacts": 1, "metrics": []},
}


def test_the_abilities_are_found():
    assert issubclass(FullyConnected, AnyData)
    assert issubclass(MLP, AnyData)


def test_an_architecture_of_another_plugin_is_found_if_it_is_for_any_data():
    plugins = Plugins.installed()
    assert find_architecture(plugins, "fully-connected", "3d").info.name == "image"
    with pytest.raises(UnknownName):
        find_architecture(plugins, "dcgan", "3d")
    resolved = resolve({"plugin": "3d", "architecture": "fully-connected"}, plugins)
    assert resolved.modality.info.name == "3d"


@pytest.mark.parametrize(
    ("plugin", "modality"),
    [
        pytest.param("3d", {"resolution": 16}, marks=pytest.mark.slow),
        pytest.param("audio", {"seconds": 0.1, "rate": 8000}, marks=pytest.mark.slow),
    ],
)
def test_it_is_trained_and_sampled(plugin, modality, tmp_path, cache):
    values = {
        "plugin": plugin, "architecture": "fully-connected", "modality": modality,
        "model": {"hidden": 8, "latent": 4}, **SMALL,
    }  # fmt: skip
    result = api.train(values, out=tmp_path / "run", samples=16)
    made = api.load(result, device="cpu").generate(3)
    assert all(len(samples) == 3 for samples in made.values())


def test_what_does_not_suit_it_is_refused():
    tokens = {"tokens": FieldSpec((20,), "int32", 0, 99, "token")}
    with pytest.raises(UsageError, match="image/fully-connected cannot be trained on these data: the field 'tokens'"):
        build_architecture(FullyConnected, FullyConnectedConfig(), tokens, 0, "image/fully-connected")


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        (FieldSpec((2,), "int64", 0, 9, "token"), "indices"),
        (FieldSpec((), "float32", 0, 9, "density", condition=True), "condition"),
        (FieldSpec((2,), "float32", 0, 9, "x", group="a"), "groups"),
        (FieldSpec((2,), "float32", 0, 9, "x"), ""),
    ],
)
def test_the_reasons(spec, reason):
    assert reason in FullyConnected.accepts({"x": spec})
    assert bool(reason) == bool(FullyConnected.accepts({"x": spec}))


def test_samples_have_the_fields_dtypes_and_ranges():
    """Two fields: the real samples as the critic sees them are what decoding makes of them again."""
    fields = {"a": FieldSpec((2, 3), "uint8", 0, 255, "x"), "b": FieldSpec((4,), "bool", 0, 1, "y")}
    torch.manual_seed(0)
    net = FullyConnected(FullyConnectedConfig(hidden=8, latent=4), fields)
    samples = {"a": torch.randint(256, (5, 2, 3), dtype=torch.uint8), "b": torch.rand(5, 4) < 0.5}

    class Fixed(torch.nn.Module):
        def forward(self, latents):
            return torch.atanh(net._real(samples).clamp(-0.99999, 0.99999))

    net.generator = Fixed()
    made = net.decode(torch.zeros(5, 4), None)
    assert torch.equal(made["a"], samples["a"])
    assert torch.equal(made["b"], samples["b"])
