"""The core's guard: rules with thresholds for the failures of a game between networks, and their remedies.

A rule compares a window with thresholds and with the median of earlier windows of its phase that raised no alarm. The
thresholds follow Karras et al. 2020 (arXiv:2006.06676), Brock et al. 2019 (arXiv:1809.11096) and measurements of
healthy trainings (benchmarks/watch). Where a player's name is needed, the critic is the player that reports an
accuracy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from statistics import fmean, median

from gan.contracts import Alarm, Remedy, Window

FLAT = 1e-6
"""Gradient norm below which a critic's opponent stands still: its root mean square over 10,000 weights is then that of
Adam's eps."""
WON = 0.98
"""Accuracy P(D(x) > D(G)) above which a critic has won …"""
VANISHED = 0.01
"""… while the gradient norm of its opponent is below this share of its median …"""
CERTAIN = 1e-3
"""… or while its own loss is below this: its scores leave its opponent no direction."""
COLLAPSED = 0.2
"""Diversity (mean distance of generated pairs over that of real pairs) below which the modes have collapsed."""
UNCOVERED = 0.4
"""Share of the real data's bins that are hit, below which the modes have collapsed …"""
CLUSTERED = 0.5
"""… where the real data have clusters: looseness below this."""
FELL = 0.6
"""Coverage over its median of at least `GROWN`, below which modes have been lost again."""
LOST = 0.75
"""Coverage of clusters over the best that `HELD` windows in a row had, below which modes have been lost slowly …"""
HELD = 3
"""… too slowly for the median, which falls with it."""
REPEATED = 0.5
"""Share of samples with a duplicate, beyond that of real samples, above which the modes have collapsed."""
GROWN = 0.5
"""A generator whose diversity once reached this …"""
SPREAD = 0.8
"""… and its coverage of clusters this, has learned the variety of the data."""
PATIENCE = 5
"""Windows of a phase in which a generator need not have any diversity yet …"""
STUCK = 4
"""A generator without that diversity whose critic has won is stuck if the mean diversity of so many windows …"""
GAINED = 1.1
"""… is less than this times that of as many windows before them."""
FAR = 2.0
"""Times the distance of real samples above which the distance of samples from clustered data is in each of `STUCK`
windows where modes are missed or have wrong shares, if …"""
STAYED = 0.9
"""… its mean over them is more than this share of that over as many windows before them."""
LATE = 0.5
"""… and share of the training in which it need not cover the data's clusters yet, nor hold still."""
MEMORISED = 0.5
"""(E D(train) - E D(held out)) / (E D(train) - E D(G)) above which a critic memorises (Karras et al. 2020) …"""
SURE = 0.6
"""… while E sign D(train) is above this."""
TURNED = 0.5
"""Total variation between the histograms of two windows above which the modes change places."""
SKIPPED = 0.01
"""Skipped updates in each iteration above which numbers diverge."""
EXPLODED = 50.0
"""Gradient norm over its median, above which a player diverges."""
GREW = 10.0
"""Spectral norm, or absolute loss of a critic, over its median, above which a player diverges."""
FEW_CODES = 0.1
"""Share of the codes in use (perplexity) below which a codebook has collapsed."""

QUICKER = 4.0
"""Times the learning rate of its opponent that a critic is left which learned much faster: with R1 of the published
strength it is better than an equal one (benchmarks/watch)."""
GRADIENT = 10.0
"""Published weight of gradient penalties (Mescheder et al. 2018, arXiv:1801.04406; Gulrajani et al. 2017,
arXiv:1704.00028)."""

HALF = Remedy(summary="half of all learning rates", dials={"optimizers.*.lr": 0.5})
CALM = Remedy(
    summary="a tenth of all learning rates, and a penalty on changes of scores under small noise, if there is none",
    dials={"optimizers.*.lr": 0.1},
    smoothing=0.05,
    anew=True,
)
"""For learning rates with which a game has never settled: networks that were trained with them do not recover as well
as new ones learn (benchmarks/watch)."""


