"""Several processes that train together, one of which dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from gan.testing.faults import final_state, newest

LAUNCHER = [
    sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--local-addr", "127.0.0.1",
    "--max-restarts", "2", "-m", "gan",
]  # fmt: skip


def children(parent: int) -> dict[int, dict[str, str]]:
    """Process -> environment of the children of a process of ours."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(status[1]) == parent:
                pairs = (folder / "environ").read_text(errors="replace").split("\0")
                found[int(folder.name)] = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
        except OSError:
            continue
    return found


@pytest.mark.slow
@pytest.mark.rule("R18", "R14")
def test_a_process_that_is_killed_is_started_again_and_the_end_is_the_same(toy, tmp_path):
    """torchrun repeats its command; the second time it is a resume. Killed: rank 1, after a checkpoint was saved."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(toy.process.work / "site"),
        "GAN_CACHE": str(toy.process.work / "cache"),
        "OMP_NUM_THREADS": "1",
    }
    arguments = ["run", "--recipe", str(toy.recipe), "--quiet", "--samples", "16000", "--set", "training.tick=800"]
    whole, run = tmp_path / "whole", tmp_path / "run"
    subprocess.run([*LAUNCHER, *arguments, "--out", str(whole)], env=environment, check=True, timeout=500)
    with open(tmp_path / "log", "w") as log:
        launcher = subprocess.Popen([*LAUNCHER, *arguments, "--out", str(run)], env=environment, stderr=log)
        killed_at = -1
        try:
            deadline = time.monotonic() + 300
            while time.monotonic() < deadline and launcher.poll() is None:
                time.sleep(0.05)
                if (run / "checkpoints").exists() and len(list((run / "checkpoints").glob("samples-*"))) >= 2:
                    (victim,) = [pid for pid, env in children(launcher.pid).items() if env.get("RANK") == "1"]
                    os.kill(victim, signal.SIGKILL)
                    killed_at = newest(run)
                    break
            code = launcher.wait(timeout=300)
        finally:
            launcher.kill()
            launcher.wait()
    assert 0 < killed_at < 16000
    assert code == 0, (tmp_path / "log").read_text()
    one, other = final_state(run), final_state(whole)
    assert [name for name in other if one.get(name) != other[name]] == []
