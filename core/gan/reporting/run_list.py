"""What the runs of a folder are: plugin, state, progress, best number, size; and what of them can be removed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gan.errors import CheckpointError, GanError
from gan.reporting.manifest import read_manifest
from gan.reporting.side_files import read_recipe
from gan.reporting.tables import shown
from gan.storage.regular import Broken, read_json, read_regular
from gan.storage.run_folder import RunFolder


@dataclass(frozen=True)
class RunInfo:
    """A run folder in a list."""

    path: Path
    title: str
    """Plugin and architecture."""
    state: str
    """``training``, ``finished``, ``stopped``, ``failed: …``, ``interrupted`` (its process was killed), ``tuned``,
    ``packed`` or ``damaged: …``."""
    samples: int
    """Real samples shown, by its records."""
    share: float | None
    """Of the length that was asked for; None: not known."""
    verdict: str
    """The kind of its verdict; empty where there is none."""
    best: str
    """The first of the numbers that matter most, ``"FID[raw] 12.3"``."""
    size: int
    """Bytes."""


def runs_in(folder: Path) -> list[RunInfo]:
    """The runs that lie directly in `folder`, by name."""
    found = sorted(path.parent for path in folder.glob("*/recipe.yaml"))
    return [describe(path) for path in found]


def describe(path: Path) -> RunInfo:
    """What a run folder is; one that is damaged says so."""
    run = RunFolder(path)
    size = sum(file.lstat().st_size for file in path.rglob("*") if not file.is_symlink() and file.is_file())
    try:
        recipe = read_recipe(run)
        manifest = read_manifest(run.manifest) if run.manifest.exists() else {}
        records = run.read_metrics()
    except (GanError, OSError) as error:
        reason = str(error).removeprefix(f"{path}/")
        return RunInfo(path, "", f"damaged: {reason.splitlines()[0][:60]}", 0, None, "", "", size)
    told = manifest.get("samples")
    samples = max((record["samples"] for record in records), default=told if isinstance(told, int) else 0)
    asked = (manifest.get("length") or {}).get("asked") or recipe.get("training", {}).get("samples")
    share = min(1.0, samples / asked) if isinstance(asked, int) and asked else None
    result = _result(run)
    return RunInfo(
        path,
        f"{recipe.get('plugin')}/{recipe.get('architecture')}",
        _state(run, manifest),
        samples,
        share,
        str((result.get("verdict") or {}).get("kind", "")),
        _best(result),
        size,
    )


def _state(run: RunFolder, manifest: dict[str, Any]) -> str:
    for key, state in (("tuned_from", "tuned"), ("packed_from", "packed")):
        if key in manifest:
            return state
    ended = manifest.get("exit")
    if ended is None:
        return "training" if run.in_use() else "interrupted"
    ended = str(ended)
    if ended == "finished":
        return "finished"
    return "stopped" if ended.startswith("stopped") else f"failed: {ended}"[:60]


def _result(run: RunFolder) -> dict[str, Any]:
    try:
        found = read_json(read_regular(run.result, None), run.result.name)
        return found if isinstance(found, dict) else {}
    except (Broken, CheckpointError, OSError):
        return {}


def _best(result: dict[str, Any]) -> str:
    numbers = result.get("headline") or [n for n in result.get("metrics") or () if n.get("direction") != "real"]
    return f"{numbers[0]['name']} {shown(numbers[0]['value'])}" if numbers else ""


def removable(infos: list[RunInfo], *, checkpoints: bool) -> Iterator[tuple[Path, int, str]]:
    """(path, bytes, reason) of what nobody needs: runs that trained nothing and, with `checkpoints`, all but the newest
    checkpoint of finished runs. Runs that train are left alone."""
    for info in infos:
        if info.state.startswith(("training", "tuned", "packed", "damaged")):
            continue
        if not info.samples:
            yield info.path, info.size, f"{info.state}, and nothing was trained"
        elif checkpoints and info.state == "finished":
            for path in sorted((info.path / "checkpoints").glob("samples-*"))[:-1]:
                size = sum(file.lstat().st_size for file in path.rglob("*"))
                yield path, size, "an earlier checkpoint of a finished run"


def remove(path: Path) -> None:
    """Remove a run, under its lock, or a checkpoint, under that of its run. Raises `RunLocked` if it is in use."""
    run = RunFolder(path if (path / "recipe.yaml").is_file() else path.parent.parent)
    with run.lock():
        shutil.rmtree(path)
