"""A training that is watched: the same weights as one that is not; a training that acts: exact when it is resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import gan.training.watching
import gan.watch.watch
import pytest
import torch
from gan import api
from gan.errors import Stopped
from gan.generation.loading import load_model
from gan.reporting.reporter import Reporter
from gan.storage.checkpoint import Checkpoints
from gan.storage.run_folder import RunFolder
from gan.testing import install
from gan.training.session import resume
from gan.watch.report import diagnose, words

SETTINGS = [
    "model.hidden=16", "model.layers=1", "training.batch=32", "training.tick=128", "training.checkpoint_ticks=2",
    "training.samples=2560", "evaluation.samples=16", "evaluation.artefacts=2", "training.ema_half_life=100",
]  # fmt: skip
COLLAPSING = [
    "penalties=[]", "optimizers.generator.lr=0.2", "optimizers.discriminator.lr=1.0", "model.layers=3",
    "training.watch=act",
]  # fmt: skip
"""The discriminator is dead after its first steps: its scores no longer depend on its input. With its learning rate as
low as that of the generator the same happens later, from a checkpoint on that seems healthy."""


@pytest.fixture(autouse=True)
def short_windows(monkeypatch):
    monkeypatch.setattr(gan.watch.watch, "SPACING", 128)
    monkeypatch.setattr(gan.watch.watch, "ITERATIONS", 1)


def trained(out, plugins, *settings, reporter=None):
    values = api.recipe("toy", settings=[*SETTINGS, *settings], plugins=plugins)
    api.train(values, out=out, plugins=plugins, reporter=reporter or Reporter())
    return RunFolder(out)


def weights(run):
    checkpoint = Checkpoints(run.checkpoints).newest()
    return {**checkpoint.state("architecture"), **checkpoint.state("average-generator")}


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two files of points, of which one can be held out."""
    folder = tmp_path_factory.mktemp("points")
    for name in range(4):
        rows = torch.randn(64, 2, generator=torch.Generator().manual_seed(name)).tolist()
        (folder / f"{name}.csv").write_text("".join(f"{x:.6f},{y:.6f}\n" for x, y in rows))
    return folder


@pytest.mark.rule("R9")
def test_watching_changes_no_weight(tmp_path, plugins, cache, data):
    """With files held out the critic's objective is called for the validation gap as well."""
    common = (f"data.source={data}", "data.holdout=0.25", "training.samples=640", "optimizers.discriminator.lr=0.01")
    off = trained(tmp_path / "off", plugins, *common, "training.watch=off")
    warn = trained(tmp_path / "warn", plugins, *common)
    assert equal(weights(off), weights(warn))
    assert not off.health.exists()
    signals = [record["health"] for record in warn.read_metrics()]
    assert len(signals) == 5
    assert all({"diversity", "coverage", "generator/spectral"} <= window.keys() for window in signals)
    assert any("validation_gap" in window for window in signals)  # while real samples score higher than generated ones
    assert not any("health" in record for record in off.read_metrics())


class Interrupted(Reporter):
    """Stops the training by a signal, or ends it without warning, at some ticks."""

    def __init__(self, ticks, kill):
        self.ticks = list(ticks)
        self.kill = kill

    def tick(self, tick):
        if self.ticks and tick.samples >= self.ticks[0]:
            self.ticks.pop(0)
            if self.kill:
                raise RuntimeError("killed")
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture(scope="module")
def acted(tmp_path_factory, plugins):
    """A training that collapses and acts, from the beginning to the end."""
    folder = tmp_path_factory.mktemp("acted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GAN_CACHE", str(folder / "cache"))
        patch.setattr(gan.watch.watch, "SPACING", 128)
        patch.setattr(gan.watch.watch, "ITERATIONS", 1)
        return trained(folder / "run", plugins, *COLLAPSING)


def test_a_collapsing_training_is_treated_and_every_action_is_recorded(acted):
    report = json.loads(acted.health.read_text())
    assert report["verdicts"][0]["verdict"] == "vanishing-gradient"
    action = report["actions"][0]
    assert action["dials"] == {"optimizers.discriminator.lr": [1.0, pytest.approx(0.2)]}  # that of the generator
    assert action["rolled_back_to"] == 0
    assert action["before"]["generator/_gradient_norm"] < 1e-6
    assert [action["rolled_back_to"] for action in report["actions"]][:4] == [0, 512, 512, 0]  # 512 was no healthy one
    assert Checkpoints(acted.checkpoints).newest().state("dials")["factors"] == report["dials"]
    text = "\n".join(words(diagnose(acted)))
    assert (
        "acted on vanishing-gradient: the learning rate of discriminator as that of generator, from the beginning"
        in text
    )
    assert "--set optimizers.discriminator.lr=" in text
    deviation = report["dials"]["critics.smoothing"]  # 3 % of that of the data, then twice as much
    assert 0.06 < deviation < 0.1
    assert f"--set 'penalties=[{{name: consistency, weight: 100, noise: {deviation:.3g}, fake: 0}}]'" in text


