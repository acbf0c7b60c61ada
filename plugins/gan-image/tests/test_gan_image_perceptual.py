"""LPIPS: the trunks' layers, the formula against a second way to compute it, the files, what is refused."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from gan.contracts import Features, FieldSpec
from gan.errors import BadData, UsageError
from gan.metrics.path_length import PathLength
from gan.weights import file_sha256
from gan_image.architectures.dcgan import DCGAN, DCGANConfig
from gan_image.extractors import lpips as lpips_module
from gan_image.extractors.lpips import (
    SCALE,
    SHIFT,
    VGG16,
    AlexNet,
    LPIPSExtractor,
    NetworkDistance,
    SqueezeNet10,
    SqueezeNet11,
    lpips,
)
from gan_image.metrics.perceptual import LPIPS, FeatureDistance
from gan_image.modality import ImageConfig, ImageModality
from torch import nn

CHANNELS = {
    AlexNet: [64, 192, 384, 256, 256],
    VGG16: [64, 128, 256, 512, 512],
    SqueezeNet11: [64, 128, 256, 384, 384, 512, 512],
}


@pytest.fixture(scope="module")
def alexnet() -> AlexNet:
    torch.manual_seed(0)
    return AlexNet()


def noise(count: int = 3, side: int = 64, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 3, side, side), dtype=np.uint8)


@pytest.mark.parametrize("trunk", CHANNELS)
def test_trunks_have_the_published_layers(trunk):
    """The channels are those of the published heads; the smallest picture leaves one place in every layer, one pixel
    less leaves none. Parameters as published: AlexNet's 2,469,696, VGG-16's 14,714,688, SqueezeNet 1.1's 722,496."""
    network = trunk().requires_grad_(False)
    assert [layer.shape[1] for layer in network(torch.zeros(1, 3, 64, 64))] == CHANNELS[trunk]
    parameters = {AlexNet: 2_469_696, VGG16: 14_714_688, SqueezeNet11: 722_496}
    assert sum(p.numel() for p in network.parameters()) == parameters[trunk]
    assert min(min(layer.shape[2:]) for layer in network(torch.zeros(1, 3, trunk.smallest, trunk.smallest))) >= 1
    with pytest.raises(RuntimeError):
        network(torch.zeros(1, 3, trunk.smallest - 1, trunk.smallest - 1))


def test_the_formula(alexnet: AlexNet):
    """Against a plain loop over layers and places, in float64, with random weights of channels."""
    weights = [torch.rand(channels) for channels in CHANNELS[AlexNet]]
    first, second = noise(), noise(seed=1)
    found = NetworkDistance(alexnet, weights)(first, second)

    def seen(pictures: np.ndarray) -> list[np.ndarray]:
        values = pictures / 127.5 - 1
        values = (values - np.reshape(SHIFT, (1, 3, 1, 1))) / np.reshape(SCALE, (1, 3, 1, 1))
        x, layers = torch.from_numpy(values).float(), []
        for layer in alexnet.features:
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                layers.append(x.double().numpy())
        return layers

    for picture in range(3):
        total = 0.0
        for one, other, weight in zip(seen(first), seen(second), weights, strict=True):
            places = []
            for y in range(one.shape[2]):
                for x in range(one.shape[3]):
                    a, b = one[picture, :, y, x], other[picture, :, y, x]
                    a, b = a / (np.linalg.norm(a) + 1e-10), b / (np.linalg.norm(b) + 1e-10)
                    places.append(float((weight.double().numpy() * (a - b) ** 2).sum()))
            total += float(np.mean(places))
        assert found[picture] == pytest.approx(total, rel=1e-4)


def test_it_is_a_distance(alexnet: AlexNet):
    """Nothing from itself, the same both ways, larger for more noise; grey and transparent pictures are looked at."""
    distance = NetworkDistance(alexnet, None)
    pictures = noise()
    assert distance(pictures, pictures).tolist() == [0, 0, 0]
    assert distance(pictures, noise(seed=1)) == pytest.approx(distance(noise(seed=1), pictures))
    smooth = np.full((1, 3, 64, 64), 128, np.uint8)
    little, much = (np.clip(smooth + (noise(1) - 128.0) * share, 0, 255).astype(np.uint8) for share in (0.05, 0.8))
    assert 0 < distance(smooth, little)[0] < distance(smooth, much)[0]
    assert distance(pictures[:, :1], pictures[:, :1]).shape == (3,)
    with pytest.raises(BadData, match="smaller than the 31"):
        distance(noise(side=30), noise(side=30))


def test_vectors_whose_squared_distance_it_is(alexnet: AlexNet):
    """What path length asks for, for weights of channels and without."""
    for weights in (None, [torch.rand(channels) for channels in CHANNELS[AlexNet]]):
        distance = NetworkDistance(alexnet, weights)
        first, second = noise(), noise(seed=1)
        squares = np.square(distance.vectors(first) - distance.vectors(second)).sum(1)
        assert squares == pytest.approx(distance(first, second), rel=1e-4)


