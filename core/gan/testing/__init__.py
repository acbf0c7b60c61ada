"""Helpers for tests of plugins: the conformance kit, a toy plugin, distributions without pip.

* `gan.testing.toy` is a complete plugin: points in the plane and a small perceptron.
* `check_plugin` checks a plugin against the contracts.
* `install` writes a distribution into a folder, which is found when the folder is on the path.
* `gan.testing.bounded` limits memory and CPU time of a test.
* `shared_data` finds real data beside the checkout.

Importing this package imports neither torch nor numpy.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gan.conformance.checking import check_plugin

__all__ = ["check_plugin", "install", "real_file", "shared_data"]


def __getattr__(name: str) -> Any:
    if name == "check_plugin":
        from gan.conformance.checking import check_plugin

        return check_plugin
    raise AttributeError(f"module 'gan.testing' has no attribute '{name}'")


def shared_data(*parts: str) -> Path | None:
    """The real data for tests, or one file of it; None when it is not on this machine.

    The folder that contains ``data`` is named by the variable ``GAN_SHARED``; default: ``shared`` beside the checkout.
    """
    named = os.environ.get("GAN_SHARED")
    checkout = Path(__file__).resolve().parents[3]
    folders = [Path(named)] if named else [checkout.parent / "shared", checkout.parent.parent / "shared"]
    for folder in folders:
        path = folder.joinpath("data", *parts)
        if path.exists():
            return path
    return None


def real_file(*parts: str) -> Path:
    """`shared_data` for scripts that need it: exits with a message when the file is missing."""
    found = shared_data(*parts)
    if found is None:
        raise SystemExit(f"{'/'.join(parts)} is not on this machine (../shared/data)")
    return found


def install(
    folder: Path,
    name: str,
    files: Mapping[str, str],
    *,
    module: str = "",
    distribution: str = "",
    version: str = "1.0",
    requires: Iterable[str] = ("gan-core",),
    summary: str = "A plugin of a test",
) -> str:
    """Write a distribution with the plugin `name` into `folder`, as pip would, and return its module's name.

    `files` maps paths to contents (``{"gan_sketch.py": "…"}``). The plugin counts as installed while `folder` is on
    ``sys.path`` or ``PYTHONPATH``.
    """
    distribution = distribution or f"gan-{name}"
    module = module or distribution.replace("-", "_")
    for path, text in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    info = folder / f"{re.sub(r'[-_.]+', '_', distribution)}-{version}.dist-info"
    info.mkdir(parents=True)
    lines = ["Metadata-Version: 2.1", f"Name: {distribution}", f"Version: {version}", f"Summary: {summary}"]
    lines += [f"Requires-Dist: {requirement}" for requirement in requires]
    (info / "METADATA").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(f"[gan]\n{name} = {module}\n", encoding="utf-8")
    return module
