"""Protocols of losses, critics and penalties."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from gan.draws import Draws


class Loss(Protocol):
    """The adversarial objective on raw scores (no sigmoid): arithmetic only, minimised by both players."""

    def discriminator(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """``(N, …), (N, …) -> (N,)``: one value a sample; further axes (patches) are averaged."""

    def generator(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """``(N, …), (N, …) -> (N,)``. Losses that ignore `real_scores` declare ``needs_real = False``."""

    needs_real: bool
    """Whether `generator` reads `real_scores`."""


class Critic(Protocol):
    """Gives raw scores ``(N, …)`` to a batch of samples."""

    def __call__(self, samples: Tensor, /) -> Tensor:
        """Scores of `samples`."""


class Penalty(Protocol):
    """A regulariser of a player: arithmetic only.

    `weight` scales it. `every` = k > 1 makes it lazy: the trainer evaluates it every k-th iteration, multiplies it by k
    and corrects the player's optimiser (Karras et al. 2020, appendix B).
    """

    weight: float
    every: int

    def __call__(self, critic: Critic, real: Tensor, fake: Tensor, rng: Draws) -> Tensor:
        """``(N,)``, before `weight`; `real` and `fake` are detached samples."""
