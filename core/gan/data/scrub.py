"""Scrub of the cache: read every pack, dataset and set of features again and name what is not what was written."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from gan.data.datasets import dataset_complaints
from gan.data.pack import Unsealed, read_about
from gan.storage.regular import Broken
from gan.storage.seal import broken_files, sealed_about

_KEY = re.compile(r"[0-9a-f]{64}")


@dataclass
class Scrub:
    """What was read, and what is wrong with it."""

    sound: list[str] = field(default_factory=list)
    """What is as it was written."""
    damaged: dict[str, str] = field(default_factory=dict)
    """Path -> what is wrong, and the remedy."""
    notes: dict[str, str] = field(default_factory=dict)
    """Path -> what the user may want to know although it is no damage."""

    def add(self, path: Path | str, complaints: list[str], remedy: str = "") -> None:
        """Record one thing with its complaints; none: it is sound."""
        if complaints:
            self.damaged[str(path)] = "; ".join(complaints) + (f". {remedy}" if remedy else "")
        else:
            self.sound.append(str(path))


def is_cache(folder: Path) -> bool:
    """Whether a folder is laid out as a cache of `gan`."""
    return any((folder / name).is_dir() for name in ("packs", "datasets", "features"))


def scrub_cache(cache: Path) -> Scrub:
    """Read all packs, datasets and features of a cache and compare them with their SHA-256. Nothing is removed."""
    found = Scrub()
    packs, datasets = cache / "packs", cache / "datasets"
    for folder in sorted(packs.iterdir()) if packs.is_dir() else ():
        if _KEY.fullmatch(folder.name):
            scrub_pack(folder, found)
    for folder in sorted(datasets.iterdir()) if datasets.is_dir() else ():
        if (folder / "dataset.json").is_file() and not folder.name.endswith(".tmp"):
            found.add(folder, dataset_complaints(folder, anew=True), "The next use makes it anew.")
    features = cache / "features"
    for folder in sorted(features.iterdir()) if features.is_dir() else ():
        if _KEY.fullmatch(folder.name):
            try:
                broken = broken_files(folder, sealed_about(folder / "features.json"))
            except Broken as error:
                broken = {"features.json": str(error).removeprefix("features.json ")}
            complaints = [f"{name} {reason}" for name, reason in broken.items()]
            found.add(folder, complaints, "The next evaluation makes them anew.")
    return found


def scrub_pack(folder: Path, found: Scrub) -> None:
    """Add one pack to a scrub."""
    try:
        broken = broken_files(folder, read_about(folder)["arrays"])
    except Unsealed:
        found.notes[str(folder)] = "an earlier version wrote it without a SHA-256; the next use makes it anew"
        return
    except (OSError, ValueError, KeyError, TypeError, Broken) as error:
        broken = {"pack.json": str(error).removeprefix("pack.json ")}
    complaints = [f"{name} {reason}" for name, reason in broken.items()]
    found.add(folder, complaints, "The next training on this data makes it anew.")