class GameGuard:
    """Divergence, vanishing gradient, mode collapse, overfitting discriminator, oscillation, codebook collapse."""

    def judge(self, windows: Sequence[Window]) -> Iterator[Alarm]:
        """The alarms of the newest window, most serious first."""
        now = windows[-1]
        earlier = [window for window in windows[:-1] if window.phase == now.phase]
        for rule in (_divergence, _vanishing, _collapse, _overfitting, _oscillation, _codebook):
            yield from rule(now, earlier)


def players_with(window: Window, signal: str) -> list[str]:
    """The players that report a signal, in the order of their names."""
    return sorted(name.removesuffix(f"/{signal}") for name in window.signals if name.endswith(f"/{signal}"))


def _median(earlier: Sequence[Window], signal: str) -> float | None:
    """The median over earlier windows without an alarm; None if there are fewer than two."""
    values = [window.signals[signal] for window in earlier if signal in window.signals and not window.alarms]
    return median(values) if len(values) > 1 else None


def _divergence(now: Window, earlier: Sequence[Window]) -> Iterator[Alarm]:
    shows: dict[str, float] = {}
    reasons = []
    skipped = now.signals.get("skipped", 0.0)
    if skipped > SKIPPED:
        shows["skipped"] = skipped
        reasons.append(f"{skipped:.1%} of the updates skipped because a number was not finite (over {SKIPPED:.0%})")
    critics = players_with(now, "_fake_score")
    for kind, factor, names in (
        ("_gradient_norm", EXPLODED, players_with(now, "_gradient_norm")),
        ("spectral", GREW, players_with(now, "spectral")),
        ("loss", GREW, critics),
    ):
        for name in names:
            signal = f"{name}/{kind}"
            value, usual = abs(now.signals.get(signal, 0.0)), _median(earlier, signal)
            if usual is not None and value > factor * max(abs(usual), 1e-3) and (kind != "loss" or value > GREW):
                shows[signal] = value
                reasons.append(f"{signal} {value:.3g}, over {factor:g} times its median {abs(usual):.3g}")
    if reasons:
        yield Alarm(
            verdict="divergence",
            evidence="; ".join(reasons),
            advice="halve the learning rates (optimizers.PLAYER.lr), clip gradients (optimizers.PLAYER.clip_norm=1), "
            "or use training.precision=fp32",
            shows=shows,
            remedies=(
                *_even(now),
                HALF,
                HALF,
                Remedy(summary="penalties twice as strong", dials={"penalties.*.weight": 2.0}),
                Remedy(summary="optimizers without momentum", dials={"optimizers.*.betas.0": 0.0}),
                Remedy(summary="a tenth of all learning rates", dials={"optimizers.*.lr": 0.1}),
            ),
            spoils=True,
        )


def _vanishing(now: Window, earlier: Sequence[Window]) -> Iterator[Alarm]:
    for critic in players_with(now, "_accuracy"):
        accuracy = now.signals[f"{critic}/_accuracy"]
        won = f"accuracy of {critic} {accuracy:.3f}, over {WON}"
        for player in players_with(now, "_gradient_norm"):
            signal = f"{player}/_gradient_norm"
            norm, usual = now.signals[signal], _median(earlier, signal)
            loss = abs(now.signals.get(f"{critic}/loss", 1.0))
            if player == critic:
                continue
            if norm < FLAT:
                compared = f"{signal} {norm:.3g}, under {FLAT:g}"
            elif accuracy <= WON:
                continue
            elif usual is not None and norm < VANISHED * usual:
                compared = f"{won}; {signal} {norm:.3g}, under {VANISHED:.0%} of its median {usual:.3g}"
            elif loss < CERTAIN:
                compared = (
                    f"accuracy of {critic} {accuracy:.3f}, over {WON}; {critic}/loss {loss:.2g}, under {CERTAIN:g}"
                )
            else:
                continue
            yield Alarm(
                verdict="vanishing-gradient",
                evidence=compared,
                advice=f"lower optimizers.{critic}.lr to a tenth, add a penalty (penalties=[{{name: r1, weight: 1}}]), "
                "or use loss=non-saturating",
                shows={f"{critic}/_accuracy": accuracy, signal: norm},
                remedies=(*_slower(critic, now), *_penalized(), _noisy()),
            )


