"""Which plugins are installed, what they offer, and what is wrong with them.

Discovery reads metadata and imports nothing. A plugin is imported when somebody asks for what it offers, by itself and
isolated: whatever it raises becomes its status, and another plugin's work goes on. Loading is a call: there is no
global list, and a test makes its own `Plugins`.
"""

from __future__ import annotations

import importlib
import os
import re
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any, Literal

from gan.contracts import ENTRY_TYPES, Entry, kind
from gan.errors import GanError, PluginError, UnknownName, nearest
from gan.plugins.discovery import BUILTIN, CORE, ENTRY_POINT, GROUP, NAME, discover, normal, unmet
from gan.plugins.isolation import isolated
from gan.plugins.outline import Outline, outline
from gan.version import __version__

SLOW_IMPORT = 1.0
"""Seconds of CPU time; a plugin whose import takes longer is told to import its libraries when they are used."""
MAX_ENTRIES = 10_000
"""Entries that one hook may give: a hook that never ends is stopped here."""

Status = Literal["ok", "blocked", "broken", "incompatible", "conflict", "unloaded"]

_OBJECT = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_RESOURCE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[^/\\:]+(/[^/\\:]+)*")


@dataclass(frozen=True)
class PluginInfo:
    """A plugin, and how it is."""

    name: str
    """The name of its entry point: what users type."""
    distribution: str
    version: str
    summary: str
    """One line from the distribution's metadata."""
    status: Status
    """``unloaded`` until somebody asks for what it offers; then ``ok`` or ``broken``."""
    reason: str = ""
    """Why it is not ok, or what is odd about it although it is."""
    module: str = ""
    """The module that the entry point names."""

    @property
    def title(self) -> str:
        """Distribution and version, as messages name a plugin."""
        return f"{self.distribution} {self.version}".strip()

    def warning(self) -> str:
        """One line for people: what is wrong with the plugin, and the remedy; empty when nothing is."""
        if not self.reason or self.status == "blocked":
            return ""
        did = "has a fault" if self.status in ("ok", "unloaded") else "skipped"
        return (
            f"plugin {self.title} (entry '{self.name}') {did}: {self.reason}. "
            f"Switch off with --no-plugin {self.name}; details: gan plugins check {self.name}"
        )


@dataclass(frozen=True)
class PluginEntry:
    """An entry, and the plugin that offers it."""

    entry: Any
    """The type of entry of its hook (`gan.hookspecs.ENTRY_TYPES`)."""
    info: PluginInfo


@dataclass
class _Record:
    """One plugin while this process knows it."""

    info: PluginInfo
    plugin: object | None = None
    """The imported module, or the one that was registered."""
    entries: dict[str, list[Entry]] = field(default_factory=dict)
    requires: list[str] = field(default_factory=list)
    """The distribution's requirements, as its metadata say."""
    _outline: Outline | None = None

    @property
    def outline(self) -> Outline:
        """What its source says; nothing when it was registered as an object."""
        if self._outline is None:
            self._outline = outline(self.info.module) if self.plugin is None else Outline()
        return self._outline

    def mark(self, status: Status, reason: str) -> None:
        self.info = replace(self.info, status=status, reason=reason)


