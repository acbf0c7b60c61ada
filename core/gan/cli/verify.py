"""The command `gan verify`: is every byte of a run sound, and where do files come from."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gan.cli import installed
from gan.cli.options import json_flag
from gan.errors import BadData, CheckpointError, UsageError

if TYPE_CHECKING:
    from gan.contracts import Modality
    from gan.data.scrub import Scrub
    from gan.provenance.verification import FileReport, FolderReport, MarkLayer, Search

SHOWN = 20
"""Files of a folder that are printed one by one."""


@click.command(epilog="Example: gan verify runs/music-framegan-0001; gan verify picture.png --key alice.pub")
@click.argument("target", metavar="RUN|FILE|FOLDER", type=click.Path(path_type=Path))
@click.option(
    "--key",
    "keys",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A public key whose signatures count, or a key of marks; default: your own. Repeatable.",
)
@click.option("--run", "run_folder", type=click.Path(path_type=Path), metavar="RUN", help="The run that made a text.")
@click.option("--no-marks", is_flag=True, help="Do not look for invisible marks, which takes most of the time.")
@click.option("--quiet", is_flag=True, help="Print nothing; the exit code tells.")
@json_flag
@click.pass_context
def verify(
    ctx: click.Context,
    target: Path,
    keys: tuple[Path, ...],
    run_folder: Path | None,
    no_marks: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Verify a run, or where files come from.

    Of a RUN, everything that decides a result is read again (checkpoints, recipe, manifest, records, packed data) and
    compared with its SHA-256 when it was written; the exit code is 4 if anything is damaged. RUN may also be a cache;
    `gan data verify` does the same for your own.

    Of a FILE or the files of a FOLDER, the signed manifest, the metadata, C2PA and invisible marks are examined, each
    by itself. The exit code is 0 if all files say where they come from and nothing contradicts it, 1 if some say
    nothing, 3 if some were changed, swapped, damaged or signed with a key that is not named. Nothing is changed in any
    case.
    """
    from gan.data.scrub import is_cache, scrub_cache

    record = os.path.lexists(target / "manifest.json") and not os.path.lexists(target / "provenance.json")
    if os.path.lexists(target / "recipe.yaml") or record:
        from gan.training.scrub import scrub_run

        show(scrub_run(target), as_json)
        return
    if is_cache(target):
        show(scrub_cache(target), as_json)
        return
    if not os.path.lexists(target):
        raise UsageError(f"{target} does not exist; name a run folder, a file or a folder")
    from gan.cli.progress import progress_bar
    from gan.provenance import verification

    search = _search(ctx, target, keys, run_folder, marks=not no_marks)
    with progress_bar("verifying", hidden=quiet or as_json) as advance:
        report = verification.verify(target, search, advance)
    if as_json:
        from gan.cli.progress import print_json

        print_json(_document(report))
    elif not quiet:
        _print(report, alone=target.is_file())
    if report.exit_code == 3:
        wrong = [one.name for one in report.files if one.verdict == verification.CONTRADICTED]
        shown = ", ".join(wrong[:5]) + (f" and {len(wrong) - 5} more" if len(wrong) > 5 else "")
        raise BadData(
            f"{len(wrong)} of {len(report.files)} files are contradicted by their manifest or by themselves: {shown}",
            target,
        )
    ctx.exit(report.exit_code)


def _search(ctx: click.Context, target: Path, keys: tuple[Path, ...], run: Path | None, *, marks: bool) -> Search:
    """What is looked for with the keys that the user has and names."""
    from gan.provenance.keys import own_keys, read_key
    from gan.provenance.verification import Search

    own, secret = own_keys()
    named = [read_key(path) for path in keys]
    public = frozenset(key.public for key in named if key.public) or frozenset({own} - {""})
    secret = next((key.mark for key in named if key.mark), secret)
    if not marks:
        return Search(public, own)
    from gan.generation.labelling import made_mark

    plugins = installed(ctx)
    suffixes = _suffixes(target)
    fitting = [found for found in plugins.entries("gan_marks") if suffixes & set(found.entry.suffixes)]
    if not secret:
        return Search(public, own, without_key={found.entry.name: found.entry.suffixes for found in fitting})
    made = {found.entry.name: made_mark(plugins, found, secret) for found in fitting}
    needs = any(mark.needs_modality for mark in made.values())
    return Search(public, own, made, modality=_modality(plugins, target, run) if needs else None)