def _collapse(now: Window, earlier: Sequence[Window]) -> Iterator[Alarm]:
    variety = {}
    grown = _grown(now, earlier)
    if grown or len(earlier) >= PATIENCE:
        variety["diversity"] = COLLAPSED
    if (grown or now.progress >= LATE) and now.signals.get("looseness", 1.0) < CLUSTERED:
        variety["coverage"] = UNCOVERED
    shows = {name: now.signals[name] for name, least in variety.items() if now.signals.get(name, 1.0) < least}
    reasons = [f"{name} {value:.2f}, under {variety[name]} (1: as real samples)" for name, value in shows.items()]
    usual = _median(earlier, "coverage")
    if (
        usual is not None
        and usual >= GROWN
        and "coverage" not in shows
        and now.signals.get("coverage", 1.0) < FELL * usual
    ):
        shows["coverage"] = now.signals["coverage"]
        reasons.append(f"coverage {shows['coverage']:.2f}, under {FELL:.0%} of its median {usual:.2f}")
    held = _held([window.signals.get("coverage", 0.0) for window in earlier])
    if (
        "coverage" not in shows
        and now.signals.get("looseness", 1.0) < CLUSTERED
        and now.signals.get("coverage", 1.0) < LOST * held
    ):
        shows["coverage"] = now.signals["coverage"]
        reasons.append(f"coverage {shows['coverage']:.2f}, under {LOST:.0%} of the {held:.2f} that it held before")
    repeated = now.signals.get("duplicates", 0.0)
    if repeated > REPEATED and "diversity" in variety:
        shows["duplicates"] = repeated
        reasons.append(f"{repeated:.0%} of the samples are duplicates, over {REPEATED:.0%} more than of real ones")
    ruined = bool(reasons)
    winners = [critic for critic in players_with(now, "_accuracy") if now.signals[f"{critic}/_accuracy"] > WON]
    if winners and "diversity" not in shows and not grown and (stuck := _stuck(now, earlier)):
        shows["diversity"] = now.signals["diversity"]
        reasons.append(stuck)
    if not reasons and grown and (far := _far(now, earlier)):
        yield Alarm(
            verdict="mode-collapse",
            evidence=far,
            advice="add a penalty (penalties=[{name: r1, weight: 1}]) or lower the learning rates "
            "(optimizers.PLAYER.lr)",
            shows={"distance": now.signals["distance"]},
            remedies=(*_even(now), CALM, *_penalized(), HALF, HALF),
        )
    if not reasons:
        return
    unsettled = [CALM] if grown and not winners and now.signals.get("looseness", 1.0) < CLUSTERED else []
    for critic in winners:
        shows[f"{critic}/_accuracy"] = now.signals[f"{critic}/_accuracy"]
        reasons.append(f"accuracy of {critic} {shows[f'{critic}/_accuracy']:.3f}, over {WON}")
    yield Alarm(
        verdict="mode-collapse",
        evidence="; ".join(reasons),
        advice=f"{_slow_down(winners)}strengthen or add a penalty (penalties=[{{name: r1, weight: 1}}]), lower the "
        "learning rates (optimizers.PLAYER.lr), or use loss=relativistic-pairing",
        shows=shows,
        remedies=[
            replace(remedy, roll_back=ruined)
            for remedy in (
                *_even(now),
                *(_tenth(critic) for critic in [*winners, *winners]),
                *unsettled,
                *_penalized(),
                HALF,
                _noisy(),
                HALF,
                *_penalized(2.0),
                _noisy(2.0),
                HALF,
            )
        ],
        spoils=ruined,
    )


