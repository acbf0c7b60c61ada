"""The report about the health of a run: verdicts, remedies and advice in words, as JSON and as plots."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from shlex import quote
from typing import Any

from gan.contracts import Guard
from gan.contracts.guards import SMOOTHED, SMOOTHING
from gan.reporting.plots import plot_health
from gan.reporting.reporter import Tick
from gan.reporting.side_files import read_recipe
from gan.storage.regular import Broken, read_json, read_regular
from gan.storage.run_folder import RunFolder
from gan.watch.rules import GameGuard
from gan.watch.watch import Watch

PICTURE = "health.png"


def diagnose(run: RunFolder) -> dict[str, Any]:
    """Everything that is known of the health of a run, also of one that has ended or failed.

    A run that was not watched, or of an earlier version, is judged by its records. Keys: ``run``, ``samples``,
    ``mode``, ``state`` (``healthy``, the lasting verdicts, or ``unknown``), ``verdicts``, ``actions``, ``healthy_at``,
    ``settings`` (what to change in the recipe, as ``KEY=VALUE``) and ``picture``, which is written.
    """
    records = run.read_metrics()
    try:
        found: dict[str, Any] = read_json(read_regular(run.health, None), run.health.name)
        verdicts, actions = list(found["verdicts"]), list(found["actions"])
        dials, mode, healthy_at = dict(found["dials"]), str(found["mode"]), int(found["healthy_at"])
        windows = int(found["windows"])
    except (Broken, OSError, KeyError, TypeError, ValueError):
        watch = replayed(records, [GameGuard()])
        verdicts, actions, dials, mode, healthy_at = watch.verdicts, [], {}, "off", 0
        windows = len(watch.windows)
    lasting = [verdict["verdict"] for verdict in verdicts if verdict["until"] is None]
    picture = plot_health(records, verdicts, actions, run.path / PICTURE) if records else None
    return {
        "run": str(run.path),
        "samples": records[-1]["samples"] if records else 0,
        "mode": mode,
        "state": ", ".join(lasting) or ("healthy" if windows else "unknown"),
        "verdicts": verdicts,
        "actions": actions,
        "healthy_at": healthy_at,
        "settings": list(_settings(read_recipe(run), dials)),
        "picture": str(picture) if picture else None,
    }


def health_of(run: RunFolder) -> dict[str, Any]:
    """The report as a page shows it: its ``lines`` and its ``picture``."""
    report = diagnose(run)
    return {"lines": words(report), "picture": report["picture"]}


def replayed(records: Iterable[Mapping[str, Any]], guards: Sequence[Guard]) -> Watch:
    """A watch that has seen the records of a run."""
    watch = Watch("warn", guards, None)
    for record in records:
        terms = {**(record.get("terms") or {}), **(record.get("health") or {})}
        numbers = {name: float(v) for name, v in terms.items() if isinstance(v, int | float)}
        phase, skipped = str(record.get("phase", "")), int(record.get("skipped") or 0)
        watch.tick(Tick(record["samples"], 0, phase, numbers, 0.0, 0.0, skipped, False))
    return watch


def words(report: Mapping[str, Any]) -> list[str]:
    """The report as lines of text."""
    shown = report["samples"]
    lines = [f"{report['state']} after {shown:,} real samples (training.watch: {report['mode']})"]
    if report["state"] == "unknown":
        lines.append("too few ticks were recorded to judge")
    if not report["verdicts"] and report["state"] == "healthy":
        lines.append("no rule raised an alarm in three windows in a row")
    moments = [(verdict["since"], 0, _verdict_in_words(verdict)) for verdict in report["verdicts"]]
    moments += [(action["samples"], 1, _action_in_words(action)) for action in report["actions"]]
    lines += [text for _, _, texts in sorted(moments, key=lambda item: item[:2]) for text in texts]
    if report["settings"]:
        lines.append(
            "to train like this from the beginning: " + " ".join(f"--set {quote(s)}" for s in report["settings"])
        )
    lasting = [verdict for verdict in report["verdicts"] if verdict["until"] is None]
    for verdict in lasting:
        lines.append(f"what to change: {verdict['advice']}")
    if lasting and report["mode"] != "act":
        lines.append("or let the training act by itself: --set training.watch=act")
    if lasting and report["healthy_at"]:
        lines.append(f"the last healthy checkpoint is that of {report['healthy_at']:,} samples")
    return lines


def _verdict_in_words(verdict: Mapping[str, Any]) -> list[str]:
    until = "and lasts" if verdict["until"] is None else f"until {verdict['until']:,}"
    return [
        f"at {verdict['since']:,} samples: {verdict['verdict']} in phase '{verdict['phase']}' begins {until}",
        f"    evidence: {verdict['evidence']}",
    ]


def _action_in_words(action: Mapping[str, Any]) -> list[str]:
    back = action["rolled_back_to"]
    where = "" if back is None else f", back at {back:,} samples" if back else ", from the beginning"
    turned = ", ".join(f"{name} from {old:.3g} to {new:.3g}" for name, (old, new) in action["dials"].items())
    effect = "not known yet" if action["after"] is None else _numbers(action["after"])
    return [
        f"at {action['samples']:,} samples: acted on {action['verdict']}: {action['remedy']}{where} ({turned})",
        f"    before: {_numbers(action['before'])}; two windows later: {effect}",
    ]


def _numbers(values: Mapping[str, float | None]) -> str:
    return ", ".join(f"{name} {'unknown' if value is None else f'{value:.3g}'}" for name, value in values.items())


def _settings(recipe: Mapping[str, Any], dials: Mapping[str, float]) -> Iterable[str]:
    """Settings of a recipe that have the effect of the turned dials, where a recipe has such a setting."""
    for name, factor in sorted(dials.items()):
        section, _, rest = name.partition(".")
        if section == "optimizers":
            player, _, number = rest.partition(".")
            value: Any = recipe.get("optimizers", {}).get(player, {})
            for key in number.split("."):
                value = value[int(key)] if isinstance(value, list) else value.get(key, math.nan)
            if isinstance(value, int | float) and math.isfinite(value):
                yield f"{name}={value * factor:.3g}"
        elif name == SMOOTHING:
            yield f"penalties=[{{name: consistency, weight: {SMOOTHED:g}, noise: {factor:.3g}, fake: 0}}]"
        elif section in ("penalties", "augmentations"):
            kind, _, number = rest.rpartition(".")
            for place, named in enumerate(recipe.get(section, [])):
                if named.get("name") == kind and isinstance(named.get(number), int | float):
                    yield f"{section}.{place}.{number}={named[number] * factor:.3g}"
