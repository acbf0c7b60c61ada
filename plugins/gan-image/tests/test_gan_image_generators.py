"""R3GAN, WGAN-GP and BigGAN: published sizes, what their papers say of them, classes, exact samples.

One file, because most tests hold all three to the same promises.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from gan.build import recipe_values, resolve
from gan.contracts import Architecture, ConditionalOnInput, FieldSpec, Request, Settles
from gan.data.order import Order
from gan.draws import SeededDraws, StepDraws
from gan.errors import UsageError
from gan.game import Batch
from gan.generation.settling import settle
from gan.latents import truncated_normal
from gan.losses import Hinge, RelativisticPairing, Wasserstein
from gan.penalties import R1, R2, GradientPenalty
from gan.plugins.manager import Plugins
from gan.recipe import Training
from gan.runtime.device import Device
from gan.training.trainer import Trainer
from gan_image.architectures.biggan import (
    BigGAN,
    BigGANConfig,
    BigGANOptions,
    Discriminator,
    orthogonal_term,
)
from gan_image.architectures.fewshot import Excitation, FewShot, FewShotConfig, reconstruction_loss
from gan_image.architectures.pixels import to_network
from gan_image.architectures.r3gan import R3GAN, R3GANConfig, Resample, ResidualBlock
from gan_image.architectures.wgan_gp import WGANGP, WGANGPConfig, WGANGPDigits, WGANGPDigitsConfig
from torch import nn

CPU = torch.device("cpu")


def fields(channels: int, side: int, classes: int = 0) -> dict[str, FieldSpec]:
    found = {"image": FieldSpec((channels, side, side), "uint8", 0, 255, "intensity")}
    if classes:
        names = tuple(f"class {index}" for index in range(classes))
        found["label"] = FieldSpec((), "int64", 0, classes - 1, "class index", names=names, condition=True)
    return found


def sizes(model: Any) -> tuple[int, int]:
    generator, discriminator = (
        sum(parameter.numel() for parameter in module.parameters()) for module in (model.generator, model.discriminator)
    )
    return generator, discriminator


def batch_of(classes: int = 0, side: int = 32, count: int = 4, channels: int = 1, progress: float = 0.0) -> Batch:
    generator = torch.Generator().manual_seed(0)
    rows = {"image": torch.randint(0, 256, (count, channels, side, side), generator=generator, dtype=torch.uint8)}
    if classes:
        rows["label"] = torch.arange(count) % classes
    return Batch(rows, StepDraws(1, count, 0, count, CPU), 0, progress)


def r3gan(classes: int = 0, side: int = 16, **settings: Any) -> R3GAN:
    torch.manual_seed(0)
    config = R3GANConfig(**{"latent": 8, "width": 8, "group": 1, "blocks": 1, **settings})
    return R3GAN(config, fields(1, side, classes))


def biggan(classes: int = 0, **settings: Any) -> BigGAN:
    torch.manual_seed(0)
    return BigGAN(BigGANConfig(**{"width": 2, "latent": 8, **settings}), fields(1, 32, classes))


def wgan_gp(classes: int = 0, critic_repeats: int = 5) -> WGANGP:
    torch.manual_seed(0)
    config = WGANGPConfig(latent=8, generator_width=4, discriminator_width=4, critic_repeats=critic_repeats)
    return WGANGP(config, fields(1, 32, classes))


# ---------------------------------------------------------------------- published sizes


@pytest.mark.parametrize(
    ("settings", "side", "classes", "expected"),
    [
        ({}, 32, 0, (20_732_160, 20_683_776)),
        ({}, 32, 10, (20_781_952, 21_280_512)),
        ({}, 64, 0, (22_429_824, 22_381_440)),
        ({}, 256, 0, (23_057_952, 23_009_568)),
        ({"width": 1536, "group": 16}, 32, 1000, (82_914_304, 86_548_992)),
        ({"width": 1536, "group": 16, "full": 5}, 64, 1000, (103_570_432, 107_205_120)),
        ({"width": 64}, 32, 0, (285_888, 281_856)),
        ({"width": 64}, 32, 10, (290_624, 286_528)),
        ({"width": 64, "full": 3}, 16, 0, (215_744, 211_712)),
    ],
)
def test_r3gan_has_the_published_parameter_counts(settings: Any, side: int, classes: int, expected: tuple[int, int]):
    with torch.device("meta"):
        model = R3GAN(R3GANConfig(**settings), fields(3, side, classes))
    assert sizes(model) == expected


@pytest.mark.parametrize(
    ("settings", "side", "classes", "expected"),
    [
        (
            {"width": 96, "latent": 120, "hierarchical": True, "shared": 128, "attention": (64,)},
            *(128, 1000, (70_433_988, 87_982_370)),
        ),
        (
            {"width": 64, "latent": 125, "hierarchical": True, "shared": 128, "attention": (32,)},
            *(64, 1000, (31_995_396, 20_571_842)),
        ),
        ({"width": 64, "latent": 128}, 32, 10, (4_304_387, 4_207_361)),
    ],
)
def test_biggan_has_the_published_parameter_counts(settings: Any, side: int, classes: int, expected: tuple[int, int]):
    with torch.device("meta"):
        model = BigGAN(BigGANConfig(initialisation="normal", **settings), fields(3, side, classes))
    assert sizes(model) == expected


def test_wgan_gp_has_the_published_parameter_counts():
    assert sizes(WGANGP(WGANGPConfig(), fields(3, 32))) == (1_204_483, 1_053_825)
    plain, told = (WGANGP(WGANGPConfig(), fields(3, 32, classes)) for classes in (0, 10))
    assert sizes(told)[1] - sizes(plain)[1] == 1_290
    assert sizes(WGANGPDigits(WGANGPDigitsConfig(), fields(1, 28))) == (1_554_177, 1_030_145)


def test_published_recipes_have_the_sizes_that_were_counted():
    plugins = Plugins.installed()
    published = {
        "r3gan-cifar10": {"width": 768, "full": 4, "group": 8, "blocks": 2, "latent": 64, "gamma": 0.05},
        "r3gan-64": {"width": 768, "full": 4, "group": 8, "blocks": 2, "gamma": "auto"},
        "r3gan-256": {"width": 768, "full": 4, "group": 8, "blocks": 2, "gamma": "auto"},
        "r3gan-imagenet32": {"width": 1536, "full": 4, "group": 16, "gamma": 0.5},
        "r3gan-imagenet64": {"width": 1536, "full": 5, "group": 16, "gamma": 1.0},
        "wgan-gp-cifar10": {"latent": 128, "generator_width": 128, "discriminator_width": 128, "critic_repeats": 5},
        "wgan-gp-mnist": {"latent": 128, "width": 64, "critic_repeats": 5},
        "biggan-128": {"width": 96, "latent": 120, "hierarchical": True, "shared": 128, "attention": (64,)},
        "biggan-cifar10": {"width": 64, "latent": 128, "hierarchical": False, "shared": 0, "critic_repeats": 4},
        "sngan-cifar10": {"width": 64, "discriminator_width": 32, "spectral_generator": False, "critic_repeats": 5},
        "sagan-128": {"width": 64, "attention": (32,), "shared": 0, "spectral_generator": True},
    }
    for name, expected in published.items():
        config = resolve(recipe_values(plugins, "image", named=name), plugins).model_config
        assert {key: getattr(config, key) for key in expected} == expected, name


# ---------------------------------------------------------------------- every generator


MODELS = {
    "r3gan": lambda classes: r3gan(classes, 32),
    "wgan-gp": wgan_gp,
    "biggan": lambda classes: biggan(classes, **({"shared": 4} if classes else {})),
    "biggan per class": lambda classes: biggan(classes, attention=(16,), width=4),
    "biggan hierarchical": lambda classes: biggan(
        classes, hierarchical=True, latent=16, **({"shared": 4} if classes else {})
    ),
}


@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("name", MODELS)
def test_a_generator_makes_images_of_the_class_that_is_asked_for(name: str, classes: int):
    model = MODELS[name](classes)
    (phase,) = model.phases(Hinge(), {})
    batch = batch_of(classes)
    for turn in phase.turns:  # a step, so that running statistics and spectral vectors are those of a training
        sum(value for name, value in turn.objective(batch).items() if not name.startswith("_")).backward()
    with torch.no_grad():
        for module in model.generator.modules():  # gains and residual branches that start at zero
            for parameter in module.parameters(recurse=False):
                parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    model.eval()
    assert isinstance(model, Architecture)
    assert isinstance(model, ConditionalOnInput)
    assert model.given_fields() == (("label",) if classes else ())

    def images(first: int, count: int, label: int) -> torch.Tensor:
        given = {"label": torch.full((count,), label)} if classes else None
        with torch.no_grad():
            made: torch.Tensor = model.generate(count, SeededDraws.of(3, first, count, CPU), Request(None, given))[
                "image"
            ]
        return made

    four = images(0, 4, 1)
    assert four.shape == (4, 1, 32, 32)
    assert four.dtype == torch.uint8
    assert (four[3].int() - images(3, 1, 1)[0].int()).abs().max() <= 1, "a sample depends on its batch"
    assert (four[0] != four[1]).any()
    if classes:
        assert (four != images(0, 4, 2)).any()
        with pytest.raises(UsageError, match="class"):
            model.generate(1, SeededDraws.of(0, 0, 1, CPU), Request())


@pytest.mark.parametrize("side", [4, 12, 28, 48])
def test_other_resolutions_are_refused_with_the_setting(side: int):
    for make in (
        lambda: R3GAN(R3GANConfig(width=8), fields(1, side)),
        lambda: BigGAN(BigGANConfig(width=2), fields(1, side)),
        lambda: WGANGP(WGANGPConfig(), fields(1, side)),
    ):
        with pytest.raises(UsageError, match=r"modality\.resolution"):
            make()
    with pytest.raises(UsageError, match=r"modality\.resolution"):
        WGANGPDigits(WGANGPDigitsConfig(), fields(1, 32))
    with pytest.raises(UsageError, match=r"modality\.labels"):
        WGANGPDigits(WGANGPDigitsConfig(), fields(1, 28, 3))


# ---------------------------------------------------------------------- R3GAN


def test_r3gan_blocks_start_as_the_identity():
    block = ResidualBlock(8, 2, 4)
    x = torch.randn(2, 8, 4, 4)
    assert torch.equal(block(x), x)


def test_resampling_filters_with_1331():
    """Down and up are adjoint up to a factor of four, keep constants inside, and equal the filter written out."""
    down, up = Resample(1, up=False), Resample(1, up=True)
    x = torch.randn(1, 1, 8, 8)
    y = torch.randn(1, 1, 4, 4)
    torch.testing.assert_close((down(x) * y).sum() * 4, (x * up(y)).sum())
    assert torch.allclose(up(torch.ones(1, 1, 4, 4))[..., 1:-1, 1:-1], torch.ones(6, 6))
    line = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    inner = (x[0, 0, 1:5, 1:5] * torch.outer(line, line)).sum()
    torch.testing.assert_close(down(x)[0, 0, 1, 1], inner)


def test_r3gan_penalizes_real_and_generated_images_in_every_step():
    """The two terms equal the core's R1 and R2 with a weight of γ."""
    model = r3gan()
    (phase,) = model.phases(RelativisticPairing(), {})
    assert [turn.player for turn in phase.turns] == ["discriminator", "generator"]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    batch = batch_of(side=16)
    terms = phase.turns[0].objective(batch)
    fake = model.generator(StepDraws(1, 4, 0, 4, CPU).randn(8)).detach()
    real = to_network(batch["image"])
    for name, penalty in (("r1", R1(weight=1)), ("r2", R2(weight=1))):
        expected = model.gamma * penalty(model.discriminator, real, fake, batch.rng).mean()
        torch.testing.assert_close(terms[name], expected)
    scores = model.discriminator(real), model.discriminator(fake)
    torch.testing.assert_close(terms["loss"], RelativisticPairing().discriminator(*scores).mean())


