"""Cuts scores into phrases: notes are placed on the grid, passages in the right meter are found and cut into rolls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from gan.errors import BadData

from gan_music import rolls
from gan_music.config import MusicConfig, fills
from gan_music.grid import Grid
from gan_music.key import estimate_key, shift_to
from gan_music.reading import Score
from gan_music.tracks import assign

Array = np.ndarray[Any, Any]


class PhraseCutter:
    """Turns scores into rolls ``(track, bar, step, pitch)`` as the configuration says."""

    def __init__(self, config: MusicConfig) -> None:
        self.config = config
        self.grid = Grid.of(config)

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
        notes = self.on_grid(score, chosen)
        home = self.shift_to_c(score) if config.normalize_key else 0
        found: list[Array] = []
        passages = self.passages(score)
        end = int(rolls.to_steps(np.array(score.end), score.division, grid.steps_per_beat))
        short = end < grid.bars * grid.steps
        for first, last in passages:
            if last - first >= grid.bars * grid.steps or short:
                found += self._cut(self.roll(notes, first, last))
        if not found:
            raise BadData(self.why_none(score, passages))
        if 0 < config.phrases_per_file < len(found):
            picked = np.linspace(0, len(found) - 1, config.phrases_per_file).round().astype(int)
            found = [found[index] for index in picked]
        for phrase in found:
            for shift in config.transpose:
                yield rolls.transpose(phrase, home + shift, grid.pitched)

    def on_grid(self, score: Score, chosen: Sequence[int | None]) -> Array:
        """``(n, 4)``: track, first step, step after the last, row of the roll; pitches are folded or dropped."""
        config, parts = self.config, []
        for part, track in zip(score.parts, chosen):
            if track is None or not len(part.notes):
                continue
            start, end = (rolls.to_steps(part.notes[:, c], score.division, config.steps_per_beat) for c in (0, 1))
            drums = self.grid.tracks[track].drums
            end = start + 1 if drums else np.maximum(end, start + 1)
            row = part.notes[:, 2] - config.lowest
            inside = (row >= 0) & (row < config.pitches)
            if config.outside == "fold" and not drums:
                row = np.where(row < 0, row % 12, np.where(inside, row, config.pitches - 12 + row % 12))
                inside = np.ones_like(inside)
            if config.min_length and not drums:
                ticks = part.notes[:, 1] - part.notes[:, 0]
                inside &= ticks * config.steps_per_beat >= config.min_length * score.division
            parts.append(np.stack([np.full_like(start, track), start, end, row], axis=1)[inside])
        notes = np.concatenate(parts) if parts else np.zeros((0, 4), np.int64)
        return rolls.separated(notes)

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
            begin, end = (int(rolls.to_steps(np.array(t), score.division, per_beat)) for t in (tick, after))
            same_bars = found and found[-1][1] == begin and (begin - found[-1][0]) % steps == 0
            if same_bars:  # a time signature repeated where a bar begins anyway
                found[-1] = (found[-1][0], end)
            elif end > begin:
                found.append((begin, end))
        return found

    def _accepts(self, meter: tuple[int, int]) -> bool:
        wanted = self.grid.meter
        return meter == wanted or (not self.config.exact_meter and fills(meter, wanted))

    def roll(self, notes: Array, first: int, last: int) -> Array:
        """``(track, bar, step, pitch)`` of one passage; the last bar is padded with silence."""
        tracks, _, steps, pitches = self.grid.shape
        bars = -(-(last - first) // steps)
        roll = np.zeros((tracks, bars * steps, pitches), bool)
        here = notes[(notes[:, 1] < last) & (notes[:, 2] > first)]
        start = np.maximum(here[:, 1] - first, 0)
        length = np.minimum(here[:, 2], last) - first - start
        cell = (here[:, 0] * (bars * steps) + start) * pitches + here[:, 3]
        within = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
        roll.reshape(-1)[np.repeat(cell, length) + within * pitches] = True
        return roll.reshape(tracks, bars, steps, pitches)

    def _cut(self, roll: Array) -> list[Array]:
        """The phrases of a passage.

        A piece shorter than a phrase is padded with silence. (Short passages of longer pieces, such as an upbeat, were
        dropped before.) In a longer one, silent bars at the beginning and bars at the end that fill no phrase are left
        out.
        """
        bars, total = self.grid.bars, roll.shape[1]
        if total <= bars:
            short = np.zeros((roll.shape[0], bars, *roll.shape[2:]), bool)
            short[:, :total] = roll
            roll, starts = short, range(1)
        counts = rolls.Counts.of(roll)
        if total > bars:
            starts = range(counts.first_bar(), total - bars + 1, self.config.stride or bars)
        return [
            roll[:, start : start + bars]
            for start in starts
            if counts.tracks(start, start + bars) >= self.config.min_tracks
            and counts.notes(start, start + bars) >= self.config.min_notes
        ]

    def shift_to_c(self, score: Score) -> int:
        """The shift in semitones that brings a piece to C major or A minor."""
        chroma = np.zeros(12)
        for part in score.parts:
            if not part.drums:
                np.add.at(chroma, part.notes[:, 2] % 12, part.notes[:, 1] - part.notes[:, 0])
        root, minor, _ = estimate_key(chroma)
        return shift_to(root, 9 if minor else 0)

    def why_none(self, score: Score, passages: Sequence[tuple[int, int]]) -> str:
        """The reason that a piece has no phrase, for an error message."""
        config = self.config
        if not passages:
            meters = sorted({f"{above}/{below}" for _, above, below in score.meters} or {"4/4"})
            return f"no passage in {config.meter} (its bars are in {', '.join(meters)[:60]})"
        return f"no {config.bars} bars with {config.min_notes} notes in {config.min_tracks} tracks"
