"""The commands `gan run` and `gan resume`: train a recipe, and continue a training."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gan.cli import importing, installed
from gan.cli.completion import (
    RUN,
    complete_architecture,
    complete_plugin,
    complete_recipe,
    complete_setting,
)
from gan.cli.options import provenance_choices, provenance_flags
from gan.cli.terminal import echo
from gan.errors import UsageError

if TYPE_CHECKING:
    from gan.reporting.reporter import Reporter
    from gan.reporting.result import Result


PAGE_HELP = "Keep RUN/page/index.html up to date while training: real beside generated samples, and the curves."
TRACK_HELP = "Tell a tracker of the training: tensorboard, wandb, mlflow, trackio; may be repeated."
MINUTES = click.FloatRange(min=0, min_open=True, max=1e7)


@click.command(
    epilog="Example: gan run --plugin image --data ./photos --set modality.resolution=64 --minutes 30",
)
@click.argument("what", metavar="[PLUGIN|RECIPE]", required=False, shell_complete=complete_plugin)
@click.option(
    "--plugin",
    metavar="NAME",
    shell_complete=complete_plugin,
    help="The plugin whose recipe is trained: music, image, text …",
)
@click.option(
    "--architecture",
    metavar="NAME",
    shell_complete=complete_architecture,
    help="The architecture; default: that of the plugin's default recipe.",
)
@click.option(
    "--recipe",
    "recipe_name",
    metavar="FILE|NAME",
    shell_complete=complete_recipe,
    help="A recipe file, or the name of a recipe of the plugin.",
)
@click.option("--data", metavar="PATH|NAME", help="A folder, file or archive, or the name of a dataset.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    shell_complete=complete_setting,
    help="Change a setting; may be repeated.",
)
@click.option(
    "--samples", type=click.IntRange(min=1, max=10**15), help="Length of the whole training, in real samples shown."
)
@click.option("--minutes", type=MINUTES, help="Stop after this many minutes at the latest.")
@click.option("--seed", type=click.IntRange(min=0, max=(1 << 63) - 1), help="The seed of all random numbers.")
@click.option(
    "--from",
    "start",
    metavar="RUN",
    help="Start from the weights of another run of this architecture, for other data or classes; alone: its recipe.",
)
@click.option(
    "--freeze",
    type=click.IntRange(min=0),
    metavar="N",
    help="With --from: freeze the first N layers of the discriminator.",
)
@click.option("--out", type=click.Path(path_type=Path), help="The run folder; default: a new folder in ./runs.")
@click.option(
    "--or-resume", is_flag=True, help="Continue the run in --out if it is there: one command to repeat for a scheduler."
)
@click.option("--device", metavar="NAME", help="The device: auto, cpu, cuda, mps …")
@click.option(
    "--dry-run", is_flag=True, help="Show the complete recipe, the parameter counts and the memory, and exit."
)
@provenance_flags
@click.option("--page", "live_page", is_flag=True, help=PAGE_HELP)
@click.option("--track", multiple=True, metavar="NAME", help=TRACK_HELP)
@click.option("--quiet", is_flag=True, help="Show warnings only.")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object per line, for programs.")
@click.pass_context
def run(
    ctx: click.Context,
    what: str | None,
    plugin: str | None,
    architecture: str | None,
    recipe_name: str | None,
    data: str | None,
    settings: tuple[str, ...],
    samples: int | None,
    minutes: float | None,
    seed: int | None,
    start: str | None,
    freeze: int | None,
    out: Path | None,
    or_resume: bool,
    device: str | None,
    dry_run: bool,
    mark: bool,
    no_metadata: bool,
    date: bool,
    c2pa: bool,
    live_page: bool,
    track: tuple[str, ...],
    quiet: bool,
    as_json: bool,
) -> None:
    """Train a recipe and write artefacts, plots, metrics and a model card to a run folder.

    \b
    gan run image                       the default recipe of a plugin, on its own data
    gan run image --data ./photos       on your data
    gan run runs/mine/recipe.yaml       a recipe file
    """
    if what is not None:
        is_file = what.endswith((".yaml", ".yml"))
        if plugin is not None or (is_file and recipe_name is not None):
            flag = "--recipe" if is_file and recipe_name is not None else "--plugin"
            raise UsageError(f"{what} and {flag} both say what is trained; leave one out")
        plugin, recipe_name = (None, what) if is_file else (what, recipe_name)
    if or_resume and out is None:
        raise UsageError("--or-resume needs --out, the folder in which the run is or will be")
    if freeze is not None and start is None:
        raise UsageError("--freeze needs --from, the run whose weights are kept")
    plugins = installed(ctx)
    values = _values(plugins, plugin, architecture, recipe_name, start)
    from gan.recipe import with_settings

    flags = {"data.source": data, "training.minutes": minutes, "seed": seed, "training.device": device}
    flags |= {"start.run": start, "start.freeze": freeze}
    choices = provenance_choices(mark=mark, no_metadata=no_metadata, date=date, c2pa=c2pa)
    flags |= {f"provenance.{name}": value for name, value in choices.items()}
    changes = [f"{key}={_yaml(value)}" for key, value in flags.items() if value is not None]
    values = with_settings(values, [*changes, *settings])
    if dry_run:
        _show_dry_run(values, plugins, samples, as_json)
        return
    from gan.cli.progress import choose_reporter

    others = _others(plugins, live_page, track)
    reporter = choose_reporter(quiet=quiet, as_json=as_json)

    def train() -> Result:
        with importing():
            from gan.training import session

        _warn_of_versions(recipe_name, reporter)
        return session.start(values, plugins, told, out=out, total=samples, or_resume=or_resume)

    told = _told(reporter, others)
    _report(reporter, told, train)


def _others(plugins: Any, live_page: bool, track: tuple[str, ...]) -> list[Reporter]:
    """What renews the run's page, and the trackers, where wanted; of several processes the first has them."""
    if os.environ.get("RANK", "0") != "0":
        return []
    trackers: list[Reporter] = [plugins.load(plugins.find("gan_trackers", name))() for name in track]
    if live_page:
        from gan.reporting.live_page import LivePage

        trackers.append(LivePage())
    return trackers