def _suffixes(target: Path) -> set[str]:
    if target.is_file():
        return {target.suffix.lower()}
    return {Path(name).suffix.lower() for _, _, names in os.walk(target) for name in names}


def _modality(plugins: Any, target: Path, run: Path | None) -> Modality | None:
    """The modality of the named run, or of the run in whose folder the target lies."""
    from gan.generation.loading import load_modality, resolve_run
    from gan.storage.run_folder import RunFolder

    above = [path for path in target.resolve().parents if (path / "recipe.yaml").is_file()]
    folder = run if run is not None else next(iter(above), None)
    if folder is None:
        return None
    opened = RunFolder.open(folder)
    return load_modality(opened, resolve_run(opened, plugins))


def _document(report: FolderReport) -> dict[str, Any]:
    together = {name: vars(mark) for name, mark in report.together().items()}
    return {
        "files": [one.to_json() for one in report.files],
        "manifests": report.manifests,
        "marks_together": together,
        "other": report.other,
        "exit_code": report.exit_code,
    }


def _print(report: FolderReport, *, alone: bool) -> None:
    from gan.cli.terminal import echo
    from gan.provenance.verification import SOUND

    if alone:
        _print_file(report.files[0])
        return
    for name, words in report.manifests.items():
        echo(f"{name}: {words}")
    verdicts = Counter(one.verdict for one in report.files)
    echo(
        f"{len(report.files):,} files: "
        + (", ".join(f"{count:,} {name}" for name, count in verdicts.items()) or "none")
    )
    odd = [one for one in report.files if one.verdict != SOUND or one.manifest.status == "unlisted"]
    odd = [
        one for one in odd if not any(one.manifest.text and one.manifest.text in w for w in report.manifests.values())
    ]
    for one in odd[:SHOWN]:
        echo(f"{one.name}: {one.reason}")
    if len(odd) > SHOWN:
        echo(f"and {len(odd) - SHOWN:,} more; --json lists all")
    all_marks = [mark for one in report.files for mark in one.marks]
    for name in sorted({mark.name for mark in all_marks}):
        marks = [mark for mark in all_marks if mark.name == name]
        searched = [mark for mark in marks if mark.z is not None]
        if not searched and any(mark.z is not None for mark in all_marks):
            continue  # one for another kind of file with these suffixes
        found = f"found in {sum(mark.found for mark in searched):,} of {len(searched):,} files"
        echo(f"mark {name}: {found if searched else marks[0].note}")
    for mark in report.together().values():
        echo(f"mark {mark.name} in all {mark.note} together: {_evidence(mark)}")
    if report.other:
        echo(f"{report.other:,} files of other kinds were not examined")


def _print_file(one: FileReport) -> None:
    from gan.cli.terminal import echo

    echo(f"  manifest  {_layer(one.manifest.status, one.manifest.text)}")
    unsigned = " (not signed: anybody can write or remove it)" if one.metadata.status == "present" else ""
    echo(f"  metadata  {_layer(one.metadata.status, one.metadata.text)}{unsigned}")
    if one.c2pa.status != "none":
        echo(f"  C2PA      {_layer(one.c2pa.status, one.c2pa.text)}")
    searched = any(mark.z is not None for mark in one.marks)
    for mark in one.marks:
        if searched and mark.z is None:
            continue  # one for another kind of file with this suffix
        echo(f"  mark      {mark.name}: {_evidence(mark)}")


def _layer(status: str, text: str) -> str:
    return f"{status}: {text}" if text else status


def _evidence(mark: MarkLayer) -> str:
    if mark.z is None or mark.p_value is None or mark.false_positive_rate is None or (mark.note and mark.p_value == 1):
        return mark.note
    found = "found" if mark.found else "not found"
    return (
        f"{found}, z = {mark.z:.1f}, p = {mark.p_value:.2g} "
        f"(threshold {mark.false_positive_rate:.0e}: it would be found in at most that share of unmarked files)"
    )


def show(found: Scrub, as_json: bool) -> None:
    """Print a scrub. Raises `CheckpointError` if anything is damaged."""
    from gan.cli.terminal import echo

    if as_json:
        from gan.cli.progress import print_json

        print_json(vars(found))
    else:
        for path in found.sound:
            echo(f"sound    {path}")
        for path, note in found.notes.items():
            echo(f"note     {path}: {note}")
        for path, complaint in found.damaged.items():
            echo(f"damaged  {path}: {complaint}")
    if found.damaged:
        number = len(found.damaged)
        raise CheckpointError(f"{number} of {number + len(found.sound)} are damaged: {', '.join(found.damaged)}")
