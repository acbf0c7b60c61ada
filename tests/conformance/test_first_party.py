"""Every architecture of every plugin of this repository passes what `gan plugins check` checks."""

from __future__ import annotations

import pytest
from gan.testing import check_plugin


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("plugin", ["3d", "audio", "image", "music", "text", "video"])
def test_a_plugin_of_this_repository_keeps_what_plugins_promise(plugin):
    report = check_plugin(plugin, timeout=3000)
    assert report.passed, report.text()
