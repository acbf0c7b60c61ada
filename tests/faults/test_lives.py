"""Stopping, going on, going back: what a run does between its lives, and what it refuses."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time

import pytest
import yaml
from fault_injection import final_state, newest
from gan.errors import RunLocked
from gan.storage.run_folder import RunFolder


def half_done(runs):
    """A run that was killed after some checkpoints."""
    run = runs.new()
    assert runs.start(run, mode="kill", at=runs.kills * 2 // 3).code == -9
    return run


# -- signals -----------------------------------------------------------------------------------------------------------


@pytest.mark.rule("R4", "R5")
def test_a_signal_saves_and_stops_with_75(runs):
    """SIGTERM in a step at 16 samples: the step ends, the state at 24 is saved, the next life goes on from there."""
    run = runs.new()
    life = runs.start(run, patch="gan_faults_patches:signal_in_a_step")
    assert life.code == 75, (life.code, life.errors)
    where = re.search(r"stopped by SIGTERM and saved at (\d+) samples; continue with: gan resume", life.errors)
    assert int(where[1]) == newest(run) == life.saved == 24
    assert json.loads((run / "manifest.json").read_text())["exit"] == "stopped by SIGTERM"
    life = runs.go_on(run)
    assert (life.code, life.started_from) == (0, 24), life.errors
    found = final_state(run)
    assert [name for name in runs.is_baseline if found.get(name) != runs.is_baseline[name]] == []


@pytest.mark.rule("R4", "R5")
def test_signals_at_every_point_of_a_life(toy):
    """SIGTERM at one of its calls, and SIGINT three calls later, while it saves."""
    saved = 0
    for call in (1, 20, 60, 110, 170, 230):
        run = toy.new()
        life = toy.start(run, mode="signals", at=call)
        assert life.code in (75, 0), (call, life.code, life.errors)
        saved += "and saved at" in life.errors
        if not (run / "recipe.yaml").exists():
            assert "start again" in life.errors or "continue with" in life.errors
        life = toy.go_on(run)
        assert life.code == 0, life.errors
        found = final_state(run)
        assert [name for name in toy.is_baseline if found.get(name) != toy.is_baseline[name]] == []
    assert saved > 0


# -- the lock ----------------------------------------------------------------------------------------------------------


@pytest.mark.rule("R14")
def test_a_run_in_use_is_refused(toy):
    run = half_done(toy)
    with RunFolder(run).lock():
        start = time.monotonic()
        life = toy.go_on(run)
        assert time.monotonic() - start < 120
    assert life.code == 7
    assert len(life.errors.splitlines()) == 1
    assert str(run) in life.errors
    toy.check_equal(run, toy.go_on(run))


@pytest.mark.rule("R14")
def test_two_threads_of_one_process_count_too(tmp_path):
    with RunFolder(tmp_path).lock():
        found = []
        thread = threading.Thread(
            target=lambda: found.append(pytest.raises(RunLocked, RunFolder(tmp_path).lock().__enter__))
        )
        thread.start()
        thread.join()
        assert len(found) == 1


# -- what changed ------------------------------------------------------------------------------------------------------


def refused(life, *texts):
    assert life.code == 4, (life.code, life.errors)
    for text in (*texts, "--force"):
        assert text in life.errors
    assert len(life.errors.splitlines()) == 1


@pytest.mark.rule("R15")
def test_another_batch_is_refused_until_forced(toy):
    run = half_done(toy)
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    recipe["training"]["batch"] = 4
    (run / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    refused(toy.go_on(run), "recipe.training.batch: 8 -> 4")
    life = toy.go_on(run, "--force")
    assert life.code == 0, life.errors
    assert any("batch: 8 -> 4" in event["text"] for event in life.events if event["event"] == "warning")


@pytest.mark.rule("R15")
def test_another_architecture_never_loads_half(toy):
    run = half_done(toy)
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    recipe["model"]["hidden"] = 9
    (run / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    refused(toy.go_on(run), "recipe.model.hidden: 8 -> 9")
    life = toy.go_on(run, "--force")
    assert life.code == 4
    assert "has shape" in life.errors


@pytest.mark.rule("R15")
def test_another_version_of_a_plugin_is_refused(toy):
    run = half_done(toy)
    life = toy.go_on(run, patch="gan_faults_patches:new_version")
    refused(life, "distributions.gan-toy: 1.0 -> 9.9")
    toy.check_equal(run, toy.go_on(run))


@pytest.mark.rule("R15", "I9")
def test_other_data_are_refused_and_the_same_elsewhere_are_not(toy, tmp_path):
    folder = tmp_path / "points"
    folder.mkdir()
    for number in range(4):
        (folder / f"{number}.csv").write_text("".join(f"{number},{row}\n" for row in range(4)))
    (folder / "bad.csv").write_text("no numbers\n")
    arguments = ["run", "--recipe", toy.recipe, "--data", folder]
    run, whole = toy.new(), toy.new()
    assert toy.process.run([*arguments, "--out", whole], root=whole.parent).code == 0
    life = toy.process.run([*arguments, "--out", run], root=run.parent, mode="kill", at=toy.kills * 2 // 3)
    assert life.code == -9
    (folder / "4.csv").write_text("5,5\n")
    refused(toy.go_on(run), "data.files: 4 -> 5", "data.fingerprint")
    (folder / "4.csv").unlink()
    moved = tmp_path / "moved"
    folder.rename(moved)
    (run / "recipe.yaml").write_text((run / "recipe.yaml").read_text().replace(str(folder), str(moved)))
    assert toy.go_on(run).code == 0
    skipped = json.loads((run / "manifest.json").read_text())["data"]["skipped"]
    assert skipped == json.loads((whole / "manifest.json").read_text())["data"]["skipped"]
    assert "holds no numbers" in skipped["bad.csv"]
    one, other = final_state(run), final_state(whole)
    unlike = [name for name in other if one.get(name) != other[name]]  # samples say with which recipe they were made
    assert [name for name in unlike if name != "recipe.yaml" and not name.startswith("samples/")] == []


@pytest.mark.rule("R15")
def test_what_does_not_change_the_training_may_change(toy):
    run = half_done(toy)
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    recipe["training"]["keep_checkpoints"] = 5
    recipe["evaluation"]["artefacts"] = 2
    (run / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert toy.go_on(run).code == 0
    assert final_state(run)["architecture.safetensors"] == toy.is_baseline["architecture.safetensors"]


@pytest.mark.rule("R10")
def test_resuming_a_finished_run_changes_nothing(toy):
    run = toy.new()
    assert toy.start(run).code == 0
    before = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in run.rglob("*")}
    life = toy.go_on(run)
    assert life.code == 0
    assert any("is finished" in event.get("text", "") for event in life.events)
    assert {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in run.rglob("*")} == before


@pytest.mark.rule("R10")
def test_a_finished_run_can_be_made_longer(toy):
    run, whole = toy.new(), toy.new()
    assert toy.start(run).code == 0
    text = (run / "recipe.yaml").read_text()
    longer = text.replace("samples: 48", "samples: 64")
    assert longer != text
    (run / "recipe.yaml").write_text(longer)
    refused(toy.go_on(run), "48 -> 64")
    assert toy.go_on(run, "--force").code == 0
    life = toy.process.run(["run", "--recipe", run / "recipe.yaml", "--out", whole], root=whole.parent)
    assert life.code == 0
    one, other = final_state(run), final_state(whole)
    assert [name for name in other if one.get(name) != other[name] and name != "names"] == []


# -- what must not matter ----------------------------------------------------------------------------------------------


@pytest.mark.rule("R9")
def test_looking_more_often_changes_no_weight(toy):
    """Previews, metrics and random numbers drawn between the steps, and checkpoints twice as often."""
    run = toy.new()
    arguments = ["run", "--recipe", toy.recipe, "--out", run, "--set", "training.checkpoint_ticks=1"]
    life = toy.process.run(arguments, root=run.parent, patch="gan_faults_patches:wild_habits")
    assert life.code == 0, life.errors
    found = final_state(run)
    for name in toy.is_baseline:
        if name.endswith(".safetensors") or name == "metrics.jsonl":
            assert found[name] == toy.is_baseline[name], name


@pytest.mark.rule("V2")
def test_the_record_is_there_from_the_start_and_closed_at_the_end(toy):
    """Killed, it says that nothing ended; resumed and finished, when, why and from where."""
    run = half_done(toy)
    record = json.loads((run / "manifest.json").read_text())
    assert (record["ended"], record["exit"], record["resumed"]) == (None, None, [])
    assert record["command"][-1] != ""
    for part in ("versions", "machine", "determinism", "recipe", "seed", "device"):
        assert record[part] not in (None, {}, ""), part
    assert len(record["data"]["fingerprint"]) == 64
    life = toy.go_on(run)
    closed = json.loads((run / "manifest.json").read_text())
    assert closed["exit"] == "finished"
    assert closed["samples"] == 48
    assert record["started"] == closed["started"] <= closed["ended"]
    (resumed,) = closed["resumed"]
    assert resumed["samples"] == life.started_from
    toy.check_equal(run, life)


@pytest.mark.rule("V3", "V1")
def test_a_run_is_done_again_from_its_recipe(runs):
    first, again = runs.new(), runs.new()
    assert runs.start(first).code == 0
    life = runs.process.run(["run", "--recipe", first / "recipe.yaml", "--out", again], root=again.parent)
    assert [event for event in life.events if event["event"] == "warning"] == []
    runs.check_equal(again, life)


@pytest.mark.rule("V3")
def test_doing_a_run_again_warns_of_other_versions(toy):
    first, again = toy.new(), toy.new()
    assert toy.start(first).code == 0
    manifest = json.loads((first / "manifest.json").read_text())
    manifest["versions"]["torch"] = "1.13.1"
    del manifest["seal"], manifest["sealed"]  # as of a version that wrote none
    (first / "manifest.json").write_text(json.dumps(manifest))
    life = toy.process.run(["run", "--recipe", first / "recipe.yaml", "--out", again], root=again.parent)
    (warning,) = [event["text"] for event in life.events if event["event"] == "warning"]
    assert "torch 1.13.1 -> " in warning
    toy.check_equal(again, life)


@pytest.mark.slow
@pytest.mark.rule("V1")
def test_the_surroundings_do_not_matter(toy, tmp_path):
    """Another hash seed, locale, time zone, folder, umask, home; and the data's files made in another order."""
    states = []
    for number, seed in enumerate(("5", "5", "6")):
        home = tmp_path / f"home-{number}"
        data = home / "data"
        data.mkdir(parents=True)
        names = [f"{index}.csv" for index in range(6)]
        for name in names if number else reversed(names):
            (data / name).write_text("".join(f"{name[0]},{row}\n" for row in range(4)))
        changed = {
            "PYTHONHASHSEED": str(number + 1),
            "TZ": ["UTC", "Pacific/Kiritimati", "America/St_Johns"][number],
            "LC_ALL": ["C", "C.UTF-8", "C"][number],
            "HOME": str(home),
            "GAN_CACHE": str(home / "cache"),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(toy.process.work / "site"),
        }
        command = [sys.executable, "-m", "gan", "run", "--recipe", str(toy.recipe), "--data", "data", "--out", "run"]
        subprocess.run(
            [*command, "--seed", seed, "--quiet"],
            env={**os.environ, **changed},
            cwd=home,
            umask=[0o022, 0o077, 0o002][number],
            check=True,
        )
        states.append(final_state(home / "run"))
    assert states[0] == states[1]
    assert states[2]["architecture.safetensors"] != states[0]["architecture.safetensors"]


