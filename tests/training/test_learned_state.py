"""What objectives observe is learned once an update: alike for parts of a batch, for processes, after resuming."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from gan.adversarial import CriticOutput, adversarial_turns, plus
from gan.contracts import FieldSpec
from gan.data.order import Order
from gan.errors import GanError
from gan.game import Optimizer, Phase, Player, Turn
from gan.losses import NonSaturating
from gan.penalties import R1, R2
from gan.plugins.manager import Plugins
from gan.recipe import Training
from gan.runtime.device import Device
from gan.storage.checkpoint import Checkpoints
from gan.testing import learned, toy
from gan.testing.learned_nets import VQ, RunningMean, Turns
from gan.training.learning import Learner
from gan.training.trainer import Trainer
from torch import nn

CPU = Device(torch.device("cpu"), torch.float32)
FIELDS = {"points": FieldSpec((2,), "float32", -6.0, 6.0, "position")}


class Grid:
    """Points of the grid of 25 Gaussians."""

    def __init__(self):
        rng = np.random.default_rng(0)
        self.points = (2 * rng.integers(-2, 3, (512, 2)) + 0.05 * rng.standard_normal((512, 2))).astype(np.float32)

    def __len__(self):
        return len(self.points)

    def take(self, indices):
        return {"points": self.points[indices]}


def built(kind, **settings):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return kind(kind.Config(**settings), FIELDS)


class Everything(RunningMean):
    """A critic of two heads with features, conditions for reals and for fakes, a phase shuffle, terms and a gate, and
    an adaptive augmentation."""

    def __init__(self, config, fields):
        super().__init__(config, fields)
        self.turns = Turns(strength=0.5, target=0.0, ramp=1000)

    def players(self):
        """With steps proportional to gradients: Adam's first ones amplify the rounding of gradients near zero."""
        sgd = Optimizer(name="sgd", lr=0.05, betas=(0.0, 0.0))
        return {name: replace(player, optimizer=sgd) for name, player in super().players().items()}

    def phases(self, loss, penalties):
        def critic(samples, condition, batch):
            inner = self.discriminator[:2](samples + condition)
            shuffled = samples * batch.rng.randint(2, 1)
            return CriticOutput([self.discriminator(samples + condition), self.discriminator(shuffled)], [inner])

        def matching(scored):
            return (scored.real_features[0].detach() - scored.fake_features[0]).abs().mean()

        first, *rest = adversarial_turns(
            loss,
            {"r1": R1(weight=0.1, every=2), "r2": R2(weight=0.1)},
            real=lambda batch: batch["points"],
            fake=lambda batch: self.generator(batch.rng.randn(2)),
            critic=critic,
            conditions=lambda batch: batch["points"].roll(1, 1),
            fake_conditions=lambda batch: -batch["points"],
            with_batch=True,
            fresh_fakes=True,
            terms={
                "generator": {"matching": matching},
                "discriminator": {"drift": lambda scored: 1e-3 * scored.real_scores[0].square().mean()},
            },
        )

        def observe(batch):
            batch.observe("sum", batch["points"].sum(0))
            batch.observe("count", torch.tensor(batch.count))
            return {"more": 1e-3 * self.discriminator[0].weight.square().sum()}

        def learn(observed, rng):
            self.mean.lerp_(observed["sum"] / observed["count"] + 0.1 * rng.randn(2).mean(0), 0.05)

        first = replace(plus(first, observe, learn=learn), when=lambda batch: self.mean[0] < 0.5)
        return [Phase("adversarial", [first, *rest])]


KINDS = [VQ, RunningMean, Everything]


def trainer(net, samples=640, batch=64, phases=None, players=None, device=CPU, **training):
    data = Grid()
    return Trainer(
        net,
        players or net.players(),
        phases or net.phases(NonSaturating(), {}),
        data,
        Order(len(data), 3),
        Training(samples=samples, batch=batch, **training),
        3,
        device,
        {"turns": net.turns} if isinstance(net, Everything) else {},
    )


