"""Several processes that train together, one of which dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from fault_injection import final_state, newest
from safetensors.torch import load

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


def together(toy, out, *more, patch=""):
    """`gan run` of the toy's recipe in two processes; what was said in all."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(toy.process.work / "site"),
        "GAN_CACHE": str(toy.process.work / "cache"),
        "OMP_NUM_THREADS": "1",
        "GAN_FAULT_PATCH": patch,
    }
    launcher = [*LAUNCHER]
    launcher[launcher.index("--max-restarts") + 1] = "0"
    command = [*launcher, "run", "--recipe", str(toy.recipe), "--out", str(out), *more]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.rule("D5")
@pytest.mark.parametrize("tick", [8, 80])
def test_memory_that_runs_out_in_one_process_halves_the_parts_of_both(toy, tmp_path, tick):
    """Asked at a tick, and every 16 iterations. The toy has no statistics of the batch: from the first step on it is
    the very training that was planned with these parts."""
    length = ("--set", f"training.tick={tick}", "--samples", "320")
    code, said = together(toy, tmp_path / "run", *length, patch="little_memory_on_one")
    assert code == 0, said
    assert said.count("out of memory at") == 1
    assert "training.micro_batch=2" in said
    code, said = together(toy, tmp_path / "planned", *length, "--set", "training.micro_batch=2")
    assert code == 0, said
    one, other = final_state(tmp_path / "run"), final_state(tmp_path / "planned")
    for name in ("architecture.safetensors", "average-generator.safetensors", "metrics.jsonl"):
        assert one[name] == other[name], name


@pytest.mark.slow
@pytest.mark.rule("D5")
def test_memory_that_one_process_lacks_altogether_stops_both_with_the_last_checkpoint(toy, tmp_path):
    code, said = together(toy, tmp_path / "run", patch="no_memory_on_one")
    assert code != 0
    assert said.count("out of memory at 32 samples") >= 1
    assert "training.batch" in said
    assert newest(tmp_path / "run") == 16


@pytest.mark.slow
@pytest.mark.rule("N1", "N2")
@pytest.mark.parametrize("patch", ["bad_on_one_until_rolled_back", "bad_weights"])
def test_two_processes_go_back_together(toy, tmp_path, patch):
    """Infinite gradients of one process, and weights that the first one finds infinite when it saves; both go back, and
    the end is that of one process alone that went back, up to rounding."""
    code, said = together(toy, tmp_path / "two", "--set", "training.max_skips=1", patch=patch)
    assert code == 0, said
    assert said.count("Rolled back to samples-0000000") == 1
    alone = toy.new()
    arguments = ["run", "--recipe", toy.recipe, "--out", alone, "--set", "training.max_skips=1"]
    on_one = patch.replace("_on_one", "")
    life = toy.process.run(arguments, root=alone.parent, patch=f"gan_faults_patches:{on_one}")
    assert life.code == 0, life.errors
    one, other = (load(final_state(run)["architecture.safetensors"]) for run in (tmp_path / "two", alone))
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], rtol=1e-4, atol=1e-5)


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


@pytest.mark.slow
@pytest.mark.rule("L10")
def test_the_last_words_of_torchrun_are_the_users_one_line(toy, tmp_path):
    """Said first, by one process, and last: after it torchrun only closes its frame. The other process is not counted
    as failed."""
    code, said = together(toy, tmp_path / "run", "--set", "training.batch=-4")
    assert code != 0
    mistake = "error: 'training.batch' cannot be -4: input should be greater than 0"
    first, *_, line, end = said.splitlines()
    assert first == mistake
    assert line.strip() == f"traceback : {mistake}"
    assert set(end) == {"="}
    assert said.count(mistake) == 2  # when it happened, and last
    assert "rank      : 1" not in said
    assert not (tmp_path / "run").exists()
