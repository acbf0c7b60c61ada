"""SIGINT and SIGTERM: between iterations of a training they are a wish, everywhere else they stop at once.

Whatever is on the disk at that moment is whole, so stopping at once loses only work that can be done again.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from gan.errors import Stopped


class _StopNow(KeyboardInterrupt):
    """Passes every ``except Exception`` on its way out; `StopSignals.caught` turns it into `Stopped`."""


class StopSignals:
    """Asked by the trainer after each iteration: whether somebody wants it to stop."""

    def __init__(self) -> None:
        self.wanted: signal.Signals | None = None
        self.remedy = "nothing was trained yet; start again"
        """What a user does after a stop, for the message."""
        self._patient = False

    def __call__(self) -> bool:
        """Whether somebody asked to stop."""
        return self.wanted is not None

    def stopped(self, where: str = "") -> Stopped:
        """The exception of the stop."""
        name = self.wanted.name if self.wanted is not None else "a signal"
        return Stopped(f"stopped by {name}{where}; {self.remedy}")

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Within it the two signals raise `Stopped`; outside the main thread nothing is caught."""
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
        """Within it a signal is only remembered, however often it comes."""
        self._patient = True
        try:
            yield
        finally:
            self._patient = False
