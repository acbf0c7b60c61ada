"""Numbers that fail, seen from outside: a foreign plugin, a data set, commands, and the files that they leave.

Nothing of the framework is changed here. The data hold points beyond ±5; the architecture of the plugin spoils what it
computes whenever a batch holds one: its loss, only its gradient, or a weight.
"""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
import yaml
from fault_injection import final_state
from gan.testing import install
from safetensors.numpy import load_file

PLUGIN = """
from gan.contracts import ArchitectureEntry
from gan.hookspecs import hookimpl

@hookimpl
def gan_architectures():
    yield ArchitectureEntry(name="spoilt", summary="", target="gan_spoilt_nets:Spoilt", modality="points", paper="none")
"""
NETS = """
from typing import Literal
import torch
from gan.adversarial import adversarial_turns
from gan.game import Phase
from gan.testing.mlp import MLP
from pydantic import Field

class Spoilt(MLP):
    class Config(MLP.Config):
        spoils: Literal["loss", "gradient", "weight"] = Field("loss", description="What is spoilt.")

    def phases(self, loss, penalties):
        def fake(batch):
            made = self.generator(batch.rng.randn(self.config.latent))
            bad = bool((batch[self.field].abs() > 5).any())
            if bad and self.config.spoils == "loss":
                made = made * float("nan")
            elif bad and self.config.spoils == "gradient" and made.requires_grad:
                made.register_hook(lambda gradient: gradient * float("inf"))
            elif bad and self.config.spoils == "weight":
                with torch.no_grad():
                    self.generator[0].weight[0, 0] = float("inf")
            return made

        turns = adversarial_turns(
            loss, penalties, real=lambda batch: batch[self.field], fake=fake, critic=lambda x: self.discriminator(x)
        )
        return [Phase("adversarial", turns)]
"""
SAMPLES, BATCH = 96, 8


@pytest.fixture(scope="module")
def spoilt(process):
    """Makes recipes and starts them; a life's folder is new."""
    install(process.work / "site", "spoilt", {"gan_spoilt.py": PLUGIN, "gan_spoilt_nets.py": NETS})
    made = iter(range(1000))

    class Made:
        def new(self):
            folder = process.work / f"spoilt-{next(made)}"
            folder.mkdir()
            return folder / "run"

        def recipe(self, bad, spoils="loss", **changed):
            """48 points, `bad` of which are far away."""
            folder = process.work / f"data-{next(made)}"
            folder.mkdir()
            rng = np.random.default_rng(0)
            points = rng.uniform(-2, 2, (48, 2))
            points[:bad] = 5.5
            (folder / "points.csv").write_text("".join(f"{x:.4f},{y:.4f}\n" for x, y in points))
            training = {
                "samples": SAMPLES,
                "batch": BATCH,
                "tick": BATCH,
                "checkpoint_ticks": 1,
                "keep_checkpoints": 99,
            }
            values = {
                "plugin": "spoilt",
                "architecture": "spoilt",
                "seed": 3,
                "data": {"source": str(folder)},
                "model": {"hidden": 8, "layers": 1, "spoils": spoils},
                "loss": "non-saturating",
                "evaluation": {"metrics": [], "artefacts": 1, "samples": 8},
                "training": training | changed.pop("training", {}),
                **changed,
            }
            path = folder / "recipe.yaml"
            path.write_text(yaml.safe_dump(values))
            return path

        def start(self, recipe, run, **faults):
            return process.run(["run", "--recipe", recipe, "--out", run], root=run.parent, **faults)

        def go_on(self, recipe, run, **faults):
            if not (run / "recipe.yaml").is_file():
                return self.start(recipe, run, **faults)
            return process.run(["resume", run], root=run.parent, **faults)

    return Made()


def records(run):
    """The lines of the metrics, which must be strict JSON."""
    text = (run / "metrics.jsonl").read_text()
    assert text.endswith("\n")
    return [json.loads(line, parse_constant=pytest.fail) for line in text.splitlines()]


def checkpoints(run):
    """Samples -> the weights of each checkpoint."""
    folders = sorted((run / "checkpoints").iterdir())
    return {int(path.name.rpartition("-")[2]): load_file(path / "architecture.safetensors") for path in folders}


def equal(one, other, prefix):
    return all(np.array_equal(value, other[name]) for name, value in one.items() if name.startswith(prefix))


