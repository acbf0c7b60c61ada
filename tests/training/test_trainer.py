"""The trainer turns the crank: schedules, freezing, lazy turns, phases, averages, exactness."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from gan.adversarial import adversarial_turns
from gan.data.order import Order
from gan.errors import GanError, NumericError, UsageError
from gan.game import Batch, Optimizer, Phase, Player, Turn
from gan.losses import NonSaturating, RelativisticPairing, Wasserstein
from gan.penalties import R1, GradientPenalty
from gan.recipe import Training
from gan.runtime.device import Device
from gan.training.trainer import Trainer
from torch import nn

CPU = Device(torch.device("cpu"), torch.float32)


class Numbers:
    """Real samples 0, 1, 2 … as one field."""

    def __init__(self, count=64, width=2):
        generator = np.random.Generator(np.random.Philox(7))
        self.values = generator.normal(size=(count, width)).astype(np.float32)

    def __len__(self):
        return len(self.values)

    def take(self, indices):
        return {"point": self.values[indices]}


class Net(nn.Module):
    """A generator and a critic of one layer."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.generator = nn.Linear(2, 2)
            self.critic = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1))

    def fake(self, batch):
        return self.generator(batch.rng.randn(2))

    def turns(self, loss, penalties, repeats=1):
        return adversarial_turns(
            loss,
            penalties,
            real=lambda batch: batch["point"],
            fake=self.fake,
            critic=lambda x: self.critic(x).squeeze(1),
            critic_repeats=repeats,
        )

    def players(self, **settings):
        optimizer = Optimizer(**{"lr": 0.01, **settings})
        return {
            "generator": Player(self.generator, optimizer, average=True),
            "discriminator": Player(self.critic, optimizer),
        }


def trainer(net, turns, samples=64, batch=8, device=CPU, players=None, phases=None, data=None, **training):
    data = data or Numbers()
    return Trainer(
        net,
        players or net.players(),
        phases or [Phase("adversarial", turns)],
        data,
        Order(len(data), 3),
        Training(samples=samples, batch=batch, **training),
        3,
        device,
    )


def run(it, stop=lambda: False):
    ticks = []
    it.run(ticks.append, stop)
    return ticks


def count(objective, calls, name):
    def counted(batch):
        calls.append(name)
        return objective(batch)

    return counted


@pytest.mark.parametrize("repeats", [1, 5])
def test_turns_come_in_their_order_and_number(repeats):
    """A WGAN-GP with five critic turns shows 5·batch real samples an iteration."""
    net, calls = Net(), []
    penalties = {"gradient-penalty": GradientPenalty()} if repeats == 5 else {}
    turns = net.turns(Wasserstein(), penalties, repeats)
    turns = [Turn(t.player, count(t.objective, calls, t.player), t.repeats, t.every) for t in turns]
    it = trainer(net, turns, samples=2 * 8 * repeats)
    run(it)
    assert calls == (["discriminator"] * repeats + ["generator"]) * 2
    assert it.samples == 2 * 8 * repeats


def test_lazy_turns_come_every_kth_iteration_and_correct_the_optimiser():
    """R1 every 4: c = 4/5, lr·c, β^c; and its objective counts four times."""
    net, calls = Net(), []
    turns = net.turns(NonSaturating(), {"r1": R1(weight=1.0, every=4)})
    turns = [Turn(t.player, count(t.objective, calls, (t.player, t.every)), t.repeats, t.every) for t in turns]
    it = trainer(net, turns, samples=8 * 8)
    player_state = it.player_states["discriminator"]
    assert player_state.optimizer.param_groups[0]["betas"] == pytest.approx((0.5**0.8, 0.999**0.8))
    run(it)
    assert calls.count(("discriminator", 4)) == 2
    assert player_state.optimizer.param_groups[0]["lr"] == pytest.approx(0.01 * 0.8)
    assert it.player_states["generator"].optimizer.param_groups[0]["betas"] == (0.5, 0.999)