def _held(values: Sequence[float]) -> float:
    """The most that `HELD` values in a row reached."""
    return max((min(values[end - HELD : end]) for end in range(HELD, len(values) + 1)), default=0.0)


def _slow_down(winners: Sequence[str]) -> str:
    return "".join(f"lower optimizers.{critic}.lr to a tenth, " for critic in winners)


def _stuck(now: Window, earlier: Sequence[Window]) -> str:
    """The evidence that a generator without the diversity of the data does not gain any; empty if it does."""
    values = [window.signals.get("diversity") for window in [*earlier[-2 * STUCK + 1 :], now]]
    known = [value for value in values if value is not None]
    if len(known) < 2 * STUCK or len(earlier) < PATIENCE + STUCK:
        return ""
    before, after = fmean(known[:STUCK]), fmean(known[STUCK:])
    if after >= GROWN or after >= GAINED * before:
        return ""
    return f"diversity {after:.2f}, under {GROWN}, in {STUCK} windows, {before:.2f} in {STUCK} before them"


def _far(now: Window, earlier: Sequence[Window]) -> str:
    """The evidence that samples stay far from clustered data, though no mode need be missing; empty if they do not."""
    windows = [window for window in [*earlier[-2 * STUCK + 1 :], now] if "distance" in window.signals]
    if len(windows) < 2 * STUCK or now.signals.get("looseness", 1.0) >= CLUSTERED:
        return ""
    before, after = ([w.signals["distance"] for w in part] for part in (windows[:STUCK], windows[STUCK:]))
    real = fmean(window.signals.get("real_distance", 1.0) for window in windows)
    if min(after) <= FAR * real or fmean(after) <= STAYED * fmean(before):
        return ""
    return (
        f"distance from the data at least {min(after):.2f} in {STUCK} windows, over {FAR:g} times that of real "
        f"samples, {real:.2f}, and no less than before"
    )


def _grown(now: Window, earlier: Sequence[Window]) -> bool:
    """Whether a generator had the variety of the data before."""
    least = {"diversity": GROWN}
    if now.signals.get("looseness", 1.0) < CLUSTERED:
        least["coverage"] = SPREAD
    return any(all(window.signals.get(name, 0.0) >= value for name, value in least.items()) for window in earlier)


def _overfitting(now: Window, earlier: Sequence[Window]) -> Iterator[Alarm]:
    gap = now.signals.get("validation_gap", 0.0)
    for critic in players_with(now, "_sign"):
        sign = now.signals[f"{critic}/_sign"]
        if gap > MEMORISED and sign > SURE:
            yield Alarm(
                verdict="overfitting-discriminator",
                evidence=f"validation gap {gap:.2f}, over {MEMORISED}; sign of real scores {sign:.2f}, over {SURE}",
                advice="augment what critics see (augmentations=[{name: ada, target: 0.6}] for images), use more data, "
                f"or a smaller {critic}",
                shows={"validation_gap": gap, f"{critic}/_sign": sign},
                remedies=(
                    Remedy(summary="augmentations twice as strong", dials={"augmentations.*.strength": 2.0}),
                    _noisy(),
                    *_slower(critic, now),
                ),
            )


def _oscillation(now: Window, earlier: Sequence[Window]) -> Iterator[Alarm]:
    drift, apart = now.signals.get("drift", 0.0), now.signals.get("distance", 1.0)
    chance = now.signals.get("real_distance", 1.0)
    if not _grown(now, earlier) and now.progress < LATE:
        return
    if drift > max(TURNED, apart, 2 * chance) and now.signals.get("diversity", 0.0) >= COLLAPSED:
        yield Alarm(
            verdict="oscillation",
            evidence=f"the modes changed by {drift:.2f} in a window, over {TURNED} and over their distance from the "
            f"data {apart:.2f}",
            advice="halve the learning rates (optimizers.PLAYER.lr), set optimizers.PLAYER.betas=[0.0, 0.99], "
            "or add a penalty (penalties=[{name: r1, weight: 1}])",
            shows={"drift": drift, "distance": apart},
            remedies=(
                *_even(now),
                CALM,
                *_penalized(),
                HALF,
                _noisy(),
                HALF,
                HALF,
                Remedy(summary="optimizers without momentum", dials={"optimizers.*.betas.0": 0.0}, roll_back=False),
            ),
        )