class Plugins:
    """The plugins of this process."""

    def __init__(self) -> None:
        self._records: list[_Record] = []
        self.register(BUILTIN, "gan.plugins.builtin", CORE, __version__)

    @classmethod
    def installed(cls, block: Collection[str] = ()) -> Plugins:
        """What is installed, from metadata alone.

        `block` names entry points or distributions that are switched off before anything of them runs. The variable
        ``GAN_PLUGINS`` does the same from the other side: empty, only the core's own plugin stays; a list separated by
        commas or spaces, only these.
        """
        plugins = cls()
        for found in discover():
            info = PluginInfo(
                found.name, found.distribution, found.version, found.summary, found.status, found.reason, found.module
            )
            plugins._records.append(_Record(info, requires=found.requires))
        plugins._refuse(block)
        return plugins

    def register(
        self, name: str, module: ModuleType | str, distribution: str = "(this process)", version: str = "0"
    ) -> None:
        """Add a plugin that is not installed: a module, or its name. For tests and for `gan.testing.check_plugin`."""
        shown = module if isinstance(module, str) else module.__name__
        info = PluginInfo(name, distribution, version, "", "unloaded", module=shown)
        self._records.append(_Record(info, plugin=None if isinstance(module, str) else module))

    def infos(self) -> list[PluginInfo]:
        """Every plugin, the refused ones too: the core's own, then by name."""
        return [record.info for record in self._records]

    def inspect(self) -> list[PluginInfo]:
        """`infos`, with what the sources and the metadata of plugins show to be wrong before anything is run."""
        return [self._inspected(record) for record in self._records]

    def offers(self, plugin: str) -> tuple[dict[str, list[Entry]], bool]:
        """(entries by hook, whether these are all) as far as they are known without running the plugin."""
        record = self._record(plugin)
        if record.info.status == "unloaded":
            return record.outline.entries, record.outline.complete
        return record.entries, record.info.status == "ok"

    def info(self, plugin: str) -> PluginInfo:
        """One plugin by its name. Raises `UnknownName` when nothing of that name is installed."""
        return self._record(plugin).info

    def warnings(self) -> list[str]:
        """One line for each plugin that is known to be at fault by now."""
        return [line for record in self._records if (line := record.info.warning())]

    def entries(self, hook: str, plugin: str | None = None) -> list[PluginEntry]:
        """What all plugins, or one, give at `hook`.

        A plugin that is broken gives nothing and has its reason in `infos`; this never raises because of it.
        """
        chosen = self._records if plugin is None else [self._record(plugin)]
        found = []
        for record in chosen:
            self._load(record)
            found += [PluginEntry(entry, record.info) for entry in record.entries.get(hook, [])]
        return found

    def find(self, hook: str, name: str, plugin: str | None = None, *, prefer: str | None = None) -> PluginEntry:
        """The one entry called `name`: of the plugin asked for, else of any, and of `prefer` where it offers it.

        Without `plugin`, what the core offers comes first and cannot be replaced; then `prefer`; then the plugins whose
        source says that they offer the name; only when there is none are those imported whose source leaves it open.
        So a plugin that has nothing to do with `name` is not run, and none can take a name from another. Raises
        `UnknownName` with the nearest known name, and `PluginError` when two plugins offer it or when the plugin asked
        for cannot be used.
        """
        if plugin is not None:
            self.require(plugin)
            offers = self.entries(hook, plugin)
            matches = [plugin_entry for plugin_entry in offers if plugin_entry.entry.name == name]
        else:
            matches, offers = self._search(hook, name, prefer)
        if len(matches) > 1:
            titles = " and ".join(plugin_entry.info.title for plugin_entry in matches)
            flags = " or ".join(f"--no-plugin {plugin_entry.info.name}" for plugin_entry in matches)
            raise PluginError(
                matches[1].info.name, f"two plugins offer the {kind(hook)} '{name}': {titles}; switch one off: {flags}"
            )
        if not matches:
            raise UnknownName(
                kind(hook), name, {plugin_entry.entry.name for plugin_entry in offers}, self._missing(plugin)
            )
        return matches[0]

    def require(self, plugin: str) -> PluginInfo:
        """Import one plugin. Raises `UnknownName`, or `PluginError` with the reason why it cannot be used."""
        record = self._record(plugin)
        self._load(record)
        if record.info.status != "ok":
            raise PluginError(plugin, f"plugin '{plugin}' ({record.info.title}) cannot be used: {record.info.reason}")
        return record.info

    def load(self, plugin_entry: PluginEntry) -> Any:
        """Import the target of an entry. Raises `PluginError` with plugin, target and reason."""
        target, info = plugin_entry.entry.target, plugin_entry.info
        if not _OBJECT.fullmatch(target):
            raise PluginError(
                info.name, f"{_of(plugin_entry)}: the target '{target}' is not of the form 'package.module:name'"
            )
        module, _, path = target.partition(":")
        try:
            with isolated():
                return _resolve(module, path)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # SystemExit too: whatever a plugin raises is its fault
            raise PluginError(info.name, f"{_of(plugin_entry)}: cannot import '{target}': {_told(error)}") from error

    def resource(self, plugin_entry: PluginEntry) -> str:
        """The text of a `RecipeEntry`'s file. Raises `PluginError`."""
        from importlib import resources

        target, info = plugin_entry.entry.target, plugin_entry.info
        package, _, path = target.partition(":")
        if not _RESOURCE.fullmatch(target) or any(part in (".", "..") for part in path.split("/")):
            raise PluginError(
                info.name,
                f"{_of(plugin_entry)}: the target '{target}' is not of the form 'package:path/in/package.yaml'",
            )
        try:
            with isolated():
                return resources.files(package).joinpath(*path.split("/")).read_text(encoding="utf-8")
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise PluginError(info.name, f"{_of(plugin_entry)}: cannot read '{target}': {_told(error)}") from error

    def _search(self, hook: str, name: str, prefer: str | None) -> tuple[list[PluginEntry], list[PluginEntry]]:
        """(what is called `name`, everything that was looked at) among all plugins, running as few as possible."""
        own: list[PluginEntry] = []
        for first in [BUILTIN] if prefer is None else [BUILTIN, prefer]:
            own += self.entries(hook, first)
            matches = [plugin_entry for plugin_entry in own if plugin_entry.entry.name == name]
            if matches:
                return matches, own
        usable = [r for r in self._records[1:] if r.info.status in ("ok", "unloaded")]
        known = {r.info.name: {e.name for e in self.offers(r.info.name)[0].get(hook, [])} for r in usable}
        told = [r for r in usable if name in known[r.info.name]]
        asked = told or [r for r in usable if r.info.status == "unloaded" and not r.outline.complete]
        found = [plugin_entry for record in asked for plugin_entry in self.entries(hook, record.info.name)]
        matches = [plugin_entry for plugin_entry in found if plugin_entry.entry.name == name]
        if matches:
            return matches, found
        listed = [
            PluginEntry(e, r.info) for r in usable if r not in asked for e in self.offers(r.info.name)[0].get(hook, [])
        ]
        return [], own + found + listed

    def _inspected(self, record: _Record) -> PluginInfo:
        info = record.info
        if info.status != "unloaded" or info.name == BUILTIN:
            return info
        if record.outline.fault:
            return replace(info, status="broken", reason=record.outline.fault)
        return replace(info, reason="; ".join([*unmet(record.requires), *record.outline.odd]))

    def _record(self, plugin: str) -> _Record:
        named = [record for record in self._records if record.info.name == plugin]
        usable = [record for record in named if record.info.status not in ("blocked", "conflict")]
        if named:
            return (usable or named)[0]
        known = [record.info.name for record in self._records if record.info.name != BUILTIN]
        if plugin in owners():
            raise PluginError(
                plugin, f"plugin '{plugin}' is known but not installed; install it: gan plugins install {plugin}"
            )
        raise UnknownName("plugin", plugin, known, f"Look for it: gan plugins search {plugin}")

    def _missing(self, plugin: str | None) -> str:
        """A word on plugins that could not be asked, for the message that something is unknown."""
        bad = [r.info.name for r in self._records if r.info.status not in ("ok", "unloaded")]
        return f"Plugins that cannot be used: {', '.join(bad)}" if bad and plugin is None else ""

    def _refuse(self, block: Collection[str]) -> None:
        """Give their status to the plugins of which nothing may run."""
        blocked = {normal(name) for name in block}
        allowed = os.environ.get("GAN_PLUGINS")
        only = None if allowed is None else {normal(name) for name in re.split(r"[,\s]+", allowed) if name}
        by_name: dict[str, list[_Record]] = {}
        for record in self._records[1:]:
            info = record.info
            names = {normal(info.name), normal(info.distribution)}
            if info.status != "unloaded":
                continue
            if names & blocked:
                record.mark("blocked", "switched off by --no-plugin")
            elif only is not None and not names & only:
                record.mark("blocked", "not in the list of the variable GAN_PLUGINS")
            else:
                by_name.setdefault(info.name, []).append(record)
        for name, records in by_name.items():
            if len(records) == 1 and normal(records[0].info.distribution) == f"gan-{name}":
                continue
            owner = CORE if name == BUILTIN else owners().get(name)
            others = [record for record in records if normal(record.info.distribution) != owner]
            if owner:
                for record in others:
                    record.mark("conflict", f"the name '{name}' belongs to {owner}, and {record.info.title} takes it")
            elif len(records) > 1:
                titles = " and ".join(record.info.title for record in records)
                for record in records:
                    record.mark("conflict", f"two distributions offer the plugin '{name}': {titles}; uninstall one")

    def _load(self, record: _Record) -> None:
        """Import a plugin and call its hooks, once; whatever goes wrong becomes its status."""
        if record.info.status != "unloaded":
            return
        if record.info.name == BUILTIN:  # the core's own fault is a bug, and tells itself
            record.plugin = importlib.import_module(record.info.module)
            record.entries, _ = _ask(record.info.name, record.plugin)
            record.mark("ok", "")
            return
        before = time.process_time()
        try:
            with isolated():
                if record.plugin is None:
                    record.plugin = _resolve(*_entry_point(record.info.module))
                seconds = time.process_time() - before
                record.entries, odd = _ask(record.info.name, record.plugin)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001
            record.entries = {}
            record.mark("broken", _told(error))
            return
        if seconds > SLOW_IMPORT:
            odd.append(f"its import takes {seconds:.1f} s: import heavy libraries where they are used")
        record.mark("ok", "; ".join(odd))


