"""The entry points of the group ``gan``, from the metadata of installed distributions; nothing is imported."""

from __future__ import annotations

import importlib.metadata
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from gan.version import __version__

GROUP = "gan"
"""The group of entry points that makes a distribution a plugin."""
CORE = "gan-core"
BUILTIN = "builtin"
"""The plugin of the core itself: its losses, penalties and metrics. It cannot be switched off or replaced."""

NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
"""What plugins and entries may be called."""
ENTRY_POINT = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)(?::([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*))?")
"""``module`` or ``module:object``."""


@dataclass(frozen=True)
class Found:
    """One entry point, and what its distribution's metadata say."""

    name: str
    module: str
    distribution: str
    version: str
    summary: str
    requires: list[str] = field(default_factory=list)
    status: Literal["unloaded", "incompatible", "broken"] = "unloaded"
    reason: str = ""


def discover() -> list[Found]:
    """Every entry point of the group, by name; each distribution is read by itself, so broken metadata hide no other.

    The core's own `BUILTIN` is left out.
    """
    found: list[Found] = []
    seen: set[str] = set()
    for distribution in importlib.metadata.distributions():
        try:
            text = distribution.read_text("entry_points.txt")
        except (OSError, UnicodeDecodeError):
            continue
        if not text or not re.search(rf"^\s*\[\s*{GROUP}\s*\]", text, re.MULTILINE):
            continue
        for candidate in _candidates(distribution, text):
            title = normal(candidate.distribution)
            if title == CORE and candidate.name == BUILTIN:
                continue
            if title in seen:  # an older copy further down the path is not what Python imports
                continue
            found.append(candidate)
        seen.update(normal(candidate.distribution) for candidate in found)
    return sorted(found, key=lambda candidate: (candidate.name, candidate.distribution))


def _candidates(distribution: importlib.metadata.Distribution, text: str) -> Iterator[Found]:
    title, version, summary, problem = "", "", "", ""
    requires: list[str] = []
    try:
        metadata = distribution.metadata
        title, version, summary = (printable(str(metadata[key] or "")) for key in ("Name", "Version", "Summary"))
        requires = list(distribution.requires or [])
        problem = incompatible(requires, str(metadata["Requires-Python"] or ""))
    except Exception as error:  # noqa: BLE001  (metadata is other people's text)
        problem = f"its metadata cannot be read: {printable(f'{type(error).__name__}: {error}')}"
    if not title:
        title = str(getattr(getattr(distribution, "_path", None), "stem", "?")).partition("-")[0]
        problem = problem or "its metadata has no name"
    for name, value in section(text, GROUP):
        reason = problem
        if not reason and not NAME.fullmatch(name):
            reason = "a plugin's name has lower-case letters, digits and hyphens only"
        if not reason and not ENTRY_POINT.fullmatch(value):
            reason = f"its entry point '{value}' does not name a module"
        status: Literal["unloaded", "incompatible", "broken"] = "broken" if reason else "unloaded"
        if reason.startswith("needs "):
            status = "incompatible"
        yield Found(printable(name), value, title, version, summary, requires, status, reason)


def section(text: str, group: str) -> list[tuple[str, str]]:
    """The ``name = value`` lines of one section of entry_points.txt, without extras."""
    found, inside = [], False
    for line in text.splitlines():
        line = line.strip()
        if line.startswith("["):
            inside = line.strip("[] \t") == group
        elif inside and line and not line.startswith(("#", ";")):
            name, _, value = line.partition("=")
            found.append((name.strip(), re.sub(r"\s*\[.*\]\s*$", "", value.strip())))
    return found


def incompatible(requires: Iterable[str], python: str) -> str:
    """A sentence when a distribution asks for another core or another Python, else empty."""
    lines = [line for line in requires if re.match(r"\s*gan[-_.]+core\b", line, re.IGNORECASE)]
    if not lines and not python:
        return ""
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet

    for line in lines:
        requirement = Requirement(line)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        if not requirement.specifier.contains(__version__, prereleases=True):
            return f"needs {CORE}{requirement.specifier}, and {CORE} {__version__} is installed"
    running = ".".join(map(str, sys.version_info[:3]))
    if python and not SpecifierSet(python).contains(running):
        return f"needs Python {python}, and this is Python {running}"
    return ""


def unmet(requires: Iterable[str]) -> list[str]:
    """What a distribution requires and this environment lacks, each in words."""
    from packaging.requirements import Requirement

    lacks = []
    for requirement in map(Requirement, requires):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            installed = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            lacks.append(f"it needs {requirement.name}{requirement.specifier}, which is not installed")
            continue
        if not requirement.specifier.contains(installed, prereleases=True):
            lacks.append(f"it needs {requirement.name}{requirement.specifier}, and {installed} is installed")
    return lacks


def printable(text: str) -> str:
    """Other people's text as one line without control characters, which could rewrite the terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in " ".join(text.split()))


def normal(name: str) -> str:
    """A name as packaging compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()
