"""Every block of Python in the tutorials runs, in order, on small networks and few samples."""

from __future__ import annotations

import re
from contextlib import chdir

import gan
import pytest
from doc_names import ROOT
from gan import api
from gan.plugins.manager import Plugins

TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHORT = {
    "training.samples": 32, "training.batch": 4, "training.micro_batch": None, "training.preview_ticks": 0,
    "evaluation.samples": 8, "evaluation.artefacts": 2, "evaluation.metrics": [],
}  # fmt: skip


def blocks(path):
    return BLOCK.findall(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def installed():
    return Plugins.installed()


def shortened(installed, phrases):
    """`gan.train` with networks of the size that the plugin names for tests, and music from `phrases`."""

    def train(what, *, settings=(), minutes=None, **chosen):
        plain = api.recipe(what, chosen.get("architecture"), named=chosen.get("recipe"))
        entry = installed.find("gan_architectures", plain["architecture"], prefer=what).entry
        small = dict(text.split("=", 1) for text in entry.small)
        values = api.recipe(what, plain["architecture"], named=chosen.get("recipe"), settings=settings)
        values = api._changed(values, [f"{key}={value}" for key, value in small.items()])
        values = api._changed(values, SHORT)
        if what == "music":
            chosen.setdefault("data", phrases)
        assert minutes is not None, "a tutorial says how long its trainings take"
        return api.train(values, **chosen)

    return train


def test_there_is_a_tutorial_for_every_kind_of_data(installed):
    trained = {
        train for path in TUTORIALS for block in blocks(path) for train in re.findall(r'gan\.train\("(\w+)"', block)
    }
    kinds = {found.info.name for found in installed.entries("gan_modalities") if found.info.distribution[:4] == "gan-"}
    assert trained == kinds


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_the_blocks_of_a_tutorial_are_python(path):
    assert len(blocks(path)) >= 4
    for block in blocks(path):
        compile(block, str(path), "exec")


@pytest.mark.slow
@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_runs(path, installed, tmp_path, monkeypatch):
    monkeypatch.setenv("GAN_CACHE", str(tmp_path / "cache"))
    phrases = tmp_path / "phrases"
    if 'gan.train("music"' in path.read_text(encoding="utf-8"):
        gan.generate("zoo:chorales", 12, seed=9, out=phrases)
    monkeypatch.setattr(gan, "train", shortened(installed, phrases))
    names = {}
    with chdir(tmp_path):
        for block in blocks(path):
            exec(compile(block, str(path), "exec"), names)
    assert list((tmp_path / "runs").iterdir())
