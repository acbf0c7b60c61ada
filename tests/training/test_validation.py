"""Measuring while training: at stated intervals, without changing it; the best checkpoint; stopping early."""

from __future__ import annotations

import json
import shutil
import sys
from types import ModuleType, SimpleNamespace

import pytest
from gan import api
from gan.contracts import ArchitectureEntry, RecipeEntry
from gan.errors import UnknownName, UsageError
from gan.game import Phase
from gan.hookspecs import hookimpl
from gan.plugins.manager import Plugins
from gan.reporting.reporter import Reporter
from gan.storage.checkpoint import Checkpoints
from gan.testing import toy
from gan.testing.mlp import MLP
from gan.training.validation import Evaluator

pytestmark = pytest.mark.usefixtures("cache")


class Listening(Reporter):
    def __init__(self):
        self.measurements, self.notes = [], []

    def measured(self, samples, values, best):
        self.measurements.append((samples, {value.name: value.value for value in values}, best))

    def note(self, text):
        self.notes.append(text)


def train(plugins, out, *settings, reporter=None):
    short = ["training.samples=2560", "training.batch=64", "training.tick=256", "training.preview_ticks=0"]
    short += ["evaluation.samples=64", "evaluation.metrics=['kid[raw]']", "training.checkpoint_ticks=2"]
    values = api.recipe("toy", settings=[*short, *settings], plugins=plugins)
    return api.train(values, out=out, plugins=plugins, reporter=reporter)


def weights(run):
    checkpoint = Checkpoints(run / "checkpoints").newest()
    return {owner: checkpoint.state(owner) for owner in checkpoint.owners if owner != "progress"}


def equal(one, other):
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool((one == other).all()) if hasattr(one, "all") else one == other


def records(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.rule("R9")
def test_measuring_on_the_way_changes_no_bit_of_the_training(plugins, tmp_path):
    train(plugins, tmp_path / "plain")
    train(plugins, tmp_path / "measured", "evaluation.every=256", "evaluation.metrics=['kid[raw]', 'diversity[raw]']")
    assert equal(weights(tmp_path / "plain"), weights(tmp_path / "measured"))
    terms = [[record["terms"] for record in records(tmp_path / name)] for name in ("plain", "measured")]
    assert terms[0] == terms[1]


def test_it_is_measured_at_the_intervals(plugins, tmp_path):
    reporter = Listening()
    train(plugins, tmp_path / "run", "evaluation.every=600", reporter=reporter)
    at = [record["samples"] for record in records(tmp_path / "run") if "metrics" in record]
    assert at == [768, 1280, 2048, 2560]  # the first ticks after each multiple of 600
    assert [samples for samples, _, _ in reporter.measurements] == at
    value = records(tmp_path / "run")[2]["metrics"]["KID[raw]"]
    assert value["direction"] == "lower"
    assert value["value"] == reporter.measurements[0][1]["KID[raw]"]


def test_the_best_checkpoint_is_kept_and_can_be_loaded(plugins, tmp_path):
    """The best of four measurements, whichever it is, gives that very value when its checkpoint is measured."""
    reporter = Listening()
    train(
        plugins, tmp_path / "run", "evaluation.every=512", "evaluation.best=KID[raw]", "training.keep_checkpoints=1",
        reporter=reporter,
    )  # fmt: skip
    values = {samples: found["KID[raw]"] for samples, found, _ in reporter.measurements}
    best = min(values, key=values.get)
    assert [path.name for path in (tmp_path / "run" / "best").iterdir()] == [f"samples-{best:09d}"]
    assert reporter.measurements[0][2]
    assert [s for s, _, is_best in reporter.measurements if is_best][-1] == best
    (receipt,) = api.evaluate(tmp_path / "run", plugins=plugins, checkpoint="best")
    assert receipt.generated["checkpoint"] == best
    assert receipt.values[0].value == pytest.approx(values[best], rel=1e-9)


def test_training_ends_when_nothing_gets_better(plugins, tmp_path):
    """A learning rate of nearly 0 leaves the samples as they are: the first measurement stays the best one."""
    reporter = Listening()
    result = train(
        plugins, tmp_path / "run", "evaluation.every=256", "evaluation.best='modes'", "evaluation.patience=3",
        "evaluation.metrics=[ring-modes]", "optimizers.generator.lr=1e-12", "training.ema_half_life=0",
        reporter=reporter,
    )  # fmt: skip
    assert [best for _, _, best in reporter.measurements] == [True, False, False, False]
    assert result.samples < 2560
    assert any("did not improve in 3 measurements" in note for note in reporter.notes)
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["exit"] == "finished"
    again = api.resume_run(tmp_path / "run", plugins=plugins)
    assert again.samples == result.samples


def test_a_killed_run_decides_as_one_that_was_not(plugins, tmp_path):
    """Stopped in the middle and resumed: the same records, the same best checkpoint."""
    settings = ["evaluation.every=256", "evaluation.best=KID[raw]"]
    train(plugins, tmp_path / "whole", *settings)

    class Killed(Exception):
        pass

    class Killer(Listening):
        def tick(self, tick):
            if tick.samples >= 1536:
                raise Killed

    with pytest.raises(Killed):
        train(plugins, tmp_path / "killed", *settings, reporter=Killer())
    api.resume_run(tmp_path / "killed", plugins=plugins)
    whole, killed = records(tmp_path / "whole"), records(tmp_path / "killed")
    assert [record.get("metrics") for record in whole] == [record.get("metrics") for record in killed]
    names = [[path.name for path in (tmp_path / run / "best").iterdir()] for run in ("whole", "killed")]
    assert names[0] == names[1]


def test_a_best_checkpoint_from_a_dropped_future_is_removed(plugins, tmp_path):
    """A run was killed after its best checkpoint and before the next ordinary one: resumed, it measures again."""
    run = tmp_path / "run"
    train(plugins, run, "evaluation.every=256", "evaluation.best=KID[raw]")
    kept = next((run / "best").iterdir())
    kept.rename(kept.with_name("samples-000999999"))
    (run / "evaluation" / "result.json").unlink()
    api.resume_run(run, plugins=plugins)
    assert not list(run.glob("best/samples-000999999"))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["evaluation.best=KID[raw]"], "best needs every"),
        (["evaluation.patience=3"], "patience needs best"),
        (["evaluation.published={x: 1}"], "needs published_source"),
        (["evaluation.metrics=['fid']"], "needs an extractor"),
    ],
)
def test_recipes_that_make_no_sense(plugins, tmp_path, settings, words):
    with pytest.raises(UsageError, match=words):
        train(plugins, tmp_path / "run", *settings)