def test_a_lazy_objective_is_multiplied_by_its_interval():
    """Plain gradient descent on w with the lazy objective w: the step is lr·c·k, c = k/(k + 1)."""
    net = nn.Module()
    net.w = nn.Parameter(torch.zeros(1))
    turns = [
        Turn("one", lambda batch: {"loss": 0.0 * net.w.sum()}),
        Turn("one", lambda batch: {"loss": net.w.sum()}, every=4),
    ]
    it = trainer(net, turns, samples=8, players={"one": Player(net, Optimizer(name="sgd", lr=1.0, betas=(0.0, 0.0)))})
    run(it)
    assert net.w.item() == pytest.approx(-0.8 * 4)


def test_only_the_turns_player_gets_gradients():
    """The generator's turn runs through the critic and leaves it untouched, and the other way round."""
    net = Net()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    turns = net.turns(NonSaturating(), {})
    run(trainer(net, turns[:1], samples=8))
    changed = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {name for name in before if name.startswith("critic")}
    net = Net()
    both = net.turns(NonSaturating(), {})

    def generator_only(batch):
        batch.shared["fake"] = net.fake(batch)
        return both[1].objective(batch)

    run(trainer(net, [Turn("generator", generator_only)], samples=8))
    changed = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {name for name in before if name.startswith("generator")}


def test_one_iteration_equals_the_hand_written_one():
    """D then G with the same fakes, Adam: the trainer's weights are those of a loop written by hand."""
    net, twin = Net(), Net()
    it = trainer(net, net.turns(NonSaturating(), {}), samples=24)
    run(it)
    order, data = Order(64, 3), Numbers()
    from gan.draws import StepDraws, derive

    opt_d = torch.optim.Adam(twin.critic.parameters(), lr=0.01, betas=(0.5, 0.999), fused=True)
    opt_g = torch.optim.Adam(twin.generator.parameters(), lr=0.01, betas=(0.5, 0.999), fused=True)
    loss = NonSaturating()
    for step in range(3):
        real = torch.from_numpy(data.take(order.indices(8 * step, 8))["point"])
        seed = derive(3, "turn", "adversarial", step, 0, 0)
        fake = twin.generator(StepDraws(seed, 8, 0, 8, torch.device("cpu")).randn(2))
        opt_d.zero_grad()
        loss.discriminator(twin.critic(real).squeeze(1), twin.critic(fake.detach()).squeeze(1)).mean().backward()
        opt_d.step()
        opt_g.zero_grad()
        loss.generator(fake, twin.critic(fake).squeeze(1)).mean().backward()
        opt_g.step()
    for name, value in net.state_dict().items():
        assert torch.equal(value, twin.state_dict()[name]), name


@pytest.mark.parametrize("fresh", [False, True])
def test_a_fresh_phase_begins_with_new_optimisers(fresh):
    """The first step of a new Adam is the step size, 0.01. One that remembers 20 gradients of 100 divides 1 by the root
    of its second moment, (0.001 + 100² (0.999 - 0.999²¹)) / (1 - 0.999²¹) = 9,519: 0.01 / 97.6."""
    net, seen = Net(), []

    def phase(name, weight, samples, **settings):
        def objective(batch):
            return {"loss": weight * net.generator.weight.sum()}

        def look(batch):
            seen.append(float(net.generator.weight[0, 0]))

        return Phase(name, [Turn("generator", objective, after=look)], samples, **settings)

    phases = [phase("steep", 100.0, 160), phase("flat", 1.0, 8, reset_optimizers=fresh)]
    run(trainer(net, [], phases=phases, players=net.players(betas=(0.0, 0.999))))
    assert len(seen) == 21
    assert seen[-2] - seen[-1] == pytest.approx(0.01 if fresh else 0.01 / 97.6, rel=0.01)


def test_phases_follow_each_other():
    """A game of three phases: each takes its own turns for its own length."""
    net, calls = Net(), []
    turns = net.turns(NonSaturating(), {})

    def fit(batch):
        calls.append("fit")
        return {"loss": (net.generator(batch["point"]) - batch["point"]).square().mean()}

    phases = [
        Phase("fit", [Turn("generator", fit)], samples=16),
        Phase("critic", [Turn("discriminator", count(turns[0].objective, calls, "critic"))], samples=24),
        Phase("adversarial", [Turn(t.player, count(t.objective, calls, t.player)) for t in turns]),
    ]
    it = trainer(net, [], phases=phases, samples=16, tick=1000)
    ticks = run(it)
    assert calls == ["fit"] * 2 + ["critic"] * 3 + ["discriminator", "generator"] * 2
    assert [tick.phase for tick in ticks] == ["fit", "critic", "adversarial"]
    assert it.total == it.samples == 56


