"""What an architecture promises, and the protocols for what else it can do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

if TYPE_CHECKING:
    from pydantic import BaseModel
    from torch import Tensor

    from gan.draws import Draws
    from gan.game import Phase, Player

from gan.contracts.objectives import Loss, Penalty


@dataclass(frozen=True)
class Request:
    """What a user asks of one call of `Architecture.generate`."""

    options: Any = None
    """An instance of the architecture's `Options`, or None for its defaults."""
    given: Mapping[str, Tensor] | None = None
    """Fields of the samples that are given, ``count`` rows each: the input of a translation, the tracks to accompany,
    the tokens to continue, and conditions. Only for architectures that keep `ConditionalOnInput`."""


@runtime_checkable
class Architecture(Protocol):
    """The networks of one published method and the game that they play: a `torch.nn.Module`.

    Constructed as ``ArchitectureClass(config, fields)`` with its section of the recipe and the modality's fields.
    Everything that must survive a restart is a parameter or a buffer.
    """

    Config: ClassVar[type[BaseModel]]

    def players(self) -> dict[str, Player]:
        """The players by name; their parameters are disjoint."""

    def phases(self, loss: Loss, penalties: Mapping[str, Penalty]) -> list[Phase]:
        """The phases in the order of training."""

    def generate(self, count: int, rng: Draws, request: Request) -> dict[str, Tensor]:
        """`count` samples: field name -> ``(count, *shape)`` in the field's dtype and range.

        Row i depends on the weights, `request` and row i of what `rng` gives, on nothing else: not on `count`.
        Called in evaluation mode, without gradients, with the averaged weights where there are some.
        """


# An architecture may have, beside `Config`:
#
#   Options: a pydantic model of what one call of `generate` may choose (truncation, temperature, class …); the command
#       line offers each field as ``--field`` of ``gan generate``
#   generation_batch: int (default 16), how many samples one call of `generate` makes
#   preview_options: values of `Options` for previews and metrics; `generate` may then return further fields, which the
#       modality's preview and metrics may know (a picture translated there and back)
#
# and may keep the protocols below, which the command line and the API check.


@runtime_checkable
class ConditionalOnInput(Protocol):
    """Samples are made from given fields: translation, accompaniment, continuation, a class (`Field.condition`)."""

    def given_fields(self, options: Any = None) -> tuple[str, ...]:
        """The fields that `Request.given` must hold where `options` (None: the defaults) are asked for."""


@runtime_checkable
class GivenInPart(ConditionalOnInput, Protocol):
    """Of some given fields only a part is given, and the rest of them is made (the tracks that accompany another).
    Where the user chooses the part, the option of the architecture that says which is called `given`."""

    def given_places(self, options: Any = None) -> Mapping[str, Sequence[int]]:
        """Field -> the places along its first axis that are given. `generate` returns these as they were given."""


@runtime_checkable
class LatentSpace(Protocol):
    """Samples are made from latent vectors that can be interpolated."""

    def latents(self, count: int, rng: Draws) -> Tensor:
        """``(count, …)`` latents, as `generate` would draw them."""

    def decode(self, latents: Tensor, request: Request) -> dict[str, Tensor]:
        """The samples of given latents; `generate` is ``decode(latents(count, rng), request)``."""


@runtime_checkable
class SmoothLatentSpace(LatentSpace, Protocol):
    """A latent space whose samples can be had before they are rounded, so that tiny steps show."""

    def decode_smooth(self, latents: Tensor, request: Request) -> dict[str, Tensor]:
        """As `decode`, but float32 in the fields' ranges."""


@runtime_checkable
class Likelihood(Protocol):
    """Says how likely given samples are (a language model)."""

    def nll(self, samples: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Samples by field, ``(N, *shape)`` on the architecture's device -> ``(N,), (N,)``: minus the log-probability
        of each in nats, and the number of elements (tokens) that it is spread over."""
