"""`adversarial_turns`: heads, features, terms, fresh fakes, conditions and the batch, against sums written by hand."""

from __future__ import annotations

import pytest
import torch
from gan.adversarial import CriticOutput, adversarial_turns
from gan.contracts.guards import SMOOTHING
from gan.draws import StepDraws
from gan.errors import GanError
from gan.game import Batch
from gan.losses import NonSaturating, RelativisticPairing
from gan.penalties import R1, R2
from torch import nn
from torch.nn.functional import softplus

CPU = torch.device("cpu")


@pytest.fixture
def nets():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Linear(2, 3), nn.Linear(3, 1), nn.Linear(3, 2)


def batch(seed=0):
    return Batch({"x": torch.arange(12.0).view(4, 3) / 12}, StepDraws(seed, 4, 0, 4, CPU), 0, 0.0)


def turns(nets, critic, loss=None, penalties=None, **settings):
    generator = nets[0]
    return adversarial_turns(
        loss or NonSaturating(),
        penalties or {},
        real=lambda b: b["x"],
        fake=lambda b: generator(b.rng.randn(2)),
        critic=critic,
        **settings,
    )


def fakes(nets, seed=0):
    return nets[0](StepDraws(seed, 4, 0, 4, CPU).randn(2))


def test_the_loss_is_summed_over_the_heads(nets):
    """Heads with one and two scores per sample: each is averaged, and both count fully."""
    _, one, two = nets
    update, last = turns(nets, lambda x: [one(x), two(x)])
    terms, made, real = update.objective(here := batch()), fakes(nets), batch()["x"]
    by_hand = sum(softplus(-head(real)).mean() + softplus(head(made)).mean() for head in (one, two))
    torch.testing.assert_close(terms["loss"], by_hand)
    torch.testing.assert_close(terms["_real_score"], (one(real).mean() + two(real).mean()) / 2)
    by_hand = sum(softplus(-head(made)).mean() for head in (one, two))
    torch.testing.assert_close(last.objective(here)["loss"], by_hand)


def test_heads_may_have_weights(nets):
    _, one, two = nets
    update, last = turns(nets, lambda x: CriticOutput([one(x), two(x)], weights=[0.25, 2.0]))
    terms, made, real = update.objective(here := batch()), fakes(nets), batch()["x"]
    by_hand = sum(w * (softplus(-h(real)).mean() + softplus(h(made)).mean()) for h, w in ((one, 0.25), (two, 2.0)))
    torch.testing.assert_close(terms["loss"], by_hand)
    by_hand = sum(w * softplus(-h(made)).mean() for h, w in ((one, 0.25), (two, 2.0)))
    torch.testing.assert_close(last.objective(here)["loss"], by_hand)
    update, _ = turns(nets, lambda x: CriticOutput([one(x), two(x)], weights=[1.0]))
    with pytest.raises(GanError, match="2 heads and 1 weights"):
        update.objective(batch())


def test_a_penalty_of_a_critic_of_several_heads_is_that_of_their_sum(nets):
    """For linear heads the gradient is constant: the first weight plus the mean of the second's rows."""
    _, one, two = nets
    update, _ = turns(nets, lambda x: [one(x), two(x)], penalties={"r1": R1(weight=2.0)})
    slope = one.weight[0] + two.weight.mean(0)
    torch.testing.assert_close(update.objective(batch())["r1"], slope.square().sum())


def test_terms_see_samples_scores_and_features(nets):
    generator, one, two = nets
    seen = []

    def critic(x):
        seen.append(x)
        return CriticOutput(one(x), [two(x)])

    def matching(scored):
        return (scored.real_features[0] - scored.fake_features[0]).abs().mean()

    extra = {
        "generator": {"matching": matching},
        "discriminator": {"drift": lambda scored: scored.real_scores[0].square().mean() + 0 * scored.fake.sum()},
    }
    update, last = turns(nets, critic, terms=extra)
    terms, real, made = update.objective(here := batch()), batch()["x"], fakes(nets)
    torch.testing.assert_close(terms["drift"], one(real).square().mean())
    found = last.objective(here)["matching"]
    torch.testing.assert_close(found, (two(real) - two(made)).abs().mean())
    found.backward()
    assert generator.weight.grad is not None
    assert len(seen) == 4  # each kind once in each update


def test_real_samples_are_scored_in_the_generators_update_only_if_asked(nets):
    calls = []
    update, last = turns(nets, lambda x: (calls.append(x.shape), nets[1](x))[1])
    update.objective(here := batch())
    last.objective(here)
    assert len(calls) == 3
    _, last = turns(nets, lambda x: (calls.append(x.requires_grad), nets[1](x))[1], RelativisticPairing())
    here = batch()
    here.shared["fake"] = fakes(nets)
    last.objective(here)
    assert calls[3:] == [True, False]


