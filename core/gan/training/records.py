"""What a run records about itself, in its manifest and its checkpoints, and the comparison when it is resumed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gan.build import ResolvedRecipe
from gan.data.pack import Pack
from gan.errors import CheckpointError
from gan.recipe import Card, Provenance
from gan.reporting import manifest
from gan.reporting.reporter import Reporter
from gan.reporting.scrub import scrub
from gan.reporting.side_files import write_manifest_file
from gan.runtime.device import Device
from gan.storage.checkpoint import Checkpoint
from gan.storage.run_folder import RunFolder

MAY_CHANGE = (
    "records",  # of this checkpoint alone
    "health",
    "recipe.data.source",  # the content of the data matters, not its location
    "recipe.start.run",
    "recipe.data.licence",
    "recipe.data.consent",
    "recipe.provenance",
    "recipe.card",
    "recipe.evaluation",
    "recipe.training.minutes",
    "recipe.training.device",
    "recipe.training.checkpoint_ticks",
    "recipe.training.keep_checkpoints",
    "recipe.training.preview_ticks",
    "recipe.training.watch",  # a run that collapses may be continued with `act`
    "recipe.training.watch_features",
)
"""Keys that may differ when a run is resumed, because they do not change what is trained, or from now on only."""


def describe(resolved: ResolvedRecipe, pack: Pack) -> dict[str, Any]:
    """The description in every checkpoint; it must be the same, but for `MAY_CHANGE`, to resume from it."""
    return {
        "architecture": resolved.title,
        "recipe": resolved.recipe.model_dump(mode="json"),
        "data": {**_data(pack), "skipped": len(pack.skipped)},
        "distributions": dict(resolved.distributions),
    }


def completed(recipe: Mapping[str, Any]) -> Mapping[str, Any]:
    """A recorded recipe with what earlier versions did not have, at its defaults."""
    if not recipe:
        return recipe
    new: dict[str, Any] = {
        "augmentations": [],
        "start": None,
        "provenance": Provenance().model_dump(mode="json"),
        "card": Card().model_dump(mode="json"),
    }
    training = {"draws": "auto", "watch": "warn", "watch_features": "raw"}
    data = {"licence": "", "consent": "", **recipe.get("data", {})}
    codes = recipe.get("codes") and {"invariance": 0.0, "augmentation": None, **recipe["codes"]}
    trained = {"data": data, "codes": codes, "training": {**training, **recipe.get("training", {})}}
    return {**new, **recipe, **trained}


def _data(pack: Pack) -> dict[str, Any]:
    return {"fingerprint": pack.fingerprint, "samples": pack.count, "files": len(pack.files)}


def write_manifest(
    run: RunFolder,
    resolved: ResolvedRecipe,
    pack: Pack,
    device: Device,
    resumed_from: int | None,
    reporter: Reporter,
    asked: Mapping[str, Any] | None = None,
    started_from: Mapping[str, Any] | None = None,
    length: Mapping[str, int] | None = None,
) -> None:
    """Write the manifest of a new run, or add an entry when the run continues from `resumed_from` samples.

    `asked` is what a new run was asked to do, before its recipe was completed, `started_from` the run whose weights it
    has taken (`gan.training.transfer.lineage`), and `length` the real samples of the whole ``recipe`` and those
    ``asked`` for. The side files are sealed as they are.
    """
    recipe = resolved.recipe
    if not run.manifest.exists():
        record = manifest.manifest_start(
            recipe=recipe.model_dump(mode="json"),
            distributions=resolved.distributions,
            data={"source": recipe.data.source, **_data(pack), "skipped": pack.skipped},
            seed=recipe.seed,
            device=device.name,
            precision=device.precision,
            processes=device.world_size,
        )
        if asked is not None:
            record["asked"] = dict(scrub(asked))
        if started_from is not None:
            record["started_from"] = dict(scrub(started_from))
        record["length"] = dict(length or {})
        write_manifest_file(run, record, anew=True)
    elif resumed_from is not None:
        record = manifest.read_manifest(run.manifest)
        changed = manifest.changes(record, resolved.distributions)
        if changed:
            reporter.warn(f"versions have changed, so numbers may differ: {', '.join(changed)}")
        record = manifest.manifest_resumed(record, samples=resumed_from, distributions=resolved.distributions)
        write_manifest_file(run, record, anew=True)


def check_unchanged(checkpoint: Checkpoint, about: Mapping[str, Any], force: bool, reporter: Reporter) -> None:
    """Raise `CheckpointError` if `about` differs from the description in a checkpoint; with `force`, warn."""
    before = {**checkpoint.about, "recipe": completed(checkpoint.about.get("recipe", {}))}
    found = manifest.differences(before, about, ignore=MAY_CHANGE)
    if not found:
        return
    shown = "; ".join(found[:5]) + (f"; and {len(found) - 5} more" if len(found) > 5 else "")
    if not force:
        raise CheckpointError(
            f"{checkpoint.path}: this run was trained with something else: {shown}. "
            "Undo the change, or continue anyway with --force"
        )
    reporter.warn(f"continuing although something changed: {shown}")
