"""Named data: made by a plugin from an installed dependency, or fetched, once, into the cache."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from gan.download import Downloader
from gan.errors import GanError, PluginError
from gan.files import cache_folder, filled_aside

if TYPE_CHECKING:
    from gan.plugins import Owned, Plugins


def dataset_folder(owned: Owned) -> Path:
    """Where the data set lies, or will lie."""
    entry = owned.entry
    return cache_folder() / "datasets" / f"{entry.name}-{entry.version}"


def prepare_dataset(owned: Owned, plugins: Plugins) -> Path:
    """The folder of a named data set; it is filled now when this is its first use, whole or not at all."""
    folder = dataset_folder(owned)
    if (folder / "dataset.json").is_file():
        return folder / "files"
    fill = plugins.load(owned)
    with filled_aside(folder, "dataset.json") as aside:
        (aside / "files").mkdir()
        try:
            fill(aside / "files", Downloader(cache_folder() / "downloads"))
        except (GanError, OSError):
            raise
        except Exception as error:
            raise PluginError(
                owned.info.name, f"data set '{owned.entry.name}' of {owned.info.distribution} failed: {error}"
            ) from error
        about = {"name": owned.entry.name, "licence": owned.entry.licence}
        (aside / "dataset.json").write_text(json.dumps(about))
    return folder / "files"
