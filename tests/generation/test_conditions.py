"""Conditions: what the data have of them, what a user may ask for, and what an architecture is told."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import gan.api
import numpy as np
import pytest
from gan.cli import main
from gan.conformance.checking import run_checks as run
from gan.conformance.kit import Kit, Outcome
from gan.contracts import FieldSpec
from gan.errors import UsageError
from gan.generation.conditions import Conditions
from gan.plugins.manager import Plugins
from gan.training.dry_run import dry_run

FIELDS = {
    "size": FieldSpec((), "float32", 0, 1000, "metres", condition=True),
    "kind": FieldSpec((), "int64", 0, 9, "class index", condition=True, names=("cat", "dog", "cow")),
}


class FakePack:
    """A pack of 2,000 samples whose size follows their kind."""

    fields = {"x": FieldSpec((2,), "float32", 0, 1, "x"), **FIELDS}

    def column(self, name):
        kind = np.arange(2000) % 3
        return {"kind": kind, "size": (10.0 * kind + 1 + np.arange(2000) / 2000).astype(np.float32)}[name]


def data() -> Conditions:
    return Conditions.of(FakePack())  # type: ignore[arg-type]


def test_kept_rows_belong_together_and_the_range_is_that_of_all():
    kept = data()
    assert {name: len(rows) for name, rows in kept.rows.items()} == {"size": 1024, "kind": 1024}
    assert np.array_equal(kept.rows["size"] // 10, kept.rows["kind"])
    assert kept.ranges["size"] == (1.0, pytest.approx(21.9995, abs=0.01))
    assert kept.ranges["kind"] == (0, 2)
    narrow = kept.narrowed(FakePack.fields)
    assert (narrow["size"].low, narrow["kind"].high, narrow["x"]) == (1.0, 2.0, FakePack.fields["x"])


def test_a_run_s_file_brings_them_back():
    again = Conditions.from_json(json.loads(json.dumps(data().to_json())))
    assert again.ranges == data().ranges
    assert again.units == {"size": "metres", "kind": "class index"}
    for name, rows in data().rows.items():
        assert again.rows[name].dtype == rows.dtype
        assert np.array_equal(again.rows[name], rows)


def test_what_is_not_asked_for_comes_from_one_row_and_does_not_depend_on_the_others():
    kept = data()
    many = kept.draw(FIELDS, {}, seed=4, first=0, count=200)
    assert np.array_equal(many["size"] // 10, many["kind"])
    assert set(many["kind"].tolist()) == {0, 1, 2}
    one = kept.draw(FIELDS, {}, seed=4, first=150, count=1)
    assert (one["size"][0], one["kind"][0]) == (many["size"][150], many["kind"][150])
    assert not np.array_equal(kept.draw(FIELDS, {}, 5, 0, 200)["size"], many["size"])


def test_beside_what_is_asked_for_stands_what_the_data_have_near_it():
    found = data().draw(FIELDS, {"size": 11.5}, seed=0, first=0, count=50)
    assert found["size"].tolist() == [11.5] * 50
    assert found["size"].dtype == np.float32
    assert set(found["kind"].tolist()) == {1}
    cows = data().draw(FIELDS, {"kind": 2.0}, seed=0, first=0, count=50)
    assert cows["size"].min() >= 20
    assert len(set(cows["size"].tolist())) > 20


def test_values_that_the_data_do_not_have_are_refused_with_their_range():
    with pytest.raises(UsageError, match=r"size 40: the training data have 1 to 22 \(metres\)"):
        data().check("size", 40.0, FIELDS["size"])
    with pytest.raises(UsageError, match="does not know what values of size"):
        Conditions().draw(FIELDS, {"kind": 1.0}, 0, 0, 1)


def test_a_field_of_any_value_has_the_range_of_its_modality():
    """An angle between those of the training data, or beyond them, is as good as theirs."""
    angle = replace(FIELDS["size"], low=0, high=360, unit="degrees", any_value=True)
    data().check("size", 40.0, angle)
    with pytest.raises(UsageError, match=r"size 400: the training data have 0 to 360 \(degrees\)"):
        data().check("size", 400.0, angle)
    narrowed = data().narrowed({**FIELDS, "size": angle})
    assert (narrowed["size"].low, narrowed["size"].high) == (0, 360)


PLUGIN = """
import numpy as np
import torch
from torch import nn
from gan.contracts import ArchitectureEntry, DatasetEntry, FieldSpec, ModalityEntry, RecipeEntry
from gan.adversarial import adversarial_turns
from gan.game import Phase
from gan.hookspecs import hookimpl
from gan.testing.mlp import MLP, perceptron
from gan.testing.points import Points, write_ring

SIDES = ("west", "east")

class Sided(Points):
    conditions = {"side": "modality.extent=6", "height": "nothing"}
    metrics = ()
    @property
    def fields(self):
        return {**super().fields, "side": FieldSpec((), "int64", 0, 1, "class index", condition=True, names=SIDES)}
    def read(self, file):
        for sample in super().read(file):
            yield {**sample, "side": np.asarray(sample["points"][0] > 0, np.int64)}

