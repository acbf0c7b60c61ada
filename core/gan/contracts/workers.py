"""Worker processes that end with the process that started them.

    with workers(2) as pool:
        for result in pool.map(function, items, chunksize=8):
            ...

A worker of `multiprocessing` survives the kill of its parent and goes on with what it was given; these do not. They do
not import the main module of the program either, so that a script that calls `gan` needs no ``__main__`` guard.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.context import SpawnContext, SpawnProcess
from types import ModuleType
from typing import Any

CHECKED = 1.0
"""Seconds between two looks for the parent, where the system sends no signal at its death."""
_PR_SET_PDEATHSIG = 1


@contextlib.contextmanager
def workers(count: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of `count` processes that end with this one. Their functions must be importable from a module by name."""
    pool = ProcessPoolExecutor(count, _Context(), initializer=die_with_parent, initargs=(os.getpid(),))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def die_with_parent(parent: int) -> None:
    """End this process as soon as the process `parent`, which started it, has ended, however that ended.

    Linux sends a signal when the thread that started this process ends; a thread of this process looks for the parent
    as well, for other systems.
    """
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the call
        os._exit(1)
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(CHECKED)
    os._exit(1)


class _Process(SpawnProcess):
    """A process that starts without the main module of the program."""

    @staticmethod
    def _Popen(process_obj: Any) -> Any:  # noqa: N802  (the name in multiprocessing)
        main = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            return SpawnProcess._Popen(process_obj)
        finally:
            sys.modules["__main__"] = main


class _Context(SpawnContext):
    """Starts `_Process`."""

    Process = _Process
