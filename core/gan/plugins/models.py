"""Trained models that come with plugins, named ``zoo:NAME`` wherever a run folder is expected."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gan.errors import PluginError, UnknownName, UsageError

if TYPE_CHECKING:
    from gan.plugins.manager import PluginEntry, Plugins

PREFIX = "zoo:"
ABOUT = "zoo.json"
"""File of a light run folder that was packed for a zoo: name, command, numbers; its presence makes it one."""


def found_run(run: str | Path, plugins: Plugins) -> Path:
    """The folder that `run` names: a path, or ``zoo:NAME``. Raises `UsageError` with what there is."""
    text = str(run)
    return Path(run) if not text.startswith(PREFIX) else plugins.folder(find_model(text.removeprefix(PREFIX), plugins))


def find_model(name: str, plugins: Plugins) -> PluginEntry:
    """The `gan.contracts.ModelEntry` called `name`. Raises `UsageError` if there is none."""
    try:
        return plugins.find("gan_models", name)
    except UnknownName as error:
        if not plugins.entries("gan_models"):
            raise UsageError(f"{PREFIX}{name}: no models are installed: pip install gan-zoo") from None
        raise UsageError(f"{PREFIX}{name}: {error}") from None


def about_model(found: PluginEntry, plugins: Plugins) -> dict[str, Any]:
    """What the packed model says of itself (`ABOUT`), and its size in bytes. Raises `PluginError` if it is damaged."""
    folder = plugins.folder(found)
    try:
        about: dict[str, Any] = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PluginError(found.info.name, f"model '{found.entry.name}': {ABOUT} cannot be read: {error}") from error
    return {**about, "size": sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())}


def is_packed(run: str | Path) -> bool:
    """Whether a run folder is a packed model, into which nothing is written."""
    return (Path(run) / ABOUT).is_file()


def refuse_packed(run: Path) -> None:
    """Raise `UsageError` for a packed model, before something is written into it."""
    if is_packed(run):
        raise UsageError(f"{PREFIX}{run.name} came with a plugin, and nothing is written into it; use a copy of {run}")


def place_for_samples(run: Path) -> Path:
    """The folder for samples of a run: inside it, or ``samples/NAME`` here for a model that came with a plugin."""
    return Path("samples") / run.name if is_packed(run) else run / "samples"
