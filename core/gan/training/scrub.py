"""Scrub of a run folder: read everything that decides a result again and name what is not what was written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from gan.data.scrub import Scrub, scrub_pack
from gan.errors import CheckpointError, GanError
from gan.reporting import manifest
from gan.reporting.side_files import damaged_files, read_recipe, seals_of
from gan.storage.checkpoint import Checkpoints, verify
from gan.storage.durable import cache_folder
from gan.storage.run_folder import RunFolder


def scrub_run(path: Path) -> Scrub:
    """Read the checkpoints, the recipe, the manifest, the records and the side files of a run, and its packed data if
    they are in the cache. Nothing is changed."""
    found = Scrub()
    run = RunFolder(path)
    try:
        run.refuse_odd_files()
    except CheckpointError as error:
        found.damaged[str(path)] = str(error)
        return found
    record = _scrub_manifest(run, found)
    _scrub_recipe(run, record, found)
    newest = None
    for folder in (run.checkpoints, run.best):
        for checkpoint in Checkpoints(folder).all():
            try:
                verified = verify(checkpoint)
            except CheckpointError as error:
                found.damaged[str(checkpoint)] = _reason(error, checkpoint)
            else:
                found.add(checkpoint, [])
                newest = verified if folder == run.checkpoints else newest
    _scrub_records(run, newest.samples if newest else 0, newest.about.get("records") if newest else None, found)
    fingerprint = str(record.get("data", {}).get("fingerprint", ""))
    pack = cache_folder() / "packs" / fingerprint
    if fingerprint.isalnum() and pack.is_dir():
        scrub_pack(pack, found)
    return found


def _scrub_manifest(run: RunFolder, found: Scrub) -> dict[str, Any]:
    if not os.path.lexists(run.manifest):
        found.notes[str(run.manifest)] = "is missing: the other files cannot be compared with their seals"
        return {}
    try:
        record = manifest.read_manifest(run.manifest)
        damaged = damaged_files(run)
        sealed = seals_of(run)
    except CheckpointError as error:
        found.damaged[str(run.manifest)] = _reason(error, run.manifest)
        return {}
    found.add(run.manifest, [])
    if not sealed:
        found.notes[str(run.manifest)] = "an earlier version wrote it, without seals of the other files"
    for name in sealed:
        if name != run.recipe.name:
            found.add(run.path / name, [damaged[name]] if name in damaged else [])
    return record


def _scrub_recipe(run: RunFolder, record: dict[str, Any], found: Scrub) -> None:
    try:
        values = read_recipe(run)
        sealed = seals_of(run).get(run.recipe.name) if record else None
        changed = sealed is not None and run.recipe.name in damaged_files(run)
    except GanError as error:
        found.damaged[str(run.recipe)] = _reason(error, run.recipe)
        return
    before = record.get("recipe")
    keys = manifest.differences(before, values) if changed and isinstance(before, dict) else []
    found.add(run.recipe, [f"was changed since it was written: {'; '.join(keys[:5])}"] if changed else [])


def _scrub_records(run: RunFolder, samples: int, expected: object, found: Scrub) -> None:
    if not os.path.lexists(run.metrics) and not expected:
        return
    try:
        complaint = run.metrics_complaint(samples, expected if isinstance(expected, dict) else None)
    except CheckpointError as error:
        complaint = _reason(error, run.metrics)
    found.add(run.metrics, [complaint] if complaint else [])


def _reason(error: Exception, path: Path) -> str:
    return str(error).removeprefix(f"{path}: ").removeprefix("damaged: ")
