"""The pages for plugin authors: the code of the tutorial runs, the reference matches the source, links resolve."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from gan import hookspecs
from gan.conformance.checking import check_project
from gan.contracts import ENTRY_TYPES
from gan.plugins.scaffold import create

PAGES = Path(__file__).parents[1] / "docs" / "plugins"
BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: str) -> list[tuple[str, str, str]]:
    """(language, rest of the line, code) of every block of a page."""
    return BLOCK.findall((PAGES / page).read_text(encoding="utf-8"))


def test_the_tutorial_does_what_it_says(tmp_path):
    """Its files are written into a new plugin in turn; the conformance kit first refuses the loss and then passes."""
    folder = tmp_path / "gan-sketch"
    create("sketch", "drawing", folder, author="A. Person")
    code, losses = [], []
    for language, rest, text in blocks("first-plugin.md"):
        title = re.search(r'title="([^"]+)"', rest)
        if language != "python":
            continue
        if title is None:
            code.append(text)
        elif title[1].endswith("loss.py"):
            losses.append(text)
        else:
            assert rest.endswith(" append")
            with open(folder / title[1], "a", encoding="utf-8") as file:
                file.write("\n\n" + text)
    assert (len(losses), len(code)) == (2, 4)

    environment = {
        **os.environ,
        "PYTHONPATH": str(folder),
        "GAN_CACHE": str(tmp_path / "cache"),
        "OMP_NUM_THREADS": "1",
    }
    lesson = "\n".join(text for text in code if "check_plugin" not in text)
    run = subprocess.run([sys.executable, "-c", lesson], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout == "corner.csv: line 1 is not a point 'x,y': 'no numbers'\n"

    (folder / "gan_sketch" / "loss.py").write_text(losses[0])
    report = check_project(folder)
    (failure,) = report.failures
    said = f"{failure.status:7}  {failure.subject}, {failure.check}: {failure.reason}"
    assert said in (PAGES / "first-plugin.md").read_text(encoding="utf-8")
    (folder / "gan_sketch" / "loss.py").write_text(losses[1])
    report = check_project(folder)
    assert report.passed, report.text()


def test_the_reference_is_what_the_source_says():
    path = PAGES.parent / "make_plugin_reference.py"
    spec = importlib.util.spec_from_file_location("make_plugin_reference", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (PAGES / "reference.md").read_text(encoding="utf-8") == module.page()


@pytest.mark.parametrize("hook", ENTRY_TYPES)
def test_every_hook_is_in_the_reference_with_its_signature(hook):
    function = getattr(hookspecs, hook)
    signature = f"def {hook}{inspect.signature(function)}".replace("'", "")
    assert f"```python\n{signature}\n```" in (PAGES / "reference.md").read_text(encoding="utf-8")


def test_there_is_a_hook_for_every_type_of_entry():
    specified = {name for name in dir(hookspecs) if name.startswith("gan_")}
    assert specified == set(ENTRY_TYPES)


def test_the_index_entry_of_the_page_is_a_good_one():
    from gan.plugins.registry import parse

    (entry,) = [text for language, _, text in blocks("publishing.md") if language == "yaml"] or [
        "\n".join(line[3:] for line in text.splitlines())
        for text in re.findall(r"```yaml\n(.*?)```", (PAGES / "publishing.md").read_text(encoding="utf-8"), re.DOTALL)
    ]
    index = parse(f"format: 1\nversion: 1\nexpires: 2099-01-01\nplugins:\n{entry}".encode(), "index")
    assert index.plugins[0].name == "sketch"


def test_the_number_of_broken_kinds_is_told_truly():
    text = (Path(__file__).parent / "plugins" / "test_broken_plugins.py").read_text(encoding="utf-8")
    kinds = len(re.findall(r"^    \"[^\"]+\": Kind\(", text, re.MULTILINE))
    assert f"{kinds} kinds of broken plugin" in (PAGES / "isolation.md").read_text(encoding="utf-8")


def test_every_contract_is_in_the_reference():
    from gan import contracts

    described = set(re.findall(r"^### (\w+)", (PAGES / "reference.md").read_text(encoding="utf-8"), re.MULTILINE))
    classes = {name for name in contracts.__all__ if isinstance(getattr(contracts, name), type)}
    assert len(classes) > 25
    assert classes <= described, classes - described


def test_the_defaults_of_an_architecture_are_those_of_the_core():
    from gan.contracts import GenerationSettings
    from gan.generation.model import GENERATION_BATCH

    assert GenerationSettings.generation_batch == GENERATION_BATCH


def importable() -> set[str]:
    """The modules that compatibility.md allows plugins to import."""
    text = (PAGES / "compatibility.md").read_text(encoding="utf-8")
    table = text.partition("## What a plugin may import")[2].partition("\n## ")[0]
    return {name for row in table.splitlines() for name in re.findall(r"^\| `(gan\.\w+)`", row)}


def test_what_a_plugin_may_import_exists():
    assert len(importable()) > 10
    for name in importable():
        importlib.import_module(name)


ROOT = PAGES.parents[1]


@pytest.mark.parametrize(
    "package",
    sorted(p.parent.relative_to(ROOT).as_posix() for p in ROOT.glob("plugins/gan-*/gan_*/__init__.py")),
)
def test_our_plugins_import_only_what_any_plugin_may(package):
    modules = sorted((ROOT / package).rglob("*.py"))
    assert modules
    for path in modules:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == "gan":
                names = [f"gan.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                continue
            for name in names:
                if name.partition(".")[0] == "gan":
                    assert ".".join(name.split(".")[:2]) in importable(), f"{path}:{node.lineno} imports {name}"
