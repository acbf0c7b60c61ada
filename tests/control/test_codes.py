"""InfoGAN's codes: known information, chosen codes, and a training that is alike in parts and after resuming."""

from __future__ import annotations

import math

import gan.api
import numpy as np
import pytest
import torch
from gan.build import resolve
from gan.contracts import FieldSpec, Request
from gan.draws import SeededDraws
from gan.errors import UsageError
from gan.game import Batch
from gan.parts.codes import agreement, code_names, drawn, information, scales, with_codes
from gan.recipe import Codes
from gan.storage.checkpoint import Checkpoints
from gan.testing.mlp import MLP

CPU = torch.device("cpu")
CODES = Codes(categorical=[3], continuous=1)
FIELDS = {"points": FieldSpec((2,), "float32", -6, 6, "position")}
SETTINGS = [
    "model.latent=8",
    "codes={categorical: [3], continuous: 1}",
    "evaluation.metrics=[]",
    "evaluation.samples=8",
]


def test_information_by_hand():
    """A sure and right reader knows log 3 nats of the class; one that knows nothing 0. Of a number that is read exactly
    log 2 - log(2π)/2 = -0.2258, less half of the squared error."""
    code = torch.tensor([[1.0, 0, 0, 0.5], [0, 0, 1, -0.5]])
    sure = torch.tensor([[50.0, 0, 0, 0.5], [0, 0, 50, 0.5]])
    of_class, of_number = information(CODES, sure, code)
    assert float(of_class) == pytest.approx(math.log(3), abs=1e-5)
    assert float(of_number) == pytest.approx(-0.2258 - 0.25, abs=1e-4)
    assert float(information(CODES, torch.zeros(2, 4), code)[0]) == pytest.approx(0, abs=1e-6)


def test_agreement_by_hand():
    """Equal and sure: log 3 where the classes are equally frequent, 0 where all are of one. Independent: 0."""
    sure = 50 * torch.eye(3).repeat(4, 1)
    assert float(agreement(sure, sure)) == pytest.approx(math.log(3), abs=1e-5)
    assert float(agreement(sure[:1].repeat(9, 1), sure[:1].repeat(9, 1))) == pytest.approx(0, abs=1e-5)
    assert float(agreement(sure.repeat_interleave(3, 0), sure.repeat(3, 1))) == pytest.approx(0, abs=1e-5)


def test_codes_in_latents_have_mean_zero_and_variance_one():
    mean, deviation = scales(CODES)
    entries = (drawn(CODES, SeededDraws.of(0, 0, 4000, CPU)) - mean) / deviation
    assert entries.mean(0).abs().max() < 0.06
    assert (entries.var(0) - 1).abs().max() < 0.06


def coded():
    torch.manual_seed(0)
    return with_codes(MLP, CODES, "mlp")(MLP.Config(latent=8), FIELDS).eval()


def test_chosen_codes_are_those_of_the_sample():
    net = coded()
    latents = net.latents(5, SeededDraws.of(1, 0, 5, CPU))
    request = Request(net.Options(code_1=2, code_2=-0.25))
    changed = net.with_chosen(latents, request)
    assert torch.allclose(net.codes_of(changed), torch.tensor([[0, 0, 1, -0.25]]).expand(5, -1), atol=1e-6)
    assert torch.equal(changed[:, 4:], latents[:, 4:])
    made = net.generate(5, SeededDraws.of(1, 0, 5, CPU), request)["points"]
    assert torch.equal(made, net.decode(changed, Request())["points"])
    assert torch.equal(net.with_chosen(latents, Request()), latents)
    assert code_names(Codes(categorical=[10])) == ["code"]


def test_what_codes_need_is_said(plugins):
    values = gan.api.recipe("toy", settings=["codes={categorical: [3]}", "model.latent=3"], plugins=plugins)
    resolved = resolve(values, plugins)
    with pytest.raises(UsageError, match="latents of 3 numbers, and the codes need 3; enlarge model.latent"):
        resolved.architecture_class(resolved.model_config, FIELDS)
    for unfinished in ({"categorical": [3]}, {"continuous": 2, "augmentation": "affine"}):
        with pytest.raises(UsageError, match="an invariance of codes needs categorical and an augmentation"):
            resolve({**values, "codes": {"invariance": 1.0, **unfinished}}, plugins)
    with pytest.raises(UsageError, match="weight of codes must be within"):
        resolve({**values, "codes": {"categorical": [3], "weight": {"first": -1, "last": 1, "until": 10}}}, plugins)
    with pytest.raises(UsageError, match="codes need categorical"):
        resolve({**values, "codes": {}}, plugins)

    class Blind(MLP):
        critic_features = None

    with pytest.raises(UsageError, match="mlp has no critic_features"):
        with_codes(Blind, CODES, "mlp")


def weights(folder):
    return Checkpoints(folder / "checkpoints").newest().state("architecture")


def test_training_with_codes_learns_them_and_resumes_exactly(plugins, tmp_path):
    """The information rises; 1,280 samples and then the rest are the same as all at once; the metric reads the run."""
    values = gan.api.recipe("toy", settings=SETTINGS, plugins=plugins)
    whole = gan.api.train(values, out=tmp_path / "whole", samples=6400, plugins=plugins)
    parts = gan.api.recipe("toy", settings=[*SETTINGS, "training.micro_batch=32"], plugins=plugins)
    parts["training"]["samples"] = 6400
    gan.api.train(parts, out=tmp_path / "parts", samples=6400, plugins=plugins)
    one, other = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert max(float((one[name] - other[name]).abs().max()) for name in one) < 2e-3
    before = gan.api.train(values, out=tmp_path / "short", samples=640, plugins=plugins)
    values_of = {
        result: gan.api.evaluate(result, metrics=["information"], count=500, plugins=plugins)[0].values
        for result in (before.run, whole.run)
    }
    names = [value.name for value in values_of[whole.run]]
    assert names == ["I(code_1)", "I(code_2)"]
    assert values_of[whole.run][0].value > values_of[before.run][0].value
    assert values_of[whole.run][0].value <= math.log(3)
    model = gan.api.load(whole, plugins=plugins)
    chosen = model.generate(50, options={"code_1": 1})["points"]
    assert not np.array_equal(chosen, model.generate(50, options={"code_1": 2})["points"])


def test_the_weight_may_follow_a_schedule():
    codes = Codes(categorical=[3], weight={"first": 0.0, "last": 2.0, "until": 100})
    torch.manual_seed(0)
    net = with_codes(MLP, codes, "mlp")(MLP.Config(latent=8), FIELDS)
    found = {}
    for position in (0, 50, 500):
        batch = Batch({"points": torch.zeros(4, 2)}, SeededDraws.of(0, 0, 4, CPU), position, 0.0)
        terms = net._information("generator")(batch)
        found[position] = (terms["codes"] / terms["_information"]).item()
    assert found == pytest.approx({0: 0.0, 50: -1.0, 500: -2.0})
