"""What the MuseGAN family shares: sampling options, pieces longer than a phrase, and games that are played together."""

from __future__ import annotations

import dataclasses
from typing import Literal, Protocol

import torch
from gan.contracts import Request
from gan.draws import Draws
from gan.errors import UsageError
from gan.game import Batch, Turn
from pydantic import BaseModel, Field
from torch import Tensor


class MuseGANOptions(BaseModel):
    """Options of one call of `generate`."""

    model_config = {"extra": "forbid"}

    binarisation: Literal["threshold", "bernoulli", "hysteresis"] | None = Field(
        None, description="threshold, bernoulli or hysteresis; none: the recipe's."
    )
    sounding: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Share of a phrase's cells that sound: the most likely ones are chosen. None: as trained.",
    )
    bars: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="Length in bars, a multiple of a phrase's: phrases interpolated between two latents, joined.",
    )
    truncation: float = Field(
        1.0, gt=0, le=1, description="Scale of the latent vectors; below 1 more typical and less varied."
    )


class Decoder(Protocol):
    """A model whose phrases are functions of latents."""

    def latents(self, count: int, rng: Draws) -> Tensor:
        """Random latents of `count` phrases."""

    def decode(self, latents: Tensor, request: Request) -> dict[str, Tensor]:
        """The phrases of latents."""


def in_phrases(model: Decoder, bars: int, count: int, rng: Draws, request: Request) -> dict[str, Tensor]:
    """One phrase of `bars` bars, or as many as the request asks for.

    Several phrases are decoded at equal steps of the arc between two latents and joined.
    """
    begin = model.latents(count, rng)
    wanted = getattr(request.options, "bars", None)
    if wanted is None or wanted == bars:
        return dict(model.decode(begin, request))
    if wanted % bars:
        raise UsageError(f"--bars {wanted} is not a multiple of the {bars} bars of a phrase")
    end, parts = model.latents(count, rng), wanted // bars
    angles = [torch.tensor(torch.pi / 2 * part / (parts - 1)) for part in range(parts)]
    phrases = [model.decode(begin * angle.cos() + end * angle.sin(), request) for angle in angles]
    return {name: torch.cat([phrase[name] for phrase in phrases], 2) for name in phrases[0]}


def side_by_side(turns: tuple[Turn, ...]) -> Turn:
    """One turn that plays the same turn of several independent games; their losses are added."""
    if len(turns) == 1:
        return turns[0]

    def objective(batch: Batch) -> dict[str, Tensor]:
        total: dict[str, Tensor] = {}
        for index, turn in enumerate(turns):
            own = dataclasses.replace(batch, shared=batch.shared.setdefault(f"game {index}", {}))
            for name, value in turn.objective(own).items():
                total[name] = total[name] + value if name in total else value
        return total

    return dataclasses.replace(turns[0], objective=objective)


def bias_of(density: float) -> float:
    """The bias b for which tanh(b) corresponds to a share `density` of sounding cells, from -1 (none) to 1 (all)."""
    return float(torch.atanh(torch.tensor(2 * density - 1)))
