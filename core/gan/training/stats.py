"""Means of losses and other terms over a tick. They stay on the device: reporting a value never waits for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


class Stats:
    """Sums and counts by name since the last `collect`."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    @torch.no_grad()
    def report(self, name: str, value: Tensor) -> None:
        """Add one scalar."""
        value = value.detach().to(torch.float32)
        if name in self._sums:
            self._sums[name] += value
            self._counts[name] += 1
        else:
            self._sums[name] = value.clone()
            self._counts[name] = 1

    def collect(self) -> dict[str, float]:
        """The means, in the order of the first reports, over all processes; waits for the device once and resets."""
        if not self._sums:
            return {}
        names = list(self._sums)
        totals = torch.stack([self._sums[name] for name in names])
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(totals)
            totals /= torch.distributed.get_world_size()
        values = totals.tolist()
        means = {name: value / self._counts[name] for name, value in zip(names, values, strict=True)}
        self._sums.clear()
        self._counts.clear()
        return means

    def state_dict(self) -> dict[str, Any]:
        """Sums and counts since the last `collect`."""
        return {"sums": dict(self._sums), "counts": dict(self._counts)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the sums and counts."""
        self._sums = {name: value.clone() for name, value in state["sums"].items()}
        self._counts = dict(state["counts"])
