"""Optimizers of the trainer: torch's to the last bit, also where gradients are missing, states are reset or loaded."""

from __future__ import annotations

import pytest
import torch
from gan.game import Optimizer, Player
from gan.recipe import Training
from gan.runtime.device import Device
from gan.training.optimizers import FusedAdam, FusedSGD, build_optimizer
from gan.training.player_state import PlayerState
from gan.training.stats import Stats
from gan.training.update import clip_and_step
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

CPU = torch.device("cpu")


def nets():
    torch.manual_seed(0)
    made = [nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 7), nn.Linear(7, 1)) for _ in range(2)]
    made[1].load_state_dict(made[0].state_dict())
    return made


PAIRS = {
    "adam": (
        lambda p: FusedAdam(p, lr=0.01, betas=(0.5, 0.9), fused=True),
        lambda p: torch.optim.Adam(p, lr=0.01, betas=(0.5, 0.9), fused=True),
    ),
    "adamw": (
        lambda p: FusedAdam(p, lr=0.01, weight_decay=0.1, fused=True, decoupled_weight_decay=True),
        lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1, fused=True),
    ),
    "momentum": (lambda p: FusedSGD(p, lr=0.01, momentum=0.9, fused=True),
                 lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, fused=True)),
    "sgd": (lambda p: FusedSGD(p, lr=0.01, fused=True), lambda p: torch.optim.SGD(p, lr=0.01, fused=True)),
}  # fmt: skip


@pytest.mark.parametrize("name", PAIRS)
def test_steps_are_torchs(name):
    """Eight steps; in some, the first layer has no gradient; after the fifth, states go through a file's form."""
    ours, theirs = nets()
    optimizers = [kind(net.parameters()) for kind, net in zip(PAIRS[name], (ours, theirs), strict=True)]
    for step in range(8):
        for net, optimizer in zip((ours, theirs), optimizers, strict=True):
            optimizer.zero_grad()
            net(torch.full((4, 3), step + 1.0)).square().mean().backward()
            if step in (2, 3):
                net[0].weight.grad = net[0].bias.grad = None
            optimizer.step()
        for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert torch.equal(one, other)
        states = [optimizer.state_dict() for optimizer in optimizers]
        assert states[0]["param_groups"] == states[1]["param_groups"]
        assert states[0]["state"].keys() == states[1]["state"].keys()
        for place, state in states[0]["state"].items():
            assert list(state) == list(states[1]["state"][place])
            assert all(torch.equal(value, states[1]["state"][place][key]) for key, value in state.items())
        if step == 5:
            for optimizer, state in zip(optimizers, reversed(states), strict=True):  # each fits the other
                optimizer.load_state_dict(state)
        if step == 6:
            for optimizer in optimizers:
                optimizer.state.clear()


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd", "rmsprop"])
def test_a_step_may_be_left_out_from_the_first_on(name):
    """Twice left out, then taken: as if the first two had never been. The step size is a tensor."""
    ours, theirs = nets()
    settings = Optimizer(name=name, betas=(0.9, 0.9))
    left_out, plain = (build_optimizer(settings, list(n.parameters()), 1.0, CPU, tensors=True) for n in (ours, theirs))
    for optimizer in (left_out, plain):
        optimizer.set_step_size(0.01)
    for bad in (1.0, 1.0, 0.0):
        ours.zero_grad()
        (ours(torch.ones(4, 3)).square().mean() * (float("nan") if bad else 1.0)).backward()
        left_out.found_inf = torch.tensor(bad)
        left_out.step()
    theirs(torch.ones(4, 3)).square().mean().backward()
    plain.found_inf = torch.zeros(())
    plain.step()
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(one, other)


class Other(Device):
    """An accelerator whose tensors are those of the CPU."""

    synchronous = False


@pytest.mark.parametrize("kind", [Device, Other])
@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_the_operations_of_an_update_do_not_grow_with_the_tensors(kind, clip):
    """Apart from views of them. From the second step on; the first makes the states."""

    class Computed(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            views = any(r.alias_info is not None and not r.alias_info.is_write for r in func._schema.returns)
            self.count += not views and func.name() != "aten::detach"
            return func(*args, **(kwargs or {}))

    counts = []
    for number in (3, 50):
        module = nn.ParameterList([nn.Parameter(torch.ones(3)) for _ in range(number)])
        player = Player(module, Optimizer(clip_norm=clip), average=True)
        state = PlayerState("p", player, Training(ema_half_life=100), [], kind(CPU, torch.float32))
        stats = Stats()
        for _ in range(2):
            for parameter in module:
                parameter.grad = torch.ones(3)
            state.set_step_size(0.0, 0, 1.0)
            state.average.set_share(8, 100)
            with Computed() as computed:
                clip_and_step(state, [torch.zeros(())], kind(CPU, torch.float32), stats)
                state.average.update()
        counts.append(computed.count)
    assert counts[0] == counts[1] < 30
