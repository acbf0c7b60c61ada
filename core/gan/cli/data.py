"""The commands of `gan data`: check a dataset before training, list and fetch named datasets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gan.cli import installed
from gan.cli.columns import print_columns
from gan.cli.options import json_flag
from gan.cli.terminal import echo
from gan.errors import BadData

if TYPE_CHECKING:
    from gan.data.check import Check

SHOWN = 50
"""Number of skipped files that are printed; ``--json`` has all."""


@click.group()
def data() -> None:
    """Check, list and fetch datasets."""


@data.command(epilog="Example: gan data check ./photos --modality image --set resolution=64")
@click.argument("source", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--modality", "name", metavar="NAME", help="The modality; default: the one that knows the endings of most files."
)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A setting of the modality; repeatable.")
@json_flag
@click.pass_context
def check(ctx: click.Context, source: Path, name: str | None, settings: tuple[str, ...], as_json: bool) -> None:
    """Print what a training would use of a folder, file or archive, and what it would skip and why.

    The files are read as for a training; nothing is written. The exit code is 3 when nothing can be used.
    """
    from gan.data.check import check_source
    from gan.data.detect import find_modality
    from gan.recipe import validated, with_settings

    plugins = installed(ctx)
    plugin_entry = find_modality(source, name, plugins)
    modality = plugins.load(plugin_entry)
    config = validated(modality.Config, with_settings({}, settings), "")
    found = check_source(source, modality, config)
    if as_json:
        from gan.cli.progress import print_json

        print_json({"modality": plugin_entry.entry.name, "samples": found.samples, **vars(found)})
    else:
        _show(found, plugin_entry.entry.name)
    if not found.used:
        endings = ", ".join(modality.suffixes)
        raise BadData(f"none of {len(found.skipped)} files with a known ending ({endings}) can be used", source)


@data.command(epilog="Example: gan data verify")
@click.option("--cache", metavar="DIR", type=click.Path(path_type=Path), help="Another cache than the user's own.")
@json_flag
def verify(cache: Path | None, as_json: bool) -> None:
    """Read all packed data, named datasets and features of the cache again and name what is damaged.

    Every file is compared with its SHA-256 when it was written. Nothing is changed: what is damaged is made anew when
    it is used next. The exit code is 4 if anything is damaged.
    """
    from gan.cli.verify import show
    from gan.data.scrub import scrub_cache
    from gan.storage.durable import cache_folder

    show(scrub_cache(cache or cache_folder()), as_json)


def _show(found: Check, modality: str) -> None:
    echo(f"as {modality} data:")
    if found.used:
        echo(f"  used     {len(found.used):,} files with {found.samples:,} samples")
    for held, (files, count) in list(found.inventory.items())[:SHOWN]:
        echo(f"  holds    {_printable(held)}: {count:,} in {files:,} files")
    echo(f"  dropped  {len(found.skipped):,} files")
    for name in list(found.skipped)[:SHOWN]:
        echo(f"    {_printable(name)}: {_printable(found.skipped[name])}")
    if len(found.skipped) > SHOWN:
        echo(f"    and {len(found.skipped) - SHOWN:,} more; --json names all")
    if found.other:
        echo(f"  ignored  {found.other:,} files with other endings")


def _printable(text: str) -> str:
    """Escape what is not printable: names of files may contain anything."""
    plain = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in plain)


@data.command("list", epilog="Example: gan data list --json")
@json_flag
@click.pass_context
def list_data(ctx: click.Context, as_json: bool) -> None:
    """List the named datasets of all plugins, with modality, size of the download and licence.

    The column HERE says whether a dataset is in the cache already.
    """
    from gan.data.datasets import dataset_folder

    rows: list[dict[str, Any]] = [
        {
            "name": plugin_entry.entry.name,
            "modality": plugin_entry.entry.modality,
            "download": plugin_entry.entry.download,
            "here": (dataset_folder(plugin_entry) / "dataset.json").is_file(),
            "licence": plugin_entry.entry.licence,
            "summary": plugin_entry.entry.summary,
            "plugin": plugin_entry.info.name,
        }
        for plugin_entry in installed(ctx).entries("gan_datasets")
    ]
    if as_json:
        from gan.cli.progress import print_json

        print_json(rows)
        return
    keys = ("name", "modality", "download", "here", "licence", "summary")
    shown = [{**row, "here": "yes" if row["here"] else "no"} for row in rows]
    print_columns([[key.upper() for key in keys], *([row[key] for key in keys] for row in shown)])


def _complete_data(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Named datasets, and extractors whose weights can be fetched."""
    from gan.plugins.manager import Plugins

    plugins = Plugins.installed()
    names = [found.entry.name for found in plugins.entries("gan_datasets")]
    names += [f"weights:{found.entry.name}" for found in plugins.entries("gan_extractors") if found.entry.files]
    return [name for name in names if name.startswith(incomplete)]


@data.command(epilog="Example: gan data fetch digits; gan data fetch weights:inception-v3-2015")
@click.argument("name", metavar="NAME|weights:EXTRACTOR", shell_complete=_complete_data)
@json_flag
@click.pass_context
def fetch(ctx: click.Context, name: str, as_json: bool) -> None:
    """Make or download a named dataset into the cache, verify it, and print the folder of its files.

    `weights:EXTRACTOR` downloads the weights of an extractor, which metrics such as fid need; they are never downloaded
    unasked.
    """
    from gan.data.datasets import prepare_dataset

    plugins = installed(ctx)
    if name.startswith("weights:"):
        _fetch_weights(plugins.find("gan_extractors", name.removeprefix("weights:")), as_json)
        return
    plugin_entry = plugins.find("gan_datasets", name)
    folder = prepare_dataset(plugin_entry, plugins)
    if as_json:
        from gan.cli.progress import print_json

        print_json({"name": name, "folder": str(folder), "licence": plugin_entry.entry.licence})
    else:
        echo(str(folder))


def _fetch_weights(plugin_entry: Any, as_json: bool) -> None:
    """Say what is downloaded from where and under which licence, and do it."""
    from gan.data.datasets import fetch_weights
    from gan.storage.download import Downloader
    from gan.storage.durable import cache_folder

    files = plugin_entry.entry.files
    for file in files:
        echo(f"{file.url}  {file.size / 1e6:,.0f} MB  licence: {file.licence}", err=True)
    paths = fetch_weights(plugin_entry, Downloader(cache_folder() / "downloads"))
    if as_json:
        from gan.cli.progress import print_json

        print_json([{**vars(file), "path": str(path)} for file, path in zip(files, paths, strict=True)])
    else:
        for path in paths:
            echo(path)
