"""`gan verify` of files and folders, and the labelling flags of `gan generate`, on the command line."""

from __future__ import annotations

import json

import pytest
from gan import api, cli
from gan.provenance import keys
from gan.provenance.folder import read_manifest
from gan.testing import toy


@pytest.fixture(scope="module")
def run(tmp_path_factory, plugins):
    folder = tmp_path_factory.mktemp("verify")
    recipe = api.recipe(
        "toy", plugins=plugins, settings=["training.samples=256", "evaluation.artefacts=2", "data.consent=none needed"]
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GAN_CACHE", str(folder / "cache"))
        api.train(recipe, out=folder / "run", plugins=plugins)
    return folder / "run"


@pytest.fixture
def gan(plugins, monkeypatch, capsys):
    """Calls a command in this process with the toy plugin; returns (exit code, output, errors)."""
    monkeypatch.setattr("gan.plugins.manager.Plugins.installed", classmethod(lambda cls, block=(): plugins))

    def call(*arguments):
        with pytest.raises(SystemExit) as end:
            cli.main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return end.value.code, said.out, said.err

    return call


def test_samples_of_a_run_and_of_generate_are_sound(run, gan, tmp_path):
    assert gan("verify", run / "samples")[0] == 0
    assert gan("generate", run, "--count", 2, "--seed", 5, "--out", tmp_path / "out", "--quiet")[0] == 0
    code, out, _ = gan("verify", tmp_path / "out", "--json")
    found = json.loads(out)
    assert (code, found["exit_code"], len(found["files"])) == (0, 0, 3)
    record = next(f for f in found["files"] if f["name"] == "sample-0001.csv")["metadata"]["record"]
    trained = json.loads(gan("verify", run / "samples", "--json")[1])["files"][1]["metadata"]["record"]
    assert (record["seed"], record["index"]) == (5, 1)
    assert record["weights"] == trained["weights"]
    assert record["recipe"] == trained["recipe"]
    assert "date" not in record


def test_one_file_is_described_layer_by_layer(run, gan):
    path = next((run / "samples").glob("*.csv"))
    code, out, _ = gan("verify", path)
    assert code == 0
    assert "manifest  valid: signed with your key" in out
    assert "(not signed: anybody can write or remove it)" in out
    assert gan("verify", path, "--quiet") == (0, "", "")


@pytest.mark.rule("V4")
def test_a_changed_file_exits_with_3_and_a_plain_one_with_1(run, gan, tmp_path):
    gan("generate", run, "--count", 2, "--out", tmp_path / "out", "--quiet")
    path = tmp_path / "out" / "sample-0000.csv"
    path.write_text("0,0\n")
    code, out, err = gan("verify", tmp_path / "out")
    assert code == 3
    assert "sample-0000.csv: changed" in out
    assert "1 of 3 files are contradicted" in err
    (tmp_path / "plain.txt").write_text("words")
    assert gan("verify", tmp_path / "plain.txt")[0] == 1
    assert gan("verify", tmp_path / "none")[0] == 2


@pytest.mark.rule("V5")
def test_no_metadata_is_recorded_and_the_date_is_asked_for(run, gan, tmp_path):
    gan("generate", run, "--count", 1, "--out", tmp_path / "off", "--no-metadata", "--quiet")
    assert read_manifest(tmp_path / "off" / "provenance.json").files["sample-0000.csv"]["metadata"] is False
    assert not list((tmp_path / "off").glob("*.csv.provenance.json"))
    gan("generate", run, "--count", 1, "--out", tmp_path / "dated", "--date", "--quiet")
    assert "date" in read_manifest(tmp_path / "dated" / "provenance.json").files["sample-0000.csv"]["record"]


def test_a_mark_that_no_plugin_has_is_refused_with_a_remedy(run, gan, tmp_path):
    code, _, err = gan("generate", run, "--count", 1, "--out", tmp_path / "out", "--mark")
    assert code == 2
    assert "no plugin marks points data" in err
    assert "leave out --mark" in err


def test_another_key_is_accepted_when_it_is_named(run, gan, tmp_path, monkeypatch):
    path = next((run / "samples").glob("*.csv"))
    theirs = tmp_path / "theirs.pub"
    theirs.write_text(keys.signing_key().public)
    monkeypatch.setenv("GAN_KEYS", str(tmp_path / "mine"))
    code, out, _ = gan("verify", path)
    assert code == 3
    assert "neither yours nor named" in out
    assert gan("verify", path, "--key", theirs)[0] == 0


def test_the_card_states_licence_consent_limits_and_marks(run):
    card = (run / "README.md").read_text()
    licence = next(entry.licence for entry in toy.gan_datasets())
    assert f"Licence of the data: {licence}" in card
    assert "Consent: none needed" in card
    assert "Intended use: not stated" in card
    assert "not marked invisibly" in card
