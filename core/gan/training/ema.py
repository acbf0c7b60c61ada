"""Exponential moving average (EMA) of the weights of a player, with a half-life in real samples shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from gan.recipe import Schedule, number_at


class Average:
    """Averaged copies of parameters.

    After h = `half_life` real samples an old value has half its weight: β = 0.5^(n/h) for an update of n samples
    (Karras et al. 2020). With `rampup` r the half-life is at most r times the samples shown so far. Buffers are not
    averaged: sampling uses the live ones.
    """

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        half_life: float | Schedule,
        rampup: float = 0.0,
        *,
        tensors: bool = False,
    ) -> None:
        self._live = dict(parameters)
        self._average = {name: parameter.detach().clone() for name, parameter in self._live.items()}
        self._half_life = half_life
        self._rampup = rampup
        self._share = 0.0
        self._share_tensor = torch.zeros((), device=next(iter(self._average.values())).device) if tensors else None
        """Where `update` shall be given no number of the host, so that it can be captured in a graph."""

    def set_share(self, samples: int, shown: int, position: int | None = None, factor: float = 1.0) -> None:
        """Before an update with `samples` real samples, with `shown` samples in all before it.

        A half-life that changes is that at `position`, the samples shown before it in its phase, times `factor`.
        """
        half_life = number_at(self._half_life, shown if position is None else position) * factor
        if self._rampup > 0:
            half_life = min(half_life, self._rampup * shown)
        keep = 0.5 ** (samples / half_life) if half_life > 0 else 0.0
        if self._share_tensor is not None and self._share != 1.0 - keep:
            self._share_tensor.fill_(1.0 - keep)
        self._share = 1.0 - keep

    @torch.no_grad()
    def update(self) -> None:
        """Move the averages towards the parameters."""
        average: Any = list(self._average.values())
        live: Any = list(self._live.values())
        if self._share_tensor is None:
            torch._foreach_lerp_(average, live, self._share)
            return
        steps: Any = torch._foreach_sub(live, average)
        torch._foreach_mul_(steps, self._share_tensor)
        torch._foreach_add_(average, steps)

    @torch.no_grad()
    def adopt(self) -> None:
        """Make the averages the weights."""
        for name, parameter in self._live.items():
            parameter.copy_(self._average[name])

    @contextmanager
    def applied(self) -> Iterator[None]:
        """A context in which the live parameters hold the averages; their own values return afterwards."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def _exchange(self) -> None:
        for name, parameter in self._live.items():
            parameter.data, self._average[name] = self._average[name], parameter.data

    def state_dict(self) -> dict[str, Tensor]:
        """The averages by parameter name."""
        return dict(self._average)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore the averages."""
        for name, value in self._average.items():
            value.copy_(state[name])
