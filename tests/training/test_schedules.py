"""Numbers that change: schedules in optimizers, penalties, averages and augmentations; dials that are saved."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from gan import api
from gan.build import recipe_values, resolve
from gan.data.order import Order
from gan.errors import UsageError
from gan.game import Batch, Optimizer, Phase, Player, Schedule, Turn
from gan.plugins.manager import Plugins
from gan.recipe import Training
from gan.reporting.reporter import Reporter
from gan.runtime.device import Device
from gan.runtime.signals import StopSignals
from gan.storage.checkpoint import Checkpoints
from gan.testing import learned, toy
from gan.training.session import Session, resume
from gan.training.trainer import Trainer
from torch import nn

CPU = Device(torch.device("cpu"), torch.float32)
RAMP = {"first": 1.0, "last": 0.2, "until": 640, "shape": "cosine"}
VALUES = {
    "plugin": "learned", "architecture": "running-mean", "model": {"hidden": 8, "layers": 1},
    "data": {"source": "ring"},
    "penalties": [{"name": "r1", "weight": RAMP}, {"name": "r2", "weight": 0.1, "every": 2}],
    "augmentations": [{"name": "turns", "strength": 0.5, "target": 0.0, "ramp": 2000}],
    "optimizers": {
        "generator": {"lr": {**RAMP, "first": 0.002}, "betas": [0.0, {**RAMP, "first": 0.9, "last": 0.99}]},
        "discriminator": {"name": "rmsprop", "lr": 0.001, "betas": [0.0, {**RAMP, "first": 0.9, "last": 0.99}]},
    },
    "training": {
        "samples": 1280, "batch": 64, "tick": 128, "ema_half_life": {**RAMP, "first": 0, "last": 500}, "device": "cpu",
        "precision": "fp32", "preview_ticks": 0,
    },
    "evaluation": {"metrics": [], "samples": 16, "artefacts": 1},
}  # fmt: skip


@pytest.fixture
def plugins(cache):
    found = Plugins()
    found.register("toy", toy)
    found.register("learned", learned)
    return found


def changed(**sections):
    values = json.loads(json.dumps(VALUES))
    for name, section in sections.items():
        values[name] = {**values[name], **section} if isinstance(section, dict) else section
    return values


def test_a_schedule_is_its_formula():
    line, wave = Schedule(1.0, 3.0, 100), Schedule(1.0, 3.0, 100, "cosine")
    later = Schedule(1.0, 3.0, 100, after=60)
    assert [later.at(samples) for samples in (0, 60, 80, 100, 500)] == [1.0, 1.0, 2.0, 3.0, 3.0]
    assert [line.at(n) for n in (0, 25, 100, 500)] == [1.0, 1.5, 3.0, 3.0]
    assert [wave.at(n) for n in (0, 50, 100, 500)] == pytest.approx([1.0, 2.0, 3.0, 3.0])
    assert wave.at(25) == pytest.approx(2 - math.cos(math.pi / 4))


def test_a_batch_gives_the_value_at_its_position_times_its_dial():
    here = Batch({}, None, 50, 0.0, dials={"penalties.r1.weight": 2.0})
    assert here.number("penalties.r1.weight", Schedule(1.0, 3.0, 100)) == 4.0
    assert here.number("penalties.r2.weight", Schedule(1.0, 3.0, 100)) == 2.0
    assert here.number("penalties.r2.weight", 0.1) == 0.1


class Weights(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))


class Numbers:
    def __len__(self):
        return 64

    def take(self, indices):
        return {"x": indices.astype(np.float32)}


def trained(optimizer, samples=32, dial=None, **training):
    net = Weights()
    turn = Turn("player", lambda batch: {"loss": net.weight})
    it = Trainer(
        net, {"player": Player(net, optimizer, average=True)}, [Phase("only", [turn])], Numbers(), Order(64, 0),
        Training(samples=samples, batch=8, **training), 0, CPU,
    )  # fmt: skip
    if dial:
        it.turn_dial(*dial)
    it.run(lambda tick: None)
    return it, float(net.weight.detach())


def test_a_learning_rate_by_schedule_takes_the_steps_of_its_formula():
    """Gradient 1, steps at 0, 8, 16 and 24 samples: 1, 0.75, 0.5, 0.25."""
    sgd = {"name": "sgd", "betas": (0.0, 0.0)}
    _, weight = trained(Optimizer(lr=Schedule(1.0, 0.0, 32), **sgd))
    assert weight == pytest.approx(-2.5)
    _, weight = trained(Optimizer(lr=1.0, **sgd), dial=("optimizers.player.lr", 0.5))
    assert weight == pytest.approx(-2.0)


@pytest.mark.parametrize("name", ["adam", "rmsprop", "sgd"])
def test_betas_by_schedule_are_those_of_the_last_step(name):
    beta = Schedule(0.5, 0.9, 32)
    it, _ = trained(Optimizer(name=name, betas=(beta, beta)))
    (group,) = it.player_states["player"].optimizer.param_groups
    expected = pytest.approx(0.8)
    assert {"adam": lambda: group["betas"][1], "rmsprop": lambda: group["alpha"], "sgd": lambda: group["momentum"]}[
        name
    ]() == expected


def test_the_half_life_of_the_average_by_schedule():
    """Weights 1, 2, 3, 4 below 0; half-lives 0, 8, 16, 24 with updates of 8: β = 0, ½, ½^½, ½^⅓."""
    it, _ = trained(
        Optimizer(name="sgd", lr=1.0, betas=(0.0, 0.0)),
        ema_half_life={"first": 0, "last": 32, "until": 32},
        ema_rampup=0,
    )
    average = 0.0
    for weight, half_life in ((-1, 0), (-2, 8), (-3, 16), (-4, 24)):
        keep = 0.5 ** (8 / half_life) if half_life else 0.0
        average = keep * average + (1 - keep) * weight
    found = it.player_states["player"].average.state_dict()["0.weight"]
    assert float(found) == pytest.approx(average)


def test_a_run_with_schedules_and_an_adaptive_augmentation_resumes_exactly(plugins, tmp_path):
    """Ended in the middle, made longer and resumed from its files: the same weights, averages and strength."""
    api.train(VALUES, out=tmp_path / "whole", plugins=plugins)
    api.train(changed(training={"samples": 640}), out=tmp_path / "parts", plugins=plugins)
    text = (tmp_path / "parts" / "recipe.yaml").read_text().replace("samples: 640", "samples: 1280")
    (tmp_path / "parts" / "recipe.yaml").write_text(text)
    resume(tmp_path / "parts", plugins, Reporter(), force=True)
    one, other = (Checkpoints(tmp_path / name / "checkpoints").newest() for name in ("whole", "parts"))
    assert one.samples == other.samples == 1280
    for owner in ("architecture", "average-generator", "augmentation-turns", "optimizer-generator"):
        assert json.dumps(one.state(owner), default=lambda t: t.tolist()) == json.dumps(
            other.state(owner), default=lambda t: t.tolist()
        )
    strength = one.state("augmentation-turns")["strength"].item()
    assert 0 < strength != 0.5


@pytest.mark.parametrize("micro_batch", [16, 32])
def test_parts_of_a_batch_train_as_the_whole(plugins, tmp_path, micro_batch):
    """With the augmentation's rows, its adaptation, penalties and conditions alike; sums in another order."""
    for name, parts in (("whole", None), ("parts", micro_batch)):
        values = changed(training={"micro_batch": parts, "samples": 640})
        values["optimizers"]["discriminator"] = {"name": "sgd", "lr": 0.01, "betas": [0.0, 0.0]}
        values["optimizers"]["generator"] = {"name": "sgd", "lr": 0.01, "betas": [0.0, 0.0]}
        api.train(values, out=tmp_path / name, plugins=plugins)
    one, other = (Checkpoints(tmp_path / name / "checkpoints").newest() for name in ("whole", "parts"))
    for owner in ("architecture", "augmentation-turns"):
        for key, value in one.state(owner).items():
            torch.testing.assert_close(other.state(owner)[key], value, rtol=1e-4, atol=1e-5)


