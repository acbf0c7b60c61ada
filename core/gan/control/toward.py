"""Optimized latents: the nearest latents whose samples have a higher score.

Adam on the latents, with a pull to where they began. Where gradients pass the score (a classifier) they are used; else
the gradient is estimated from the ranked scores of mirrored random steps (evolution strategies: Salimans et al. 2017,
arXiv:1703.03864), which any attribute and any rounding of samples allows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gan.contracts import SmoothLatentSpace
from gan.control.model import LatentModel, Latents
from gan.control.scores import Score
from gan.draws import SeededDraws, derive
from gan.runtime.signals import check_stop

RATE = 0.02
PULL = 0.005
"""Adam's learning rate, and the weight of the squared distance from the start, for latents of deviation 1."""
SPREAD = 0.3
"""Deviation of the random steps that a gradient is estimated from, in deviations of the latents."""
PAIRS = 16
"""Mirrored pairs of random steps in one estimate."""


@dataclass
class Optimized:
    """Latents on their way to a higher score."""

    latents: Latents
    """The last ones, ``(N, …)``."""
    way: list[Latents]
    """After equal shares of the steps, from the start to the end."""
    scores: list[list[float]]
    """The score of each sample at each stop of the way."""


def toward(
    model: LatentModel,
    latents: Latents,
    name: str,
    *,
    steps: int = 200,
    stops: int = 7,
    downward: bool = False,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
) -> Optimized:
    """Raise (`downward`: lower) the score `name` (`gan.control.scores`) of the samples of latents.

    Each sample is optimized by itself, with random numbers of its own place in `latents`.
    """
    score = Score(model, name)
    deviation = float(model.draw(256, derive(seed, "toward"), options=options).values.std(0).square().mean().sqrt())
    sign = -1.0 if downward else 1.0
    stop_at = {round(number * steps / (stops - 1)): number for number in range(stops)}
    ways: list[list[Tensor]] = []
    for row in range(len(latents)):
        one = latents.rows(slice(row, row + 1))
        variable = one.values.clone().requires_grad_()
        optimizer = torch.optim.Adam([variable], lr=RATE * deviation)
        draws = SeededDraws([derive(seed, "toward", row, pair) for pair in range(PAIRS)], model.device)
        way = []
        for step in range(steps + 1):
            check_stop()
            if step in stop_at:
                way.append(variable.detach().clone())
            if step == steps:
                break
            gradient = _gradient(model, score, variable, one, options)
            if gradient is None:
                gradient = _estimate(model, score, variable.detach(), one, deviation, draws, options)
            pull = 2 * PULL * (variable.detach() - one.values) / deviation**2
            variable.grad = pull - sign * gradient
            optimizer.step()
        ways.append(way)
    stations = [Latents(torch.cat([way[stop] for way in ways]), latents.given) for stop in range(stops)]
    scores = [score.of(model.decode(station, options=options)).tolist() for station in stations]
    return Optimized(stations[-1], stations, scores)


def _gradient(
    model: LatentModel, score: Score, variable: Tensor, one: Latents, options: Mapping[str, Any] | None
) -> Tensor | None:
    """The gradient of the score, of the length of the latent's deviation; None where none passes."""
    if not isinstance(model.architecture, SmoothLatentSpace):
        return None
    rows = model._rows(one.given, 0, 1) or None
    value = score.smooth(model.smooth(variable, rows, model._options(options or {})))
    if value is None:
        return None
    (gradient,) = torch.autograd.grad(value.sum(), variable)
    unit: Tensor = gradient / gradient.norm().clamp_min(1e-12)
    return unit


def _estimate(
    model: LatentModel,
    score: Score,
    here: Tensor,
    one: Latents,
    deviation: float,
    draws: SeededDraws,
    options: Mapping[str, Any] | None,
) -> Tensor:
    """The direction of ascent that ranked scores of mirrored steps suggest, of length 1."""
    shape = here.shape[1:]
    steps = draws.randn(shape[-1]).view(PAIRS, *[1] * (len(shape) - 1), shape[-1]).expand(PAIRS, *shape)
    if model.space_name == "z":
        steps = draws.randn(*shape)
    moved = torch.cat([here + SPREAD * deviation * steps, here - SPREAD * deviation * steps])
    given = {name: np.repeat(value, 2 * PAIRS, 0) for name, value in one.given.items()}
    values = score.of(model.decode(Latents(moved, given), options=options))
    ranks = torch.from_numpy(np.argsort(np.argsort(values, kind="stable"), kind="stable")).to(here)
    gain = (ranks[:PAIRS] - ranks[PAIRS:]) * float(np.ptp(values) > 0)
    found: Tensor = torch.einsum("n,n...->...", gain, steps)[None]
    found = found / found.norm().clamp_min(1e-12)
    return found