def _ask(name: str, plugin: object) -> tuple[dict[str, list[Entry]], list[str]]:
    """Call every hook of a plugin and check what comes back; (entries by hook, oddities).

    Raises whatever the plugin raises, and `_Fault` for a wrong answer.
    """
    import pluggy

    from gan import hookspecs

    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    manager.register(plugin, name)
    odd = _misspelt(plugin)
    entries: dict[str, list[Entry]] = {}
    for hook, type_ in ENTRY_TYPES.items():
        caller = getattr(manager.hook, hook)
        if not caller.get_hookimpls():
            continue
        (answer,) = caller() or (None,)
        entries[hook] = _checked(hook, type_, answer)
    if not entries and not odd:
        odd.append(f"it offers nothing: no function of '{getattr(plugin, '__name__', name)}' is marked with @hookimpl")
    return entries, odd


class _Fault(GanError):
    """An answer of a plugin that is not what its hook promises."""


def _checked(hook: str, type_: type[Entry], answer: object) -> list[Entry]:
    if answer is None or isinstance(answer, (str, bytes, Mapping)) or not isinstance(answer, Iterable):
        raise _Fault(f"{hook} returned {type(answer).__name__}, and it gives {type_.__name__}s")
    entries: dict[str, Entry] = {}
    for entry in answer:
        if not isinstance(entry, type_):
            raise _Fault(f"{hook} gave {type(entry).__name__} {entry!r:.60}, and it gives {type_.__name__}s")
        for text in ("name", "summary", "target"):
            if not isinstance(getattr(entry, text), str):
                raise _Fault(f"{hook} gave an entry whose {text} is no text: {getattr(entry, text)!r:.60}")
        if not NAME.fullmatch(entry.name):
            raise _Fault(f"{hook} gave the name {entry.name!r}: lower-case letters, digits and hyphens only")
        if entry.name in entries:
            raise _Fault(f"{hook} gave the name '{entry.name}' twice")
        if len(entries) >= MAX_ENTRIES:
            raise _Fault(f"{hook} gave more than {MAX_ENTRIES:,} entries")
        entries[entry.name] = entry
    return list(entries.values())


