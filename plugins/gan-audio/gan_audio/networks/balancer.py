"""The loss balancer: weights of losses become shares of the gradient at the output of a generator.

Défossez et al. 2022, arXiv:2210.13438, section 3.4: each loss is differentiated with respect to the output, its
gradient is divided by a moving average of its norm, and the sum of these is passed on to the networks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from gan.game import Batch
from torch import Tensor, nn


class Balancer(nn.Module):
    """Balances losses by `weights`, whose sum stands for a gradient of norm 1 for each sample.

    The norms are means over whole batches, averaged with `decay` and corrected for their beginning at zero. They are
    learned after an update, so that an update uses the norms before it; in the first one there are none, and `ready` is
    false. (The authors' code uses those with it, which a micro-batch cannot know.)
    """

    norms: Tensor
    share: Tensor

    def __init__(self, weights: Mapping[str, float], decay: float = 0.999) -> None:
        super().__init__()
        self.weights, self.decay = dict(weights), decay
        self.register_buffer("norms", torch.zeros(len(weights)))
        self.register_buffer("share", torch.zeros(()))

    def ready(self, batch: Batch | None = None) -> Tensor:
        """A boolean scalar: whether norms have been learned; for `gan.game.Turn.when`."""
        return self.share > 0

    def combine(
        self, batch: Batch, output: Tensor, losses: Callable[[Tensor], Mapping[str, Tensor]]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return a scalar whose gradient at `output`, ``(N, …)``, is the balanced one, and the values of `losses`.

        ``losses(output)`` returns a mean over the samples for each of the weights. The scalar has the value of their
        weighted sum.
        """
        leaf = output.detach().float().requires_grad_()
        with torch.enable_grad():
            values = dict(losses(leaf))
            gradients = [
                torch.autograd.grad(values[name], leaf, retain_graph=number + 1 < len(self.weights))[0] * len(leaf)
                for number, name in enumerate(self.weights)
            ]
        norms = torch.stack([gradient.flatten(1).norm(dim=1).sum() for gradient in gradients])
        batch.observe("balancer.norms", norms)
        batch.observe("balancer.samples", norms.new_tensor(float(len(leaf))))
        total = sum(self.weights.values())
        known = (self.norms / self.share.clamp_min(1e-12)).clamp_min(1e-12)
        balanced = torch.stack(
            [
                weight / total * gradient / norm
                for weight, gradient, norm in zip(self.weights.values(), gradients, known)
            ]
        ).sum(0)
        # the gradients of all samples add up, while the trainer takes the mean over the parts of a batch
        step = (output.float() * balanced).sum() * (batch.rng.total / len(leaf))
        detached = {name: value.detach() for name, value in values.items()}
        weighted = torch.stack([weight * detached[name] for name, weight in self.weights.items()]).sum()
        return step - step.detach() + weighted, detached

    @torch.no_grad()
    def learn(self, observed: Mapping[str, Tensor]) -> None:
        """Update the norms from the totals of a whole batch."""
        self.norms.lerp_(observed["balancer.norms"] / observed["balancer.samples"], 1 - self.decay)
        self.share.lerp_(torch.ones_like(self.share), 1 - self.decay)
