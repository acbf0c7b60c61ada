"""A trained model with its latents: their space and its parts, drawing latents and decoding them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gan.contracts import (
    Between,
    LatentParts,
    LatentSpace,
    LinearMaps,
    Request,
    Samples,
    SmoothLatentSpace,
    StyleSpace,
)
from gan.draws import sample_draws
from gan.errors import UsageError, nearest
from gan.generation.model import Model
from gan.latents import slerp

if TYPE_CHECKING:
    from gan.plugins.manager import Plugins
    from gan.storage.run_folder import RunFolder


@dataclass
class Latents:
    """Latents with what else their samples are made from."""

    values: Tensor
    """``(N, …)``: styles ``(N, layers, style)`` where the architecture has them, else its latents."""
    given: Samples = field(default_factory=dict)
    """The conditions of the samples, ``(N, …)`` each; classes also in shares ``(N, classes)``."""

    def __len__(self) -> int:
        return len(self.values)

    def rows(self, index: Any) -> Latents:
        """Some of the samples, by a slice or by indices."""
        return Latents(self.values[index], {name: value[index] for name, value in self.given.items()})


class LatentModel(Model):
    """A `Model` with its latents.

    These are the latents in which control works best: the styles w of a `gan.contracts.StyleSpace`, else the
    architecture's own latents z. `latents` returns plain tensors, so that they can be added and mixed.
    """

    folder: RunFolder | None = None
    """The run folder that the model was loaded from, which keeps its directions."""
    plugins: Plugins | None = None
    plugin = ""
    kind = ""
    """The plugin of the architecture, and the name of the modality."""

    # ------------------------------------------------------------------ the space

    def space(self, options: Mapping[str, Any] | None = None) -> LatentSpace:
        """The architecture as a latent space. Raises `UsageError` if it has none, or works on an input."""
        net = self.architecture
        if not isinstance(net, LatentSpace):
            raise UsageError(
                f"{self.name} has no latent space: its samples cannot be interpolated, edited or projected"
            )
        if self.input_fields(self._options(options or {})):
            raise UsageError(f"{self.name} makes samples from an input, not from latents alone")
        return net

    @property
    def space_name(self) -> str:
        """``"w"`` for styles, ``"z"`` for the architecture's own latents."""
        return "w" if isinstance(self.architecture, StyleSpace) else "z"

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """The shape of one sample's latents: (layers, style) for styles."""
        self.space()
        return tuple(self.latents(1).shape[1:])

    @cached_property
    def parts(self) -> dict[str, Tensor]:
        """Masks of the parts of a latent by name, each in the shape of a latent; empty where it has no parts."""
        net = self.architecture
        masks = net.latent_parts() if isinstance(net, LatentParts) else {}
        return {name: mask.to(self.device).expand(self.shape) for name, mask in masks.items()}

    def mask(self, text: str) -> Tensor:
        """The mask, in the shape of a latent, of ``coarse``, ``coarse,middle``, or of layers ``4-7``.

        Raises `UsageError` that lists what this latent space has.
        """
        found = torch.zeros(self.shape, dtype=torch.bool, device=self.device)
        for name in (part.strip() for part in text.split(",")):
            first, _, last = name.partition("-")
            if name in self.parts:
                found |= self.parts[name]
            elif self.space_name == "w" and first.isdecimal() and (last.isdecimal() or not last):
                start, end = int(first), int(last or first)
                if start > end or end >= self.shape[0]:
                    raise UsageError(
                        f"layers {name}: the styles of {self.name} have the layers 0 to {self.shape[0] - 1}"
                    )
                found[start : end + 1] = True
            else:
                raise UsageError(self._no_part(name))
        return found

    def _no_part(self, name: str) -> str:
        layers = f" and the layers 0 to {self.shape[0] - 1}" if self.space_name == "w" else ""
        if not self.parts and not layers:
            return f"the latents of {self.name} are one vector without parts; leave '{name}' out"
        close = nearest(name, self.parts)
        hint = f"; did you mean '{close}'?" if close else ""
        return f"the latents of {self.name} have no part '{name}'; they have {', '.join(self.parts)}{layers}{hint}"

    def linear_maps(self) -> Sequence[Tensor]:
        """See `gan.contracts.LinearMaps`. Raises `UsageError` where the architecture does not show them."""
        if not isinstance(self.architecture, LinearMaps):
            raise UsageError(f"{self.name} does not show the layers that its latents enter; use another method")
        return self.architecture.linear_maps()

    # ------------------------------------------------------------------ latents and samples

    def latents(
        self,
        count: int = 1,
        seed: int = 0,
        *,
        first: int = 0,
        options: Mapping[str, Any] | None = None,
        conditions: Mapping[str, Any] | None = None,
    ) -> Tensor:
        """The latents ``(count, …)`` of samples `first` … ``first + count - 1`` of `seed`.

        Styles w ``(count, layers, style)`` before truncation where the architecture has them, else z.
        """
        return self.draw(count, seed, first=first, options=options, conditions=conditions).values

    def draw(
        self,
        count: int,
        seed: int = 0,
        *,
        first: int = 0,
        options: Mapping[str, Any] | None = None,
        conditions: Mapping[str, Any] | None = None,
    ) -> Latents:
        """The latents of samples as in `latents`, with their conditions."""
        net = self.space(options)
        chosen = self._options(options or {})
        given = self._with_conditions(None, chosen, conditions, seed, first, count) or {}
        with torch.no_grad():
            latents = net.latents(count, sample_draws(self.draws, seed, first, count, self.device))
            if isinstance(net, StyleSpace):
                request = Request(chosen, self._rows(given, 0, count) or None)
                latents = net.styles_of(latents, request).contiguous()
        return Latents(latents, given)

    def decode(
        self,
        latents: Tensor | Latents,
        *,
        seed: int = 0,
        first: int = 0,
        options: Mapping[str, Any] | None = None,
        conditions: Mapping[str, Any] | None = None,
    ) -> Samples:
        """The samples of latents ``(N, …)``: field name -> numpy array ``(N, *shape)``.

        Conditions that neither `latents` nor `conditions` state are those of samples `first` … of `seed`, of which
        random noise is also taken where the options ask for it. Raises `UsageError` for latents of another shape.
        """
        self.space(options)
        if isinstance(latents, Tensor):
            latents = Latents(latents)
        count, chosen = len(latents), self._options(options or {})
        given = {} if conditions else dict(latents.given)
        given = self._with_conditions(given, chosen, conditions, seed, first, count) or {}
        values = self.checked(latents.values)

        def make(start: int, size: int, rows: Mapping[str, Tensor] | None) -> Mapping[str, Tensor]:
            rng = sample_draws(self.draws, seed, first + start, size, self.device)
            made: Mapping[str, Tensor] = self._sampler.decode(values[start : start + size], Request(chosen, rows, rng))
            return made

        return self._in_batches(make, count, seed, first, given or None)

    def checked(self, latents: Tensor) -> Tensor:
        """The latents on the model's device. Raises `UsageError` if they are not of its space."""
        if tuple(latents.shape[1:]) != self.shape:
            raise UsageError(
                f"latents of shape {list(latents.shape[1:])}: those of {self.name} are {self.space_name} of shape "
                f"{list(self.shape)}"
            )
        return latents.to(self.device, torch.float32)

    def smooth(self, latents: Tensor, given: Mapping[str, Tensor] | None, options: Any) -> Mapping[str, Tensor]:
        """The samples of latents before rounding, differentiable with respect to them.

        Raises `UsageError` if the architecture gives none.
        """
        if not isinstance(self.architecture, SmoothLatentSpace):
            raise UsageError(f"{self.name} gives no samples before rounding, which a gradient needs")
        made: Mapping[str, Tensor] = self._sampler.decode_smooth(latents, Request(options, given))
        return made

    def between(self, first: Tensor, second: Tensor, at: Tensor) -> Tensor:
        """The latents ``(n, …)`` at positions `at` ``(n,)`` in 0 … 1 between two, as suits the latent space."""
        net = self.architecture
        return net.between(first, second, at) if isinstance(net, Between) else slerp(first, second, at)

    def mixed(self, latents: Latents, parts: Mapping[str, int], **how: Any) -> Latents:
        """`latents` whose parts are those of the first sample of other seeds (style mixing): part -> seed.

        `how` is passed to `draw`.
        """
        values = latents.values.clone()
        for name, seed in parts.items():
            other = self.draw(1, seed, **how).values
            values = torch.where(self.mask(name), other, values)
        return Latents(values, latents.given)


def as_path(item: Any) -> Path | None:
    """`item` as a path, if it is one."""
    return Path(item) if isinstance(item, (str, Path)) else None
