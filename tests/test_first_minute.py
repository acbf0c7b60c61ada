"""What a newcomer meets first: default trainings that end, `make` that shows what it installs, README's beginning."""

from __future__ import annotations

import os
import re
import subprocess

import pytest
import yaml
from doc_names import ROOT
from gan.build import recipe_values
from gan.plugins.manager import Plugins

README = (ROOT / "README.md").read_text(encoding="utf-8")
MOST_MINUTES = 15
KINDS = ("3d", "audio", "image", "music", "text", "video")


@pytest.mark.parametrize("plugin", KINDS)
def test_a_default_training_ends_after_a_quarter_of_an_hour_at_the_latest(plugin):
    assert 0 < recipe_values(Plugins.installed(), plugin, None, None)["training"]["minutes"] <= MOST_MINUTES


def made(*words: str) -> str:
    """What `make` would do in a fresh checkout, said alike when a `make` runs these tests."""
    command = ["make", "--no-print-directory", "--dry-run", "--always-make", "VENV=/nowhere", *words]
    own = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, env=own)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(("target", "last"), [("demo", "gan demo"), ("run", "gan run music")])
def test_make_installs_what_running_needs_and_shows_it(target, last):
    """Tools of development stay away, pip is not silent, and the steps are counted."""
    text = made(target)
    assert text.rstrip().endswith(last)
    assert "dev" not in re.findall(r"\[(\w+)\]", text)
    installs = [line for line in text.splitlines() if "pip install" in line]
    assert installs
    assert not any("--quiet" in line or " -q" in line for line in installs)
    assert [text.count(f"{step}/3") for step in (1, 2, 3)] == [1, 1, 1]


def test_tests_get_the_tools_of_development():
    assert '-e ".[dev]"' in made("test")


def test_the_index_of_torch_can_be_chosen():
    text = made("TORCH_INDEX=https://example.org/cpu", "demo")
    assert "--index-url https://example.org/cpu torch" in text
    assert "TORCH_INDEX" in README


def test_the_first_screen_shows_pictures_music_and_a_text_with_their_commands():
    """Each picture, sound and text is made by a command beside it; together they are small."""
    screen = "\n".join(README.splitlines()[:45])
    shown = [ROOT / name for name in re.findall(r"\((docs/gallery/[\w.-]+)\)", screen)]
    assert {path.suffix for path in shown} == {".png", ".ogg"}
    assert len(shown) >= 4
    assert sum(path.stat().st_size for path in (ROOT / "docs" / "gallery").iterdir()) < 400_000
    models = {entry.entry.name for entry in Plugins.installed().entries("gan_models")}
    named = re.findall(r"gan generate zoo:([\w-]+)", screen)
    assert len(named) >= 4
    assert set(named) <= models
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for command in re.findall(r"`(gan generate zoo:[^`]+)`", screen):
        assert command in makefile, "make gallery makes it"
    text = (ROOT / "docs" / "gallery" / "reference.txt").read_text(encoding="utf-8")
    assert " ".join(text.split()) in re.sub(r"<br>|\s+", " ", screen)


def test_a_release_is_uploaded_without_a_password():
    """By trusted publishing: only the job that uploads may ask for an identity, in an environment of its own."""
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8"))["jobs"]
    assert jobs["publish"]["permissions"] == {"id-token": "write"}
    assert jobs["publish"]["environment"] == "release"
    assert "permissions" not in jobs["build"]
    assert any("make dist" in step.get("run", "") for step in jobs["build"]["steps"])
    used = [step["uses"] for job in jobs.values() for step in job["steps"] if "uses" in step]
    assert any("pypi-publish" in name for name in used)
    assert all(re.search(r"@v\d+\.\d+\.\d+$", name) for name in used)
