"""Networks of translation, the pool, the jitter, and the games of CycleGAN and pix2pix."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from gan.contracts import Architecture, ConditionalOnInput, FieldSpec, Request
from gan.draws import SeededDraws, StepDraws
from gan.errors import UsageError
from gan.game import Batch
from gan.losses import LeastSquares, NonSaturating
from gan.penalties import R1
from gan_image.architectures.cyclegan import CycleGAN, CycleGANConfig, CycleGANOptions
from gan_image.architectures.pix2pix import Pix2Pix, Pix2PixConfig, Pix2PixOptions, chroma
from gan_image.architectures.pixels import to_network, to_pixels
from gan_image.architectures.translation import (
    ImagePool,
    ResnetGenerator,
    UnetGenerator,
    jitter,
    patch_discriminator,
)
from pydantic import ValidationError
from torch import nn

CPU = torch.device("cpu")


def fields(channels: int = 3, side: int = 32) -> dict[str, FieldSpec]:
    picture = FieldSpec((channels, side, side), "uint8", 0, 255, "intensity")
    return {"source": picture, "target": picture}


def size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def rng(count: int, seed: int = 0) -> StepDraws:
    return StepDraws(seed, count, 0, count, CPU)


def batch(count: int, channels: int = 3, side: int = 32, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    pictures = {
        name: torch.randint(256, (count, channels, side, side), generator=generator, dtype=torch.uint8)
        for name in ("source", "target")
    }
    return Batch(pictures, rng(count, seed), 0, 0.0)


# ---------------------------------------------------------------------------- published sizes


def test_published_parameter_counts():
    assert size(ResnetGenerator(3, 64, 9)) == 11_378_179
    assert size(ResnetGenerator(3, 64, 6)) == 7_837_699
    assert size(UnetGenerator(3, 256)) == 54_413_955
    assert size(UnetGenerator(3, 128)) == 41_828_995
    assert size(patch_discriminator(3, norm="instance")) == 2_764_737
    assert size(patch_discriminator(6, norm="batch")) == 2_768_705


def test_patches_of_256_pixels_are_30_by_30_and_see_70_pixels():
    """The gradient of one score reaches 70 x 70 pixels. Without normalisation, which sees the whole picture."""
    judge = patch_discriminator(1, 2, norm="batch").eval()
    picture = torch.zeros(1, 1, 256, 256, requires_grad=True)
    scores = judge(picture)
    assert scores.shape == (1, 1, 30, 30)
    scores[0, 0, 15, 15].backward()
    rows = picture.grad[0, 0].abs().sum(1).nonzero()
    assert rows.max() - rows.min() + 1 == 70
    assert patch_discriminator(3, 4, layers=0)(torch.zeros(1, 3, 8, 8)).shape == (1, 1, 8, 8)


@pytest.mark.parametrize("side", [32, 64])
def test_generators_keep_the_shape(side: int):
    pictures = torch.rand(2, 3, side, side) * 2 - 1
    for network in (ResnetGenerator(3, 2, 1), UnetGenerator(3, side, 2)):
        translated = network(pictures)
        assert translated.shape == pictures.shape
        assert translated.abs().max() <= 1
    with pytest.raises(UsageError, match=r"modality\.resolution"):
        UnetGenerator(3, 48)


def test_the_unet_sees_each_level_again():
    """Without the innermost levels the output still follows the input: the outermost skip is at work."""
    torch.manual_seed(0)  # with so few channels one seed in sixty has only dead ReLUs on the way
    network = UnetGenerator(1, 32, 2).eval()
    with torch.no_grad():
        for parameter in network.up[1].parameters():
            parameter.zero_()
        first, second = network(torch.zeros(1, 1, 32, 32)), network(torch.ones(1, 1, 32, 32))
    assert (first - second).abs().max() > 1e-3


def test_the_unet_drops_with_the_callers_noise():
    """256 pixels drop at three levels, 64 at one, 32 at none; equal draws give equal pictures."""
    assert [len(UnetGenerator(1, side, 1).dropped) for side in (32, 64, 128, 256)] == [0, 1, 2, 3]
    network = UnetGenerator(1, 64, 4).eval()
    pictures = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        one, again, other, none = (network(pictures, d) for d in (rng(2, 1), rng(2, 1), rng(2, 2), None))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert not torch.equal(one, none)


# ---------------------------------------------------------------------------- pool and jitter


def test_the_pool_fills_then_swaps_half_of_the_time():
    """The first `size` pictures are shown as they come. Afterwards about half of what is shown is old, what is shown
    and what is kept are together what was there, and nothing is lost or doubled."""
    pool = ImagePool(20, (1,))
    first = torch.arange(20.0)[:, None]
    assert torch.equal(pool.show(first, rng(20)), first)
    assert torch.equal(pool.pictures, first)
    old = 0
    for step in range(1, 50):
        new = (torch.arange(4.0) + 100 * step)[:, None]
        before = set(pool.pictures.flatten().tolist())
        shown = pool.show(new, rng(4, step))
        after = set(pool.pictures.flatten().tolist())
        old += sum(value not in new for value in shown.flatten())
        assert len(after) == 20
        assert set(shown.flatten().tolist()) | after == before | set(new.flatten().tolist())
    assert 0.3 < old / (49 * 4) < 0.65
    assert int(pool.filled) == 20


def test_the_pool_is_part_of_the_state():
    pool, twin = ImagePool(3, (2,)), ImagePool(3, (2,))
    pool.show(torch.rand(2, 2), rng(2))
    twin.load_state_dict(pool.state_dict())
    for step in range(8):
        pictures = torch.rand(2, 2)
        assert torch.equal(pool.show(pictures, rng(2, step)), twin.show(pictures, rng(2, step)))
    assert torch.equal(ImagePool(0, (2,)).show(torch.ones(1, 2), rng(1)), torch.ones(1, 2))


def test_jitter_treats_a_pair_alike_and_rows_apart():
    pictures = torch.rand(6, 1, 16, 16) * 2 - 1
    one, same = jitter([pictures, pictures.clone()], rng(6), 0.25, True)
    assert torch.equal(one, same)
    assert one.shape == pictures.shape
    assert (
        len(
            {
                tuple(row.flatten().tolist())
                for row in jitter([pictures[:1].expand(6, -1, -1, -1)], rng(6), 0.25, True)[0]
            }
        )
        > 3
    )
    (untouched,) = jitter([pictures], rng(6), 0.0, False)
    assert untouched is pictures


def test_jitter_mirrors_about_half():
    """A ramp that rises to the right either stays or falls."""
    ramp = torch.linspace(-1, 1, 16).expand(400, 1, 16, 16)
    (found,) = jitter([ramp], rng(400), 0.0, True)
    mirrored = found[:, 0, 0, 0] > 0
    assert 150 < mirrored.sum() < 250
    assert torch.equal(found[mirrored], ramp[mirrored].flip(3))
    assert torch.equal(found[~mirrored], ramp[~mirrored])


# ---------------------------------------------------------------------------- games


def cyclegan(**config) -> CycleGAN:
    torch.manual_seed(0)
    sizes = {"generator_width": 2, "blocks": 1, "discriminator_width": 2, "layers": 2, "pool": 4}
    return CycleGAN(CycleGANConfig(**{**sizes, **config}), fields())


def test_cyclegan_objectives_are_the_papers():
    """Recomputed by hand for least squares without jitter: MSE(D_A(G_A(A)), 1) and 10 |G_B(G_A(A)) - A| and
    5 |G_A(B) - B|; the discriminators' ½(MSE(D(real), 1) + MSE(D(fake), 0))."""
    model = cyclegan(jitter=0.0, flip=False)
    (phase,) = model.phases(LeastSquares(), {})
    assert [turn.player for turn in phase.turns] == ["generator", "discriminator"]
    data = batch(2)
    source, target = data["source"] / 127.5 - 1, data["target"] / 127.5 - 1
    with torch.no_grad():
        terms = phase.turns[0].objective(data)
        fake = model.to_target(source)
        expected = (model.judge_target(fake) - 1).square().mean()
        assert torch.isclose(terms["to_target"], expected)
        assert torch.isclose(terms["cycle_source"], 10 * (model.to_source(fake) - source).abs().mean())
        assert torch.isclose(terms["identity_target"], 5 * (model.to_target(target) - target).abs().mean())
        terms = phase.turns[1].objective(data)
        expected = 0.5 * ((model.judge_target(target) - 1).square().mean() + model.judge_target(fake).square().mean())
        assert torch.isclose(terms["target"], expected)  # the pool is not full: it shows what it is given


