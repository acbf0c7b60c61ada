"""The plugin as the framework sees it, and the features of its metrics."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import gan_audio
import numpy as np
import pytest
from gan.contracts import ENTRY_TYPES
from gan.plugins.manager import Plugins
from gan.testing import check_plugin
from gan_audio.metrics.logmel import LogMelStatistics
from gan_audio.modality import Audio, AudioConfig
from gan_audio.percussion import hit


def entries(hook):
    return list(getattr(gan_audio, hook)()) if hasattr(gan_audio, hook) else []


def test_every_target_exists():
    plugins = Plugins.installed()
    for hook, kind in ENTRY_TYPES.items():
        for entry in entries(hook):
            assert isinstance(entry, kind)
            found = plugins.find(hook, entry.name, "audio")
            assert plugins.resource(found) if hook == "gan_recipes" else plugins.load(found)


def test_one_default_recipe():
    assert sum(recipe.default for recipe in entries("gan_recipes")) == 1


def test_listing_imports_nothing_heavy():
    heavy = "torch numpy pydantic scipy soundfile soxr PIL"
    code = (
        "import sys, gan_audio; [list(getattr(gan_audio, n)()) for n in dir(gan_audio) if n.startswith('gan_')]; "
        f"print([m for m in '{heavy}'.split() if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.slow
def test_conformance():
    report = check_plugin("audio")
    assert report.passed, report.text()


def sounds(kind, numbers):
    return {"sound": np.stack([hit(kind, number)[None] for number in numbers])}


def test_features_tell_kinds_apart_and_do_not_depend_on_other_rows():
    audio, features = Audio(AudioConfig(seconds=0.512)), LogMelStatistics()
    kicks, others = features(sounds("kick", range(6)), audio).vectors, features(sounds("hat", range(6)), audio).vectors
    assert kicks.shape == (6, 128)
    assert kicks.dtype == np.float32
    assert np.array_equal(kicks[2:3], features(sounds("kick", [2]), audio).vectors)
    within = np.linalg.norm(kicks - kicks.mean(0), axis=1).max()
    assert np.linalg.norm(kicks.mean(0) - others.mean(0)) > 3 * within


def test_features_of_a_level():
    """Ten times the amplitude adds ln 10 to every level, and changes neither the deviation nor the course in time."""
    audio, features = Audio(AudioConfig(seconds=0.512)), LogMelStatistics()
    noise = np.random.default_rng(0).normal(0, 300, (1, 1, 8192))
    one, ten = (features({"sound": (noise * g).astype(np.int16)}, audio).vectors[0] for g in (3, 30))
    assert ten[:32] - one[:32] == pytest.approx(np.log(10), abs=0.05)
    assert ten[32:96] == pytest.approx(one[32:96], abs=0.05)
    assert ten[96:] - one[96:] == pytest.approx(np.log(10), abs=0.05)


@pytest.mark.slow
def test_a_run_from_recipe_to_page(tmp_path):
    """The commands of the README, shortened: files, page, metrics by name, a class by name."""
    run = tmp_path / "run"
    settings = ["training.samples=16", "training.batch=8", "evaluation.samples=8", "evaluation.artefacts=2"]
    settings += ["model.generator_width=2", "model.critic_width=2"]
    command = [sys.executable, "-m", "gan"]
    flags = [part for setting in settings for part in ("--set", setting)]
    subprocess.run(
        [*command, "run", "--plugin", "audio", "--out", str(run), *flags, "--quiet"], check=True, timeout=120
    )
    assert len(list((run / "samples").glob("*.wav"))) == 2
    assert "<audio controls" in (run / "page" / "index.html").read_text(encoding="utf-8")
    receipts = json.loads((run / "evaluation" / "receipts.json").read_text(encoding="utf-8"))
    assert {"FID[logmel]", "precision[logmel]", "recall[logmel]"} <= set(re.findall(r"\w+\[logmel\]", str(receipts)))
    out = tmp_path / "bells"
    generate = [
        *command,
        "generate",
        str(run),
        "--label",
        "bell",
        "--count",
        "2",
        "--format",
        "flac",
        "--out",
        str(out),
    ]
    subprocess.run(generate, check=True, timeout=60)
    assert len(list(out.glob("*.flac"))) == 2
