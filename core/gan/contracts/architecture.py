"""What an architecture (the generator, its discriminators and their training game) provides, and optional abilities.

`Architecture` is required. An architecture may also set the class attributes of `GenerationSettings`, and may implement
any of the protocols below and of `gan.contracts.latent`, which the command line and the API detect with `isinstance`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

if TYPE_CHECKING:
    from pydantic import BaseModel
    from torch import Tensor

    from gan.contracts.marks import Mark
    from gan.contracts.modality import FieldSpec
    from gan.draws import Draws
    from gan.game import Phase, Player

from gan.contracts.objectives import Loss, Penalty


@dataclass(frozen=True)
class Request:
    """What a user requests from one call of `Architecture.generate`."""

    options: Any = None
    """An instance of the architecture's `Options`, or None for the defaults."""
    given: Mapping[str, Tensor] | None = None
    """The given fields, ``(count, *shape)`` each, on the architecture's device: the input of a translation, the tracks
    to accompany, the tokens to continue, and conditions. Only set for architectures that implement
    `ConditionalOnInput`."""
    rng: Draws | None = None
    """Random rows for what `decode` draws beside its latents (noise); None: it draws nothing."""
    mark: Mark | None = None
    """The mark that a sampler applies to its scores, of the kind `Mark.in_sampling`; None where none is wanted."""


@runtime_checkable
class Architecture(Protocol):
    """The networks of one published method and the game in which they are trained: a `torch.nn.Module`.

    It is constructed as ``ArchitectureClass(config, fields)``: `config` is an instance of `Config`, `fields` maps the
    names of the modality's fields to their `FieldSpec`. All state that must survive a restart is a parameter or a
    buffer.
    """

    Config: ClassVar[type[BaseModel]]
    """The settings in the recipe's section `model`."""

    def players(self) -> dict[str, Player]:
        """Return the players by name. Their parameters are disjoint."""

    def phases(self, loss: Loss, penalties: Mapping[str, Penalty]) -> list[Phase]:
        """Return the phases in training order. `penalties` maps the names in the recipe to penalties."""

    def generate(self, count: int, rng: Draws, request: Request) -> dict[str, Tensor]:
        """Return `count` samples: field name -> ``(count, *shape)`` in the field's dtype and range.

        Row i depends only on the weights, on `request` and on row i of what `rng` returns, and not on `count`.
        Called in evaluation mode, without gradients, and with the averaged weights where they exist.
        """


class GenerationSettings(Protocol):
    """Optional class attributes of an architecture. The values here are the defaults of those that it does not set."""

    Options: ClassVar[type[BaseModel] | None] = None
    """A pydantic model of what a user may choose in one call of `generate` (truncation, temperature, class …). The
    command line offers each field as ``--field`` of ``gan generate``."""
    generation_batch: ClassVar[int] = 16
    """Most samples made in one call of `generate`. Larger requests are split into calls of this size and one for the
    rest."""
    preview_options: ClassVar[Mapping[str, Any]] = {}
    """Values of `Options` used for previews and metrics. With them `generate` may return additional fields that the
    modality's preview and metrics know (a picture translated to the other domain and back)."""
    optional_input: ClassVar[tuple[str, ...]] = ()
    """Fields that a user may give as an input, and need not: the beginning of a sample that is continued (a clip of
    music). `Request.given` then holds them, along `FieldSpec.longer_axis` of any length."""
    mixes_classes: ClassVar[bool] = False
    """Whether a condition with names may also be given as shares of the classes, ``(N, classes)`` float32 instead of
    ``(N,)`` integers; `gan.latents.class_shares` and `gan.latents.embedded` take both."""


@runtime_checkable
class Streams(Protocol):
    """Makes a sample of any length part by part, in the memory of a part (a long film).

    ``gan generate --stream`` writes the parts as they come, by `Modality.write_stream`.
    """

    def stream(self, rng: Draws, request: Request) -> Iterator[dict[str, Tensor]]:
        """Yield consecutive parts of one sample: field -> ``(1, *shape)``, of any length along the `longer_axis`.

        `rng` draws rows for one sample. Joined, the parts are what ``generate(1, rng, request)`` returns, to rounding.
        Fields that are not `longer` are in every part.
        """


@runtime_checkable
class AnyData(Protocol):
    """An architecture for several kinds of data, whose entry says ``modality=None``.

    Every plugin can train it on its own data: ``gan run --plugin PLUGIN --architecture NAME``.
    """

    @classmethod
    def accepts(cls, fields: Mapping[str, FieldSpec]) -> str:
        """Return why it cannot be trained on samples of these fields; empty if it can."""


@runtime_checkable
class ConditionalOnInput(Protocol):
    """Makes samples from given fields: translation, accompaniment, continuation, a class (`FieldSpec.condition`)."""

    def given_fields(self, options: Any = None) -> tuple[str, ...]:
        """Return the fields that `Request.given` must hold for `options` (None: the defaults)."""


@runtime_checkable
class GivenInPart(ConditionalOnInput, Protocol):
    """Makes the rest of fields of which only a part is given (the tracks that accompany another track).

    If the user chooses the part, the option of the architecture that selects it is called `given`.
    """

    def given_places(self, options: Any = None) -> Mapping[str, Sequence[int]]:
        """Return the given indices along the first axis, by field. `generate` returns these unchanged.

        A field without any is given as a whole and made anew (the sound that a codec encodes and decodes).
        """


@dataclass(frozen=True)
class Tiles:
    """How a translator is applied to the parts of a large input (see `InTiles`). Lengths are in elements of the
    input."""

    side: int
    """Length of a tile along both axes, a multiple of `multiple`. It is halved when memory runs out."""
    reach: int
    """Elements beyond a tile, on each side, that its result depends on; a multiple of `multiple`."""
    factor: int = 1
    """Elements of the result for one of the input, along both axes."""
    multiple: int = 1
    """What the lengths of an input must be multiples of; the core repeats the last elements where they are not."""


@runtime_checkable
class InTiles(ConditionalOnInput, Protocol):
    """Translates inputs of any size along their last two axes, tile by tile, in the memory of a tile.

    It is for networks whose result at a place depends on the input around it alone: convolutions with fixed or no
    statistics, without noise. ``gan translate`` then reads an input in its own size (`Given.any_size`), and passes the
    result to `Modality.write_like` or, in strips, to `Modality.write_in_strips`.
    """

    def tiles(self, options: Any = None) -> Tiles:
        """Return the tiles for `options` (None: the defaults). `generate` is called for one tile and its surroundings
        at a time, with `Request.given` of that size, and returns fields that are `factor` times as large."""


@runtime_checkable
class Likelihood(Protocol):
    """Computes the likelihood of given samples (a language model)."""

    def nll(self, samples: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the negative log-likelihood of each sample in nats, ``(N,)``, and the number of elements (tokens)
        that it is summed over, ``(N,)``. `samples` maps fields to ``(N, *shape)`` on the architecture's device."""


@runtime_checkable
class Settles(Protocol):
    """A generator with batch statistics (BatchNorm), whose layers are given those of the weights that it samples with.

    During training BatchNorm layers collect running statistics of weights that move; averaged weights have others. The
    core therefore collects the mean statistics of 16 batches of 64 samples before it generates: after the averages are
    applied, and after loading. In training the layers have their own values again afterwards.
    """

    def settle(self, rng: Draws) -> None:
        """Run the generator once for `rng.count` samples as in training, with conditions drawn from `rng` if any.

        Called for each batch, without gradients, in evaluation mode but for the BatchNorm layers. The layers that run
        are settled, the others keep their running statistics.
        """
