"""Binary outputs: how real values become notes."""

from __future__ import annotations

import torch
from torch import Tensor

HOW = (
    "threshold: a note sounds where its probability exceeds one half. bernoulli: it is drawn with it. hysteresis: a "
    "note lasts as long as its probability exceeds 0.2, and is played if it exceeds 0.8 meanwhile."
)
HIGH, LOW = 0.8, 0.2


def binarise(logits: Tensor, how: str, density: float | None, latents: Tensor) -> Tensor:
    """``(N, …)`` values before the tanh -> bool of the same shape.

    ``threshold``: true above 0. ``bernoulli``: true with probability (tanh + 1) / 2, from numbers that the row's
    latent seeds, so that a latent always gives the same phrase. ``hysteresis``: see `held`. `density`: the likeliest
    share of each row's cells instead.
    """
    if density is not None:
        flat = logits.flatten(1)
        wanted = max(1, round(density * flat.shape[1]))
        chosen = torch.zeros_like(flat, dtype=torch.bool)
        return chosen.scatter(1, flat.topk(wanted, dim=1).indices, True).view_as(logits)
    if how == "threshold":
        return logits > 0
    probability = torch.sigmoid(2 * logits)
    if how == "hysteresis":
        return held(probability > HIGH, probability > LOW)
    return torch.stack(
        [torch.rand(p.shape, generator=seeded(z)).to(p.device) < p for p, z in zip(probability, latents)]
    )


def held(surely: Tensor, perhaps: Tensor) -> Tensor:
    """``(N, track, bar, step, pitch)`` bool: the notes of `perhaps`, over bar lines, that are `surely` there at some
    step. Two thresholds keep a note whole whose probability wavers, and leave out what is nowhere probable (the
    hysteresis of Canny 1986, along time)."""
    sure, perhaps_line = surely.flatten(2, 3), perhaps.flatten(2, 3)
    found = sure & perhaps_line
    steps = range(1, found.shape[2])
    for step in steps:
        found[:, :, step] |= perhaps_line[:, :, step] & found[:, :, step - 1]
    for step in reversed(steps):
        found[:, :, step - 1] |= perhaps_line[:, :, step - 1] & found[:, :, step]
    return found.view_as(surely)


def seeded(latent: Tensor) -> torch.Generator:
    """A generator whose seed is a function of the bits of one latent."""
    bits = latent.detach().float().cpu().contiguous().flatten().view(torch.int32).to(torch.int64)
    weights = torch.arange(1, len(bits) + 1, dtype=torch.int64) * 2_654_435_761
    return torch.Generator().manual_seed(int((bits * weights).sum().item()) & (2**63 - 1))


def binary(values: Tensor, slope: float, noise: Tensor | None) -> Tensor:
    """Binary neurons: 0 or 1, with the gradient of σ(slope · value).

    Deterministic without `noise`: 1 where the sigmoid exceeds one half; else 1 where it exceeds the noise, U[0, 1).
    """
    probability = torch.sigmoid(slope * values)
    fires = probability > (0.5 if noise is None else noise)
    return fires.to(values.dtype) + probability - probability.detach()
