"""Consistency, LeCam and top-k: their formulas, by recipe for any plugin, in parts of a batch, resumed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gan.adversarial import adversarial_turns, loss_at
from gan.build import build_game, recipe_values, resolve
from gan.contracts import ScorePenalty
from gan.data.order import Order
from gan.draws import StepDraws
from gan.errors import UsageError
from gan.game import Batch, Schedule
from gan.losses import Hinge, NonSaturating, TopK
from gan.penalties import Consistency, LeCam
from gan.plugins.manager import Plugins
from gan.recipe import with_settings
from gan.runtime.device import Device
from gan.storage.checkpoint import Checkpoints
from gan.testing import toy
from gan.training.trainer import Trainer
from torch import nn

CPU = torch.device("cpu")
RECIPE = [
    "training.samples=320", "training.batch=32", "training.ema_half_life=100", "training.ema_rampup=0",
    "model.hidden=8", "optimizers.generator={name: sgd, lr: 0.05}", "optimizers.discriminator={name: sgd, lr: 0.05}",
    "penalties=[{name: lecam, weight: 0.5, decay: 0.8}, {name: consistency, weight: 1.0, noise: 0.3, every: 2}]",
]  # fmt: skip


class Points:
    def __init__(self):
        self.points = np.random.default_rng(0).standard_normal((64, 2)).astype(np.float32)

    def __len__(self):
        return len(self.points)

    def take(self, indices):
        return {"points": self.points[indices]}


def trainer(plugins, *settings):
    resolved = resolve(with_settings(recipe_values(plugins, "toy"), [*RECIPE, *settings]), plugins)
    modality = resolved.modality_class(resolved.modality_config)
    game = build_game(resolved, modality.fields)
    return Trainer(
        game.architecture,
        game.players,
        game.phases,
        Points(),
        Order(64, 0),
        resolved.recipe.training,
        resolved.recipe.seed,
        Device(CPU, torch.float32),
        resolved.augmentations,
        resolved.penalties,
    )


def rng(count=4, seed=0):
    return StepDraws(seed, count, 0, count, CPU)


# ---------------------------------------------------------------------- LeCam


def test_lecam_is_the_formula():
    """Nothing before the first update; then squares of what exceeds the running mean of the other kind."""
    penalty = LeCam(decay=0.75)
    real, fake = torch.tensor([1.0, 3.0]), torch.tensor([-2.0, 0.0])
    assert isinstance(penalty, ScorePenalty)
    assert torch.equal(penalty.of_scores(real, fake), torch.zeros(2))
    penalty.learn(penalty.observe(real, fake), 2)
    assert (penalty.real_mean.item(), penalty.fake_mean.item()) == (2.0, -1.0)  # the first update sets them
    expected = [(1 + 1) ** 2 + (2 + 2) ** 2, (3 + 1) ** 2 + 2**2]
    torch.testing.assert_close(penalty.of_scores(real, fake), torch.tensor(expected, dtype=torch.float32))
    penalty.learn(penalty.observe(real + 4, fake), 2)
    assert penalty.real_mean.item() == 2.0 + 0.25 * 4
    low = penalty.of_scores(torch.tensor([-5.0]), torch.tensor([9.0]))
    assert low.item() == 0  # scores on the wrong side are left alone


def test_lecam_takes_the_scores_of_the_critics_update():
    """The critic runs twice, for the loss, and not once more for the penalty."""
    calls = []
    critic = nn.Linear(3, 1)

    def counted(samples):
        calls.append(len(samples))
        return critic(samples)

    penalty = LeCam(weight=2.0)
    penalty.learn({"real": torch.tensor(1.0), "fake": torch.tensor(-1.0), "count": torch.tensor(1.0)}, 1)
    turns = adversarial_turns(
        NonSaturating(), {"lecam": penalty}, real=lambda b: b["x"], fake=lambda b: -b["x"], critic=counted
    )
    batch = Batch({"x": torch.arange(12.0).view(4, 3) / 12}, rng(), 0, 0.0)
    terms = turns[0].objective(batch)
    assert calls == [4, 4]
    scores = critic(batch["x"]).squeeze(1), critic(-batch["x"]).squeeze(1)
    torch.testing.assert_close(terms["lecam"], 2 * penalty.of_scores(*scores).mean())
    torch.testing.assert_close(batch.observed["penalties.lecam.real"], scores[0].sum().detach())


# ---------------------------------------------------------------------- consistency


def test_consistency_compares_scores_before_and_after():
    """A linear critic D(x) = a·x and noise of deviation s: the mean is s²‖a‖² for each kind of samples."""
    slope = torch.tensor([3.0, -4.0])
    penalty = Consistency(noise=0.1, fake=0.5)
    real, fake = torch.randn(20_000, 2), torch.randn(20_000, 2)
    value = penalty(lambda x: x @ slope, real, fake, rng(20_000)).mean()
    torch.testing.assert_close(value, torch.tensor(1.5 * 0.01 * 25), rtol=0.05, atol=0)
    only_real = Consistency(noise=0.1, fake=0.0)
    assert not only_real.needs_fake
    torch.testing.assert_close(
        only_real(lambda x: x @ slope, real, real, rng(20_000)).mean(), torch.tensor(0.25), rtol=0.05, atol=0
    )


def test_consistency_takes_an_augmentation_of_the_recipe():
    """Named inside the penalty, with its own settings; checked like those of the section ``augmentations``."""
    installed = Plugins.installed()
    values = recipe_values(installed, "image", named="dcgan-32")
    inner = {"name": "diffaugment", "policy": "translation"}
    values["penalties"] = [{"name": "consistency", "weight": 5.0, "augmentation": inner}]
    penalty = resolve(values, installed).penalties["consistency"]
    assert penalty.augmentation.operations == {"colour": False, "translation": True, "cutout": False}
    torch.manual_seed(0)
    images = torch.rand(4, 1, 16, 16) * 2 - 1
    same = penalty(lambda x: x.sum((1, 2, 3)).mul(0), images, images, rng())
    assert torch.equal(same, torch.zeros(4))
    assert (penalty(lambda x: x[:, 0, 8], images, images, rng()) > 0).any()
    for wrong, message in (
        ({"name": "difaugment"}, "difaugment"),
        ({"name": "diffaugment", "polcy": "colour"}, "polcy"),
        ({"name": "ada"}, "strength"),
    ):
        values["penalties"][0]["augmentation"] = wrong
        with pytest.raises(UsageError, match=message):
            resolve(values, installed)
    values["penalties"] = [{"name": "r1", "augmentation": inner}]
    with pytest.raises(UsageError, match="no setting 'augmentation'"):
        resolve(values, installed)


# ---------------------------------------------------------------------- top-k


def test_top_k_learns_from_the_best_samples_only():
    """The mean is that of the inner loss over the k samples with the highest scores."""
    scores = torch.tensor([0.5, -1.0, 2.0, 0.0], requires_grad=True)
    loss = TopK(share=0.5, loss=Hinge())
    value = loss.generator(scores, scores).mean()
    torch.testing.assert_close(value, torch.tensor(-(0.5 + 2.0) / 2))
    value.backward()
    assert scores.grad.tolist() == [-0.5, 0.0, -0.5, 0.0]
    assert torch.equal(loss.discriminator(scores, scores), Hinge().discriminator(scores, scores))
    patches = torch.arange(16.0).view(4, 1, 2, 2)
    assert (TopK(share=0.1).generator(patches, patches) != 0).tolist() == [False, False, False, True]


def test_the_share_of_top_k_falls_during_the_training(plugins):
    schedule = Schedule(1.0, 0.5, 100)
    loss = TopK(share=schedule, loss=Hinge())
    scores = torch.arange(4.0)
    batch = Batch({}, rng(), 100, 0.0)
    assert loss_at(loss, batch).generator(scores, scores).mean().item() == -2.5
    assert loss_at(loss, Batch({}, rng(), 0, 0.0)).generator(scores, scores).mean().item() == -1.5
    with pytest.raises(UsageError, match="give share a number"):
        loss.generator(scores, scores)
    assert loss_at(Hinge(), batch).generator(scores, scores).mean().item() == -1.5
    by_recipe = "loss={name: top-k, loss: hinge, share: {first: 1.0, last: 0.25, until: 320}}"
    values = with_settings(recipe_values(plugins, "toy"), [*RECIPE, by_recipe])
    found = resolve(values, plugins).loss
    assert isinstance(found.inner, Hinge)
    assert found.at(320).share == 0.25
    trainer(plugins, by_recipe).run(lambda tick: None)
    with pytest.raises(UsageError, match="share"):
        resolve(with_settings(values, ["loss={name: top-k, share: 0}"]), plugins)


# ---------------------------------------------------------------------- in training


@pytest.fixture(scope="module")
def plugins():
    found = Plugins()
    found.register("toy", toy)
    return found


def test_parts_of_a_batch_learn_the_same_means_and_weights(plugins):
    states = []
    for parts in ([], ["training.micro_batch=8"]):
        it = trainer(plugins, *parts)
        it.run(lambda tick: None)
        states.append({**it.architecture.state_dict(), **it.penalties["lecam"].state_dict()})
    assert states[0]["real_mean"] != 0
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, rtol=1e-4, atol=1e-5)


def test_a_resumed_training_has_the_same_means(plugins, tmp_path):
    whole = trainer(plugins)
    whole.run(lambda tick: None)
    it = trainer(plugins)
    it.run(lambda tick: None, lambda: it.samples >= 128)
    assert "penalty-lecam" in it.owners()
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(it.samples, it.owners(), {})
    again = trainer(plugins)
    checkpoints.newest().load(again.owners())
    again.run(lambda tick: None)
    for one, other in ((whole.architecture, again.architecture), (whole.penalties["lecam"], again.penalties["lecam"])):
        assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())
