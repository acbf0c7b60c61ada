"""Fixtures that tests of several rooms share."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def toy_plugins():
    """The plugin `toy` alone, registered in this process."""
    from gan.plugins.manager import Plugins
    from gan.testing import toy

    found = Plugins()
    found.register("toy", toy)
    return found


@pytest.fixture
def no_plots(monkeypatch):
    """Trainings draw no picture of their losses, which takes longer than a tiny training."""
    monkeypatch.setattr("gan.training.session.plot_training", lambda records, path: path)
