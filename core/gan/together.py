"""What several processes that train together must decide alike: to stop, to go back, to take a batch in more parts.

A process that left an iteration alone would keep the others waiting for ever. So nobody does: a wish or a failure is
remembered, and at places that all of them reach they tell each other. A process whose memory ran out takes part in the
averages of the gradients until then, with gradients that are no numbers, so that nobody makes an update.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from gan.device import Device, out_of_memory
from gan.errors import NumericError

ASK_EVERY = 16
"""Iterations between two questions whether to stop; ticks and the ends of phases are such places too."""


class Together:
    """One process's part in common decisions; alone it decides at once."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self.starved = ""
        """Why this process's memory ran out; empty: it did not."""

    @property
    def alone(self) -> bool:
        """Whether there is one process only."""
        return self._device.processes == 1

    def any(self, *wishes: bool) -> list[bool]:
        """For each wish whether any process has it. All must ask at the same place."""
        if self.alone:
            return list(wishes)
        flags = torch.tensor([float(wish) for wish in wishes], device=self._device.place)
        torch.distributed.all_reduce(flags)
        return [bool(flag) for flag in flags.tolist()]

    def meet(self) -> None:
        """Wait until all are here."""
        if not self.alone:
            torch.distributed.barrier()

    def starve(self, error: BaseException) -> bool:
        """Whether `error` says that memory ran out, and others wait for this process's gradients: then it is
        remembered instead of raised."""
        if self.alone or not out_of_memory(error):
            return False
        self.starved = _first_line(error)
        return True

    def stopping(self, wish: bool, late: bool, *, now: bool) -> tuple[bool, bool]:
        """(whether to stop, whether time is up), alike for all; asked `now` or not at all. Raises `MemoryError` when
        the memory of any of them ran out."""
        if self.alone:
            return wish, late
        if not now:
            return False, False
        stop, time_is_up, starved = self.any(wish, late, bool(self.starved))
        if starved:
            self._raise_starved()
        return stop, time_is_up

    def look_for_starved(self) -> None:
        """Raise `MemoryError` when the memory of any of them ran out; all must ask at the same place."""
        if not self.alone and self.any(bool(self.starved))[0]:
            self._raise_starved()

    def _raise_starved(self) -> None:
        reason, self.starved = self.starved or "on another process", ""
        raise MemoryError(reason)

    def tell(self, act: Callable[[], None]) -> None:
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
