"""The command `gan translate`: apply a trained image-to-image or other input-conditional model to files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import click

from gan.cli import loaded
from gan.cli.completion import RUN
from gan.cli.options import OfRun, device_flag, flag_names, flags, provenance_choices, provenance_flags
from gan.cli.terminal import echo
from gan.errors import BadData, UsageError
from gan.generation.chosen import Flags, split_flags

if TYPE_CHECKING:
    from gan.generation.model import Model


@click.command(
    cls=OfRun,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    epilog="Example: gan translate runs/image-cyclegan-0001 --input photos --out paintings --direction ab",
)
@click.argument("run_folder", metavar="RUN", type=RUN)
@click.option("--input", "source", required=True, type=click.Path(path_type=Path), help="A folder, archive or file.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for the translations.")
@click.option(
    "--seed",
    type=click.IntRange(min=0, max=(1 << 63) - 1),
    default=0,
    show_default=True,
    help="Random seed; the same seed gives the same files.",
)
@device_flag
@provenance_flags
@click.option("--quiet", is_flag=True, help="Print only warnings and errors.")
@click.option("--json", "as_json", is_flag=True, help="Print the files as one JSON document.")
@click.pass_context
def translate(
    ctx: click.Context,
    run_folder: Path,
    source: Path,
    out: Path,
    seed: int,
    device: str,
    mark: bool,
    no_metadata: bool,
    date: bool,
    c2pa: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Translate files with a trained run; outputs keep the names and sizes of the inputs.

    Further flags are the options of the run's architecture and modality, for example --direction ba;
    `gan translate RUN --help` lists them. Files that cannot be read are skipped with a warning.
    """
    if out.resolve() == (source if source.is_dir() else source.parent).resolve():
        raise UsageError(f"--out {out} is the folder of the input; name another one")
    choices = provenance_choices(mark=mark, no_metadata=no_metadata, date=date, c2pa=c2pa)
    from gan.cli.progress import progress_bar

    model = loaded(ctx, run_folder, device, provenance=choices)
    run_flags = split_flags(model, flags(ctx.args), flag_names(ctx))
    written: list[Path] = []
    skipped: dict[str, str] = {}
    with progress_bar("translating", hidden=quiet or as_json) as advance:
        for paths in translated(model, source, out, run_flags, seed, skipped, advance):
            written += paths
    for name, reason in skipped.items():
        echo(f"warning: {name}: {reason}", err=True)
    if not written:
        raise BadData(f"none of {len(skipped)} files could be translated", source)
    if as_json:
        from gan.cli.progress import print_json

        print_json({"artefacts": [str(path) for path in written], "skipped": skipped})
    elif not quiet:
        echo(f"{len(written)} files in {out}" + (f", {len(skipped)} skipped" if skipped else ""))


def translated(
    model: Model,
    source: Path,
    out: Path,
    run_flags: Flags,
    seed: int,
    skipped: dict[str, str],
    advance: Callable[[int, int], None],
) -> Iterator[list[Path]]:
    """Translate the files of `source` in order and yield the files written for each.

    Files that cannot be read, or do not fit the options, are added to `skipped` with the reason. `advance(done, total)`
    is called after every file.
    """
    from gan.source import list_source

    given = model.given(run_flags.options, run_flags.input_options)
    listing = list_source(source, model.modality.suffixes)
    skipped.update(listing.skipped)
    if not listing.files and not skipped:
        raise BadData(f"no file with a known ending ({', '.join(model.modality.suffixes)})", source)
    stems = _stems([file.name for file in listing.files])
    position = 0
    with model.labels.listing(out) as written:
        for done, file in enumerate(listing.files, 1):
            try:
                paths, _ = model.render(
                    file,
                    out / stems[file.name],
                    given,
                    seed,
                    index=position,
                    output_options=run_flags.output_options,
                    listing=written,
                    **run_flags.sampling,
                )
            except BadData as error:
                skipped[file.name] = error.reason
            except UsageError as error:
                skipped[file.name] = str(error)
            else:
                position += 1
                yield paths
            advance(done, len(listing.files))


def _stems(names: list[str]) -> dict[str, str]:
    """Name -> name without its ending; the ending is kept in another form where two names would be equal."""
    short = {name: str(PurePosixPath(name).with_suffix("")) for name in names}
    counts = Counter(short.values())
    return {
        name: f"{stem}-{PurePosixPath(name).suffix[1:].lower()}" if counts[stem] > 1 else stem
        for name, stem in short.items()
    }
