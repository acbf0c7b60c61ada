"""An hour of CPU time on POP909 and Freedoom: the statistics of MuseGAN's paper, beside those of the data.

    python benchmarks/music/hour.py [SECONDS [FOLDER]]

The paper's own table (Dong et al. 2018, table 2) says how far its hybrid model was from its data: the yardstick here,
since the data are others. The data are held-out phrases; the paper's are those that it trained on, so that distance is
recorded too. Both collections are shown equally often, in the training and in what is held out. What was reached so
far is recorded at every checkpoint; with FOLDER a second call goes on.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from common import COUNT, HERE, Budget, Model, real, record, rows_of, table, train, untrained
from gan import recipe as recipes
from gan.data.pack import Pack
from gan.testing import real_file
from gan_music.rolls import joined

SOURCES = ("pop909.zip", "freedoom_multitrack.zip")
PAPERS = {"empty-bars": 0.0926, "pitch-classes": 1.5875, "qualified-notes": 0.4115, "drum-pattern": 0.173,
          "tonal-distance": 0.2133}  # fmt: skip
"""How far the paper's hybrid is from its training data: means over the tracks (or pairs of tracks) of the absolute
differences in its table; shares, classes, distance."""


def main(seconds: float = 3600.0, folder: str | None = None) -> None:
    with tempfile.TemporaryDirectory() as own:
        place = Path(folder or own)
        data = place / "midi"
        data.mkdir(parents=True, exist_ok=True)
        for name in SOURCES:
            shutil.copyfile(real_file("music", name), data / name)
        values = recipes.read_values(HERE / "hour.yaml")
        values["data"] = {**values["data"], "source": str(data)}
        compared(values, place / "run", seconds)


def compared(values: dict, run: Path, seconds: float) -> None:
    kept, held = real(values)
    fresh = untrained(values)
    rows, trained_on = (rows_of(part) for part in (held, kept))
    truth, before = table(rows, fresh.modality), table(joined(fresh.generate(COUNT, 1)), fresh.modality)
    floor = table(trained_on, fresh.modality)
    print(json.dumps({"training": different(kept), "held out": different(held), "data": truth}), flush=True)
    curve: list[dict[str, float]] = []

    def judge(model: Model, budget: Budget) -> None:
        found = table(joined(model.generate(COUNT // 4, 1)), model.modality)
        curve.append({"cpu_seconds": round(budget.used), "samples": budget.samples, **distances(found, truth)})
        print(curve[-1], flush=True)
        save(model, budget)

    def save(model: Model, budget: Budget) -> None:
        found = table(joined(model.generate(COUNT, 1)), model.modality)
        record(
            "hour",
            {
                "what": f"{values['architecture']} on POP909 and Freedoom, statistics of {COUNT} phrases",
                "cpu_seconds": round(budget.used),
                "samples_shown": budget.samples,
                "different_training_phrases": different(kept),
                "different_held_out_phrases": different(held),
                "never_generated": [key for key in truth if np.isnan(found[key]) and not np.isnan(truth[key])],
                "distance_from_data": distances(found, truth),
                "distance_from_training_phrases": distances(found, floor),
                "distance_of_training_phrases_from_data": distances(floor, truth),
                "distance_of_the_papers_hybrid_from_its_data": PAPERS,
                "on_the_way": curve,
                "data": truth,
                "generated": found,
                "untrained": before,
            },
        )
        model.modality.preview(model.generate(8, 1)).save(HERE / "hour.png")

    model, budget = train(values, run, seconds, judge)
    save(model, budget)


def different(pack: Pack) -> int:
    """Phrases of a pack, of which a balanced one shows some several times."""
    return len(pack) if pack.rows is None else sum(len(np.unique(rows)) for rows in pack.rows.values())


def distances(found: dict[str, float], truth: dict[str, float]) -> dict[str, float]:
    """Means over tracks or pairs of them of the absolute differences, by statistic; tracks that the data leave out in
    a statistic (pitch classes of drums) do not count."""
    far = {}
    for name in PAPERS:
        parts = [key for key in truth if key.startswith(name + "/")] or [name]
        gaps = [abs(found[key] - truth[key]) for key in parts if not np.isnan(found[key]) and not np.isnan(truth[key])]
        far[name] = round(float(np.mean(gaps)), 4)
    return far


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 3600.0, *sys.argv[2:3])
