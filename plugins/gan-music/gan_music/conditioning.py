"""How networks hear what a phrase should be: numbers as Fourier features, then a linear layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from gan.contracts import FieldSpec
from gan.errors import UsageError
from gan.game import Batch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from gan_music.neurons import HIGH, LOW, held

OCTAVES = 3
"""Waves of each number: sin and cos of 2^k π c, k = 0, 1, 2 (Tancik et al. 2020, arXiv:2006.10739, with fixed
frequencies). With k up to 5 a density between those of many phrases gave fewer notes than a smaller one."""
WIDTH = 32
"""Numbers that a generator is told a phrase's attributes in, beside its latent vector."""


def conditions_of(fields: Mapping[str, FieldSpec]) -> dict[str, FieldSpec]:
    """The attributes that phrases of these data have."""
    return {name: spec for name, spec in fields.items() if spec.condition}


def values_of(conditions: Sequence[str], given: Mapping[str, Tensor] | None) -> Tensor | None:
    """``(N, attributes)`` float32 of a batch or a request; None where there are no attributes."""
    if not conditions:
        return None
    lacking = [name for name in conditions if given is None or name not in given]
    if lacking or given is None:
        raise UsageError(f"the model must be told the {', '.join(lacking)} of each phrase")
    return torch.stack([given[name].float() for name in conditions], 1)


def told_of(conditions: Sequence[str]) -> Callable[[Batch], Tensor] | None:
    """What the critic is told of the phrases of a batch; None where there are no attributes."""
    if not conditions:
        return None
    return lambda batch: torch.stack([batch[name].float() for name in conditions], 1)


def soft_onset_count(roll: Tensor, how: str) -> Tensor:
    """``(N, track, bar, step, pitch)`` in -1 … 1 -> ``(N, bar, track)``: how many notes begin, over 4.

    A critic that is told a density must count, which convolutions learn badly. What counts is what would be played, by
    hysteresis or above one half (`how`), so that many improbable notes do not pass for a few and a wavering one not for
    many; gradients are those of the sum of all rises (a straight-through estimate).
    """
    with torch.no_grad():
        played = held(roll > 2 * HIGH - 1, roll > 2 * LOW - 1) if how == "hysteresis" else roll > 0
    soft, hard = _rises(roll), _rises(torch.where(played, 1.0, -1.0))
    return soft + (hard - soft).detach()


def _rises(roll: Tensor) -> Tensor:
    line = roll.flatten(2, 3)
    rises = torch.diff(line, dim=2, prepend=-torch.ones_like(line[:, :, :1])).relu()
    return (rises / 8).unflatten(2, roll.shape[2:4]).sum((3, 4)).transpose(1, 2)


class ConditionEmbedding(nn.Module):
    """``(N, attributes) -> (N, width)``."""

    low: Tensor
    high: Tensor

    def __init__(self, conditions: Mapping[str, FieldSpec], width: int) -> None:
        super().__init__()
        self.register_buffer("low", torch.tensor([spec.low for spec in conditions.values()]))
        self.register_buffer("high", torch.tensor([spec.high for spec in conditions.values()]))
        self.linear = nn.Linear(2 * OCTAVES * len(conditions), width)

    def forward(self, values: Tensor) -> Tensor:
        """Of values in the data's units."""
        place = ((values - self.low) / (self.high - self.low).clamp_min(1e-6)).clamp(0, 1)
        angles = torch.pi * place[..., None] * 2.0 ** torch.arange(OCTAVES, device=values.device)
        out: Tensor = self.linear(torch.cat([angles.sin(), angles.cos()], 2).flatten(1))
        return out


class Count(nn.Module):
    """A critic's further score: how far the notes a bar are from the density that was asked for.

    A gentle one, bounded and divided by four: at its full weight the game cared for little else, and notes became
    specks.
    """

    def __init__(self, conditions: Mapping[str, FieldSpec], share: float = 1.0, width: int = 64) -> None:
        super().__init__()
        self.place = list(conditions).index("density")
        spec = conditions["density"]
        self.unit = max(spec.high - spec.low, 1.0) / 5
        self.share = share
        """How many of all tracks the critic sees."""
        self.told = ConditionEmbedding(conditions, width)
        self.error = nn.Linear(1, width, bias=False)
        self.score = nn.Linear(width, 1, bias=False)

    def forward(self, values: Tensor, soft_onset_count: Tensor) -> Tensor:
        """``(N, attributes)`` and ``(N, bar, track)`` of `begun` -> ``(N,)``."""
        notes = 4 * soft_onset_count.sum(2).mean(1) / self.share
        error = ((notes - values[:, self.place]) / self.unit).tanh()
        hidden = leaky_relu(self.told(values) + self.error(error[:, None]), 0.2)
        score: Tensor = self.score(hidden).squeeze(1)
        return score / 4


def counting(conditions: Mapping[str, FieldSpec] | None, share: float = 1.0) -> Count | None:
    """What counts for a critic that is told a density."""
    return Count(conditions, share) if conditions and "density" in conditions else None
