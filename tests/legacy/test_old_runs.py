"""A run folder that was written before the core was restructured is generated from, resumed and evaluated.

`run-1` holds a training of the toy plugin that was stopped in the middle of a tick, and what that version generated
from it before and after it resumed a copy.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from gan import api

HERE = Path(__file__).parent / "run-1"
EXPECTED = json.loads((HERE / "expected.json").read_text(encoding="utf-8"))


@pytest.fixture
def run(tmp_path, cache):
    return Path(shutil.copytree(HERE / "run", tmp_path / "run"))


def generated(run, plugins):
    return api.load(run, device="cpu", plugins=plugins).generate(6, seed=3)["points"]


@pytest.mark.rule("R16")
def test_an_old_run_is_generated_from_and_evaluated(run, plugins):
    """One forward pass in float32 of a network of width 8: some units in the last place of values near 1."""
    np.testing.assert_allclose(generated(run, plugins), EXPECTED["stopped"], rtol=0, atol=1e-5)
    (receipt,) = api.evaluate(run, plugins=plugins)
    assert receipt.metric == "ring-modes"
    assert [(value.name, value.real) for value in receipt.values] == [("modes", 8.0), ("near", 1.0)]


@pytest.mark.rule("R16")
def test_an_old_run_is_resumed_to_the_same_end(run, plugins):
    """The remaining three iterations move the samples by 0.2 to 0.9; Adam's steps of 0.02 keep the rounding of other
    processors far below 1e-3, while a lost optimizer state or another order of the data changes the second digit."""
    result = api.resume_run(run, plugins=plugins)
    assert (result.samples, result.title) == (512, "toy/mlp")
    np.testing.assert_allclose(generated(run, plugins), EXPECTED["finished"], rtol=0, atol=1e-3)


def test_an_old_run_keeps_its_generators(run, plugins):
    """Its checkpoints say nothing of the way; a new run's do."""
    assert api.load(run, device="cpu", plugins=plugins).draws == "generators"
