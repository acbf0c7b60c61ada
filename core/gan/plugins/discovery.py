"""Finds installed plugins by the entry points of the group ``gan`` in package metadata, without importing them."""

from __future__ import annotations

import importlib.metadata
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from gan.version import __version__

GROUP = "gan"
"""The group of entry points that makes a distribution a plugin."""
CORE = "gan-core"
BUILTIN = "builtin"
"""The core's own plugin with its losses, penalties and metrics. It cannot be switched off or replaced."""

NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
"""Valid names of plugins and of entries."""
ENTRY_POINT = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)(?::([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*))?")
"""``module`` or ``module:object``."""


Status: TypeAlias = Literal["ok", "blocked", "broken", "incompatible", "conflict", "unloaded"]


@dataclass(frozen=True)
class PluginInfo:
    """A plugin and its status."""

    name: str
    """The name of its entry point, which users type."""
    distribution: str
    version: str
    summary: str
    """One line from the distribution's metadata."""
    status: Status
    """``unloaded`` until the plugin is imported, then ``ok`` or ``broken``."""
    reason: str = ""
    """Why the plugin is not ok, or a warning about one that is."""
    module: str = ""
    """The module that the entry point names."""

    @property
    def title(self) -> str:
        """Distribution and version, as messages name a plugin."""
        return f"{self.distribution} {self.version}".strip()

    def warning(self) -> str:
        """One line with the problem and the remedy; empty when there is no problem."""
        if not self.reason or self.status == "blocked":
            return ""
        verdict = "has a fault" if self.status in ("ok", "unloaded") else "skipped"
        return (
            f"plugin {self.title} (entry '{self.name}') {verdict}: {self.reason}. "
            f"Switch off with --no-plugin {self.name}; details: gan plugins check {self.name}"
        )


def discover() -> list[tuple[PluginInfo, list[str]]]:
    """Every entry point of the group with the requirements of its distribution, sorted by name.

    Each distribution is read separately, so that broken metadata hide no other plugin. The core's own `BUILTIN` is
    left out.
    """
    found: list[tuple[PluginInfo, list[str]]] = []
    seen: set[str] = set()
    for distribution in importlib.metadata.distributions():
        try:
            text = distribution.read_text("entry_points.txt")
        except (OSError, UnicodeDecodeError):
            continue
        if not text or not re.search(rf"^\s*\[\s*{GROUP}\s*\]", text, re.MULTILINE):
            continue
        for info, requires in _candidates(distribution, text):
            title = normal(info.distribution)
            if title == CORE and info.name == BUILTIN:
                continue
            if title in seen:  # Python imports the first copy on the path
                continue
            found.append((info, requires))
        seen.update(normal(info.distribution) for info, _ in found)
    return sorted(found, key=lambda pair: (pair[0].name, pair[0].distribution))


def _candidates(distribution: importlib.metadata.Distribution, text: str) -> Iterator[tuple[PluginInfo, list[str]]]:
    title, version, summary, problem = "", "", "", ""
    requires: list[str] = []
    try:
        metadata = distribution.metadata
        title, version, summary = (printable(str(metadata[key] or "")) for key in ("Name", "Version", "Summary"))
        requires = list(distribution.requires or [])
        problem = incompatible(requires, str(metadata["Requires-Python"] or ""))
    except Exception as error:  # noqa: BLE001  (metadata may be malformed in any way)
        problem = f"its metadata cannot be read: {printable(f'{type(error).__name__}: {error}')}"
    if not title:
        title = str(getattr(getattr(distribution, "_path", None), "stem", "?")).partition("-")[0]
        problem = problem or "its metadata has no name"
    for name, value in section(text, GROUP):
        reason = problem
        if not reason and not NAME.fullmatch(name):
            reason = "a plugin's name may hold lower-case letters, digits and hyphens only"
        if not reason and not ENTRY_POINT.fullmatch(value):
            reason = f"its entry point '{value}' does not name a module"
        status: Status = "unloaded" if not reason else "incompatible" if reason.startswith("needs ") else "broken"
        yield PluginInfo(printable(name), title, version, summary, status, reason, value), requires


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
    """Why a distribution cannot run with this core or this Python; empty when it can."""
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
    """The requirements of a distribution that this environment does not meet, each as a sentence."""
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
    """Untrusted text as one line without control characters, which could rewrite the terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in " ".join(text.split()))


def normal(name: str) -> str:
    """The normalized form of a distribution's name."""
    return re.sub(r"[-_.]+", "-", name).lower()