def _misspelt(plugin: object) -> list[str]:
    """Functions that look like hooks and are none, and hooks that are not marked."""
    odd = []
    for name in dir(plugin):
        marked = getattr(getattr(plugin, name, None), f"{GROUP}_impl", None) is not None
        if marked and name not in ENTRY_TYPES:
            close = nearest(name, ENTRY_TYPES)
            odd.append(f"'{name}' is no hook" + (f"; did you mean '{close}'?" if close else ""))
        elif not marked and name in ENTRY_TYPES:
            odd.append(f"'{name}' is not marked with @hookimpl, so it is not called")
    return odd


def _entry_point(value: str) -> tuple[str, str]:
    match = ENTRY_POINT.fullmatch(value)
    if match is None:
        raise _Fault(f"'{value}' does not name a module")
    return match[1], match[2] or ""


def _resolve(module: str, path: str) -> Any:
    found: Any = importlib.import_module(module)
    for part in path.split(".") if path else ():
        found = getattr(found, part)
    return found


def _of(plugin_entry: PluginEntry) -> str:
    return f"plugin {plugin_entry.info.title}, '{plugin_entry.entry.name}'"


def _told(error: BaseException) -> str:
    """An exception in one short line."""
    if isinstance(error, _Fault):
        return str(error)
    if isinstance(error, SystemExit):
        return f"it tried to end the program (SystemExit: {error.code})"
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__


def owners() -> dict[str, str]:
    """The names that the public index gives away, and the distribution that each belongs to."""
    from gan.plugins import registry

    return registry.owners()
