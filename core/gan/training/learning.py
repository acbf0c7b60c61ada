"""Learned state: what objectives observe, summed over micro-batches and processes and learned once for each update."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from gan.draws import Draws
from gan.errors import GanError
from gan.game import Learn
from gan.runtime.device import Device
from gan.runtime.distributed import Peers, sum_over_processes

Layout = dict[str, tuple[torch.Size, torch.dtype]]


class Learner:
    """Calls `Turn.learn` of every turn, alike on all processes.

    The names, shapes and dtypes that a turn observes are remembered from its first update, so that a process which ran
    out of memory still takes part in the exchange of a later one.
    """

    def __init__(
        self,
        architecture: nn.Module,
        trained: Iterable[Tensor],
        device: Device,
        peers: Peers,
        others: Iterable[nn.Module] = (),
    ) -> None:
        ids = {id(parameter) for parameter in trained}
        frozen = [parameter for parameter in architecture.parameters() if id(parameter) not in ids]
        self._state = [*architecture.buffers(), *frozen, *(b for module in others for b in module.buffers())]
        self._device = device
        self._peers = peers
        self._layouts: dict[Hashable, Layout] = {}
        self._changed: dict[Hashable, list[Tensor]] = {}

    def totals(self, turn: Hashable, parts: Sequence[Mapping[str, Tensor]], where: str) -> dict[str, Tensor] | None:
        """The sums over the observations of this process's micro-batches and over all processes, by name.

        None if a process ran out of memory before it had ever observed anything.
        """
        sums: dict[str, Tensor] = {}
        for part in parts:
            for name, value in part.items():
                sums[name] = sums[name] + value if name in sums else value
        layout = self._layouts.get(turn)
        if layout is None:
            if self._peers.any(bool(self._peers.oom_reason))[0]:
                return None
            layout = {name: (sums[name].shape, sums[name].dtype) for name in sorted(sums)}
            self._layouts[turn] = layout
        if self._peers.oom_reason:
            device = self._device.device
            sums = {name: torch.zeros(shape, dtype=dtype, device=device) for name, (shape, dtype) in layout.items()}
        found = {name: (sums[name].shape, sums[name].dtype) for name in sorted(sums)}
        if found != layout:
            raise GanError(
                f"{where}: the objective observed {_described(found)}; in its first update it observed "
                f"{_described(layout)}. Observe the same names and shapes in every update"
            )
        sums = {name: sums[name] for name in layout}
        if self._device.world_size > 1:
            sums = dict(zip(layout, sum_over_processes(list(sums.values())), strict=True))
        return sums

    @torch.no_grad()
    def learn(self, turn: Hashable, learn: Learn, observed: Mapping[str, Tensor], rng: Draws, bad: Tensor) -> None:
        """Call `learn`; where `bad` is 1, buffers keep their values."""
        if self._device.synchronous:
            if not bad:
                learn(observed, rng)
            return
        # on an accelerator `bad` is not read: what was changed is chosen there from the values before and after
        candidates = self._changed.get(turn, self._state)
        before = [(tensor, tensor._version, tensor.clone()) for tensor in candidates]
        learn(observed, rng)
        changed = [(tensor, old) for tensor, version, old in before if tensor._version != version]
        if turn not in self._changed:
            self._changed[turn] = [tensor for tensor, _ in changed]
        for tensor, old in changed:
            tensor.copy_(torch.where(bad > 0, old, tensor))


def _described(layout: Layout) -> str:
    return ", ".join(f"{name} {tuple(shape)} {str(dtype)[6:]}" for name, (shape, dtype) in layout.items()) or "nothing"
