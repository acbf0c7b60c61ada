"""`gan plugins new`: what it writes works at once, and what it refuses."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from gan.cli import group
from gan.conformance.checking import check_project
from gan.errors import UsageError
from gan.plugins.scaffold import create


def test_a_new_plugin_passes_the_conformance_kit(tmp_path, monkeypatch):
    """Skipped is what needs an installed distribution or concerns other kinds of networks; its code is formatted."""
    monkeypatch.setenv("GAN_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "gan-pen-strokes"
    written = create("pen-strokes", "pen-stroke", folder, author="A. Person")
    assert {path.relative_to(folder).as_posix() for path in written} >= {
        "pyproject.toml",
        "LICENSE",
        "README.md",
        ".github/workflows/ci.yml",
        ".gitignore",
        "gan_pen_strokes/__init__.py",
        "gan_pen_strokes/recipes/doodles.yaml",
        "tests/test_gan_pen_strokes.py",
    }
    report = check_project(folder)
    assert report.passed, report.text() + report.output
    assert {o.check for o in report.outcomes if o.status == "skipped"} == {
        "metadata",
        "licence",
        "settles",
        "learned state",
    }
    for command in (["check"], ["format", "--check"]):
        said = subprocess.run([sys.executable, "-m", "ruff", *command, str(folder)], capture_output=True, text=True)
        assert said.returncode == 0, said.stdout + said.stderr


def test_its_own_tests_pass(tmp_path):
    """All but the kit's, which the test above runs."""
    folder = tmp_path / "gan-sketch"
    create("sketch", "drawing", folder, author="A. Person")
    code = "import sys; sys.path.insert(0, '.'); import pytest; sys.exit(pytest.main(['-q', '-k', 'not conformance']))"
    run = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout
    assert re.search(r"\d passed", run.stdout)


def test_nothing_of_the_template_is_left_over(tmp_path):
    for path in create("sketch", "drawing", tmp_path / "x", author="A. Person"):
        text = path.read_text()
        assert "__module__" not in text + path.name
        assert not re.search(r"\$[a-z_]|\$\{[a-z_]", text.replace("${{", ""))
        assert not path.name.endswith(".tmpl")
    workflow = yaml.safe_load((tmp_path / "x" / ".github" / "workflows" / "ci.yml").read_text())
    assert workflow["jobs"]["publish"]["permissions"] == {"id-token": "write"}
    assert "password" not in json.dumps(workflow)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("example", "says nothing"),
        ("my-plugin", "says nothing"),
        ("class", "says nothing"),
        ("Sketch", "lower-case"),
        ("2d", "a letter first"),
        ("a--b", "single hyphens"),
        ("../x", "lower-case"),
        ("music", "belongs to gan-music"),
        ("builtin", "belongs to gan-core"),
    ],
)
def test_names_that_help_nobody_are_refused(tmp_path, name, reason):
    with pytest.raises(UsageError, match=reason):
        create(name, "drawing", tmp_path / "x", owners={"music": "gan-music"})
    assert not (tmp_path / "x").exists()


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "precious").touch()
    with pytest.raises(UsageError, match="exists already"):
        create("sketch", "drawing", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


def test_the_command_writes_into_a_folder_of_the_plugins_name(tmp_path, monkeypatch):
    from click.testing import CliRunner

    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(group, ["plugins", "new", "sketch"])
    assert result.exit_code == 0, result.output
    assert Path("gan-sketch/gan_sketch/mlp.py").is_file()
    assert "gan run --plugin sketch" in result.output
