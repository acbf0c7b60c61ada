"""Discovery, statuses and lookup, with distributions that are folders on the path (no pip)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from gan import __version__
from gan.errors import PluginError, UnknownName
from gan.plugins.manager import BUILTIN, Plugins

HEALTHY = """
from gan.contracts import LossEntry, RecipeEntry
from gan.hookspecs import hookimpl

@hookimpl
def gan_losses():
    yield LossEntry(name="{loss}", summary="s", target="{module}:VALUE", paper="p")

@hookimpl
def gan_recipes():
    return [RecipeEntry(name="small", summary="s", target="{module}_data:recipes/small.yaml", architecture="a")]

VALUE = 42
"""


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A function that puts a distribution on the path: dist-info and one module."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv("GAN_PLUGINS", raising=False)
    before = set(sys.modules)

    def add(name: str, source: str | None, distribution: str = "", version: str = "1.0", extra: str = "", module=""):
        distribution = distribution or f"gan-{name}"
        module = module or distribution.replace("-", "_")
        info = tmp_path / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        metadata = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\nSummary: About {name}\n{extra}"
        (info / "METADATA").write_text(metadata)
        (info / "entry_points.txt").write_text(f"[gan]\n{name} = {module}\n")
        if source is not None:
            (tmp_path / f"{module}.py").write_text(source.replace("{module}", module))
        return module

    yield add
    for module in set(sys.modules) - before:
        if getattr(sys.modules[module], "__file__", None) and str(tmp_path) in str(sys.modules[module].__file__):
            del sys.modules[module]


@pytest.mark.rule("P2")
def test_reading_metadata_imports_nothing(site):
    site("one", "raise RuntimeError('imported')")
    info = Plugins.installed().info("one")
    assert (info.distribution, info.version, info.summary, info.status) == ("gan-one", "1.0", "About one", "unloaded")
    assert "gan_one" not in sys.modules


def test_a_target_is_imported_when_it_is_loaded(site, tmp_path):
    module = site("one", HEALTHY.replace("{loss}", "mine"))
    (tmp_path / f"{module}_data" / "recipes").mkdir(parents=True)
    (tmp_path / f"{module}_data" / "__init__.py").touch()
    (tmp_path / f"{module}_data" / "recipes" / "small.yaml").write_text("plugin: one\n")
    plugins = Plugins.installed()
    plugin_entry = plugins.find("gan_losses", "mine", "one")
    assert plugins.load(plugin_entry) == 42
    assert plugins.info("one").status == "ok"
    assert plugins.resource(plugins.find("gan_recipes", "small", "one")) == "plugin: one\n"


@pytest.mark.rule("P1")
def test_a_broken_plugin_becomes_its_reason_and_hides_no_other(site):
    site("broken", "import no_such_library")
    site("one", HEALTHY.replace("{loss}", "mine"))
    plugins = Plugins.installed()
    with pytest.raises(PluginError, match=r"gan-broken 1\.0.*ModuleNotFoundError: No module named 'no_such_library'"):
        plugins.find("gan_losses", "x", "broken")
    assert plugins.entries("gan_losses", "broken") == []
    assert plugins.find("gan_losses", "mine", "one").info.name == "one"
    (line,) = plugins.warnings()
    assert line.startswith("plugin gan-broken 1.0 (entry 'broken') skipped: ModuleNotFoundError")
    assert "--no-plugin broken" in line


def test_an_unknown_plugin_names_the_nearest(site):
    site("sketch", HEALTHY.replace("{loss}", "mine"))
    with pytest.raises(UnknownName, match="did you mean 'sketch'"):
        Plugins.installed().info("sketsh")


@pytest.mark.rule("P4")
@pytest.mark.parametrize("name", ["one", "gan-one", "gan_one", "GAN.One"])
def test_a_blocked_plugin_is_not_imported(site, name):
    site("one", "raise RuntimeError('imported')")
    plugins = Plugins.installed(block=[name])
    assert plugins.info("one").status == "blocked"
    assert plugins.entries("gan_losses", "one") == []
    with pytest.raises(PluginError, match="switched off by --no-plugin"):
        plugins.require("one")


@pytest.mark.rule("P4")
@pytest.mark.parametrize(("value", "kept"), [("", set()), ("one", {"one"}), ("one, gan-two", {"one", "two"})])
def test_the_variable_keeps_only_what_it_lists(site, monkeypatch, value, kept):
    for name in ("one", "two", "three"):
        site(name, "")
    monkeypatch.setenv("GAN_PLUGINS", value)
    infos = Plugins.installed().infos()
    assert {info.name for info in infos if info.name in ("one", "two", "three") and info.status != "blocked"} == kept
    assert infos[0].name == BUILTIN
    assert infos[0].status != "blocked"


@pytest.mark.rule("P3")
def test_two_distributions_of_one_name_are_refused_by_both_names(site):
    site("one", "raise RuntimeError('imported')")
    site("one", "raise RuntimeError('imported')", distribution="gan-other")
    plugins = Plugins.installed()
    with pytest.raises(PluginError, match=r"gan-one 1\.0 and gan-other 1\.0"):
        plugins.require("one")


@pytest.mark.rule("P3")
@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        ("Requires-Dist: gan-core>=99\n", f"needs gan-core>=99, and gan-core {__version__} is installed"),
        ("Requires-Dist: Gan_Core (<0.0.1)\n", "needs gan-core<0.0.1"),
        ("Requires-Python: >=3.99\n", "needs Python >=3.99"),
    ],
)
def test_another_core_or_python_is_a_sentence(site, extra, reason):
    site("one", "raise RuntimeError('imported')", extra=extra)
    info = Plugins.installed().info("one")
    assert info.status == "incompatible"
    assert info.reason.startswith(reason)


def test_a_plugin_of_this_process_needs_no_metadata():
    from types import ModuleType

    module = ModuleType("here")
    exec(HEALTHY.replace("{loss}", "mine").replace("{module}", "os"), module.__dict__)
    plugins = Plugins()
    plugins.register("here", module)
    assert plugins.find("gan_losses", "mine", "here").info.distribution == "(this process)"


def test_listing_plugins_stays_light():
    code = "import sys; from gan.plugins.manager import Plugins; Plugins.installed().infos();"
    code += "print(sorted({'torch', 'numpy', 'pydantic', 'pluggy', 'yaml'} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path.cwd())
    assert run.stdout.strip() == "[]", run.stdout + run.stderr


@pytest.mark.rule("S3")
@pytest.mark.parametrize("key", ["plugin", "architecture", "loss"])
@pytest.mark.parametrize("name", ["os:system", "gan.losses:Hinge", "../hinge", "builtins.eval"])
def test_a_recipe_names_entries_and_never_code(key, name, plugins):
    """A module path in place of a name is a name that nobody offers."""
    from gan.build import resolve

    values = {"plugin": "toy", "architecture": "mlp", "loss": "hinge", key: name}
    with pytest.raises(UnknownName) as caught:
        resolve(values, plugins)
    assert caught.value.name == name
