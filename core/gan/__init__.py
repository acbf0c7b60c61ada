"""Train, evaluate and use generative adversarial networks for any kind of data.

    import gan

    run = gan.train("music", minutes=5)
    samples = gan.generate(run, 8, seed=0)

Importing this package does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gan.version import __version__

if TYPE_CHECKING:
    from gan.api import evaluate, generate, load, resume, train
    from gan.hookspecs import hookimpl

_API = ("evaluate", "generate", "load", "resume", "train")
_LAZY = {**dict.fromkeys(_API, "gan.api"), "hookimpl": "gan.hookspecs"}
__all__ = ["__version__", "evaluate", "generate", "hookimpl", "load", "resume", "train"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'gan' has no attribute '{name}'")