def test_cyclegan_without_identity_or_with_another_loss_and_a_penalty():
    model = cyclegan(identity_weight=0.0)
    (phase,) = model.phases(NonSaturating(), {"r1": R1(weight=1.0, every=4)})
    assert [turn.every for turn in phase.turns] == [1, 1, 4]
    data = batch(2)
    assert not any("identity" in name for name in phase.turns[0].objective(data))
    phase.turns[1].objective(data)
    assert phase.turns[2].objective(data)["r1"] > 0


def test_cyclegan_keeps_its_pools_with_its_weights():
    model = cyclegan()
    (phase,) = model.phases(LeastSquares(), {})
    data = batch(2)
    for turn in phase.turns:
        turn.objective(data)
    assert int(model.state_dict()["target_pool.filled"]) == 2


def test_cyclegan_translates_both_ways():
    model = cyclegan().eval()
    assert isinstance(model, Architecture)
    assert isinstance(model, ConditionalOnInput)
    pictures = batch(3).fields["source"]
    for direction, given, made in (("ab", "source", "target"), ("ba", "target", "source")):
        options = CycleGANOptions(direction=direction, reconstruct=True)
        assert model.given_fields(options) == (given,)
        with torch.no_grad():
            found = model.generate(3, SeededDraws.of(0, 0, 3, CPU), Request(options, {given: pictures}))
            there, back = (model.to_target, model.to_source)[:: 1 if direction == "ab" else -1]
            again = to_pixels(back(there(to_network(pictures))))
        assert torch.equal(found[given], pictures)
        assert found[made].shape == pictures.shape
        assert (found[made] != pictures).any()
        assert (again.int() - found["reconstruction"].int()).abs().max() <= 1


