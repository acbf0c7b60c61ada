"""Named datasets: made by a plugin from an installed dependency, or downloaded, once, into the cache."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from gan.errors import GanError, PluginError
from gan.storage.download import Downloader
from gan.storage.durable import cache_folder, filled_aside

if TYPE_CHECKING:
    from gan.plugins.manager import PluginEntry, Plugins


def dataset_folder(plugin_entry: PluginEntry) -> Path:
    """The folder of a dataset in the cache, whether it exists or not."""
    entry = plugin_entry.entry
    return cache_folder() / "datasets" / f"{entry.name}-{entry.version}"


def prepare_dataset(plugin_entry: PluginEntry, plugins: Plugins) -> Path:
    """Return the folder with the files of a named dataset; the first use makes or downloads it, atomically."""
    folder = dataset_folder(plugin_entry)
    if (folder / "dataset.json").is_file():
        return folder / "files"
    fill = plugins.load(plugin_entry)
    with filled_aside(folder, "dataset.json") as aside:
        (aside / "files").mkdir()
        try:
            fill(aside / "files", Downloader(cache_folder() / "downloads"))
        except (GanError, OSError):
            raise
        except Exception as error:
            raise PluginError(
                plugin_entry.info.name,
                f"dataset '{plugin_entry.entry.name}' of {plugin_entry.info.distribution} failed: {error}",
            ) from error
        about = {"name": plugin_entry.entry.name, "licence": plugin_entry.entry.licence}
        (aside / "dataset.json").write_text(json.dumps(about))
    return folder / "files"