def test_gamma_follows_the_resolution_and_falls_along_a_cosine():
    found = [r3gan(side=side, full=8).gamma for side in (16, 32, 64, 128, 256)]
    assert found == pytest.approx([0.1, 0.233, 2.0, 17.1, 147], rel=0.01)  # published: 2 at 64, 150 at 256 pixels
    model = r3gan(gamma=2.0, burn_in=0.5)
    found = [model.gamma_at(progress) for progress in (0.0, 0.25, 0.5, 1.0)]
    assert found == pytest.approx([2.0, 1.1, 0.2, 0.2])
    first = model.phases(RelativisticPairing(), {})[0].turns[0].objective(batch_of(side=16))["r1"]
    last = model.phases(RelativisticPairing(), {})[0].turns[0].objective(batch_of(side=16, progress=1.0))["r1"]
    torch.testing.assert_close(last, first / 10)


def test_r3gan_takes_further_penalties():
    model = r3gan()
    (phase,) = model.phases(RelativisticPairing(), {"gradient-penalty": GradientPenalty(), "r1": R1(every=4)})
    assert [(turn.player, turn.every) for turn in phase.turns] == [
        ("discriminator", 1),
        ("discriminator", 4),
        ("generator", 1),
    ]
    assert "penalty gradient-penalty" in phase.turns[0].objective(batch_of(side=16))


