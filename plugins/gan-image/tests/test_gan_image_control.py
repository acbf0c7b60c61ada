"""What control needs of image architectures: styles and parts, mixtures of classes, maps, features; and attributes."""

from __future__ import annotations

import signal

import gan.api
import numpy as np
import pytest
import torch
from gan.contracts import FieldSpec, Request
from gan.draws import SeededDraws
from gan.errors import Stopped
from gan.parts.codes import information, with_codes
from gan.recipe import Codes
from gan.storage.checkpoint import Checkpoints
from gan.storage.run_folder import RunFolder
from gan.testing import real_file, shared_data
from gan_image.architectures.biggan import BigGAN, BigGANConfig
from gan_image.architectures.dcgan import DCGAN, DCGANConfig, DCGANOptions
from gan_image.architectures.r3gan import R3GAN, R3GANConfig
from gan_image.architectures.stylegan2 import StyleGAN2, StyleGAN2Config
from gan_image.architectures.wgan_gp import WGANGP, WGANGPConfig
from gan_image.attributes import brightness, contrast, saturation, warmth

CPU = torch.device("cpu")


def fields(side: int, classes: int = 0) -> dict[str, FieldSpec]:
    found = {"image": FieldSpec((3, side, side), "uint8", 0, 255, "intensity")}
    if classes:
        names = tuple(f"class {index}" for index in range(classes))
        found["label"] = FieldSpec((), "int64", 0, classes - 1, "class index", names=names, condition=True)
    return found


def stylegan2(classes: int = 0) -> StyleGAN2:
    torch.manual_seed(0)
    config = StyleGAN2Config(latent=8, style=8, mapping_layers=2, capacity=128, max_channels=8)
    return StyleGAN2(config, fields(16, classes)).eval()


CLASSED = {
    "stylegan2": lambda: stylegan2(3),
    "biggan": lambda: BigGAN(
        BigGANConfig(width=4, latent=12, hierarchical=True, shared=4, generator_multiples=(2, 1, 1),
                     discriminator_multiples=(1, 1, 2)), fields(16, 3)).eval(),
    "wgan-gp": lambda: WGANGP(
        WGANGPConfig(latent=8, generator_width=8, discriminator_width=8), fields(16, 3)).eval(),
}  # fmt: skip


@pytest.mark.parametrize("name", ["stylegan2", "biggan", "wgan-gp"])
@torch.no_grad()
def test_shares_of_one_class_are_that_class_and_half_shares_are_neither(name):
    torch.manual_seed(0)
    net = CLASSED[name]()
    for module in net.modules():
        if name == "wgan-gp" and getattr(module, "gain", None) is not None:
            module.gain.add_(0.5 * torch.randn_like(module.gain))  # the gains of all classes begin alike
    latents = net.latents(2, SeededDraws.of(1, 0, 2, CPU))

    def images(label):
        return net.decode_smooth(latents, Request(given={"label": label}))["image"]

    whole = images(torch.tensor([1, 1]))
    assert torch.allclose(images(torch.tensor([[0.0, 1, 0]] * 2)), whole, atol=1e-3)
    other, half = images(torch.tensor([2, 2])), images(torch.tensor([[0.0, 0.5, 0.5]] * 2))
    assert (half - whole).abs().max() > 1e-3
    assert (half - other).abs().max() > 1e-3


@torch.no_grad()
def test_styles_of_stylegan2_have_parts_and_maps():
    """4·2² pixels: six styles, four of which are coarse; what changes with fine styles only keeps the coarse ones."""
    net = stylegan2()
    latents = net.latents(2, SeededDraws.of(1, 0, 2, CPU))
    styles = net.styles_of(latents, Request())
    assert styles.shape == (2, 6, 8)
    assert torch.equal(net.decode(styles, Request())["image"], net.decode(latents, Request())["image"])
    parts = net.latent_parts()
    assert {name: mask.flatten().tolist().count(True) for name, mask in parts.items()} == {"coarse": 4, "middle": 2}
    maps = net.linear_maps()
    assert len(maps) == 6
    step = torch.randn(8)
    first = net.generator.blocks[0].layers[0].convolution.affine
    assert torch.allclose(first(styles[:, 0] + step) - first(styles[:, 0]), (maps[0] @ step).expand(2, -1), atol=1e-5)
    ends = styles[:1], styles[1:]
    assert torch.allclose(net.between(*ends, torch.tensor([0.25])), 0.75 * ends[0] + 0.25 * ends[1])
    random = Request(net.Options(noise="random"), rng=SeededDraws.of(2, 0, 2, CPU))
    for layer in net.modules():
        if hasattr(layer, "noise_strength"):
            layer.noise_strength.fill_(1.0)
    assert not torch.equal(net.decode(styles, random)["image"], net.decode(styles, Request())["image"])


@torch.no_grad()
def test_chunks_of_a_hierarchical_latent_are_parts():
    net = CLASSED["biggan"]()
    parts = net.latent_parts()
    assert list(parts) == ["first", "block1", "block2"]
    (matrix,) = net.linear_maps()
    assert matrix.shape[1] == 12
    rows = matrix[: net.generator.linear.weight.shape[0]]
    assert (rows[:, 4:] == 0).all()
    assert (rows[:, :4] != 0).all()


