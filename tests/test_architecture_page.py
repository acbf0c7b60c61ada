"""docs/architecture.md lists the rooms of the core as they are, and names only what can be imported."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from doc_names import dotted_names, resolve

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def rooms_of_the_page() -> list[list[str]]:
    """The names in the first column of the table of rooms, row by row."""
    table = PAGE.partition("## Rooms")[2].partition("\n## ")[0]
    return [re.findall(r"`(\w+)`", row.split("|")[1]) for row in table.splitlines() if row.startswith("| `")]


def layers() -> list[list[str]]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    (core,) = [c for c in contracts if c["type"] == "layers" and c["containers"] == ["gan"]]
    return [re.findall(r"\w+", layer) for layer in core["layers"]]


def test_the_rooms_are_those_of_the_layers_contract_in_the_same_order():
    assert rooms_of_the_page() == layers()


def test_the_rooms_are_the_modules_and_folders_of_the_core():
    core = ROOT / "core" / "gan"
    found = {path.stem for path in core.glob("*.py")} | {path.parent.name for path in core.glob("*/__init__.py")}
    assert {name for row in rooms_of_the_page() for name in row} == found - {"__init__"}


@pytest.mark.parametrize("name", sorted(dotted_names(PAGE)))
def test_every_name_on_the_page_can_be_imported(name):
    assert resolve(name) is not None
