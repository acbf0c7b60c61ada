"""A light run: a run folder with tuned weights that refers to the run which they were tuned from.

It has the parent's recipe and what generation needs, and neither optimizers nor records: it can make samples and be
edited, and cannot be trained further.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gan.errors import UsageError
from gan.reporting.manifest import manifest_start, read_manifest
from gan.reporting.scrub import scrub
from gan.reporting.side_files import write_manifest_file
from gan.storage.checkpoint import Checkpoints
from gan.storage.run_folder import RunFolder

if TYPE_CHECKING:
    from gan.control.model import LatentModel


def save_tuned(parent: LatentModel, tuned: LatentModel, path: Path) -> Path:
    """Write a light run of a tuned model to an empty or new folder and return the path.

    Raises `UsageError` for a model that was not loaded from a run, and where the folder is occupied.
    """
    origin = parent.folder
    if origin is None:
        raise UsageError("a tuned model refers to the run that it was tuned from; load that with gan.load")
    run = RunFolder.create(path)
    for file in (origin.recipe, origin.facts, origin.conditions, origin.flags):
        if file.is_file():
            shutil.copyfile(file, run.path / file.name)
    before = read_manifest(origin.manifest) if origin.manifest.exists() else {}
    about: dict[str, Any] = {"recipe": before.get("recipe", {}), "settled": True, "draws": tuned.draws}
    Checkpoints(run.checkpoints).save(tuned.trained, {"architecture": tuned.architecture}, about)
    record = manifest_start(
        recipe=before.get("recipe", {}),
        distributions=before.get("versions", {}),
        data=before.get("data", {}),
        seed=before.get("seed", 0),
        device=str(tuned.device),
        precision="fp32",
    )
    end = {"ended": record["started"], "exit": "finished", "samples": tuned.trained}
    origin_of = scrub({"tuned_from": {"run": str(origin.path), "samples": tuned.trained}})
    write_manifest_file(run, {**record, **end, **origin_of}, anew=True)
    return run.path