@torch.no_grad()
def test_dcgan_truncates_its_latents():
    torch.manual_seed(0)
    net = DCGAN(DCGANConfig(latent=8, generator_width=4, discriminator_width=4), fields(8)).eval()
    latents = net.latents(3, SeededDraws.of(1, 0, 3, CPU))
    kept = net.truncated(latents, Request(DCGANOptions(truncation=0.5)))
    assert kept.abs().max() <= 0.5
    assert torch.equal(net.truncated(latents, Request()), latents)
    (matrix,) = net.linear_maps()
    z = latents.flatten(1)
    assert torch.allclose(net.generator[0](latents).flatten(1), z @ matrix.T, atol=1e-5)


@pytest.mark.parametrize("classes", [0, 2])
def test_r3gan_takes_codes_and_shows_what_its_discriminator_sees(classes):
    """The last features lead to the score; the information of codes has gradients in both players."""
    torch.manual_seed(0)
    config = R3GANConfig(latent=8, width=16, group=8, blocks=1)
    codes = Codes(categorical=[3], continuous=1)
    net = with_codes(R3GAN, codes, "r3gan")(config, fields(16, classes))
    images = {"image": torch.rand(2, 3, 16, 16) * 255}
    labels = torch.eye(2)[[0, 1]] if classes else None
    last = net.discriminator.linear(net.critic_features(images)[-1])
    weights = 1 if labels is None else net.discriminator.embedding(labels)
    score = net.discriminator(images["image"] / 127.5 - 1, labels)
    assert torch.allclose((last * weights).sum(1), score, atol=1e-4)
    latents = net.latents(4, SeededDraws.of(1, 0, 4, CPU))
    request = Request(given={"label": torch.tensor([0, 1, 0, 1])} if classes else None)
    read = net.read_codes(net.decode_smooth(latents, request))
    torch.stack(information(codes, read, net.codes_of(latents))).sum().backward()
    for part in (net.generator, net.discriminator):
        reached = [parameter.grad for parameter in part.parameters() if parameter.grad is not None]
        assert sum(float(gradient.abs().sum()) for gradient in reached) > 0


def test_codes_that_are_invariant_see_augmented_copies_and_resume_exactly(tmp_path, monkeypatch):
    """The reader's agreement is trained (a positive weight changes the discriminator), and is the same in two parts."""
    monkeypatch.setenv("GAN_CACHE", str(tmp_path / "cache"))
    settings = [
        "modality.resolution=16", "model={latent: 8, generator_width: 4, discriminator_width: 4}", "data.source=digits",
        "evaluation={metrics: [], samples: 4, artefacts: 0}", "training.batch=16",
        "training.tick=32", "training.samples=96", "training.checkpoint_ticks=1", "training.device=cpu",
    ]  # fmt: skip
    states = {}
    for name, weight in (("whole", 2.0), ("parts", 2.0), ("without", 0.0)):
        codes = f"codes={{categorical: [3], invariance: {weight}, augmentation: affine}}"
        values = gan.api.recipe("image", named="dcgan-32", settings=[*settings, codes])
        if name == "parts":
            with pytest.raises(Stopped):
                gan.api.train(values, out=tmp_path / name, on_tick=lambda tick: signal.raise_signal(signal.SIGTERM))
        gan.api.train(values, out=tmp_path / name, or_resume=True)
        terms = list(RunFolder(tmp_path / name).read_metrics())[-1]["terms"]
        assert ("discriminator/invariance" in terms) == bool(weight)
        states[name] = Checkpoints(tmp_path / name / "checkpoints").newest().state("architecture")
    whole, parts, without = states.values()
    assert all(torch.equal(value, parts[key]) for key, value in whole.items())
    assert not torch.equal(whole["discriminator.0.weight"], without["discriminator.0.weight"])


def test_attributes_by_hand():
    """A red picture: grey value 0.299·200, no contrast, saturation and warmth 200."""
    red = np.zeros((1, 3, 4, 4), np.uint8)
    red[:, 0] = 200
    samples = {"image": red}
    assert brightness(samples, None) == pytest.approx([59.8])
    assert contrast(samples, None) == pytest.approx([0])
    assert saturation(samples, None) == pytest.approx([200])
    assert warmth(samples, None) == pytest.approx([200])
    grey = {"image": np.array([[[[0, 255]]]], np.uint8)}
    assert contrast(grey, None) == pytest.approx([127.5])
    assert saturation(grey, None) == pytest.approx([0])


@pytest.mark.shared
@pytest.mark.skipif(shared_data("weights") is None, reason="needs the shared weights")
def test_gradients_pass_the_distance_of_squeezenet(monkeypatch):
    """Vectors with gradients are those of the call, and black places, whose features are 0, have finite gradients."""
    from gan_image.extractors.lpips import SqueezeNetDistanceExtractor

    monkeypatch.setenv("GAN_WEIGHTS", str(real_file("weights")))
    extractor = SqueezeNetDistanceExtractor()
    images = np.zeros((1, 3, 32, 32), np.uint8)
    images[..., 16:] = 90
    leaf = torch.from_numpy(images).float().requires_grad_()
    vectors, logits = extractor.features({"image": leaf})
    assert logits is None
    assert torch.allclose(vectors.detach(), torch.from_numpy(extractor({"image": images}, None).vectors), atol=1e-5)
    (gradient,) = torch.autograd.grad(vectors.square().sum() + vectors.sum(), leaf)
    assert torch.isfinite(gradient).all()
