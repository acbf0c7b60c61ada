"""Installs, upgrades and uninstalls plugins with this interpreter's pip.

An index (`gan.plugins.registry`) lists what can be installed: exact versions, wheels only, each with its sha256. pip is
called with a list of arguments, never through a shell. The plugin's wheel is downloaded and verified first. Then pip
says what else it would install, and exactly these wheels are installed, each with its sha256: the one that the index
lists under ``requires``, or where it lists none the one that was found. Nothing is installed when a hash is wrong. The
versions of the core and of torch are pinned.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from gan.errors import BadData, UnknownName, UsageError
from gan.plugins import registry
from gan.plugins.discovery import CORE, normal
from gan.plugins.registry import Index, Listed, Release, Wheel
from gan.storage.durable import cache_folder, make_dirs, write_json
from gan.version import __version__

KEPT = (CORE, "torch")
"""Distributions whose installed version an installation must not change."""
_WHEELS = ("--only-binary=:all:",)


@dataclass(frozen=True)
class Plan:
    """The release that an installation will install."""

    plugin: Listed
    release: Release

    @property
    def requirement(self) -> str:
        """``"gan-sketch==1.2.0"``."""
        return f"{self.plugin.distribution}=={self.release.version}"

    def describe(self) -> str:
        """The plan as text, for confirmation."""
        lines = [
            f"{self.requirement} for {CORE} {self.release.core}, licence {self.plugin.licence}, "
            f"weights {self.plugin.weights}"
        ]
        lines += [f"  {wheel.file}\n    sha256 {wheel.sha256}" for wheel in self.release.wheels]
        for wheel in self.release.requires or ():
            lines.append(f"  may install {wheel.file}\n    sha256 {wheel.sha256}")
        lines.append(f"  with {sys.executable} -m pip, wheels only")
        return "\n".join(lines)


def open_index(location: str | None = None) -> Index:
    """The index at a path or https URL. Default: the variable ``GAN_REGISTRY``, then the bundled index.

    An index other than the bundled one must not be older than the version last seen at the same location.
    """
    location = location or os.environ.get("GAN_REGISTRY") or None
    if location is None:
        return registry.parse(registry.bundled_text().encode(), f"the index of {CORE} {__version__}")
    memory = cache_folder() / "registry-seen.json"
    try:
        seen = {str(key): int(version) for key, version in json.loads(memory.read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, AttributeError, TypeError):
        seen = {}
    key = location if "://" in location else str(Path(location).resolve())
    if "://" in location:
        from gan.storage.download import Downloader

        content = Downloader(cache_folder() / "downloads").read(location, size=registry.MAX_BYTES)
        index = registry.parse(content, location, seen=seen.get(key, 0))
    else:
        index = registry.read(Path(location), seen=seen.get(key, 0))
    if index.version != seen.get(key):
        make_dirs(memory.parent)
        write_json(memory, {**seen, key: index.version})
    return index


def plan(index: Index, name: str, version: str | None = None) -> Plan:
    """The release to install: `version`, or by default the newest that works with this core."""
    plugin = index.get(name)
    if plugin is None:
        remedy = "Look for it: gan plugins search WORDS"
        raise UnknownName("plugin", name, [listed.name for listed in index.plugins], remedy)
    if not plugin.versions:
        raise UsageError(f"{plugin.distribution} is known, but no version of it has been published yet")
    if version is not None:
        found = next((release for release in plugin.versions if release.version == version), None)
        if found is None:
            versions = ", ".join(release.version for release in plugin.versions)
            raise UsageError(f"{plugin.distribution} has no version {version} in the index (it has {versions})")
        if not found.fits():
            raise UsageError(
                f"{plugin.distribution} {version} needs {CORE}{found.core}, and {__version__} is installed"
            )
        return Plan(plugin, found)
    newest = plugin.newest()
    if newest is None:
        ranges = "; ".join(f"{release.version} needs {CORE}{release.core}" for release in plugin.versions[:3])
        raise UsageError(f"no version of {plugin.distribution} works with {CORE} {__version__}: {ranges}")
    return Plan(plugin, newest)


@dataclass(frozen=True)
class Pinned:
    """A wheel of another project that a plugin requires and that is not installed yet."""

    requirement: str
    """``"inkwell==2.0"``."""
    file: str
    sha256: str


def install(wanted: Plan) -> list[Pinned]:
    """Download and verify the wheel, then install it with its requirements, each by its hash; returns the others.

    Raises `BadData` for a wrong hash and for a wheel that the index does not list.
    """
    check_environment(f"install {wanted.requirement}")
    with tempfile.TemporaryDirectory(prefix="gan-install-") as name:
        folder = Path(name)
        wheel = _download(wanted, folder)
        pinned = _resolve(wanted, wheel, folder)
        lines = [f"{other.requirement} --hash=sha256:{other.sha256}" for other in pinned]
        lines.append(f"{wheel.as_posix()} --hash=sha256:{_sha256(wheel)}")
        requirements = folder / "all.txt"
        requirements.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        arguments = ["install", *_WHEELS, "--no-deps", "--require-hashes", "-r", str(requirements)]
        _pip(arguments, f"{wanted.requirement} could not be installed")
    return pinned


def _resolve(wanted: Plan, wheel: Path, folder: Path) -> list[Pinned]:
    """The wheels that pip would install beside `wheel`. Raises `BadData` for one that may not be."""
    constraints, report = folder / "constraints.txt", folder / "report.json"
    constraints.write_text("".join(f"{name}=={version}\n" for name, version in _kept().items()), encoding="utf-8")
    arguments = ["install", "--dry-run", "--quiet", "--report", str(report), *_WHEELS, "--constraint", str(constraints)]
    _pip([*arguments, "--", str(wheel)], f"{wanted.requirement} could not be installed")
    found = [_pinned(item) for item in json.loads(report.read_text(encoding="utf-8"))["install"]]
    pinned = [other for other in found if other.file != wheel.name]
    allowed = wanted.release.requires
    for other in pinned:
        if not other.sha256:
            raise BadData("the package index gives no sha256 of it; nothing was installed", other.requirement)
        if allowed is not None and Wheel(other.file, other.sha256) not in allowed:
            raise BadData(
                f"{wanted.requirement} would install it with sha256 {other.sha256}, which the index of plugins does "
                "not list; nothing was installed",
                other.file,
            )
    return pinned


def _pinned(item: dict[str, Any]) -> Pinned:
    """One entry of pip's report."""
    about, source = item["metadata"], item["download_info"]
    hashes = source.get("archive_info", {}).get("hashes", {})
    file = unquote(urlsplit(source["url"]).path.rpartition("/")[2])
    return Pinned(f"{normal(about['name'])}=={about['version']}", file, hashes.get("sha256", ""))


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _download(wanted: Plan, folder: Path) -> Path:
    """The wheel for this machine; its hash is checked by pip and again here."""
    hashes = {wheel.file: wheel.sha256 for wheel in wanted.release.wheels}
    requirements = folder / "requirements.txt"
    line = " ".join([wanted.requirement, *(f"--hash=sha256:{sha256}" for sha256 in hashes.values())])
    requirements.write_text(line + "\n", encoding="utf-8")
    target = folder / "wheel"
    arguments = ["download", *_WHEELS, "--no-deps", "--require-hashes", "--dest", str(target), "-r", str(requirements)]
    _pip(arguments, f"{wanted.requirement} could not be fetched")
    (wheel,) = target.iterdir()
    if hashes.get(wheel.name) != _sha256(wheel):
        raise BadData(f"{wheel.name} is not what the index lists; nothing was installed", wanted.requirement)
    return wheel