def test_r3gan_shows_real_and_generated_images_augmented():
    """Also to the penalties, which differentiate through the augmentation to the images themselves."""
    model = r3gan()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)

    class Halved:
        strength = 0.5

        def __call__(self, samples: torch.Tensor, rng: Any, strength: torch.Tensor) -> torch.Tensor:
            return samples * strength

    (phase,) = model.phases(RelativisticPairing(), {})
    batch = batch_of(side=16)
    batch.augmentations = {"halved": Halved()}
    terms = phase.turns[0].objective(batch)
    fake = model.generator(StepDraws(1, 4, 0, 4, CPU).randn(8)).detach()
    real = to_network(batch["image"])

    def critic(images: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = model.discriminator(images / 2)
        return scores

    torch.testing.assert_close(terms["loss"], RelativisticPairing().discriminator(critic(real), critic(fake)).mean())
    torch.testing.assert_close(terms["r1"], model.gamma * R1(weight=1)(critic, real, fake, batch.rng).mean())
    batch.dials = {"model.gamma": 3.0}
    torch.testing.assert_close(phase.turns[0].objective(batch)["r1"] / terms["r1"], torch.tensor(3.0), rtol=0.5, atol=0)


def test_r3gan_refuses_groups_that_do_not_divide():
    with pytest.raises(UsageError, match=r"model\.width"):
        R3GAN(R3GANConfig(width=64, group=8, full=1), fields(1, 128))


# ---------------------------------------------------------------------- WGAN-GP


def test_the_critic_of_wgan_gp_does_not_mix_images_and_takes_five_updates():
    model = wgan_gp()
    assert not any(isinstance(module, nn.BatchNorm2d) for module in model.discriminator.modules())
    (phase,) = model.phases(Wasserstein(), {"gradient-penalty": GradientPenalty()})
    assert [(turn.player, turn.repeats) for turn in phase.turns] == [("discriminator", 5), ("generator", 1)]
    assert phase.turns[0].objective(batch_of()).keys() >= {"loss", "gradient-penalty"}


def test_wgan_gp_names_classes_with_the_published_weights():
    """At first every class is as likely: the cross-entropy is about ln 3, a tenth of it for the generator."""
    (phase,) = wgan_gp(3).phases(Wasserstein(), {})
    terms = [turn.objective(batch_of(3, count=64))["class"].item() for turn in phase.turns]
    assert terms == pytest.approx([math.log(3), 0.1 * math.log(3)], rel=0.3)


def test_wgan_gp_fills_the_gaps_between_grey_levels():
    images = wgan_gp().real(batch_of(count=64))
    assert -1 <= images.min() < -0.99
    assert 0.99 < images.max() <= 1
    assert len(images.unique()) > 10_000


def test_wgan_gp_starts_with_the_deviation_of_the_paper():
    model = WGANGP(WGANGPConfig(), fields(3, 32))
    inner = model.discriminator.blocks[2].first.weight
    assert inner.std().item() == pytest.approx(math.sqrt(4 / (2 * 128 * 9)), rel=0.02)


# ---------------------------------------------------------------------- BigGAN


def test_spectral_normalization_converges_and_is_exact_on_resume():
    """After some forwards the largest singular value is 1; a copy that loads the state continues bit by bit."""
    one, other = biggan(), biggan()
    for _ in range(30):
        one.discriminator(torch.randn(2, 1, 32, 32, generator=torch.Generator().manual_seed(2)), None)
    weight = one.discriminator.blocks[1].first.weight
    assert torch.linalg.matrix_norm(weight.flatten(1), 2).item() == pytest.approx(1, abs=0.02)
    other.load_state_dict(one.state_dict())
    images = torch.randn(2, 1, 32, 32)
    for _ in range(3):
        assert torch.equal(one.discriminator(images, None), other.discriminator(images, None))
    assert any(name.endswith("_u") for name, _ in one.named_buffers())
    before = {name: value.clone() for name, value in one.named_buffers() if name.endswith("_u")}
    one.eval().discriminator(images, None)
    assert all(torch.equal(value, before[name]) for name, value in one.named_buffers() if name.endswith("_u"))


def test_the_discriminator_projects_on_the_class():
    """Scores of two classes differ by the product of their embeddings' difference and the features."""
    torch.manual_seed(0)
    network = Discriminator(BigGANConfig(width=2), 32, 1, 3).eval()
    images = torch.randn(5, 1, 32, 32)
    features = network.blocks(images).sum((2, 3))
    assert network.embedding is not None
    difference = network.embedding(torch.tensor(0)) - network.embedding(torch.tensor(2))
    zero, two = (network(images, torch.full((5,), label)) for label in (0, 2))
    torch.testing.assert_close(zero - two, features @ difference)


def test_orthogonal_regularization_has_the_published_gradient():
    """2s (WWᵀ ⊙ (1 - I)) W, and none where the rows are orthogonal or for the shared embedding."""
    layer = nn.Linear(4, 3, bias=False)
    orthogonal_term(layer, 1e-4).backward()
    weight = layer.weight.detach()
    products = weight @ weight.T
    expected = 2e-4 * (products * (1 - torch.eye(3))) @ weight
    torch.testing.assert_close(layer.weight.grad, expected)
    nn.init.orthogonal_(layer.weight)
    assert orthogonal_term(layer, 1.0).item() < 1e-10
    model = biggan(3, shared=4, orthogonal=1e-4)
    terms = model.phases(Hinge(), {})[0].turns[-1].objective(_played(model, batch_of(3)))
    terms["orthogonal"].backward()
    assert model.generator.shared.weight.grad is None


def _played(model: BigGAN, batch: Batch) -> Batch:
    """The batch after the discriminator's turn, which leaves its fakes for the generator's."""
    model.phases(Hinge(), {})[0].turns[0].objective(batch)
    return batch


def test_weights_start_orthogonal():
    model = biggan(width=4)
    weight = model.generator.blocks[0].first.parametrizations.weight.original.flatten(1)
    torch.testing.assert_close(weight @ weight.T, torch.eye(len(weight)), atol=1e-5, rtol=0)


def test_truncation_keeps_order_and_limits():
    latents = torch.randn(10_000, generator=torch.Generator().manual_seed(0))
    for limit in (2.0, 0.5, 0.02):
        found = truncated_normal(latents, limit)
        assert found.abs().max() <= limit
        assert (found[latents.argsort()].diff() >= 0).all()
    assert truncated_normal(latents, 1.0).std().item() == pytest.approx(0.5397, abs=0.01)  # of N(0, 1) within ±1
    model = biggan().eval()
    rows = model.latents(8, SeededDraws.of(0, 0, 8, CPU))
    with torch.no_grad():
        whole, narrow = (
            model.decode_smooth(rows, Request(BigGANOptions(truncation=limit)))["image"] for limit in (None, 0.1)
        )
    assert narrow.std(0).mean() < 0.5 * whole.std(0).mean()


def test_standing_statistics_are_those_of_the_present_weights():
    """After a change of the weights running statistics lag; settled ones are the mean over batches of fresh latents."""
    model = biggan(3, shared=4)
    norm = model.generator.norm
    vectors = {name: value.clone() for name, value in model.named_buffers() if name.endswith("_u")}
    norm.running_mean.fill_(7.0)
    model.eval()
    assert isinstance(model, Settles)
    seen: list[torch.Tensor] = []
    handle = norm.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].mean((0, 2, 3))))
    settle(model, CPU)
    handle.remove()
    torch.testing.assert_close(norm.running_mean, torch.stack(seen).mean(0))
    assert (norm.momentum, norm.training) == (0.1, False)
    assert all(torch.equal(value, vectors[name]) for name, value in model.named_buffers() if name in vectors)


