"""Gradient penalties, regularizers of the critic: arithmetic only, one value per sample, always in float32."""

from __future__ import annotations

import torch
from torch import Tensor

from gan.contracts import Critic
from gan.draws import Draws
from gan.game import Schedule
from gan.losses import per_sample


def gradient_square_norm(critic: Critic, samples: Tensor) -> Tensor:
    """``(N,)``: ‖∇ₓ D(x)‖² summed over all axes of a sample; differentiable with respect to the critic.

    The critic must not mix samples (no batch statistics), because the gradient is that of the summed scores.
    """
    with torch.autocast(samples.device.type, enabled=False), torch.enable_grad():
        points = samples.detach().float().requires_grad_(True)
        scores = per_sample(critic(points).float())
        (gradient,) = torch.autograd.grad(scores.sum(), points, create_graph=True)
        return gradient.square().flatten(1).sum(1)


class _Weighted:
    def __init__(self, *, weight: float | Schedule, every: int = 1) -> None:
        self.weight = weight
        self.every = every


class GradientPenalty(_Weighted):
    """(‖∇D(x̂)‖ - 1)² at x̂ = εx + (1 - ε)G(z), ε ~ U[0, 1) per sample (Gulrajani et al. 2017, algorithm 1).

    `weight` is the paper's λ.
    """

    def __init__(self, *, weight: float | Schedule = 10.0, every: int = 1) -> None:
        super().__init__(weight=weight, every=every)

    def __call__(self, critic: Critic, real: Tensor, fake: Tensor, rng: Draws) -> Tensor:
        """The penalty per sample, ``(N,)``."""
        epsilon = rng.rand(*([1] * (real.ndim - 1)))
        with torch.autocast(real.device.type, enabled=False):
            between = torch.lerp(fake.detach().float(), real.detach().float(), epsilon)
        norm = (gradient_square_norm(critic, between) + 1e-8).sqrt()
        return (norm - 1).square()


class R1(_Weighted):
    """½‖∇D(x)‖² on real samples (Mescheder et al. 2018, equation 9). `weight` is the paper's γ."""

    needs_fake = False

    def __init__(self, *, weight: float | Schedule = 10.0, every: int = 1) -> None:
        super().__init__(weight=weight, every=every)

    def __call__(self, critic: Critic, real: Tensor, fake: Tensor, rng: Draws) -> Tensor:
        """The penalty per sample, ``(N,)``."""
        return 0.5 * gradient_square_norm(critic, real)


class R2(R1):
    """½‖∇D(G(z))‖² on generated samples (Mescheder et al. 2018, equation 10). `weight` is the paper's γ."""

    needs_fake = True
    at = "fake"

    def __call__(self, critic: Critic, real: Tensor, fake: Tensor, rng: Draws) -> Tensor:
        """The penalty per sample, ``(N,)``."""
        return 0.5 * gradient_square_norm(critic, fake)
