"""Binary neurons and binarisation: how real-valued outputs become notes."""

from __future__ import annotations

import math

import torch
from torch import Tensor

BINARISATION = (
    "threshold: a note sounds where its probability exceeds one half. bernoulli: it sounds at random, with its "
    "probability. hysteresis: a note lasts as long as its probability exceeds 0.2, if it exceeds 0.8 at some step."
)
"""Description of the setting `binarisation`."""
HIGH, LOW = 0.8, 0.2
LEAST = 0.02
"""Smallest probability of an onset, and of none, in a line: critics see probabilities, which are often too sure."""
AGAIN = 0.125
"""Share of a line's notes that repeat the pitch before them (Bach's chorales: 0.13): where a note begins, an undecided
generator should change its pitch."""
SILENCE = 0.02
"""Odds of silence in a voice. An undecided generator divides its probability between notes, none of which then has
much: a voice rests only where there is hardly any."""


def binarise(logits: Tensor, how: str, density: float | None, latents: Tensor) -> Tensor:
    """``(N, …)`` values before the tanh -> bool of the same shape.

    ``threshold``: true above 0. ``bernoulli``: true with probability (tanh + 1) / 2, from numbers seeded by the row's
    latent, so that a latent always gives the same phrase. ``hysteresis``: see `held`. With `density`, the most likely
    cells up to that share of each row are true instead.
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
    """The notes of `perhaps` that are in `surely` at some step: ``(N, track, bar, step, pitch)`` bool.

    Two thresholds keep a note whole whose probability wavers, and leave out what is probable nowhere (the hysteresis of
    Canny 1986, along time).
    """
    sure, perhaps_line = surely.flatten(2, 3), perhaps.flatten(2, 3)
    found = sure & perhaps_line
    steps = range(1, found.shape[2])
    for step in steps:
        found[:, :, step] |= perhaps_line[:, :, step] & found[:, :, step - 1]
    for step in reversed(steps):
        found[:, :, step - 1] |= perhaps_line[:, :, step - 1] & found[:, :, step]
    return found.view_as(surely)


def of_one_voice(notes: Tensor) -> Tensor:
    """``(…, pitch)`` independent probabilities p of notes -> those of a voice that sings at most one of them.

    In proportion p / (1 - p) for each pitch and `SILENCE` for silence. (With 1 for silence they would be the
    independent ones, given that at most one sounds.)
    """
    odds = notes.clamp(max=1 - 1e-6) / (1 - notes.clamp(max=1 - 1e-6))
    return odds / (SILENCE + odds.sum(-1, keepdim=True))


def one_note(probabilities: Tensor, chance: Tensor | None = None) -> Tensor:
    """``(…, pitch)`` probabilities of the pitches of one voice -> bool, at most one true in a row; the rest of the
    probability is that of silence.

    The most probable of them, or with `chance` ``(…, 1)`` from U[0, 1) one at random.
    """
    if chance is not None:
        upper = probabilities.cumsum(-1)
        return (chance < upper) & (chance >= upper - probabilities)
    best, place = probabilities.max(-1, keepdim=True)
    found = torch.zeros_like(probabilities, dtype=torch.bool).scatter(-1, place, 1)
    return found & (best > 1 - probabilities.sum(-1, keepdim=True))


def one_line(probabilities: Tensor, how: str, latents: Tensor) -> Tensor:
    """The line of each track ``(N, track, bar, step, pitch)``, bool, at most one note at a step.

    ``threshold``: the most probable state of each step, a pitch or silence. ``bernoulli``: a random one, from numbers
    seeded by the row's latent. ``hysteresis``: the most probable sequence of states where each change costs
    log(0.8 / 0.2) (the algorithm of Viterbi 1967), so that a note lasts although its probability wavers.
    """
    if how == "bernoulli":
        drawn = [torch.rand(p[..., :1].shape, generator=seeded(z)) for p, z in zip(probabilities, latents)]
        return one_note(probabilities, torch.stack(drawn).to(probabilities.device))
    if how == "threshold":
        return one_note(probabilities)
    silence = 1 - probabilities.sum(-1, keepdim=True)
    logs = torch.cat([probabilities, silence], -1).clamp(min=1e-6).log().flatten(2, 3)
    cost = math.log(HIGH / LOW)
    score, came_from = logs[:, :, 0], []
    states = torch.arange(logs.shape[-1], device=logs.device)
    for step in range(1, logs.shape[2]):
        best, place = score.max(-1, keepdim=True)
        stays = score >= best - cost
        came_from.append(torch.where(stays, states, place))
        score = torch.where(stays, score, best - cost) + logs[:, :, step]
    path = [score.argmax(-1, keepdim=True)]
    for before in reversed(came_from):
        path.append(before.gather(-1, path[-1]))
    line = torch.stack(path[::-1], 2)  # (N, track, time, 1)
    found = torch.zeros_like(logs, dtype=torch.bool).scatter(-1, line, 1)[..., :-1]
    return found.view_as(probabilities)


def one_line_of_onsets(probabilities: Tensor, begins: Tensor) -> tuple[Tensor, Tensor]:
    """The most probable line of each track that changes its pitch where a note begins, by the algorithm of Viterbi.

    `probabilities` are those of `of_one_voice` ``(N, track, bar, step, pitch)``, `begins` ``(N, track, bar, step, 1)``
    that a note begins at a step. A line sounds on with 1 - begins, changes its pitch with begins · (1 - `AGAIN`) and
    repeats it with begins · `AGAIN`; it falls silent at the cost of a change in `one_line`, at any step. Returns ``(N,
    track, bar, step, pitch)`` and ``(N, track, bar, step, 1)``, bool: the line, and where one of its notes begins.
    """
    silence = 1 - probabilities.sum(-1, keepdim=True)
    logs = torch.cat([probabilities, silence], -1).clamp(min=1e-6).log().flatten(2, 3)
    begins = begins.flatten(2, 3).clamp(LEAST, 1 - LEAST)
    stay, repeat, change = (1 - begins).log(), (begins * AGAIN).log(), (begins * (1 - AGAIN)).log()
    states = torch.arange(logs.shape[-1], device=logs.device)
    quiet = states == len(states) - 1
    score, came_from, begun = logs[:, :, 0], [], []
    for step in range(1, logs.shape[2]):
        best = score.topk(2, -1)
        own = states == best.indices[..., :1]  # the best state does not change to itself
        place = torch.where(own, best.indices[..., 1:], best.indices[..., :1])
        other = torch.where(own, best.values[..., 1:], best.values[..., :1])
        other = other + torch.where(quiet, -math.log(HIGH / LOW), change[:, :, step])
        same = score + torch.where(quiet, -torch.inf, repeat[:, :, step])
        on = score + stay[:, :, step]
        arrives = other > torch.maximum(same, on)
        came_from.append(torch.where(arrives, place, states))
        begun.append(arrives | (same > on))
        score = torch.maximum(torch.maximum(same, on), other) + logs[:, :, step]
    path, found = [score.argmax(-1, keepdim=True)], []
    for before, starts in zip(reversed(came_from), reversed(begun), strict=True):
        found.append(starts.gather(-1, path[-1]))
        path.append(before.gather(-1, path[-1]))
    found.append(begins[:, :, 0] > 0.5)
    line = torch.stack(path[::-1], 2)  # (N, track, time, 1)
    sounds = torch.zeros_like(logs, dtype=torch.bool).scatter(-1, line, 1)[..., :-1]
    starts = torch.stack(found[::-1], 2)
    shape = probabilities.shape
    return sounds.view(shape), starts.view(*shape[:-1], 1)


def seeded(latent: Tensor) -> torch.Generator:
    """A random number generator whose seed is a function of the bits of one latent."""
    bits = latent.detach().float().cpu().contiguous().flatten().view(torch.int32).to(torch.int64)
    weights = torch.arange(1, len(bits) + 1, dtype=torch.int64) * 2_654_435_761
    return torch.Generator().manual_seed(int((bits * weights).sum().item()) & (2**63 - 1))


def binary(values: Tensor, slope: float, noise: Tensor | None) -> Tensor:
    """Binary neurons: 0 or 1, with the gradient of σ(slope · value).

    Without `noise` they are deterministic: 1 where the sigmoid exceeds one half. With noise from U[0, 1) they are
    stochastic: 1 where the sigmoid exceeds it.
    """
    probability = torch.sigmoid(slope * values)
    fires = probability > (0.5 if noise is None else noise)
    return fires.to(values.dtype) + probability - probability.detach()
