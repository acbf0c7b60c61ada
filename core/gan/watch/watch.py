"""The watch of one training: it closes windows at ticks, lets the guards judge them, and decides on remedies.

A window ends at a tick, at least `SPACING` real samples and `ITERATIONS` batches after the last one. An alarm that is
raised in `STREAK` windows in a row is a verdict. With ``act`` a verdict is answered by the next of its remedies, and
the count begins anew, so that the next remedy comes three windows later at the earliest.

Everything that a decision depends on is part of the checkpoint, and what the first process measured is passed to the
others, so that a resumed run and all processes decide alike.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any, Literal

from gan.contracts import Alarm, Guard, Remedy, Window
from gan.contracts.guards import NOISE, SMOOTHING
from gan.reporting.reporter import Tick
from gan.watch.rules import GROWN

SPACING = 2400
"""Fewest real samples in a window. 64 generated samples cost at most as much as 16 real ones in training, which pass
through generator and critic at least four times: 0.7 %."""
ITERATIONS = 10
"""Fewest batches in a window."""
SHARE = 40
"""A window of n real samples is measured with n / 40 generated ones, from 64 to 256."""
STREAK = 3
"""Windows in a row that make a verdict of an alarm."""
KEPT = 64
"""Windows that guards are given."""
LOSS = 0.2
"""Loss of coverage, from the best window, with which a checkpoint still counts as healthy."""
LEAST = 1e-3
"""Factor below which no dial is turned, except to 0; for learning rates, as a share of the recipe's smallest one."""
FADE = 0.9
"""Factor by which noise on what critics see becomes weaker in each window without an alarm: it leads a training out of
a failure, and smaller details cannot be learned beside it (Sønderby et al. 2017, arXiv:1610.04490, anneal it)."""
LEFT = 0.25
"""Share of the noise of a remedy that is left at the end: without any, modes were lost again (benchmarks/watch)."""
UNEVEN = 4.0
"""Times by which a learning rate exceeds another one, beyond which `Remedy.lower_to` lowers it: the largest ratio that
the literature recommends for a critic (Heusel et al. 2017, arXiv:1706.08500; Zhang et al. 2019, arXiv:1805.08318)."""
TRUSTED = 2
"""Returns to one healthy checkpoint, all of which failed again, after which it counts as healthy no longer …"""
EARLY = 0.25
"""… if it lies within this share of the training: then the next return is to the beginning, since networks that were
nearly ruined may look healthy."""
MOST_ACTIONS = 16
"""Remedies in one training, and entries of the history of verdicts that are kept for each."""
DEVIATIONS = (NOISE, SMOOTHING)
"""Dials that are standard deviations in the unit of what critics see, 0 at first."""

Mode = Literal["off", "warn", "act"]
Measure = Callable[[int, Sequence[float] | None], tuple[dict[str, float], list[float] | None]]
"""``(samples, histogram of the last window) -> (signals, histogram)``: measures samples and weights."""


@dataclass
class Treatment:
    """What is to be done now: dials to turn, and the healthy checkpoint to return to first, if any."""

    dials: dict[str, float]
    roll_back_to: int | None
    text: str


@dataclass
class Findings:
    """What a tick has brought: signals for the records, lines for the user, and what is to be done."""

    signals: dict[str, float] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    treatment: Treatment | None = None
    fading: dict[str, float] = field(default_factory=dict)
    """Dials of an earlier treatment that return to what they were, at their new values."""


