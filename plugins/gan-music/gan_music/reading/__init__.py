"""Reads files of notes (MIDI, MusicXML, ABC, JSON) as scores."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gan_music.reading.midi import read_midi
from gan_music.reading.score import Part, Score

if TYPE_CHECKING:
    from gan.source import SourceFile

__all__ = ["Part", "Score", "read_midi", "read_score"]


def read_score(file: SourceFile) -> Iterator[Score]:
    """The pieces of one file: one in a MIDI file, possibly many in a collection. Raises `BadData`."""
    if file.suffix in (".mid", ".midi", ".kar"):
        yield read_midi(file.data())
    else:
        from gan_music.reading.notation import read_notation

        yield from read_notation(file)