def test_an_unknown_value_for_best_is_told_with_the_known_ones(plugins, tmp_path):
    with pytest.raises(UnknownName, match=r"KID\[raw\]"):
        train(plugins, tmp_path / "run", "evaluation.every=256", "evaluation.best=KID")


def test_the_table_shows_what_others_published(plugins, tmp_path):
    result = train(
        plugins, tmp_path / "run", "evaluation.published={'KID[raw]': 0.25}", "evaluation.published_source=A paper",
    )  # fmt: skip
    card = (tmp_path / "run" / "README.md").read_text()
    assert "| metric | generated | real | untrained | published |" in card
    assert "0.25 |" in card
    assert "Published: A paper." in card
    assert result.summary()["published"] == {"KID[raw]": 0.25}


class Warmed(MLP):
    """The toy architecture after a phase of its own that is a baseline."""

    def phases(self, loss, penalties):
        (game,) = super().phases(loss, penalties)
        (turn, *_) = game.turns
        return [Phase("warm", [turn], 1024, is_baseline=True), Phase("middle", [turn], 256), game]


@pytest.fixture
def warmed(monkeypatch):
    """The toy plugin with an architecture that has a baseline."""

    @hookimpl
    def gan_architectures():
        yield ArchitectureEntry(name="warmed", summary="", target="warmed_plugin:Warmed", modality="points", paper="")

    @hookimpl
    def gan_recipes():
        yield RecipeEntry(
            name="warmed", summary="", target="gan.testing:recipes/ring.yaml", architecture="warmed", default=True
        )

    module = ModuleType("warmed_plugin")
    module.gan_architectures, module.gan_recipes, module.Warmed = gan_architectures, gan_recipes, Warmed
    monkeypatch.setitem(sys.modules, "warmed_plugin", module)
    found = Plugins()
    found.register("toy", toy)
    found.register("warmed", module)
    return found


def test_the_end_of_a_baseline_stands_beside_the_result(warmed, tmp_path):
    """One measurement more than without, taken where the phase ends, by the weights of that moment; also when the run
    was cut off before its end and goes on."""
    values = {
        "plugin": "warmed", "architecture": "warmed", "data": {"source": "ring"}, "loss": {"name": "non-saturating"},
        "training": {
            "samples": 512, "batch": 64, "tick": 256, "preview_ticks": 0, "checkpoint_ticks": 3, "keep_checkpoints": 99,
        },
        "evaluation": {"metrics": ["kid[raw]"], "samples": 64},
    }  # fmt: skip
    result = api.train(values, out=tmp_path / "run", plugins=warmed)
    (baseline,) = result.references["warm"]
    measured = [record for record in records(tmp_path / "run") if "metrics" in record]
    assert [(record["samples"], record["reference"]) for record in measured] == [(1024, True)]
    model = api.load(tmp_path / "run", plugins=warmed, checkpoint=1024)
    (receipt,) = api.evaluate(tmp_path / "run", checkpoint="1024", count=64, plugins=warmed)
    assert receipt.values[0].value == pytest.approx(baseline.value)
    assert model.trained == 1024
    card = (tmp_path / "run" / "README.md").read_text()
    assert "| metric | generated | real | after warm | untrained |" in card
    assert f"| {baseline.value:.4g} ±" in card

    for later in sorted((tmp_path / "run" / "checkpoints").iterdir())[3:]:
        shutil.rmtree(later)
    (tmp_path / "run" / "evaluation" / "result.json").unlink()
    again = api.resume_run(tmp_path / "run", plugins=warmed)
    assert again.references == result.references
    assert again.metrics == result.metrics


def test_a_hundred_thousand_ticks_read_the_records_once(tmp_path):
    """Each tick asks whether a measurement is due; going back in training reads them once more."""
    evaluator = Evaluator.__new__(Evaluator)
    evaluator.settings = SimpleNamespace(every=1000)
    evaluator.metrics, evaluator._measured, evaluator._seen = {"swd": None}, None, 0
    read = []
    run = SimpleNamespace(read_metrics=lambda: read.append(1) or [{"samples": 500, "metrics": {"swd": {}}}])
    due = 0
    for samples in range(0, 10_000_000, 100):
        if evaluator.due(run, samples):
            due += 1
            evaluator.recorded(samples)
    assert due == 9999
    assert len(read) == 1
    assert not evaluator.due(run, 700)
    assert len(read) == 2
