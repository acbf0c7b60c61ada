"""`gan diagnose` tells what the records of a run show, also of runs that were not watched."""

from __future__ import annotations

import json
import os

import pytest
from gan.storage.run_folder import RunFolder
from gan.testing import install
from prepared import run_gan


@pytest.fixture
def environment(tmp_path):
    install(tmp_path / "site", "toy", {"gan_toy.py": "from gan.testing.toy import *\n"})
    return {**os.environ, "PYTHONPATH": str(tmp_path / "site"), "GAN_CACHE": str(tmp_path / "cache")}


def collapsed(path):
    """A run of another version: records of a discriminator that wins at 12,000 samples, and no health.json."""
    run = RunFolder(path)
    path.mkdir()
    run.recipe.write_text("plugin: toy\narchitecture: mlp\n")
    for number in range(1, 9):
        norm = 1.0 if number < 5 else 1e-9
        terms = {"discriminator/_accuracy": 0.8, "generator/_gradient_norm": norm, "discriminator/loss": 1.0}
        run.append_metrics({"samples": 2400 * number, "phase": "adversarial", "terms": terms, "skipped": 0})
    return run


def test_a_run_without_a_watch_is_judged_by_its_records(tmp_path, environment):
    run = collapsed(tmp_path / "run")
    done = run_gan(["diagnose", run.path], environment)
    assert done.returncode == 0, done.stderr
    assert "vanishing-gradient after 19,200 real samples (training.watch: off)" in done.stdout
    assert "at 12,000 samples: vanishing-gradient in phase 'adversarial' begins and lasts" in done.stdout
    assert "generator/_gradient_norm 1e-09, under 1e-06" in done.stdout
    assert "what to change: lower optimizers.discriminator.lr" in done.stdout
    assert (run.path / "health.png").is_file()
    found = json.loads(run_gan(["diagnose", run.path, "--json"], environment).stdout)
    assert found["state"] == "vanishing-gradient"
    assert found["verdicts"][0]["since"] == 12000


def test_what_is_no_run_is_refused(tmp_path, environment):
    done = run_gan(["diagnose", tmp_path], environment)
    assert done.returncode == 2
    assert "is not a run folder" in done.stderr