def test_one_player_learns():
    """A game with one player is ordinary training: the loss falls."""
    net = nn.Linear(2, 2)
    turn = Turn("only", lambda batch: {"loss": (net(batch["point"]) - 3).square().mean()})
    it = trainer(net, [turn], samples=8 * 400, players={"only": Player(net, Optimizer(lr=0.05))}, tick=800)
    ticks = run(it)
    assert ticks[-1].terms["only/loss"] < 0.05 * ticks[0].terms["only/loss"]


def state_of(it):
    flat = {}

    def walk(prefix, value):
        if isinstance(value, dict):
            for key, inner in value.items():
                walk(f"{prefix}/{key}", inner)
        elif isinstance(value, list | tuple):
            for key, inner in enumerate(value):
                walk(f"{prefix}/{key}", inner)
        elif isinstance(value, torch.Tensor):
            flat[prefix] = value.clone()
        elif not prefix.endswith("seconds"):
            flat[prefix] = value

    for name, owner in it.owners().items():
        walk(name, owner.state_dict())
    return flat


def assert_same(left, right):
    assert left.keys() == right.keys()
    for name, value in left.items():
        same = torch.equal(value, right[name]) if isinstance(value, torch.Tensor) else value == right[name]
        assert same, name


@pytest.mark.parametrize("stop_at", [8, 40, 88])
def test_stopped_and_resumed_is_the_same_training(tmp_path, stop_at):
    """Saved anywhere, inside a tick too, loaded into new objects: every state equal, bit for bit."""
    from gan.storage.checkpoint import Checkpoints

    def make():
        net = Net()
        turns = net.turns(RelativisticPairing(), {"r1": R1(weight=0.1, every=4)})
        return trainer(net, turns, samples=160, ema_half_life=32, tick=24)

    whole = make()
    all_ticks = run(whole)
    first = make()
    early = run(first, stop=lambda: first.samples >= stop_at)
    assert first.samples == stop_at
    Checkpoints(tmp_path).save(first.samples, first.owners(), {})
    second = make()
    Checkpoints(tmp_path).newest().load(second.owners())
    late = run(second)
    assert_same(state_of(whole), state_of(second))
    assert [tick.terms for tick in early + late] == [tick.terms for tick in all_ticks]


def test_sampling_does_not_change_the_training():
    """Making samples at every tick, with averaged weights, changes nothing that follows."""

    def trained(with_sampling):
        net = Net()
        it = trainer(net, net.turns(NonSaturating(), {}), samples=80, ema_half_life=16, tick=8)

        def sample(tick):
            if with_sampling:
                with it.sampling() as architecture:
                    architecture.generator(torch.randn(4, 2))
                torch.rand(3)
                np.random.rand(2)

        it.run(sample)
        return state_of(it)

    assert_same(trained(False), trained(True))


def test_sampling_uses_the_averages_and_gives_the_weights_back():
    net = Net()
    it = trainer(net, net.turns(NonSaturating(), {}), samples=80, ema_half_life=64)
    run(it)
    live = net.generator.weight.clone()
    average = it.player_states["generator"].average.state_dict()["0.weight"].clone()
    assert not torch.equal(live, average)
    with it.sampling() as architecture:
        assert torch.equal(architecture.generator.weight, average)
        assert not architecture.training
    assert torch.equal(net.generator.weight, live)
    assert net.training