def test_unknown_players_and_names_that_are_taken_are_refused(nets):
    with pytest.raises(GanError, match="terms of 'critic'; the players are generator and discriminator"):
        turns(nets, nets[1], terms={"critic": {}})
    update, _ = turns(nets, nets[1], terms={"discriminator": {"loss": lambda scored: scored.fake.mean()}})
    with pytest.raises(GanError, match="a term is called 'loss'"):
        update.objective(batch())
    update, _ = turns(nets, lambda x: [])
    with pytest.raises(GanError, match="returned no scores"):
        update.objective(batch())


@pytest.mark.parametrize("fresh", [False, True])
def test_fakes_are_shared_or_fresh(nets, fresh):
    seen = []
    update, last = turns(nets, lambda x: (seen.append(x.detach()), nets[1](x))[1], fresh_fakes=fresh)
    shared = {}
    for turn, seed in ((update, 1), (last, 2)):
        here = batch(seed)
        here.shared = shared
        turn.objective(here)
    _, first, second = seen
    assert torch.equal(first, second) != fresh
    torch.testing.assert_close(second, fakes(nets, 2 if fresh else 1))


def test_conditions_of_reals_and_of_fakes(nets):
    """Each kind gets its own, in the loss and in penalties; each is asked once in an update, after the fakes."""
    seen, asked = [], []

    def critic(x, condition):
        seen.append(condition)
        return nets[1](x)

    def named(name):
        return lambda b: asked.append(name) or name

    penalties = {"r1": R1(), "r2": R2(), "lazy": R2(every=2)}
    update, lazy, last = turns(
        nets, critic, penalties=penalties, conditions=named("real"), fake_conditions=named("fake")
    )
    here = batch()
    update.objective(here)
    assert seen == ["real", "fake", "real", "fake"]
    assert asked == ["real", "fake"]
    lazy.objective(here)
    assert seen[4:] == ["fake"]
    last.objective(here)
    assert seen[5:] == ["fake"]


def test_the_critic_may_see_the_batch(nets):
    def critic(x, batch):
        return nets[1](x) + batch.rng.randn(1)

    update, _ = turns(nets, critic, with_batch=True)
    rng = StepDraws(0, 4, 0, 4, CPU)
    made = nets[0](rng.randn(2))
    by_hand = softplus(-(nets[1](batch()["x"]) + rng.randn(1))).mean() + softplus(nets[1](made) + rng.randn(1)).mean()
    torch.testing.assert_close(update.objective(batch())["loss"], by_hand)


def test_a_lazy_penalty_that_ignores_fakes_makes_none(nets):
    made = []

    def fake(b):
        made.append(1)
        return nets[0](b.rng.randn(2))

    settings = {"real": lambda b: b["x"], "fake": fake, "critic": nets[1], "fresh_fakes": True}
    _, r1, r2, _ = adversarial_turns(NonSaturating(), {"r1": R1(every=4), "r2": R2(every=4)}, **settings)
    r1.objective(batch())
    assert made == []
    r2.objective(batch())
    assert made == [1]


def test_a_dial_penalizes_what_scores_change_under_small_noise(nets):
    """For heads of one and two scores: a hundred times the squared change of their sum, with rows of the same update;
    nothing is drawn without the dial, and integers have no noise."""
    _, one, two = nets
    update, last = turns(nets, lambda x: [one(x), two(x)])
    assert (update.smoothed, last.smoothed) == (True, False)
    plain = update.objective(batch())
    assert "smoothing" not in plain
    turned = batch()
    turned.dials = {SMOOTHING: 0.1}
    terms = update.objective(turned)
    torch.testing.assert_close(terms["loss"], plain["loss"])
    rows = StepDraws(0, 4, 0, 4, CPU)
    rows.randn(2)  # the fakes'
    change = 0.1 * rows.randn(3) @ (one.weight[0] + two.weight.mean(0))
    torch.testing.assert_close(terms["smoothing"], 100 * change.square().mean())
    terms["smoothing"].backward()
    assert one.weight.grad.norm() > 0
    whole = Batch({"x": torch.arange(12).view(4, 3)}, StepDraws(0, 4, 0, 4, CPU), 0, 0.0, dials={SMOOTHING: 0.1})
    update, _ = turns(nets, lambda x: one(x.float()))
    assert "smoothing" not in update.objective(whole)
