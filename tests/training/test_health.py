"""The health monitor names a player that has won, and is silent about the rest."""

from __future__ import annotations

import pytest
from gan.reporting.reporter import Tick
from gan.training.health import PATIENCE, HealthMonitor


def check(monitor, times, loss, real, fake, player="critic"):
    terms = {
        f"{player}/loss": loss,
        f"{player}/_real_score": real,
        f"{player}/_fake_score": fake,
        "generator/loss": 0.0,
    }
    return [monitor.check(Tick(number, 99, "duel", terms, 1.0, 1.0, 0, False)) for number in range(times)]


@pytest.mark.rule("N3")
def test_a_player_that_has_won_is_named_once():
    checks = check(HealthMonitor(), 2 * PATIENCE, 1e-5, 9.0, -9.0)
    assert [len(warnings) for warnings in checks] == [0] * (PATIENCE - 1) + [1] + [0] * PATIENCE
    (warning,) = checks[PATIENCE - 1]
    assert "phase 'duel'" in warning
    assert "player 'critic'" in warning


@pytest.mark.rule("N3")
def test_it_is_said_again_after_it_was_better():
    monitor = HealthMonitor()
    check(monitor, PATIENCE, 1e-5, 9.0, -9.0)
    check(monitor, 1, 0.7, 1.0, 0.0)
    assert check(monitor, PATIENCE, 1e-5, 9.0, -9.0)[-1]


@pytest.mark.parametrize(("loss", "real", "fake"), [(1e-5, 0.1, 0.1), (1.3, 0.2, 0.1), (-8.0, 9.0, 1.0)])
def test_equal_scores_and_wasserstein_losses_are_no_victory(loss, real, fake):
    assert not any(check(HealthMonitor(), 3 * PATIENCE, loss, real, fake))
