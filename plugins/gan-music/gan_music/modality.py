"""The music modality: files of notes become piano rolls ``(track, bar, step, pitch)``, and rolls become MIDI files.

The representation is MuseGAN's (Dong et al. 2018, section 4; methods of its three releases): a few bars of one meter,
a fixed number of steps per beat, one row per pitch, and tracks by families of instruments.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from gan import contracts
from gan.errors import BadData
from pydantic import BaseModel

from gan_music import attributes, rolls
from gan_music.config import MusicConfig, MusicGivenOptions, MusicOptions
from gan_music.phrases import PhraseCutter
from gan_music.reading import Score, read_score
from gan_music.tracks import assign
from gan_music.velocities import Velocities, summary

if TYPE_CHECKING:
    from gan.contracts import Given, Sample, Samples
    from gan.source import SourceFile
    from PIL import Image


KEPT_PIECES = 32
"""Files that `Music` keeps between `inventory` and `read`; a worker of `gan data check` has one at a time."""


def _state(file: SourceFile) -> tuple[object, ...]:
    """What changes when the content of a file does."""
    status = file.path.stat()
    return (file.name, file.path, file.member, status.st_size, status.st_mtime_ns)


class Music(contracts.Modality):
    """Piano rolls of a few bars and several tracks."""

    Config = MusicConfig
    Options = MusicOptions
    GivenOptions = MusicGivenOptions
    whole_input = "accompany"
    conditions = {
        "density": "modality.attributes=[density]",
        "register": "modality.attributes=[register]",
    }
    suffixes = (".mid", ".midi", ".kar", ".musicxml", ".mxl", ".xml", ".abc", ".json")
    metrics = ("music-statistics", "fid[phrases]")
    headline = ("FID", "notes-per-bar", "scale-consistency", "pitch-class-entropy", "groove-consistency")

    def __init__(self, config: BaseModel, facts: Mapping[str, Any] | None = None) -> None:
        super().__init__(config, facts)
        self.cutter = PhraseCutter(self.config)
        self.grid = self.cutter.grid
        self.tracks = self.grid.tracks
        self.velocities = Velocities(self.facts.get("velocities"))
        self._counted: dict[tuple[object, ...], list[Score]] = {}
        """Pieces that `inventory` has read and `read` will want next, so that each file is parsed once."""

    @property
    def fields(self) -> dict[str, contracts.FieldSpec]:
        """``roll``: ``(tracks, bars, steps of a bar, pitches)``, true where a note sounds (drums: where one is
        struck). With the setting `onsets` also ``onset``, the same shape, true where a note begins."""
        names = tuple(track.name for track in self.tracks)

        def roll(unit: str) -> contracts.FieldSpec:
            return contracts.FieldSpec(self.grid.shape, "bool", 0, 1, unit, longer=True, longer_axis=1, names=names)

        marked = {"onset": roll("note begins")} if self.config.onsets else {}
        conditions = {name: attributes.field(name, self.grid) for name in self.config.attributes}
        return {"roll": roll("note on"), **marked, **conditions}

    # reading

    def survey(self, files: Sequence[SourceFile]) -> dict[str, Any]:
        """How loudly notes are struck, if the settings ask for it; unreadable files are reported by `read`."""
        if not self.config.velocities:
            return {}
        found: list[list[np.ndarray[Any, Any]]] = [[] for _ in self.tracks]
        for file in files:
            with suppress(BadData):
                for score in read_score(file):
                    for track, notes in self.cutter.struck(score):
                        found[track].append(notes)
        measured = {
            track.name: summary(np.concatenate(notes), self.grid.steps, track.drums)
            for track, notes in zip(self.tracks, found)
            if notes
        }
        return {"velocities": measured}

    def read(self, file: SourceFile) -> Iterator[Sample]:
        """The phrases of one file, in order. Raises `BadData` when there are none."""
        for piece in self._counted.pop(_state(file), None) or read_score(file):
            yield from self.phrases(piece)

    def inventory(self, file: SourceFile) -> dict[str, int]:
        """Number of notes by instrument, with its General MIDI name and the track that it is assigned to."""
        import pretty_midi

        found: dict[str, int] = {}
        pieces = list(read_score(file))
        if len(self._counted) < KEPT_PIECES:
            self._counted[_state(file)] = pieces
        for piece in pieces:
            for part, track in zip(piece.parts, assign(piece.parts, self.tracks)):
                name = "drums" if part.drums else pretty_midi.program_to_instrument_name(part.program).lower()
                goes = "left out" if track is None else f"track {self.tracks[track].name}"
                key = f"notes of {name} ({goes})" if part.drums else f"notes of {name}, program {part.program} ({goes})"
                found[key] = found.get(key, 0) + len(part.notes)
        return {key: count for key, count in found.items() if count}

    def phrases(self, score: Score) -> Iterator[Sample]:
        """The phrases of a piece with their attributes. Raises `BadData` when there are none."""
        for roll in self.cutter.phrases(score):
            values = {name: attributes.ATTRIBUTES[name](roll, self.grid) for name in self.config.attributes}
            yield {**rolls.fields_of(roll), **{name: np.asarray(value, np.float32) for name, value in values.items()}}

    # conditions and accompaniment

    def read_condition(self, name: str, text: str) -> float:
        """A number of notes per bar, or a pitch as a MIDI number or a note (C4)."""
        return attributes.parse_pitch(text) if name == "register" else super().read_condition(name, text)

    def read_given(self, file: SourceFile, given: Given) -> Iterator[Sample]:
        """All bars of a piece as consecutive phrases in which only the given tracks play.

        Phrases are transposed to the key of the training data where `normalize_key` is set. The last phrase ends with
        the piece.
        """
        from gan_music.piece import Piece

        yield from Piece.read(self.cutter, file, given).phrases()

    def write_like(
        self, samples: Sequence[Sample], stem: Path, like: SourceFile, given: Given, options: BaseModel | None = None
    ) -> list[Path]:
        """One MIDI file: the given tracks with the notes, tempo and meter of their file, and the composed ones."""
        from gan_music.piece import Piece

        chosen = options if isinstance(options, MusicOptions) else MusicOptions()
        piece = Piece.read(self.cutter, like, given)
        made = [rolls.joined(sample) for sample in samples]
        return [self._save(piece.midi_bytes(made, chosen, self.velocities), stem, chosen)]

    # writing

    def write(self, sample: Sample, stem: Path, options: BaseModel | None = None) -> Path:
        """A Standard MIDI File of format 1, 480 ticks per quarter note, one track per instrument.

        The same sample always gives the same bytes.
        """
        from gan_music.writing.midi import midi_bytes

        chosen = options if isinstance(options, MusicOptions) else MusicOptions()
        roll = rolls.joined(sample)
        return self._save(midi_bytes(self.grid, roll, chosen, self.config.tempo, self.velocities), stem, chosen)

    def _save(self, content: bytes, stem: Path, chosen: MusicOptions) -> Path:
        content = self.marked(content)
        path = stem.with_name(stem.name + ".mid")
        path.write_bytes(content)
        if chosen.render != "none":
            from gan_music.writing.audio import render

            render(content, path.with_suffix(f".{chosen.render}"))
        return path

    def preview(self, samples: Samples) -> Image.Image:
        """Piano rolls with time to the right and pitch upwards, one color per track, drums below, a line at every
        bar."""
        from gan_music.writing.picture import draw

        return draw(rolls.joined(samples), self.tracks)

    def show(self, file: SourceFile, link: str, folder: Path) -> str:
        """An animated piano roll, an audio player and a line of statistics, as HTML."""
        from gan_music.writing.page import player

        return player(file, folder, self.grid, self.config.tempo, self.read)
