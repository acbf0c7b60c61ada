"""Protocols of adversarial losses, critics (discriminators) and penalties."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from gan.draws import Draws


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

    weight: float
    """Factor with which the penalty is added to the loss."""
    every: int
    """k > 1 makes the penalty lazy: the trainer evaluates it every k-th iteration, multiplies it by k and corrects the
    player's optimizer (Karras et al. 2020, appendix B)."""

    def __call__(self, critic: Critic, real: Tensor, fake: Tensor, rng: Draws) -> Tensor:
        """Return the penalty per sample before `weight`, ``(N,)``. `real` and `fake` are detached, ``(N, *shape)``;
        random numbers come from `rng`."""
