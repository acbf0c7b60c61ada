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

import numpy as np

from gan.contracts import FieldSpec, MetricValue, Samples
from gan.evaluation.comparison import cost, paired
from gan.metrics.neighbours import squared_distances

SHORT = 0.5
"""Share of the recipe's length below which a training is too short …"""
ALIKE = 0.05
"""Mean distance of generated pairs over that of real ones, below which samples are nearly equal."""
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
    """`variety` of them; None: not known."""
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
    if evidence.written and evidence.empty > evidence.written / 2:
        number = "all" if evidence.empty == evidence.written else f"{evidence.empty} of"
        because = f": too short, {done} was trained" if short else ""
        return Verdict("empty", f"empty artefacts: {number} {evidence.written} samples hold nothing{because}", remedy)
    spoiled = [verdict for verdict in evidence.health if verdict.get("spoils")]
    if evidence.variety is not None and evidence.variety < ALIKE:
        apart = f"they differ by {percent(evidence.variety)} of what real samples differ"
        because = f"; too short, {done} was trained" if short else ""
        advice = spoiled[0]["advice"] if spoiled else ""
        return Verdict("alike", f"nearly equal artefacts: {apart}{because}", advice or remedy)
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


def percent(share: float) -> str:
    """``"2 %"``, ``"0.3 %"``, ``"100 %"``."""
    return f"{100 * share:.1g} %" if share < 0.01 else f"{100 * share:.0f} %"


def variety(generated: Samples, real: Samples, fields: Mapping[str, FieldSpec]) -> float | None:
    """Mean distance of pairs of generated samples over that of real ones, of their raw values; None for fewer than two.

    `fields` are those that were generated; one whose samples have another shape than real ones (longer texts) is left
    out.
    """
    distances = []
    for samples in (generated, real):
        rows = [
            (samples[name].reshape(len(samples[name]), -1).astype(np.float32) - spec.low)
            / max(spec.high - spec.low, 1e-12)
            for name, spec in fields.items()
            if name in generated and name in real and generated[name].shape[1:] == real[name].shape[1:]
        ]
        if not rows or len(rows[0]) < 2:
            return None
        joined = np.concatenate(rows, axis=1)
        total = sum(float(np.sqrt(part).sum()) for _, part in squared_distances(joined, joined))
        distances.append(total / (len(joined) * (len(joined) - 1)))
    return distances[0] / distances[1] if distances[1] > 0 else None


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
