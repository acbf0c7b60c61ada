"""SIGINT and SIGTERM: recorded by the handler, acted on at safe points, and never in the middle of library code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from gan.errors import Stopped
from gan.runtime.signals import StopSignals, check_stop


@pytest.mark.rule("R5")
def test_a_signal_inside_library_code_is_not_raised_there():
    """The lock is released and the list whole: the exception comes at the safe point, not where the signal arrived."""
    signals = StopSignals()
    done = []

    def life():
        with signals.caught():
            for number in (signal.SIGTERM, signal.SIGINT):
                os.kill(os.getpid(), number)
                done.append(number)
            check_stop()

    pytest.raises(Stopped, life).match("stopped by SIGTERM")
    assert done == [signal.SIGTERM, signal.SIGINT]


@pytest.mark.rule("R5")
def test_a_patient_stretch_has_no_safe_points():
    signals = StopSignals()
    with signals.caught(), signals.patient():
        os.kill(os.getpid(), signal.SIGTERM)
        check_stop()
        assert signals()
    check_stop()  # nobody's signals any more


def lives(script: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


@pytest.mark.rule("R4")
def test_code_without_safe_points_is_left_within_the_grace():
    process = lives("""
        import time
        from gan.runtime import signals
        signals.GRACE = 0.3
        with signals.StopSignals().caught():
            print("ready", flush=True)
            while True:
                time.sleep(30)
    """)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    started = time.monotonic()
    _, errors = process.communicate(timeout=120)
    assert time.monotonic() - started < 25
    assert process.returncode == 75
    assert errors == "stopped by SIGTERM; nothing was trained yet; start again\n"


def test_a_forked_child_ends_at_a_signal_and_its_parent_goes_on():
    process = lives("""
        import os, signal, time
        from gan.runtime import signals
        with signals.StopSignals().caught() as _:
            child = os.fork()
            if child == 0:
                time.sleep(60)
            time.sleep(0.2)
            os.kill(child, signal.SIGTERM)
            print(os.waitpid(child, 0)[1])
    """)
    out, errors = process.communicate(timeout=120)
    assert (process.returncode, out) == (0, f"{int(signal.SIGTERM)}\n"), errors
