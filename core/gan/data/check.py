"""Check a dataset before training: which files would be used, and which skipped and why. Nothing is written."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gan.contracts import Modality
from gan.data.foreign import survey
from gan.data.pack import Progress
from gan.data.rows import grouped, read_files, windows_of
from gan.source import list_source


@dataclass
class Check:
    """What a training would use of a dataset."""

    used: dict[str, int]
    """File name -> number of samples, in the order of the pack."""
    skipped: dict[str, str]
    """File name -> reason."""
    other: int
    """Number of files with other endings."""
    inventory: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Item of `Modality.inventory` -> (number of files with it, total count), most frequent first."""

    @property
    def samples(self) -> int:
        """Number of samples in all files."""
        return sum(self.used.values())


def check_source(source: Path, modality_class: type[Modality], config: Any, progress: Progress | None = None) -> Check:
    """Read a source as `open_pack` does, without keeping anything."""
    listing = list_source(source, modality_class.suffixes)
    check = Check({}, dict(listing.skipped), listing.other)
    if not listing.files:
        return check
    facts, exceeded = survey(modality_class(config), listing.files)
    check.skipped |= exceeded
    usable = [file for file in listing.files if file.name not in exceeded]
    modality = modality_class(config, facts)
    held: dict[str, tuple[int, int]] = {}
    windows = windows_of(grouped(modality.fields))
    for done, (file, found) in enumerate(read_files(modality, usable, check=True), 1):
        if found.reason is not None:
            check.skipped[file.name] = found.reason
        else:
            for name, count in found.inventory.items():
                files, total = held.get(name, (0, 0))
                held[name] = (files + 1, total + count)
            check.used[file.name] = found.count(windows)
        if progress:
            progress(done, len(usable))
    check.inventory.update(sorted(held.items(), key=lambda item: (-item[1][0], -item[1][1], item[0])))
    return check
