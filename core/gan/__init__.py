"""Train, evaluate and use generative adversarial networks for any kind of data.

    import gan

    run = gan.train({"plugin": "music"})
    samples = gan.load(run).generate(8, seed=0)

Importing this package does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gan.version import __version__

if TYPE_CHECKING:
    from gan.api import evaluate, load, train
    from gan.hookspecs import hookimpl

_LAZY = {"train": "gan.api", "load": "gan.api", "evaluate": "gan.api", "hookimpl": "gan.hookspecs"}
__all__ = ["__version__", "evaluate", "hookimpl", "load", "train"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'gan' has no attribute '{name}'")
