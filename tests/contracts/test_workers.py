"""Worker processes: they end with their parent, and a script needs no guard for them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

SCRIPT = """
from gan.contracts.workers import workers
import os, time
with workers(2) as pool:
    numbers = {pool.submit(os.getpid).result() for _ in range(4)}
    print(*numbers, flush=True)
    if "wait" in os.environ:
        list(pool.map(time.sleep, [60, 60]))
"""


def start(tmp_path, **environment):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, **environment}
    return subprocess.Popen([sys.executable, script], env=environment, text=True, stdout=subprocess.PIPE)


@pytest.mark.rule("L9")
def test_a_script_needs_no_main_guard(tmp_path):
    process = start(tmp_path)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert len(out.splitlines()) == 1  # the script ran once


@pytest.mark.rule("R1")
def test_workers_die_with_a_killed_parent(tmp_path):
    process = start(tmp_path, wait="yes")
    numbers = [int(word) for word in process.stdout.readline().split()]
    assert numbers
    process.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 60
    while any(_alive(number) for number in numbers):
        assert time.monotonic() < deadline, "a worker survived"
        time.sleep(0.05)


def _alive(number: int) -> bool:
    try:
        with open(f"/proc/{number}/stat") as status:
            return status.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