def test_hierarchical_latents_reach_every_block():
    model = biggan(hierarchical=True, latent=16).eval()
    rows = torch.zeros(1, 16)
    with torch.no_grad():
        for block in model.generator.blocks:
            for layer in (block.first_norm.gain, block.second_norm.gain):
                assert layer is not None
        first = model.decode_smooth(rows, Request())["image"]
        for chunk in range(4):
            other = rows.clone()
            other[:, 4 * chunk] = 3.0
            assert (model.decode_smooth(other, Request())["image"] != first).any()
    with pytest.raises(UsageError, match=r"model\.latent"):
        biggan(hierarchical=True, latent=10)
    with pytest.raises(UsageError, match=r"model\.shared"):
        biggan(3, hierarchical=True, latent=16)


def test_biggan_takes_other_widths_and_then_other_resolutions():
    config = BigGANConfig(width=2, latent=8, generator_multiples=(3, 2, 1), discriminator_multiples=(1, 2, 3))
    model = BigGAN(config, fields(1, 16)).eval()
    assert model.generate(1, SeededDraws.of(0, 0, 1, CPU), Request())["image"].shape == (1, 1, 16, 16)
    assert [block.down for block in list(model.discriminator.blocks)[:-1]] == [True, True, False]
    with pytest.raises(UsageError, match="generator_multiples needs 4 widths for 32 pixels"):
        BigGAN(config, fields(1, 32))


