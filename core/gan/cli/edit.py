"""The command `gan edit`: directions in the latent space of a run, found, listed and applied."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from gan.cli import loaded
from gan.cli.completion import RUN
from gan.cli.options import OfRun, checkpoint_flag, device_flag, flag_names, flags, json_flag, quiet_flag
from gan.cli.terminal import echo
from gan.errors import UsageError
from gan.generation.chosen import Flags, split_flags
from gan.plugins.models import refuse_packed

if TYPE_CHECKING:
    from gan.control.controlled import ControlledModel
    from gan.control.model import Latents

SEED = click.IntRange(0, (1 << 63) - 1)


@click.command(
    cls=OfRun,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    epilog="Example: gan edit runs/image-stylegan2-0001 --seed 3 --direction sefa-2 --strength -3:3",
)
@click.argument("run_folder", metavar="RUN", type=RUN)
@click.argument("what", metavar="[WHAT]", default="")
@click.option(
    "--find",
    "method",
    metavar="METHOD",
    help="Find directions and keep them with the run: sefa, ganspace, labels FOLDER (a subfolder of examples for each "
    "label), classifier NAME:CLASS (lenet5:7), score NAME,… or all (attributes such as brightness and density).",
)
@click.option("--name", default="", help="Name of the direction that is found; default: after the method or the score.")
@click.option(
    "--number", type=click.IntRange(1, 1000), default=10, show_default=True, help="Directions of sefa, ganspace."
)
@click.option(
    "--keep",
    default="",
    metavar="NAMES",
    help="Directions whose scores a new one must not change; each: the others of one search.",
)
@click.option(
    "--samples", type=click.IntRange(50, 10**6), default=2000, show_default=True, help="Latents that are measured."
)
@click.option("--extractor", default="", metavar="NAME", help="Features by which labelled examples are told apart.")
@click.option("--layers", default="", metavar="PARTS", help="Parts or layers that change: coarse, middle,fine or 4-7.")
@click.option("--direction", metavar="NAME", help="Edit along this direction: a name or its number in the list.")
@click.option(
    "--strength",
    default="-3:3",
    show_default=True,
    metavar="FROM:TO",
    help="One number, or a range from one to another, in standard deviations of the latents.",
)
@click.option("--toward", metavar="SCORE", help="Edit toward a higher score instead: NAME or EXTRACTOR:CLASS.")
@click.option("--away", is_flag=True, help="With --toward: a lower score.")
@click.option("--steps", type=click.IntRange(1, 10**4), help="Samples of the range (7), or steps of --toward (200).")
@click.option("--seed", type=SEED, multiple=True, help="Edit the first sample of a seed; repeatable. Default: 0.")
@click.option("--latents", "latents_path", type=click.Path(path_type=Path), help="Edit the latents in this file.")
@click.option("--film", type=click.Path(path_type=Path), help="Write the edit as a film: .gif, .webp, .mp4.")
@click.option("--rate", type=click.FloatRange(0.1, 240), default=12, show_default=True, help="Frames a second.")
@click.option("--save-latents", type=click.Path(path_type=Path), help="Write the edited latents to this file.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the files; default: RUN/samples/edit-….")
@checkpoint_flag
@device_flag
@json_flag
@quiet_flag
@click.pass_context
def edit(
    ctx: click.Context,
    /,
    run_folder: Path,
    what: str,
    method: str | None,
    direction: str | None,
    toward: str | None,
    checkpoint: str,
    device: str,
    as_json: bool,
    quiet: bool,
    **more: Any,
) -> None:
    """Find directions in the latent space of a run, list them, and edit samples along them.

    Without --find, --direction and --toward the directions of the run are listed. An edit writes a file for each
    strength and a contact sheet with a row for each sample.
    """
    further = list(ctx.args)
    if what.startswith("--"):
        what, further = "", [what, *further]
    refuse_packed(run_folder)
    model = loaded(ctx, run_folder, device, checkpoint)
    run_flags = split_flags(model, flags(further), flag_names(ctx))
    model.space(run_flags.options)
    chosen = [flag for flag, value in (("find", method), ("direction", direction), ("toward", toward)) if value]
    if len(chosen) > 1:
        raise UsageError(f"--{chosen[0]} and --{chosen[1]} do different things; leave one out")
    if what and not method:
        raise UsageError(f"'{what}' belongs to no flag; --find labels and --find score take one")
    if method:
        _find(model, method, what, run_flags, more, as_json, quiet)
    elif chosen:
        _edit(model, direction, toward, run_flags, run_folder, more, as_json, quiet)
    else:
        _list(model, as_json)


def _find(
    model: ControlledModel, method: str, what: str, run_flags: Flags, more: dict[str, Any], as_json: bool, quiet: bool
) -> None:
    from gan.control.directions import find

    method = {"classifier": "score", "attribute": "score"}.get(method, method)
    if method in ("labels", "score") and not what:
        raise UsageError(
            f"--find {method} needs {'a folder' if method == 'labels' else 'the name of a score'} behind it"
        )
    seeds = more["seed"]
    found = find(
        model,
        method,
        what,
        count=more["number"],
        layers=more["layers"],
        keep=[name.strip() for name in more["keep"].split(",") if name.strip()],
        samples=more["samples"],
        seed=seeds[0] if seeds else 0,
        name=more["name"],
        extractor=more["extractor"],
        options=run_flags.options,
    )
    if as_json:
        _print([each.described() for each in found])
    elif not quiet:
        for each in found:
            echo(_line(each))


def _list(model: ControlledModel, as_json: bool) -> None:
    found = model.directions.all()
    if as_json:
        _print([each.described() for each in found])
    elif not found:
        echo(f"no directions yet; {model.directions.hint}")
    else:
        for number, each in enumerate(found, 1):
            echo(f"{number:3}  {_line(each)}")


def _line(each: Any) -> str:
    parts = [f"{each.name:<20}", each.method]
    if each.explained is not None:
        kind = "of the score explained" if each.score else "of the variance"
        parts.append(f"{100 * each.explained:.1f} % {kind}")
    if each.effect is not None:
        parts.append(f"{each.effect:+.4g} a strength of 1")
    parts += [f"keeps {', '.join(each.kept)}"] if each.kept else []
    parts += [f"layers {each.layers}"] if each.layers else []
    return "  ".join(parts)


def strengths(text: str, steps: int | None) -> Any:
    """The numbers of ``2``, ``-3:3`` or ``-3…3``, `steps` of them (7). Raises `UsageError`."""
    parts = re.split(r":|…|\.\.\.?(?!\d*$)|\.\.", text)
    try:
        ends = [float(part) for part in parts]
    except ValueError:
        ends = []
    if not 1 <= len(ends) <= 2 or not all(abs(end) <= 1e4 for end in ends):
        raise UsageError(f"--strength {text}: write one number, or a range such as -3:3")
    return np.array(ends) if len(ends) == 1 else np.linspace(ends[0], ends[1], steps or 7)


def _edit(
    model: ControlledModel,
    direction: str | None,
    score: str | None,
    run_flags: Flags,
    run_folder: Path,
    more: dict[str, Any],
    as_json: bool,
    quiet: bool,
) -> None:
    from gan.control.latent_files import write_latents
    from gan.reporting.films import check_film, pictures_of, save_film, save_sheet

    if more["film"] is not None:
        check_film(more["film"])
    start = _start(model, run_flags, more)
    about: dict[str, Any] = {}
    if direction is not None:
        vector = model.directions[direction]
        name = model.directions.direction(direction).name
        if more["layers"]:
            vector = vector * model.mask(more["layers"])
        steps = strengths(more["strength"], more["steps"])
        rows = [start.values + float(each) * vector for each in steps]
        about["strengths"] = [float(each) for each in steps]
    else:
        from gan.control.toward import toward

        name = f"toward-{str(score).replace(':', '-')}"
        seed = more["seed"][0] if more["seed"] else 0
        found = toward(
            model, start, str(score), steps=more["steps"] or 200, downward=more["away"], seed=seed,
            options=run_flags.options,
        )  # fmt: skip
        rows = [each.values for each in found.way]
        about["scores"] = found.scores
    latents = _interleaved(start, rows)
    samples = model.decode(latents, options=run_flags.options)
    folder = more["out"] or run_folder / "samples" / f"edit-{name}"
    paths = model.write(samples, folder, prefix="edit", options=run_flags.output_options)
    pictures = pictures_of(model.modality, samples, run_flags.output_options)
    paths.append(save_sheet(pictures, len(rows), folder / "sheet.png"))
    if more["film"] is not None:
        there = pictures[: len(rows)]
        paths.append(save_film([*there, *there[-2:0:-1]], more["film"], rate=more["rate"]))
    if more["save_latents"] is not None:
        paths.append(write_latents(more["save_latents"], latents, model))
    if as_json:
        _print({"files": [str(path) for path in paths], **about})
    elif not quiet:
        if "scores" in about:
            for row in np.array(about["scores"]).T:
                echo(f"{score}: " + " ".join(f"{value:.4g}" for value in row))
        for path in paths:
            echo(path)


def _start(model: ControlledModel, run_flags: Flags, more: dict[str, Any]) -> Latents:
    """The latents that are edited."""
    if more["latents_path"] is not None:
        from gan.control.latent_files import read_latents

        if more["seed"]:
            raise UsageError("--seed and --latents both say what is edited; leave one out")
        return read_latents(more["latents_path"], model)
    from gan.control.paths import Path as LatentPath

    keys = [model.draw(1, seed, **run_flags.sampling) for seed in more["seed"] or (0,)]
    return LatentPath.through(model, keys).keys


def _interleaved(start: Latents, rows: list[Any]) -> Latents:
    """The edits of the first sample, then those of the second …"""
    import torch

    from gan.control.model import Latents

    values = torch.stack(rows, 1).flatten(0, 1)
    return Latents(values, {name: np.repeat(value, len(rows), 0) for name, value in start.given.items()})


def _print(value: Any) -> None:
    from gan.cli.progress import print_json

    print_json(value)