class Conditional(MLP):
    def __init__(self, config, fields):
        super().__init__(config, {"points": fields["points"]})
        self.told = (fields["side"].low, fields["side"].high)
        self.generator = perceptron(config.latent + 1, config.hidden, config.layers, 2)
        self.discriminator = perceptron(3, config.hidden, config.layers, 1)
    def given_fields(self, options=None):
        return ("side",)
    def phases(self, loss, penalties):
        def fake(batch):
            return self.make(batch.rng.randn(self.config.latent), batch["side"])
        turns = adversarial_turns(
            loss, penalties, real=lambda batch: batch["points"], fake=fake,
            critic=lambda points, side: self.discriminator(torch.cat([points, side], 1)),
            conditions=lambda batch: batch["side"].float()[:, None] * 2 - 1,
        )
        return [Phase("adversarial", turns)]
    def make(self, latents, side):
        return self.generator(torch.cat([latents, side.float()[:, None] * 2 - 1], 1))
    def decode(self, latents, request):
        return {"points": self.make(latents, request.given["side"])}
    def critic_features(self, samples):
        points = samples["points"]
        return [self.discriminator[0](torch.cat([points, torch.zeros(len(points), 1)], 1))]

class Deaf(MLP):
    def __init__(self, config, fields):
        super().__init__(config, {"points": fields["points"]})

@hookimpl
def gan_modalities():
    return [ModalityEntry(name="sided", summary="s", target="sided_plugin:Sided", dataset="r")]

@hookimpl
def gan_architectures():
    return [ArchitectureEntry(name=name, summary="s", target=f"sided_plugin:{target}", modality="sided", paper="p",
            small=("model.hidden=8", "model.layers=1")) for name, target in (("told", "Conditional"), ("deaf", "Deaf"))
            if name == "told" or WITH_DEAF]

@hookimpl
def gan_datasets():
    return [DatasetEntry(name="r", summary="s", target="sided_plugin:write_ring", modality="sided", licence="l")]

@hookimpl
def gan_recipes():
    return [RecipeEntry(name="r", summary="s", target="sided_files:r.yaml", architecture="told", default=True)]
"""
RECIPE = """
plugin: sided
architecture: told
loss: non-saturating
penalties: [{name: r1, weight: 0.1}]
model: {hidden: 32}
training: {samples: 24000, batch: 128, ema_half_life: 1000, device: cpu}
optimizers: {generator: {lr: 0.003}, discriminator: {lr: 0.003}}
evaluation: {samples: 64, artefacts: 2}
"""


@pytest.fixture
def plugins(tmp_path, monkeypatch, cache):
    """A plugin of points that know on which side they lie, and an architecture that is told it."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "sided_files").mkdir()
    (tmp_path / "sided_files" / "__init__.py").touch()
    (tmp_path / "sided_files" / "r.yaml").write_text(RECIPE)

    def registered(*, deaf: bool = False) -> Plugins:
        (tmp_path / "sided_plugin.py").write_text(f"WITH_DEAF = {deaf}\n{PLUGIN}")
        found = Plugins()
        found.register("sided", "sided_plugin")
        return found

    yield registered
    for name in ("sided_plugin", "sided_files"):
        sys.modules.pop(name, None)


def test_a_conditional_plugin_passes_the_kit(plugins, tmp_path):
    found: list[Outcome] = []
    report = lambda event, outcome, subject: found.append(outcome) if outcome else None  # noqa: E731
    run(Kit(plugins(), "sided", {}, report, tmp_path))
    assert [o for o in found if o.status == "failed" and o.check != "import is light"] == []
    assert {"generates", "resumes exactly", "saves and loads"} <= {o.check for o in found if o.status == "passed"}


def test_an_architecture_that_is_not_told_is_refused(plugins):
    values = {"plugin": "sided", "architecture": "deaf", "data": {"source": "r"}}
    with pytest.raises(UsageError, match="sided/deaf takes no condition 'side'; leave modality.extent=6 out"):
        dry_run(values, plugins(deaf=True))


def test_trained_told_and_asked(plugins, tmp_path, monkeypatch, capsys):
    """After a short training the points lie on the side that is asked for; unasked, on both as the data do."""
    found = plugins()
    result = gan.api.train({"plugin": "sided"}, out=tmp_path / "run", plugins=found)
    model = gan.api.load(result, plugins=found)
    assert model.input_fields() == ()
    assert list(model.condition_fields()) == ["side"]
    assert model.architecture.told == (0.0, 1.0)
    for number, side in enumerate(("west", "east")):
        made = model.generate(100, conditions={"side": side})
        assert made["side"].tolist() == [number] * 100
        assert ((made["points"][:, 0] > 0) == number).mean() > 0.9, side
    free = model.generate(100)
    assert 20 < free["side"].sum() < 80
    assert np.array_equal(model.generate(3, first=40)["side"], free["side"][40:43])
    way = model.interpolate(1, 2, 5, conditions={"side": "east"})
    assert way["side"].tolist() == [1] * 5

    for module in ("gan.cli", "gan.cli.options"):
        monkeypatch.setattr(f"{module}.installed", lambda ctx: found)

    def command(*arguments: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as stop:
            main(["generate", str(tmp_path / "run"), *arguments, "--out", str(tmp_path / "out")])
        return stop.value.code, "".join(capsys.readouterr())

    assert command("--count", "3", "--side", "west")[0] == 0
    assert len(list((tmp_path / "out").glob("*.csv"))) == 3
    for wrong, reason in (
        (("--side", "up"), "side: 'up' is no number (known: west, east)"),
        (("--side", "2"), "side 2: the training data have west, east"),
        (("--height", "2"), "this run was trained without the condition height (it has side); train one with"),
        (("--syde", "west"), "did you mean --side?"),
    ):
        code, said = command(*wrong)
        assert (code, reason in said) == (2, True), said
    code, said = command("--help")
    assert "Options of this run (sided/told)" in said
    assert "--side" in said
    assert "the training data have west, east." in " ".join(said.split())
    assert "--truncation" in said
    (tmp_path / "run" / "conditions.json").write_text('{"side": 3}')
    code, said = command("--count", "1")
    assert (code, "conditions.json" in said) == (4, True), said  # the manifest seals it
