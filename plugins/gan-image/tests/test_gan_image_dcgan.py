"""The two forms of DCGAN: published sizes, the game, samples that depend on nothing but their seed."""

from __future__ import annotations

import gan_image
import pytest
import torch
from gan.contracts import Architecture, FieldSpec, LatentSpace, Request
from gan.draws import SeededDraws, StepDraws
from gan.errors import UsageError
from gan.game import Batch
from gan.losses import NonSaturating
from gan_image.architectures.dcgan import DCGAN, DCGANConfig, DCGANOriginal, DCGANOriginalConfig
from gan_image.architectures.pixels import to_network, to_pixels
from torch import nn

CPU = torch.device("cpu")


def fields(channels: int, side: int) -> dict[str, FieldSpec]:
    return {"image": FieldSpec((channels, side, side), "uint8", 0, 255, "intensity")}


def size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def small(side: int = 16, channels: int = 1) -> DCGAN:
    torch.manual_seed(0)
    return DCGAN(DCGANConfig(latent=8, generator_width=4, discriminator_width=4), fields(channels, side))


@pytest.mark.parametrize(
    ("channels", "generator", "discriminator"), [(3, 3_576_704, 2_765_568), (1, 3_574_656, 2_763_520)]
)
def test_dcgan_has_the_published_parameter_counts(channels: int, generator: int, discriminator: int):
    model = DCGAN(DCGANConfig(), fields(channels, 64))
    assert (size(model.generator), size(model.discriminator)) == (generator, discriminator)


def test_original_has_the_published_parameter_counts():
    model = DCGANOriginal(DCGANOriginalConfig(), fields(3, 64))
    assert (size(model.generator), size(model.discriminator)) == (18_885_760, 17_232_768)


@pytest.mark.parametrize("side", [8, 16, 32, 128])
@pytest.mark.parametrize("original", [False, True])
def test_every_resolution_of_4_times_a_power_of_two(side: int, original: bool):
    model = (
        DCGANOriginal(DCGANOriginalConfig(latent=8, width=1), fields(3, side))
        if original
        else DCGAN(DCGANConfig(latent=8, generator_width=1, discriminator_width=1), fields(3, side))
    )
    model.eval()
    images = model.generate(2, SeededDraws.of(0, 0, 2, CPU), Request())["image"]
    assert images.shape == (2, 3, side, side)
    assert images.dtype == torch.uint8
    assert model.critic(to_network(images)).shape == (2,)


@pytest.mark.parametrize("side", [4, 12, 28, 48])
def test_other_resolutions_are_refused_with_the_setting(side: int):
    with pytest.raises(UsageError, match=r"modality\.resolution"):
        DCGAN(DCGANConfig(), fields(1, side))


def test_labels_and_pairs_are_refused_with_the_setting():
    label = FieldSpec((), "int64", 0, 9, "class index")
    with pytest.raises(UsageError, match=r"modality\.labels"):
        DCGAN(DCGANConfig(), {**fields(1, 16), "label": label})
    with pytest.raises(UsageError, match=r"modality\.layout"):
        DCGAN(DCGANConfig(), {"source": label, "target": label})


def test_width_doubles_up_to_eight_times():
    """128 pixels: five stages, so that the deepest would have 16 widths without the cap."""
    model = DCGAN(DCGANConfig(generator_width=2, discriminator_width=3), fields(1, 128))
    convolutions = [m for m in model.discriminator if isinstance(m, nn.Conv2d)]
    assert [c.out_channels for c in convolutions] == [3, 6, 12, 24, 24, 1]
    transposed = [m for m in model.generator if isinstance(m, nn.ConvTranspose2d)]
    assert [c.out_channels for c in transposed] == [16, 16, 8, 4, 2, 1]
    assert all(layer.bias is None for layer in [*convolutions, *transposed])


def test_weights_start_at_0_02():
    model = DCGAN(DCGANConfig(), fields(3, 64))
    assert abs(model.generator[0].weight.std().item() - 0.02) < 0.0005
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    gains = torch.cat([m.weight for m in norms])
    assert abs(gains.mean().item() - 1) < 0.005
    assert abs(gains.std().item() - 0.02) < 0.005


def test_pixels_there_and_back():
    every = torch.arange(256, dtype=torch.uint8)
    assert to_network(every).min() == -1
    assert to_network(every).max() == 1
    assert (to_pixels(to_network(every)) == every).all()
    assert to_pixels(torch.tensor([-9.0, 9.0])).tolist() == [0, 255]


def test_samples_depend_on_their_own_seed_only():
    model = small().eval()
    with torch.no_grad():
        eight = model.generate(8, SeededDraws.of(3, 0, 8, CPU), Request())["image"]
        last = model.generate(1, SeededDraws.of(3, 7, 1, CPU), Request())["image"]
    assert (eight[7].int() - last[0].int()).abs().max() <= 1
    assert (eight[0] != eight[7]).any()


def test_generate_decodes_its_latents():
    model = small().eval()
    assert isinstance(model, Architecture)
    assert isinstance(model, LatentSpace)
    with torch.no_grad():
        latents = model.latents(3, SeededDraws.of(1, 0, 3, CPU))
        images = model.generate(3, SeededDraws.of(1, 0, 3, CPU), Request())["image"]
        assert (model.decode(latents, Request())["image"] == images).all()
        smooth = model.decode_smooth(latents, Request())["image"]
        assert smooth.dtype == torch.float32
        assert (smooth - images).abs().max() <= 0.5 + 1e-3
    original = DCGANOriginal(DCGANOriginalConfig(latent=5, width=2), fields(1, 16))
    uniform = original.latents(200, SeededDraws.of(1, 0, 200, CPU))
    assert uniform.shape == (200, 5)
    assert uniform.min() < -0.9
    assert uniform.max() > 0.9
    assert uniform.abs().max() <= 1


def test_the_critic_sees_reals_and_fakes_apart_and_the_generator_the_same_fakes():
    """Batch statistics of a real and of a fake batch stay apart: their means are updated twice a critic's turn; the
    generator's network runs once an iteration."""
    model = small()
    (phase,) = model.phases(NonSaturating(), {})
    assert [turn.player for turn in phase.turns] == ["discriminator", "generator"]
    batch = Batch({"image": torch.zeros(4, 1, 16, 16, dtype=torch.uint8)}, StepDraws(0, 4, 0, 4, CPU), 0, 0.0)
    terms = phase.turns[0].objective(batch)
    assert abs(terms["loss"].item() - 1.3863) < 0.2  # 2 ln 2 where D gives 0
    phase.turns[1].objective(batch)
    norm = next(m for m in model.discriminator if isinstance(m, nn.BatchNorm2d))
    assert norm.num_batches_tracked == 3
    assert next(m for m in model.generator if isinstance(m, nn.BatchNorm2d)).num_batches_tracked == 1


def test_the_plugin_names_what_it_has():
    from importlib import import_module

    entries = [*gan_image.gan_modalities(), *gan_image.gan_architectures(), *gan_image.gan_datasets()]
    for entry in entries:
        module, _, attribute = entry.target.partition(":")
        assert hasattr(import_module(module), attribute), entry.target
    assert sum(recipe.default for recipe in gan_image.gan_recipes()) == 1
