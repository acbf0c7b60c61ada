"""The files beside the checkpoints of a run, read with care: a run folder may be damaged, or somebody else's.

The manifest holds the size and the SHA-256 of those that decide a result (`SEALED`). Each is compared with them before
it is used; runs of earlier versions have no seals, and their files are only checked for their form. Nothing is read
through a link, from a pipe or a device, or beyond a limit of size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gan import recipe as recipes
from gan.contracts import MetricValue, value_from_json
from gan.errors import CheckpointError, UsageError
from gan.reporting.manifest import read_manifest
from gan.storage.durable import dump_json, write_text
from gan.storage.regular import Broken, read_json, read_regular
from gan.storage.run_folder import RunFolder
from gan.storage.seal import broken_files, is_seal, seal, sealed_text

SEALED = ("recipe.yaml", "modality.json", "conditions.json", "evaluation/untrained.json", "evaluation/result.json")
"""Files that the manifest seals, relative to the run folder."""


def write_manifest_file(run: RunFolder, record: Mapping[str, Any], *, anew: bool = False) -> None:
    """Write the manifest with a seal of its own, and with those of the files that it does not seal yet.

    With `anew`, all files are sealed as they are now: after they were verified or written.
    """
    before = {} if anew else dict(record.get("sealed", {}))
    found = [name for name in SEALED if name not in before and (run.path / name).is_file()]
    record = {**record, "sealed": {**before, **seal(run.path, found)}}
    write_text(run.manifest, sealed_text(dump_json(record, indent=2)))


def seals_of(run: RunFolder) -> dict[str, dict[str, Any]]:
    """The seals in the manifest; empty for a run without a manifest or of an earlier version.

    Raises `CheckpointError` if the manifest is damaged.
    """
    if not run.manifest.exists():
        return {}
    found: dict[str, dict[str, Any]] = read_manifest(run.manifest).get("sealed", {})
    if not is_seal(found):
        raise CheckpointError(f"{run.manifest}: damaged: its list of sealed files has another form")
    return found


def damaged_files(run: RunFolder) -> dict[str, str]:
    """Name -> reason of every sealed file that is missing or not what was written."""
    return broken_files(run.path, seals_of(run))


def read_side_file(run: RunFolder, path: Path, remedy: str) -> Any:
    """The JSON value in a file of a run. Raises `CheckpointError` with the path, the reason and the remedy."""
    try:
        content = read_regular(path, None)
        expected = seals_of(run).get(path.relative_to(run.path).as_posix())
        if expected is not None and hashlib.sha256(content).hexdigest() != expected["sha256"]:
            raise Broken(f"{path.name} is not what was written (its SHA-256 differs)")
        return read_json(content, path.name)
    except Broken as error:
        raise CheckpointError(f"{path}: damaged: {error}. {remedy}") from error


def read_recipe(run: RunFolder) -> dict[str, Any]:
    """The values in the recipe of a run, not yet validated. Raises `CheckpointError`."""
    remedy = f"Restore it: {run.manifest} has the same values"
    try:
        text = read_regular(run.recipe, None, limit=recipes.MAX_RECIPE_BYTES).decode("utf-8")
        values = recipes.parse_yaml(text, run.recipe.name)
    except (Broken, UsageError, UnicodeDecodeError, RecursionError) as error:
        raise CheckpointError(f"{run.recipe}: damaged: {error}. {remedy}") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{run.recipe}: damaged: a recipe must be a mapping of keys to values. {remedy}")
    return values


def read_values(run: RunFolder, path: Path, remedy: str) -> list[MetricValue]:
    """A list of metric values in a file of a run. Raises `CheckpointError`."""
    try:
        return [value_from_json(value) for value in read_side_file(run, path, remedy)]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path}: damaged: it is no list of metric values. {remedy}") from error