def trainer_of(plugins, **sections):

    resolved = resolve(changed(**sections), plugins)
    return Session(resolved, plugins, Reporter(), CPU, StopSignals()).trainer


def test_a_penalty_by_schedule_and_dial_is_its_weight_at_the_position(plugins):
    """The reported R1 divided by the unweighted one, with the weights where they are."""
    it = trainer_of(plugins, augmentations=[], penalties=[{"name": "r1", "weight": RAMP}])
    plain = trainer_of(plugins, augmentations=[], penalties=[{"name": "r1", "weight": 1.0}])
    it.turn_dial("penalties.r1.weight", 0.5)
    found = []
    for one in (it, plain):
        batch = one._batch(one._reals(0, 64, 1)[0], 1, 0.0, {}, 0, 1)
        batch.position = 320
        found.append(one.phases[0].turns[0].objective(batch)["r1"].item())
    assert found[0] == pytest.approx(0.5 * 0.6 * found[1])


def test_a_dial_is_held_by_checkpoints_and_old_ones_load(plugins, tmp_path):
    it, fresh = trainer_of(plugins), trainer_of(plugins)
    it.turn_dial("training.ema_half_life", 0.25)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(0, it.owners(), {})
    checkpoints.newest().load(fresh.owners())
    assert fresh.dials == {"training.ema_half_life": 0.25}
    owners = it.owners()
    del owners["dials"]
    Checkpoints(tmp_path / "old").save(0, owners, {})
    Checkpoints(tmp_path / "old").newest().load(trainer_of(plugins).owners())


