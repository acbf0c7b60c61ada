"""Adversarial loss functions on raw scores: arithmetic only, each with its paper.

Both players minimize their loss. It gives one value per sample, ``(N, …), (N, …) -> (N,)``; scores with further axes
(patches, several heads) are averaged over them after the non-linearity. Notation: sp(t) = log(1 + eᵗ), and D is the raw
score before any sigmoid.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import relu, softplus

from gan.contracts import Loss
from gan.errors import UsageError
from gan.recipe import Schedule, ends


def per_sample(values: Tensor) -> Tensor:
    """``(N, …) -> (N,)``: the mean over all axes but the first."""
    return values.flatten(1).mean(1) if values.ndim > 1 else values


class Minimax:
    """Goodfellow et al. 2014, equation 1: the generator's gradient vanishes where the discriminator is confident."""

    needs_real = False

    def discriminator(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """sp(-D(x)) + sp(D(G(z)))."""
        return per_sample(softplus(-real_scores)) + per_sample(softplus(fake_scores))

    def generator(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """-sp(D(G(z)))."""
        return -per_sample(softplus(fake_scores))


class NonSaturating(Minimax):
    """Goodfellow et al. 2014, section 3: the generator maximizes log D(G(z))."""

    def generator(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """sp(-D(G(z)))."""
        return per_sample(softplus(-fake_scores))


class LeastSquares:
    """Mao et al. 2017, equation 9 with a = 0, b = c = 1."""

    needs_real = False

    def discriminator(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """½(D(x) - 1)² + ½D(G(z))²."""
        return 0.5 * (per_sample((real_scores - 1).square()) + per_sample(fake_scores.square()))

    def generator(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """½(D(G(z)) - 1)²."""
        return 0.5 * per_sample((fake_scores - 1).square())


class Wasserstein:
    """Arjovsky et al. 2017, equation 2. Needs a Lipschitz critic (clipped weights or a gradient penalty)."""

    needs_real = False

    def discriminator(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """D(G(z)) - D(x); its negative estimates the Wasserstein distance."""
        return per_sample(fake_scores) - per_sample(real_scores)

    def generator(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """-D(G(z))."""
        return -per_sample(fake_scores)


class Hinge:
    """Lim and Ye 2017; Miyato et al. 2018, equations 16 and 17."""

    needs_real = False

    def discriminator(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """relu(1 - D(x)) + relu(1 + D(G(z)))."""
        return per_sample(relu(1 - real_scores)) + per_sample(relu(1 + fake_scores))

    def generator(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """-D(G(z))."""
        return -per_sample(fake_scores)


class RelativisticPairing:
    """Jolicoeur-Martineau 2018, section 4.1; the loss of R3GAN. Compares the i-th real with the i-th fake sample."""

    needs_real = True

    def discriminator(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """sp(-(D(x) - D(G(z))))."""
        return per_sample(softplus(fake_scores - real_scores))

    def generator(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """sp(-(D(G(z)) - D(x)))."""
        return per_sample(softplus(real_scores - fake_scores))


class RelativisticAverage:
    """Jolicoeur-Martineau 2018, section 4.2. Compares with the mean of the other scores over this process's batch."""

    needs_real = True

    def discriminator(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """sp(-(D(x) - mean D(G(z)))) + sp(D(G(z)) - mean D(x))."""
        real_lead = real_scores - fake_scores.mean(0, keepdim=True)
        fake_lead = fake_scores - real_scores.mean(0, keepdim=True)
        return per_sample(softplus(-real_lead)) + per_sample(softplus(fake_lead))

    def generator(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """The same with the roles exchanged."""
        return self.discriminator(fake_scores, real_scores)


class TopK:
    """Another loss, of which the generator minimizes the part of the samples that the critic finds most real (Sinha
    et al. 2020, "Top-k training of GANs", arXiv:2002.06224).

    ``loss: {name: top-k, loss: hinge, share: {first: 1.0, last: 0.5, until: 200000}}``. At least one sample counts.
    They are compared with those that are scored together: a micro-batch, on one process.
    """

    def __init__(self, *, share: float | Schedule = 0.5, loss: Loss | None = None) -> None:
        if not all(0 < end <= 1 for end in ends(share)):
            raise ValueError(f"share must be more than 0 and at most 1, not {share}")
        self.inner: Loss = NonSaturating() if loss is None else loss
        self.share = share
        self.discriminator, self.needs_real = self.inner.discriminator, self.inner.needs_real

    def at(self, position: int) -> Loss:
        """With the share after `position` real samples of the phase."""
        return TopK(share=self.share.at(position), loss=self.inner) if isinstance(self.share, Schedule) else self

    def generator(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """The other loss for the best samples, times N / k, so that the mean is that over them; 0 for the others."""
        if isinstance(self.share, Schedule):
            raise UsageError(
                "loss 'top-k': this architecture does not say how far its training is; give share a number"
            )
        values, ranks = self.inner.generator(real_scores, fake_scores), per_sample(fake_scores.detach())
        count = max(1, round(self.share * len(values)))
        best = torch.zeros_like(values).index_fill_(0, ranks.topk(count).indices, len(values) / count)
        return values * best