@pytest.mark.parametrize("kind", KINDS)
def test_parts_of_a_batch_learn_what_the_whole_batch_learns(kind):
    """Ten updates in one, four and 16 parts. Float32 sums in another order differ by some 1e-6; learning once a part
    would move the averages four and 16 times as far."""
    nets = []
    for micro_batch in (None, 16, 4):
        net = built(kind)
        trainer(net, micro_batch=micro_batch).run(lambda tick: None)
        nets.append(net.state_dict())
    if kind is Everything:
        assert 0 < nets[0]["turns.strength"] != 0.5
    for other in nets[1:]:
        assert other.keys() == nets[0].keys()
        for name, value in nets[0].items():
            torch.testing.assert_close(other[name], value, rtol=1e-4, atol=1e-5)


def test_the_running_mean_is_the_formula():
    """One update: 0.05 of the batch's mean."""
    net = built(RunningMean)
    it = trainer(net, samples=64)
    first = Grid().take(Order(512, 3).indices(0, 64))["points"]
    it.run(lambda tick: None)
    torch.testing.assert_close(net.mean, torch.from_numpy(0.05 * first.mean(0)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_training_ends_bit_identical(kind, tmp_path):
    whole = built(kind)
    trainer(whole).run(lambda tick: None)
    checkpoints = Checkpoints(tmp_path)
    it = trainer(built(kind))
    while True:
        it.run(lambda tick: None, lambda: True)
        if it.finished:
            break
        checkpoints.save(it.samples, it.owners(), {})
        it = trainer(built(kind))
        checkpoints.newest().load(it.owners())
    ended = it.architecture.state_dict()
    assert all(torch.equal(value, ended[name]) for name, value in whole.state_dict().items())


def test_two_processes_learn_what_one_learns(tmp_path):
    """Ten updates of 64 points, on two processes in two parts each; the sums differ in their order only."""
    child = subprocess.Popen([sys.executable, __file__, "1", str(tmp_path)], env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        as_process(0, tmp_path)
    finally:
        assert child.wait(timeout=120) == 0
    for kind in KINDS:
        net = built(kind)
        trainer(net).run(lambda tick: None)
        for rank in (0, 1):
            other = torch.load(tmp_path / f"{kind.__name__}-{rank}.pt")
            for name, value in net.state_dict().items():
                torch.testing.assert_close(other[name], value, rtol=1e-4, atol=1e-5)


def as_process(rank, folder):
    """Train both kinds as one of two processes and save their states."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    try:
        for kind in KINDS:
            net = built(kind)
            trainer(net, device=replace(CPU, rank=rank, world_size=2), micro_batch=16).run(lambda tick: None)
            torch.save(net.state_dict(), folder / f"{kind.__name__}-{rank}.pt")
    finally:
        torch.distributed.destroy_process_group()


class Counter(nn.Module):
    """One weight and one buffer."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.register_buffer("total", torch.zeros(()))

    def play(self, turn, samples=24, **training):
        player = Player(self, Optimizer(name="sgd", lr=1.0, betas=(0.0, 0.0)))
        it = trainer(self, samples, 8, [Phase("only", [turn])], {"player": player}, **training)
        ticks = []
        it.run(ticks.append)
        return ticks


def test_what_was_observed_in_a_skipped_update_does_not_remain():
    """The second of three losses is not finite."""
    net = Counter()

    def objective(batch):
        batch.observe("seen", torch.ones(()))
        bad = batch.position == 8
        return {"loss": net.weight * (float("nan") if bad else 1.0)}

    net.play(Turn("player", objective, learn=lambda observed, rng: net.total.add_(observed["seen"])))
    assert net.total.item() == 2
    assert net.weight.item() == -2


def test_an_update_that_is_not_to_happen_changes_nothing_but_what_is_learned():
    """A gate as in 3D-GAN: the player learns only while the learned total is below 2; nothing counts as skipped."""
    net = Counter()

    def objective(batch):
        batch.observe("seen", torch.ones(()))
        return {"loss": net.weight}

    turn = Turn(
        "player",
        objective,
        learn=lambda observed, rng: net.total.add_(observed["seen"]),
        when=lambda batch: net.total < 2,
    )
    ticks = net.play(turn, samples=64, max_skips=0)
    assert net.weight.item() == -2
    assert net.total.item() == 8
    assert sum(tick.skipped for tick in ticks) == 0
    assert np.mean([tick.terms["player/_updated"] for tick in ticks]) == pytest.approx(2 / 8)


def test_a_truth_on_the_host_is_refused():
    net = Counter()
    with pytest.raises(GanError, match="must return a boolean tensor"):
        net.play(Turn("player", lambda batch: {"loss": net.weight}, when=lambda batch: True))


def test_observing_without_learning_is_refused():
    net = Counter()

    def objective(batch):
        batch.observe("seen", torch.ones(()))
        return {"loss": net.weight}

    with pytest.raises(GanError, match="observed seen, but the turn has no `learn`"):
        net.play(Turn("player", objective))


def test_observing_other_shapes_later_is_refused():
    net = Counter()

    def objective(batch):
        batch.observe("seen", torch.ones(1 + batch.position // 8))
        return {"loss": net.weight}

    with pytest.raises(GanError, match=r"observed seen \(2,\) float32; in its first update it observed seen \(1,\)"):
        net.play(Turn("player", objective, learn=lambda observed, rng: None))


def test_terms_are_added_to_a_turn():
    """-1 from each objective; the observations of both are learned in their order."""
    net, order = Counter(), []

    def objective(batch):
        batch.observe("first", torch.ones(()))
        return {"loss": net.weight}

    def more(batch):
        batch.observe("second", torch.ones(()))
        return {"more": net.weight}

    first = Turn("player", objective, learn=lambda observed, rng: order.append("first"))
    net.play(plus(first, more, learn=lambda observed, rng: order.append("second")), samples=8)
    assert net.weight.item() == -2
    assert order == ["first", "second"]
    with pytest.raises(GanError, match="both objectives of a turn of 'player' have a term 'loss'"):
        net.play(plus(first, objective), samples=8)


def test_learning_receives_rows_for_the_whole_batch():
    net, rows = Counter(), []

    def objective(batch):
        batch.observe("seen", torch.ones(()))
        return {"loss": net.weight}

    for micro_batch in (None, 2):
        turn = Turn("player", objective, learn=lambda observed, rng: rows.append(rng.randn(3)))
        net.play(turn, samples=8, micro_batch=micro_batch)
    assert rows[0].shape == (8, 3)
    assert torch.equal(*rows)


def test_on_an_accelerator_the_choice_is_made_there(monkeypatch):
    """The path without a wait, on the CPU: values before and after are chosen by a tensor."""
    net = Counter()
    learner = Learner(net, list(net.parameters()), Device(torch.device("meta"), torch.float32), None)

    def learn(observed, rng):
        net.total.add_(observed["seen"])

    for bad, expected in ((0.0, 1.0), (1.0, 1.0), (0.0, 2.0)):
        learner.learn("turn", learn, {"seen": torch.ones(())}, None, torch.tensor(bad))
        assert net.total.item() == expected


def test_an_out_of_memory_process_takes_part():
    """It adds zeros of the shapes that it remembers; before it has any, all leave learning out."""

    class Peers:
        oom_reason = "no more"

        def any(self, *flags):
            return list(flags)

    peers = Peers()
    learner = Learner(Counter(), [], CPU, peers)
    assert learner.totals("turn", [], "here") is None
    peers.oom_reason = ""
    assert learner.totals("turn", [{"a": torch.ones(2)}, {"a": torch.ones(2)}], "here")["a"].tolist() == [2, 2]
    peers.oom_reason = "no more"
    assert learner.totals("turn", [], "here")["a"].tolist() == [0, 0]


def test_the_toys_pass_the_conformance_kit(tmp_path, cache):
    from gan.conformance.checking import run_checks
    from gan.conformance.kit import Kit

    plugins = Plugins()
    plugins.register("toy", toy)
    plugins.register("learned", learned)
    found = []
    kit = Kit(
        plugins, "learned", {}, lambda event, outcome, subject: found.append(outcome) if outcome else None, tmp_path
    )
    run_checks(kit)
    wrong = [
        o
        for o in found
        if o.status in ("failed", "noted") and o.check not in ("import is light", "metadata", "licence")
    ]
    assert wrong == []
    assert sum(o.check == "learned state" and o.status == "passed" for o in found) == 2
    assert any(o.subject == "augmentation turns" and o.check == "arithmetic" for o in found)


if __name__ == "__main__":
    as_process(int(sys.argv[1]), Path(sys.argv[2]))