def test_sngan_is_biggan_without_classes_and_with_spectral_normalization_of_one_player():
    model = biggan(spectral_generator=False, discriminator_width=1)
    vectors = {name.split(".")[0] for name, _ in model.named_buffers() if name.endswith("_u")}
    assert vectors == {"discriminator"}
    assert model.generator.blocks[0].first_norm.norm.affine


# ---------------------------------------------------------------------- few-shot


def fewshot(side: int = 32) -> FewShot:
    torch.manual_seed(0)
    return FewShot(FewShotConfig(latent=8, generator_width=8, discriminator_width=8), fields(1, side))


def test_excitation_joins_stages_whose_sides_differ_eightfold():
    model = fewshot(64)
    assert list(model.generator.excitations) == ["3", "4"]  # 4 to 32 and 8 to 64 pixels
    gate = Excitation(8, 8)
    large = torch.randn(2, 8, 32, 32)
    share = gate(torch.randn(2, 8, 4, 4), large) / large
    assert share.flatten(2).std(2).max() < 1e-4, "a gate is one number for each channel"
    assert 0 < share.min() < share.max() < 1


@pytest.mark.parametrize("side", [16, 64])
def test_fewshot_trains_its_discriminator_as_an_encoder(side: int):
    """The reconstruction's gradient reaches the decoder and the shared blocks, but not the heads; reals only."""
    model = fewshot(side)
    (phase,) = model.phases(RelativisticPairing(), {})
    batch = batch_of(side=side)
    terms = phase.turns[0].objective(batch)
    assert terms["gradient"] >= 0
    terms["reconstruction"].backward(retain_graph=True)

    def reached(module: nn.Module) -> bool:
        return any(p.grad is not None and bool(p.grad.abs().max() > 0) for p in module.parameters())

    assert reached(model.discriminator.decoder)
    assert reached(model.discriminator.start)
    assert not reached(model.discriminator.head)
    assert not reached(model.generator)
    images = to_network(batch["image"])
    assert reconstruction_loss(images, images) == 0
    assert reconstruction_loss(images[..., ::2, ::2], images) > 0
    made = model.eval().generate(2, SeededDraws.of(0, 0, 2, CPU), Request())["image"]
    assert made.shape == (2, 1, side, side)


