"""Distributed training: the process group, gradient averaging, and decisions that all processes take alike.

If one process left an iteration alone, the others would wait for it forever. Requests to stop and failures are
therefore recorded and exchanged at points that all processes reach. Until then, a process that ran out of memory takes
part in gradient averaging with NaN gradients, so that no process makes an update.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta

import torch
from torch import Tensor

from gan.errors import NumericError
from gan.runtime.device import Device, choose_device, out_of_memory

LONGEST_WAIT = timedelta(hours=24)
"""How long a process may wait for the others. The first one packs the data, computes metrics and writes pages
meanwhile, for longer than PyTorch's limits of 10 (NCCL) and 30 minutes. A process that dies ends the wait at once: its
connections close, and the launcher ends the others."""


def init_runtime(device: str = "auto", precision: str = "auto") -> Device:
    """The device of this process (see `choose_device`) and its rank, after joining the process group.

    It joins the group if a launcher such as torchrun set ``WORLD_SIZE`` to more than 1. Call `shutdown` at the end.
    """
    chosen = choose_device(device, precision)
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size > 1 and not torch.distributed.is_initialized():
        backend = "nccl" if chosen.device.type == "cuda" else "gloo"
        torch.distributed.init_process_group(backend, timeout=LONGEST_WAIT)
    return replace(chosen, rank=int(os.environ.get("RANK", "0")), world_size=world_size)


def shutdown() -> None:
    """Leave the process group, if `init_runtime` joined one. A process that ends without it may be aborted."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def average_gradients(parameters: Sequence[Tensor], world_size: int) -> None:
    """Replace each gradient by its mean over all processes, with one all-reduce per dtype.

    Parameters without a gradient keep none, but occupy zeros in the flat buffer, so that the buffers of all processes
    have the same layout.
    """
    by_dtype: dict[torch.dtype, list[Tensor]] = {}
    for parameter in parameters:
        by_dtype.setdefault(parameter.dtype, []).append(parameter)
    for group in by_dtype.values():
        flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in group])
        torch.distributed.all_reduce(flat)
        flat /= world_size
        start = 0
        for parameter in group:
            if parameter.grad is not None:
                parameter.grad.copy_(flat[start : start + parameter.numel()].view_as(parameter))
            start += parameter.numel()


def sum_over_processes(values: Sequence[Tensor]) -> list[Tensor]:
    """The sums of tensors over all processes, with one all-reduce per dtype. All processes give the same shapes."""
    sums = list(values)
    for dtype in dict.fromkeys(value.dtype for value in values):
        places = [place for place, value in enumerate(values) if value.dtype == dtype]
        flat = torch.cat([values[place].flatten() for place in places])
        torch.distributed.all_reduce(flat)
        pieces = torch.split(flat, [values[place].numel() for place in places])
        for place, piece in zip(places, pieces, strict=True):
            sums[place] = piece.view_as(values[place])
    return sums


def true_everywhere(value: Tensor) -> Tensor:
    """Whether a boolean scalar is true on all processes, without waiting for the device."""
    everywhere = value.to(torch.float32)
    torch.distributed.all_reduce(everywhere, op=torch.distributed.ReduceOp.MIN)
    return everywhere > 0


def share_text(text: str, device: Device) -> str:
    """The text of the first process, on all."""
    if device.world_size == 1:
        return text
    shared = [text]
    torch.distributed.broadcast_object_list(shared, device=device.device)
    return shared[0]


ASK_EVERY = 16
"""Iterations between two exchanges about stopping; ticks and ends of phases exchange as well."""


class Peers:
    """Decisions shared with the other processes; a single process decides on its own."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self.oom_reason = ""
        """Why this process ran out of memory; empty if it did not."""

    @property
    def alone(self) -> bool:
        """Whether this is the only process."""
        return self._device.world_size == 1

    def any(self, *flags: bool) -> list[bool]:
        """For each flag, whether any process has set it. All processes must call this at the same point."""
        if self.alone:
            return list(flags)
        sums = torch.tensor([float(flag) for flag in flags], device=self._device.device)
        torch.distributed.all_reduce(sums)
        return [bool(value) for value in sums.tolist()]

    def barrier(self) -> None:
        """Wait until all processes have called this."""
        if not self.alone:
            torch.distributed.barrier()

    def note_oom(self, error: BaseException) -> bool:
        """Record an out-of-memory error while other processes wait for this one's gradients.

        False if `error` is another one or there are no others; the caller then raises it.
        """
        if self.alone or not out_of_memory(error):
            return False
        self.oom_reason = _first_line(error)
        return True

    def stopping(self, stop: bool, time_is_up: bool, *, now: bool) -> tuple[bool, bool]:
        """Whether any process wants to stop and whether any process's time is up, the same on all.

        Several processes exchange this only if `now`. Raises `MemoryError` if any of them ran out of memory.
        """
        if self.alone:
            return stop, time_is_up
        if not now:
            return False, False
        stop, time_is_up, oom = self.any(stop, time_is_up, bool(self.oom_reason))
        if oom:
            self._raise_oom()
        return stop, time_is_up

    def raise_if_oom(self) -> None:
        """Raise `MemoryError` if any process ran out of memory. All processes must call this at the same point."""
        if not self.alone and self.any(bool(self.oom_reason))[0]:
            self._raise_oom()

    def _raise_oom(self) -> None:
        reason, self.oom_reason = self.oom_reason or "on another process", ""
        raise MemoryError(reason)

    def run_agreed(self, action: Callable[[], None]) -> None:
        """Run `action` on all processes. If one of them raises `NumericError` or runs out of memory, all do."""
        if self.alone:
            action()
            return
        failure: NumericError | MemoryError | None = None
        try:
            action()
        except NumericError as error:
            failure = error
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            failure = MemoryError(_first_line(error))
        numbers, memory = self.any(isinstance(failure, NumericError), isinstance(failure, MemoryError))
        if failure is not None:
            raise failure
        if memory:
            raise MemoryError("on another process")
        if numbers:
            raise NumericError("another process found non-finite numbers")


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or ["none left"])[0]
