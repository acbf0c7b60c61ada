"""The plugin as the framework sees it."""

from __future__ import annotations

import subprocess
import sys

import gan_music
import pytest
from gan.contracts import ENTRY_TYPES
from gan.plugins.manager import Plugins


def entries(hook: str) -> list:
    return list(getattr(gan_music, hook)()) if hasattr(gan_music, hook) else []


def test_every_target_exists():
    plugins = Plugins.installed()
    for hook, kind in ENTRY_TYPES.items():
        for entry in entries(hook):
            assert isinstance(entry, kind)
            plugin_entry = plugins.find(hook, entry.name, "music")
            assert plugins.resource(plugin_entry) if hook == "gan_recipes" else plugins.load(plugin_entry)


def test_one_default_recipe():
    assert sum(recipe.default for recipe in entries("gan_recipes")) == 1


@pytest.mark.parametrize("recipe", [entry.name for entry in gan_music.gan_recipes()])
def test_recipes_resolve(recipe):
    from gan.build import recipe_values
    from gan.training.dry_run import dry_run

    plugins = Plugins.installed()
    result = dry_run(recipe_values(plugins, "music", named=recipe), plugins)
    assert all(count > 1000 for count in result.parameters.values())


def test_listing_imports_nothing_heavy():
    heavy = "torch numpy pydantic mido symusic music21 PIL pretty_midi"
    code = (
        "import sys, gan_music; [list(getattr(gan_music, n)()) for n in dir(gan_music) if n.startswith('gan_')]; "
        f"print([m for m in '{heavy}'.split() if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_published_values_are_named_as_the_statistics_are():
    import numpy as np
    from gan.build import recipe_values
    from gan_music.config import MusicConfig
    from gan_music.metrics.statistics import MusicStatistics
    from gan_music.modality import Music

    values = recipe_values(Plugins.installed(), "music", named="paper")
    music = Music(MusicConfig(**values["modality"]))
    rolls = np.random.default_rng(0).random((2, *music.fields["roll"].shape)) < 0.05
    measured = {value.name for value in MusicStatistics().compute({"roll": rolls}, {"roll": rolls}, music)}
    assert set(values["evaluation"]["published"]) <= measured
    assert len(values["evaluation"]["published"]) == 5 + 4 + 4 + 1 + 6