def test_the_penalty_by_finite_differences_is_that_of_a_line():
    """For scores a·x its expectation is γ/2·‖a‖² for each head (Lin et al. 2025)."""
    model = fewshot(16)

    class Line(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(256, generator=torch.Generator().manual_seed(0)))

        def forward(self, images: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
            return [(images.flatten(1) * self.weight).sum(1)[:, None, None, None]] * 2, images

    line = model.discriminator = Line()  # type: ignore[assignment]
    model.config = model.config.model_copy(update={"reconstruction": 0.0})
    line.decoder = nn.Identity()
    (phase,) = model.phases(RelativisticPairing(), {})
    value = phase.turns[0].objective(batch_of(side=16, count=2048))["gradient"]
    torch.testing.assert_close(value, line.weight.square().sum(), rtol=0.1, atol=0)


# ---------------------------------------------------------------------- micro-batches and resuming


class Rows:
    """Some samples in memory, as the trainer reads them."""

    def __init__(self, side: int, classes: int) -> None:
        self.samples = {name: values.numpy() for name, values in batch_of(classes, side, 16).fields.items()}

    def __len__(self) -> int:
        return 16

    def take(self, indices: np.ndarray[Any, Any]) -> dict[str, np.ndarray[Any, Any]]:
        return {name: values[indices] for name, values in self.samples.items()}


def trainer_of(model: Any, side: int, classes: int, loss: Any, penalties: Any = None, **training: Any) -> Trainer:
    settings = Training(samples=24, batch=8, device="cpu", precision="fp32", ema_half_life=8, **training)
    order = Order(16, 0)
    device = Device(CPU, torch.float32)
    phases = model.phases(loss, penalties or {})
    return Trainer(model, model.players(), phases, Rows(side, classes), order, settings, 0, device)


def test_r3gan_learns_the_same_from_micro_batches():
    """Nothing in it mixes samples: whole batches and parts of two lead to the same weights."""
    states = []
    for part in (None, 2):
        trainer = trainer_of(r3gan(3), 16, 3, RelativisticPairing(), micro_batch=part)
        trainer.run(lambda tick: None)
        states.append(trainer.architecture.state_dict())
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, rtol=1e-3, atol=1e-5, msg=name)
    assert any((states[0][name] != value).any() for name, value in r3gan(3).state_dict().items())


