"""A turn can be captured whole: traced once and replayed with other samples, seeds and step sizes, it trains the same.

What a graph of CUDA would record is recorded here by tracing the operations of an update on the path of accelerators,
with tensors of the CPU. Tracing fails where a number is read on the host.
"""

from __future__ import annotations

from collections import Counter
from functools import partial

import numpy as np
import pytest
import torch
from gan.adversarial import adversarial_turns
from gan.data.order import Order
from gan.draws import derive
from gan.game import Optimizer, Phase, Player, Schedule
from gan.losses import NonSaturating
from gan.penalties import R1
from gan.recipe import Training
from gan.runtime.device import Device
from gan.training.trainer import Trainer
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx


class Other(Device):
    """An accelerator whose tensors are those of the CPU."""

    synchronous = False


class Points:
    """Points in the plane."""

    def __init__(self):
        self.values = np.random.default_rng(0).normal(size=(64, 2)).astype(np.float32)

    def __len__(self):
        return len(self.values)

    def take(self, indices):
        return {"point": self.values[indices]}


class Net(nn.Module):
    """Two small networks; the generator has batch statistics and is averaged."""

    def __init__(self):
        super().__init__()
        self.generator = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
        self.critic = nn.Sequential(nn.Linear(2, 8), nn.LeakyReLU(), nn.Linear(8, 1))

    def turns(self):
        return adversarial_turns(
            NonSaturating(), {"r1": R1(weight=0.1)}, real=lambda batch: batch["point"],
            fake=lambda batch: self.generator(batch.rng.randn(2)), critic=lambda x: self.critic(x).squeeze(1),
            fresh_fakes=True,
        )  # fmt: skip


def built(name):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Net()
    optimizer = Optimizer(name=name, lr=Schedule(0.01, 0.001, 256), clip_norm=1.0)
    players = {
        "generator": Player(net.generator, optimizer, average=True),
        "discriminator": Player(net.critic, optimizer),
    }
    training = Training(samples=1024, batch=8, tick=1024, ema_half_life=64, ema_rampup=0.5)
    device = Other(torch.device("cpu"), torch.float32)
    data = Points()
    it = Trainer(net, players, [Phase("adversarial", net.turns())], data, Order(len(data), 3), training, 3, device)
    iterations(it, 1)  # the first update makes the optimizers' states and the sums of the statistics
    return it


def iterations(it, count):
    end = it.samples + 8 * count
    it.run(lambda tick: None, lambda: it.samples >= end)


def update(it, place, point):
    """What is captured."""
    turn = it.phases[0].turns[place]
    state = it.player_states[turn.player]
    it._update(state, turn, it.phases[0], place, {"point": point}, 0, 0.0, [{}])
    if state.average is not None:
        state.average.update()
    return point


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adam", "adamw", "rmsprop", "sgd"])
def test_a_captured_turn_trains_as_the_trainer(name):
    """Both players' updates and the average are traced, and replayed for five iterations; of the trainer, only what the
    host does is called."""
    eager, replayed = built(name), built(name)
    iterations(eager, 5)
    phase, progress = replayed.phases[0], replayed._progress
    graphs = {}
    for _ in range(5):
        (real,) = replayed._reals(progress.samples, 8, 1)
        for place, turn in enumerate(phase.turns):
            state = replayed.player_states[turn.player]
            state.set_step_size(0.0, progress.samples, 1.0, progress.position)
            seed = derive(3, "turn", phase.name, progress.iteration, place, 0)
            replayed._begin_update(seed, 1)

            if state.average is not None:
                state.average.set_share(8, progress.samples, progress.position)
            if place not in graphs:
                before = {n: v.clone() for n, v in whole_state(replayed).items()}
                graphs[place] = make_fx(partial(update, replayed, place))(real["point"])
                for value, old in zip(whole_state(replayed).values(), before.values(), strict=True):
                    value.detach().copy_(old)  # tracing computes as well
            with torch.no_grad():
                graphs[place](real["point"])
        progress.iteration, progress.position, progress.samples = (
            progress.iteration + 1, progress.position + 8, progress.samples + 8,
        )  # fmt: skip
    for (where, value), other in zip(whole_state(eager).items(), whole_state(replayed).values(), strict=True):
        torch.testing.assert_close(other, value, msg=where)
    computed = Counter(node.target for graph in graphs.values() for node in graph.graph.nodes if node.op != "get_attr")
    assert not any("_local_scalar_dense" in str(target) or "nonzero" in str(target) for target in computed)


def whole_state(it):
    """All tensors of the training, which are changed in place."""
    found = dict(it.architecture.state_dict(keep_vars=True))
    for name, state in it.player_states.items():
        for number, values in enumerate(state.optimizer.state.values()):
            found |= {f"{name}.{number}.{key}": value for key, value in values.items()}
        if state.average is not None:
            found |= {f"{name}.average.{key}": value for key, value in state.average.state_dict().items()}
        found |= {f"{name}.skips": state.skips, f"{name}.most": state.most_skips}
    return found | {f"stats.{key}": value for key, value in it.stats._sums.items()} | {"skipped": it._skipped}
