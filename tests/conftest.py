"""Fixtures that tests of several rooms share: the toy plugin, a cache of one's own, trainings without plots."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def plugins():
    """The plugin `toy` alone, registered in this process. A file that needs another set defines its own `plugins`."""
    from gan.plugins.manager import Plugins
    from gan.testing import toy

    found = Plugins()
    found.register("toy", toy)
    return found


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The folder of packs and downloads, new for this test."""
    monkeypatch.setenv("GAN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def no_plots(monkeypatch):
    """Trainings draw no picture of their losses, which takes longer than a tiny training."""
    monkeypatch.setattr("gan.training.session.plot_training", lambda records, path: path)
