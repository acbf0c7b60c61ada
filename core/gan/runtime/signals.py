"""Handling of SIGINT and SIGTERM: training stops after the current iteration, everything else stops at once.

Files on disk are complete at any moment, so stopping at once only loses work that can be repeated.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from gan.errors import Stopped


class _StopNow(KeyboardInterrupt):
    """Not an `Exception`, so that no handler swallows it; `StopSignals.caught` turns it into `Stopped`."""


class StopSignals:
    """Records stop signals; the trainer calls it after each iteration to ask whether to stop."""

    def __init__(self) -> None:
        self.wanted: signal.Signals | None = None
        self.remedy = "nothing was trained yet; start again"
        """What the user can do after a stop, for the message."""
        self._patient = False

    def __call__(self) -> bool:
        """Whether a stop signal has arrived."""
        return self.wanted is not None

    def stopped(self, where: str = "") -> Stopped:
        """The exception for the received signal."""
        name = self.wanted.name if self.wanted is not None else "a signal"
        return Stopped(f"stopped by {name}{where}; {self.remedy}")

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Context in which the two signals raise `Stopped`; has no effect outside the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def remember(number: int, frame: FrameType | None) -> None:
            self.wanted = signal.Signals(number)
            if not self._patient:
                raise _StopNow

        before = {number: signal.signal(number, remember) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        except _StopNow:
            raise self.stopped() from None
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def patient(self) -> Iterator[None]:
        """Context in which signals are only recorded, however many arrive."""
        self._patient = True
        try:
            yield
        finally:
            self._patient = False