def _codebook(now: Window, earlier: Sequence[Window]) -> Iterator[Alarm]:
    for player in players_with(now, "_code_use"):
        use = now.signals[f"{player}/_code_use"]
        if use < FEW_CODES:
            yield Alarm(
                verdict="codebook-collapse",
                evidence=f"{use:.1%} of the codes are in use, under {FEW_CODES:.0%}",
                advice=f"use fewer codes, draw unused codes anew, or lower the learning rate (optimizers.{player}.lr)",
                shows={f"{player}/_code_use": use},
                remedies=(Remedy(summary="half of the learning rate", dials={f"optimizers.{player}.lr": 0.5}),),
                spoils=True,
            )


def _slower(critic: str, now: Window) -> tuple[Remedy, ...]:
    """A critic that learns as fast as its opponent, if it learned much faster, then less fast, then less often."""
    seldom = Remedy(summary=f"every other update of {critic}", dials={f"turns.{critic}.every": 2.0})
    return *_tamed(critic, _opponents(critic, now)), _tenth(critic), _tenth(critic), seldom


def _tenth(critic: str) -> Remedy:
    return Remedy(summary=f"a tenth of the learning rate of {critic}", dials={f"optimizers.{critic}.lr": 0.1})


def _even(now: Window) -> Iterator[Remedy]:
    """Critics and opponents that learn equally fast, where one of them learned much faster (Heusel et al. 2017,
    arXiv:1706.08500, choose the two rates of a game together)."""
    for critic in players_with(now, "_accuracy"):
        opponents = _opponents(critic, now)
        yield from _tamed(critic, opponents)
        for player in opponents:
            yield _lowered(player, critic)


def _tamed(critic: str, opponents: Sequence[str]) -> Iterator[Remedy]:
    """A critic that learned much faster than its opponent: one with a weak gradient penalty may still learn faster if
    that has its published strength, another one learns as fast. Passed over where it did not learn much faster."""
    for player in opponents[:1]:
        yield Remedy(
            summary=f"the learning rate of {critic} {QUICKER:g} times that of {player}, and gradient penalties of "
            f"at least {GRADIENT:g}",
            lower_to={f"optimizers.{critic}.lr": f"optimizers.{player}.lr"},
            times=QUICKER,
            raise_to={"penalties.r[12].weight": GRADIENT},
        )
        yield _lowered(critic, player)


def _lowered(player: str, other: str) -> Remedy:
    """The learning rate of a player lowered to that of another; passed over where it is not much higher."""
    return Remedy(
        summary=f"the learning rate of {player} as that of {other}",
        lower_to={f"optimizers.{player}.lr": f"optimizers.{other}.lr"},
    )


def _opponents(critic: str, now: Window) -> list[str]:
    """The players that a critic judges, as far as it is known: those that are no critics."""
    critics = players_with(now, "_accuracy")
    return [player for player in players_with(now, "_gradient_norm") if player not in critics]


def _penalized(strength: float = 1.0) -> tuple[Remedy, ...]:
    """A critic with smaller gradients at the data (Mescheder et al. 2018, arXiv:1801.04406): one of the two applies."""
    return (
        Remedy(summary="penalties four times as strong", dials={"penalties.*.weight": 4.0}),
        Remedy(summary="a penalty on changes of scores under small noise", smoothing=0.03 * strength),
    )


def _noisy(strength: float = 1.0) -> Remedy:
    """Roth et al. 2017 (arXiv:1705.09367) show that noise acts like a penalty at the data and at the samples."""
    return Remedy(summary="noise on what critics see", noise=0.25 * strength)
