"""The guard of text GANs: flat rewards and repeated texts."""

from __future__ import annotations

import numpy as np
import pytest
from gan.contracts import Measures, Window
from gan_text.guard import TextGuard


def verdicts(**signals):
    return [alarm.verdict for alarm in TextGuard().judge([Window(1, "adversarial", signals)])]


@pytest.mark.parametrize(
    ("signal", "beyond", "before", "verdict"),
    [
        ("generator/_reward_spread", 0.0009, 0.0011, "flat-reward"),
        ("distinct-2", 0.19, 0.21, "mode-collapse"),
    ],
)
def test_an_alarm_beyond_its_threshold(signal, beyond, before, verdict):
    assert verdicts(**{signal: beyond}) == [verdict]
    assert verdicts(**{signal: before}) == []
    assert verdicts() == []


def test_pairs_are_counted_by_hand():
    """Real: ab, bc, ca, ba are 4 distinct pairs; generated: ab, bb in both rows are 2."""
    real = {"tokens": np.array([[0, 1, 2], [2, 0, 1], [1, 0, 1]], np.int32)}
    made = {"tokens": np.array([[0, 1, 1], [0, 1, 1]], np.int32)}
    guard = TextGuard()
    assert isinstance(guard, Measures)
    assert guard.measure(made, real, None) == {"distinct-2": pytest.approx(2 / 4)}
