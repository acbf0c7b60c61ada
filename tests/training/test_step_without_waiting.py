"""A training step never waits for the device: no number is read on the host, by the trainer or by an architecture."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from gan import game
from gan.conformance.kit import Kit
from gan.conformance.small_game import play
from gan.game import Optimizer, Player
from gan.plugins.manager import Plugins
from gan.recipe import Training
from gan.runtime.device import Device
from gan.training.optimizers import MaskedRMSprop
from gan.training.player_state import PlayerState
from gan.training.prefetch import Prefetcher
from gan.training.stats import Stats
from gan.training.update import clip_and_step
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode


class Other(Device):
    """An accelerator whose tensors are those of the CPU."""

    synchronous = False


OTHER = Other(torch.device("cpu"), torch.float32)
WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "_unique", "unique_", "equal", "is_nonzero")
"""Operations whose result or whose shape the host must know."""
FIRST = ("image", "text", "music", "audio", "video", "3d")
ORDINARY = {"image/dcgan"}


class Waits(TorchDispatchMode):
    """Counts operations that wait for an accelerator."""

    def __init__(self):
        super().__init__()
        self.found = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.name().removeprefix("aten::").split(".")[0]
        masks = name == "index" and any(t is not None and t.dtype == torch.bool for t in args[1])
        if masks or any(name == waiting or name.startswith(f"{waiting}_") for waiting in WAITING):
            self.found[name] += 1
        return func(*args, **(kwargs or {}))


def test_the_count_finds_what_waits():
    values = torch.tensor([1.0, 0.0])
    with Waits() as waits:
        values.sum().item(), bool(values[0]), values.nonzero(), values[values > 0], values.unique()
        float(values[0]), values.tolist()
        values * 2 + values[torch.tensor([0])]
    assert waits.found["_local_scalar_dense"] >= 3
    assert {"nonzero", "index"} <= waits.found.keys()


@pytest.mark.parametrize("name", ["adam", "adamw", "rmsprop", "sgd"])
@pytest.mark.parametrize("gate", [None, True, False])
def test_an_update_reads_nothing_and_leaves_a_bad_step_out(name, gate):
    """The path of accelerators with tensors of the CPU: a step, one that is not finite, and one that a gate decides."""
    net = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
    optimizer = Optimizer(name=name, clip_norm=1.0)
    state = PlayerState("p", Player(net, optimizer), Training(), [], OTHER)
    state.set_step_size(0.0, 0, 1.0)
    stats, allowed = Stats(), None if gate is None else torch.tensor(gate)
    for bad in (0.0, float("nan"), 0.0):
        loss = net(torch.ones(4, 3)).square().mean() + bad
        for parameter in state.parameters:
            parameter.grad = None
        (loss * (1 + bad)).backward()
        before = [parameter.detach().clone() for parameter in state.parameters]
        losses = [loss.detach()]
        with Waits() as waits:
            skipped, wrong = clip_and_step(state, losses, OTHER, stats, allowed)
        assert waits.found == {}
        moved = any(not torch.equal(old, new) for old, new in zip(before, state.parameters, strict=True))
        assert moved == (gate is not False and bad == 0)
        assert wrong.item() == (bad != 0)
        assert skipped.item() == (bad != 0 and gate is not False)


def test_masked_rmsprop_is_torchs():
    nets = [nn.Linear(3, 2) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    plain = torch.optim.RMSprop(nets[0].parameters(), lr=0.01, alpha=0.9)
    masked = MaskedRMSprop(nets[1].parameters(), lr=0.01, alpha=0.9)
    for step in range(5):
        for net, optimizer in zip(nets, (plain, masked), strict=True):
            optimizer.zero_grad()
            net(torch.full((4, 3), step + 1.0)).square().mean().backward()
            optimizer.step()
    torch.testing.assert_close(nets[1].weight, nets[0].weight, rtol=1e-5, atol=1e-6)
    assert masked.state_dict()["state"][0].keys() == plain.state_dict()["state"][0].keys()
    masked.load_state_dict(plain.state_dict())
    before = nets[1].weight.detach().clone()
    masked.found_inf = torch.ones(())
    nets[1].weight.grad.fill_(float("inf"))
    masked.step()
    assert torch.equal(nets[1].weight, before)
    assert masked.state_dict()["state"][0]["step"] == 5


ARCHITECTURES = [
    pytest.param(
        plugin, entry.entry.name,
        marks=[] if f"{plugin}/{entry.entry.name}" in ORDINARY else [pytest.mark.slow],
        id=f"{plugin}/{entry.entry.name}",
    )
    for plugin in FIRST
    for entry in Plugins.installed().entries("gan_architectures", plugin)
]  # fmt: skip


@pytest.mark.parametrize(("plugin", "name"), ARCHITECTURES)
def test_a_turn_of_every_architecture_reads_nothing(plugin, name, tmp_path, cache, monkeypatch):
    """One iteration of each of its phases, on the path of accelerators."""
    monkeypatch.setattr(game, "asynchronous", lambda device: True)
    plugins = Plugins.installed()
    (entry,) = [e for e in plugins.entries("gan_architectures", plugin) if e.entry.name == name]
    played = play(Kit(plugins, plugin, {}, lambda *said: None, tmp_path), entry)
    found = Counter()

    def counted(call):
        def inner(*arguments):
            with Waits() as waits:
                result = call(*arguments)
            found.update(waits.found)
            return result

        return call and inner

    trainer = played.trainer()
    for number, phase in enumerate(trainer.phases):
        turns = [
            replace(
                t, objective=counted(t.objective), after=counted(t.after), learn=counted(t.learn), when=counted(t.when)
            )
            for t in phase.turns
        ]
        trainer.phases[number] = replace(phase, turns=turns)
    for number in range(len(trainer.phases)):
        trainer._progress.phase, trainer._progress.position, trainer._progress.iteration = number, 0, 0
        trainer.run(lambda tick: None, lambda: True)
    assert found == {}


def test_batches_are_gathered_ahead_and_are_the_same():
    """In a thread: every batch is gathered once, before it is asked for; after a jump, where it is asked for."""
    seen = []

    def gather(position, count):
        seen.append((position, threading.current_thread() is threading.main_thread()))
        return {"x": np.arange(position, position + count)}

    ahead = Prefetcher(gather, torch.device("cpu"), ahead=True)
    plain = Prefetcher(gather, torch.device("cpu"))
    for first in (0, 8, 16, 80, 88):
        wanted, following = [(first, 4), (first + 4, 4)], [(first + 8, 4), (first + 12, 4)]
        for one, other in zip(ahead.batches(wanted, following), plain.batches(wanted, following), strict=True):
            assert torch.equal(one["x"], other["x"])
    threaded = [position for position, main in seen if not main]
    assert len(threaded) == len(set(threaded))
    assert {0, 4, 8, 12, 16, 20, 80, 84, 88, 92} <= set(threaded)
    assert [position for position, main in seen if main] == [0, 4, 8, 12, 16, 20, 80, 84, 88, 92]


def test_an_error_of_the_data_arrives_in_the_training():
    def gather(position, count):
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        Prefetcher(gather, torch.device("cpu"), ahead=True).batches([(0, 4)], [(4, 4)])
