"""Generation: load a trained model from a run folder and make samples with it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gan.generation.loading import load_model
    from gan.generation.model import Model

_LAZY = {
    "Model": "gan.generation.model",
    "load_model": "gan.generation.loading",
}
__all__ = ["Model", "load_model"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'gan.generation' has no attribute '{name}'")
