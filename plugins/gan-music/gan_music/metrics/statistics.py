"""Metrics of music: the statistics that MuseGAN reports (Dong et al. 2018, section 6.2) and common ones since.

All functions take rolls ``(N, track, bar, step, pitch)``, with marked onsets or without (`gan_music.rolls`), and are
vectorised over phrases. Definitions differ between releases and libraries, so each function states its own. Two known
defects of the released code are not repeated: its pitch classes were groups of neighbouring pitches (p // 7; here p mod
12), and its rate of empty bars was that of the other bars.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from gan.contracts import MetricValue, Modality, Samples

from gan_music.attributes import ATTRIBUTES
from gan_music.grid import Grid, grid_of
from gan_music.key import key_correlations
from gan_music.rolls import joined, onsets

Array = np.ndarray[Any, Any]

SCALES = np.array([np.roll([1, 0, 1, 0, 1, 1, 0, 1, 0, 1, 0, 1], root) for root in range(12)])
"""The twelve major scales by pitch class; each is also a natural minor scale, so these cover all 24 keys."""

_N = np.arange(12)
TONNETZ = np.stack(
    [
        np.sin(_N * 7 * np.pi / 6), np.cos(_N * 7 * np.pi / 6),
        np.sin(_N * 3 * np.pi / 2), np.cos(_N * 3 * np.pi / 2),
        0.5 * np.sin(_N * 2 * np.pi / 3), 0.5 * np.cos(_N * 2 * np.pi / 3),
    ]
)  # fmt: skip
"""``(6, 12)``: circles of fifths, minor thirds and major thirds (Harte, Sandler, Gasser 2006)."""


def sounding_bars(rolls: Array) -> Array:
    """``(N, track, bar)``: whether anything sounds."""
    return np.asarray(rolls.any(axis=(3, 4)))


def used_pitches(rolls: Array) -> Array:
    """``(N, track, bar)``: number of distinct pitches."""
    count: Array = rolls.any(axis=3).sum(axis=3)
    return count


def used_pitch_classes(rolls: Array, lowest: int = 0) -> Array:
    """``(N, track, bar)``: number of distinct pitch classes, p mod 12."""
    used = np.asarray(rolls.any(axis=3))
    count: Array = _classes(used, lowest).any(axis=-1).sum(axis=-1)
    return count


def _classes(pitches: Array, lowest: int) -> Array:
    """``(…, pitch) -> (…, 12, octave)``, pitch class C first."""
    octaves = pitches.shape[-1] // 12
    folded = pitches.reshape(*pitches.shape[:-1], octaves, 12).swapaxes(-1, -2)
    return np.roll(folded, lowest % 12, axis=-2)


def qualified_notes(rolls: Array, at_least: int | None = None) -> tuple[Array, Array]:
    """``(N, track)`` twice: the number of notes of at least `at_least` steps, and the number of all notes.

    By default `at_least` is a 32nd of a bar, rounded up (the paper: 3 of 96 steps). A note may cross bar lines.
    """
    steps = rolls.shape[3]
    wanted = -(-steps // 32) if at_least is None else at_least
    line = rolls.reshape(*rolls.shape[:2], -1, rolls.shape[-1])
    starts = onsets(rolls).reshape(line.shape)
    long = starts.copy()
    for later in range(1, wanted):
        long[:, :, :-later] &= (line[:, :, later:] > 0) & ~starts[:, :, later:]
        long[:, :, -later:] = False
    return long.sum(axis=(2, 3)), starts.sum(axis=(2, 3))


def polyphony(rolls: Array, at_least: int = 2) -> Array:
    """``(N, track, bar)``: share of the steps at which `at_least` pitches sound (the paper: two; its third release:
    three)."""
    share: Array = ((rolls > 0).sum(axis=4) >= at_least).mean(axis=3)
    return share


def chroma(rolls: Array, steps: int, lowest: int = 0) -> Array:
    """``(N, track, beat, 12)``: sounding cells of each pitch class in each `steps` steps (a beat); C first."""
    count, tracks, bars, per_bar, pitches = rolls.shape
    beats = (rolls > 0).reshape(count, tracks, bars * per_bar // steps, steps, pitches).sum(axis=3, dtype=np.int32)
    counts: Array = _classes(beats, lowest).sum(axis=-1)
    return counts


def scale_consistency(of_phrases: Array) -> Array:
    """``(…, 12)`` chroma -> ``(…)``: the largest share of sounding time inside one major or natural minor scale; NaN
    for silence."""
    inside = (of_phrases @ SCALES.T).max(axis=-1)
    return _ratio(inside, of_phrases.sum(axis=-1))


def pitch_class_entropy(of_phrases: Array) -> Array:
    """``(…, 12)`` chroma -> ``(…)`` in bits, 0 … log2 12; NaN for silence."""
    total = of_phrases.sum(axis=-1, keepdims=True)
    share = _ratio(of_phrases, total)
    logs = np.log2(share, out=np.zeros_like(share), where=share > 0)
    return np.where(total[..., 0] > 0, -(share * logs).sum(axis=-1), np.nan)


def tonal_distance(a: Array, b: Array) -> Array:
    """``(N, beat, 12)`` chroma of two tracks -> ``(N,)``: mean distance between their tonal centroids over the beats
    in which both sound."""
    both = (a.sum(axis=-1) > 0) & (b.sum(axis=-1) > 0)
    centres = [_ratio(c, c.sum(axis=-1, keepdims=True)) @ TONNETZ.T for c in (a, b)]  # NaN for silence
    distance = np.linalg.norm(centres[0] - centres[1], axis=-1)
    return _ratio(np.where(both, distance, 0).sum(axis=1), both.sum(axis=1))


_DRUM_MASKS = {
    96: ([1, 0.3, 0, 0, 0, 0.3], 16), 48: ([1, 0.1, 0.1], 16), 24: ([1, 0.1, 0.1], 8), 72: ([1, 0.1, 0, 0, 0, 0.1], 12),
    36: ([1, 0.1, 0.1], 12), 64: ([1, 0.1, 0, 0.1], 16), 32: ([1, 0.1], 16), 16: ([1, 0.1], 8),
}  # fmt: skip


def drum_pattern(track: Array) -> Array | None:
    """``(N, bar, step, pitch)`` of a drum track -> ``(N,)``: share of the hits on a grid of eighths or sixteenths.

    Hits beside the grid count little; NaN without hits. At 96 steps the grid may start at any of its first six steps
    (the paper); at other resolutions it lies on the beat (the third release). None at a resolution for which no grid is
    published.
    """
    steps = track.shape[2]
    if steps not in _DRUM_MASKS:
        return None
    cell, times = _DRUM_MASKS[steps]
    mask = np.tile(cell, times)
    hits = onsets(track[:, None])[:, 0].sum(axis=(1, 3))
    masks = [np.roll(mask, turn) for turn in range(6)] if steps == 96 else [mask]
    return _ratio(np.max([hits @ m for m in masks], axis=0), hits.sum(axis=1))


def groove_consistency(rolls: Array) -> Array:
    """``(N,)``: 1 minus the mean share of steps at which exactly one of two neighbouring bars has an onset (Wu and
    Yang 2020); NaN for one bar."""
    starts = np.asarray(onsets(rolls).any(axis=(1, 4)))
    if starts.shape[1] < 2:
        return np.full(len(rolls), np.nan)
    differing: Array = (starts[:, 1:] != starts[:, :-1]).mean(axis=(1, 2))
    return 1 - differing


def _ratio(above: Array, below: Array) -> Array:
    """Division that gives NaN where `below` is 0."""
    above, below = np.broadcast_arrays(np.asarray(above, float), np.asarray(below, float))
    quotient: Array = np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)
    return quotient


Table = dict[str, tuple[float, float]]
"""Name of a statistic -> (value, its standard error)."""


def statistics(rolls: Array, grid: Grid) -> Table:
    """Every statistic of a set of phrases, in the order of the table; NaN where nothing could be measured.

    Silent bars count only for the rate of empty bars.
    """
    lowest, per_beat = grid.lowest, grid.steps_per_beat
    table: Table = {}
    sounding = rolls > 0
    sounds = sounding_bars(rolls)
    rows: dict[str, Array] = {
        "empty-bars": (~sounds).astype(float),
        "pitches": np.where(sounds, used_pitches(rolls), np.nan),
        "pitch-classes": np.where(sounds, used_pitch_classes(rolls, lowest), np.nan),
        "polyphony": np.where(sounds, polyphony(rolls), np.nan),
    }
    good, notes = qualified_notes(rolls)
    pitched = [index for index, track in enumerate(grid.tracks) if not track.drums]
    for name, values in rows.items():
        for index, track in enumerate(grid.tracks):
            if name in ("empty-bars", "pitches") or not track.drums:
                table[f"{name}/{track.name}"] = _mean(values[:, index].reshape(len(rolls), -1))
    for index in pitched:
        share = _ratio(good[:, index].sum(), notes[:, index].sum())
        table[f"qualified-notes/{grid.tracks[index].name}"] = (
            float(share),
            _share_error(float(share), int(notes[:, index].sum())),
        )
    for index, track in enumerate(grid.tracks):
        length = _ratio(sounding[:, index].sum(), notes[:, index].sum() * per_beat)
        if not track.drums:
            table[f"note-length/{track.name}"] = (float(length), float("nan"))
        elif (pattern := drum_pattern(rolls[:, index])) is not None:
            table[f"drum-pattern/{track.name}"] = _mean(pattern)
    by_beat = chroma(rolls[:, pitched], per_beat if rolls.shape[3] % per_beat == 0 else rolls.shape[3], lowest)
    for first in range(len(pitched)):
        for second in range(first + 1, len(pitched)):
            names = f"{grid.tracks[pitched[first]].name}-{grid.tracks[pitched[second]].name}"
            table[f"tonal-distance/{names}"] = _mean(tonal_distance(by_beat[:, first], by_beat[:, second]))
    together = by_beat.sum(axis=(1, 2))
    table["scale-consistency"] = _mean(scale_consistency(together))
    table["in-c-major"] = _mean(_ratio(together @ SCALES[0], together.sum(axis=-1)))
    table["pitch-class-entropy"] = _mean(pitch_class_entropy(together))
    table["key-clarity"] = _mean(
        np.where(together.any(axis=-1), key_correlations(together.astype(float)).max(axis=-1), np.nan)
    )
    table["groove-consistency"] = _mean(groove_consistency(rolls))
    table["notes-per-bar"] = _mean(notes.sum(axis=1) / rolls.shape[2])
    table["density"] = _mean(sounding.mean(axis=(1, 2, 3, 4)))
    return table


def _mean(values: Array) -> tuple[float, float]:
    """Mean of all measured values, and its standard error over phrases."""
    by_phrase = values.reshape(len(values), -1)
    known = ~np.isnan(by_phrase)
    if not known.any():
        return float("nan"), float("nan")
    mean = float(by_phrase[known].mean())
    phrases = by_phrase[known.any(axis=1)]
    own = np.nansum(phrases, axis=1) / (~np.isnan(phrases)).sum(axis=1)
    error = float(own.std(ddof=1) / np.sqrt(len(own))) if len(own) > 1 else float("nan")
    return mean, error


def _share_error(share: float, count: int) -> float:
    return float(np.sqrt(share * (1 - share) / count)) if count else float("nan")


class MusicStatistics:
    """Statistics of generated phrases beside those of real ones; the closer, the better."""

    version = "1"

    def compute(self, generated: Samples, real: Samples, modality: Modality) -> Sequence[MetricValue]:
        """One value per statistic and track; those that could be measured in neither set are left out."""
        grid = grid_of(modality)
        tables = [statistics(joined(samples), grid) for samples in (generated, real)]
        values = []
        for name, (value, error) in tables[0].items():
            beside = tables[1][name][0]
            if np.isnan(value) and np.isnan(beside):
                continue
            values.append(
                MetricValue(
                    name, value, real=None if np.isnan(beside) else beside, error=None if np.isnan(error) else error
                )
            )
        return values + [
            MetricValue(f"follows/{name}", value, direction="higher") for name, value in _follows(generated, grid)
        ]


def _follows(generated: Samples, grid: Grid) -> Iterator[tuple[str, float]]:
    """(attribute, Spearman's rank correlation of its requested and its measured values)."""
    from scipy.stats import rankdata  # slow to import

    for name, measure in ATTRIBUTES.items():
        if name in generated:
            found = np.array([measure(roll, grid) for roll in joined(generated)])
            ranks = np.stack([rankdata(generated[name]), rankdata(found)])
            if ranks.std(axis=1).all():
                yield name, float(np.corrcoef(ranks)[0, 1])
