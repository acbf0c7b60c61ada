"""The models of the zoo: listed with numbers, small, intact, of this repository's recipes, and they make samples."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import gan_zoo
import pytest
from gan import api
from gan.build import resolve
from gan.evaluation.receipts import read_receipts
from gan.plugins.manager import Plugins
from gan.plugins.models import about_model, found_run
from gan.recipe import read_values
from gan.storage.checkpoint import Checkpoints
from gan_zoo.make import MODELS, make
from prepared import run_gan

MODELS_HERE = [entry.name for entry in gan_zoo.gan_models()]
MOST_BYTES = 40_000_000

ABSOLUTE = re.compile(r"(?:^|[\s\"'=(])(/[\w.-]+/[\w./-]+)", re.MULTILINE)
"""Absolute paths, which only the machine has on which a model was made."""


@pytest.fixture(scope="module")
def installed():
    return Plugins.installed()


def gan(*words, cwd, code=0):
    done = run_gan(words, {**os.environ, "OMP_NUM_THREADS": "1"}, cwd)
    assert done.returncode == code, done.stderr + done.stdout
    return done


def test_the_whole_distribution_is_small_and_every_model_can_be_made_again():
    assert sum(path.stat().st_size for path in MODELS.rglob("*") if path.is_file()) <= MOST_BYTES
    assert set(MODELS_HERE) == {path.name for path in MODELS.iterdir() if path.is_dir()}


def test_every_kind_of_data_has_a_model(installed):
    """Of the plugins of this repository that have a default dataset, and so a default training."""
    found = installed.entries("gan_modalities")
    kinds = {entry.info.name for entry in found if entry.info.distribution.startswith("gan-") and entry.entry.dataset}
    assert {entry.plugin for entry in gan_zoo.gan_models()} == kinds


@pytest.mark.parametrize("name", MODELS_HERE)
def test_a_model_is_made_again_by_one_command(name, installed, tmp_path, monkeypatch):
    """Its own recipe, which is still valid, is trained and packed."""
    commands = []
    monkeypatch.setattr("gan_zoo.make._gan", lambda *words: commands.append(words))
    make(name, tmp_path / "run", tmp_path)
    (run, pack) = commands
    assert run == ("run", "--recipe", str(MODELS / name / "recipe.yaml"), "--out", str(tmp_path / "run"), "--or-resume")
    assert pack[:7] == ("zoo", "pack", str(tmp_path / "run"), "--out", str(tmp_path), "--name", name)
    assert resolve(read_values(MODELS / name / "recipe.yaml"), installed).recipe.data.source


@pytest.mark.parametrize("name", MODELS_HERE)
def test_a_model_is_whole_and_says_where_it_comes_from(name, installed):
    folder = found_run(f"zoo:{name}", installed)
    entry = installed.find("gan_models", name)
    about = about_model(entry, installed)
    assert about["command"] == entry.entry.command == f"python -m gan_zoo.make {name}"
    assert about["licence"] == entry.entry.licence
    assert about["numbers"]
    receipts = {
        value.name for receipt in read_receipts(folder / "evaluation" / "receipts.json") for value in receipt.values
    }
    assert {number["name"] for number in about["numbers"]} <= receipts
    checkpoint = Checkpoints(folder / "checkpoints").newest()
    assert set(checkpoint.owners) == {"architecture"}
    for path in folder.rglob("*"):
        if path.suffix in (".json", ".yaml", ".md"):
            text = path.read_text(encoding="utf-8")
            assert not ABSOLUTE.findall(text), path
    assert (folder / "README.md").read_text(encoding="utf-8").startswith("---\nlibrary_name: gan\n")


@pytest.mark.parametrize("name", MODELS_HERE)
def test_a_model_makes_samples_that_are_not_empty(name, installed, tmp_path):
    samples = api.generate(f"zoo:{name}", 3, plugins=installed)
    given = set(samples._model.condition_fields())
    rows = [{field: values for field, values in sample.fields.items() if field not in given} for sample in samples]
    assert not any(samples.modality.is_empty(row) for row in rows)
    assert samples[0].save(tmp_path).stat().st_size > 0


def test_the_list_has_every_model(tmp_path):
    listed = gan("zoo", cwd=tmp_path).stdout
    assert all(f"zoo:{name}" in listed for name in MODELS_HERE)
    assert len(json.loads(gan("zoo", "--json", cwd=tmp_path).stdout)) == len(MODELS_HERE)


def test_a_demo_without_some_plugins_says_why(tmp_path):
    others = [entry for entry in gan_zoo.gan_models() if entry.plugin != "image"]
    blocked = [word for entry in others for word in ("--no-plugin", entry.plugin)]
    done = gan(*blocked, "demo", "--count", "1", cwd=tmp_path)
    assert (tmp_path / "demo" / "digits" / "page" / "index.html").is_file()
    assert [path.name for path in (tmp_path / "demo").iterdir()] == ["digits"]
    for text in (done.stdout, gan(*blocked, "zoo", cwd=tmp_path).stdout):
        assert text.count("switched off by --no-plugin") == len(others)


@pytest.mark.slow
def test_the_demo_shows_every_model(tmp_path):
    done = gan("demo", "--count", "2", cwd=tmp_path)
    for name in MODELS_HERE:
        assert (tmp_path / "demo" / name / "page" / "index.html").is_file()
        assert f"demo/{name}/page/index.html" in done.stdout
    assert "not empty" in gan("demo", cwd=tmp_path, code=2).stderr


def test_samples_of_a_model_go_into_the_working_folder(tmp_path):
    name = MODELS_HERE[0]
    done = gan("generate", f"zoo:{name}", "--count", "1", cwd=tmp_path)
    assert done.stdout.startswith(f"samples/{name}/seed-0/sample-0000")
    assert "did you mean" in gan("generate", f"zoo:{name[:-1]}", cwd=tmp_path, code=2).stderr
    assert "Options of this run" in gan("generate", f"zoo:{name}", "--help", cwd=tmp_path).stdout
    for words in (["edit", "--find", "sefa"], ["page"]):
        refused = gan(words[0], f"zoo:{name}", *words[1:], cwd=tmp_path, code=2)
        assert "nothing is written into it; use a copy of" in refused.stderr
    copy = tmp_path / "copy"
    shutil.copytree(Path(found_run(f"zoo:{name}", Plugins.installed())), copy)
    assert "without a training to continue" in gan("resume", copy, cwd=tmp_path, code=2).stderr