def test_a_phase_adopts_averages(tmp_path):
    """The generator rests in the second phase with its averaged weights, also where the training is resumed there."""
    from gan.storage.checkpoint import Checkpoints

    def make():
        net = Net()
        turns = net.turns(NonSaturating(), {})
        later = Turn("discriminator", lambda batch: {"loss": net.critic(net.fake(batch)).square().mean()})
        phases = [Phase("first", turns, samples=64), Phase("second", [later], samples=32, adopt=["generator"])]
        return net, trainer(net, [], phases=phases, ema_half_life=32, tick=8)

    net, whole = make()
    run(whole, stop=lambda: whole.samples >= 64)
    average = whole.player_states["generator"].average.state_dict()["0.weight"].clone()
    assert not torch.equal(net.generator.weight, average)
    Checkpoints(tmp_path).save(whole.samples, whole.owners(), {})
    run(whole)
    assert torch.equal(net.generator.weight, average)
    _, resumed = make()
    Checkpoints(tmp_path).newest().load(resumed.owners())
    run(resumed)
    assert_same(state_of(whole), state_of(resumed))
    wrong = [Phase("first", net.turns(NonSaturating(), {}), adopt=["nobody"])]
    with pytest.raises(GanError, match="'nobody', who is no player"):
        trainer(net, [], phases=wrong)


