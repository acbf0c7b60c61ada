"""What several processes that train together must decide alike: to stop, to go back, to take a batch in more parts.

A process that left an iteration alone would keep the others waiting for ever. So nobody does: a wish or a failure is
remembered, and at places that all of them reach they tell each other. A process whose memory ran out takes part in the
averages of the gradients until then, with gradients that are no numbers, so that nobody makes an update.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from gan.errors import NumericError
from gan.runtime.device import Device, out_of_memory


def leave() -> None:
    """Part from the other processes: what `choose` joined. A process that ends without it may be aborted."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def average_gradients(parameters: Sequence[Tensor], processes: int) -> None:
    """The mean of each gradient over all processes, in one flat buffer a dtype.

    A parameter without a gradient has none afterwards; it has its place in the buffer all the same, so that the buffers
    of all processes are alike whatever became of one of them.
    """
    by_dtype: dict[torch.dtype, list[Tensor]] = {}
    for parameter in parameters:
        by_dtype.setdefault(parameter.dtype, []).append(parameter)
    for group in by_dtype.values():
        flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in group])
        torch.distributed.all_reduce(flat)
        flat /= processes
        start = 0
        for parameter in group:
            if parameter.grad is not None:
                parameter.grad.copy_(flat[start : start + parameter.numel()].view_as(parameter))
            start += parameter.numel()


ASK_EVERY = 16
"""Iterations between two questions whether to stop; ticks and the ends of phases are such places too."""


class Peers:
    """One process's part in common decisions; alone it decides at once."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self.oom_reason = ""
        """Why this process's memory ran out; empty: it did not."""

    @property
    def alone(self) -> bool:
        """Whether there is one process only."""
        return self._device.world_size == 1

    def any(self, *wishes: bool) -> list[bool]:
        """For each wish whether any process has it. All must ask at the same place."""
        if self.alone:
            return list(wishes)
        flags = torch.tensor([float(wish) for wish in wishes], device=self._device.device)
        torch.distributed.all_reduce(flags)
        return [bool(flag) for flag in flags.tolist()]

    def barrier(self) -> None:
        """Wait until all are here."""
        if not self.alone:
            torch.distributed.barrier()

    def note_oom(self, error: BaseException) -> bool:
        """Whether `error` says that memory ran out, and others wait for this process's gradients: then it is
        remembered instead of raised."""
        if self.alone or not out_of_memory(error):
            return False
        self.oom_reason = _first_line(error)
        return True

    def stopping(self, wish: bool, late: bool, *, now: bool) -> tuple[bool, bool]:
        """(whether to stop, whether time is up), alike for all; asked `now` or not at all. Raises `MemoryError` when
        the memory of any of them ran out."""
        if self.alone:
            return wish, late
        if not now:
            return False, False
        stop, time_is_up, oom_reason = self.any(wish, late, bool(self.oom_reason))
        if oom_reason:
            self._raise_oom()
        return stop, time_is_up

    def raise_if_oom(self) -> None:
        """Raise `MemoryError` when the memory of any of them ran out; all must ask at the same place."""
        if not self.alone and self.any(bool(self.oom_reason))[0]:
            self._raise_oom()

    def _raise_oom(self) -> None:
        reason, self.oom_reason = self.oom_reason or "on another process", ""
        raise MemoryError(reason)

    def run_agreed(self, act: Callable[[], None]) -> None:
        """Do `act`; when it fails in one of them for its numbers or its memory, it has failed in all."""
        if self.alone:
            act()
            return
        failure: NumericError | MemoryError | None = None
        try:
            act()
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
            raise NumericError("another process found numbers that are not finite")


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or ["no more to be had"])[0]
