"""Empty and nearly equal samples are noticed, for every kind of data, at the end of a training and by commands."""

from __future__ import annotations

import numpy as np
import pytest
from gan import api
from gan.contracts import FieldSpec
from gan.evaluation.evaluate import EvaluationRequest, evaluate
from gan.generation.flaws import ALIKE, count_empty, generated_fields, percent, sentence, variety
from gan.plugins.manager import Plugins
from gan.reporting.reporter import Reporter
from gan.testing.points import Points

RNG = np.random.default_rng(0)
SPHERE = np.linalg.norm(np.mgrid[-8:8, -8:8, -8:8] + 0.5, axis=0) < 5
NOISE = RNG.integers(0, 256, (4, 3, 16, 16)).astype(np.uint8)
KINDS = {
    "image": ({"resolution": 16, "channels": 3}, {"image": 100 + NOISE[0] // 64}, {"image": NOISE[0]}),
    "video": ({"resolution": 16, "frames": 4}, {"video": 100 + NOISE // 64}, {"video": NOISE}),
    "audio": (
        {"rate": 8000, "seconds": 0.128}, {"sound": np.full((1, 1024), 20, np.int16)},
        {"sound": np.full((1, 1024), 2000, np.int16)},
    ),
    "music": ({}, {"roll": np.zeros((5, 4, 8, 8), bool)}, {"roll": RNG.random((5, 4, 8, 8)) < 0.1}),
    "shape": ({"resolution": 16}, {"voxels": np.ones((16, 16, 16), bool)}, {"voxels": SPHERE}),
}  # fmt: skip
"""Modality -> its settings, an empty sample and one that is not."""


def modality(name, **settings):
    plugins = Plugins.installed()
    found = plugins.load(plugins.find("gan_modalities", name))
    return found(found.Config(**settings), {})


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_of_data_knows_what_is_empty(name):
    settings, empty, full = KINDS[name]
    kind = modality(name, **settings)
    assert kind.is_empty(empty)
    assert not kind.is_empty(full)


def test_a_distance_field_without_a_surface_is_empty():
    kind = modality("shape", resolution=16, form="distance")
    field = np.linalg.norm(np.mgrid[-8:8, -8:8, -8:8] / 8, axis=0).astype(np.float32)
    assert kind.is_empty({"distance": field + 0.1})
    assert not kind.is_empty({"distance": field - 0.5})


@pytest.mark.parametrize(
    ("text", "empty"),
    [("   ", True), ("the the the the", True), ("aaaaaaa", True), ("a cat", False), ("Anna", False), ("", True)],
)
def test_texts_that_say_nothing(text, empty, monkeypatch):
    kind = modality("text")
    monkeypatch.setattr(type(kind), "text", lambda self, sample: text)
    assert kind.is_empty({}) is empty


FIELDS = {"points": FieldSpec((4,), "float32", -4, 4, "")}


def test_variety_is_one_for_real_samples_and_nothing_for_copies():
    real = {"points": RNG.normal(size=(64, 4)).astype(np.float32), "label": np.arange(64)}
    again = {"points": RNG.normal(size=(64, 4)).astype(np.float32)}
    assert variety(again, real, FIELDS) == pytest.approx(1, abs=0.15)
    assert variety({"points": np.ones((8, 4), np.float32)}, real, FIELDS) == 0
    assert variety({"points": again["points"][:1]}, real, FIELDS) is None
    assert variety({"points": np.ones((8, 5), np.float32)}, real, FIELDS) is None


def test_samples_that_differ_by_their_class_alone_are_nearly_equal():
    """Two classes, each with one point; without the classes half of all pairs differ."""
    classes = np.arange(32) % 2
    real = {"points": RNG.normal(size=(32, 4)).astype(np.float32), "label": classes}
    made = {"points": np.repeat(classes[:, None], 4, axis=1).astype(np.float32), "label": classes}
    assert variety(made, real, FIELDS) < ALIKE
    assert variety({"points": made["points"]}, real, FIELDS) > 0.2
    few = {name: values[:4] for name, values in made.items()}
    assert variety(few, real, FIELDS) > 0.2, "too few pairs of a class"


def test_what_was_given_is_not_judged():
    kind = Points(Points.Config(), {})
    assert generated_fields(kind, {"points": np.zeros((3, 2))}, ("points",)) == {}
    assert count_empty(kind, {}, {}) == 0


def test_sentences():
    assert sentence(8, 8, 0.5).startswith("empty artefacts: all 8 samples")
    assert sentence(8, 5, None).startswith("empty artefacts: 5 of 8")
    assert "differ by 0.3 % of" in sentence(8, 4, 0.003)
    assert sentence(8, 4, 0.5) == sentence(0, 0, None) == ""
    assert [percent(share) for share in (1.0, 0.021, 0.003)] == ["100 %", "2 %", "0.3 %"]


def test_evaluate_warns(tmp_path, plugins, cache, monkeypatch):
    """Of a model that makes one point again and again."""

    class Warnings(Reporter):
        def __init__(self):
            self.texts = []

        def warn(self, text):
            self.texts.append(text)

    short = {"training": {"samples": 128, "batch": 64}, "evaluation": {"samples": 64, "artefacts": 2}}
    run = api.train({"plugin": "toy", **short}, out=tmp_path / "run", plugins=plugins).run
    made = {"points": np.ones((64, 2), np.float32)}
    monkeypatch.setattr("gan.generation.model.Model.generate", lambda self, count, *rest, **more: made)
    for empty, said in ((False, "nearly equal artefacts: they differ by 0 %"), (True, "all 64 samples hold nothing")):
        monkeypatch.setattr(Points, "is_empty", lambda self, sample, empty=empty: empty)
        warnings = Warnings()
        evaluate(EvaluationRequest(str(run)), plugins, reporter=warnings)
        assert any(said in text for text in warnings.texts)