def pix2pix(**config) -> Pix2Pix:
    torch.manual_seed(0)
    return Pix2Pix(
        Pix2PixConfig(**{"generator_width": 2, "discriminator_width": 2, "layers": 2, **config}), fields(side=64)
    )


def test_pix2pix_objectives_are_the_papers():
    """½[BCE(D(A, B), 1) + BCE(D(A, G(A)), 0)] and BCE(D(A, G(A)), 1) + 100 |B - G(A)|; no jitter, no dropout."""
    model = pix2pix(jitter=0.0, flip=False)
    model.generator.dropped = range(0)
    (phase,) = model.phases(NonSaturating(), {})
    assert [turn.player for turn in phase.turns] == ["discriminator", "generator"]
    data = batch(2, side=64)
    source, target = data["source"] / 127.5 - 1, data["target"] / 127.5 - 1
    with torch.no_grad():
        fake = model.generator(source)
        real_scores = model.discriminator(torch.cat([source, target], 1))
        fake_scores = model.discriminator(torch.cat([source, fake], 1))
        bce = nn.functional.binary_cross_entropy_with_logits
        ones, zeros = torch.ones_like(real_scores), torch.zeros_like(real_scores)
        assert torch.isclose(
            phase.turns[0].objective(data)["loss"], 0.5 * (bce(real_scores, ones) + bce(fake_scores, zeros))
        )
        terms = phase.turns[1].objective(data)
        assert torch.isclose(terms["loss"], bce(fake_scores, ones))
        assert torch.isclose(terms["l1"], 100 * (target - fake).abs().mean())


def test_repeated_pixels_before_a_convolution_leave_no_chessboard():
    """The picture of a constant source, away from its borders and skips: a transposed convolution repeats with a period
    of two pixels, a convolution after repeating pixels is constant."""
    sizes: dict[str, list[float]] = {"transposed": [], "nearest": []}
    for upsample, found in sizes.items():
        torch.manual_seed(0)
        of_unet = UnetGenerator(1, 32, 4, upsample=upsample).up[0]
        of_resnet = ResnetGenerator(2, 2, 1, "batch", upsample=upsample).decoder[:4]
        for network in (of_unet, of_resnet):
            with torch.no_grad():
                flat = network.eval()(torch.ones(1, 8, 16, 16))[0, 0, 4:-4, 4:-4]
            found.append(float(flat.max() - flat.min()))
    assert max(sizes["nearest"]) < 1e-6
    assert min(sizes["transposed"]) > 1e-2
    assert size(ResnetGenerator(3, 64, 9, upsample="nearest")) == 11_378_179  # the same number of parameters


def test_the_latent_vector_varies_a_translation_and_zeros_are_deterministic():
    model = pix2pix(latent=3).eval()
    pictures = batch(2, side=64).fields["source"]

    def made(seed, first=0, **options):
        request = Request(Pix2PixOptions(**options), {"source": pictures[first:]})
        draws = SeededDraws.of(seed, first, 2 - first, CPU)
        with torch.no_grad():
            return model.generate(2 - first, draws, request)["target"].int()

    for shift in model.generator.shift:
        nn.init.normal_(shift.weight)
    model.generator.dropped = range(0)
    assert torch.equal(made(1), made(1))
    assert (made(1) - made(2)).abs().float().mean() > 1
    assert torch.equal(made(1, deterministic=True), made(2, deterministic=True))
    assert (made(1)[1] - made(1, first=1)[0]).abs().max() <= 1
    assert pix2pix().state_dict().keys() == {key for key in model.state_dict() if ".shift." not in key}


