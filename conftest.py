"""Fixtures shared by tests of the core and of the plugins: the toy plugin, a cache of one's own, no plots of losses."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Two workers share two cores: with more threads than cores, threads wait for each other most of the time. Set before
# any import of torch, and inherited by every command that a test starts.
os.environ.setdefault("OMP_NUM_THREADS", "1")


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


@pytest.fixture(scope="session", autouse=True)
def own_keys(tmp_path_factory):
    """Keys for signatures and marks that are not the user's; processes that tests start use them as well."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GAN_KEYS", str(tmp_path_factory.mktemp("keys")))
        for name in ("GAN_SIGNING_KEY", "GAN_MARK_KEY"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session", autouse=True)
def blank_plots():
    """Trainings in this process write empty pictures for the curves of their losses and health, which cost more than a
    tiny training. `tests/reporting/test_plots.py` and the trainings of the command line draw them."""
    import gan.training.outputs
    import gan.watch.report
    from PIL import Image

    def blank(*arguments: object) -> Path:
        path = arguments[-1]
        assert isinstance(path, Path)
        Image.new("L", (1, 1)).save(path)
        return path

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gan.training.outputs, "plot_training", blank)
        patch.setattr(gan.watch.report, "plot_health", blank)
        yield
