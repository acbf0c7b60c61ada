"""Calls the hooks of one imported plugin and validates the entries that they return."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gan.contracts import ENTRY_TYPES, Entry
from gan.errors import GanError, nearest
from gan.plugins.discovery import GROUP, NAME

MAX_ENTRIES = 10_000
"""Entries that one hook may return; a generator that never ends is stopped here."""


class HookError(GanError):
    """A hook returned something that its specification does not allow."""


def call_hooks(name: str, plugin: object) -> tuple[dict[str, list[Entry]], list[str]]:
    """(entries by hook, warnings) of an imported plugin. Raises `HookError`, and whatever the plugin raises."""
    import pluggy

    from gan import hookspecs

    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    manager.register(plugin, name)
    marked = {
        attribute: getattr(getattr(plugin, attribute, None), f"{GROUP}_impl", None) is not None
        for attribute in dir(plugin)
    }
    warnings = misspelt(marked)
    entries: dict[str, list[Entry]] = {}
    for hook, entry_type in ENTRY_TYPES.items():
        caller = getattr(manager.hook, hook)
        if caller.get_hookimpls():
            (answer,) = caller() or (None,)
            entries[hook] = _validated(hook, entry_type, answer)
    if not entries and not warnings:
        module = getattr(plugin, "__name__", name)
        warnings.append(f"it offers nothing: no function of '{module}' is marked with @hookimpl")
    return entries, warnings


def misspelt(marked: Mapping[str, bool]) -> list[str]:
    """Warnings about names of a module that look like hooks, and whether each is marked with ``@hookimpl``."""
    warnings = []
    for name, is_marked in marked.items():
        if is_marked and name not in ENTRY_TYPES:
            close = nearest(name, ENTRY_TYPES)
            warnings.append(f"'{name}' is no hook" + (f"; did you mean '{close}'?" if close else ""))
        elif not is_marked and name in ENTRY_TYPES:
            warnings.append(f"'{name}' is not marked with @hookimpl, so it is not called")
    return warnings


def _validated(hook: str, entry_type: type[Entry], answer: object) -> list[Entry]:
    if isinstance(answer, (str, bytes, Mapping)) or not isinstance(answer, Iterable):
        raise HookError(f"{hook} returned {type(answer).__name__}, expected an iterable of {entry_type.__name__}")
    entries: dict[str, Entry] = {}
    for entry in answer:
        if not isinstance(entry, entry_type):
            raise HookError(f"{hook} gave {type(entry).__name__} {entry!r:.60}, expected {entry_type.__name__}")
        for text in ("name", "summary", "target"):
            if not isinstance(getattr(entry, text), str):
                raise HookError(f"{hook} gave an entry whose {text} is not a string: {getattr(entry, text)!r:.60}")
        if not NAME.fullmatch(entry.name):
            raise HookError(f"{hook} gave the name {entry.name!r}; use lower-case letters, digits and hyphens only")
        if entry.name in entries:
            raise HookError(f"{hook} gave the name '{entry.name}' twice")
        if len(entries) >= MAX_ENTRIES:
            raise HookError(f"{hook} gave more than {MAX_ENTRIES:,} entries")
        entries[entry.name] = entry
    return list(entries.values())
