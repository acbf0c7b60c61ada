"""The watch makes verdicts of alarms, tries remedies one after another, and keeps all of it in its state."""

from __future__ import annotations

import json
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


def lowering(numbers, *remedies, dials=("optimizers.critic.lr", "optimizers.maker.lr")):
    class Lowers:
        def judge(self, windows):
            if windows[-1].signals.get("bad", 0) > 0:
                yield Alarm(verdict="trouble", evidence="bad", advice="be good", remedies=remedies)

    return Watch("act", [Lowers()], None, dials, batch=10, numbers=numbers)


EVEN = Remedy(summary="even", lower_to={"optimizers.critic.lr": "optimizers.maker.lr"})
TENTH = Remedy(summary="tenth", dials={"optimizers.critic.lr": 0.1})


def test_a_learning_rate_is_lowered_to_another_one_where_it_is_more_than_four_times_as_large():
    numbers = {"optimizers.critic.lr": 0.5, "optimizers.maker.lr": 0.1}
    seen = lowering(numbers, EVEN, TENTH)
    first = [see(seen, number, 1) for number in range(1, 4)][-1].treatment
    assert first.dials == {"optimizers.critic.lr": pytest.approx(0.2)}
    second = [see(seen, number, 1) for number in range(4, 7)][-1].treatment
    assert second.dials == {"optimizers.critic.lr": pytest.approx(0.02)}
    close = lowering({**numbers, "optimizers.critic.lr": 0.4}, EVEN, TENTH)
    assert [see(close, number, 1) for number in range(1, 4)][-1].treatment.dials == {"optimizers.critic.lr": 0.1}


def test_a_critic_with_a_weak_penalty_may_learn_faster_than_one_without():
    """Lowered to three times the other rate where the penalty is turned up to 10; passed over where it has that."""
    both = Remedy(summary="both", lower_to=EVEN.lower_to, times=3.0, raise_to={"penalties.r[12].weight": 10.0})
    rates = {"optimizers.critic.lr": 8.0, "optimizers.maker.lr": 0.1}
    dials = (*rates, "penalties.r1.weight")
    for weight, wanted in ((0.5, {"optimizers.critic.lr": 0.0375, "penalties.r1.weight": 20.0}), (10.0, None)):
        seen = lowering({**rates, "penalties.r1.weight": weight}, both, EVEN, dials=dials)
        treatment = [see(seen, number, 1) for number in range(1, 4)][-1].treatment
        assert treatment.dials == pytest.approx(wanted or {"optimizers.critic.lr": 0.0125})
    even = lowering({**rates, "optimizers.critic.lr": 0.1, "penalties.r1.weight": 0.5}, both, TENTH, dials=dials)
    assert [see(even, number, 1) for number in range(1, 4)][-1].treatment.dials == {"optimizers.critic.lr": 0.1}


@pytest.mark.parametrize(("progress", "back"), [(0.25, 0), (0.26, 5)])
def test_a_remedy_may_begin_anew_while_little_is_lost(progress, back):
    seen = lowering({}, Remedy(summary="calm", dials={"optimizers.critic.lr": 0.1}, anew=True))
    seen.healthy_at = 5
    total = round(3 * SPACING / progress)
    ticks = [Tick(number * SPACING, total, "duel", {"bad": 1}, 1.0, 1.0, 0, False) for number in range(1, 4)]
    assert [seen.tick(tick) for tick in ticks][-1].treatment.roll_back_to == back
    assert seen.healthy_at == back  # later checkpoints are of a training that is given up


def test_a_rate_that_a_remedy_has_lowered_makes_no_other_one_too_high():
    """The recipe's rates are equal: what the critic was lowered to is not what the maker is compared with."""
    other = Remedy(summary="other", lower_to={"optimizers.maker.lr": "optimizers.critic.lr"})
    seen = lowering({"optimizers.critic.lr": 0.1, "optimizers.maker.lr": 0.1}, other, TENTH, TENTH)
    treated = [see(seen, number, 1).treatment for number in range(1, 10)]
    assert [t.dials for t in treated if t] == [
        {"optimizers.critic.lr": 0.1},
        {"optimizers.critic.lr": pytest.approx(0.01)},
    ]


def test_a_learning_rate_keeps_a_share_of_the_smallest_one_of_the_recipe():
    """1,000 to 1: lowered to the other one and then by tenths, down to a thousandth of it."""
    seen = lowering({"optimizers.critic.lr": 100.0, "optimizers.maker.lr": 0.1}, EVEN, *[TENTH] * 5)
    treated = [see(seen, number, 1).treatment for number in range(1, 19)]
    assert [t.dials["optimizers.critic.lr"] for t in treated if t] == pytest.approx([1e-3, 1e-4, 1e-5, 1e-6])


def test_what_was_tried_is_not_tried_again_when_the_order_of_the_remedies_changes():
    """Remedies depend on the window that raises the alarm; each is used as often as it is listed."""
    noise = Remedy(summary="noise", noise=0.5)

    class Changing:
        def judge(self, windows):
            order = (TENTH, noise) if windows[-1].signals["bad"] > 1 else (noise, TENTH)
            yield Alarm(verdict="trouble", evidence="bad", advice="be good", remedies=order)

    seen = Watch("act", [Changing()], None, ("optimizers.critic.lr", "critics.noise"), batch=10)
    treated = [see(seen, number, 2 if number <= 3 else 1).treatment for number in range(1, 13)]
    assert [action["remedy"] for action in seen.actions] == ["tenth", "noise"]
    assert sum(t is not None for t in treated) == 2


def test_a_checkpoint_from_which_training_failed_twice_is_healthy_no_longer():
    """Only if it lies in the first quarter of the training, of which a tenth is shown here, or not."""
    for total, places in ((10 * SPACING, [SPACING, SPACING, 0]), (4 * SPACING - 1, [SPACING] * 3)):
        seen = lowering({}, *[TENTH] * 3)
        see(seen, 1, 0)
        seen.healthy_at = SPACING
        for number in (2, 3, 4) * 3:
            terms = {"bad": 1.0, "critic/_level": 1.0, "critic/_power": 5.0}
            seen.tick(Tick(number * SPACING, total, "duel", terms, 1.0, 1.0, 0, False))
        assert [action["rolled_back_to"] for action in seen.actions] == places
        assert seen.healthy_at == places[-1]


def test_noise_never_becomes_weaker_by_a_remedy():
    weak, strong = Remedy(summary="weak", noise=0.25), Remedy(summary="strong", noise=0.5)
    seen = lowering({}, strong, weak, dials=("critics.noise",))
    treated = [see(seen, number, 1).treatment for number in range(1, 10)]
    assert [t.dials for t in treated if t] == [{"critics.noise": 1.0}]


def test_a_checkpoint_of_an_earlier_version_is_read():
    seen = watch("act")
    see(seen, 1, 1)
    state = json.loads(seen.state_dict()["state"])
    del state["_exhausted"]
    other = watch("act")
    other.load_state_dict({"state": json.dumps({**state, "_attempts": {"trouble": 1}})})
    assert other.state_dict() == seen.state_dict()


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
