"""Find, load, list and install plugins."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gan.plugins.discovery import PluginInfo
    from gan.plugins.manager import PluginEntry, Plugins

_LAZY = {
    "Plugins": "gan.plugins.manager",
    "PluginInfo": "gan.plugins.discovery",
    "PluginEntry": "gan.plugins.manager",
}
__all__ = ["PluginEntry", "PluginInfo", "Plugins"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'gan.plugins' has no attribute '{name}'")
