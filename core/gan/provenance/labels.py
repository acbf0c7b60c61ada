"""Labels: what happens to every file that a model writes, whatever its kind of data.

The record goes into the file's own container, or into ``NAME.provenance.json`` beside it where the format has no place
for one; the file is listed in the signed manifest of its folder.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gan.contracts import Mark, Modality
from gan.provenance.containers import embed, format_of
from gan.provenance.folder import Listing
from gan.provenance.record import SOFTWARE, canonical, record_of
from gan.source import PROVENANCE, SourceFile


@dataclass(frozen=True)
class Labels:
    """How the files of one model are labelled. ``replace(labels, metadata=False)`` gives other choices."""

    origin: Mapping[str, Any] = field(default_factory=dict)
    """What made the files: ``model``, ``plugin``, ``weights``, ``recipe`` (`gan.provenance.record`)."""
    metadata: bool = True
    """Whether the record is put into the files or beside them. The manifest always has it."""
    mark: Mark | None = None
    """The invisible mark, or None."""
    mark_name: str = ""
    c2pa: bool = False
    """Whether files also get a C2PA manifest (`gan.provenance.c2pa`), where it knows their format."""

    def dated(self) -> Labels:
        """With the date of today (UTC); files then differ from those of another day."""
        return replace(self, origin={**self.origin, "date": datetime.now(UTC).date().isoformat()})

    def embedded(self, content: bytes, suffix: str, facts: Mapping[str, Any]) -> bytes:
        """The content of a file with its record; unchanged where the format has no place, or none is wanted."""
        record = canonical(record_of(self.origin, facts))
        return (embed(content, suffix, record, SOFTWARE) if self.metadata else None) or content

    @contextlib.contextmanager
    def listing(self, folder: Path) -> Iterator[Listing]:
        """Collect the files written to `folder` in the block, and list them in its manifest at the end."""
        listing = Listing(folder)
        try:
            yield listing
        finally:
            listing.write()

    @contextlib.contextmanager
    def marking(self, modality: Modality) -> Iterator[None]:
        """Let `modality` mark what it writes in the block."""
        before = modality.mark
        modality.mark = self.mark
        try:
            yield
        finally:
            modality.mark = before

    def label(
        self, aside: Path, place: Path, facts: Mapping[str, Any], listing: Listing, *, marked: bool = True
    ) -> None:
        """Label the file `aside`, which will be moved to `place`, and list it; `marked`: it has the mark, if any."""
        stated = {}
        if marked and self.mark is not None and place.suffix.lower() in self.mark.suffixes:
            stated["mark"] = self.mark_name
        record = record_of({**self.origin, **stated}, facts)
        content = aside.read_bytes()
        if self.metadata:
            labelled = self._labelled(content, place.suffix.lower(), record)
            if labelled is None:
                self._sidecar(aside, place, content, record)
            else:
                content = labelled
                with open(aside, "r+b") as file:  # over what is there: truncating it first takes twice the time
                    file.write(content)
                    file.truncate()
        listing.add(place, content, record, metadata=self.metadata)

    def _labelled(self, content: bytes, suffix: str, record: Mapping[str, Any]) -> bytes | None:
        """The content with the record, and with a C2PA manifest if it is wanted; None where there is no place."""
        labelled = embed(content, suffix, canonical(record), SOFTWARE)
        if labelled is None or not self.c2pa:
            return labelled
        from gan.provenance.c2pa import with_manifest

        return with_manifest(labelled, format_of(labelled, suffix), record)

    def _sidecar(self, aside: Path, place: Path, content: bytes, record: Mapping[str, Any]) -> None:
        beside = {"file": place.name, "sha256": hashlib.sha256(content).hexdigest(), "record": record}
        aside.with_name(f"{aside.name}.{PROVENANCE}").write_text(canonical(beside) + "\n", encoding="ascii")


def input_hash(file: SourceFile) -> str:
    """The SHA-256 of an input file, for the record of what is made from it."""
    return hashlib.sha256(file.data()).hexdigest()
