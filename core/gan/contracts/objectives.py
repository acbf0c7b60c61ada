"""Protocols of adversarial losses, critics (discriminators) and penalties."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor

    from gan.draws import Draws
    from gan.recipe import Schedule


class Loss(Protocol):
    """An adversarial objective on raw scores (no sigmoid). Both players minimise it. It only computes: no optimizer, no
    `backward`, no device."""

    def discriminator(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """Return the discriminator's loss, ``(N, …), (N, …) -> (N,)``: one value per sample, averaged over further axes
        (patches)."""

    def generator(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """Return the generator's loss, ``(N, …), (N, …) -> (N,)``. Losses that ignore `real_scores` set
        ``needs_real = False``."""

    needs_real: bool
    """Whether `generator` uses `real_scores`."""

    # A loss with numbers that change during a training also has ``at(position) -> Loss``: the loss after so many real
    # samples of the phase. `gan.adversarial.loss_at` asks for it.


class Critic(Protocol):
    """A discriminator: maps a batch of samples to raw scores ``(N, …)``."""

    def __call__(self, samples: Tensor, /) -> Tensor:
        """Return the scores of `samples`, ``(N, *shape)``."""


class Penalty(Protocol):
    """A regulariser of a player, such as a gradient penalty. It only computes.

    Two optional attributes: ``at = "fake"`` for a penalty that scores generated samples, so that a conditional critic
    receives their conditions (default ``"real"``); ``needs_fake = False`` for one that ignores `fake`, which may then
    be the real samples.
    """

    weight: float | Schedule
    """Factor with which the penalty is added to the loss."""
    every: int
    """k > 1 makes the penalty lazy: the trainer evaluates it every k-th iteration, multiplies it by k and corrects the
    player's optimizer (Karras et al. 2020, appendix B)."""

    def __call__(self, critic: Critic, real: Tensor, fake: Tensor, rng: Draws) -> Tensor:
        """Return the penalty per sample before `weight`, ``(N,)``. `real` and `fake` are detached, ``(N, *shape)``;
        random numbers come from `rng`."""


@runtime_checkable
class ScorePenalty(Protocol):
    """A `Penalty` on the scores that the critic's update computes anyway, which may learn from them (LeCam).

    State is in buffers of an `nn.Module`, and is changed by `learn` alone.
    """

    def of_scores(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """Return the penalty per sample before `Penalty.weight`, ``(N,), (N,) -> (N,)``."""

    def observe(self, real_scores: Tensor, fake_scores: Tensor) -> Mapping[str, Tensor]:
        """Return sums over detached scores, ``(N,)`` each, in every update of the critic."""

    def learn(self, observed: Mapping[str, Tensor], samples: int) -> None:
        """Change buffers by the totals of an update over micro-batches and processes; see `AdaptiveAugmentation`."""


class Augmentation(Protocol):
    """Changes every sample that critics see, real and generated alike. An `nn.Module` if it has state, in buffers.

    It is chosen by a recipe and applied in the critic's and in the generator's updates, so it is differentiable with
    respect to the samples (twice, where gradient penalties are used) and runs on their device without waiting for it.
    """

    strength: float | Schedule | Tensor
    """0 … 1; 0 leaves the samples as they are. A buffer with one element if the augmentation adapts it itself."""

    def __call__(self, samples: Tensor, rng: Draws, strength: Tensor) -> Tensor:
        """Return the changed samples, ``(N, *shape)`` as critics receive them (pictures: -1 … 1).

        `strength` is a float32 scalar on the device of the samples. Row i depends on row i of `samples` and of `rng`.
        """


@runtime_checkable
class AdaptiveAugmentation(Protocol):
    """An augmentation that learns from the critic's scores of real samples (ADA). It changes only its own buffers."""

    def observe(self, real_scores: Tensor) -> Mapping[str, Tensor]:
        """Return sums over the scores of augmented real samples, ``(N,)``, in every update of the critic."""

    def learn(self, observed: Mapping[str, Tensor], samples: int) -> None:
        """Change buffers by the totals of an update over micro-batches and processes. `samples` is the number of real
        samples in the update, over all processes."""
