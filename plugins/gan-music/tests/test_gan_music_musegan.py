"""MuseGAN's networks and game."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gan.contracts import FieldSpec, Request
from gan.draws import SeededDraws, StepDraws
from gan.errors import UsageError
from gan.game import Batch
from gan.losses import Wasserstein
from gan.penalties import GradientPenalty
from gan_music.architectures.cells import Down, Norm, Up
from gan_music.architectures.composing import MuseGANOptions
from gan_music.architectures.musegan import MuseGAN, MuseGANConfig, chroma_of, edges_of
from gan_music.architectures.neurons import binarise
from torch import nn
from torch.nn.functional import batch_norm, leaky_relu, relu

CPU = torch.device("cpu")
PAPER = (5, 4, 48, 84)
SMALL = (3, 2, 16, 48)


def build(shape=SMALL, **settings) -> MuseGAN:
    torch.manual_seed(0)
    config = MuseGANConfig(**{"width": 32, "latent": 8, **settings})
    return MuseGAN(config, {"roll": FieldSpec(shape, "bool", 0, 1, "note on")})


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_parameters_of_the_released_networks():
    """The compact presets of MuseGAN's third release, counted from their source: latent 128, five tracks, four bars of
    48
    steps, 84 pitches. A bias before the tanh instead of its batch norm saves two numbers a track."""
    released = build(PAPER, width=512, latent=128, output_norm=True)
    assert count(released.generators) == 2_578_127
    assert count(released.critics) == 1_366_865
    assert count(build(PAPER, width=512, latent=128).generators) == 2_578_127 - 10


@pytest.mark.parametrize("composition", ["composer", "jamming", "hybrid"])
@pytest.mark.parametrize("shape", [SMALL, (1, 1, 12, 12), (5, 4, 48, 84), (2, 3, 36, 60), (4, 8, 96, 72)])
def test_shapes(composition, shape):
    model = build(shape, composition=composition).eval()
    made = model.generate(2, SeededDraws.of(0, 0, 2, CPU), Request())
    assert made["roll"].shape == (2, *shape)
    assert made["roll"].dtype == torch.bool
    seen = 1 if composition == "jamming" else shape[0]
    assert model.critics[0](torch.zeros(2, seen, *shape[1:])).shape == (2,)


@pytest.mark.parametrize(
    ("composition", "generators", "critics"), [("composer", 1, 1), ("jamming", 3, 3), ("hybrid", 3, 1)]
)
def test_who_composes_and_who_judges(composition, generators, critics):
    model = build(composition=composition)
    assert (len(model.generators), len(model.critics)) == (generators, critics)
    latents = model.latents(2, SeededDraws.of(0, 0, 2, CPU))
    assert latents.shape == (2, 1 if composition == "composer" else 3, 8)
    shared = latents[:, :1, :4] == latents[:, :, :4]
    own = latents[:, :1, 4:] == latents[:, :, 4:]
    if composition == "hybrid":
        assert shared.all()
        assert not own[:, 1:].any()
    if composition == "jamming":
        assert not shared[:, 1:].any()


def test_block_layers_are_the_convolutions():
    cells = torch.randn(3, 4, 16, 48, 4)
    for kernel, stride in [((1, 2, 12), None), ((1, 4, 3), (1, 4, 2)), ((2, 1, 1), (1, 1, 1)), ((4, 1, 1), None)]:
        down, up = Down(4, 6, kernel, stride), Up(4, 6, kernel, stride)
        wanted = leaky_relu(down.conv(cells.movedim(4, 1)), 0.2).movedim(1, 4)
        torch.testing.assert_close(down(cells), wanted, atol=1e-5, rtol=1e-5)
        wanted = relu(batch_norm(up.conv(cells.movedim(4, 1)), None, None, training=True)).movedim(1, 4)
        torch.testing.assert_close(up(cells), wanted, atol=1e-4, rtol=1e-4)


def test_streams_of_the_critic():
    roll = torch.full((1, 2, 8, 24, 1), -1.0)  # cells: bar, step, pitch, one track
    roll[0, 0, :4, [1, 13]] = 1  # C sharp in two octaves for a beat of four steps
    chroma = chroma_of(roll, 2)
    assert chroma.shape == (1, 2, 2, 12, 1)
    assert chroma[0, 0, 0, :, 0].tolist() == [0, 8, *[0] * 10]
    assert chroma[0, 1:].abs().sum() == 0
    edges = edges_of(roll)[0, :, :, 0, 0]
    assert edges[0].tolist() == [2, 0, 0, 0, -2, 0, 0, 0]
    assert edges[1].tolist() == [0] * 8


def test_density_before_training():
    model = build(PAPER, width=64, initial_density=0.03).eval()
    soft = torch.tanh(model.compose(torch.randn(4, 1, 8))).detach()
    assert float((soft + 1).mean() / 2) == pytest.approx(0.03, rel=0.2)


def test_binarisation():
    logits = torch.tensor([[-9.0, -0.1, 0.1, 9.0]]).repeat(500, 1)
    latents = torch.randn(500, 1, 4)
    assert binarise(logits, "threshold", None, latents)[0].tolist() == [False, False, True, True]
    drawn = binarise(logits, "bernoulli", None, latents)
    assert drawn.float().mean(0).tolist() == pytest.approx([0, 0.45, 0.55, 1], abs=0.07)
    assert torch.equal(drawn, binarise(logits, "bernoulli", None, latents))
    assert binarise(logits, "threshold", 0.25, latents).sum(1).eq(1).all()


@pytest.mark.parametrize("composition", ["composer", "jamming", "hybrid"])
def test_a_sample_is_independent_of_the_others(composition):
    model = build(composition=composition, binarisation="bernoulli").eval()
    all_eight = model.generate(8, SeededDraws.of(5, 0, 8, CPU), Request())["roll"]
    two = model.generate(2, SeededDraws.of(5, 6, 2, CPU), Request())["roll"]
    assert torch.equal(all_eight[6:], two)


def test_options():
    model = build().eval()
    sparse = model.generate(2, SeededDraws.of(0, 0, 2, CPU), Request(MuseGANOptions(sounding=0.01)))["roll"]
    assert sparse.flatten(1).sum(1).tolist() == [round(0.01 * np.prod(SMALL))] * 2
    latents = model.latents(2, SeededDraws.of(0, 0, 2, CPU))
    direct = model.decode(latents * 0.5, Request(MuseGANOptions(sounding=0.01)))["roll"]
    scaled = model.decode(latents, Request(MuseGANOptions(truncation=0.5, sounding=0.01)))["roll"]
    assert torch.equal(direct, scaled)


@pytest.mark.parametrize("composition", ["composer", "jamming", "hybrid"])
def test_turns_reach_the_right_parameters(composition):
    model = build(composition=composition)
    (phase,) = model.phases(Wasserstein(), {"gradient-penalty": GradientPenalty()})
    critic_turn, generator_turn = phase.turns
    assert (critic_turn.player, critic_turn.repeats, generator_turn.player) == ("discriminator", 5, "generator")
    real = torch.rand(4, *SMALL) < 0.1
    for turn, own, other in (
        (critic_turn, model.critics, model.generators),
        (generator_turn, model.generators, None),
    ):
        model.zero_grad()
        terms = turn.objective(Batch({"roll": real}, StepDraws(1, 4, 0, 4, CPU), 0, 0.0))
        sum(value for name, value in terms.items() if not name.startswith("_")).backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in own.parameters())
        if other is not None:
            assert all(p.grad is None for p in other.parameters())


def test_jamming_games_are_independent():
    """The critic's loss of three games is the sum of three games of one track."""
    model = build(composition="jamming", critic_repeats=1)
    (phase,) = model.phases(Wasserstein(), {})
    batch = Batch({"roll": torch.rand(4, *SMALL) < 0.1}, StepDraws(1, 4, 0, 4, CPU), 0, 0.0)
    phase.turns[0].objective(batch)["loss"].backward()
    before = [p.grad.clone() for p in model.critics[0].parameters()]
    model.zero_grad()
    with torch.no_grad():
        for p in model.critics[1].parameters():
            p.add_(1.0)
    batch = Batch({"roll": batch["roll"]}, StepDraws(1, 4, 0, 4, CPU), 0, 0.0)
    phase.turns[0].objective(batch)["loss"].backward()
    assert all(torch.equal(a, p.grad) for a, p in zip(before, model.critics[0].parameters()))