@pytest.mark.rule("N1")
@pytest.mark.parametrize("spoils", ["loss", "gradient"])
def test_a_step_that_is_not_finite_changes_no_weight_and_is_counted(spoilt, spoils):
    """One far point in 48: with batches of 8, one step in each of the two epochs of 96 samples is spoilt.

    With the loss, both players' updates are left out; with the gradient through the sample, the generator's alone."""
    run = spoilt.new()
    life = spoilt.start(spoilt.recipe(1, spoils), run)
    assert life.code == 0, life.errors
    found = records(run)
    assert [record["samples"] for record in found] == list(range(BATCH, SAMPLES + 1, BATCH))
    skipped = [record["skipped"] for record in found]
    assert Counter(skipped) == ({0: 10, 2: 2} if spoils == "loss" else {0: 10, 1: 2}), skipped
    assert any(skipped[:6])
    assert any(skipped[6:])
    weights = checkpoints(run)
    for before, record in zip(found, found[1:], strict=False):
        one, other = weights[before["samples"]], weights[record["samples"]]
        assert equal(one, other, "generator") == bool(record["skipped"]), record
        assert equal(one, other, "discriminator") == (bool(record["skipped"]) and spoils == "loss"), record


@pytest.mark.rule("N1", "N3")
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_steps_that_are_never_finite_stop_with_5_and_names(spoilt, precision):
    """After `max_skips` the training goes back once, and then stops; the scale of half precision does not fall for
    ever. The message names plugin, phase, player, samples and a remedy."""
    run = spoilt.new()
    recipe = spoilt.recipe(48, training={"max_skips": 3, "precision": precision})
    life = spoilt.start(recipe, run)
    assert life.code == 5, life.errors
    last = life.errors.splitlines()[-1]
    assert last.startswith("error: ")
    for text in ("spoilt/spoilt", "phase 'adversarial'", "player '", "4 times in a row", "samples", "lr"):
        assert text in last, last
    first = checkpoints(run)
    assert all(np.isfinite(value).all() for weights in first.values() for value in weights.values())
    assert spoilt.go_on(recipe, run).code == 5
    assert json.loads((run / "manifest.json").read_text())["exit"].startswith("NumericError")


@pytest.mark.rule("N2")
def test_weights_that_are_not_finite_are_in_no_checkpoint(spoilt):
    """The plugin writes an infinite weight past all gradients, once in each epoch. The second time the run stops."""
    run = spoilt.new()
    recipe = spoilt.recipe(1, "weight")
    life = spoilt.start(recipe, run)
    assert life.code == 5, life.errors
    assert any("Rolled back" in event["text"] for event in life.events if event["event"] == "warning"), life.events
    assert life.errors.splitlines()[-1].startswith("error: spoilt/spoilt: ")
    assert "generator" in life.errors.splitlines()[-1]
    saved = checkpoints(run)
    assert saved
    assert all(np.isfinite(value).all() for weights in saved.values() for value in weights.values())
    again = spoilt.go_on(recipe, run)
    assert again.code == 5
    assert again.started_from == max(saved)  # from the last finite one


@pytest.mark.rule("N3")
def test_a_discriminator_that_has_won_is_named(spoilt):
    """The generator learns nothing and its samples are near 0; all data are at (5.5, 5.5), which is easy to tell."""
    players = {"generator": {"lr": 1e-30}, "discriminator": {"lr": 0.1, "betas": [0.0, 0.9]}}
    recipe = spoilt.recipe(
        48, "gradient", optimizers=players, training={"samples": 20_000, "tick": 800, "checkpoint_ticks": 20}
    )
    values = yaml.safe_load(recipe.read_text()) | {"plugin": "toy", "architecture": "mlp"}
    del values["model"]["spoils"]
    recipe.write_text(yaml.safe_dump(values))
    life = spoilt.start(recipe, spoilt.new())
    assert life.code == 0, life.errors
    (warning,) = [event["text"] for event in life.events if event["event"] == "warning"]
    assert "vanishing-gradient" in warning
    assert "accuracy of discriminator 1.000" in warning


@pytest.mark.rule("N4")
def test_records_are_strict_json_and_one_for_each_tick_after_kills_and_torn_lines(spoilt):
    """Losses that are NaN are on record as null; three kills, each followed by half a line, lose and repeat nothing."""
    recipe = spoilt.recipe(1)
    whole, run = spoilt.new(), spoilt.new()
    assert spoilt.start(recipe, whole).code == 0
    expected = records(whole)
    assert "null" in (whole / "metrics.jsonl").read_text()
    killed = 0
    for at in (90, 90, 90):
        life = spoilt.go_on(recipe, run, mode="kill", at=at)
        killed += life.code == -9
        if (run / "metrics.jsonl").exists():
            with open(run / "metrics.jsonl", "ab") as file:
                file.write(b'{"samples": 9, "loss": Na')
    assert killed == 3
    life = spoilt.go_on(recipe, run)
    assert life.code == 0, life.errors
    assert [record["samples"] for record in records(run)] == [record["samples"] for record in expected]
    one, other = final_state(run), final_state(whole)
    assert [name for name in other if one.get(name) != other[name]] == []
