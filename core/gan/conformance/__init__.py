"""Check that a plugin keeps the contracts."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gan.conformance.checking import check_plugin, check_project

_LAZY = {
    "check_plugin": "gan.conformance.checking",
    "check_project": "gan.conformance.checking",
}
__all__ = ["check_plugin", "check_project"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'gan.conformance' has no attribute '{name}'")
