"""Saves the global state of the process before plugin code runs and restores it afterwards.

Importing a plugin runs third-party code in this process. `isolated` restores random generators, torch's defaults,
signal handlers, the environment, warnings, the working directory and standard output, so that an unused plugin cannot
change a result by accident. It is not a sandbox and does not stop malicious code.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

Restore = Callable[[], None]


@contextlib.contextmanager
def isolated() -> Iterator[None]:
    """Run the body with standard output redirected to standard error, then restore the global state.

    An exception of the body propagates after everything is restored.
    """
    restores = [save() for save in _SAVERS]
    try:
        with warnings.catch_warnings(), _stdout_to_stderr():
            yield
    finally:
        for restore in reversed(restores):
            restore()


def _interpreter() -> Restore:
    limit, hook, display = sys.getrecursionlimit(), sys.excepthook, sys.displayhook
    path, collects, thresholds = list(sys.path), gc.isenabled(), gc.get_threshold()
    trace, profile = sys.gettrace(), sys.getprofile()

    def restore() -> None:
        sys.setrecursionlimit(limit)
        sys.excepthook, sys.displayhook = hook, display
        if sys.path != path:
            sys.path[:] = path
        (gc.enable if collects else gc.disable)()
        gc.set_threshold(*thresholds)
        if sys.gettrace() is not trace:
            sys.settrace(trace)
        if sys.getprofile() is not profile:
            sys.setprofile(profile)

    return restore


def _process() -> Restore:
    environment = dict(os.environ)
    mask = os.umask(0o077)
    os.umask(mask)
    try:
        folder: str | None = os.getcwd()
    except OSError:  # the working directory was deleted
        folder = None

    def restore() -> None:
        if dict(os.environ) != environment:
            os.environ.clear()
            os.environ.update(environment)
        os.umask(mask)
        if folder is not None:
            with contextlib.suppress(OSError):
                os.chdir(folder)

    return restore


def _signals() -> Restore:
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        return lambda: None
    handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}

    def restore() -> None:
        for number, handler in handlers.items():
            if handler is not None and signal.getsignal(number) is not handler:
                signal.signal(number, handler)
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)

    return restore


def _logging() -> Restore:
    root = logging.getLogger()
    handlers, level, disabled = list(root.handlers), root.level, root.manager.disable

    def restore() -> None:
        root.handlers[:] = handlers
        root.setLevel(level)
        root.manager.disable = disabled

    return restore


def _random() -> Restore:
    state = random.getstate()
    return lambda: random.setstate(state)


def _numpy() -> Restore:
    numpy = _loaded("numpy")
    state = numpy.random.get_state() if numpy else None
    errors = numpy.geterr() if numpy else None

    def restore() -> None:
        now = _loaded("numpy")
        if now is None:
            return
        if state is not None:
            now.random.set_state(state)
        now.seterr(**(errors or {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}))

    return restore


def _torch() -> Restore:
    torch = _loaded("torch")
    if torch is None:
        # The body may import torch for the first time: restore the defaults of a fresh import.
        saved: dict[str, Any] = {"seed": 67280421310721, "grad": True, "deterministic": False, "precision": "highest"}
    else:
        saved = {
            "rng": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
            "dtype": torch.get_default_dtype(),
            "device": torch.get_default_device(),
            "grad": torch.is_grad_enabled(),
            "threads": torch.get_num_threads(),
            "deterministic": torch.are_deterministic_algorithms_enabled(),
            "warn_only": torch.is_deterministic_algorithms_warn_only_enabled(),
            "precision": torch.get_float32_matmul_precision(),
            "benchmark": torch.backends.cudnn.benchmark,
        }

    def restore() -> None:
        now = _loaded("torch")
        if now is None:
            return
        if "rng" in saved:
            now.set_rng_state(saved["rng"])
        else:
            now.default_generator.manual_seed(saved["seed"])
        if saved.get("cuda"):
            now.cuda.set_rng_state_all(saved["cuda"])
        now.set_default_dtype(saved.get("dtype", now.float32))
        device = saved.get("device", now.device("cpu"))
        if now.get_default_device() != device:
            now.set_default_device(None if device == now.device("cpu") else device)
        now.set_grad_enabled(saved["grad"])
        if "threads" in saved and now.get_num_threads() != saved["threads"]:
            now.set_num_threads(saved["threads"])
        warn_only = saved.get("warn_only", False)
        mode = (now.are_deterministic_algorithms_enabled(), now.is_deterministic_algorithms_warn_only_enabled())
        if mode != (saved["deterministic"], warn_only):  # setting it imports torch's compiler: seconds
            now.use_deterministic_algorithms(saved["deterministic"], warn_only=warn_only)
        if now.get_float32_matmul_precision() != saved["precision"]:
            now.set_float32_matmul_precision(saved["precision"])
        now.backends.cudnn.benchmark = saved.get("benchmark", False)

    return restore


_SAVERS: tuple[Callable[[], Restore], ...] = (_interpreter, _process, _signals, _logging, _random, _numpy, _torch)


def _loaded(name: str) -> Any:
    """A completely imported module, or None; an import that failed half-way leaves a broken module."""
    module = sys.modules.get(name)
    spec = getattr(module, "__spec__", None)
    return None if module is None or getattr(spec, "_initializing", False) else module


@contextlib.contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """Redirect the standard output of Python, C code and child processes to standard error."""
    stdout, stderr, stdin = sys.stdout, sys.stderr, sys.stdin
    copy: int | None = None
    with contextlib.suppress(OSError, ValueError):
        if stdout is not None:
            stdout.flush()
        copy = os.dup(1)
        os.dup2(2, 1)
    sys.stdout = stderr
    try:
        yield
    finally:
        sys.stdout, sys.stderr, sys.stdin = stdout, stderr, stdin
        if copy is not None:
            with contextlib.suppress(OSError):
                os.dup2(copy, 1)
            os.close(copy)
