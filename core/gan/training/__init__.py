"""Train a recipe in a run folder, and resume it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gan.training.session import resume, start
    from gan.training.trainer import Trainer

_LAZY = {
    "start": "gan.training.session",
    "resume": "gan.training.session",
    "Trainer": "gan.training.trainer",
}
__all__ = ["Trainer", "resume", "start"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'gan.training' has no attribute '{name}'")
