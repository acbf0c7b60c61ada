"""Names and commands in documentation pages, for the tests that hold them true."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("README.md", "CONTRIBUTING.md", "docs/**/*.md", "plugins/*/README.md", "benchmarks/**/README.md")
    for path in ROOT.glob(pattern)
)
_BLOCK = re.compile(r"^ *```[ \t]*\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"^    +(gan .*)$", re.MULTILINE)
_INLINE = re.compile(r"`(gan [^`]+)`")


def dotted_names(text: str) -> set[str]:
    """Every ``gan.x`` or ``gan.x.y`` in code: in backticks, and in lines ``from gan.x import y``."""
    found = set(re.findall(r"`(gan(?:\.\w+)+)[`(]", text))
    for module, imported in re.findall(r"^ *from (gan(?:\.\w+)*) import ([\w, ]+)", text, re.MULTILINE):
        found |= {f"{module}.{name.strip()}" for name in imported.split(",")}
    return found


def resolve(name: str) -> Any:
    """The module, class, function or member with this dotted name. Raises `ImportError` or `AttributeError`."""
    value: Any = import_module("gan")
    parts = name.split(".")
    for place in range(1, len(parts)):
        try:
            value = import_module(".".join(parts[: place + 1]))
        except ImportError:
            fields = {**getattr(value, "__annotations__", {}), **getattr(value, "__dataclass_fields__", {})}
            value = fields[parts[place]] if parts[place] in fields else getattr(value, parts[place])
    return value


def commands(text: str) -> Iterator[list[str]]:
    """The arguments of every ``gan …`` command: in fenced and indented blocks, and in backticks."""
    found = [*_INLINE.findall(text), *_INDENTED.findall(re.sub(r" \\\n +", " ", text))]
    for code in _BLOCK.findall(re.sub(r"^ *```\w.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL)):
        lines = re.sub(r" *\\\n *", " ", code).splitlines()
        found += [part.strip() for line in lines for part in line.split("&&") if part.strip().startswith("gan ")]
    for line in found:
        command = re.split(r"\s+#|\s{3,}", line)[0]  # what follows is explained in words
        yield shlex.split(command.replace("[", "").replace("]", "") if " [--" in command else command)[1:]
