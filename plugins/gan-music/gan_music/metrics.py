"""Statistics of phrases: those that MuseGAN reports (Dong et al. 2018, section 6.2) and the usual ones since.

All take boolean rolls ``(N, track, bar, step, pitch)`` and are vectorised over phrases. Definitions differ between
releases
and libraries; each function says its own. Two known defects of the released code are not repeated: its pitch classes
were
groups of neighbouring pitches (p // 7, here p mod 12), and its rate of empty bars was that of the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from gan.contracts import MetricValue
from scipy.stats import rankdata

from gan_music.attributes import ATTRIBUTES
from gan_music.key import key_correlations

if TYPE_CHECKING:
    from gan.contracts import Modality, Samples

    from gan_music.modality import Music

Array = np.ndarray[Any, Any]

SCALES = np.array([np.roll([1, 0, 1, 0, 1, 1, 0, 1, 0, 1, 0, 1], root) for root in range(12)])
"""The twelve major scales by pitch class; each is a natural minor scale as well, so these are all 24."""

_N = np.arange(12)
TONNETZ = np.stack(
    [
        np.sin(_N * 7 * np.pi / 6), np.cos(_N * 7 * np.pi / 6),
        np.sin(_N * 3 * np.pi / 2), np.cos(_N * 3 * np.pi / 2),
        0.5 * np.sin(_N * 2 * np.pi / 3), 0.5 * np.cos(_N * 2 * np.pi / 3),
    ]
)  # fmt: skip
"""``(6, 12)``: fifths, minor thirds and major thirds as circles (Harte, Sandler, Gasser 2006)."""


def onsets(rolls: Array) -> Array:
    """Where notes begin, over bar lines; same shape."""
    line = rolls.reshape(*rolls.shape[:2], -1, rolls.shape[-1])
    soft_onset_count = line.copy()
    soft_onset_count[:, :, 1:] &= ~line[:, :, :-1]
    return soft_onset_count.reshape(rolls.shape)


def sounding_bars(rolls: Array) -> Array:
    """``(N, track, bar)``: whether anything sounds."""
    return rolls.any(axis=(3, 4))


def used_pitches(rolls: Array) -> Array:
    """``(N, track, bar)``: distinct pitches."""
    return rolls.any(axis=3).sum(axis=3)


def used_pitch_classes(rolls: Array, lowest: int = 0) -> Array:
    """``(N, track, bar)``: distinct pitch classes, p mod 12."""
    return _classes(rolls.any(axis=3), lowest).any(axis=-1).sum(axis=-1)


def _classes(pitches: Array, lowest: int) -> Array:
    """``(…, pitch) -> (…, 12, octave)``, pitch class C first."""
    octaves = pitches.shape[-1] // 12
    folded = pitches.reshape(*pitches.shape[:-1], octaves, 12).swapaxes(-1, -2)
    return np.roll(folded, lowest % 12, axis=-2)


def qualified_notes(rolls: Array, at_least: int | None = None) -> tuple[Array, Array]:
    """``(N, track)`` twice: notes of at least so many steps, and all notes.

    `at_least` is a 32nd part of a bar, rounded up (the paper: 3 of 96 steps), unless given. A note runs over bar lines.
    """
    steps = rolls.shape[3]
    wanted = -(-steps // 32) if at_least is None else at_least
    line = rolls.reshape(*rolls.shape[:2], -1, rolls.shape[-1])
    soft_onset_count = line.copy()
    soft_onset_count[:, :, 1:] &= ~line[:, :, :-1]
    long = soft_onset_count.copy()
    for later in range(1, wanted):
        long[:, :, :-later] &= line[:, :, later:]
        long[:, :, -later:] = False
    return long.sum(axis=(2, 3)), soft_onset_count.sum(axis=(2, 3))


def polyphony(rolls: Array, at_least: int = 2) -> Array:
    """``(N, track, bar)``: share of the steps at which two or more pitches sound (the paper; its third release:
    three)."""
    return (rolls.sum(axis=4) >= at_least).mean(axis=3)


def chroma(rolls: Array, steps: int, lowest: int = 0) -> Array:
    """``(N, track, beat, 12)``: cells that sound of each pitch class in each stretch of `steps` (a beat); C first."""
    count, tracks, bars, per_bar, pitches = rolls.shape
    beats = rolls.reshape(count, tracks, bars * per_bar // steps, steps, pitches).sum(axis=3, dtype=np.int32)
    return _classes(beats, lowest).sum(axis=-1)


def scale_consistency(of_phrases: Array) -> Array:
    """``(…, 12)`` chroma -> ``(…)``: the largest share of sounding time inside one major or natural minor scale; NaN
    of silence."""
    inside = (of_phrases @ SCALES.T).max(axis=-1)
    return _ratio(inside, of_phrases.sum(axis=-1))


def pitch_class_entropy(of_phrases: Array) -> Array:
    """``(…, 12)`` chroma -> ``(…)`` bits, 0 … log2 12; NaN of silence."""
    total = of_phrases.sum(axis=-1, keepdims=True)
    share = _ratio(of_phrases, total)
    logs = np.log2(share, out=np.zeros_like(share), where=share > 0)
    return np.where(total[..., 0] > 0, -(share * logs).sum(axis=-1), np.nan)


def tonal_distance(a: Array, b: Array) -> Array:
    """``(N, beat, 12)`` chroma of two tracks -> ``(N,)``: mean distance of their tonal centroids over the beats
    where both sound."""
    both = (a.sum(axis=-1) > 0) & (b.sum(axis=-1) > 0)
    centres = [_ratio(c, c.sum(axis=-1, keepdims=True)) @ TONNETZ.T for c in (a, b)]  # NaN of silence
    distance = np.linalg.norm(centres[0] - centres[1], axis=-1)
    return _ratio(np.where(both, distance, 0).sum(axis=1), both.sum(axis=1))


_DRUM_MASKS = {
    96: ([1, 0.3, 0, 0, 0, 0.3], 16), 48: ([1, 0.1, 0.1], 16), 24: ([1, 0.1, 0.1], 8), 72: ([1, 0.1, 0, 0, 0, 0.1], 12),
    36: ([1, 0.1, 0.1], 12), 64: ([1, 0.1, 0, 0.1], 16), 32: ([1, 0.1], 16), 16: ([1, 0.1], 8),
}  # fmt: skip


def drum_pattern(track: Array) -> Array | None:
    """``(N, bar, step, pitch)`` of a drum track -> ``(N,)``: share of the hits that fall on an eighth or sixteenth
    grid, nearly on
    it counting little; NaN without hits. At 96 steps the grid may begin at any of its first six steps (the paper); at
    the other
    resolutions it lies on the beat (the third release). None at a resolution for which no grid is published."""
    steps = track.shape[2]
    if steps not in _DRUM_MASKS:
        return None
    cell, times = _DRUM_MASKS[steps]
    mask = np.tile(cell, times)
    hits = onsets(track[:, None])[:, 0].sum(axis=(1, 3))
    masks = [np.roll(mask, turn) for turn in range(6)] if steps == 96 else [mask]
    return _ratio(np.max([hits @ m for m in masks], axis=0), hits.sum(axis=1))


def groove_consistency(rolls: Array) -> Array:
    """``(N,)``: 1 less the mean share of steps at which one of two neighbouring bars has an onset and the other none
    (Wu and Yang 2020); NaN for one bar."""
    starts = onsets(rolls).any(axis=(1, 4))
    if starts.shape[1] < 2:
        return np.full(len(rolls), np.nan)
    return 1 - (starts[:, 1:] != starts[:, :-1]).mean(axis=(1, 2))


def _ratio(above: Array, below: Array) -> Array:
    """Division that gives NaN where `below` is 0."""
    above, below = np.broadcast_arrays(np.asarray(above, float), np.asarray(below, float))
    return np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)


Table = dict[str, tuple[float, float]]
"""Name of a statistic -> (value, its standard error)."""


def statistics(rolls: Array, music: Music) -> Table:
    """Every statistic of a set of phrases, in the order of the table. NaN where nothing could be measured.

    Statistics of bars leave silent bars out, except the rate of empty bars.
    """
    lowest, per_beat = music.config.lowest, music.config.steps_per_beat
    table: Table = {}
    sounds = sounding_bars(rolls)
    rows: dict[str, Array] = {
        "empty-bars": (~sounds).astype(float),
        "pitches": np.where(sounds, used_pitches(rolls), np.nan),
        "pitch-classes": np.where(sounds, used_pitch_classes(rolls, lowest), np.nan),
        "polyphony": np.where(sounds, polyphony(rolls), np.nan),
    }
    good, notes = qualified_notes(rolls)
    pitched = [index for index, track in enumerate(music.tracks) if not track.drums]
    for name, values in rows.items():
        for index, track in enumerate(music.tracks):
            if name in ("empty-bars", "pitches") or not track.drums:
                table[f"{name}/{track.name}"] = _mean(values[:, index].reshape(len(rolls), -1))
    for index in pitched:
        share = _ratio(good[:, index].sum(), notes[:, index].sum())
        table[f"qualified-notes/{music.tracks[index].name}"] = (
            float(share),
            _share_error(float(share), int(notes[:, index].sum())),
        )
    for index, track in enumerate(music.tracks):
        length = _ratio(rolls[:, index].sum(), notes[:, index].sum() * per_beat)
        if not track.drums:
            table[f"note-length/{track.name}"] = (float(length), float("nan"))
        elif (pattern := drum_pattern(rolls[:, index])) is not None:
            table[f"drum-pattern/{track.name}"] = _mean(pattern)
    by_beat = chroma(rolls[:, pitched], per_beat if rolls.shape[3] % per_beat == 0 else rolls.shape[3], lowest)
    for first in range(len(pitched)):
        for second in range(first + 1, len(pitched)):
            names = f"{music.tracks[pitched[first]].name}-{music.tracks[pitched[second]].name}"
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
    table["density"] = _mean(rolls.mean(axis=(1, 2, 3, 4)))
    return table


def _mean(values: Array) -> tuple[float, float]:
    """Mean over phrases of what could be measured, and its standard error."""
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
    """The statistics of generated phrases beside those of real ones; the nearer the better."""

    version = "1"

    def compute(self, generated: Samples, real: Samples, modality: Modality) -> Sequence[MetricValue]:
        """One value a statistic and track; those that neither set allows to measure are left out."""
        tables = [statistics(np.asarray(samples["roll"], bool), modality) for samples in (generated, real)]  # type: ignore[arg-type]
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
            MetricValue(f"follows/{name}", value, direction="higher") for name, value in _follows(generated, modality)
        ]


def _follows(generated: Samples, modality: Any) -> Iterator[tuple[str, float]]:
    """(attribute, Spearman's rank correlation of what each phrase was asked for and what it has)."""
    for name in modality.config.attributes:
        if name in generated:
            found = np.array([ATTRIBUTES[name](roll, modality) for roll in np.asarray(generated["roll"], bool)])
            ranks = np.stack([rankdata(generated[name]), rankdata(found)])
            if ranks.std(axis=1).all():
                yield name, float(np.corrcoef(ranks)[0, 1])