# -- numbers and memory ------------------------------------------------------------------------------------------------


@pytest.mark.rule("N1")
def test_one_loss_that_is_no_number_is_skipped(toy):
    """NaN at one step: that update is not made, the run ends well, and nothing but numbers is on record."""
    run = toy.new()
    life = toy.start(run, patch="gan_faults_patches:one_bad_loss")
    assert life.code == 0, life.errors
    records = [
        json.loads(line, parse_constant=pytest.fail) for line in (run / "metrics.jsonl").read_text().splitlines()
    ]
    assert [record["skipped"] for record in records] == [0, 0, 1, 0, 0, 0]
    assert [record["samples"] for record in records] == [8, 16, 24, 32, 40, 48]
    assert final_state(run)["architecture.safetensors"] != toy.is_baseline["architecture.safetensors"]


SKIPS = ("--set", "training.max_skips=1")


def start_with_few_skips(runs, run, patch, **faults):
    arguments = ["run", "--recipe", runs.recipe, "--out", run, *SKIPS]
    return runs.process.run(arguments, root=run.parent, patch=f"gan_faults_patches:{patch}", **faults)


@pytest.mark.rule("N1", "N2")
@pytest.mark.parametrize("patch", ["bad_until_rolled_back", "bad_weights"])
def test_a_training_goes_back_once_and_is_the_same_when_it_is_killed_meanwhile(toy, patch):
    whole = toy.new()
    life = start_with_few_skips(toy, whole, patch)
    assert life.code == 0, life.errors
    (warning,) = [event["text"] for event in life.events if event["event"] == "warning"]
    assert "not finite" in warning
    assert re.search(r"Rolled back to samples-0000000(16|32), once", warning)
    expected = final_state(whole)
    killed = 0
    for at in (toy.kills * part // 20 for part in (10, 12, 14, 17)):
        run = toy.new()
        life = start_with_few_skips(toy, run, patch, mode="kill", at=at)
        killed += life.code == -9
        life = toy.go_on(run, patch=f"gan_faults_patches:{patch}")
        assert life.code == 0, life.errors
        found = final_state(run)
        assert [name for name in expected if found.get(name) != expected[name]] == []
    assert killed > 0


@pytest.mark.rule("N1", "N2", "N3")
def test_numbers_that_fail_for_ever_stop_with_5_and_a_name(toy):
    run = toy.new()
    life = start_with_few_skips(toy, run, "always_bad")
    assert life.code == 5, life.errors
    last = life.errors.splitlines()[-1]
    assert last.startswith("error:")
    for text in ("phase 'adversarial'", "player 'discriminator'", "2 times in a row", "optimizers.discriminator.lr"):
        assert text in last
    assert newest(run) == 32  # nothing reached the weights since 24
    assert "NumericError" in json.loads((run / "manifest.json").read_text())["exit"]
    life = toy.go_on(run)  # the fault is gone: from the last finite one to the end
    assert life.code == 0, life.errors
    assert life.started_from == 32


FP16 = ("--set", "training.precision=fp16")


@pytest.mark.rule("N3", "R6")
def test_the_scale_of_half_precision_is_restored(toy):
    """The scale of the loss was halved by the one step that was not made; a killed and resumed run ends with it too."""
    patch = "gan_faults_patches:one_bad_loss"
    arguments = ["run", "--recipe", toy.recipe, *FP16, "--out"]
    whole, run = toy.new(), toy.new()
    life = toy.process.run([*arguments, whole], root=whole.parent, patch=patch)
    assert life.code == 0, life.errors
    life = toy.process.run([*arguments, run], root=run.parent, mode="kill", at=toy.kills * 3 // 4, patch=patch)
    assert life.code == -9
    life = toy.go_on(run)
    assert life.code == 0, life.errors
    assert life.started_from >= 32
    scales = []
    for folder in (whole, run):
        newest = max((folder / "checkpoints").iterdir())
        scales.append(json.loads((newest / "scaler-generator.json").read_text()))
        assert json.loads((newest / "scaler-discriminator.json").read_text())["scale"] == 2 * scales[-1]["scale"]
    assert scales[0] == scales[1]
    one, other = final_state(run), final_state(whole)
    assert [name for name in other if one.get(name) != other[name]] == []


@pytest.mark.rule("N3")
def test_a_scale_that_is_halved_for_ever_stops_with_5(toy):
    run = toy.new()
    arguments = ["run", "--recipe", toy.recipe, "--out", run, *SKIPS, *FP16]
    life = toy.process.run(arguments, root=run.parent, patch="gan_faults_patches:always_bad")
    assert life.code == 5, (life.code, life.errors)
    assert "player 'discriminator'" in life.errors.splitlines()[-1]


@pytest.mark.rule("D5")
@pytest.mark.parametrize("patch", ["little_memory", "little_memory_on_a_cpu"])
def test_memory_that_runs_out_halves_what_goes_through_at_once(toy, patch):
    """The toy has no statistics of the batch: the gradient of two halves is that of the whole up to rounding."""
    run, planned = toy.new(), toy.new()
    life = toy.start(run, patch=f"gan_faults_patches:{patch}")
    assert life.code == 0, life.errors
    (warning,) = [event["text"] for event in life.events if event["event"] == "warning"]
    assert "out of memory at" in warning
    assert "training.micro_batch=4" in warning
    arguments = ["run", "--recipe", toy.recipe, "--out", planned, "--set", "training.micro_batch=4"]
    assert toy.process.run(arguments, root=planned.parent).code == 0
    one, other = final_state(run), final_state(planned)
    if patch == "little_memory_on_a_cpu":  # from the first step on: the very same
        assert one["architecture.safetensors"] == other["architecture.safetensors"]
        assert one["metrics.jsonl"] == other["metrics.jsonl"]
    close(run, planned)


def close(one, other):
    from safetensors.torch import load

    first, second = (load(final_state(run)["architecture.safetensors"]) for run in (one, other))
    for name, tensor in first.items():
        assert (tensor - second[name]).abs().max() < 1e-6, name


@pytest.mark.rule("D5")
def test_memory_that_does_not_suffice_for_one_sample_stops_with_5(toy):
    run = toy.new()
    life = toy.start(run, patch="gan_faults_patches:no_memory")
    assert life.code == 5, life.errors
    last = life.errors.splitlines()[-1]
    assert "out of memory at 24 samples" in last
    assert "training.batch" in last
    assert newest(run) == 16
    toy.check_equal(run, toy.go_on(run))


@pytest.mark.rule("P6")
def test_a_plugins_mistake_in_mid_training_is_named(toy):
    run = toy.new()
    life = toy.start(run, patch="gan_faults_patches:failing_objective")
    assert life.code == 2
    (line,) = [line for line in life.errors.splitlines() if line.startswith("error:")]
    for text in (
        "toy/mlp",
        "phase 'adversarial'",
        "player 'discriminator'",
        "24 samples",
        "ValueError: the moon is full",
    ):
        assert text in line
    assert "Traceback" not in life.errors
    assert newest(run) == 16
    toy.check_equal(run, toy.go_on(run))