def uninstall(distribution: str) -> None:
    """Uninstall a distribution. The caller has checked that it is a plugin."""
    check_environment(f"uninstall {distribution}")
    _pip(["uninstall", "--yes", "--", distribution], f"{distribution} could not be uninstalled")


def newer(wanted: Plan) -> bool:
    """Whether the plan's version is newer than the installed one, or none is installed."""
    from packaging.version import Version

    try:
        return Version(wanted.release.version) > Version(importlib.metadata.version(wanted.plugin.distribution))
    except importlib.metadata.PackageNotFoundError:
        return True


def check_environment(what: str) -> None:
    """Raise `UsageError` with the right command where this interpreter's pip is missing or must not be used."""
    prefix = Path(sys.prefix)
    if (prefix / "pipx_metadata.json").is_file():
        tool, _, requirement = what.partition(" ")
        word = {"install": "inject", "uninstall": "uninject"}[tool]
        raise UsageError(f"this environment belongs to pipx; use: pipx {word} {prefix.name} {requirement}")
    if importlib.util.find_spec("pip") is None:
        settings = prefix / "pyvenv.cfg"
        by_uv = settings.is_file() and "uv = " in settings.read_text(encoding="utf-8")
        remedy = f"uv pip {what} --python {sys.executable}" if by_uv else f"{sys.executable} -m ensurepip"
        raise UsageError(f"this environment has no pip; use: {remedy}")
    managed = Path(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED")
    if sys.prefix == sys.base_prefix and managed.is_file():
        raise UsageError("this Python belongs to the operating system; install gan in an environment: python3 -m venv")


def _kept() -> dict[str, str]:
    versions = {}
    for name in KEPT:
        try:
            versions[normal(name)] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _pip(arguments: list[str], failure: str) -> None:
    """Run pip. Raises `UsageError` with its reason, `BadData` for a wrong hash."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not done.returncode:
        return
    if "DO NOT MATCH THE HASHES" in done.stderr:
        raise BadData("the sha256 of the published file is not the one in the index; nothing was installed", failure)
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR")]
    reason = (errors or lines or ["pip gave no reason"])[-1]
    raise UsageError(f"{failure}: {reason}")