@pytest.mark.rule("R1")
@pytest.mark.parametrize("kill", [False, True])
@pytest.mark.parametrize("ticks", [(256, 512), (1280,)])
def test_an_acting_training_that_is_stopped_or_killed_ends_bit_identical(tmp_path, plugins, cache, acted, ticks, kill):
    """Before the first action (at 768 samples, back to 0), after it, and later; with and without a saved state."""
    out = tmp_path / "run"
    reporter = Interrupted(ticks, kill)
    with pytest.raises((Stopped, RuntimeError)):
        trained(out, plugins, *COLLAPSING, reporter=reporter)
    while reporter.ticks:
        with pytest.raises((Stopped, RuntimeError)):
            resume(out, plugins, reporter)
    resume(out, plugins, Reporter())
    run = RunFolder(out)
    assert equal(weights(run), weights(acted))
    assert json.loads(run.health.read_text())["actions"] == json.loads(acted.health.read_text())["actions"]


def test_a_game_without_a_penalty_may_be_given_one(tmp_path, plugins, cache, monkeypatch):
    """Not one that has its own, whose weight is a dial."""
    given = []
    monkeypatch.setattr(gan.training.watching, "Watch", lambda *a: given.append(a[3]) or gan.watch.watch.Watch(*a))
    trained(tmp_path / "without", plugins, "training.samples=128", "penalties=[]")
    trained(tmp_path / "with", plugins, "training.samples=128")
    without, with_one = given
    assert set(without) ^ set(with_one) == {"critics.smoothing", "penalties.r1.weight"}
    assert "critics.smoothing" in without


def test_parts_of_a_batch_report_the_signals_of_the_whole(tmp_path, plugins, cache):
    """Two micro-batches: means over the parts, equal to rounding in the first window."""
    one = trained(tmp_path / "one", plugins, "training.samples=128")
    two = trained(tmp_path / "two", plugins, "training.samples=128", "training.micro_batch=16")
    (first,), (second,) = one.read_metrics(), two.read_metrics()
    for name in ("_accuracy", "_sign", "_saturation"):
        key = f"discriminator/{name}"
        assert second["terms"][key] == pytest.approx(first["terms"][key], abs=1e-3), name
    key = "generator/_output_gradient"
    assert second["terms"][key] == pytest.approx(first["terms"][key], rel=1e-3)
    assert second["health"]["diversity"] == pytest.approx(first["health"]["diversity"], rel=1e-3)


def test_generation_uses_the_last_healthy_checkpoint_of_a_spoiled_run(tmp_path, plugins, cache):
    run = trained(tmp_path / "run", plugins, "training.samples=512")
    assert load_model(run, plugins, device="cpu").note == ""
    checkpoints = Checkpoints(run.checkpoints)
    newest = checkpoints.newest()

    class Saved:
        def __init__(self, name):
            self.state_dict = lambda: newest.state(name)

    about = {**newest.about, "health": {"verdicts": ["mode-collapse"], "healthy": 256}}
    checkpoints.save(512, {name: Saved(name) for name in newest.owners}, about)
    model = load_model(run, plugins, device="cpu")
    assert model.trained == 256
    assert "last healthy checkpoint, of 256 samples, because of mode-collapse at 512" in model.note
    assert load_model(run, plugins, device="cpu", checkpoint=512).trained == 512


@pytest.mark.slow
def test_two_processes_decide_alike(tmp_path):
    """The same actions at the same samples as one process, and weights that agree to rounding with it.

    The windows are as short as in the other tests in both processes.
    """
    short = "import gan.watch.watch as watch\nwatch.SPACING, watch.ITERATIONS = 128, 1\n"
    install(tmp_path / "site", "toy", {"gan_toy.py": f"{short}from gan.testing.toy import *\n"})
    environment = {
        **os.environ,
        "PYTHONPATH": str(tmp_path / "site"),
        "GAN_CACHE": str(tmp_path / "cache"),
        "OMP_NUM_THREADS": "1",
    }
    launchers = {
        "one": [sys.executable, "-m", "gan"],
        "two": [
            sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
            "--local-addr", "127.0.0.1", "-m", "gan",
        ],
    }  # fmt: skip
    settings = [*SETTINGS, *COLLAPSING, "training.batch=64"]
    found = {}
    for name, launcher in launchers.items():
        sets = [word for setting in settings for word in ("--set", setting)]
        command = [*launcher, "run", "--plugin", "toy", *sets, "--quiet", "--out", str(tmp_path / name)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        run = RunFolder(tmp_path / name)
        actions = json.loads(run.health.read_text())["actions"]
        dials = [value for action in actions for turned in action["dials"].values() for value in turned]
        found[name] = (
            [(action["samples"], action["verdict"], [*action["dials"]]) for action in actions],
            dials,
            weights(run),
        )
    assert found["one"][0] == found["two"][0] != []
    assert found["one"][1] == pytest.approx(found["two"][1], rel=1e-4)
    for key, value in found["one"][2].items():
        torch.testing.assert_close(found["two"][2][key], value, rtol=1e-3, atol=1e-4)
