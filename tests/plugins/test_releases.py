"""Releases: distributions that build, are whole, and work when installed from files in an empty environment."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
import time
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROJECTS = [ROOT, *sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))]


def table(project: Path) -> dict:
    return tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.mark.parametrize("project", PROJECTS, ids=lambda path: table(path)["name"])
def test_a_version_stands_in_one_place(project):
    """In pyproject.toml; the core repeats it for programs, and this holds the two together."""
    import gan

    version = table(project)["version"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", version)
    if project == ROOT:
        assert gan.__version__ == version
    else:
        (need,) = [line for line in table(project)["dependencies"] if line.startswith("gan-core")]
        major, minor, _ = gan.__version__.split(".")
        assert f">={major}.{minor}" in need
        assert "<" in need


def run(*command: object, **options: object) -> str:
    process = subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)
    assert process.returncode == 0, process.stdout[-3000:] + process.stderr[-3000:]
    return process.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder that `make dist` makes, with wheels and source distributions of the core and of every plugin here."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, ROOT / "tools" / "release.py", "--out", folder, timeout=600)
    return folder


@pytest.mark.slow
def test_a_release_is_checked_and_lists_its_wheels(built):
    """`make dist` runs twine's check itself; registry.yaml names every wheel by its sha256, notes say what is new."""
    tool = ROOT / "tools" / "release.py"
    run(sys.executable, tool, "--out", built, "--check", timeout=60)
    assert len(list(built.glob("*.whl"))) == len(list(built.glob("*.tar.gz"))) == len(PROJECTS)
    assert (built / "NOTES.md").read_text(encoding="utf-8").startswith("# gan ")


@pytest.mark.slow
def test_distributions_are_whole(built):
    (core,) = built.glob("gan_core-*.whl")
    names = set(zipfile.ZipFile(core).namelist())
    assert {"gan/py.typed", "gan/registry.yaml", "gan/plugins/templates/plugin/__module__/__init__.py.tmpl"} <= names
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"gan", "gan_core"}
    (source,) = built.glob("gan_core-*.tar.gz")
    with tarfile.open(source) as archive:
        tops = {name.split("/")[1] for name in archive.getnames()}
    assert tops == {
        "core",
        "registry.yaml",
        "README.md",
        "CHANGELOG.md",
        "LICENSE",
        "pyproject.toml",
        "PKG-INFO",
        ".gitignore",
    }
    for wheel in built.glob("*.whl"):
        held = zipfile.ZipFile(wheel).namelist()
        package = wheel.name.split("-")[0] if wheel != core else "gan"
        recipes = ROOT.glob(f"plugins/*/{package}/recipes/*.yaml")
        assert {f"{package}/recipes/{path.name}" for path in recipes} <= set(held)
        assert not any("tests/" in name for name in held if package != "gan")


