"""Regularizers of the critic: gradient penalties, consistency, LeCam. One value per sample, always in float32."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from gan.contracts import Augmentation, Critic
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


class Consistency(_Weighted):
    """(D(T(x)) - D(x))² + `fake` · (D(T(G(z))) - D(G(z)))²: scores that do not depend on T (Zhao et al. 2021, "Improved
    consistency regularization for GANs", arXiv:2002.04724, balanced: bCR).

    T is an augmentation named in the recipe (``augmentation: {name: diffaugment, policy: translation}``), whose
    strength is a number; without one, Gaussian noise of the deviation `noise`, for samples of any kind. A critic
    that mixes samples (batch statistics) cannot tell single ones apart; it is better not used there.
    """

    def __init__(
        self,
        *,
        weight: float | Schedule = 10.0,
        every: int = 1,
        fake: float = 1.0,
        noise: float = 0.1,
        augmentation: Augmentation | None = None,
    ) -> None:
        super().__init__(weight=weight, every=every)
        self.fake, self.noise, self.augmentation = fake, noise, augmentation
        self._strength: Any = getattr(augmentation, "strength", 1.0)
        self.needs_fake = fake > 0
        if isinstance(self._strength, (Schedule, Tensor)):
            raise ValueError("the strength of its augmentation must be a number")

    def __call__(self, critic: Critic, real: Tensor, fake: Tensor, rng: Draws) -> Tensor:
        """The penalty per sample, ``(N,)``."""
        value = self._difference(critic, real.detach(), rng)
        return value + self.fake * self._difference(critic, fake.detach(), rng) if self.fake else value

    def _difference(self, critic: Critic, samples: Tensor, rng: Draws) -> Tensor:
        if self.augmentation is None:
            other = samples + self.noise * rng.randn(*samples.shape[1:]).to(samples.dtype)
        else:
            strength = torch.full((), self._strength, device=samples.device)
            other = self.augmentation(samples, rng, strength)
        after, before = (per_sample(critic(seen).float()) for seen in (other, samples))
        return (after - before).square()


class LeCam(nn.Module):
    """relu(D(x) - F)² + relu(R - D(G(z)))² with running means R and F of the scores of real and generated samples: the
    scores of the two kinds are kept together, which helps with little data (Tseng et al. 2021, "Regularizing generative
    adversarial networks under limited data", arXiv:2104.03310, equation 5).

    The means are buffers, with a weight of ``1 - decay`` for each update. A `gan.contracts.ScorePenalty`.
    """

    real_mean: Tensor
    fake_mean: Tensor
    begun: Tensor

    def __init__(self, *, weight: float | Schedule = 0.01, every: int = 1, decay: float = 0.99) -> None:
        super().__init__()
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be at least 0 and less than 1, not {decay}")
        self.weight, self.every, self.decay = weight, every, decay
        for name in ("real_mean", "fake_mean", "begun"):
            self.register_buffer(name, torch.zeros(()))

    def forward(self, critic: Critic, real: Tensor, fake: Tensor, rng: Draws) -> Tensor:
        """The penalty per sample, ``(N,)``."""
        return self.of_scores(per_sample(critic(real).float()), per_sample(critic(fake).float()))

    def of_scores(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """The penalty per sample, ``(N,)``; 0 before anything was observed."""
        apart = relu(real_scores - self.fake_mean).square() + relu(self.real_mean - fake_scores).square()
        return self.begun * apart

    def observe(self, real_scores: Tensor, fake_scores: Tensor) -> Mapping[str, Tensor]:
        """The sums of the scores, and their number."""
        return {"real": real_scores.sum(), "fake": fake_scores.sum(), "count": torch.full_like(real_scores, 1.0).sum()}

    def learn(self, observed: Mapping[str, Tensor], samples: int) -> None:
        """Move the means; the first update sets them."""
        share = torch.where(self.begun > 0, 1 - self.decay, 1.0)
        self.real_mean.lerp_(observed["real"] / observed["count"], share)
        self.fake_mean.lerp_(observed["fake"] / observed["count"], share)
        self.begun.fill_(1.0)