def test_the_nearest_of_the_candidates_is_trained():
    """L1 of the translation is the smallest of all that the latent vectors give, for every pair by itself."""
    model = pix2pix(latent=3, candidates=4, zero_latents=0.0, jitter=0.0, flip=False, statistics="running").eval()
    for shift in model.generator.shift:
        nn.init.normal_(shift.weight)
    model.generator.dropped = range(0)
    data = batch(3, side=64)
    source, target = data["source"] / 127.5 - 1, data["target"] / 127.5 - 1
    with torch.no_grad():
        latents = rng(3).randn(4, 3)
        apart = torch.stack(
            [(model.generator(source, None, latents[:, k]) - target).abs().mean((1, 2, 3)) for k in range(4)]
        )
    (phase,) = model.phases(NonSaturating(), {})
    terms = phase.turns[1].objective(data)
    assert torch.isclose(terms["l1"], 100 * apart.min(0).values.mean())
    assert apart.min(0).values.mean() < apart.mean()
    terms["l1"].backward()
    assert model.generator.shift[0].weight.grad.abs().sum() > 0


def test_feature_matching_compares_the_discriminators_activations():
    """The mean over its layers of the mean absolute difference, and no gradient through the target's."""
    model = pix2pix(jitter=0.0, flip=False, feature_weight=3.0, discriminator_norm="none")
    model.generator.dropped = range(0)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in model.discriminator)
    (phase,) = model.phases(NonSaturating(), {})
    data = batch(2, side=64)
    source, target = data["source"] / 127.5 - 1, data["target"] / 127.5 - 1
    terms = phase.turns[1].objective(data)
    with torch.no_grad():
        activations = []
        for picture in (target, model.generator(source)):
            x, found = torch.cat([source, picture], 1), []
            for layer in model.discriminator:
                x = layer(x)
                if isinstance(layer, nn.LeakyReLU):
                    found.append(x.clone())
            activations.append(found)
        expected = sum((one - other).abs().mean() for one, other in zip(*activations)) / 3
    assert torch.isclose(terms["features"], 3 * expected)


def test_chroma_is_compared_apart_from_hue():
    """A wrong hue of the right chroma costs nothing, grey its whole chroma; the term teaches the generator."""
    red, blue, grey = (torch.tensor(colour)[None, :, None, None] for colour in ([1.0, 0, 0], [0, 0, 1.0], [0.3] * 3))
    assert chroma(red).item() == chroma(blue).item() == 1.0
    assert chroma(grey).item() == 0.0
    model = pix2pix(jitter=0.0, flip=False, chroma_weight=2.0)
    model.generator.dropped = range(0)
    (phase,) = model.phases(NonSaturating(), {})
    data = batch(2, side=64)
    terms = phase.turns[1].objective(data)
    with torch.no_grad():
        made = model.generator(data["source"] / 127.5 - 1)
    apart = (chroma(made) - chroma(data["target"] / 127.5 - 1)).abs().mean()
    assert torch.isclose(terms["chroma"], 2 * apart)
    later = pix2pix(jitter=0.0, flip=False, chroma_weight={"first": 0, "last": 2, "after": 10, "until": 30})
    later.load_state_dict(model.state_dict())
    later.generator.dropped = range(0)
    for position, weight in ((10, 0.0), (20, 1.0), (40, 2.0)):
        now = dataclasses.replace(batch(2, side=64), position=position)
        assert torch.isclose(later.phases(NonSaturating(), {})[0].turns[1].objective(now)["chroma"], weight * apart)
    terms["chroma"].backward()
    assert all(parameter.grad is not None for parameter in model.generator.parameters())
    with pytest.raises(ValidationError, match="must not be negative"):
        Pix2PixConfig(chroma_weight={"first": 0, "last": -1, "until": 30})


def test_pix2pix_translates_each_picture_by_itself():
    """Its own statistics, its own noise: a picture's translation does not depend on its neighbours."""
    model = pix2pix().eval()
    pictures = batch(4, side=64).fields["source"]
    with torch.no_grad():
        four = model.generate(4, SeededDraws.of(5, 0, 4, CPU), Request(None, {"source": pictures}))
        one = model.generate(1, SeededDraws.of(5, 3, 1, CPU), Request(None, {"source": pictures[3:]}))
        other = model.generate(1, SeededDraws.of(6, 3, 1, CPU), Request(None, {"source": pictures[3:]}))
        still = [
            model.generate(
                1, SeededDraws.of(s, 0, 1, CPU), Request(Pix2PixOptions(deterministic=True), {"source": pictures[3:]})
            )["target"]
            for s in (1, 2)
        ]
    assert (four["target"][3].int() - one["target"][0].int()).abs().max() <= 1
    assert not torch.equal(one["target"], other["target"])
    assert torch.equal(*still)


def test_single_pictures_are_refused_with_the_setting():
    single = {"image": fields()["source"]}
    for architecture, config in ((CycleGAN, CycleGANConfig()), (Pix2Pix, Pix2PixConfig())):
        with pytest.raises(UsageError, match=r"modality\.layout"):
            architecture(config, single)
