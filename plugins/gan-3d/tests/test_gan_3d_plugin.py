"""The plugin as the framework sees it: entries, recipes, a short run from furniture to meshes and a page."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import gan_3d
import numpy as np
import pytest
import trimesh
from gan.contracts import ENTRY_TYPES
from gan.plugins.manager import Plugins


def entries(hook: str) -> list:
    return list(getattr(gan_3d, hook)()) if hasattr(gan_3d, hook) else []


def test_every_target_exists():
    plugins = Plugins.installed()
    for hook, kind in ENTRY_TYPES.items():
        for entry in entries(hook):
            assert isinstance(entry, kind)
            plugin_entry = plugins.find(hook, entry.name, "3d")
            assert plugins.resource(plugin_entry) if hook == "gan_recipes" else plugins.load(plugin_entry)


def test_one_default_recipe():
    assert sum(recipe.default for recipe in entries("gan_recipes")) == 1


@pytest.mark.parametrize("recipe", [entry.name for entry in gan_3d.gan_recipes()])
def test_recipes_resolve(recipe, few_shapes):
    from gan.build import recipe_values
    from gan.recipe import with_settings
    from gan.training.dry_run import dry_run

    plugins = Plugins.installed()
    values = with_settings(recipe_values(plugins, "3d", named=recipe), [f"data.source={few_shapes}"])
    result = dry_run(values, plugins)
    assert all(count > 1000 for count in result.parameters.values())


def test_listing_imports_nothing_heavy():
    heavy = "torch numpy pydantic trimesh skimage scipy PIL"
    code = (
        "import sys, gan_3d; [list(getattr(gan_3d, n)()) for n in dir(gan_3d) if n.startswith('gan_')]; "
        f"print([m for m in '{heavy}'.split() if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.fixture(scope="module")
def few_shapes(tmp_path_factory) -> Path:
    from gan_3d.data.furniture import write_furniture

    folder = tmp_path_factory.mktemp("few")
    write_furniture(folder, 0, 4)
    return folder


def test_a_short_run_ends_with_watertight_meshes_of_the_asked_class(few_shapes, tmp_path):
    import gan
    from gan.api import recipe

    settings = [
        f"data.source={few_shapes}", "modality.resolution=8", "model.generator_width=4", "model.discriminator_width=4",
        "training.samples=64", "training.batch=8", "evaluation.samples=8", "evaluation.artefacts=4",
        "evaluation.metrics=[shape-statistics]", "training.device=cpu",
    ]  # fmt: skip
    gan.train(recipe("3d", settings=settings), out=tmp_path / "run")
    files = sorted((tmp_path / "run" / "samples").glob("*.glb"))
    assert len(files) == 4
    for file in files:
        mesh = trimesh.load_mesh(file)
        assert mesh.is_watertight
        assert mesh.volume > 0
    page = (tmp_path / "run" / "page" / "index.html").read_text()
    assert page.count("<canvas") == 4
    model = gan.load(tmp_path / "run")
    lamps = model.generate(3, conditions={"label": 1}, seed=5)["voxels"]
    again = model.generate(3, conditions={"label": 1}, seed=5)["voxels"]
    assert np.array_equal(lamps, again)
