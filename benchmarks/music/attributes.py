"""Measures whether a model conditioned on density and register follows them: requested beside measured values.

The recipe `control` (FrameGAN on Bach's chorales), `SECONDS` of CPU time at most. Each attribute is requested at
five quantiles of the data, with the other one sampled from the data's nearest phrases, and phrase by phrase at values
of real phrases. As a baseline without control, the same is measured with the conditions permuted among phrases.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from common import record, train
from gan.api import recipe
from gan.generation.model import Model
from gan_music.attributes import ATTRIBUTES, UNITS
from gan_music.rolls import joined
from scipy.stats import spearmanr

SECONDS = 240
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
PHRASES = 64
PAIRS = 512


def measured(model: Model, rolls: np.ndarray) -> dict[str, np.ndarray]:
    """Attribute -> its value in each phrase."""
    return {
        name: np.array([attribute(roll, model.modality.grid) for roll in rolls])
        for name, attribute in ATTRIBUTES.items()
    }


def agreement(asked: np.ndarray, found: np.ndarray) -> dict[str, float]:
    """Rank correlation, mean absolute difference, and the same when the phrases are dealt to others."""
    dealt = np.random.default_rng(0).permutation(found)
    return {
        "spearman": round(float(spearmanr(asked, found).statistic), 4),
        "difference": round(float(np.abs(asked - found).mean()), 4),
        "spearman of dealt": round(float(spearmanr(asked, dealt).statistic), 4),
        "difference of dealt": round(float(np.abs(asked - dealt).mean()), 4),
    }


def study(model: Model) -> dict[str, Any]:
    """Everything that is recorded of a trained model."""
    kept = model.conditions.rows
    result: dict[str, Any] = {"levels": {}, "pairs": {}, "units": dict(UNITS)}
    for name in ATTRIBUTES:
        rows, asked, found = [], [], []
        for number, share in enumerate(LEVELS):
            wanted = float(np.quantile(kept[name], share))
            rolls = joined(model.generate(PHRASES, seed=number, conditions={name: wanted}))
            here = measured(model, rolls)
            other = next(each for each in ATTRIBUTES if each != name)
            rows.append(
                {
                    "quantile": share,
                    "asked": round(wanted, 3),
                    "mean": round(float(here[name].mean()), 3),
                    "deviation": round(float(here[name].std()), 3),
                    f"mean {other}": round(float(here[other].mean()), 3),
                }
            )
            asked.append(np.full(PHRASES, wanted))
            found.append(here[name])
        result["levels"][name] = {"rows": rows, **agreement(np.concatenate(asked), np.concatenate(found))}
    given = {name: values[:PAIRS] for name, values in kept.items()}
    made = measured(model, joined(model.generate(PAIRS, seed=9, given=given)))
    for name in ATTRIBUTES:
        result["pairs"][name] = {
            **agreement(given[name], made[name]),
            "data's deviation": round(float(kept[name].std()), 3),
        }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, default=Path("runs/benchmark-attributes"))
    run = parser.parse_args().run
    values = recipe("music", named="control")
    values["evaluation"] = {**values["evaluation"], "metrics": []}
    model, budget = train(values, run, SECONDS)
    result = study(model)
    record(
        "attributes",
        {
            "what": "asked and measured attributes",
            "CPU seconds": round(budget.used),
            "phrases shown": model.trained,
            **result,
        },
    )
    for name, found in result["levels"].items():
        print(name, found)
    print(result["pairs"])


if __name__ == "__main__":
    main()
