"""A training that is killed, runs out of disk or loses power ends as if nothing had happened, once it is resumed.

The ordinary tests take some of the moments; those marked slow take every one.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import time

import pytest
from fault_injection import VARIANTS, PowerCut, newest, spread


def kill_and_resume(runs, at):
    run = runs.new()
    life = runs.start(run, mode="kill", at=at)
    assert life.code == -9
    if run.exists():
        assert newest(run) >= life.saved  # what was announced is there
    runs.check_equal(run, runs.go_on(run))


@pytest.mark.rule("R2", "R13", "R1")
def test_killed_at_some_calls(runs):
    for at in spread(runs.kills, 7):
        kill_and_resume(runs, at)
    assert runs.resumed > 0, "no life went on from a checkpoint: the test shows nothing"


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.rule("R2", "R13", "R1", "R12")
def test_killed_at_every_call(runs):
    """Writes are torn in the middle; every other call is killed before it happens."""
    before = runs.resumed
    for at in range(1, runs.kills + 1):
        kill_and_resume(runs, at)
    assert runs.resumed - before > runs.kills // 4


@pytest.mark.rule("R2")
def test_killed_while_it_resumes(toy):
    """A second death, in the life that goes on after the first."""
    before = toy.resumed
    for at in (1, 4, 9, 20, 40):
        run = toy.new()
        assert toy.start(run, mode="kill", at=toy.kills * 2 // 3).code == -9
        assert toy.go_on(run, mode="kill", at=at).code == -9
        toy.check_equal(run, toy.go_on(run))
    assert toy.resumed - before >= 5


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.rule("R1", "R8")
def test_killed_at_random_times(runs):
    """Lives that die at a random call, or by the clock wherever they are then, until one comes through; over and over,
    twenty deaths in all. The seed is printed; GAN_FAULT_SEED repeats it."""
    seed = int(os.environ.get("GAN_FAULT_SEED", time.time_ns() % 1_000_000))
    print(f"GAN_FAULT_SEED={seed}")
    rng = random.Random(seed)

    def death():
        if rng.random() < 0.5:
            return {"mode": "kill", "at": rng.randint(1, runs.kills)}
        return {"after": rng.uniform(0.01, runs.seconds)}

    before, deaths = runs.resumed, 0
    while deaths < 20:
        run = runs.new()
        life = runs.start(run, **death())
        while life.code:
            assert life.code in (-9, -14), life.errors
            deaths += 1
            life = runs.go_on(run, **death())
        runs.check_equal(run, life)
    assert runs.resumed - before > 5, "hardly a life went on from a checkpoint: the test shows little"


# -- the disk ----------------------------------------------------------------------------------------------------------


def fail_and_resume(runs, mode, at, reason):
    run = runs.new()
    life = runs.start(run, mode=mode, at=at)
    if life.code == 0:  # nothing of this kind came after the call
        return
    assert life.code == 6, life.errors
    (line,) = [line for line in life.errors.splitlines() if line.startswith("error:")]
    assert str(run.parent) in line
    assert reason in line
    assert "Traceback" not in life.errors
    if run.exists():
        assert newest(run) >= life.saved
    unsaved = not any((run / "checkpoints").glob("samples-*"))
    resumed = runs.go_on(run)
    if unsaved:  # records of a training of which nothing could be saved are kept aside, and it begins anew
        for copy in run.glob("metrics.jsonl.damaged-*"):
            copy.unlink()
    runs.check_equal(run, resumed)


FAILURES = {
    "no space": "No space left on device",
    "sync fails": "Input/output error",
    "read-only": "Read-only file system",
}
CONCERNED = {"no space": "CWMR", "sync fails": "S", "read-only": "CWMRUD"}
"""Kinds of calls that fail: creating, writing, making a folder, renaming, syncing, unlinking, deleting a folder."""


@pytest.mark.rule("D1", "D2")
@pytest.mark.parametrize("mode", FAILURES)
def test_a_disk_that_fails_from_some_call_on(toy, mode):
    for at in spread(toy.operations, 6):
        fail_and_resume(toy, mode, at, FAILURES[mode])


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.rule("D1", "D2")
@pytest.mark.parametrize("mode", FAILURES)
def test_a_disk_that_fails_from_any_call_on(runs, mode):
    """No space: every call of the toy that needs some, every third of the others, whose saves only have more files of
    the same kind. The two other failures: every fourth call that they concern."""
    before = runs.resumed
    concerned = [at for at, letter in enumerate(runs.letters, 1) if letter in CONCERNED[mode]]
    step = 4 if mode != "no space" else 1 if runs.recipe.parent.name == "toy" else 3
    for at in concerned[::step]:
        fail_and_resume(runs, mode, at, FAILURES[mode])
    assert runs.resumed > before


@pytest.mark.rule("D1")
def test_short_writes_are_completed(runs):
    run = runs.new()
    life = runs.start(run, mode="short writes")
    assert life.operations > runs.operations
    runs.check_equal(run, life)


@pytest.mark.rule("D3")
def test_a_limit_on_file_sizes_is_a_full_disk(toy):
    run = toy.new()
    life = toy.start(run, patch="gan_faults_patches:small_files")
    assert life.code == 6, life.errors
    assert "File too large" in life.errors
    toy.check_equal(run, toy.go_on(run))


# -- power cuts --------------------------------------------------------------------------------------------------------


def cut_and_resume(runs, cut, length, variant, seen=None):
    """`seen` remembers the disks that were resumed from: two moments that leave the same one are one case."""
    run = runs.new()
    cut.write(length, variant, run.parent, seed=length)
    announced = cut.announced(length)
    if announced >= 0:
        assert newest(run) >= announced
    disk = content(run.parent)
    if seen is not None and disk in seen:
        shutil.rmtree(run.parent)
        return
    runs.check_equal(run, runs.go_on(run))
    if seen is not None:
        seen.add(disk)


def content(folder):
    """A hash of all names and files in a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        digest.update(f"{path.relative_to(folder)}\0{path.is_dir()}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest() if path.is_file() else b"")
    return digest.hexdigest()


@pytest.mark.rule("R3")
@pytest.mark.parametrize("variant", VARIANTS)
def test_power_cuts_at_some_moments(toy, variant):
    cut = PowerCut(toy.work / "log", toy.log_root)
    before = toy.resumed
    for length in spread(len(cut), 6):
        cut_and_resume(toy, cut, length, variant)
    assert toy.resumed > before


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.rule("R3")
@pytest.mark.parametrize("variant", VARIANTS)
def test_power_cuts_at_every_moment(runs, variant):
    """After each call of a run, unless the disk is one that was resumed from already (syncs alone change what survives
    where names are lost)."""
    cut = PowerCut(runs.work / "log", runs.log_root)
    before, seen = runs.resumed, set()
    for length in range(1, len(cut) + 1, 1 if variant != "names mixed" else 3):
        cut_and_resume(runs, cut, length, variant, seen)
    assert len(seen) > 20
    assert runs.resumed - before > len(seen) // 3


# -- damage ------------------------------------------------------------------------------------------------------------


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    path.write_bytes(content)


DAMAGE = {
    "a flipped bit in weights": lambda folder: flip(folder / "architecture.safetensors"),
    "a flipped bit in an optimiser": lambda folder: flip(next(folder.glob("optimizer-*.safetensors"))),
    "a flipped bit in the manifest": lambda folder: flip(folder / "manifest.json"),
    "weights cut short": lambda folder: os.truncate(folder / "architecture.safetensors", 100),
    "weights empty": lambda folder: os.truncate(folder / "architecture.safetensors", 0),
    "weights missing": lambda folder: (folder / "architecture.safetensors").unlink(),
    "the place missing": lambda folder: (folder / "progress.json").unlink(),
    "the manifest missing": lambda folder: (folder / "manifest.json").unlink(),
    "the manifest empty": lambda folder: os.truncate(folder / "manifest.json", 0),
    "a folder without files": lambda folder: [path.unlink() for path in folder.iterdir()],
    "a file for a folder": lambda folder: [shutil.rmtree(folder), folder.write_text("")],
}


@pytest.mark.rule("R11")
@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_newest_checkpoint(toy, kind):
    damage_and_resume(toy, kind)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.rule("R11")
def test_every_damage_for_every_recipe(runs):
    for kind in DAMAGE:
        damage_and_resume(runs, kind)


def damage_and_resume(runs, kind):
    run = runs.new()
    assert runs.start(run, mode="kill", at=runs.kills * 3 // 4).code == -9
    kept = sorted((run / "checkpoints").glob("samples-*"))
    assert len(kept) >= 2
    DAMAGE[kind](kept[-1])
    life = runs.go_on(run)
    warnings = [event["text"] for event in life.events if event["event"] == "warning"]
    assert any(str(kept[-1]) in text and f"continuing from {kept[-2].name}" in text for text in warnings)
    runs.check_equal(run, life)


@pytest.mark.rule("R11")
def test_when_every_checkpoint_is_damaged_it_refuses(toy):
    run = toy.new()
    assert toy.start(run, mode="kill", at=toy.kills * 3 // 4).code == -9
    for folder in (run / "checkpoints").glob("samples-*"):
        flip(folder / "architecture.safetensors")
    life = toy.go_on(run)
    assert life.code == 4
    assert str(run) in life.errors
    assert len(life.errors.splitlines()) == 1
