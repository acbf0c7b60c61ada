"""`Plugins`: which plugins are installed, what they offer, and what is wrong with them.

Discovery reads metadata and imports nothing. A plugin is imported when its entries are needed, isolated from the
process and from other plugins: whatever it raises becomes its status. There is no global list; a test creates its own
`Plugins`.
"""

from __future__ import annotations

import importlib
import os
import re
import signal
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from gan.contracts import Entry, kind
from gan.errors import PluginError, UnknownName
from gan.plugins.discovery import BUILTIN, CORE, ENTRY_POINT, PluginInfo, Status, discover, normal, unmet
from gan.plugins.hooks import HookError, call_hooks
from gan.plugins.isolation import isolated
from gan.plugins.outline import Outline, outline
from gan.version import __version__

SLOW_IMPORT = 1.0
"""Seconds of CPU time; a plugin whose import takes longer gets a warning."""

_OBJECT = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_RESOURCE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:(?!\.\.?(/|$))[^/\\:]+(/(?!\.\.?(/|$))[^/\\:]+)*")


@dataclass(frozen=True)
class PluginEntry:
    """An entry with the plugin that offers it."""

    entry: Any
    """Of the entry type of its hook (`gan.contracts.ENTRY_TYPES`)."""
    info: PluginInfo

    def __str__(self) -> str:
        return f"plugin {self.info.title}, '{self.entry.name}'"


@dataclass
class _Record:
    """What this process knows about one plugin."""

    info: PluginInfo
    plugin: object | None = None
    """The imported module, or the registered object."""
    entries: dict[str, list[Entry]] = field(default_factory=dict)
    requires: list[str] = field(default_factory=list)
    """The requirements in the distribution's metadata."""
    _outline: Outline | None = None

    @property
    def outline(self) -> Outline:
        """What its source tells; nothing for a registered object."""
        if self._outline is None:
            self._outline = outline(self.info.module) if self.plugin is None else Outline()
        return self._outline

    @property
    def usable(self) -> bool:
        return self.info.status in ("ok", "unloaded")

    def known(self, hook: str) -> list[PluginEntry]:
        """The entries at `hook` that are known without importing the plugin."""
        entries = self.outline.entries if self.info.status == "unloaded" else self.entries
        return [PluginEntry(entry, self.info) for entry in entries.get(hook, [])]

    def mark(self, status: Status, reason: str) -> None:
        self.info = replace(self.info, status=status, reason=reason)


