"""The watch makes verdicts of alarms, tries remedies one after another, and keeps all of it in its state."""

from __future__ import annotations

import math

import pytest
from gan.contracts import Alarm, Remedy
from gan.reporting.reporter import Tick
from gan.watch.watch import FADE, LEFT, MOST_ACTIONS, SPACING, STREAK, Watch

REMEDIES = (
    Remedy(summary="augment", dials={"augmentations.*.strength": 2.0}),
    Remedy(summary="slow", dials={"optimizers.critic.lr": 0.1}),
    Remedy(summary="noise", noise=0.5, roll_back=False),
)


class Guard:
    """Alarms while the signal `bad` is positive."""

    def judge(self, windows):
        if windows[-1].signals.get("bad", 0) > 0:
            yield Alarm(
                verdict="trouble", evidence="bad", advice="be good", shows={"bad": 1.0}, remedies=REMEDIES, spoils=True
            )


def watch(mode="warn", dials=("optimizers.critic.lr", "critics.noise")):
    return Watch(mode, [Guard()], None, dials, batch=10)


def see(seen, number, bad, length=SPACING, **terms):
    terms = {"bad": float(bad), "critic/_level": 1.0, "critic/_power": 5.0, **terms}
    return seen.tick(Tick(number * length, 10**6, "duel", terms, 1.0, 1.0, 0, False))


@pytest.mark.rule("N3")
def test_three_alarms_in_a_row_are_a_verdict_and_are_told_once():
    seen = watch()
    told = [see(seen, number, number not in (3, 9)).messages for number in range(1, 12)]
    assert [len(lines) for lines in told] == [0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0]
    assert f"trouble since {4 * SPACING:,} samples: bad. Try: be good" in told[5][0]
    assert "phase 'duel'" in told[5][0]
    (verdict,) = seen.verdicts
    assert (verdict["since"], verdict["pronounced"], verdict["until"]) == (4 * SPACING, 6 * SPACING, 9 * SPACING)
    assert seen.lasting == []


def test_a_window_averages_its_ticks_by_their_length_and_leaves_out_what_is_not_finite():
    """Ticks of 400, 400 and 400 samples with 3, 0 and NaN."""
    seen = watch()
    for number, value in enumerate((3.0, 0.0, math.nan), 1):
        findings = see(seen, number, value, SPACING // 3)
        assert bool(findings.signals) == (number == 3)
    (window,) = seen.windows
    assert window.signals["bad"] == pytest.approx(1.5)


def test_remedies_are_tried_in_order_and_those_that_do_not_exist_are_passed_over():
    """No augmentation: the learning rate first, three windows later noise of half the spread, then none is left."""
    seen = watch("act")
    see(seen, 1, 0)
    seen.healthy_at = SPACING
    found = [see(seen, number, 1) for number in range(2, 5)]
    assert found[1].treatment is None
    first = found[2].treatment
    assert (first.dials, first.roll_back_to) == ({"optimizers.critic.lr": 0.1}, SPACING)
    assert [window.samples for window in seen.windows] == [SPACING]
    found = [see(seen, number, 1) for number in range(2, 5)]
    second = found[2].treatment
    assert (second.dials, second.roll_back_to) == ({"optimizers.critic.lr": 0.1, "critics.noise": 1.0}, None)
    assert seen.actions[0]["after"] == {"bad": 1.0}
    assert seen.actions[1]["dials"] == {"critics.noise": [0.0, 1.0]}
    later = [see(seen, number, 1) for number in range(5, 12)]
    assert all(findings.treatment is None for findings in later)
    assert sum("no remedy is left" in line for findings in later for line in findings.messages) == 1
    assert len(seen.actions) == 2 <= MOST_ACTIONS


def test_noise_fades_in_windows_without_an_alarm():
    seen = watch("act")
    treated = [see(seen, number, 1).treatment for number in range(1, 7)]
    assert treated[-1].dials["critics.noise"] == 1.0
    assert see(seen, 7, 1).fading == {}
    assert see(seen, 8, 0).fading == {"critics.noise": pytest.approx(FADE)}
    assert see(seen, 9, 0).fading == {"critics.noise": pytest.approx(FADE**2)}
    assert seen.turned == {"optimizers.critic.lr": 0.1, "critics.noise": pytest.approx(FADE**2)}
    assert len(seen.actions) == 2
    assert [see(seen, number, 0).fading for number in range(10, 40)][-1] == {"critics.noise": pytest.approx(LEFT)}


def test_nothing_is_treated_when_training_ends():
    seen = watch("act")
    see(seen, 1, 1), see(seen, 2, 1)
    last = seen.tick(Tick(3 * SPACING, 3 * SPACING, "duel", {"bad": 1.0}, 1.0, 1.0, 0, final=True))
    assert (last.treatment, len(last.messages)) == (None, 1)


def test_only_act_acts():
    for mode in ("off", "warn"):
        seen = watch(mode)
        assert all(see(seen, number, 1).treatment is None for number in range(1, 9))
        assert seen.actions == []
    assert watch("off").tick(Tick(9999, 1, "duel", {"bad": 1.0}, 1.0, 1.0, 0, False)).signals == {}


def test_the_state_is_the_whole_of_it():
    """A copy that is given the state decides as the original does from there on."""
    one = watch("act")
    for number in range(1, 3):
        see(one, number, 1)
    other = watch("act")
    other.load_state_dict(one.state_dict())
    assert other.state_dict() == one.state_dict()
    assert see(one, 3, 1).treatment == see(other, 3, 1).treatment is not None
    assert other.state_dict() == one.state_dict()


def test_health_wants_the_variety_of_the_best_window():
    seen = watch()
    assert not seen.healthy
    for number, (diversity, coverage, healthy) in enumerate(
        [(0.4, 0.9, False), (0.9, 0.9, True), (0.9, 0.75, True), (0.9, 0.65, False)], 1
    ):
        see(seen, number, 0, diversity=diversity, coverage=coverage)
        assert seen.healthy == healthy
    see(seen, 5, 1, diversity=1.0, coverage=1.0)
    assert not seen.healthy


def test_a_spoiled_state_names_the_healthy_checkpoint():
    seen = watch()
    seen.healthy_at = 7
    for number in range(1, STREAK + 1):
        assert seen.about == {"verdicts": [], "healthy": None}
        see(seen, number, 1)
    assert seen.about == {"verdicts": ["trouble"], "healthy": 7}
