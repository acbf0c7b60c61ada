"""`gan data`: check a folder before training, list and fetch named data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gan.cli import installed
from gan.cli.columns import print_columns
from gan.errors import BadData, UsageError

if TYPE_CHECKING:
    from gan.data.check import Check
    from gan.plugins.manager import PluginEntry, Plugins

SHOWN = 50
"""Dropped files that are shown; ``--json`` has all."""


@click.group()
def data() -> None:
    """Check, list and fetch data."""


@data.command(epilog="Example: gan data check ./photos --modality image --set resolution=64")
@click.argument("source", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--modality", "name", metavar="NAME", help="The kind of data; found by the files' endings if not given.")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="A setting of the modality; may be repeated."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document, for programs.")
@click.pass_context
def check(ctx: click.Context, source: Path, name: str | None, settings: tuple[str, ...], as_json: bool) -> None:
    """Say what a training would use of a folder, file or archive, and what it would drop and why.

    The files are read as for a training; nothing is written. Leaves with 3 when nothing can be used.
    """
    from gan.data.check import check_source
    from gan.recipe import validated, with_settings

    plugins = installed(ctx)
    plugin_entry = _modality(plugins, source, name)
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


def _modality(plugins: Plugins, source: Path, name: str | None) -> PluginEntry:
    """The modality asked for, or the one that knows most of the files' endings."""
    if name is not None:
        return plugins.find("gan_modalities", name)
    from gan.source import list_source

    counts: list[tuple[int, PluginEntry]] = []
    for plugin_entry in plugins.entries("gan_modalities"):
        try:
            listing = list_source(source, plugins.load(plugin_entry).suffixes)
        except BadData as error:
            if error.reason.startswith("has none of the known endings"):
                continue
            raise
        counts.append((len(listing.files) + len(listing.skipped), plugin_entry))
    best = max((count for count, _ in counts), default=0)
    winners = [plugin_entry for count, plugin_entry in counts if count == best and best]
    if not winners:
        names = ", ".join(plugin_entry.entry.name for plugin_entry in plugins.entries("gan_modalities")) or "none"
        raise BadData(f"no file with an ending that an installed modality knows (installed: {names})", source)
    if len(winners) > 1:
        names = " or ".join(f"--modality {plugin_entry.entry.name}" for plugin_entry in winners)
        raise UsageError(f"{source} fits several kinds of data; add {names}")
    return winners[0]


def _show(found: Check, modality: str) -> None:
    click.echo(f"as {modality} data:")
    if found.used:
        click.echo(f"  used     {len(found.used):,} files with {found.samples:,} samples")
    for held, (files, count) in list(found.inventory.items())[:SHOWN]:
        click.echo(f"  holds    {_printable(held)}: {count:,} in {files:,} files")
    click.echo(f"  dropped  {len(found.skipped):,} files")
    for name in list(found.skipped)[:SHOWN]:
        click.echo(f"    {_printable(name)}: {_printable(found.skipped[name])}")
    if len(found.skipped) > SHOWN:
        click.echo(f"    and {len(found.skipped) - SHOWN:,} more; --json names all")
    if found.other:
        click.echo(f"  ignored  {found.other:,} files with other endings")


def _printable(text: str) -> str:
    """One line for a terminal: names of files may hold anything."""
    plain = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in plain)


@data.command("list", epilog="Example: gan data list --json")
@click.option("--json", "as_json", is_flag=True, help="One JSON document, for programs.")
@click.pass_context
def list_data(ctx: click.Context, as_json: bool) -> None:
    """List the named data of all plugins: kind, what the first use downloads, licence, whether they are here."""
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
    table = [("NAME", "MODALITY", "DOWNLOAD", "HERE", "LICENCE", "SUMMARY")]
    table += [
        (r["name"], r["modality"], r["download"], "yes" if r["here"] else "no", r["licence"], r["summary"])
        for r in rows
    ]
    print_columns(table)


@data.command(epilog="Example: gan data fetch digits")
@click.argument("name", metavar="NAME")
@click.option("--json", "as_json", is_flag=True, help="One JSON document, for programs.")
@click.pass_context
def fetch(ctx: click.Context, name: str, as_json: bool) -> None:
    """Make or download a named data set into the cache, checked, and print the folder of its files."""
    from gan.data.datasets import prepare_dataset

    plugins = installed(ctx)
    plugin_entry = plugins.find("gan_datasets", name)
    folder = prepare_dataset(plugin_entry, plugins)
    if as_json:
        from gan.cli.progress import print_json

        print_json({"name": name, "folder": str(folder), "licence": plugin_entry.entry.licence})
    else:
        click.echo(str(folder))