@pytest.mark.parametrize(
    ("make", "side", "classes", "loss"),
    [
        (lambda: r3gan(3), 16, 3, RelativisticPairing()),
        (lambda: biggan(3, shared=4, orthogonal=1e-4, attention=(16,), width=4), 32, 3, Hinge()),
        (lambda: wgan_gp(3, critic_repeats=1), 32, 3, Wasserstein()),
        (lambda: fewshot(16), 16, 0, RelativisticPairing()),
    ],
    ids=["r3gan", "biggan", "wgan-gp", "fewshot"],
)
def test_a_training_resumes_exactly(make: Any, side: int, classes: int, loss: Any):
    """Stopped after one iteration and continued from its saved states: the same weights and buffers, bit by bit."""
    through = trainer_of(make(), side, classes, loss)
    through.run(lambda tick: None)
    first = trainer_of(make(), side, classes, loss)
    first.run(lambda tick: None, lambda: True)
    assert not first.finished
    second = trainer_of(make(), side, classes, loss)
    for name, owner in first.owners().items():
        second.owners()[name].load_state_dict(copy.deepcopy(owner.state_dict()))
    torch.manual_seed(99)
    second.run(lambda tick: None)
    expected = through.architecture.state_dict()
    assert expected.keys() == second.architecture.state_dict().keys()
    for name, value in second.architecture.state_dict().items():
        assert torch.equal(value, expected[name]), name
