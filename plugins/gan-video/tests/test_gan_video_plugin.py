"""The plugin video: the conformance kit, entries and recipes."""

from __future__ import annotations

import pytest
from gan.build import resolve
from gan.plugins.manager import Plugins
from gan.testing import check_plugin


@pytest.mark.slow
def test_it_keeps_what_a_plugin_promises():
    report = check_plugin("video")
    assert report.passed, report.text()


@pytest.mark.parametrize(
    "name", ["motions", "mocogan-64", "dvdgan-motions", "dvdgan-64", "stylegan-v-motions", "stylegan-v-256"]
)
def test_recipes_resolve(name):
    from gan import api

    resolve(api.recipe("video", named=name), Plugins.installed())
