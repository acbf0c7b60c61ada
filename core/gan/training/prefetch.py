"""Real samples for the device, gathered ahead of the training step by a thread.

The order of the data is a function of the position, so the next batches are known. On an accelerator a thread gathers
them into pinned memory while the device computes, and copies them on a stream of its own. Nothing of this is state:
after a rollback or a resumption, batches at other positions are gathered when they are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from gan.contracts import Samples

Fields = dict[str, Tensor]


class Prefetcher:
    """Gathers batches for `device`: in the calling thread on a CPU, else ahead in a thread of its own."""

    def __init__(self, gather: Callable[[int, int], Samples], device: torch.device, ahead: bool | None = None) -> None:
        self._gather = gather
        self._device = device
        self._waiting: dict[tuple[int, int], Future[tuple[Fields, torch.Event | None]]] = {}
        self._threads = (
            ThreadPoolExecutor(1, thread_name_prefix="gan-prefetch")
            if (device.type != "cpu" if ahead is None else ahead)
            else None
        )
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def batches(self, wanted: Sequence[tuple[int, int]], following: Sequence[tuple[int, int]]) -> list[Fields]:
        """The batches at `wanted`, (position, count) each, on the device; those `following` are gathered ahead."""
        if self._threads is None:
            return [self._load(*place)[0] for place in wanted]
        for place in list(self._waiting):
            if place not in wanted and place not in following:
                self._waiting.pop(place).cancel()
        found = []
        for place in wanted:
            self._ask(place)
        for place in following:
            self._ask(place)
        for place in wanted:
            fields, ready = self._waiting.pop(place).result()
            if ready is not None:
                current = torch.cuda.current_stream(self._device)
                current.wait_event(ready)  # the step waits on the device; the host does not
                for tensor in fields.values():
                    tensor.record_stream(current)
            found.append(fields)
        return found

    def _ask(self, place: tuple[int, int]) -> None:
        assert self._threads is not None
        if place not in self._waiting:
            self._waiting[place] = self._threads.submit(self._load, *place)

    def _load(self, position: int, count: int) -> tuple[Fields, torch.Event | None]:
        arrays = self._gather(position, count)
        tensors = {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in arrays.items()}
        if self._device.type == "cpu":
            return tensors, None
        if self._stream is None:
            return {name: tensor.to(self._device) for name, tensor in tensors.items()}, None
        with torch.cuda.stream(self._stream):
            fields = {n: t.pin_memory().to(self._device, non_blocking=True) for n, t in tensors.items()}
            return fields, self._stream.record_event()
