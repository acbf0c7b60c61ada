"""Conditioning of networks on attributes of a phrase: Fourier features of numbers, then a linear layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from gan.contracts import FieldSpec
from gan.errors import UsageError
from gan.game import Batch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from gan_music.architectures.neurons import HIGH, LOW, held

OCTAVES = 3
"""Frequencies per attribute: sin and cos of 2^k π c, k = 0, 1, 2 (Tancik et al. 2020, arXiv:2006.10739, with fixed
frequencies). With k up to 5, a density between those of many phrases gave fewer notes than a smaller one."""
WIDTH = 32
"""Length of the embedding of a phrase's attributes that a generator sees beside its latent vector."""


def conditions_of(fields: Mapping[str, FieldSpec]) -> dict[str, FieldSpec]:
    """The fields that phrases are conditioned on."""
    return {name: spec for name, spec in fields.items() if spec.condition}


def condition_values(conditions: Sequence[str], given: Mapping[str, Tensor] | None) -> Tensor | None:
    """``(N, attributes)`` float32 of a batch or a request; None if there are no attributes."""
    if not conditions:
        return None
    missing = [name for name in conditions if given is None or name not in given]
    if missing or given is None:
        raise UsageError(f"the model needs the {', '.join(missing)} of each phrase")
    return torch.stack([given[name].float() for name in conditions], 1)


def critic_conditions(conditions: Sequence[str]) -> Callable[[Batch], Tensor] | None:
    """A function from a batch to the attributes of its real phrases; None if there are no attributes."""
    if not conditions:
        return None
    return lambda batch: torch.stack([batch[name].float() for name in conditions], 1)


def soft_onset_count(roll: Tensor, how: str) -> Tensor:
    """``(N, track, bar, step, pitch)`` in -1 … 1 -> ``(N, bar, track)``: the number of onsets, divided by 4.

    A critic that is conditioned on density must count, which convolutions learn badly. Onsets are counted in the roll
    as it would be played, by hysteresis or above one half (`how`): many improbable notes do not count as a few, and a
    wavering note does not count as many. Gradients are those of the sum of all rises (a straight-through estimate).
    """
    with torch.no_grad():
        played = held(roll > 2 * HIGH - 1, roll > 2 * LOW - 1) if how == "hysteresis" else roll > 0
    soft, hard = _rises(roll), _rises(torch.where(played, 1.0, -1.0))
    return soft + (hard - soft).detach()


def _rises(roll: Tensor) -> Tensor:
    line = roll.flatten(2, 3)
    rises = torch.diff(line, dim=2, prepend=-torch.ones_like(line[:, :, :1])).relu()
    return (rises / 8).view(roll.shape).sum((3, 4)).transpose(1, 2)


class ConditionEmbedding(nn.Module):
    """Embeds attributes: ``(N, attributes) -> (N, width)``."""

    low: Tensor
    high: Tensor

    def __init__(self, conditions: Mapping[str, FieldSpec], width: int) -> None:
        super().__init__()
        self.register_buffer("low", torch.tensor([spec.low for spec in conditions.values()]))
        self.register_buffer("high", torch.tensor([spec.high for spec in conditions.values()]))
        self.linear = nn.Linear(2 * OCTAVES * len(conditions), width)

    def forward(self, values: Tensor) -> Tensor:
        """The embedding of values in the units of the data."""
        position = ((values - self.low) / (self.high - self.low).clamp_min(1e-6)).clamp(0, 1)
        angles = torch.pi * position[..., None] * 2.0 ** torch.arange(OCTAVES, device=values.device)
        out: Tensor = self.linear(torch.cat([angles.sin(), angles.cos()], 2).flatten(1))
        return out


class Count(nn.Module):
    """An extra score of a critic: how far the number of onsets per bar is from the requested density.

    It is bounded and divided by four. At full weight it dominated the game, and notes became specks.
    """

    def __init__(self, conditions: Mapping[str, FieldSpec], share: float = 1.0, width: int = 64) -> None:
        super().__init__()
        self.index = list(conditions).index("density")
        spec = conditions["density"]
        self.unit = max(spec.high - spec.low, 1.0) / 5
        self.share = share
        """Share of the tracks that the critic sees."""
        self.told = ConditionEmbedding(conditions, width)
        self.error = nn.Linear(1, width, bias=False)
        self.score = nn.Linear(width, 1, bias=False)

    def forward(self, values: Tensor, onsets: Tensor) -> Tensor:
        """``(N, attributes)`` and ``(N, bar, track)`` of `soft_onset_count` -> ``(N,)``."""
        notes = 4 * onsets.sum(2).mean(1) / self.share
        error = ((notes - values[:, self.index]) / self.unit).tanh()
        hidden = leaky_relu(self.told(values) + self.error(error[:, None]), 0.2)
        score: Tensor = self.score(hidden).squeeze(1)
        return score / 4


def counting(conditions: Mapping[str, FieldSpec] | None, share: float = 1.0) -> Count | None:
    """The `Count` of a critic, if it is conditioned on density."""
    return Count(conditions, share) if conditions and "density" in conditions else None
