"""Shared code of the benchmarks of control: resumable training, curves over strengths, records."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import gan
import numpy as np
from gan.api import train
from gan.control.controlled import ControlledModel
from gan.control.model import Latents
from gan.control.scores import Score
from gan.reporting.manifest import surroundings

HERE = Path(__file__).parent
STRENGTHS = (-2.0, -1.0, 0.0, 1.0, 2.0)


def trained(values: dict[str, Any], folder: Path) -> ControlledModel:
    """The run in `folder`, trained or continued until its end; a run that is being trained elsewhere is measured as it
    is when `values` is empty."""
    if values:
        train(values, out=folder, or_resume=True)
    return gan.load(folder, device="cpu")


def curves(model: ControlledModel, direction: str, scores: list[str], count: int, seed: int) -> dict[str, Any]:
    """The mean of each score at each strength, and how many samples' scores rise from strength to strength.

    The drift of another score is its largest change of the mean, over its standard deviation in samples at strength 0.
    """
    start = model.draw(count, seed)
    vector = model.directions[direction]
    found: dict[str, list[Any]] = {name: [] for name in scores}
    for strength in STRENGTHS:
        samples = model.decode(Latents(start.values + strength * vector, start.given))
        for name in scores:
            found[name].append(Score(model, name).of(samples))
    return summary({name: np.stack(values) for name, values in found.items()}, direction)


def summary(values: dict[str, np.ndarray], own: str) -> dict[str, Any]:
    """Means, steps and drifts of scores ``(strengths, N)``."""
    result: dict[str, Any] = {"strengths": list(STRENGTHS), "samples": values[own].shape[1]}
    middle = len(STRENGTHS) // 2
    for name, each in values.items():
        means = each.mean(1)
        deviation = each[middle].std()
        result[name] = {
            "means": means.round(4).tolist(),
            "monotone": bool((np.diff(means) > 0).all()),
            "share of rising steps": float((np.diff(each, axis=0) > 0).mean()),
            "change from -1 to 1, in deviations": float((means[middle + 1] - means[middle - 1]) / deviation),
            "drift, in deviations": float(np.abs(means - means[middle]).max() / deviation),
        }
    return result


def record(name: str, values: dict[str, Any], model: ControlledModel) -> None:
    """Write a result with the run, the machine and the versions."""
    assert model.folder is not None
    recipe = re.sub(
        r"source: /\S*?(\w+/\w+)$", r"source: \1", model.folder.recipe.read_text(encoding="utf-8"), flags=re.M
    )
    about = {"real_samples_shown": model.trained, "recipe": recipe, "machine": surroundings()}
    (HERE / f"{name}.json").write_text(json.dumps({**values, **about}, indent=1, ensure_ascii=False) + "\n")
    print(json.dumps(values, indent=1, ensure_ascii=False))
