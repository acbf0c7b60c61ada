"""A run folder: its names, its lock, its record of numbers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from gan.errors import RunLocked, UsageError
from gan.storage.durable import ASIDE
from gan.storage.run_folder import RunFolder

HOLD = """
import sys, time
from pathlib import Path
from gan.storage.run_folder import RunFolder
with RunFolder(Path(sys.argv[1])).lock():
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_next_path_counts_on(tmp_path):
    assert RunFolder.next_path(tmp_path / "runs", "music", "gru").name == "music-gru-0001"
    (tmp_path / "music-gru-0007").mkdir()
    (tmp_path / "music-gru-x").mkdir()
    (tmp_path / "music-grunt-0042").mkdir()
    assert RunFolder.next_path(tmp_path, "music", "gru") == tmp_path / "music-gru-0008"


def test_a_run_is_made_once_and_opened_again(tmp_path):
    path = tmp_path / "runs" / "a"
    run = RunFolder.create(path)
    with pytest.raises(UsageError, match="not a run folder"):
        RunFolder.open(path)
    run.recipe.write_text("plugin: toy\n")
    assert RunFolder.open(path).recipe == path / "recipe.yaml"
    with pytest.raises(UsageError, match="gan resume"):
        RunFolder.create(path)
    with pytest.raises(UsageError, match="is not a folder"):
        RunFolder.open(tmp_path / "none")


def test_a_folder_with_other_things_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(UsageError, match="not empty"):
        RunFolder.create(tmp_path)
    with pytest.raises(UsageError, match="is not a folder"):
        RunFolder.create(tmp_path / "thesis.tex")
    assert os.listdir(tmp_path) == ["thesis.tex"]


@pytest.mark.rule("R2")
def test_what_a_killed_creation_left_is_swept(tmp_path):
    (tmp_path / (ASIDE + "recipe.yaml-1-0")).write_text("plu")
    RunFolder.create(tmp_path).claim()
    assert os.listdir(tmp_path) == []


@pytest.mark.rule("R14")
def test_a_second_process_is_refused_at_once_and_a_killed_one_does_not_block(tmp_path):
    run = RunFolder.create(tmp_path / "run")
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(run.path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        start = time.monotonic()
        with pytest.raises(RunLocked, match="in use by process") as refused, run.lock():
            pass
        assert time.monotonic() - start < 30
        assert refused.value.exit_code == 7
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        holder.stdout.close()
    with run.lock():
        pass
    assert os.listdir(run.path) == []


@pytest.mark.rule("R14")
def test_a_child_that_outlives_a_killed_process_does_not_keep_its_lock(tmp_path):
    run = RunFolder.create(tmp_path / "run")
    fork = HOLD.replace("time.sleep(60)", "os.fork() or print('forked', flush=True)\n    sys.stdin.read(1)")
    holder = subprocess.Popen(
        [sys.executable, "-c", "import os\n" + fork, str(run.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert [holder.stdout.readline() for _ in range(2)] == ["held\n", "forked\n"]
    holder.kill()
    holder.wait()
    try:
        with run.lock():
            pass
    finally:
        holder.stdin.close()  # the child ends with its input
        holder.stdout.close()


@pytest.mark.rule("N4")
def test_rewinding_drops_a_torn_tail_and_what_is_past_the_checkpoint(tmp_path):
    run = RunFolder(tmp_path)
    run.rewind_metrics(0)
    for samples in (100, 200, 300):
        run.append_metrics({"samples": samples, "loss": float("nan")})
    whole = run.metrics.read_bytes()
    run.metrics.write_bytes(whole + b'{"samples": 350, "lo')
    assert [record["samples"] for record in run.read_metrics()] == [100, 200, 300]
    run.rewind_metrics(200)
    lines = run.metrics.read_text().splitlines()
    assert [json.loads(line, parse_constant=pytest.fail) for line in lines] == [
        {"samples": 100, "loss": None},
        {"samples": 200, "loss": None},
    ]
    run.append_metrics({"samples": 300, "loss": None})
    assert run.metrics.read_bytes() == whole


@pytest.mark.rule("R10")
def test_rewinding_to_the_end_leaves_the_file_untouched(tmp_path):
    run = RunFolder(tmp_path)
    run.append_metrics({"samples": 100})
    before = run.metrics.stat()
    run.rewind_metrics(100)
    after = run.metrics.stat()
    assert (before.st_mtime_ns, before.st_ino) == (after.st_mtime_ns, after.st_ino)
