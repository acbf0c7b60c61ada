"""Losses and penalties against values derived by hand."""

from __future__ import annotations

import math

import pytest
import torch
from gan.draws import StepDraws
from gan.losses import (
    Hinge,
    LeastSquares,
    Minimax,
    NonSaturating,
    RelativisticAverage,
    RelativisticPairing,
    Wasserstein,
)
from gan.penalties import R1, R2, GradientPenalty

LN2 = math.log(2)
LOSSES = [Minimax, NonSaturating, LeastSquares, Wasserstein, Hinge, RelativisticPairing, RelativisticAverage]


@pytest.mark.parametrize(
    ("loss", "discriminator", "generator"),
    [
        (NonSaturating, 2 * LN2, LN2),
        (Minimax, 2 * LN2, -LN2),
        (LeastSquares, 0.5, 0.5),
        (Wasserstein, 0.0, 0.0),
        (Hinge, 2.0, 0.0),
        (RelativisticPairing, LN2, LN2),
        (RelativisticAverage, 2 * LN2, 2 * LN2),
    ],
)
def test_values_where_the_critic_knows_nothing(loss, discriminator, generator):
    """D = 0 everywhere: sp(0) = ln 2, relu(1 ± 0) = 1, ½(0 - 1)² = ½."""
    zeros = torch.zeros(3)
    assert torch.allclose(loss().discriminator(zeros, zeros), torch.full((3,), discriminator))
    assert torch.allclose(loss().generator(zeros, zeros), torch.full((3,), generator))


def test_values_at_real_2_fake_minus_1():
    """By hand: hinge relu(1-2) + relu(1-1) = 0; least squares ½(2-1)² + ½(-1)² = 1 and ½(-2)² = 2; wasserstein -3."""
    real, fake = torch.tensor([2.0]), torch.tensor([-1.0])
    assert Hinge().discriminator(real, fake).item() == 0.0
    assert LeastSquares().discriminator(real, fake).item() == 1.0
    assert LeastSquares().generator(real, fake).item() == 2.0
    assert Wasserstein().discriminator(real, fake).item() == -3.0
    assert RelativisticPairing().discriminator(real, fake).item() == pytest.approx(math.log1p(math.exp(-3)), rel=1e-6)
    assert RelativisticPairing().generator(real, fake).item() == pytest.approx(math.log1p(math.exp(3)), rel=1e-6)


@pytest.mark.parametrize("loss", LOSSES)
def test_gradient_signs(loss):
    """A higher real score helps the discriminator, a higher fake score harms it and helps the generator."""
    real = torch.tensor([0.3, -0.2], requires_grad=True)
    fake = torch.tensor([0.1, 0.4], requires_grad=True)
    by_real, by_fake = torch.autograd.grad(loss().discriminator(real, fake).sum(), (real, fake))
    assert (by_real < 0).all()
    assert (by_fake > 0).all()
    (by_fake,) = torch.autograd.grad(loss().generator(real, fake).sum(), fake)
    assert (by_fake < 0).all()


@pytest.mark.parametrize("loss", LOSSES)
def test_patch_scores_are_averaged_after_the_nonlinearity(loss):
    """(N, 1, 2, 2) scores: the mean of the loss over patches, one value a sample."""
    torch.manual_seed(0)
    real, fake = torch.randn(3, 1, 2, 2), torch.randn(3, 1, 2, 2)
    together = loss().discriminator(real, fake)
    alone = torch.stack(
        [loss().discriminator(real[..., i, j].flatten(), fake[..., i, j].flatten()) for i in range(2) for j in range(2)]
    )
    assert together.shape == (3,)
    assert torch.allclose(together, alone.mean(0), atol=1e-6)


class Linear:
    """D(x) = a·x, so ∇D = a everywhere."""

    def __init__(self, a):
        self.a = torch.tensor(a, requires_grad=True)

    def __call__(self, samples):
        return samples.flatten(1) @ self.a


def rng(count):
    return StepDraws(1, count, 0, count, torch.device("cpu"))


def test_penalties_of_a_linear_critic():
    """‖a‖ = 5: gradient penalty (5 - 1)² = 16; R1 and R2 ½·25."""
    critic = Linear([3.0, 0.0, 4.0])
    real, fake = torch.randn(4, 3), torch.randn(4, 3)
    assert torch.allclose(GradientPenalty()(critic, real, fake, rng(4)), torch.full((4,), 16.0))
    assert torch.allclose(R1()(critic, real, fake, rng(4)), torch.full((4,), 12.5))
    assert torch.allclose(R2()(critic, real, fake, rng(4)), torch.full((4,), 12.5))


def test_penalties_reach_the_critic():
    """d/da ½‖a‖² = a, so the penalty is differentiable twice."""
    critic = Linear([3.0, 0.0, 4.0])
    R1()(critic, torch.randn(4, 3), torch.randn(4, 3), rng(4)).mean().backward()
    assert torch.allclose(critic.a.grad, critic.a)


def test_r1_looks_at_reals_and_r2_at_fakes():
    """D(x) = ½‖x‖² has ∇D = x: R1 = ½‖real‖², R2 = ½‖fake‖²."""
    real, fake = torch.ones(2, 3), torch.full((2, 3), 2.0)

    def critic(x):
        return 0.5 * x.square().sum(1)

    assert torch.allclose(R1()(critic, real, fake, rng(2)), torch.full((2,), 1.5))
    assert torch.allclose(R2()(critic, real, fake, rng(2)), torch.full((2,), 6.0))


def test_gradient_penalty_lies_between_real_and_fake():
    """D = ½‖x‖²: the norm at x̂ lies between ‖fake‖ = 2 and ‖real‖ = 6, with one ε a sample and not one for all."""
    real, fake = torch.full((64, 1), 6.0), torch.full((64, 1), 2.0)
    norms = GradientPenalty()(lambda x: 0.5 * x.square().sum(1), real, fake, rng(64)).sqrt() + 1
    assert norms.min() >= 2
    assert norms.max() <= 6
    assert norms.std() > 0.5


def test_penalties_are_computed_in_full_precision_under_autocast():
    """Within bf16 autocast, where fakes come as bf16, the values are those of float32."""
    critic = Linear([3.0, 0.0, 4.0])
    real, fake = torch.randn(4, 3), torch.randn(4, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for penalty, expected in ((GradientPenalty(), 16.0), (R1(), 12.5), (R2(), 12.5)):
            value = penalty(critic, real, fake.bfloat16(), rng(4))
            assert value.dtype == torch.float32
            assert torch.allclose(value, torch.full((4,), expected))
