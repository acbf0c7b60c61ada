"""Hints that must not mislead: closing lines, a run's own flags, printed texts, files beside a sample's own."""

from __future__ import annotations

import json
from types import SimpleNamespace

import gan.cli
import pytest
from gan import api
from gan.cli import main
from gan.errors import UsageError
from gan.generation.flags import describe_flags
from gan.plugins.manager import Plugins
from gan.reporting.result import Result
from gan.testing.points import Points
from gan.training.outputs import Outputs
from pydantic import BaseModel


@pytest.fixture(scope="module")
def run(tmp_path_factory, plugins):
    folder = tmp_path_factory.mktemp("hints")
    short = {
        "training": {"samples": 128, "batch": 64, "preview_ticks": 0},
        "evaluation": {"samples": 64, "artefacts": 2},
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GAN_CACHE", str(folder / "cache"))
        api.train({"plugin": "toy", **short}, out=folder / "run", plugins=plugins)
    return folder / "run"


@pytest.fixture
def cli(capsys, monkeypatch, plugins):
    """Standard output and error of a command in this process."""
    monkeypatch.setattr(gan.cli, "installed", lambda ctx: plugins)

    def call(*words, code=0):
        with pytest.raises(SystemExit) as stop:
            main([str(word) for word in words])
        captured = capsys.readouterr()
        assert stop.value.code == code, captured.err
        return captured.out, captured.err

    return call


class Accompanies:
    """Takes an input where it was built with one."""

    Options = None

    def __init__(self, fields):
        self.fields = fields

    def given_fields(self, options=None):
        return self.fields


class AccompaniesChosen(Accompanies):
    """Users choose what is given, where the run was trained for it."""

    class Options(BaseModel):
        given: str | None = None

    def given_fields(self, options=None):
        if options is not None and options.given and not self.fields:
            raise UsageError("--given applies only to other models")
        return self.fields if options is not None and options.given else ()


class Alone:
    Options = None


@pytest.mark.parametrize(
    ("kind", "architecture", "offered"),
    [
        (Alone, Alone(), False),
        (Accompanies, Accompanies(("points",)), True),
        (Accompanies, Accompanies(()), False),
        (Accompanies, None, True),
        (AccompaniesChosen, AccompaniesChosen(("points",)), True),
        (AccompaniesChosen, AccompaniesChosen(()), False),
        (Alone, None, False),
    ],
)
def test_the_help_of_a_run_offers_an_input_only_where_it_takes_one(monkeypatch, kind, architecture, offered):
    monkeypatch.setattr(Points, "whole_input", "accompany")
    resolved = SimpleNamespace(architecture_class=kind, title="toy/x", distributions={})
    found = describe_flags(resolved, Points(Points.Config()), SimpleNamespace(ranges={}), architecture)
    assert ("accompany" in dict(found["flags"])) == offered
    assert ("given" in dict(found["flags"])) == (offered and kind is AccompaniesChosen)


@pytest.mark.parametrize(
    ("inputs", "whole", "expected"),
    [
        ((), "", "gan generate runs/x --count 16 --seed 1 --out more"),
        (("source",), "", "gan translate runs/x --input FILES --out more"),
        (("roll",), "accompany", "gan generate runs/x --accompany FILE --out more"),
    ],
)
def test_the_closing_line_names_an_input_where_one_is_needed(inputs, whole, expected):
    model = SimpleNamespace(input_fields=lambda: inputs, modality=SimpleNamespace(whole_input=whole))
    assert Outputs._more(SimpleNamespace(model=model), SimpleNamespace(path="runs/x")) == expected
    result = Result("runs/x", "t", 1, 1.0, {}, [], [], more=expected)
    assert result.summary()["more"] == expected


def test_texts_are_printed_and_files_beside_a_sample_are_named(run, tmp_path, cli, monkeypatch):
    written = Points.write

    def with_a_sound(self, sample, stem, options=None):
        stem.with_name(stem.name + ".ogg").write_bytes(b"OggS")
        return written(self, sample, stem, options)

    monkeypatch.setattr(Points, "write", with_a_sound)
    out, _ = cli("generate", run, "--count", "2", "--out", tmp_path / "rendered")
    names = [line.rpartition("/")[2] for line in out.splitlines()]
    assert names == ["sample-0000.csv", "sample-0001.csv", "sample-0000.ogg", "sample-0001.ogg", "preview.png"]
    monkeypatch.setattr(Points, "write", written)
    monkeypatch.setattr(Points, "spoken", lambda self, sample: f"point {sample['points'].shape}")
    out, error = cli("generate", run, "--count", "2", "--out", tmp_path / "texts")
    assert out == "point (2,)\n\npoint (2,)\n\n"
    assert f"2 .csv files in {tmp_path / 'texts'}" in error
    out, _ = cli("generate", run, "--count", "1", "--out", tmp_path / "json", "--json")
    assert json.loads(out)["texts"] == ["point (2,)"]


def test_generate_warns_of_empty_samples(run, tmp_path, cli, monkeypatch):
    monkeypatch.setattr(Points, "is_empty", lambda self, sample: True)
    _, error = cli("generate", run, "--count", 3, "--out", tmp_path / "more")
    assert "warning: empty artefacts: all 3 samples hold nothing" in error
    assert f"gan diagnose {run}" in error


def test_a_text_says_itself():
    text = Plugins.installed()
    modality = text.load(text.find("gan_modalities", "text"))
    assert modality.spoken is not Points.spoken


def test_parameters_are_those_of_the_recipe(cli, monkeypatch):
    monkeypatch.setattr("gan.cli.plugins.installed", lambda ctx: Plugins.installed())
    out, _ = cli("plugins", "show", "image")
    assert "parameters with its recipe" in out
    assert "default settings" not in out