def test_impossible_shapes_are_told():
    with pytest.raises(UsageError, match="does not divide"):
        build((3, 2, 16, 48), beats=5)
    with pytest.raises(UsageError, match="octaves"):
        build((3, 2, 16, 50))


def test_longer_music_goes_from_one_latent_to_another():
    model = build(composition="hybrid", binarisation="bernoulli").eval()
    long = model.generate(2, SeededDraws.of(4, 0, 2, CPU), Request(MuseGANOptions(bars=6)))["roll"]
    assert long.shape == (2, 3, 6, 16, 48)
    short = model.generate(2, SeededDraws.of(4, 0, 2, CPU), Request())["roll"]
    assert torch.equal(long[:, :, :2], short)
    assert not torch.equal(long[:, :, 4:], short)
    with pytest.raises(UsageError, match="multiple of the 2 bars"):
        model.generate(2, SeededDraws.of(4, 0, 2, CPU), Request(MuseGANOptions(bars=5)))


def test_normalisation_keeps_its_statistics_in_full_precision():
    """bf16 cells give bf16 cells, and running statistics within bf16's rounding of the float32 ones."""
    cells = torch.randn(4, 2, 4, 2, 8)
    exact, coarse = Norm(8), Norm(8)
    full = exact(cells)
    half = coarse(cells.bfloat16())
    assert half.dtype == torch.bfloat16
    assert torch.allclose(full, half.float(), atol=0.05)
    assert coarse.running_mean.dtype == torch.float32
    assert torch.allclose(exact.running_mean, coarse.running_mean, atol=1e-3)
    assert torch.allclose(exact.running_var, coarse.running_var, atol=1e-3)
