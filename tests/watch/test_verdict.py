"""The verdict at the end of a training: each kind from its evidence, with the remedy."""

from __future__ import annotations

from dataclasses import replace

import pytest
from gan import api
from gan.contracts import MetricValue
from gan.reporting.reporter import Reporter
from gan.reporting.result import read_result
from gan.reporting.tables import number_rows
from gan.storage.run_folder import RunFolder
from gan.testing.points import Points
from gan.watch.verdict import Evidence, headline, improvements, judge, meaning

PAIRS = (("precision", "recall"),)
BETTER = [MetricValue("FID[raw]", 1.0, direction="lower"), MetricValue("empty bars", 0.1, real=0.1)]
BEFORE = [MetricValue("FID[raw]", 9.0, direction="lower"), MetricValue("empty bars", 0.9, real=0.1)]
WELL = Evidence("runs/x", 8, 0, 0.9, [], 1.0, 60.0, None, BETTER, BEFORE, PAIRS)
COLLAPSE = {"verdict": "mode-collapse", "since": 900, "evidence": "diversity 0.1", "advice": "add r1", "spoils": True}


@pytest.mark.parametrize(
    ("changes", "kind", "said", "remedy"),
    [
        ({}, "learned", "2 of 2 numbers are better than before training", ""),
        ({"share": 0.02}, "short", "too short: 2 % of the recipe was trained", "leave out --samples"),
        ({"share": 0.2, "minutes": 1.0}, "short", "its limit of 1 minutes", "gan resume runs/x --minutes 4"),
        ({"values": BEFORE, "untrained": BETTER}, "not learned", "only 0 of 2 numbers", "gan diagnose runs/x"),
        ({"values": []}, "not measured", "nothing was measured", ""),
        ({"empty": 8, "share": 0.02}, "empty", "all 8 samples hold nothing; too short, 2 %", "leave out --samples"),
        ({"empty": 6}, "empty", "6 of 8 samples hold nothing", "gan diagnose runs/x"),
        ({"variety": 0.01}, "alike", "differ by 1 % of what real samples differ", "gan diagnose runs/x"),
        ({"variety": 0.01, "health": [COLLAPSE]}, "alike", "nearly equal", "add r1"),
        ({"health": [COLLAPSE]}, "collapsed", "mode-collapse since 900 samples; diversity 0.1", "training.watch=act"),
    ],
)
def test_each_kind_from_its_evidence(changes, kind, said, remedy):
    found = judge(replace(WELL, **changes))
    assert found.kind == kind
    assert said in found.sentence
    assert remedy in found.remedy
    assert bool(found.remedy) == bool(remedy)


def test_an_untrained_precision_of_one_does_not_make_training_look_worse():
    """Precision falls from 1 to 0.8, recall rises from 0 to 0.7: together they are one number, which has improved."""
    values = [MetricValue(n, v, direction="higher") for n, v in (("precision[raw]", 0.8), ("recall[raw]", 0.7))]
    before = [MetricValue(n, v, direction="higher") for n, v in (("precision[raw]", 1.0), ("recall[raw]", 0.0))]
    assert improvements(values, before, PAIRS) == (1, 1)
    assert improvements(values, before, ()) == (1, 2)


def test_five_numbers_are_shown_and_the_two_of_a_pair_stay_together():
    values = [
        *(MetricValue(f"statistic-{n}", 1.0, real=2.0) for n in range(30)),
        MetricValue("broken", float("nan"), direction="lower"),
        MetricValue("precision[raw]", 0.8, direction="higher"),
        MetricValue("recall[raw]", 0.7, direction="higher"),
        MetricValue("FID[raw]", 3.0, direction="lower"),
    ]
    found = headline(values, [], ["statistic-7"], PAIRS, {"FID[raw]": "a distance"})
    names = [number["name"] for number in found]
    assert names == ["statistic-7", "precision[raw]", "recall[raw]", "FID[raw]", "statistic-0"]
    rows = number_rows({"headline": found})
    assert rows[3] == ["FID[raw]", "3", "↓", "", "a distance"]
    assert rows[0][2] == "→ 2"
    assert rows[1][2] == "↑"
    assert rows[0][4] == ""


def test_what_a_value_says_is_found_by_its_name():
    meanings = {"fid": "a distance", "bleu": "overlap", "empty-bars": "silence"}
    names = ["FID[raw]", "bleu-4", "Empty bars/Bass", "density"]
    assert [meaning(name, meanings) for name in names] == ["a distance", "overlap", "silence", ""]


def test_a_verdict_does_not_cost_a_training(tmp_path, plugins, cache, monkeypatch):
    def broken(self, sample):
        raise ZeroDivisionError("is_empty")

    class Warnings(Reporter):
        texts: list[str] = []

        def warn(self, text):
            self.texts.append(text)

    monkeypatch.setattr(Points, "is_empty", broken)
    short = {"training": {"samples": 128, "batch": 64}, "evaluation": {"samples": 64, "artefacts": 2}}
    warnings = Warnings()
    result = api.train({"plugin": "toy", **short}, out=tmp_path / "run", plugins=plugins, reporter=warnings)
    assert result.verdict["kind"]
    assert any("ZeroDivisionError" in text for text in warnings.texts)


def test_a_training_ends_with_its_verdict_and_can_be_continued(tmp_path, plugins, cache, monkeypatch):
    """A tenth of the recipe is too short; with a limit of time, more minutes finish it."""
    short = ["training.batch=64", "training.preview_ticks=0", "evaluation.samples=64", "evaluation.artefacts=3"]
    values = api.recipe("toy", settings=[*short, "training.samples=2560"], plugins=plugins)
    monkeypatch.setattr("gan.generation.flaws.ALIKE", 0.0)  # an untrained perceptron makes one point
    result = api.train(values, samples=256, out=tmp_path / "short", plugins=plugins)
    assert result.verdict["kind"] == "short"
    assert "10 % of the recipe" in result.verdict["sentence"]
    assert [number["name"] for number in result.headline] == ["modes", "near"]
    assert read_result(RunFolder(tmp_path / "short")).verdict == result.verdict

    values["training"] = {**values["training"], "minutes": 1e-6}
    timed = api.train(values, out=tmp_path / "timed", plugins=plugins)
    assert timed.samples < 1280
    assert f"gan resume {tmp_path / 'timed'} --minutes" in timed.verdict["remedy"]
    finished = api.resume(tmp_path / "timed", minutes=5, plugins=plugins)
    assert finished.samples == 2560
    assert finished.verdict["kind"] in ("learned", "not learned")
    recipe = (tmp_path / "timed" / "recipe.yaml").read_text()
    assert "minutes: 5.0" in recipe
