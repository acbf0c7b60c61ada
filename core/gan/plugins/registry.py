"""Reads the index of published plugins: names, versions, and the sha256 of every wheel.

    format: 1
    version: 7                    rises with every change; a version older than the last seen one is refused
    expires: 2027-12-31           the index is refused after this day
    plugins:
      - name: sketch              the name of the entry point
        distribution: gan-sketch
        summary: Pen strokes
        modalities: [sketch]
        repository: https://example.org/gan-sketch
        licence: MIT              of the code
        weights: none             licence of trained weights that it contains or downloads
        versions:
          - version: 1.2.0
            core: ">=0.1,<0.2"    the versions of gan-core that it works with
            wheels:
              - file: gan_sketch-1.2.0-py3-none-any.whl
                sha256: 64 hexadecimal digits
            requires:             optional: the wheels of other projects that may be installed with it, and no others
              - file: inkwell-2.0-py3-none-any.whl
                sha256: 64 hexadecimal digits

An index is untrusted text. Its size is limited; aliases, tags, repeated keys, control characters and confusable names
are refused, and nothing in it can become an option of pip.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

from gan.errors import BadData
from gan.plugins.discovery import CORE, NAME, normal
from gan.version import __version__

if TYPE_CHECKING:
    from pydantic import BaseModel


MAX_BYTES = 1 << 20
MAX_PLUGINS = 10_000


@dataclass(frozen=True)
class Wheel:
    """One file of a release."""

    file: str
    sha256: str


@dataclass(frozen=True)
class Release:
    """One version of a plugin."""

    version: str
    core: str
    """The range of gan-core versions that it works with."""
    wheels: tuple[Wheel, ...]
    requires: tuple[Wheel, ...] | None = None
    """The wheels of other projects that may be installed with it; None if the index does not say."""

    def fits(self, core: str = __version__) -> bool:
        """Whether it works with this version of the core."""
        from packaging.specifiers import SpecifierSet

        return SpecifierSet(self.core).contains(core, prereleases=True)


@dataclass(frozen=True)
class Listed:
    """One plugin of an index."""

    name: str
    distribution: str
    summary: str
    modalities: tuple[str, ...]
    licence: str
    weights: str
    repository: str | None
    versions: tuple[Release, ...]
    """Newest first."""

    def newest(self) -> Release | None:
        """The newest version that works with this core."""
        return next((release for release in self.versions if release.fits()), None)


@dataclass(frozen=True)
class Index:
    """A validated index."""

    version: int
    expires: datetime.date
    plugins: tuple[Listed, ...]

    def get(self, name: str) -> Listed | None:
        """The plugin with that name or distribution."""
        return next((p for p in self.plugins if name == p.name or normal(name) == p.distribution), None)

    def search(self, words: Iterable[str]) -> list[Listed]:
        """The plugins whose name, summary or modalities contain every word."""
        wanted = [word.lower() for word in words]
        return [
            plugin
            for plugin in self.plugins
            if all(w in " ".join([plugin.name, plugin.distribution, plugin.summary, *plugin.modalities]).lower()
                   for w in wanted)
        ]  # fmt: skip


def bundled_text() -> str:
    """The index shipped with this version of the core."""
    return resources.files("gan").joinpath("registry.yaml").read_text(encoding="utf-8")


@cache
def owners() -> dict[str, str]:
    """The names that the bundled index assigns, with the distribution that each belongs to."""
    return {
        str(plugin["name"]): str(plugin["distribution"]) for plugin in _plain(bundled_text(), "registry")["plugins"]
    }


def parse(content: bytes, where: str, *, today: datetime.date | None = None, seen: int = 0) -> Index:
    """Parse and validate an index. `seen` is the highest version seen at this location.

    Raises `BadData` with the place and the reason for anything invalid.
    """
    if len(content) > MAX_BYTES:
        raise BadData(f"{len(content):,} bytes, more than the {MAX_BYTES:,} of an index", where)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise BadData("is not UTF-8 text", where) from None
    for number, line in enumerate(text.split("\n"), 1):
        if not line.rstrip("\r").isprintable():
            raise BadData(f"line {number} holds a control character", where)
    index = _typed(_plain(text, where), where)
    today = today or datetime.datetime.now(datetime.UTC).date()
    if index.expires < today:
        raise BadData(f"the index expired on {index.expires}; upgrade gan-core or fetch a newer index", where)
    if index.version < seen:
        raise BadData(f"its version {index.version} is older than {seen}, which was seen before", where)
    _check_names(index, where)
    return index


def _plain(text: str, where: str) -> Any:
    """The mappings, lists and strings of a YAML document. Raises `BadData`."""
    from gan.storage.strict_yaml import load_yaml

    try:
        return load_yaml(text, typed=False)
    except ValueError as error:
        raise BadData(str(error), where) from None


def _typed(values: Any, where: str) -> Index:
    from pydantic import ValidationError

    try:
        read: Any = _schema().model_validate(values)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        place = ".".join(map(str, problem["loc"])) or "the document"
        named = _named(values, problem["loc"])
        raise BadData(f"{place}{named}: {problem['msg'].removeprefix('Value error, ')}", where) from None
    return Index(read.version, read.expires, tuple(_listed(plugin) for plugin in read.plugins))


def _listed(plugin: Any) -> Listed:
    from packaging.version import Version

    releases = sorted(plugin.versions, key=lambda release: Version(release.version), reverse=True)
    versions = tuple(
        Release(r.version, r.core, _wheels(r.wheels), None if r.requires is None else _wheels(r.requires))
        for r in releases
    )
    plain = {key: value for key, value in plugin if key not in ("modalities", "versions")}
    return Listed(modalities=tuple(plugin.modalities), versions=versions, **plain)


def _wheels(forms: Iterable[Any]) -> tuple[Wheel, ...]:
    return tuple(Wheel(form.file, form.sha256) for form in forms)


def _named(values: Any, path: tuple[int | str, ...]) -> str:
    """``" ('sketch')"`` for a problem inside the plugin of that name."""
    if len(path) > 1 and path[0] == "plugins":
        try:
            return f" ('{values['plugins'][path[1]]['name']}')"
        except (LookupError, TypeError):
            pass
    return ""


@cache
def _schema() -> type[BaseModel]:
    from packaging.specifiers import InvalidSpecifier, SpecifierSet
    from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
    from packaging.version import InvalidVersion, Version
    from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

    def a_name(text: str) -> str:
        if not NAME.fullmatch(text) or len(text) > 40 or "--" in text:
            raise ValueError("a name has up to 40 lower-case ASCII letters, digits and single hyphens")
        return text

    def a_distribution(text: str) -> str:
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", text) or len(text) > 60:
            raise ValueError(f"'{text[:60]}' is not a distribution's name (lower-case letters, digits, single hyphens)")
        return text

    def a_line(text: str) -> str:
        if not text.strip() or len(text) > 200 or not text.isprintable():
            raise ValueError("must be one line of up to 200 printable characters")
        return text

    def a_version(text: str) -> str:
        try:
            version = Version(text)
        except InvalidVersion:
            raise ValueError(f"'{text[:40]}' is not a version") from None
        if str(version) != text or version.local:
            raise ValueError(f"write the version '{text[:40]}' as '{version.public}'")
        return text

    def a_range(text: str) -> str:
        try:
            specifiers = SpecifierSet(text)
        except InvalidSpecifier:
            raise ValueError(f"'{text[:40]}' is not a range of versions") from None
        if not any(specifier.operator in ("<", "<=", "==", "~=") for specifier in specifiers):
            raise ValueError("a range of core versions needs an upper bound")
        return text

    def a_hash(text: str) -> str:
        if not re.fullmatch(r"[0-9a-f]{64}", text):
            raise ValueError("a sha256 has 64 lower-case hexadecimal digits")
        return text

    def a_wheel(text: str) -> str:
        try:
            parse_wheel_filename(text if re.fullmatch(r"[A-Za-z0-9_.+-]+\.whl", text) else "")
        except InvalidWheelFilename:
            raise ValueError(f"'{text[:60]}' is not a wheel's file name") from None
        return text

    def a_repository(text: str) -> str:
        try:
            parts = urlsplit(text)
            host = parts.hostname or ""
        except ValueError:
            host = ""
        public = re.fullmatch(r"([a-z0-9-]+\.)+[a-z]{2,}", host) and not host.endswith((".local", ".internal"))
        if not re.fullmatch(r"https://[!-~]{4,200}", text) or not public or "@" in parts.netloc:
            raise ValueError("a repository is an https URL with a public host name and no password")
        return text

    class Strict(BaseModel):
        model_config = ConfigDict(extra="forbid")

    class WheelForm(Strict):
        file: Annotated[str, AfterValidator(a_wheel)]
        sha256: Annotated[str, AfterValidator(a_hash)]

    class ReleaseForm(Strict):
        version: Annotated[str, AfterValidator(a_version)]
        core: Annotated[str, AfterValidator(a_range)]
        wheels: list[WheelForm] = Field(min_length=1, max_length=100)
        requires: list[WheelForm] | None = Field(None, max_length=1000)

    class PluginForm(Strict):
        name: Annotated[str, AfterValidator(a_name)]
        distribution: Annotated[str, AfterValidator(a_distribution)]
        summary: Annotated[str, AfterValidator(a_line)]
        modalities: list[Annotated[str, AfterValidator(a_name)]] = Field(max_length=20)
        repository: Annotated[str, AfterValidator(a_repository)] | None = None
        licence: Annotated[str, AfterValidator(a_line)]
        weights: Annotated[str, AfterValidator(a_line)]
        versions: list[ReleaseForm] = Field(max_length=1000)

        @model_validator(mode="after")
        def releases_fit(self) -> PluginForm:
            versions = [release.version for release in self.versions]
            if len(set(versions)) != len(versions):
                raise ValueError("a version occurs twice")
            for release in self.versions:
                for wheel in release.wheels:
                    name, version, _, _ = parse_wheel_filename(wheel.file)
                    if canonicalize_name(self.distribution) != name or Version(release.version) != version:
                        raise ValueError(f"{wheel.file} is not a wheel of {self.distribution} {release.version}")
            return self

    class IndexForm(Strict):
        format: int = Field(ge=1, le=1)
        version: int = Field(ge=1)
        expires: datetime.date
        plugins: list[PluginForm] = Field(max_length=MAX_PLUGINS)

    return IndexForm


def _check_names(index: Index, where: str) -> None:
    """Refuse repeated names and pairs of names that people would confuse."""
    for kind in ("name", "distribution"):
        near: dict[str, list[str]] = {}
        for plugin in index.plugins:
            name: str = getattr(plugin, kind)
            if name in ("builtin", "core", "gan", CORE):
                raise BadData(f"the {kind} '{name}' belongs to the core", where)
            look = _look(name)
            shorter = {look[:i] + look[i + 1 :] for i in range(len(look))}
            for key in {look} | shorter:
                for other in near.setdefault(key, []):
                    if name == other:
                        raise BadData(f"the {kind} '{name}' occurs twice", where)
                    if _confusable(look, _look(other)):
                        raise BadData(f"the {kind} '{name}' looks like '{other}'", where)
                near[key].append(name)


def _look(name: str) -> str:
    """A name with similar characters merged: 1, l and i; 0 and o; rn and m; hyphens are dropped."""
    plain = name.removeprefix("gan-").replace("-", "").replace("rn", "m").replace("vv", "w").replace("cl", "d")
    return plain.translate(str.maketrans("0153l", "oisei"))


def _confusable(look: str, other: str) -> bool:
    """Whether two names look the same or, from five letters on, differ by one edit or by two swapped letters."""
    if look == other:
        return True
    if min(len(look), len(other)) < 5 or abs(len(look) - len(other)) > 1:
        return False
    start = next((i for i, (a, b) in enumerate(zip(look, other, strict=False)) if a != b), min(len(look), len(other)))
    a, b = look[start:], other[start:]
    return a[1:] == b[1:] or a[1:] == b or a == b[1:] or (a[:2] == b[1::-1] and a[2:] == b[2:])


def read(path: Path, *, seen: int = 0) -> Index:
    """Read and parse the index in a file."""
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise BadData(f"cannot be read: {error.strerror}", path) from None
    return parse(content, str(path), seen=seen)
