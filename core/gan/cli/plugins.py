"""`gan plugins`: list, show, search, install, create and check plugins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gan.cli import installed
from gan.cli.columns import print_columns
from gan.cli.completion import complete_plugin
from gan.cli.options import json_flag
from gan.cli.progress import print_json
from gan.cli.terminal import echo
from gan.contracts import ENTRY_TYPES, Entry, kind
from gan.errors import PluginError, UnknownName, UsageError

if TYPE_CHECKING:
    from gan.plugins.discovery import PluginInfo
    from gan.plugins.manager import PluginEntry, Plugins

_SHOWN = {"unloaded": "installed", "ok": "installed"}
_PLURALS = {"modality": "modalities", "loss": "losses", "penalty": "penalties"}


@click.group(
    invoke_without_command=True,
    epilog="Example: gan plugins --hook losses; gan plugins show image; gan plugins new sketch",
)
@click.option("--hook", metavar="KIND", help="List one kind of entry of all plugins: losses, architectures, data …")
@json_flag
@click.pass_context
def plugins(ctx: click.Context, hook: str | None, as_json: bool) -> None:
    """List installed plugins: name, distribution, status, what they offer, and their problems.

    No plugin code is run: names come from package metadata, entries from the source of each entry module.
    """
    if ctx.invoked_subcommand is not None:
        return
    found = installed(ctx)
    infos = found.inspect()
    if hook is not None:
        _list_hook(found, infos, _hook(hook), as_json)
    elif as_json:
        print_json([_described(found, info) for info in infos])
    else:
        rows: list[tuple[str, ...]] = [("NAME", "DISTRIBUTION", "STATUS", "OFFERS")]
        rows += [(i.name, i.title, _SHOWN.get(i.status, i.status), _summary(found, i)) for i in infos]
        print_columns(rows)
        for info in infos:
            if info.warning():
                echo(f"warning: {info.warning()}", err=True)


def _list_hook(found: Plugins, infos: list[PluginInfo], hook: str, as_json: bool) -> None:
    offers = [(entry, info) for info in infos for entry in _offers(found, info)[0].get(hook, [])]
    if as_json:
        print_json([{**asdict(entry), "plugin": info.name} for entry, info in offers])
        return
    print_columns([("NAME", "PLUGIN", "SUMMARY"), *((entry.name, info.name, entry.summary) for entry, info in offers)])
    unknown = [info.name for info in infos if info.status in ("ok", "unloaded") and not _offers(found, info)[1]]
    if unknown:
        echo(f"importing them would tell what these offer: {', '.join(unknown)} (gan plugins show NAME)", err=True)


@plugins.command(epilog="Example: gan plugins show image")
@click.argument("name", shell_complete=complete_plugin)
@json_flag
@click.pass_context
def show(ctx: click.Context, name: str, as_json: bool) -> None:
    """Show one plugin: modalities, architectures with papers and sizes, losses, datasets, recipes and all settings."""
    found = installed(ctx)
    info = found.require(name)
    if as_json:
        print_json({**_described(found, info), "settings": _all_settings(found, name)})
        return
    echo(f"{info.name}: {info.title}" + (f", {info.summary}" if info.summary else ""))
    if info.reason:
        echo(f"warning: {info.warning()}", err=True)
    for hook in ENTRY_TYPES:
        entries = found.entries(hook, name)
        if not entries:
            continue
        echo(f"\n{_plural(kind(hook))}")
        for plugin_entry in entries:
            _show_entry(found, plugin_entry, hook)


def _show_entry(found: Plugins, plugin_entry: PluginEntry, hook: str) -> None:
    entry = plugin_entry.entry
    default = " (default)" if getattr(entry, "default", False) else ""
    echo(f"  {entry.name}{default}: {entry.summary}")
    for label, attribute in (
        ("modality", "modality"),
        ("default dataset", "dataset"),
        ("paper", "paper"),
        ("licence", "licence"),
        ("download", "download"),
        ("weights", "weights"),
        ("architecture", "architecture"),
    ):
        value = getattr(entry, attribute, None)
        if value and value != "none":
            echo(f"      {label}: {value}")
    for player, count in getattr(entry, "parameters", {}).items():
        echo(f"      {player}: {count:,} parameters with its recipe")
    sections = {"gan_modalities": "modality.", "gan_architectures": "model."}
    if hook not in sections:
        return
    try:
        described = _settings(found, plugin_entry)
    except PluginError as error:
        echo(f"      {error}")
        return
    for title, rows in described.items():
        prefix = sections[hook] if title == "settings" else "--"
        for row in rows:
            must = f" = {row.default}" if row.default else " (required)"
            echo(f"      {prefix}{row.name}{must}")
            echo(f"          {row.description or 'not described'} [{row.type}]")


def _settings(found: Plugins, plugin_entry: PluginEntry) -> dict[str, list[Any]]:
    """What users may set of a modality or an architecture, by title. Raises `PluginError`."""
    from gan.plugins.settings import settings

    target = found.load(plugin_entry)
    titles = {"settings": "Config", "options": "Options", "options of an input": "GivenOptions"}
    return {title: settings(getattr(target, attribute, None)) for title, attribute in titles.items()}


def _all_settings(found: Plugins, plugin: str) -> dict[str, Any]:
    """Settings and options by kind and name, for programs; None where the class cannot be imported."""
    described: dict[str, Any] = {}
    for hook in ("gan_modalities", "gan_architectures"):
        for plugin_entry in found.entries(hook, plugin):
            try:
                rows = {title: [asdict(row) for row in rows] for title, rows in _settings(found, plugin_entry).items()}
            except PluginError:
                rows = None
            described[f"{kind(hook)}/{plugin_entry.entry.name}"] = rows
    return described


def _index_option(command: Any) -> Any:
    text = "Index to use: a file or an https URL. Default: the variable GAN_REGISTRY, then the index shipped with gan."
    return click.option("--index", metavar="FILE|URL", help=text)(command)


@plugins.command(epilog="Example: gan plugins search music")
@click.argument("words", nargs=-1)
@_index_option
@json_flag
@click.pass_context
def search(ctx: click.Context, words: tuple[str, ...], index: str | None, as_json: bool) -> None:
    """Search published plugins by words in their name, summary or modality."""
    from gan.plugins.installer import open_index

    present = {info.name: info for info in installed(ctx).infos()}
    found = open_index(index).search(words)
    if as_json:
        print_json([asdict(plugin) for plugin in found])
        return
    rows: list[tuple[str, ...]] = [("NAME", "DISTRIBUTION", "NEWEST", "INSTALLED", "SUMMARY")]
    for plugin in found:
        newest, here = plugin.newest(), present.get(plugin.name)
        version = newest.version if newest else "none yet" if not plugin.versions else "none for this gan-core"
        rows.append((plugin.name, plugin.distribution, version, here.version if here else "-", plugin.summary))
    print_columns(rows)
    if not found:
        echo("no plugin in the index matches these words", err=True)


@plugins.command(epilog="Example: gan plugins install sketch")
@click.argument("name")
@click.option("--version", metavar="VERSION", help="Default: the newest version that works with this gan-core.")
@_index_option
@click.option("--dry-run", is_flag=True, help="Print what would be done and stop.")
def install(name: str, version: str | None, index: str | None, dry_run: bool) -> None:
    """Install a plugin from the index: wheels only, each checked against the sha256 in the index."""
    from gan.plugins import installer

    _install(installer.plan(installer.open_index(index), name, version), dry_run)


@plugins.command(epilog="Example: gan plugins upgrade sketch")
@click.argument("name", shell_complete=complete_plugin)
@_index_option
@click.option("--dry-run", is_flag=True, help="Print what would be done and stop.")
def upgrade(name: str, index: str | None, dry_run: bool) -> None:
    """Upgrade a plugin to the newest version that works with this gan-core."""
    from gan.plugins import installer

    wanted = installer.plan(installer.open_index(index), name)
    if not installer.newer(wanted):
        echo(f"{wanted.requirement} or newer is already installed")
        return
    _install(wanted, dry_run)


@plugins.command(epilog="Example: gan plugins uninstall sketch")
@click.argument("name", shell_complete=complete_plugin)
@click.option("--dry-run", is_flag=True, help="Print what would be done and stop.")
@click.pass_context
def uninstall(ctx: click.Context, name: str, dry_run: bool) -> None:
    """Uninstall a plugin. Its trained runs are kept."""
    from gan.plugins import installer
    from gan.plugins.discovery import CORE, normal

    infos = installed(ctx).infos()
    chosen = next((info for info in infos if name in (info.name, info.distribution)), None)
    if chosen is None:
        raise UnknownName("plugin", name, [info.name for info in infos])
    if normal(chosen.distribution) == CORE:
        raise UsageError(f"{CORE} is the core itself; to remove it, use pip uninstall {CORE}")
    echo(f"uninstall {chosen.title}")
    if not dry_run:
        installer.uninstall(chosen.distribution)


def _install(wanted: Any, dry_run: bool) -> None:
    """Print the plan, install, and report whether the plugin is found."""
    import importlib

    from gan.plugins import installer
    from gan.plugins.manager import Plugins

    echo(wanted.describe())
    if dry_run:
        return
    for other in installer.install(wanted):
        echo(f"installed {other.requirement}\n    sha256 {other.sha256}")
    importlib.invalidate_caches()
    found = [info for info in Plugins.installed().inspect() if info.name == wanted.plugin.name]
    for info in found:
        echo(f"installed {info.title}" + (f"; {info.reason}" if info.reason else ""))
    if not found:
        echo(f"installed {wanted.requirement}; a new process finds it")


@plugins.command(epilog="Example: gan plugins new sketch --modality drawing")
@click.argument("name")
@click.option("--modality", metavar="NAME", help="Name of its modality. Default: the plugin's name.")
@click.option("--author", metavar="TEXT", default="", help="For licence and metadata. Default: git's user.name.")
@click.option("--out", type=click.Path(path_type=Path), help="New folder to create. Default: ./gan-NAME.")
def new(name: str, modality: str | None, author: str, out: Path | None) -> None:
    """Create a new plugin that works at once: modality, architecture, recipe, tests, CI, licence."""
    from gan.plugins.registry import owners
    from gan.plugins.scaffold import create

    folder = out or Path(f"gan-{name}")
    for path in create(name, modality or name, folder, author=author, owners=owners()):
        echo(path)
    echo(f"\npip install -e {folder}\ngan run --plugin {name}\ngan plugins check {name}")


@plugins.command(epilog="Example: gan plugins check sketch; gan plugins check ./gan-sketch --json")
@click.argument("target", metavar="NAME|PATH", shell_complete=complete_plugin)
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Setting that makes architectures small; repeatable."
)
@click.option("--architecture", "only", multiple=True, metavar="NAME", help="Check only this one; repeatable.")
@click.option(
    "--minutes", type=click.FloatRange(min=0, min_open=True), default=15, show_default=True, help="Time limit."
)
@json_flag
@click.pass_context
def check(
    ctx: click.Context, target: str, settings: tuple[str, ...], only: tuple[str, ...], minutes: float, as_json: bool
) -> int:
    """Run the conformance tests on a plugin in a separate process. Exits with 1 when one fails."""
    from gan.conformance.checking import check_plugin, check_project

    options: Any = {"settings": {"*": settings}, "architectures": only, "timeout": 60 * minutes}
    if "/" in target or target.startswith(".") or Path(target, "pyproject.toml").is_file():
        report = check_project(Path(target), **options)
    else:
        info = installed(ctx).info(target)
        report = check_plugin(info.name, **options)
    if as_json:
        print_json(report.to_json())
    else:
        echo(report.text())
    return 0 if report.passed else 1


def _offers(found: Plugins, info: PluginInfo) -> tuple[Mapping[str, list[Entry]], bool]:
    """What a plugin offers as far as it is known without importing it; nothing when it cannot be used."""
    return found.offers(info.name) if info.status in ("ok", "unloaded") else ({}, True)


def _summary(found: Plugins, info: PluginInfo) -> str:
    entries, complete = _offers(found, info)
    counts = [
        f"{len(items)} {kind(hook) if len(items) == 1 else _plural(kind(hook))}"
        for hook, items in entries.items()
        if items
    ]
    return ", ".join(counts) + ("" if complete else " and more that only importing it tells" if counts else "?")


def _described(found: Plugins, info: PluginInfo) -> dict[str, Any]:
    entries, complete = _offers(found, info)
    offers = {hook: [asdict(entry) for entry in items] for hook, items in entries.items() if items}
    return {**asdict(info), "offers": offers, "complete": complete}


def _hook(text: str) -> str:
    """The hook for ``losses``, ``loss`` or ``gan_losses``."""
    wanted = text.lower()
    for hook in ENTRY_TYPES:
        if wanted in (hook, hook.removeprefix("gan_"), kind(hook)):
            return hook
    if wanted == "data":
        return "gan_datasets"
    raise UnknownName("kind", text, [hook.removeprefix("gan_") for hook in ENTRY_TYPES])


def _plural(word: str) -> str:
    return _PLURALS.get(word, word + "s")