class Plugins:
    """The plugins of this process."""

    def __init__(self) -> None:
        self._records: list[_Record] = []
        self.register(BUILTIN, "gan.plugins.builtin", CORE, __version__)

    @classmethod
    def installed(cls, block: Collection[str] = ()) -> Plugins:
        """The installed plugins, from metadata alone.

        `block` names entry points or distributions to switch off before any of their code runs. The environment
        variable ``GAN_PLUGINS`` allows plugins: a list separated by commas or spaces; with an empty value only the
        core's own plugin stays.
        """
        plugins = cls()
        plugins._records += [_Record(info, requires=requires) for info, requires in discover()]
        plugins._refuse(block)
        return plugins

    def register(
        self, name: str, module: ModuleType | str, distribution: str = "(this process)", version: str = "0"
    ) -> None:
        """Add a plugin that is not installed: a module, or its name. For tests and `gan.testing.check_plugin`."""
        shown = module if isinstance(module, str) else module.__name__
        info = PluginInfo(name, distribution, version, "", "unloaded", module=shown)
        self._records.append(_Record(info, plugin=None if isinstance(module, str) else module))

    def infos(self) -> list[PluginInfo]:
        """Every plugin, refused ones included: the core's own first, then by name."""
        return [record.info for record in self._records]

    def inspect(self) -> list[PluginInfo]:
        """`infos`, with the problems that source code and metadata show before the plugin is imported."""
        return [self._inspected(record) for record in self._records]

    def offers(self, plugin: str) -> tuple[dict[str, list[Entry]], bool]:
        """(entries by hook, whether these are all) as far as they are known without importing the plugin."""
        record = self._record(plugin)
        if record.info.status == "unloaded":
            return record.outline.entries, record.outline.complete
        return record.entries, record.info.status == "ok"

    def info(self, plugin: str) -> PluginInfo:
        """One plugin by its name. Raises `UnknownName` when no such plugin is installed."""
        return self._record(plugin).info

    def warnings(self) -> list[str]:
        """One line for each plugin with a known problem."""
        return [line for record in self._records if (line := record.info.warning())]

    def entries(self, hook: str, plugin: str | None = None) -> list[PluginEntry]:
        """The entries at `hook` of one plugin, or of all.

        A broken plugin has no entries and its reason in `infos`; this method never raises because of it.
        """
        records = self._records if plugin is None else [self._record(plugin)]
        for record in records:
            self._load(record)
        return [PluginEntry(entry, record.info) for record in records for entry in record.entries.get(hook, [])]

    def find(self, hook: str, name: str, plugin: str | None = None, *, prefer: str | None = None) -> PluginEntry:
        """The entry called `name`, of `plugin` or of any plugin.

        Without `plugin`, the search goes through the core's own entries, which cannot be replaced; then those of
        `prefer`; then the plugins whose source shows an entry of that name. Plugins whose source is not readable are
        imported last, and only when the name was not found. Raises `UnknownName` with the nearest known name, and
        `PluginError` when two plugins offer the name or when `plugin` cannot be used.
        """
        if plugin is not None:
            self.require(plugin)
            offers = self.entries(hook, plugin)
        else:
            offers = self._search(hook, name, prefer)
        matches = [plugin_entry for plugin_entry in offers if plugin_entry.entry.name == name]
        if not matches:
            bad = [record.info.name for record in self._records if not record.usable]
            remedy = f"Plugins that cannot be used: {', '.join(bad)}" if bad and plugin is None else ""
            raise UnknownName(kind(hook), name, {plugin_entry.entry.name for plugin_entry in offers}, remedy)
        if len(matches) > 1:
            titles = " and ".join(plugin_entry.info.title for plugin_entry in matches)
            flags = " or ".join(f"--no-plugin {plugin_entry.info.name}" for plugin_entry in matches)
            raise PluginError(
                matches[1].info.name, f"two plugins offer the {kind(hook)} '{name}': {titles}; switch one off: {flags}"
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
        with _using(plugin_entry, "import", _OBJECT, "package.module:name") as (module, path):
            return _import(module, path)

    def resource(self, plugin_entry: PluginEntry) -> str:
        """The text of a `RecipeEntry`'s file. Raises `PluginError`."""
        from importlib import resources

        with _using(plugin_entry, "read", _RESOURCE, "package:path/in/package.yaml") as (package, path):
            return resources.files(package).joinpath(*path.split("/")).read_text(encoding="utf-8")

    def folder(self, plugin_entry: PluginEntry) -> Path:
        """The folder of a `ModelEntry`. Raises `PluginError` if it is not there as files."""
        from importlib import resources

        with _using(plugin_entry, "read", _RESOURCE, "package:path/in/package") as (package, path):
            found = resources.files(package).joinpath(*path.split("/"))
            if not isinstance(found, Path) or not found.is_dir():
                raise FileNotFoundError(f"{path} is no folder of {package}")
            return found

    def _search(self, hook: str, name: str, prefer: str | None) -> list[PluginEntry]:
        """The entries among which `name` is looked for; as few plugins as possible are imported."""

        def has(entries: list[PluginEntry]) -> bool:
            return any(plugin_entry.entry.name == name for plugin_entry in entries)

        own: list[PluginEntry] = []
        for first in [BUILTIN] if prefer is None else [BUILTIN, prefer]:
            own += self.entries(hook, first)
            if has(own):
                return own
        usable = [record for record in self._records[1:] if record.usable]
        offering = [record for record in usable if has(record.known(hook))]
        imported = offering or [r for r in usable if r.info.status == "unloaded" and not r.outline.complete]
        found = [plugin_entry for record in imported for plugin_entry in self.entries(hook, record.info.name)]
        if has(found):
            return found
        return own + found + [entry for record in usable if record not in imported for entry in record.known(hook)]

    def _inspected(self, record: _Record) -> PluginInfo:
        info = record.info
        if info.status != "unloaded" or info.name == BUILTIN:
            return info
        if record.outline.fault:
            return replace(info, status="broken", reason=record.outline.fault)
        return replace(info, reason="; ".join([*unmet(record.requires), *record.outline.odd]))

    def _record(self, plugin: str) -> _Record:
        named = [record for record in self._records if record.info.name == plugin]
        if named:
            return next((r for r in named if r.info.status not in ("blocked", "conflict")), named[0])
        if plugin in owners():
            raise PluginError(
                plugin, f"plugin '{plugin}' is known but not installed; install it: gan plugins install {plugin}"
            )
        known = [record.info.name for record in self._records if record.info.name != BUILTIN]
        raise UnknownName("plugin", plugin, known, f"Look for it: gan plugins search {plugin}")

    def _refuse(self, block: Collection[str]) -> None:
        """Mark the plugins that must not run: those switched off, and those that share a name."""
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
            titles = " and ".join(record.info.title for record in records)
            for record in records:
                if owner and normal(record.info.distribution) != owner:
                    record.mark("conflict", f"the name '{name}' belongs to {owner}, and {record.info.title} takes it")
                elif not owner and len(records) > 1:
                    record.mark("conflict", f"two distributions offer the plugin '{name}': {titles}; uninstall one")

    def _load(self, record: _Record) -> None:
        """Import a plugin and call its hooks, once. An exception becomes its status."""
        if record.info.status != "unloaded":
            return
        before = time.process_time()
        interrupts: list[int] = []
        try:
            with _counted(interrupts), isolated():
                if record.plugin is None:
                    match = ENTRY_POINT.fullmatch(record.info.module)
                    if match is None:
                        raise HookError(f"'{record.info.module}' does not name a module")
                    record.plugin = _import(match[1], match[2] or "")
                seconds = time.process_time() - before
                record.entries, warnings = call_hooks(record.info.name, record.plugin)
        except BaseException as error:  # SystemExit too: whatever a plugin raises is its fault
            if record.info.name == BUILTIN or interrupts:
                raise
            record.mark("broken", _reason(error))
            return
        if seconds > SLOW_IMPORT:
            warnings.append(f"its import takes {seconds:.1f} s: import heavy libraries where they are used")
        record.mark("ok", "; ".join(warnings))


@contextmanager
def _using(plugin_entry: PluginEntry, verb: str, form: re.Pattern[str], example: str) -> Iterator[tuple[str, str]]:
    """(module, path) of an entry's target, for isolated code whose exceptions become a `PluginError`."""
    target, plugin = plugin_entry.entry.target, plugin_entry.info.name
    if not form.fullmatch(target):
        raise PluginError(plugin, f"{plugin_entry}: the target '{target}' is not of the form '{example}'")
    module, _, path = target.partition(":")
    interrupts: list[int] = []
    try:
        with _counted(interrupts), isolated():
            yield module, path
    except BaseException as error:
        if interrupts:
            raise
        raise PluginError(plugin, f"{plugin_entry}: cannot {verb} '{target}': {_reason(error)}") from error


@contextmanager
def _counted(interrupts: list[int]) -> Iterator[None]:
    """Record the user's interrupts, so that a `KeyboardInterrupt` of a plugin is not taken for one."""
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return

    def remember(number: int, frame: FrameType | None) -> None:
        interrupts.append(number)
        signal.default_int_handler(number, frame)

    signal.signal(signal.SIGINT, remember)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _import(module: str, path: str) -> Any:
    found: Any = importlib.import_module(module)
    for part in path.split(".") if path else ():
        found = getattr(found, part)
    return found


def _reason(error: BaseException) -> str:
    """An exception in one short line."""
    if isinstance(error, HookError):
        return str(error)
    if isinstance(error, SystemExit):
        return f"it tried to end the program (SystemExit: {error.code})"
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__


def owners() -> dict[str, str]:
    """The names that the public index assigns, with the distribution that each belongs to."""
    from gan.plugins import registry

    return registry.owners()
