"""Readers run in workers with limits: what hangs, takes all memory or crashes costs one file (rule L6)."""

from __future__ import annotations

import faulthandler
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from gan.data import bounded
from gan.data.bounded import read_with
from gan.errors import BadData
from gan.source import SourceFile

pytestmark = [
    pytest.mark.rule("L6"),
    pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux only"),
]


def files(tmp_path, count):
    return [SourceFile(f"{number}", tmp_path / f"{number}", None, 10) for number in range(count)]


def lives(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def children():
    """Processes of this one, also those that have ended and are not waited for."""
    return set(Path("/proc/thread-self/children").read_text().split())


def number(file):
    return [{"value": np.array([int(file.name)], np.int32), "flag": np.array(True), "none": np.zeros((0, 3))}]


def crash(file):
    faulthandler.disable()  # of pytest, which would print the stack of the worker
    os.abort()


def spin(file):
    while True:
        pass


def sleep(file):
    time.sleep(1000)


def fill(file):
    kept = []
    while True:
        kept.append(np.empty(1 << 26, np.uint8))  # not written: page faults alone can take the time of a file


def leave(file):
    os._exit(3)


def refuse(file):
    raise BadData("no good")


def objects(file):
    return [{"value": np.array([object()])}]


def test_samples_come_back_as_they_were_and_in_order(tmp_path):
    listed = files(tmp_path, 50)
    read = list(read_with(number, listed))
    assert [file for file, _, _ in read] == listed
    assert all(reason is None for _, _, reason in read)
    assert [int(samples[0]["value"][0]) for _, samples, _ in read] == list(range(50))
    first = read[0][1][0]
    assert (first["value"].dtype, first["flag"].shape, first["none"].shape) == (np.int32, (), (0, 3))


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (crash, "its reader crashed (SIGABRT)"),
        (spin, "needs more than 0 seconds of computing time"),
        (sleep, "took more than 1 seconds to read"),
        (fill, "needs more memory than is available"),
        (leave, "its reader ended"),
        (refuse, "no good"),
        (objects, "the reader gave no array for 'value'"),
    ],
)
def test_a_bad_file_is_skipped_with_its_reason_and_the_others_are_read(bad, reason, tmp_path, monkeypatch):
    monkeypatch.setattr(bounded, "SECONDS", 0.3)
    monkeypatch.setattr(bounded, "WAITING", 3.0 if bad is sleep else 300.0)
    monkeypatch.setattr(bounded, "MEMORY", 256 << 20)

    def task(file):
        return bad(file) if file.name in ("3", "7") else number(file)

    outcomes = {file.name: (samples, why) for file, samples, why in read_with(task, files(tmp_path, 12))}
    assert len(outcomes) == 12
    for name, (samples, why) in outcomes.items():
        if name in ("3", "7"):
            assert not samples
            assert reason in why
        else:
            assert (len(samples), why) == (1, None)


def test_a_worker_that_computes_on_a_busy_machine_is_waited_for(tmp_path, monkeypatch):
    """It sleeps for most of the time, as if others had the processor: 0.6 seconds, 0.2 of which it computes."""
    monkeypatch.setattr(bounded, "SECONDS", 1.0)
    monkeypatch.setattr(bounded, "WAITING", 0.2)

    def slowly(file):
        for _ in range(10):
            start = time.process_time()
            while time.process_time() < start + 0.02:
                pass
            time.sleep(0.04)
        return number(file)

    ((_, samples, reason),) = read_with(slowly, files(tmp_path, 1))
    assert (len(samples), reason) == (1, None)


def test_nothing_is_left_when_the_reader_of_the_results_stops_early(tmp_path):
    others = children()
    reading = read_with(number, files(tmp_path, 100))
    next(reading)
    before, workers = len(os.listdir("/proc/self/fd")), children() - others
    assert workers
    reading.close()
    assert len(os.listdir("/proc/self/fd")) < before
    assert not children() & workers


def test_workers_end_with_their_parent(tmp_path):
    """The parent is killed while its worker sleeps."""
    program = (
        "import os, sys, time\n"
        "from pathlib import Path\n"
        "from gan.data.bounded import read_with\n"
        "from gan.source import SourceFile\n"
        "def task(file):\n"
        f"    Path({str(tmp_path / 'pid')!r}).write_text(str(os.getpid()))\n"
        "    time.sleep(100)\n"
        "list(read_with(task, [SourceFile('a', Path('a'), None, 1)]))\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program])
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        parent.kill()
        parent.wait()
    process = int((tmp_path / "pid").read_text())
    while lives(process):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_file_with_more_samples_than_fit_into_a_worker_is_read_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(bounded, "CHUNK", 1 << 16)
    monkeypatch.setattr(bounded, "MEMORY", 64 << 20)

    def task(file):
        for index in range(200):
            yield {"value": np.full(1 << 18, index, np.int32)}
        if file.name == "1":
            raise BadData("ends too early")

    one, two = read_with(task, files(tmp_path, 2))
    assert [int(sample["value"][-1]) for sample in one[1]] == list(range(200))
    assert two[1:] == ([], "ends too early")
