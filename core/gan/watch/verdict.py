"""The verdict at the end of a training: one sentence of judgement with its remedy, and the numbers that matter most.

The sentence is the first that applies of: the samples are empty; they are nearly equal; the watch's last verdict holds
that the generator has collapsed; the training was too short; it has learned, or not, by its metrics before and after.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from gan.contracts import MetricValue
from gan.evaluation.comparison import cost, paired
from gan.generation.flaws import percent, sentence

SHORT = 0.5
"""Share of the recipe's length below which a training is too short …"""
LEARNED = 0.5
"""Share of the measured numbers that are better than before training, above which something was learned."""
SHOWN = 5
"""Numbers that the end of a training shows; the others are in the file and on the page."""

Kind = Literal["learned", "short", "collapsed", "empty", "alike", "not learned", "not measured"]


@dataclass(frozen=True)
class Verdict:
    """What became of a training, in words."""

    kind: Kind
    sentence: str
    remedy: str = ""
    """What to do; empty where nothing is wrong."""


@dataclass(frozen=True)
class Evidence:
    """What a verdict is based on."""

    run: str
    written: int
    """Samples written at the end."""
    empty: int
    """How many of them are empty (`gan.contracts.Modality.is_empty`)."""
    variety: float | None
    """`gan.generation.flaws.variety` of them; None: not known."""
    health: Sequence[Mapping[str, Any]]
    """Verdicts of the watch that last (`gan.watch.watch.Watch.lasting`)."""
    share: float
    """Share of the recipe's length that was trained."""
    seconds: float
    minutes: float | None
    """The limit of time that ended the training; None: another end."""
    values: Sequence[MetricValue]
    untrained: Sequence[MetricValue]
    trade_offs: Sequence[tuple[str, str]]


def judge(evidence: Evidence) -> Verdict:
    """The verdict, from the worst that can be said to the best."""
    better, compared = improvements(evidence.values, evidence.untrained, evidence.trade_offs)
    numbers = f"{better} of {compared} numbers are better than before training" if compared else ""
    short = evidence.share < SHORT
    longer = _longer(evidence)
    done = f"{percent(evidence.share)} of the recipe"
    remedy = longer if short else f"see what went wrong: gan diagnose {evidence.run}"
    because = f"; too short, {done} was trained" if short else ""
    spoiled = [verdict for verdict in evidence.health if verdict.get("spoils")]
    if flaw := sentence(evidence.written, evidence.empty, None):
        return Verdict("empty", flaw + because, remedy)
    if flaw := sentence(evidence.written, 0, evidence.variety):
        return Verdict("alike", flaw + because, (spoiled[0]["advice"] if spoiled else "") or remedy)
    if spoiled:
        worst = spoiled[0]
        return Verdict(
            "collapsed",
            f"collapsed: {worst['verdict']} since {worst['since']:,} samples; {worst['evidence']}",
            f"{worst['advice']}; or let the training act by itself: --set training.watch=act",
        )
    if short:
        limit = f" (its limit of {evidence.minutes:g} minutes)" if evidence.minutes else ""
        return Verdict("short", f"too short: {done} was trained{limit}" + (f"; {numbers}" if numbers else ""), longer)
    if not compared:
        return Verdict("not measured", f"trained, {done}; nothing was measured before and after")
    if better / compared > LEARNED:
        return Verdict("learned", f"learned: {numbers}")
    return Verdict("not learned", f"not learned: only {numbers}", remedy)


def _longer(evidence: Evidence) -> str:
    if evidence.minutes is None:
        return "train the whole recipe: leave out --samples, or --samples with more"
    needed = max(1.0, evidence.seconds / 60 * (1 - evidence.share) / max(evidence.share, 1e-3))
    return f"train on: gan resume {evidence.run} --minutes {math.ceil(needed)}"


def improvements(
    values: Sequence[MetricValue], untrained: Sequence[MetricValue], trade_offs: Sequence[tuple[str, str]]
) -> tuple[int, int]:
    """(numbers better than before training, numbers that can be compared). The two of a trade-off, such as precision
    and recall, count as one, their harmonic mean: an untrained generator may have all of one of them."""
    now, before = (_costs(found, trade_offs) for found in (values, untrained))
    compared = [name for name in now if name in before and now[name] != before[name]]
    return sum(now[name] < before[name] for name in compared), len(compared)


def _costs(values: Sequence[MetricValue], trade_offs: Sequence[tuple[str, str]]) -> dict[str, float]:
    known = {value.name: value for value in values}
    found = {}
    joined: set[str] = set()
    for first, second in paired(known, trade_offs):
        one, other = known[first].value, known[second].value
        if known[first].direction == known[second].direction == "higher" and math.isfinite(one + other):
            joined |= {first, second}
            found[f"{first} and {second}"] = -2 * one * other / max(one + other, 1e-12)
    costs = {name: cost(asdict(value)) for name, value in known.items() if name not in joined}
    return found | {name: number for name, number in costs.items() if math.isfinite(number)}


def headline(
    values: Sequence[MetricValue],
    untrained: Sequence[MetricValue],
    first: Sequence[str],
    trade_offs: Sequence[tuple[str, str]],
    meanings: Mapping[str, str],
) -> list[dict[str, Any]]:
    """The `SHOWN` numbers that say most, as JSON values: those named `first` (without their extractor), then those with
    a better direction, then statistics that are compared with real ones. The two of a trade-off stay together.

    Each has ``name``, ``value``, ``error``, ``real``, ``untrained``, ``direction`` and ``meaning``, from `meanings`.
    """
    known = {value.name: value for value in values if math.isfinite(value.value)}
    partners = dict(paired(known, trade_offs))
    partners |= {second: one for one, second in partners.items()}

    def rank(value: MetricValue) -> tuple[int, int]:
        base = value.name.partition("[")[0]
        if base in first:
            return 0, list(first).index(base)
        if value.direction == "real" and value.real is None:
            return 3, 0
        return (1 if value.direction != "real" else 2), 0

    chosen: list[str] = []
    for value in sorted(known.values(), key=rank):
        names = [value.name, *([partners[value.name]] if value.name in partners else [])]
        new = [name for name in names if name not in chosen]
        if len(chosen) + len(new) <= SHOWN:
            chosen += new
    before = {value.name: value.value for value in untrained}
    return [
        {
            "name": name,
            "value": known[name].value,
            "error": known[name].error,
            "real": known[name].real,
            "untrained": before.get(name),
            "direction": known[name].direction,
            "meaning": meanings.get(name, ""),
        }
        for name in chosen
    ]


def meaning(name: str, meanings: Mapping[str, str]) -> str:
    """What the value `name` says, of the `MetricEntry.meanings` in lower case.

    ``bleu-2`` is looked up as ``bleu``, and ``empty-bars/Bass`` as ``empty-bars``, where they have none of their own.
    """
    base = name.partition("[")[0].lower().replace(" ", "-")
    keys = (base, base.partition("/")[0], re.sub(r"-\d+$", "", base))
    return next((meanings[key] for key in keys if key in meanings), "")
