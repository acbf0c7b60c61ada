"""Tracks of a phrase, and the rules that assign the instruments of a file to them.

A track is a list of rules. A rule is a General MIDI program (``33``), a range of programs (``"24-31"``), ``"drums"``
(channel 10), ``"others"`` (every pitched instrument that no other track takes), the name of a track in the file
(``"MELODY"``, ``"*bass*"``; ``*`` matches any letters, case is ignored), or ``"#2"``, the second pitched track of the
file.

For each instrument of a file the rules are tried in this order: names, drums, programs, others. Numbered rules apply
only to files in which no name matches. The first track that matches takes the instrument.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from operator import eq
from typing import TypeAlias

from gan.errors import UsageError

from gan_music.reading import Part

Rule = int | str
_Instrument: TypeAlias = tuple[str, int, bool]
"""Name, program, and whether it plays on channel 10."""

PROFILES: dict[str, dict[str, list[Rule]]] = {
    "compact": {
        "drums": ["drums"],
        "piano": ["0-7"],
        "guitar": ["24-31"],
        "bass": ["32-39"],
        "strings": ["48-55", "others"],
    },
    "paper": {
        "bass": ["32-39"],
        "drums": ["drums"],
        "guitar": ["24-31"],
        "piano": ["0-7"],
        "strings": ["48-55", "others"],
    },
    "lpd-8": {
        "drums": ["drums"],
        "piano": ["0-7"],
        "guitar": ["24-31"],
        "bass": ["32-39"],
        "ensemble": ["48-55"],
        "reed": ["64-71"],
        "synth-lead": ["80-87"],
        "synth-pad": ["88-95"],
    },
    "chorale": {
        "soprano": ["soprano*", "s.", "#1"],
        "alto": ["alto*", "a.", "#2"],
        "tenor": ["tenor*", "t.", "#3"],
        "bass": ["bass*", "b.", "#4"],
    },
    "pop909": {"melody": ["melody"], "bridge": ["bridge"], "piano": ["piano"]},
    "lead-sheet": {"melody": ["melody", "#1"], "chords": ["chords", "#2"]},
}
"""Profile name -> track name -> rules. `compact` and `paper` are MuseGAN's five families (Dong et al. 2018, section
5.1) in the order of its third and first release; `lpd-8` has the eight of its second."""

PROGRAMS = {
    "piano": 0, "guitar": 25, "bass": 33, "strings": 48, "ensemble": 48, "reed": 65, "synth-lead": 80, "synth-pad": 88,
    "soprano": 52, "alto": 52, "tenor": 52, "melody": 0, "bridge": 0, "chords": 0,
}  # fmt: skip
"""Default General MIDI programs of tracks by name."""

_RANGE = re.compile(r"(\d{1,3})\s*-\s*(\d{1,3})")


def programs_of(rule: Rule) -> range | None:
    """The programs that a rule names, or None if it is not a rule of programs. Raises `ValueError` outside 0 … 127."""
    text = str(rule).strip()
    if text.isdigit():
        low = high = int(text)
    elif match := _RANGE.fullmatch(text):
        low, high = int(match[1]), int(match[2])
    else:
        return None
    if not 0 <= low <= high <= 127:
        raise ValueError(f"programs run from 0 to 127, not {text}")
    return range(low, high + 1)


@dataclass(frozen=True)
class Track:
    """One track of a phrase."""

    name: str
    rules: tuple[Rule, ...]
    program: int
    """General MIDI program, 0 … 127, that it is written with."""

    @property
    def drums(self) -> bool:
        """Whether it is percussion: hits without duration, never transposed."""
        return "drums" in self.rules


def resolve(tracks: str | Mapping[str, Sequence[Rule]], programs: Mapping[str, int]) -> tuple[Track, ...]:
    """The tracks of a profile or of a mapping from names to rules. Raises `ValueError` with a reason."""
    if isinstance(tracks, str):
        if tracks not in PROFILES:
            raise ValueError(f"no profile '{tracks}' (known: {', '.join(PROFILES)}); or map track names to rules")
        tracks = PROFILES[tracks]
    if not tracks:
        raise ValueError("at least one track is needed")
    if unknown := sorted(set(programs) - set(tracks)):
        raise ValueError(f"programs for tracks that do not exist: {', '.join(unknown)}")
    found = []
    for name, rules in tracks.items():
        if not rules:
            raise ValueError(f"track '{name}' has no rule")
        ranges = [r for r in map(programs_of, rules) if r is not None]
        usual = 52 if tracks is PROFILES["chorale"] else PROGRAMS.get(name)
        program = programs.get(name, usual if usual is not None else ranges[0][0] if ranges else 0)
        if not 0 <= program <= 127:
            raise ValueError(f"programs run from 0 to 127, not {program}")
        found.append(Track(name, tuple(str(r).strip().lower() for r in rules), program))
    return tuple(found)


def assign(parts: Sequence[Part], tracks: Sequence[Track]) -> Sequence[int | None]:
    """The index of the track of each part of a file, or None where no rule matches."""
    return _assigned(tuple((part.name, part.program, part.drums) for part in parts), tuple(tracks))


@lru_cache(maxsize=256)
def _assigned(parts: tuple[_Instrument, ...], tracks: tuple[Track, ...]) -> tuple[int | None, ...]:
    """`assign`, remembered: the files of a collection have the same instruments."""
    chosen = [_first(tracks, partial(_named, name)) for name, _, _ in parts]
    by_number = all(track is None for track in chosen)
    pitched = [index for index, (_, _, drums) in enumerate(parts) if not drums]
    for index, (_, program, drums) in enumerate(parts):
        if chosen[index] is not None:
            continue
        if drums:
            chosen[index] = _first(tracks, partial(eq, "drums"))
            continue
        if by_number:
            chosen[index] = _first(tracks, partial(eq, f"#{pitched.index(index) + 1}"))
        if chosen[index] is None:
            chosen[index] = _first(tracks, partial(_has_program, program))
        if chosen[index] is None:
            chosen[index] = _first(tracks, partial(eq, "others"))
    return tuple(chosen)


def _first(tracks: Sequence[Track], matches: Callable[[Rule], bool]) -> int | None:
    return next((index for index, track in enumerate(tracks) if any(matches(rule) for rule in track.rules)), None)


def _has_program(program: int, rule: Rule) -> bool:
    return program in (programs_of(rule) or ())


def _named(name: str, rule: Rule) -> bool:
    text = str(rule)
    if text in ("drums", "others") or text.startswith("#") or programs_of(text) is not None:
        return False
    return fnmatch.fnmatchcase(name.strip().lower(), text)


def track_places(wanted: Sequence[int | str], names: Sequence[str], count: int, who: str) -> list[int]:
    """Indices of the tracks that the setting `who` names, by number or name. Raises `UsageError`."""
    places = []
    for item in wanted:
        text = str(item).strip()
        if text in names:
            places.append(list(names).index(text))
        elif text.isdigit() and int(text) < count:
            places.append(int(text))
        else:
            known = ", ".join(f"{number} {name}" for number, name in enumerate(names)) or f"0 to {count - 1}"
            raise UsageError(f"{who} names no track '{text}' (known: {known})")
    if len(set(places)) != len(places):
        raise UsageError(f"{who} must name each track once")
    return places


def given_places(wanted: Sequence[int | str], names: Sequence[str], count: int, who: str = "model.given") -> list[int]:
    """`track_places` of tracks that are given; some track must be left. Raises `UsageError`."""
    places = track_places(wanted, names, count, who)
    if len(places) == count:
        raise UsageError(f"{who} names every track; none is left to compose")
    return places