def test_average_halves_an_old_value_after_its_half_life():
    """0 → 1 at once: after h samples the average is ½, whatever the batch."""
    from gan.training.ema import Average

    for batch in (1, 4, 16):
        parameter = nn.Parameter(torch.zeros(1))
        average = Average({"p": parameter}, half_life=64)
        parameter.data.fill_(1.0)
        for step in range(64 // batch):
            average.set_share(batch, step * batch)
            average.update()
        assert average.state_dict()["p"].item() == pytest.approx(0.5, abs=1e-5)


def test_a_gradient_that_is_not_finite_never_reaches_the_weights():
    """One poisoned step of ten is skipped and counted; the weights stay finite and equal to before that step."""
    net = Net()
    calls = []

    def poisoned(batch):
        calls.append(net.generator.weight.detach().clone())
        value = net.generator(batch["point"]).mean()
        return {"loss": value * math.nan if len(calls) == 4 else value}

    it = trainer(net, [Turn("generator", poisoned)], samples=80, tick=80)
    ticks = run(it)
    assert torch.equal(calls[3], calls[4])
    assert not torch.equal(calls[4], calls[5])
    assert all(torch.isfinite(value).all() for value in net.state_dict().values())
    assert ticks[-1].skipped == 1


def test_too_many_in_a_row_stop_with_the_players_name():
    net = Net()
    turn = Turn("generator", lambda batch: {"loss": net.generator(batch["point"]).mean() * math.inf})
    it = trainer(net, [turn], samples=800, max_skips=3)
    with pytest.raises(NumericError, match=r"player 'generator'.*not finite 4 times in a row"):
        run(it)
    assert all(torch.isfinite(value).all() for value in net.state_dict().values())


@pytest.mark.parametrize(
    ("settings", "progress", "expected"),
    [
        ({}, 0.9, 1.0),
        ({"schedule": "linear"}, 0.25, 0.75),
        ({"schedule": "linear", "decay_start": 0.5}, 0.5, 1.0),
        ({"schedule": "linear", "decay_start": 0.5}, 0.75, 0.5),
        ({"schedule": "cosine", "final": 0.1}, 1.0, 0.1),
        ({"schedule": "cosine"}, 0.5, 0.5),
    ],
)
def test_step_size_schedules(settings, progress, expected):
    net = Net()
    it = trainer(net, net.turns(NonSaturating(), {}), players=net.players(lr=1.0, **settings))
    it.player_states["generator"].set_step_size(progress, 0, 1.0)
    assert it.player_states["generator"].optimizer.param_groups[0]["lr"] == pytest.approx(expected)


def test_gradients_are_clipped_to_their_global_norm():
    """SGD with lr 1 moves by exactly the clipped norm."""
    net = nn.Linear(2, 2)
    before = torch.cat([p.detach().flatten().clone() for p in net.parameters()])
    player = Player(net, Optimizer(name="sgd", lr=1.0, betas=(0.0, 0.0), clip_norm=0.25))
    turn = Turn("only", lambda batch: {"loss": 1000 * net(batch["point"]).sum()})
    run(trainer(net, [turn], samples=8, players={"only": player}))
    after = torch.cat([p.detach().flatten() for p in net.parameters()])
    assert (after - before).norm().item() == pytest.approx(0.25, rel=1e-4)


def test_mistakes_of_an_architecture_are_named():
    net = Net()
    with pytest.raises(GanError, match="turn of 'critic', who is no player"):
        trainer(net, [Turn("critic", lambda batch: {})])
    shared = {"one": Player(net.generator), "two": Player(net)}
    with pytest.raises(GanError, match="'one' and 'two' share a parameter"):
        trainer(net, [Turn("one", lambda batch: {})], players=shared)
    it = trainer(net, [Turn("generator", lambda batch: {"loss": torch.tensor(1.0)})])
    with pytest.raises(GanError, match="gave no differentiable scalar"):
        run(it)
    three = Device(torch.device("cpu"), torch.float32, 0, 3)
    with pytest.raises(UsageError, match="no multiple of the 3 processes"):
        trainer(net, net.turns(NonSaturating(), {}), device=three)


def test_minutes_end_a_training_early():
    net = Net()
    it = trainer(net, net.turns(NonSaturating(), {}), samples=10**9, tick=10**8, minutes=0.005)
    ticks = run(it)
    assert not it.finished
    assert ticks[-1].final
    assert 0 < it.samples < 10**9


def test_order_shows_every_sample_once_a_pass():
    order = Order(10, seed=1)
    seen = np.concatenate([order.indices(position, 4) for position in range(0, 40, 4)])
    for start in range(0, 40, 10):
        assert sorted(seen[start : start + 10]) == list(range(10))
    assert not np.array_equal(seen[:10], seen[10:20])
    assert np.array_equal(Order(10, seed=1).indices(17, 9), seen[17:26])
    assert not np.array_equal(Order(10, seed=2).indices(0, 10), seen[:10])


def test_draws_are_the_same_for_one_process_and_for_many():
    from gan.draws import StepDraws

    whole = StepDraws(5, 8, 0, 8, torch.device("cpu"))
    parts = [StepDraws(5, 8, start, 4, torch.device("cpu")) for start in (0, 4)]
    assert torch.equal(whole.randn(3), torch.cat([part.randn(3) for part in parts]))
    assert torch.equal(whole.randint(7), torch.cat([part.randint(7) for part in parts]))


def test_a_sample_does_not_depend_on_its_neighbours():
    from gan.draws import SeededDraws

    cpu = torch.device("cpu")
    four = SeededDraws.of(9, 0, 4, cpu)
    one = SeededDraws.of(9, 2, 1, cpu)
    for rows, row in ((four.randn(2, 3), one.randn(2, 3)), (four.truncated_normal(5), one.truncated_normal(5))):
        assert torch.equal(rows[2:3], row)
    assert four.truncated_normal(1000).abs().max() <= 2


def test_a_batch_knows_where_training_stands():
    seen = []
    net = Net()

    def look(batch: Batch):
        seen.append((batch.position, batch.progress, batch.count))
        return {"loss": net.generator(batch["point"]).mean()}

    run(trainer(net, [Turn("generator", look)], samples=32))
    assert seen == [(0, 0.0, 8), (8, 0.25, 8), (16, 0.5, 8), (24, 0.75, 8)]


def test_after_runs_once_an_update_without_gradients():
    net, seen = Net(), []

    def clip(batch):
        seen.append(torch.is_grad_enabled())
        for parameter in net.critic.parameters():
            parameter.clamp_(-0.01, 0.01)

    turns = net.turns(Wasserstein(), {}, 5)
    turns = [Turn(turns[0].player, turns[0].objective, 5, after=clip), turns[1]]
    run(trainer(net, turns, samples=40))
    assert seen == [False] * 5
    assert max(parameter.abs().max() for parameter in net.critic.parameters()) <= 0.01


def test_relativistic_generator_sees_real_scores():
    """With D(x) far above D(G(z)) the pairing loss is softplus of the gap, which needs the reals."""
    net = Net()
    turns = net.turns(RelativisticPairing(), {})
    batch = Batch({"point": torch.full((4, 2), 5.0)}, SimpleNamespace(randn=lambda n: torch.zeros(4, n)), 0, 0.0)
    turns[0].objective(batch)
    value = turns[1].objective(batch)["loss"]
    real = net.critic(torch.full((4, 2), 5.0)).squeeze(1)
    fake = net.critic(net.generator(torch.zeros(4, 2))).squeeze(1)
    assert value.item() == pytest.approx(torch.nn.functional.softplus(real - fake).mean().item(), rel=1e-5)
