"""Cuts scores into phrases: notes are placed on the grid, passages in the right meter are found and cut into rolls."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from gan.errors import BadData

from gan_music import rolls
from gan_music.beats import aligned
from gan_music.config import MusicConfig, fills, quarters
from gan_music.grid import Grid
from gan_music.key import estimate_key, shift_to
from gan_music.reading import Score
from gan_music.tracks import assign

Array = np.ndarray[Any, Any]
Columns = tuple[Array, ...]
"""Arrays ``(n,)`` int64 that describe n notes."""

DRAWN = 1 << 23
"""About how many bytes of rolls are made at once; a long piece is never in memory whole."""


class PhraseCutter:
    """Turns scores into rolls ``(track, bar, step, pitch)`` as the configuration says."""

    def __init__(self, config: MusicConfig) -> None:
        self.config = config
        self.grid = Grid.of(config)
        self.pitched = self.grid.pitched

    def phrases(self, score: Score) -> Iterator[Array]:
        """The phrases of a piece. Raises `BadData` when it has none."""
        config, grid = self.config, self.grid
        chosen = assign(score.parts, grid.tracks)
        if all(track is None for track in chosen):
            programs = sorted({"drums" if part.drums else str(part.program) for part in score.parts})
            names = ", ".join(track.name for track in grid.tracks)
            raise BadData(
                f"none of its instruments (programs {', '.join(programs)[:60]}) belongs to the tracks {names}"
            )
        score, _ = self.on_beats(score)
        notes = self.on_grid(score, chosen)
        home = self.shift_to_c(score) if config.normalize_key else 0
        passages = self.passages(score)
        length = grid.bars * grid.steps
        short = rolls.to_steps(score.end, score.division, grid.steps_per_beat) < length
        parts, count = [], 0
        for first, last in passages:
            if last - first >= length or short:
                (phrase, *rest), more = self._cut(notes, first, last)
                parts.append((phrase + count, *rest))
                count += more
        if not count:
            raise BadData(self.why_none(score, passages))
        cut = parts[0] if len(parts) == 1 else tuple(np.concatenate(columns) for columns in zip(*parts))
        picked = np.arange(count)
        if 0 < config.phrases_per_file < count:
            picked = np.linspace(0, count - 1, config.phrases_per_file).round().astype(int)
        at_once = max(1, DRAWN // math.prod(grid.shape) // len(config.transpose))
        for at in range(0, len(picked), at_once):
            block = picked[at : at + at_once]
            some = cut if len(block) == count else _chosen(cut, block, count)
            drawn = [self._drawn(len(block), self._shifted(some, home + shift)) for shift in config.transpose]
            for moved in zip(*drawn):
                yield from moved

    def on_beats(self, score: Score) -> tuple[Score, int]:
        """The piece with its bars where the setting `align` has them, and by how many ticks it was moved later."""
        return aligned(score, quarters(self.grid.meter)) if self.config.align else (score, 0)

    def _shifted(self, cut: Columns, shift: int) -> Columns:
        """Notes of `_cut` as `rolls.transpose` moves them."""
        if not shift:
            return cut
        *others, row = cut
        moved = rolls.shifted_rows(self.grid.pitches, shift)[row]
        return (*others, np.where(self.pitched[cut[1]], moved, row))

    def _drawn(self, count: int, cut: Columns) -> Array:
        """``(phrase, track, bar, step, pitch)`` of the notes of `_cut`."""
        return rolls.drawn((count, *self.grid.shape), *cut, begins=self.config.onsets)

    def struck(self, score: Score) -> Iterator[tuple[int, Array]]:
        """(track, its notes ``(n, 3)``: step of the bar, pitch, velocity) of the parts of a piece, in bars of the right
        meter."""
        score, _ = self.on_beats(score)
        passages = self.passages(score)
        for part, track in zip(score.parts, assign(score.parts, self.grid.tracks)):
            if track is None or not len(part.notes):
                continue
            starts = rolls.to_steps(part.notes[:, 0], score.division, self.grid.steps_per_beat)
            for first, last in passages:
                inside = (starts >= first) & (starts < last)
                if not inside.any():
                    continue
                steps = (starts[inside] - first) % self.grid.steps
                yield track, np.column_stack([steps, part.notes[inside, 2:4]])

    def on_grid(self, score: Score, chosen: Sequence[int | None]) -> Columns:
        """Track, first step, step after the last and row of the roll of each note; pitches are folded or dropped."""
        config = self.config
        playing = [(p.notes, t) for p, t in zip(score.parts, chosen) if t is not None and len(p.notes)]
        if not playing:
            return (np.zeros(0, np.int64),) * 4
        notes = np.concatenate([found.T for found, _ in playing], axis=1)
        track = np.repeat([number for _, number in playing], [len(found) for found, _ in playing])
        start, end = rolls.to_steps(notes[:2], score.division, config.steps_per_beat)
        end = np.maximum(end, start + 1)
        row = notes[2] - config.lowest
        drums = None if self.pitched.all() else ~self.pitched[track]
        if drums is not None:
            end = np.where(drums, start + 1, end)
        kept = row.view(np.uint64) < config.pitches  # a negative number is a very large one
        if config.outside == "fold" and not kept.all():
            folded = np.where(row < 0, row % 12, config.pitches - 12 + row % 12)
            row = np.where(kept if drums is None else kept | drums, row, folded)
            kept |= True if drums is None else ~drums
        if config.min_length:
            long = (notes[1] - notes[0]) * config.steps_per_beat >= config.min_length * score.division
            kept &= long if drums is None else drums | long
        if not kept.all():
            track, start, end, row = track[kept], start[kept], end[kept], row[kept]
        return rolls.separated(track, start, end, row, rest=0 if config.onsets else 1)

    def passages(self, score: Score) -> list[tuple[int, int]]:
        """(first step, step after the last sounding bar) of each stretch whose bars have the right meter."""
        steps, per_beat, last = self.grid.steps, self.grid.steps_per_beat, score.end
        changes = [change for change in score.meters if change[0] < last]
        if not changes or changes[0][0] > 0:
            changes.insert(0, (0, 4, 4))
        found: list[tuple[int, int]] = []
        for (tick, above, below), after in zip(changes, [*(c[0] for c in changes[1:]), last]):
            if after <= tick or not self._accepts((above, below)):
                continue
            begin, end = (rolls.to_steps(t, score.division, per_beat) for t in (tick, after))
            same_bars = found and found[-1][1] == begin and (begin - found[-1][0]) % steps == 0
            if same_bars:  # a time signature repeated where a bar begins anyway
                found[-1] = (found[-1][0], end)
            elif end > begin:
                found.append((begin, end))
        return found

    def _accepts(self, meter: tuple[int, int]) -> bool:
        wanted = self.grid.meter
        return meter == wanted or (not self.config.exact_meter and fills(meter, wanted))

    def roll(self, notes: Columns, first: int, last: int) -> Array:
        """``(track, bar, step, pitch)`` of one passage; the last bar is padded with silence."""
        tracks, _, steps, pitches = self.grid.shape
        shape = (1, tracks, -(-(last - first) // steps), steps, pitches)
        track, *others = _between(notes, first, last)
        drawn: Array = rolls.drawn(shape, np.zeros_like(track), track, *others, begins=self.config.onsets)[0]
        return drawn

    def _cut(self, notes: Columns, first: int, last: int) -> tuple[Columns, int]:
        """The notes of the phrases of a passage, and the number of phrases.

        The columns are phrase, track, first step, step after the last and row; a note that sounds in several phrases
        is in each. A piece shorter than a phrase is padded with silence. (Short passages of longer pieces, such as an
        upbeat, were dropped before.) In a longer one, silent bars at the beginning and bars at the end that fill no
        phrase are left out.
        """
        config, (tracks, bars, steps, _) = self.config, self.grid.shape
        track, start, end, row = _between(notes, first, last)
        count, length, hop = 1, bars * steps, (config.stride or bars) * steps
        total = -(-(last - first) // steps) * steps
        if total > length:
            silent = max(int(start.min(initial=total)), 0) // steps * steps % total
            if silent:
                start, end = start - silent, end - silent
            count = max((total - length - silent) // hop + 1, 0)
        lowest = np.maximum((start - length) // hop + 1, 0)
        highest = np.minimum((end - 1) // hop, count - 1)
        times = np.maximum(highest - lowest + 1, 0)
        note = np.arange(len(times)).repeat(times)
        phrase = np.arange(len(note)) - (times.cumsum() - times - lowest)[note]
        place = phrase * tracks + track[note]
        if config.min_notes > 1:  # in a roll, notes that touch are one, or with onsets those that begin together
            touches = np.zeros(len(times), bool)
            until = start[:-1] if config.onsets else end[:-1]
            touches[1:] = (track[1:] == track[:-1]) & (row[1:] == row[:-1]) & (start[1:] <= until)
            place = place[~touches[note] | (phrase > np.roll(highest, 1)[note])]
        sounding = np.bincount(place, minlength=count * tracks).reshape(count, tracks)
        kept = np.count_nonzero(sounding, axis=1) >= config.min_tracks
        kept &= sounding.sum(axis=1) >= config.min_notes
        begin = phrase * hop
        cut = phrase, track[note], start[note] - begin, np.minimum(end[note] - begin, length), row[note]
        if kept.all():
            return cut, count
        return _chosen(cut, np.flatnonzero(kept), count), int(kept.sum())

    def shift_to_c(self, score: Score) -> int:
        """The shift in semitones that brings a piece to C major or A minor."""
        chroma = np.zeros(12)
        for part in score.parts:
            if not part.drums:
                lengths = part.notes[:, 1] - part.notes[:, 0]
                chroma += np.bincount(part.notes[:, 2] % 12, lengths, minlength=12)
        root, minor, _ = estimate_key(chroma)
        return shift_to(root, 9 if minor else 0)

    def why_none(self, score: Score, passages: Sequence[tuple[int, int]]) -> str:
        """The reason that a piece has no phrase, for an error message."""
        config = self.config
        if not passages:
            meters = sorted({f"{above}/{below}" for _, above, below in score.meters} or {"4/4"})
            return f"no passage in {config.meter} (its bars are in {', '.join(meters)[:60]})"
        return f"no {config.bars} bars with {config.min_notes} notes in {config.min_tracks} tracks"


def _between(notes: Columns, first: int, last: int) -> Columns:
    """The notes that sound in steps ``first`` … ``last - 1``, counted from `first`; some begin before it."""
    track, start, end, row = notes
    if first == 0 and int(end.max(initial=0)) <= last:
        return notes
    inside = (start < last) & (end > first)
    return track[inside], start[inside] - first, np.minimum(end[inside], last) - first, row[inside]


def _chosen(cut: Columns, phrases: Array, count: int) -> Columns:
    """The notes of some of the `count` phrases of `PhraseCutter._cut`, which are numbered anew."""
    number = np.full(count, -1)
    number[phrases] = np.arange(len(phrases))
    phrase = number[cut[0]]
    inside = phrase >= 0
    return (phrase[inside], *(column[inside] for column in cut[1:]))
