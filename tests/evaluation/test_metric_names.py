"""Measuring: metrics by name, extractors that are shared and checked, and metrics that fail."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import gan.testing.toy
import numpy as np
import pytest
from gan.contracts import ExtractorEntry, Features, FieldSpec, MetricValue, WeightsFile
from gan.errors import BadData, PluginError, UnknownName, UsageError
from gan.evaluation.metric_names import MetricSpec, find_metrics, measure, measure_each
from gan.hookspecs import hookimpl
from gan.metrics.extractors import NamedExtractor
from gan.plugins.manager import Plugins
from gan.weights import find_weights

SAMPLES = {"x": np.zeros((2, 1), np.float32)}
MODALITY = SimpleNamespace(fields={"points": FieldSpec((2,), "float32", -6, 6, "position")})


class Constant:
    version = "1"

    def __init__(self, result: Any) -> None:
        self.result = result

    def compute(self, generated: Any, real: Any, modality: Any) -> Sequence[MetricValue]:
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


class Counting:
    """An extractor that counts its calls."""

    version, sha256, preprocessing = "2", "ab" * 32, "none"

    def __init__(self, weights: Path | None, device: str) -> None:
        self.weights, self.device, self.calls = weights, device, 0

    def __call__(self, samples: Any, modality: Any) -> Features:
        self.calls += 1
        return Features(samples["points"])


def broken(weights: Path | None, device: str) -> None:
    raise KeyError("layer1")


def absent(weights: Path | None, device: str) -> None:
    find_weights("net.pth", "0" * 64, weights)


@pytest.fixture
def plugins() -> Plugins:
    """The toy plugin and one with extractors of three kinds of data."""

    @hookimpl
    def gan_extractors() -> Iterator[ExtractorEntry]:
        for name, modality, target in (
            ("counting", "points", "counting_plugin:Counting"),
            ("inception-v3-2015", "pictures", "counting_plugin:Counting"),
            ("broken", None, "counting_plugin:broken"),
            ("absent", None, "counting_plugin:absent"),
        ):
            yield ExtractorEntry(name=name, modality=modality, summary="", target=target, paper="")
        file = WeightsFile(name="net.pth", url="https://example.org/net.pth", sha256="0" * 64, size=1, licence="MIT")
        made = {"summary": "", "paper": "", "target": "counting_plugin:absent", "files": (file,)}
        yield ExtractorEntry(name="offered", modality=None, **made)

    import sys

    module = ModuleType("counting_plugin")
    module.gan_extractors, module.Counting, module.broken = gan_extractors, Counting, broken
    module.absent = absent
    sys.modules["counting_plugin"] = module
    found = Plugins()
    found.register("toy", gan.testing.toy)
    found.register("counting", module)
    yield found
    del sys.modules["counting_plugin"]


def test_values_come_in_the_order_of_the_metrics():
    first, second = MetricValue("a", 1.0), MetricValue("b", 2.0)
    metrics = {"two": Constant([second]), "one": Constant([first])}
    assert measure(metrics, SAMPLES, SAMPLES, modality=None) == [second, first]
    assert measure_each(metrics, SAMPLES, SAMPLES, modality=None) == {"two": [second], "one": [first]}


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (ZeroDivisionError("by zero"), "ZeroDivisionError: by zero"),
        (BadData("too few samples"), "too few samples"),
        ([0.5], "TypeError: returned float instead of MetricValue"),
    ],
)
def test_a_failing_metric_is_named_and_the_others_stay(failure, reason):
    kept = MetricValue("kept", 1.0)
    broken, value = measure({"bad": Constant(failure), "good": Constant([kept])}, SAMPLES, SAMPLES, modality=None)
    assert value == kept
    assert broken.name == "bad"
    assert math.isnan(broken.value)
    assert broken.details["error"] == reason


def test_a_user_who_stops_is_not_a_failing_metric():
    metrics = {"slow": Constant([])}
    metrics["slow"].compute = lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        measure(metrics, SAMPLES, SAMPLES, modality=None)


def test_names_are_read():
    assert MetricSpec.parse("ring-modes") == MetricSpec("ring-modes")
    assert MetricSpec.parse("fid[lenet5]") == MetricSpec("fid", "lenet5")
    spec = MetricSpec.parse("fid[lenet5=/w/[1].npz]")
    assert spec == MetricSpec("fid", "lenet5", Path("/w/[1].npz"))
    assert str(spec) == "fid[lenet5=/w/[1].npz]"
    for text in ("", "FID", "fid[", "fid[]", "fid[a]b", "fid[=x]"):
        with pytest.raises(UsageError, match="names no metric"):
            MetricSpec.parse(text)


def test_features_are_computed_once_for_all_metrics_and_named(plugins):
    metrics = find_metrics(["fid[counting]", "ring-modes", "kid[counting]"], "points", plugins, device="cpu")
    assert list(metrics) == ["fid[counting]", "ring-modes", "kid[counting]"]
    rng = np.random.default_rng(0)
    generated, real = ({"points": rng.standard_normal((50, 2)).astype(np.float32)} for _ in range(2))
    values = measure(metrics, generated, real, MODALITY)
    assert [value.name for value in values] == ["FID[counting]", "modes", "near", "KID[counting]"]
    assert not any(math.isnan(value.value) for value in values)
    assert metrics["fid[counting]"].extractor.extractor.calls == 2
    measure(metrics, {"points": generated["points"] + 1}, real, MODALITY)
    assert metrics["fid[counting]"].extractor.extractor.calls == 3


def test_only_the_inception_network_of_2015_gives_a_plain_fid(plugins):
    rng = np.random.default_rng(0)
    real = {"points": rng.standard_normal((50, 2)).astype(np.float32)}
    for name in ("fid", "fid[inception-v3-2015]"):
        metrics = find_metrics([name], "pictures", plugins)
        assert list(metrics) == ["fid[inception-v3-2015]"]
        assert [value.name for value in measure(metrics, real, real, MODALITY)] == ["FID"]
    (value,) = measure(find_metrics(["fid[raw]"], "pictures", plugins), real, real, MODALITY)
    assert value.name == "FID[raw]"


def test_weights_and_device_reach_the_extractor(plugins):
    metrics = find_metrics(["fid[counting=/some/file.npz]"], "points", plugins, device="cuda")
    extractor = metrics["fid[counting=/some/file.npz]"].extractor.extractor
    assert (extractor.weights, extractor.device) == (Path("/some/file.npz"), "cuda")


@pytest.mark.parametrize(
    ("name", "modality", "error", "words"),
    [
        ("fidd[counting]", "points", UnknownName, "did you mean 'fid'"),
        ("fid[countin]", "points", UnknownName, "did you mean 'counting'"),
        ("fid", "points", UsageError, "needs an extractor for points"),
        ("precision-recall", "pictures", UsageError, "needs an extractor for pictures"),
        ("ring-modes[counting]", "points", UsageError, "takes no extractor"),
        ("ring-modes", "pictures", UsageError, "is for points data, not pictures"),
        ("fid[counting]", "pictures", UnknownName, "no extractor for pictures named 'counting'"),
        ("fid[broken]", "points", PluginError, "KeyError: 'layer1'"),
    ],
)
def test_what_cannot_be_measured_is_refused_with_the_remedy(plugins, name, modality, error, words):
    with pytest.raises(error, match=words):
        find_metrics([name], modality, plugins)


@pytest.mark.parametrize(
    "features",
    [
        Features(np.zeros((3, 2))),
        Features(np.zeros((2, 2), np.float32)),
        Features(np.zeros(3, np.float32)),
        Features(np.zeros((3, 2), np.float32), np.zeros((2, 2))),
    ],
)
def test_wrong_features_are_the_extractors_fault(features):
    with pytest.raises(PluginError, match="extractor 'odd' returned"):
        NamedExtractor("odd", lambda samples, modality: features)({"x": np.zeros((3, 1))}, MODALITY)


@pytest.mark.parametrize(("name", "offered"), [("offered", True), ("absent", False)])
def test_weights_that_are_not_here_have_the_remedy_of_their_extractor(plugins, monkeypatch, name, offered):
    monkeypatch.delenv("GAN_WEIGHTS", raising=False)
    with pytest.raises(UsageError) as refused:
        find_metrics([f"fid[{name}]"], "points", plugins, device="cpu")
    assert (f"gan data fetch weights:{name}" in str(refused.value)) == offered
    assert f"fid[{name}=PATH]" in str(refused.value)
    assert "EXTRACTOR" not in str(refused.value)
