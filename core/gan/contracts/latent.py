"""Latent spaces: what an architecture may implement so that its samples can be interpolated, edited and projected.

Everything here is optional and detected with `isinstance`, except `LatentSpace`, on which the rest is built. Latents of
one sample have one shape; the first axis of a tensor of latents counts samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor

    from gan.contracts.architecture import Request
    from gan.draws import Draws


@runtime_checkable
class LatentSpace(Protocol):
    """Makes samples from latent vectors that can be interpolated."""

    def latents(self, count: int, rng: Draws) -> Tensor:
        """Return latents ``(count, …)``, sampled as in `generate`."""

    def decode(self, latents: Tensor, request: Request) -> dict[str, Tensor]:
        """Return the samples of `latents`; `generate` equals ``decode(latents(count, rng), request)``."""


@runtime_checkable
class SmoothLatentSpace(LatentSpace, Protocol):
    """A latent space whose samples are also available before rounding, so that small steps change them."""

    def decode_smooth(self, latents: Tensor, request: Request) -> dict[str, Tensor]:
        """Return what `decode` returns, as float32 in the ranges of the fields: of a bool field the probabilities.

        It is differentiable with respect to `latents`, which projection and optimized latents use.
        """


@runtime_checkable
class StyleSpace(LatentSpace, Protocol):
    """Has a second latent space behind the first: styles w, one for each layer. `decode` also takes those."""

    def styles_of(self, latents: Tensor, request: Request) -> Tensor:
        """Return the styles ``(N, layers, style)`` of latents, equal in all layers, before truncation.

        Edits, style mixing and projection work on them. They differ from latents by their number of axes.
        """


@runtime_checkable
class Between(LatentSpace, Protocol):
    """A latent space with a rule of its own for the latents between two others.

    Without it, latents lie on great circles (`gan.latents.slerp`), as suits samples from N(0, 1).
    """

    def between(self, first: Tensor, second: Tensor, at: Tensor) -> Tensor:
        """Return the latents ``(n, …)`` at positions `at` ``(n,)`` in 0 … 1 between two, ``(n, …)`` each."""


@runtime_checkable
class LatentParts(LatentSpace, Protocol):
    """Latents of named parts, which can be taken from another sample or changed alone (coarse and fine, tracks)."""

    def latent_parts(self) -> Mapping[str, Tensor]:
        """Return masks by name: bool tensors that broadcast to one sample's latents (of a `StyleSpace`: styles)."""


@runtime_checkable
class LinearMaps(LatentSpace, Protocol):
    """Shows the linear layers that latents enter, from which directions are found without samples (SeFa)."""

    def linear_maps(self) -> Sequence[Tensor]:
        """Return matrices ``(outputs, d)`` on the flattened latent of a sample; of a `StyleSpace`, one for each layer
        of styles, on the style of that layer."""


@runtime_checkable
class CriticFeatures(Protocol):
    """Shows what the discriminator sees in samples: a distance of samples, and the trunk of InfoGAN's reader."""

    def critic_features(self, samples: Mapping[str, Tensor]) -> Sequence[Tensor]:
        """Return inner activations ``(N, …)``, from the input on, the last ones those before the score.

        `samples` are as `SmoothLatentSpace.decode_smooth` returns them. Differentiable with respect to them.
        """
