"""The plugin video: the conformance kit, entries and recipes."""

from __future__ import annotations

import pytest
from gan.build import resolve
from gan.plugins.manager import Plugins
from gan.testing import check_plugin
from gan_video.architectures.mocogan import MoCoGANConfig
from gan_video.modality import VideoConfig


@pytest.mark.slow
def test_it_keeps_what_a_plugin_promises():
    report = check_plugin("video")
    assert report.passed, report.text()


@pytest.mark.parametrize(
    "name", ["motions", "animate", "mocogan-64", "dvdgan-motions", "dvdgan-64", "stylegan-v-motions", "stylegan-v-256"]
)
def test_recipes_resolve(name):
    from gan import api

    resolve(api.recipe("video", named=name), Plugins.installed())


def test_records_of_the_first_version_stay_valid():
    """Settings that came later are not recorded at their defaults, so that its packs are found and its runs resumed."""
    assert set(VideoConfig().model_dump()) == {
        "resolution", "frames", "stride", "long", "hop", "channels", "fit", "background", "labels", "layout"
    }  # fmt: skip
    assert set(MoCoGANConfig().model_dump()) == {
        "content", "motion", "width", "critic_width", "critic_norm", "patch", "class_weight"
    }  # fmt: skip
    assert VideoConfig(rate=5).model_dump()["rate"] == 5
    assert VideoConfig(**VideoConfig(rate=5).model_dump()) == VideoConfig(rate=5)
