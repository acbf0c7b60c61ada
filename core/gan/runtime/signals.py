"""Handling of SIGINT and SIGTERM: training stops after the current iteration, everything else at the next safe point.

The handler only records the signal: an exception raised between two arbitrary instructions would leave the locks and
the half-made objects of libraries in any state. Code that takes long calls `check_stop` where it can be left. Code that
reaches no such point within `GRACE` seconds (a plugin that makes a dataset) is left by ending the process: files on
disk are complete at any moment, so that only loses work that can be repeated.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from gan.errors import Stopped

GRACE = 5.0
"""Seconds after a signal within which a safe point must come, outside of training."""


class _StopNow(KeyboardInterrupt):
    """Not an `Exception`, so that no handler swallows it; `StopSignals.caught` turns it into `Stopped`."""


_current: StopSignals | None = None
"""Of the innermost `StopSignals.caught` of this process."""


def check_stop() -> None:
    """A safe point: leave the current task if a signal asks for it. Has no effect in training, or in other threads."""
    signals = _current
    if signals is None or signals.wanted is None or signals.is_patient:
        return
    if threading.current_thread() is threading.main_thread():
        raise _StopNow


class StopSignals:
    """Records stop signals; the trainer calls it after each iteration to ask whether to stop."""

    def __init__(self) -> None:
        self.wanted: signal.Signals | None = None
        self.remedy = "nothing was trained yet; start again"
        """What the user can do after a stop, for the message."""
        self.is_patient = False

    def __call__(self) -> bool:
        """Whether a stop signal has arrived."""
        return self.wanted is not None

    def stopped(self, where: str = "") -> Stopped:
        """The exception for the received signal."""
        name = self.wanted.name if self.wanted is not None else "a signal"
        return Stopped(f"stopped by {name}{where}; {self.remedy}")

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Context in which the two signals lead to `Stopped`; has no effect outside the main thread."""
        global _current
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        process, outer = os.getpid(), _current
        receiver, sender = os.pipe()

        def remember(number: int, frame: FrameType | None) -> None:
            if os.getpid() != process:  # a forked child has no trainer to ask: it ends as without a handler
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
                return
            if self.wanted is None:
                self.wanted = signal.Signals(number)
                os.write(sender, b"s")

        watch = threading.Thread(target=self._watch, args=(receiver,), name="gan-stop", daemon=True)
        watch.start()
        _current = self
        before = {number: signal.signal(number, remember) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        except _StopNow:
            raise self.stopped() from None
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            _current = outer
            os.write(sender, b"e")
            watch.join()
            os.close(sender)
            os.close(receiver)

    def _watch(self, receiver: int) -> None:
        """End the process if a signal came and no safe point does."""
        if os.read(receiver, 1) == b"e":
            return
        left = GRACE
        while left > 0:
            if _readable(receiver, 0.1):
                return
            if not self.is_patient:
                left -= 0.1
        message = str(self.stopped()) + "\n"
        with contextlib.suppress(OSError):
            if sys.stderr.isatty():
                message = "\x1b[?25h\n" + message  # a progress bar hides the cursor
            os.write(2, message.encode("utf-8", "backslashreplace"))
        os._exit(Stopped.exit_code)

    @contextmanager
    def patient(self) -> Iterator[None]:
        """Context in which signals are only recorded, however many arrive."""
        before, self.is_patient = self.is_patient, True
        try:
            yield
        finally:
            self.is_patient = before


def _readable(descriptor: int, seconds: float) -> bool:
    """Whether something can be read from a pipe within `seconds`."""
    if os.name == "nt":  # its select takes sockets only
        time.sleep(seconds)
        return False
    import select

    return bool(select.select([descriptor], [], [], seconds)[0])