def _told(reporter: Reporter, others: list[Reporter]) -> Reporter:
    from gan.reporting.reporter import Several

    return Several([reporter, *others]) if others else reporter


def _report(reporter: Reporter, told: Reporter, train: Callable[[], Result]) -> None:
    """Train, close what was `told`, and show the summary where `reporter` is for people."""
    from gan.cli.progress import show_summary
    from gan.reporting.terminal import PlainReporter

    try:
        result = train()
    finally:
        told.close()
    if result.run != Path():  # which only the first of several processes has
        told.finished(result.summary())
        if isinstance(reporter, PlainReporter):
            show_summary(result.summary())


def _values(
    plugins: Any, plugin: str | None, architecture: str | None, recipe_name: str | None, start: str | None
) -> dict[str, Any]:
    if plugin is not None:
        plugins.require(plugin)  # before torch is imported, so that errors appear at once
    from gan import recipe as recipes
    from gan.build import recipe_values

    if recipe_name is not None and (recipe_name.endswith((".yaml", ".yml")) or Path(recipe_name).exists()):
        values = recipes.read_values(Path(recipe_name))
        if plugin is not None:
            values["plugin"] = plugin
        if architecture is not None:
            values["architecture"] = architecture
        return values
    if plugin is None and start is not None:
        return _values_of_run(Path(start))
    if plugin is None:
        names = [info.name for info in plugins.infos() if info.name != "builtin"]
        known = f" (installed: {', '.join(names)})" if names else "; none is installed: pip install gan-image"
        raise UsageError(f"name a plugin (--plugin) or a recipe file (--recipe): gan run image{known}")
    found: dict[str, Any] = recipe_values(plugins, plugin, architecture, recipe_name)
    return found


def _values_of_run(path: Path) -> dict[str, Any]:
    """The recipe of a run, for other data: without what it says of its own."""
    from gan.reporting.side_files import read_recipe
    from gan.storage.run_folder import RunFolder

    values = dict(read_recipe(RunFolder.open(path)))
    values["data"] = {name: value for name, value in values["data"].items() if name not in ("licence", "consent")}
    return {name: value for name, value in values.items() if name not in ("start", "card")}


def _warn_of_versions(recipe_name: str | None, reporter: Reporter) -> None:
    """Warn if a recipe from a run folder is repeated with other versions than those of that run."""
    from gan.reporting.manifest import changes, read_manifest

    file = Path(recipe_name).parent / "manifest.json" if recipe_name else None
    if file is not None and file.is_file():
        changed = changes(read_manifest(file))
        if changed:
            reporter.warn(f"versions have changed since that run, so numbers may differ: {', '.join(changed)}")


def _yaml(value: Any) -> str:
    import yaml

    text: str = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**6)
    return text.removesuffix("\n...\n").strip()


def _show_dry_run(values: dict[str, Any], plugins: Any, samples: int | None, as_json: bool) -> None:
    from gan import recipe as recipes
    from gan.training.dry_run import dry_run

    found = dry_run(values, plugins, total=samples)
    total = sum(found.memory.values())
    if as_json:
        from gan.cli.progress import print_json

        recipe = found.recipe.model_dump(mode="json")
        print_json({"recipe": recipe, "parameters": found.parameters, "memory": found.memory})
        return
    echo(recipes.dump(found.recipe), nl=False)
    echo()
    for name, spec in found.fields.items():
        echo(f"field {name}: {spec.shape} {spec.dtype}, {spec.low:g} … {spec.high:g}, {spec.unit}")
    for text in found.remarks:
        echo(text)
    for player, count in found.parameters.items():
        echo(f"player {player}: {count:,} parameters")
    purposes = ", ".join(f"{name} {size / 1e6:,.0f} MB" for name, size in found.memory.items())
    echo(f"memory: about {total / 1e6:,.0f} MB in addition to torch itself ({purposes})")


@click.command(epilog="Example: gan resume runs/music-framegan-0001")
@click.argument("run_folder", metavar="RUN", type=RUN)
@click.option("--minutes", type=MINUTES, help="Train so many minutes more, where a limit of time has ended the run.")
@click.option("--force", is_flag=True, help="Continue although the recipe, the data or a plugin has changed.")
@click.option("--page", "live_page", is_flag=True, help=PAGE_HELP)
@click.option("--track", multiple=True, metavar="NAME", help=TRACK_HELP)
@click.option("--quiet", is_flag=True, help="Show warnings only.")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object per line, for programs.")
@click.pass_context
def resume(
    ctx: click.Context,
    run_folder: Path,
    minutes: float | None,
    force: bool,
    live_page: bool,
    track: tuple[str, ...],
    quiet: bool,
    as_json: bool,
) -> None:
    """Continue from the newest good checkpoint of a run; nothing but the folder is needed."""
    plugins = installed(ctx)
    from gan.cli.progress import choose_reporter

    others = _others(plugins, live_page, track)
    reporter = choose_reporter(quiet=quiet, as_json=as_json)

    def train() -> Result:
        with importing():
            from gan.training import session

        return session.resume(run_folder, plugins, told, force=force, minutes=minutes)

    told = _told(reporter, others)
    _report(reporter, told, train)
