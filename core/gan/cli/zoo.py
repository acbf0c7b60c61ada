"""The commands `gan zoo` and `gan demo`: small trained models that come with plugins."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from gan.cli import importing, installed
from gan.cli.completion import RUN
from gan.cli.options import json_flag
from gan.cli.terminal import echo
from gan.errors import PluginError, UsageError

if TYPE_CHECKING:
    from gan.plugins.manager import PluginEntry, Plugins

NUMBERS = 2
"""Numbers of a model in the list; `--json` has all."""


@click.group(invoke_without_command=True, epilog="Example: gan zoo; gan generate zoo:chorales --count 8")
@json_flag
@click.pass_context
def zoo(ctx: click.Context, as_json: bool) -> None:
    """List small trained models that come with plugins, with their numbers; use one as zoo:NAME in place of a run."""
    if ctx.invoked_subcommand is not None:
        return
    from gan.plugins.models import about_model

    plugins = installed(ctx)
    found = [(entry, about_model(entry, plugins)) for entry in plugins.entries("gan_models")]
    if as_json:
        from gan.cli.progress import print_json

        print_json([about for _, about in found])
        return
    if not found:
        raise UsageError("no models are installed: pip install gan-zoo")
    from gan.reporting.tables import number_rows

    width = max(len(entry.entry.name) for entry, _ in found) + len("zoo:")
    for entry, about in found:
        numbers = number_rows({"headline": about["numbers"]})[:NUMBERS]
        shown = ", ".join(f"{name} {value.partition(' ±')[0]} ({aim})" for name, value, aim, *_ in numbers)
        echo(f"{'zoo:' + entry.entry.name:{width}}  {about['size'] / 1e6:.1f} MB  {entry.entry.summary}")
        echo(f"{'':{width}}  {about['title']}; {shown}{_needs(entry, plugins)}")


def _needs(found: PluginEntry, plugins: Plugins) -> str:
    """What has to be installed for a model, or why its plugin cannot be used; empty where it can."""
    plugin = found.entry.plugin
    if plugin not in {info.name for info in plugins.infos()}:
        return f"; pip install gan-{plugin}"
    try:
        plugins.require(plugin)
    except PluginError as error:
        return f"; {error}"
    return ""


@zoo.command(epilog="Example: gan zoo pack runs/mine --out my_plugin/models --name mine --licence MIT")
@click.argument("run_folder", metavar="RUN", type=RUN)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The folder of models.")
@click.option("--name", required=True, help="Name of the model.")
@click.option("--licence", default="", help="Licence of the weights, with the attribution of the data.")
@click.option("--command", "command", default="", help="The command that makes it again.")
@click.pass_context
def pack(ctx: click.Context, run_folder: Path, out: Path, name: str, licence: str, command: str) -> None:
    """Write the weights of a finished run, with its recipe, numbers and card, as a model that a plugin can bring along.

    The weights are those that the numbers are of, at the end of the training. Optimizers, records and the paths of
    this machine stay behind. A plugin offers it with the hook gan_models.
    """
    with importing():
        from gan.cli import loaded
        from gan.control.tuned_run import pack_run
        from gan.reporting.result import read_result
        from gan.storage.run_folder import RunFolder

    model = loaded(ctx, run_folder, "cpu", str(read_result(RunFolder.open(run_folder)).samples))
    echo(pack_run(model, out, name=name, command=command or f"gan run {name}/recipe.yaml", licence=licence))


@click.command(epilog="Example: gan demo --out demo")
@click.option("--out", type=click.Path(path_type=Path), default=Path("demo"), show_default=True, help="A new folder.")
@click.option(
    "--count", type=click.IntRange(min=1, max=64), default=6, show_default=True, help="Samples of each model."
)
@click.option(
    "--seed", type=click.IntRange(min=0, max=(1 << 63) - 1), default=0, show_default=True, help="Random seed."
)
@click.pass_context
def demo(ctx: click.Context, out: Path, count: int, seed: int) -> None:
    """Make samples with every model whose plugin is installed, and a page to see, hear and read them: no training."""
    plugins = installed(ctx)
    models = plugins.entries("gan_models")
    if not models:
        raise UsageError("no models are installed: pip install gan-zoo")
    if out.exists() and any(out.iterdir()):
        raise UsageError(f"{out} is not empty; name another folder with --out")
    with importing():
        from gan.api import generate
        from gan.reporting.page import write_page
    for found in models:
        name = found.entry.name
        if needs := _needs(found, plugins):
            echo(f"{name:12}  {found.entry.summary}{needs}")
            continue
        samples = generate(f"zoo:{name}", count, seed, plugins=plugins)
        page = write_page(out / name, samples.modality, samples.save(out / name))
        echo(f"{name:12}  {found.entry.summary}\n{'':12}  {page}")
    echo(f"\nmore:  gan generate zoo:{models[0].entry.name} --count 8 --seed 1")
    echo("yours: gan run image --data PHOTOS")
