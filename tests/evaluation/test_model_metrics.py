"""Metrics on the model: they see the weights that samples are made with, and only runs have them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

import pytest
import torch
from gan import api
from gan.contracts import Features, MetricEntry, MetricValue
from gan.errors import UsageError
from gan.evaluation.evaluate import EvaluationRequest, evaluate
from gan.evaluation.metric_names import find_metrics
from gan.evaluation.receipts import read_receipts
from gan.evaluation.repeat import evaluate_again
from gan.evaluation.sample_sets import weights_sha256
from gan.hookspecs import hookimpl
from gan.plugins.manager import Plugins
from gan.reporting.reporter import Reporter
from gan.testing import toy


class WeightNorm:
    """The sum of all weights' squares, 0 where it is asked in another state than the contract says."""

    version = "1"
    settings = {"power": 2}

    def compute(self, architecture: Any, generated: Any, real: Any, modality: Any) -> Sequence[MetricValue]:
        right = not architecture.training and not torch.is_grad_enabled()
        norm = sum(float(weight.double().square().sum()) for weight in architecture.parameters())
        return [MetricValue("weight-norm", norm * right, direction="lower")]


@pytest.fixture
def plugins(cache, monkeypatch) -> Plugins:
    @hookimpl
    def gan_metrics() -> Iterator[MetricEntry]:
        yield MetricEntry(name="weight-norm", summary="", target="norms_plugin:WeightNorm", on_model=True)

    module = ModuleType("norms_plugin")
    module.gan_metrics, module.WeightNorm = gan_metrics, WeightNorm
    monkeypatch.setitem(sys.modules, "norms_plugin", module)
    found = Plugins()
    found.register("toy", toy)
    found.register("norms", module)
    return found


def test_a_run_is_judged_by_the_weights_that_its_samples_are_made_with(plugins, tmp_path):
    """The training's own measurement, one of the loaded run, and the sum over the loaded weights are one number."""
    settings = ["training.samples=512", "training.batch=64", "training.preview_ticks=0", "evaluation.samples=32"]
    settings += ["evaluation.metrics=[weight-norm, ring-modes]"]
    result = api.train(api.recipe("toy", settings=settings, plugins=plugins), out=tmp_path / "run", plugins=plugins)
    (mine,) = [value for value in result.metrics if value.name == "weight-norm"]
    architecture = api.load(tmp_path / "run", plugins=plugins).architecture
    expected = sum(float(weight.detach().double().square().sum()) for weight in architecture.parameters())
    assert mine.value == pytest.approx(expected)
    assert mine.value != pytest.approx(result.untrained[0].value)

    (receipt, _) = read_receipts(tmp_path / "run" / "evaluation" / "receipts.json")
    assert receipt.metric == "weight-norm"
    assert receipt.settings == {"power": 2}
    assert receipt.generated["weights"] == weights_sha256(architecture)
    ((_, differences),) = evaluate_again([receipt], plugins, device="cpu", reporter=Reporter())
    assert differences == []


def test_a_metric_may_look_at_the_model_through_an_extractor(plugins, tmp_path):
    """Path length of the toy: named with the extractor, its receipt too, the same again from the run's files, and four
    times as much seen by an extractor that doubles."""
    settings = ["training.samples=512", "training.batch=64", "training.preview_ticks=0", "evaluation.samples=128"]
    settings += ["evaluation.metrics=['ppl[raw]']"]
    result = api.train(api.recipe("toy", settings=settings, plugins=plugins), out=tmp_path / "run", plugins=plugins)
    assert [value.name for value in result.metrics] == ["PPL[raw]"]
    (receipt,) = read_receipts(tmp_path / "run" / "evaluation" / "receipts.json")
    assert receipt.extractor["name"] == "raw"
    assert receipt.settings["epsilon"] == 1e-4
    ((_, differences),) = evaluate_again([receipt], plugins, device="cpu", reporter=Reporter())
    assert differences == []
    model = api.load(tmp_path / "run", plugins=plugins)
    (metric,) = find_metrics(["ppl[raw]"], "points", plugins, architecture=model.architecture.eval()).values()
    samples = model.generate(128)
    (plain,) = metric.compute(samples, samples, model.modality)
    look = metric.extractor.extractor
    metric.extractor.extractor = lambda samples, modality: Features(2 * look(samples, modality).vectors)
    (doubled,) = metric.compute(samples, samples, model.modality)
    assert doubled.value == pytest.approx(4 * plain.value, rel=1e-6)
    assert plain.value == pytest.approx(result.metrics[0].value)


def test_files_without_a_model_refuse_it_in_one_line(plugins, tmp_path):
    points = tmp_path / "points.csv"
    points.write_text("0,0\n1,1\n")
    request = EvaluationRequest(str(points), str(points), metrics=["weight-norm"], modality="points")
    with pytest.raises(UsageError, match="'weight-norm' needs the trained model: evaluate a run folder") as refused:
        evaluate(request, plugins)
    assert "\n" not in str(refused.value)
    with pytest.raises(UsageError, match="'ppl' needs the trained model"):
        find_metrics(["ppl[raw]"], "points", plugins)
    with pytest.raises(UsageError, match="takes no extractor"):
        find_metrics(["weight-norm[raw]"], "points", plugins)
