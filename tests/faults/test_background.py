"""What is written behind the training's back is what the training was when it asked for it."""

from __future__ import annotations

import shutil

import pytest
from fault_injection import final_state, newest


@pytest.mark.rule("R1", "R6", "R7", "R13")
def test_every_checkpoint_leads_to_the_same_end(any_runs):
    """Saved after every iteration by a thread that lags one iteration behind; resumed from each of the checkpoints.

    A tensor that the copy shared with the training (a weight, an average, an optimiser's count, a pool) would be saved
    as it is an iteration later, and the resumed training would end otherwise. The pool of CycleGAN holds 20 pictures
    and is filled at 24 samples, so that some checkpoints are from before, some from after.
    """
    runs = any_runs
    whole = runs.new()
    often = ["--set", "training.checkpoint_ticks=1", "--set", "training.keep_checkpoints=99"]
    arguments = ["run", "--recipe", runs.recipe, "--out", whole, *often]
    life = runs.process.run(arguments, root=whole.parent, patch="gan_faults_patches:lagging_writer")
    assert life.code == 0, life.errors
    expected = final_state(whole)
    for name in expected:
        if name.endswith(".safetensors"):
            assert expected[name] == runs.is_baseline[name], name
    places = [int(path.name.removeprefix("samples-")) for path in sorted((whole / "checkpoints").iterdir())]
    assert places == list(range(0, places[-1] + 1, 8))
    assert len(places) >= 5
    for place in places[:-1]:
        run = runs.new()
        shutil.copytree(whole, run)
        (run / "evaluation" / "result.json").unlink()
        for path in (run / "checkpoints").iterdir():
            if int(path.name.removeprefix("samples-")) > place:
                shutil.rmtree(path)
        life = runs.go_on(run)
        assert (life.code, life.started_from) == (0, place), life.errors
        found = final_state(run)
        assert [name for name in expected if found.get(name) != expected[name]] == []
        shutil.rmtree(run.parent)
    shutil.rmtree(whole.parent)


@pytest.mark.rule("R4", "R7")
@pytest.mark.parametrize("saved", ["0_is", "8_are", "16_are"])
def test_a_stop_that_comes_from_the_thread_that_saves(any_runs, saved):
    """The wish to stop arrives at any point of the training: where it stops then, it goes on exactly."""
    runs = any_runs
    run = runs.new()
    arguments = ["run", "--recipe", runs.recipe, "--out", run, "--set", "training.checkpoint_ticks=1"]
    life = runs.process.run(arguments, root=run.parent, patch=f"gan_faults_patches:stop_when_{saved}_saved")
    assert life.code in (75, 0), (life.code, life.errors)
    assert newest(run) == life.saved
    if life.code == 75:
        life = runs.go_on(run)
        assert life.code == 0, life.errors
    found = final_state(run)
    unlike = [name for name in runs.is_baseline if found.get(name) != runs.is_baseline[name]]
    # samples say with which recipe they were made
    assert [name for name in unlike if name != "recipe.yaml" and not name.startswith("samples/")] == []
    shutil.rmtree(run.parent)