@pytest.mark.parametrize(
    "name", ["optimizers.nobody.lr", "optimizers.generator.eps", "penalties.r1", "augmentations.x.strength", "training"]
)
def test_a_dial_that_does_not_exist_is_refused(plugins, name):
    with pytest.raises(UsageError, match="there is no dial"):
        trainer_of(plugins).turn_dial(name, 1.0)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"training": {"ema_half_life": -1}}, "'training.ema_half_life' cannot be -1"),
        ({"training": {"ema_half_life": {"first": 1, "last": 2}}}, "'training.ema_half_life.until' is missing"),
        ({"penalties": [{"name": "r1", "weight": {"first": 1}}]}, r"'penalties.0.weight.last' is missing"),
        (
            {"penalties": [{"name": "r1", "weight": {**RAMP, "shape": "x"}}]},
            r"'penalties.0.weight.shape' cannot be 'x'",
        ),
        ({"penalties": [{"name": "r1", "weight": {**RAMP, "after": 640}}]}, "'after' must be smaller than 'until'"),
        ({"augmentations": ["turn"]}, "did you mean 'turns'"),
        ({"augmentations": ["turns", "turns"]}, "named twice"),
        ({"augmentations": [{"name": "turns", "p": 1}]}, "augmentation 'turns' has no setting 'p'"),
    ],
)
def test_mistakes_are_named(plugins, sections, message):
    with pytest.raises(UsageError, match=message):
        resolve(changed(**sections), plugins)


def test_a_mistake_in_an_optimizer_is_named(plugins):
    values = changed(optimizers={"generator": {"lr": {"first": 1, "last": 2, "until": 0}}})
    with pytest.raises(UsageError, match=r"'optimizers.generator.lr.until' cannot be 0"):
        resolve(values, plugins)


def test_the_recipe_of_a_run_states_its_schedules(plugins, tmp_path):
    import yaml

    api.train(changed(training={"samples": 64}), out=tmp_path / "run", plugins=plugins)
    stored = yaml.safe_load(Path(tmp_path / "run" / "recipe.yaml").read_text())
    assert stored["optimizers"]["generator"]["lr"] == {**RAMP, "first": 0.002, "after": 0}
    assert stored["training"]["ema_half_life"] == {**RAMP, "first": 0, "last": 500, "after": 0}
    again = resolve(stored, plugins)
    assert again.penalties["r1"].weight == Schedule(1.0, 0.2, 640, "cosine")


def test_recipe_values_of_the_toys_still_resolve(plugins):
    assert resolve(recipe_values(plugins, "learned"), plugins).augmentations == {}
