"""False alarms: shortened healthy trainings of every plugin's default recipe over five seeds; none should be raised.

    python benchmarks/watch/healthy.py [--seeds 0 1 2 3 4] [--out FILE]

Windows are shorter than those of a full training (`SPACING`), so that a shortened training, which is the part in which
signals change most, is judged as often as possible. The thresholds were chosen on seed 100.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import gan.watch.watch
from common import HERE, WORK, plugins, record, recorded, train
from gan.reporting.manifest import surroundings

SPACING = 200
"""Real samples in a window instead of 2,400 (the toy plugin's have 5,120)."""
SAMPLES = {"toy": 256_000, "image": 4800, "music": 1600, "text": 1200, "audio": 1600, "video": 1200, "3d": 1600}
"""Real samples shown by plugin, of 256,000, 60,000, 80,000, 24,000, 48,000, 30,000 and 24,000 in the recipes."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--plugins", nargs="+", default=list(SAMPLES))
    parser.add_argument("--out", type=Path, default=HERE / "healthy.json")
    arguments = parser.parse_args()
    gan.watch.watch.SPACING = SPACING
    known = plugins()
    result = recorded(arguments.out)
    runs = result.setdefault("runs", {})
    for seed in arguments.seeds:
        for plugin in arguments.plugins:
            name = f"{plugin}/{seed}"
            if name in runs:
                continue
            out = WORK / f"healthy-{plugin}-{seed}"
            shutil.rmtree(out, ignore_errors=True)
            found = train(
                known, out, plugin, None, [] if plugin == "toy" else ["training.tick=200"], seed, SAMPLES[plugin]
            )
            shutil.rmtree(out)
            signals = found.pop("signals")
            runs[name] = {**found, "last": signals[-1], "lowest": _extremes(signals)}
            print(
                name,
                found["windows"],
                [v["verdict"] for v in found["verdicts"]],
                round(found["cpu_seconds"]),
                flush=True,
            )
            false = sum(bool(run["verdicts"]) for run in runs.values())
            result["trainings"] = len(runs)
            result["windows"] = sum(run["windows"] for run in runs.values())
            result["trainings_with_a_false_alarm"] = false
            result["share_of_false_alarms"] = false / len(runs)
            result["samples"], result["spacing"] = SAMPLES, SPACING
            result["machine"] = surroundings()
            record(arguments.out, result)


def _extremes(signals: list[dict]) -> dict[str, list[float]]:
    """Signal -> its smallest and largest value from the fourth window on."""
    names = sorted({name for window in signals for name in window if name != "samples"})
    late = signals[3:] or signals
    found = {}
    for name in names:
        values = [window[name] for window in late if window.get(name) is not None]
        if values:
            found[name] = [min(values), max(values)]
    return found


if __name__ == "__main__":
    main()
