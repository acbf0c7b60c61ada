"""Measuring keeps order and survives a metric that fails."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from gan.contracts import MetricValue
from gan.errors import BadData
from gan.evaluation import measure


class Constant:
    version = "1"

    def __init__(self, result: Any) -> None:
        self.result = result

    def compute(self, generated: Any, real: Any, modality: Any) -> Sequence[MetricValue]:
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


SAMPLES = {"x": np.zeros((2, 1), np.float32)}


def test_values_come_in_the_order_of_the_metrics():
    first, second = MetricValue("a", 1.0), MetricValue("b", 2.0)
    metrics = {"two": Constant([second]), "one": Constant([first])}
    assert measure(metrics, SAMPLES, SAMPLES, modality=None) == [second, first]


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (ZeroDivisionError("by zero"), "ZeroDivisionError: by zero"),
        (BadData("too few samples"), "too few samples"),
        ([0.5], "TypeError: gives float where MetricValue is promised"),
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
