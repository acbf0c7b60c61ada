"""The command `gan project`: put a picture, a phrase, a sound of one's own into the latent space of a run."""

from __future__ import annotations

from pathlib import Path

import click

from gan.cli import loaded
from gan.cli.completion import RUN
from gan.cli.options import OfRun, checkpoint_flag, device_flag, flag_names, flags, json_flag, quiet_flag
from gan.cli.terminal import echo
from gan.errors import UsageError
from gan.generation.chosen import split_flags
from gan.plugins.models import refuse_packed


@click.command(
    cls=OfRun,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    epilog="Example: gan project runs/image-stylegan2-0001 me.png --tune 350",
)
@click.argument("run_folder", metavar="RUN", type=RUN)
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.option(
    "--space", default="", metavar="SPACE", help="w: one style; w+: one for each layer, after w; z: without styles."
)
@click.option("--steps", type=click.IntRange(1, 10**6), default=400, show_default=True, help="Steps of each stage.")
@click.option(
    "--tune",
    type=click.IntRange(0, 10**6),
    default=0,
    show_default=True,
    help="Steps of tuning the generator to the file, 350 for example; it becomes a run of its own. 0: none.",
)
@click.option(
    "--distance",
    default="",
    metavar="EXTRACTOR",
    help="What samples are compared by, NAME or NAME=WEIGHTS; default: a perceptual one where its weights are at hand, "
    "else the numbers, differences of neighbours and the discriminator's features.",
)
@click.option(
    "--item", type=click.IntRange(min=0), default=0, show_default=True, help="Which sample of a file with several."
)
@click.option("--seed", type=click.IntRange(0, (1 << 63) - 1), default=0, show_default=True, help="Random seed.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the results; default: RUN/projections/FILE.")
@checkpoint_flag
@device_flag
@json_flag
@quiet_flag
@click.pass_context
def project(
    ctx: click.Context,
    run_folder: Path,
    file: Path,
    space: str,
    steps: int,
    tune: int,
    distance: str,
    item: int,
    seed: int,
    out: Path | None,
    checkpoint: str,
    device: str,
    as_json: bool,
    quiet: bool,
) -> None:
    """Find latents whose sample is like FILE, and write them with the sample and a picture of the way.

    The latents can be edited and mixed: gan edit RUN --latents FILE, gan generate RUN --latents FILE. With --tune, the
    generator is tuned to the file as well, in a light run OUT/tuned that refers to RUN and can do everything but train.
    """
    refuse_packed(run_folder)
    model = loaded(ctx, run_folder, device, checkpoint)
    run_flags = split_flags(model, flags(ctx.args), flag_names(ctx))
    if run_flags.input_options:
        raise UsageError(f"--{next(iter(run_flags.input_options))} is for inputs of gan generate; leave it out")
    from gan.control.projection import project as find
    from gan.control.projection import save_projection

    folder = out or run_folder / "projections" / (file.stem or "input")
    if tune and (folder / "tuned").exists():
        raise UsageError(f"{folder / 'tuned'} is there already; choose another --out")
    found = find(
        model,
        file,
        steps=steps,
        space=space,
        tune=tune,
        distance=distance,
        seed=seed,
        index=item,
        **run_flags.sampling,
    )
    paths = save_projection(model, found, folder)
    if as_json:
        from gan.cli.progress import print_json

        print_json({"files": [str(p) for p in paths], "likeness": found.likeness, "compared": found.compared})
    elif not quiet:
        for stage, values in found.likeness.items():
            echo(
                f"{stage}: " + ", ".join(f"{name} {value:.4g}{_UNITS.get(name, '')}" for name, value in values.items())
            )
        for path in paths:
            echo(path)


_UNITS = {"psnr": " dB"}