class Watch:
    """The state of the watch, as a checkpoint holds it, and its decisions."""

    optional = True
    """Checkpoints of earlier versions hold none."""

    def __init__(
        self,
        mode: Mode,
        guards: Sequence[Guard],
        measure: Measure | None,
        dials: Iterable[str] = (),
        batch: int = 1,
        share: Callable[[dict[str, float]], dict[str, float]] = lambda signals: signals,
        numbers: Mapping[str, float] | None = None,
    ) -> None:
        self.mode = mode
        self._guards = guards
        self._measure = measure
        self._available = sorted(dials)
        self._batch = batch
        self._share = share
        """Passes the first process's signals to all."""
        self._numbers = dict(numbers or {})
        """The recipe's numbers that dials are factors of, by the dial's name, where they are known."""
        self.windows: list[Window] = []
        self.streaks: dict[str, int] = {}
        """Alarm -> windows in a row that have raised it."""
        self.verdicts: list[dict[str, Any]] = []
        """Every verdict: name, since, until (None: it lasts), evidence, advice."""
        self.actions: list[dict[str, Any]] = []
        """Every remedy: what was done at how many samples, with the evidence before and after."""
        self.turned: dict[str, float] = {}
        """Dials that remedies have turned, at their present values."""
        self.healthy_at = 0
        """Real samples shown at the last checkpoint that was saved in health; 0: the untrained networks."""
        self._exhausted: list[str] = []
        """Alarms whose remedies have all been tried, which was told."""
        self._closed_at = 0
        self._gathered_to = 0
        self._sums: dict[str, list[float]] = {}
        self._histogram: list[float] | None = None

    @property
    def spacing(self) -> int:
        """Fewest real samples in a window."""
        return max(SPACING, ITERATIONS * self._batch)

    @property
    def lasting(self) -> list[dict[str, Any]]:
        """The verdicts that hold now."""
        return [verdict for verdict in self.verdicts if verdict["until"] is None]

    @property
    def returns(self) -> int:
        """How often a remedy has returned to a checkpoint."""
        return sum(action["rolled_back_to"] is not None for action in self.actions)

    @property
    def healthy(self) -> bool:
        """Whether the last window raised no alarm and showed the variety of the data, nearly as well as ever."""
        if not self.windows or self.windows[-1].alarms:
            return False
        last = self.windows[-1].signals
        best = max(window.signals.get("coverage", 0.0) for window in self.windows)
        return last.get("diversity", 1.0) >= GROWN and last.get("coverage", 1.0) >= best - LOSS

    @property
    def about(self) -> dict[str, Any]:
        """What a checkpoint says about its health: lasting verdicts, and where a healthy one is if it is spoiled."""
        spoiled = any(verdict["spoils"] for verdict in self.lasting)
        return {
            "verdicts": [verdict["verdict"] for verdict in self.lasting],
            "healthy": self.healthy_at if spoiled and self.healthy_at else None,
        }

    def report(self) -> dict[str, Any]:
        """Everything that a report tells, as JSON values."""
        return {
            "mode": self.mode,
            "samples": self.windows[-1].samples if self.windows else 0,
            "windows": len(self.windows),
            "healthy_at": self.healthy_at,
            "verdicts": self.verdicts,
            "actions": self.actions,
            "dials": self.turned,
        }

    def tick(self, tick: Tick) -> Findings:
        """See a tick, on every process. The caller carries out `Findings.treatment` and turns `Findings.fading`."""
        if self.mode == "off":
            return Findings()
        weight = max(1, tick.samples - max(self._closed_at, self._gathered_to))
        for name, value in tick.terms.items():
            if math.isfinite(value):
                total = self._sums.setdefault(name, [0.0, 0.0])
                total[0] += weight * value
                total[1] += weight
        self._sums.setdefault("skipped", [0.0, 0.0])[0] += tick.skipped
        self._gathered_to = tick.samples
        if tick.samples - self._closed_at < self.spacing:
            return Findings()
        window, measured = self._close(tick)
        return self._judge(window, measured, acting=self.mode == "act" and not tick.final)

    def _close(self, tick: Tick) -> tuple[Window, dict[str, float]]:
        """The window that ends at this tick, and what was measured at its end."""
        length = tick.samples - self._closed_at
        skipped = self._sums.pop("skipped")[0] * self._batch / length
        signals = {name: total / weight for name, (total, weight) in self._sums.items()}
        measured: dict[str, float] = {}
        if self._measure is not None:
            count = max(64, min(256, length // SHARE))
            measured, self._histogram = self._measure(count if len(_players(signals)) > 1 else 0, self._histogram)
        finite = {name: value for name, value in measured.items() if math.isfinite(value)}
        shared = self._share({**finite, "skipped": skipped})
        self._sums, self._closed_at = {}, tick.samples
        progress = tick.samples / tick.total if tick.total else 1.0
        return Window(tick.samples, tick.phase, {**signals, **shared}, progress), shared

    def _judge(self, window: Window, measured: dict[str, float], *, acting: bool) -> Findings:
        found: dict[str, Alarm] = {}
        for guard in self._guards:
            for alarm in guard.judge([*self.windows, window]):
                found.setdefault(alarm.verdict, alarm)
        window = replace(window, alarms=tuple(found))
        self.windows = [*self.windows, window][-KEPT:]
        self.streaks = {name: self.streaks.get(name, 0) + 1 for name in found}
        findings = Findings(measured)
        self._note_effects(window)
        for verdict in self.lasting:
            if verdict["verdict"] not in found:
                verdict["until"] = window.samples
                findings.messages.append(f"{verdict['verdict']} since {verdict['since']:,} samples has ended")
        held = {verdict["verdict"] for verdict in self.lasting}
        for name, alarm in found.items():
            if self.streaks[name] >= STREAK and name not in held:
                self._pronounce(alarm, window, findings)
        due = [alarm for name, alarm in found.items() if self.streaks[name] >= STREAK]
        if acting and due:
            findings.treatment = self._treat(due[0], window, findings)
        elif acting and not found and NOISE in self.turned:
            given = next(action["dials"][NOISE][1] for action in reversed(self.actions) if NOISE in action["dials"])
            self.turned[NOISE] = max(FADE * self.turned[NOISE], LEFT * given)
            findings.fading = {NOISE: self.turned[NOISE]}
        return findings

    def _pronounce(self, alarm: Alarm, window: Window, findings: Findings) -> None:
        first = self.windows[-min(len(self.windows), STREAK)]
        verdict = {
            "verdict": alarm.verdict,
            "phase": window.phase,
            "since": first.samples,
            "until": None,
            "pronounced": window.samples,
            "evidence": alarm.evidence,
            "advice": alarm.advice,
            "spoils": alarm.spoils,
        }
        self.verdicts = [*self.verdicts, verdict][-2 * MOST_ACTIONS :]
        remedy = f". Try: {alarm.advice}" if self.mode == "warn" else ""
        findings.messages.append(
            f"phase '{window.phase}': {alarm.verdict} since {first.samples:,} samples: {alarm.evidence}{remedy}"
        )

    def _treat(self, alarm: Alarm, window: Window, findings: Findings) -> Treatment | None:
        """The next remedy that this training can be given; none if there is none left."""
        if len(self.actions) >= MOST_ACTIONS:
            return None
        tried = Counter(action["remedy"] for action in self.actions if action["verdict"] == alarm.verdict)
        for remedy in alarm.remedies:
            tried[remedy.summary] -= 1
            dials = self._dials_of(remedy, window) if tried[remedy.summary] < 0 else {}
            if not dials:
                continue
            begins_anew = remedy.anew and window.progress <= EARLY
            back = 0 if begins_anew else self._place(window) if remedy.roll_back else None
            where = "" if back is None else f"back to {back:,} samples, then " if back else "from the beginning, with "
            text = f"{alarm.verdict}: {where}{remedy.summary}"
            self.actions.append(
                {
                    "samples": window.samples,
                    "verdict": alarm.verdict,
                    "evidence": alarm.evidence,
                    "remedy": remedy.summary,
                    "rolled_back_to": back,
                    "dials": {name: [self.turned.get(name, _neutral(name)), value] for name, value in dials.items()},
                    "before": dict(alarm.shows),
                    "after": None,
                }
            )
            self.turned.update(dials)
            for verdict in self.lasting:
                verdict["until"] = window.samples
            self.streaks = {}
            if back is not None:
                self.return_to(back)
            findings.messages.append(f"acting on {text} ({_described(dials)})")
            return Treatment(dict(self.turned), back, text)
        if alarm.verdict not in self._exhausted:
            self._exhausted.append(alarm.verdict)
            findings.messages.append(f"{alarm.verdict}: no remedy is left. Try: {alarm.advice}")
        return None

    def _place(self, window: Window) -> int:
        """Real samples shown at the checkpoint to return to; 0: the beginning."""
        places = [action["rolled_back_to"] for action in self.actions if action["rolled_back_to"] is not None]
        failed = len(places) >= TRUSTED and set(places[-TRUSTED:]) == {self.healthy_at}
        if failed and self.healthy_at * window.progress <= EARLY * window.samples:
            self.healthy_at = 0
        return self.healthy_at

    def _dials_of(self, remedy: Remedy, window: Window) -> dict[str, float]:
        """The dials that a remedy turns here, at their new values."""
        dials = {
            name: self.turned.get(name, 1.0) * factor
            for pattern, factor in remedy.dials.items()
            for name in self._available
            if fnmatchcase(name, pattern)
        }
        for name, other in remedy.lower_to.items():
            number, aim = (self._numbers.get(n, 0.0) for n in (name, other))
            if name in self._available and 0 < UNEVEN * aim < number:
                level = remedy.times * aim * self.turned.get(other, 1.0) / number
                if level < self.turned.get(name, 1.0):
                    dials[name] = level
        raised = {
            name: least / self._numbers[name]
            for pattern, least in remedy.raise_to.items()
            for name in self._available
            if fnmatchcase(name, pattern) and 0 < self._numbers.get(name, 0.0) * self.turned.get(name, 1.0) < least
        }
        if remedy.raise_to and not (raised and (dials or not remedy.lower_to)):
            return {}
        dials |= raised
        for name, multiple in zip(DEVIATIONS, (remedy.noise, remedy.smoothing), strict=True):
            if multiple and name in self._available:
                for seen in (window, *reversed(self.windows)):
                    spreads = _spreads(seen.signals)
                    if spreads:
                        dials[name] = max(multiple * max(spreads), self.turned.get(name, 0.0))
                        break
        return {
            name: value
            for name, value in dials.items()
            if value != self.turned.get(name, _neutral(name)) and (value == 0 or value >= self._least(name))
        }

    def _least(self, dial: str) -> float:
        """The value below which a dial is not turned."""
        if dial in DEVIATIONS:
            return 0.0
        rates = [number for name, number in self._numbers.items() if name.endswith(".lr")]
        return LEAST * min(rates) / self._numbers[dial] if dial.endswith(".lr") and self._numbers.get(dial) else LEAST

    def return_to(self, samples: int) -> None:
        """Forget the windows past `samples`, and a healthy checkpoint there: training goes back."""
        self.healthy_at = min(self.healthy_at, samples)
        self.windows = [window for window in self.windows if window.samples <= samples]
        self._closed_at = self._gathered_to = samples
        self._sums, self._histogram = {}, None

    def _note_effects(self, window: Window) -> None:
        """Record the evidence of the last action two windows after it."""
        if not self.actions or self.actions[-1]["after"] is not None:
            return
        action = self.actions[-1]
        start = action["samples"] if action["rolled_back_to"] is None else action["rolled_back_to"]
        if sum(other.samples > start for other in self.windows) >= 2:
            action["after"] = {name: window.signals.get(name) for name in action["before"]}

    def state_dict(self) -> dict[str, str]:
        """The state as JSON, whose lists are as long as they are."""
        windows = [asdict(window) for window in self.windows]
        plain = {name: getattr(self, name) for name in _PLAIN}
        return {"state": json.dumps({"windows": windows, **plain}, sort_keys=True)}

    def load_state_dict(self, state: Mapping[str, str]) -> None:
        """Restore the state."""
        values = json.loads(state["state"])
        self.windows = [Window(**{**window, "alarms": tuple(window["alarms"])}) for window in values["windows"]]
        for name in _PLAIN:
            if name in values:  # earlier versions had others
                setattr(self, name, values[name])


_PLAIN = (
    "streaks",
    "verdicts",
    "actions",
    "turned",
    "healthy_at",
    "_exhausted",
    "_closed_at",
    "_gathered_to",
    "_histogram",
    "_sums",
)


def _players(signals: Mapping[str, float]) -> set[str]:
    """The players that were updated."""
    return {name.partition("/")[0] for name in signals if name.endswith("/_gradient_norm")}


def _spreads(signals: Mapping[str, float]) -> list[float]:
    """The standard deviations of what critics see of real samples, from moments that are alike on any number of
    processes."""
    players = [name.removesuffix("_power") for name in signals if name.endswith("/_power")]
    return [max(0.0, signals[f"{p}_power"] - signals[f"{p}_level"] ** 2) ** 0.5 for p in players]


def _neutral(dial: str) -> float:
    return 0.0 if dial in DEVIATIONS else 1.0


def _described(dials: Mapping[str, float]) -> str:
    return ", ".join(f"{name} at {value:.3g}" for name, value in dials.items())
