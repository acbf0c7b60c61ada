"""Named datasets: made by a plugin from an installed dependency, or downloaded, once, into the cache."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gan.errors import BadData, GanError, PluginError, UsageError
from gan.storage.download import Downloader
from gan.storage.durable import (
    cache_folder,
    discard,
    file_sha256,
    filled_aside,
    make_dirs,
    replacement,
    write_all,
)
from gan.storage.regular import Broken, read_regular
from gan.storage.seal import broken_files, files_below, is_seal, seal, sealed_text, unsealed
from gan.weights import weights_folder

if TYPE_CHECKING:
    from gan.contracts import Download
    from gan.plugins.manager import PluginEntry, Plugins

MAX_ABOUT_BYTES = 1 << 30
"""Largest ``dataset.json``, in bytes: it holds the name of every file."""
_log = logging.getLogger(__name__)


def dataset_folder(plugin_entry: PluginEntry) -> Path:
    """The folder of a dataset in the cache, whether it exists or not."""
    entry = plugin_entry.entry
    return cache_folder() / "datasets" / f"{entry.name}-{entry.version}"


def prepare_dataset(plugin_entry: PluginEntry, plugins: Plugins) -> Path:
    """Return the folder with the files of a named dataset; the first use makes or downloads it, atomically.

    The files are compared with the SHA-256 of each when it was made (remembered as `gan.storage.seal` says). A dataset
    that was damaged since is made anew, with a warning.
    """
    folder = dataset_folder(plugin_entry)
    if (folder / "dataset.json").is_file():
        found = dataset_complaints(folder)
        if not found:
            return folder / "files"
        _log.warning("warning: the dataset in %s was damaged (%s) and is made anew", folder, found[0])
        discard(folder)
    _fill(plugin_entry, plugins, folder)
    found = dataset_complaints(folder)
    if found:
        raise BadData(f"is damaged and cannot be made anew: {found[0]}; remove this folder", folder)
    return folder / "files"


def fetch_weights(plugin_entry: PluginEntry, download: Download) -> list[Path]:
    """Download the files of weights of an extractor, verified, to where `gan.weights.find_weights` finds them.

    Raises `UsageError` for an extractor that needs none, or whose files nobody may pass on.
    """
    entry = plugin_entry.entry
    if not entry.files:
        what = "needs no weights" if entry.weights == "none" else f"has no address of its weights ({entry.weights})"
        raise UsageError(f"extractor '{entry.name}' {what}")
    paths = []
    for file in entry.files:
        make_dirs(weights_folder())
        paths.append(weights_folder() / file.name)
        if not paths[-1].is_file() or file_sha256(paths[-1]) != file.sha256:
            fetched = download(file.url, sha256=file.sha256, size=file.size)
            with replacement(paths[-1]) as descriptor, fetched.open("rb") as content:
                while part := content.read(1 << 20):
                    write_all(descriptor, part)
            fetched.unlink()
    return paths


def dataset_complaints(folder: Path, *, anew: bool = False) -> list[str]:
    """What is damaged in a dataset of the cache, as sentences; empty if nothing is.

    A dataset of a version that kept no SHA-256 is sealed as it is found. With `anew`, every file is read even if it was
    verified before.
    """
    about_file = folder / "dataset.json"
    try:
        about, is_sealed = unsealed(read_regular(about_file, None, limit=MAX_ABOUT_BYTES), about_file.name, _parsed)
    except Broken as error:
        return [str(error)]
    if not is_sealed:
        _seal(folder, about)
        return []
    sealed = about.get("files")
    if not is_seal(sealed):
        return ["dataset.json has no list of files"]
    files = folder / "files"
    memory = folder.parent / "known" / f"verified-{folder.name}.json"
    complaints = [f"files/{name} {reason}" for name, reason in broken_files(files, sealed, memory, anew=anew).items()]
    return complaints + [f"files/{name} was added" for name in sorted(set(files_below(files)) - set(sealed))]


def _parsed(content: bytes, where: str) -> Any:
    """JSON that may hold names of files in any encoding."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Broken(f"{where} is not JSON ({error})") from error


def _seal(folder: Path, about: dict[str, Any]) -> None:
    (folder / "dataset.json").write_text(sealed_text(json.dumps({**about, "files": seal(folder / "files")})))


def _fill(plugin_entry: PluginEntry, plugins: Plugins, folder: Path) -> None:
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
        _seal(aside, {"name": plugin_entry.entry.name, "licence": plugin_entry.entry.licence})
