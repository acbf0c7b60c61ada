"""How often a turn is taken, with what step and batch: `Turn.every`, `lazy`, `rate` and `Phase.batch`."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gan.contracts import FieldSpec
from gan.errors import GanError
from gan.game import Optimizer, Phase, Player, Turn
from gan.generation.model import check_samples
from gan.recipe import Training
from gan.runtime.device import Device
from gan.training.trainer import Trainer
from torch import nn


class Numbers:
    """Real samples 0, 1, 2, …"""

    def __len__(self):
        return 1000

    def take(self, indices):
        return {"x": indices.astype(np.float32)}


class InOrder:
    def indices(self, position, count):
        return np.arange(position, position + count)


class Weight(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))


def train(turns_of, samples, batch=4, phase_batch=None):
    """The weight after plain gradient descent with step 1, and the batches that its objective was given."""
    module, seen = Weight(), []

    def objective(batch):
        seen.append((batch.position, batch["x"].tolist(), batch.rng.total, batch.rng.start))
        return {"loss": module.weight}

    player = Player(module, Optimizer(name="sgd", lr=1.0, betas=(0.0, 0.0)))
    trainer = Trainer(
        module,
        {"player": player},
        [Phase("only", turns_of(objective), samples, phase_batch)],
        Numbers(),
        InOrder(),
        Training(batch=batch, samples=samples),
        0,
        Device(torch.device("cpu"), torch.float32),
    )
    trainer.run(lambda tick: None)
    return float(module.weight.detach()), seen


def test_a_rare_turn_that_is_not_lazy_takes_plain_steps():
    """Six iterations, every third: two steps of 1 along a gradient of 1."""
    weight, seen = train(lambda f: [Turn("player", f, every=3, lazy=False)], samples=24)
    assert weight == -2.0
    assert [position for position, *_ in seen] == [0, 12]


def test_a_lazy_turn_is_weighted_and_its_optimiser_corrected():
    """Objective times 3, step times c = 1 / (1 + 1/3) = 3/4: two steps of 9/4."""
    weight, _ = train(lambda f: [Turn("player", f, every=3)], samples=24)
    assert weight == pytest.approx(-4.5)


def test_a_turns_rate_scales_the_players_step():
    weight, _ = train(lambda f: [Turn("player", f, lr_scale=0.25), Turn("player", f)], samples=8)
    assert weight == pytest.approx(-2.5)  # two iterations of 1/4 + 1


def test_a_phases_batch_replaces_the_trainings():
    _, seen = train(lambda f: [Turn("player", f)], samples=6, batch=4, phase_batch=2)
    assert seen == [(0, [0, 1], 2, 0), (2, [2, 3], 2, 0), (4, [4, 5], 2, 0)]


def test_only_a_field_that_says_so_may_be_longer():
    strict = FieldSpec((3,), "int32", 0, 9, "token")
    free = FieldSpec((3,), "int32", 0, 9, "token", longer=True)
    made = {"x": torch.zeros(2, 5, dtype=torch.int32)}
    check_samples(made, {"x": free}, 2, "somebody")
    with pytest.raises(GanError, match=r"\(2, 5\)"):
        check_samples(made, {"x": strict}, 2, "somebody")
    with pytest.raises(GanError):  # shorter is never right
        check_samples({"x": torch.zeros(2, 2, dtype=torch.int32)}, {"x": free}, 2, "somebody")
    with pytest.raises(GanError):  # nor another count
        check_samples(made, {"x": free}, 3, "somebody")