def environment(folder: Path) -> tuple[Path, dict[str, str]]:
    """An environment that has third parties' packages and nothing of ours; (python, its variables)."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    run(python, "-m", "pip", "uninstall", "--yes", "setuptools")  # of Python 3.11, older than what torch requires
    (site,) = folder.glob("lib/python*/site-packages")
    import pydantic
    import torch

    others = folder / "others"
    others.mkdir()
    for packages in {Path(package.__file__).parents[1] for package in (torch, pydantic, pytest)}:
        for path in packages.iterdir():
            if not re.match(r"gan[_-]|__editable__|pip\b", path.name) and path.suffix != ".pth":
                (others / path.name).symlink_to(path)
    (site / "others.pth").write_text(f"{others}\n")
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("GAN_", "PYTHON"))}
    return python, {**variables, "GAN_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}


@pytest.mark.slow
def test_the_folder_of_wheels_is_installed_by_name_and_shows_something_at_once(built, tmp_path):
    """As README says it; then `gan demo` and `gan generate zoo:NAME`, without a network."""
    shown = re.search(r"^pip install --find-links dist ([\w -]+?)\s*(?:#.*)?$", README, re.MULTILINE)
    assert shown is not None
    python, variables = environment(tmp_path / "env")
    quiet = {"env": variables, "cwd": tmp_path, "timeout": 300}
    run(python, "-m", "pip", "install", "--no-index", "--find-links", built, *shown[1].split(), **quiet)
    gan = tmp_path / "env" / "bin" / "gan"
    began = time.monotonic()
    said = run(gan, "demo", "--count", "2", **quiet)
    print(f"artefacts: {time.monotonic() - began:.0f} s")
    made = {path.parent.parent.name for path in (tmp_path / "demo").glob("*/page/index.html")}
    models = {
        model["name"]: model["title"].partition("/")[0] for model in json.loads(run(gan, "zoo", "--json", **quiet))
    }
    assert made == {name for name, plugin in models.items() if f"gan-{plugin}" in shown[1].split()}
    assert said.count("pip install gan-") == len(models) - len(made) > 0
    done = run(gan, "generate", "zoo:chorales", "--count", "2", **quiet)
    assert done.startswith("samples/chorales/seed-0/sample-0000.mid")


@pytest.mark.slow
def test_a_new_plugin_lives_beside_ours_in_an_empty_environment(built, tmp_path):
    """From `gan plugins new` to a trained sample, resumed, measured and checked, all from wheels."""
    python, variables = environment(tmp_path / "env")
    quiet = {"env": variables, "cwd": tmp_path}
    run(python, "-m", "pip", "install", "--no-index", "--no-deps", *sorted(built.glob("*.whl")), **quiet)
    gan = tmp_path / "env" / "bin" / "gan"
    where = run(python, "-c", "import gan; print(gan.__file__)", **quiet)
    assert str(tmp_path) in where
    ours = {info["name"]: info["status"] for info in json.loads(run(gan, "plugins", "--json", **quiet))}
    assert set(ours) == {"builtin", *(name for p in PROJECTS[1:] for name in table(p)["entry-points"]["gan"])}
    assert set(ours.values()) == {"unloaded"}

    start = time.monotonic()
    run(gan, "plugins", "new", "sketch", "--modality", "drawing", "--author", "A. Person", **quiet)
    run(sys.executable, "-m", "build", "--no-isolation", "--wheel", tmp_path / "gan-sketch")
    (wheel,) = (tmp_path / "gan-sketch" / "dist").glob("*.whl")
    run(python, "-m", "pip", "install", "--no-index", "--no-deps", wheel, **quiet)
    run(gan, "run", "--plugin", "sketch", "--samples", "40000", "--quiet", "--out", "run", **quiet)
    print(f"from `gan plugins new` to a trained sample: {time.monotonic() - start:.0f} s")

    result = json.loads((tmp_path / "run" / "evaluation" / "result.json").read_text())
    assert {metric["name"] for metric in result["metrics"]} == {"length", "closed"}
    run(gan, "resume", "run", "--quiet", **quiet)
    run(gan, "generate", "run", "--count", "5", "--seed", "1", "--out", "one", "--quiet", **quiet)
    run(gan, "generate", "run", "--count", "5", "--seed", "1", "--out", "two", "--quiet", **quiet)
    files = sorted(path.name for path in (tmp_path / "one").glob("*.csv"))
    assert len(files) == 5
    assert all((tmp_path / "one" / n).read_bytes() == (tmp_path / "two" / n).read_bytes() for n in files)
    report = json.loads(run(gan, "plugins", "check", "sketch", "--json", **quiet))
    assert report["passed"]
    assert {o["check"] for o in report["outcomes"] if o["status"] == "skipped"} == {"settles", "learned state"}


def release_tool():
    import importlib.util

    spec = importlib.util.spec_from_file_location("release", ROOT / "tools" / "release.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_registry_of_a_release_names_every_wheel_by_its_sha256(tmp_path):
    """The version rises, comments stay, the result is an index that `gan` reads, and a changed wheel is noticed."""
    import hashlib

    from gan.plugins.registry import parse

    tool = release_tool()
    for project in tool.PROJECTS:
        about = tool.about(project)
        name = f"{about['name'].replace('-', '_')}-{about['version']}-py3-none-any.whl"
        (tmp_path / name).write_bytes(about["name"].encode())
    before = (ROOT / "registry.yaml").read_text(encoding="utf-8")
    after = tool.registry(before, tmp_path)
    assert after.startswith(before.partition("format:")[0])
    index = parse(after.encode(), "registry.yaml")
    assert index.version == parse(before.encode(), "registry.yaml").version + 1
    assert {plugin.distribution for plugin in index.plugins} == {tool.about(p)["name"] for p in tool.PROJECTS[1:]}
    for plugin in index.plugins:
        (release,) = plugin.versions
        (wheel,) = release.wheels
        assert wheel.sha256 == hashlib.sha256(plugin.distribution.encode()).hexdigest()
        assert release.fits()
    assert tool.registry(after, tmp_path).count("version: 0.1.0") == len(index.plugins), "once, also when repeated"
    with pytest.raises(FileNotFoundError):
        tool.registry(before, tmp_path / "none")


def test_release_notes_are_what_is_unreleased():
    notes = release_tool().notes("# Changelog\n\n## Unreleased\n\n- new\n\n## 0.0.1\n\n- old\n", "0.1.0")
    assert notes == "# gan 0.1.0\n\n- new\n"
    with pytest.raises(ValueError, match="Unreleased"):
        release_tool().notes("# Changelog\n", "1")
