"""Creates a new plugin from templates: a complete distribution that trains, passes its tests and can be published."""

from __future__ import annotations

import datetime
import keyword
import re
import subprocess
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template

from gan.errors import UsageError
from gan.plugins.discovery import BUILTIN, CORE, NAME
from gan.version import __version__

PLACEHOLDERS = frozenset(
    {"name", "my-name", "my-plugin", "plugin", "example", "sample", "test", "tests", "foo", "bar", "baz", "template"}
    | {"todo", "tbd", "xxx", "yyy", "abc", "new", "untitled", "modality", "my-modality", "data", "thing", "demo"}
)
"""Placeholder names, by which nobody would find the plugin."""


def create(
    name: str, modality: str, folder: Path, *, author: str = "", owners: dict[str, str] | None = None
) -> list[Path]:
    """Write the distribution ``gan-NAME`` into the new folder `folder` and return the written files.

    Raises `UsageError` for unusable names and for a folder that is not empty.
    """
    _check(name, "a plugin's name")
    _check(modality, "a modality's name")
    if name in (owners or {}) or name in (BUILTIN, "core", "gan"):
        raise UsageError(f"the name '{name}' belongs to {(owners or {}).get(name, CORE)}; choose another")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} exists already; choose another folder with --out")
    major, minor = __version__.split(".")[:2]
    values = {
        "name": name,
        "distribution": f"gan-{name}",
        "module": f"gan_{name.replace('-', '_')}",
        "modality": modality,
        "class_name": _class_name(modality),
        "title": name.replace("-", " ").capitalize(),
        "author": author or _author() or f"The authors of gan-{name}",
        "year": str(datetime.datetime.now(datetime.UTC).year),
        "core": f">={major}.{minor},<{major}.{int(minor) + 1}",
    }
    written = []
    for parts, text in _templates(resources.files("gan").joinpath("plugins", "templates", "plugin"), ()):
        path = folder.joinpath(*(_place(part, values["module"]) for part in parts))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(Template(text).substitute(values), encoding="utf-8")
        written.append(path)
    return sorted(written)


def _check(name: str, what: str) -> None:
    if not NAME.fullmatch(name) or not name[0].isalpha() or "--" in name or len(name) > 40:
        raise UsageError(
            f"'{name}' is not {what}: use lower-case letters, digits and single hyphens, with a letter first"
        )
    if name in PLACEHOLDERS or keyword.iskeyword(name):
        raise UsageError(f"'{name}' says nothing as {what}; name the kind of data: sketch, protein, level …")


def _class_name(modality: str) -> str:
    return "".join(part.capitalize() for part in re.split("-", modality))


def _author() -> str:
    """git's user.name without characters that would end a quoted string."""
    try:
        done = subprocess.run(["git", "config", "user.name"], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return re.sub(r'["\\]', "", done.stdout.strip())


def _templates(folder: Traversable, parts: tuple[str, ...]) -> list[tuple[tuple[str, ...], str]]:
    found: list[tuple[tuple[str, ...], str]] = []
    for item in folder.iterdir():
        if item.is_dir():
            found += _templates(item, (*parts, item.name))
        elif item.name.endswith(".tmpl"):
            found.append(((*parts, item.name.removesuffix(".tmpl")), item.read_text(encoding="utf-8")))
    return found


def _place(part: str, module: str) -> str:
    """The name in the new distribution of a file or folder of the template."""
    part = part.replace("__module__", module)
    return "." + part.removeprefix("dot-") if part.startswith("dot-") else part
