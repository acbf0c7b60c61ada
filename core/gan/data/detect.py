"""Find the modality of a dataset: the one that was named, or the one that knows the endings of its files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gan.errors import BadData, UsageError
from gan.source import NoKnownFiles, list_source

if TYPE_CHECKING:
    from gan.plugins.manager import PluginEntry, Plugins


def find_modality(source: Path, name: str | None, plugins: Plugins) -> PluginEntry:
    """The modality called `name`; if None, the installed one that knows the endings of most files of `source`.

    Raises `UnknownName` for an unknown name, `BadData` where no modality knows an ending, and `UsageError` where
    several know equally many.
    """
    if name is not None:
        return plugins.find("gan_modalities", name)
    counts: list[tuple[int, PluginEntry]] = []
    offered = plugins.entries("gan_modalities")
    for plugin_entry in offered:
        modality = plugins.load(plugin_entry)
        try:
            listing = list_source(source, modality.recognised_by or modality.suffixes)
        except NoKnownFiles:
            continue
        counts.append((len(listing.files) + len(listing.skipped), plugin_entry))
    most = max((count for count, _ in counts), default=0)
    if not most:
        names = ", ".join(plugin_entry.entry.name for plugin_entry in offered) or "none"
        raise BadData(f"no file with an ending that an installed modality knows (installed: {names})", source)
    found = [plugin_entry for count, plugin_entry in counts if count == most]
    if len(found) > 1:
        names = " or ".join(f"--modality {plugin_entry.entry.name}" for plugin_entry in found)
        raise UsageError(f"{source} fits several kinds of data; add {names}")
    return found[0]
