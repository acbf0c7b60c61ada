"""Datasets: packed once into memory-mapped arrays, and read by the training in a seeded order."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gan.data.order import Order
    from gan.data.pack import Pack
    from gan.data.packing import open_pack

_LAZY = {
    "Pack": "gan.data.pack",
    "Order": "gan.data.order",
    "open_pack": "gan.data.packing",
}
__all__ = ["Order", "Pack", "open_pack"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'gan.data' has no attribute '{name}'")
