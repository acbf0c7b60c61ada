"""Commands of ``gan`` in forks of one prepared process, so that a test of the command line costs no import of torch.

    done = run_gan(["plugins", "--json"], environment)

Each worker of pytest has one such process from the first call on.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

LONGEST = 300
"""Seconds after which a command is ended by an alarm."""


def run_gan(arguments: Sequence[str | Path], environment: Mapping[str, str], cwd: Path | None = None) -> Done:
    """``gan ARGUMENTS`` in the folder `cwd`, by default that of this process, and in an environment given whole.

    Folders of its ``PYTHONPATH`` are searched first, as by a Python of its own.
    """
    words = [str(argument) for argument in arguments]
    with tempfile.TemporaryDirectory() as folder:
        process = _server()
        request = {"arguments": words, "environment": dict(environment), "cwd": str(cwd or Path.cwd()), "out": folder}
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        answer = process.stdout.readline()
        if not answer:
            raise OSError("the prepared process has died")
        out, err = ((Path(folder) / name).read_text(encoding="utf-8") for name in ("out", "err"))
    code, megabytes, computing = answer.split()
    done = Done(["gan", *words], int(code), out, err)
    done.megabytes, done.computing = int(megabytes), float(computing)
    return done


class Done(subprocess.CompletedProcess[str]):
    """A command that has ended."""

    megabytes: int
    """Largest memory of its process, which began with that of the prepared one."""
    computing: float
    """Seconds of computing time."""


@functools.cache
def _server() -> Any:
    process = subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )

    def stop() -> None:
        process.stdin.close()
        process.wait()
        process.stdout.close()

    atexit.register(stop)
    return process


def _serve() -> None:
    import gan.training.session  # noqa: F401
    from gan import cli
    from gan.reporting import plots  # noqa: F401

    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            _live(request, cli.main)
        _, status, usage = os.wait4(child, 0)
        computing = usage.ru_utime + usage.ru_stime
        print(os.waitstatus_to_exitcode(status), usage.ru_maxrss // 1024, computing, flush=True)


def _live(request: dict[str, Any], main: Any) -> None:
    """In the fork: take over the streams, the folder and the environment, run the command, leave."""
    code = 70
    try:
        signal.setitimer(signal.ITIMER_REAL, LONGEST)  # nothing handles SIGALRM: it is a kill
        for number, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(Path(request["out"]) / name, os.O_WRONLY | os.O_CREAT), number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        os.chdir(request["cwd"])
        os.environ.clear()
        os.environ.update(request["environment"])
        sys.path[:0] = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
        try:
            main(request["arguments"])
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
        sys.stdout.flush()
    except BaseException:  # noqa: BLE001  (what a Python of its own would print)
        import traceback

        code = 1
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve()