def test_path_length_sees_steps_that_rounding_would_hide(alexnet: AlexNet):
    """A DCGAN's path length in LPIPS: steps of 1e-4 in latent space change no byte of a picture, and still give what
    steps of 1e-3 give, to some percent."""
    torch.manual_seed(0)
    fields = {"image": FieldSpec((3, 32, 32), "uint8", 0, 255, "intensity")}
    model = DCGAN(DCGANConfig(latent=8, generator_width=4, discriminator_width=4), fields)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        model.generator(torch.randn(64, 8, 1, 1))  # its statistics, without which every picture is grey
        model.generator[-2].weight *= 20
    model.eval()
    seen = NetworkDistance(alexnet, [torch.rand(channels) for channels in CHANNELS[AlexNet]])
    kind = SimpleNamespace(fields=fields)
    samples = {"image": noise(100, 32)}
    with torch.no_grad():
        (fine,), (coarse,) = (
            PathLength(epsilon).compute(
                model, lambda made, _: Features(seen.vectors(made["image"])), samples, samples, kind
            )
            for epsilon in (1e-4, 1e-3)
        )
    assert 0 < fine.error < fine.value
    assert fine.value == pytest.approx(coarse.value, rel=0.05)


@pytest.mark.parametrize("packed", [False, True])
def test_weights_come_from_files_that_are_proved(tmp_path, monkeypatch, alexnet: AlexNet, packed: bool):
    """Torchvision's layout with its classifier; heads in the published file or in the archive of all."""
    state = {**alexnet.state_dict(), "classifier.1.weight": torch.zeros(2, 2)}
    torch.save(state, tmp_path / AlexNet.file)
    heads = {f"lin{n}.model.1.weight": torch.rand(1, c, 1, 1) for n, c in enumerate(CHANNELS[AlexNet])}
    with pytest.raises(BadData, match="sha256"):
        lpips(AlexNet, tmp_path)
    monkeypatch.setattr(AlexNet, "sha256", file_sha256(tmp_path / AlexNet.file))
    with pytest.raises(UsageError, match=r"lpips_v0\.1"):
        lpips(AlexNet, tmp_path)
    if packed:
        name = lpips_module.HEADS[0]
        np.savez(tmp_path / name, **{f"alex__{key}": value.numpy() for key, value in heads.items()})
        monkeypatch.setattr(lpips_module, "HEADS", (name, file_sha256(tmp_path / name)))
    else:
        torch.save(heads, tmp_path / "alex.pth")
        monkeypatch.setattr(AlexNet, "heads_sha256", file_sha256(tmp_path / "alex.pth"))
    found = lpips(AlexNet, tmp_path)(noise(), noise(seed=1))
    expected = NetworkDistance(alexnet, [weight.flatten() for weight in heads.values()])(noise(), noise(seed=1))
    assert found == pytest.approx(expected)
    monkeypatch.setenv("GAN_WEIGHTS", str(tmp_path))
    modality = ImageModality(ImageConfig(resolution=64, channels=3, layout="side-by-side"))
    real, made = {"source": noise(), "target": noise(seed=1)}, {"source": noise(), "target": noise(seed=2)}
    (value,) = LPIPS().compute(made, real, modality)
    assert (value.name, value.direction) == ("LPIPS", "lower")
    assert value.value == pytest.approx(lpips(AlexNet)(made["target"], real["target"]).mean())
    assert value.details["source"] == pytest.approx(expected.mean())
    for weights in (None, tmp_path, tmp_path / AlexNet.file):
        features = LPIPSExtractor(weights)(real, modality)
        assert features.vectors.dtype == np.float32
        assert features.vectors.shape[0] == 3


def test_torchvisions_names_of_squeezenet():
    network = SqueezeNet11()
    state = {
        name.replace("expand1", "expand1x1").replace("expand3", "expand3x3"): torch.rand_like(value)
        for name, value in network.state_dict().items()
    }
    network.load_published(state)
    assert torch.equal(network.features[3].expand3.weight, state["features.3.expand3x3.weight"])


@pytest.mark.shared
def test_squeezenet_tells_a_flower_from_noise(monkeypatch):
    """With the real network: a photograph is nearer to itself with a little blur than to another photograph."""
    from gan.source import list_source
    from gan.testing import shared_data
    from gan_image.data.files import read_picture
    from PIL import ImageFilter

    weights, flowers = shared_data("weights"), shared_data("image", "flowers_128.zip")
    if weights is None or flowers is None:
        pytest.skip("the photographs and weights of ../shared/data are not here")
    monkeypatch.setenv("GAN_WEIGHTS", str(weights))
    pictures = [read_picture(file) for file in list_source(flowers, (".jpg",)).files[:400:100]]
    blurred = [picture.filter(ImageFilter.GaussianBlur(1)) for picture in pictures]
    sharp, soft = (np.stack([np.asarray(p).transpose(2, 0, 1) for p in row]) for row in (pictures, blurred))
    distance = FeatureDistance().distance
    assert isinstance(distance.trunk, SqueezeNet10)
    near, far = distance(sharp, soft), distance(sharp, np.roll(sharp, 1, 0))
    assert (near < far).all()
