"""Paths through a latent space: from seed to seed, closed loops at an even pace, and planes between three seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from gan.contracts import Samples
from gan.control.model import LatentModel, Latents
from gan.errors import UsageError
from gan.generation import conditions as of_conditions

Array: TypeAlias = np.ndarray[Any, Any]
FINER = 4
"""Positions that are measured for each sample of a path at an even pace."""
ROUNDS = 3
"""Corrections of the positions of an even pace by the distances of its own samples."""


@dataclass
class Path:
    """A path through latents, one after the other, with their conditions."""

    model: LatentModel
    keys: Latents
    """The latents that it passes; of a loop, the last ones are the first ones."""

    @classmethod
    def of(cls, model: LatentModel, seeds: Sequence[int], *, loop: bool = False, **how: Any) -> Path:
        """The path through the first samples of seeds. `how` is passed to `LatentModel.draw`.

        Raises `UsageError` for fewer than two seeds.
        """
        if len(seeds) < 2:
            raise UsageError("a path needs at least two seeds")
        ends = [model.draw(1, seed, **how) for seed in seeds]
        return cls.through(model, [*ends, ends[0]] if loop else ends)

    @classmethod
    def through(cls, model: LatentModel, ends: Sequence[Latents]) -> Path:
        """The path through single samples' latents."""
        given = {name: [end.given[name] for end in ends] for name in ends[0].given}
        fields = model.modality.fields
        for name, values in given.items():
            if len({value.ndim for value in values}) > 1:  # a class beside shares of classes
                eye = np.eye(len(fields[name].names), dtype=np.float32)
                given[name] = [value if value.ndim == 2 else eye[value] for value in values]
        keys = Latents(torch.cat([end.values for end in ends]), {n: np.concatenate(v) for n, v in given.items()})
        return cls(model, keys)

    @property
    def last(self) -> int:
        """The position of the last key; that of the first one is 0."""
        return len(self.keys) - 1

    def at(self, positions: Array) -> Latents:
        """The latents at positions ``(n,)`` in 0 … `last`; exactly the keys at whole numbers."""
        first = np.minimum(np.floor(positions).astype(int), self.last - 1)
        share = positions - first
        after = first + 1
        values = self.keys.values
        at = torch.as_tensor(share, dtype=torch.float32, device=values.device)
        found = self.model.between(values[first], values[after], at)
        for exact, key in ((share == 0, first), (share == 1, after)):
            where = torch.as_tensor(exact, device=values.device).view(-1, *[1] * (values.ndim - 1))
            found = torch.where(where, values[key], found)
        fields = self.model.modality.fields
        mixes = getattr(self.model.architecture, "mixes_classes", False)
        given = {}
        for name, rows in self.keys.given.items():
            each = [
                of_conditions.between(
                    rows[a : a + 1], rows[a + 1 : a + 2], share[first == a], fields[name], mixes=mixes
                )
                for a in sorted(set(first.tolist()))
            ]
            given[name] = np.concatenate(_alike(each, len(fields[name].names)))[
                np.argsort(np.argsort(first, kind="stable"))
            ]
        return Latents(found, given)

    def decode(self, latents: Latents, **how: Any) -> Samples:
        """The samples of latents on the path. The last one of a loop is its first one, bit for bit.

        Without, its numbers could differ by the rounding of the batch that it is in. `how` is passed to
        `LatentModel.decode`.
        """
        ends = latents.values[0], latents.values[-1]
        if len(latents) < 2 or not torch.equal(*ends) or not torch.equal(self.keys.values[0], self.keys.values[-1]):
            return self.model.decode(latents, **how)
        samples = self.model.decode(latents.rows(slice(0, -1)), **how)
        return {name: np.concatenate([values, values[:1]]) for name, values in samples.items()}

    def equal(self, count: int) -> Array:
        """`count` positions from the first key to the last, at equal steps."""
        return np.linspace(0, self.last, count)

    def even(self, count: int, distances: Callable[[Latents], Array]) -> Array:
        """`count` positions between which the samples change by nearly equal distances.

        ``distances(latents)`` are those between neighbours of N samples, ``(N - 1,)``. They are measured on a finer
        path, and then on the path itself, by whose distances the positions are corrected.
        """
        finer = self.equal(max(2, FINER * (count - 1) + 1))
        positions = _redistributed(finer, distances(self.at(finer)), count)
        best = (np.inf, positions)
        for _ in range(ROUNDS):
            found = distances(self.at(positions))
            best = min(best, (variation(found), positions), key=lambda pair: pair[0])
            positions = _redistributed(positions, found, count)
        return min(best, (variation(distances(self.at(positions))), positions), key=lambda pair: pair[0])[1]


def _alike(values: Sequence[Array], classes: int) -> list[Array]:
    """Classes as shares where others are shares."""
    if len({value.ndim for value in values}) == 1:
        return list(values)
    return [value if value.ndim == 2 else np.eye(classes, dtype=np.float32)[value] for value in values]


def _redistributed(positions: Array, distances: Array, count: int) -> Array:
    """`count` positions at equal steps of the way along `positions` whose steps have these distances."""
    way = np.concatenate([[0.0], np.cumsum(np.maximum(distances, 1e-12))])
    found = np.interp(np.linspace(0, way[-1], count), way, positions)
    found[0], found[-1] = positions[0], positions[-1]
    return np.asarray(found)


def variation(distances: Array) -> float:
    """The coefficient of variation of the steps: their standard deviation over their mean; 0 is an even pace."""
    mean = float(distances.mean())
    return float(distances.std() / mean) if mean else 0.0


def plane(model: LatentModel, corners: Latents, side: int) -> Latents:
    """``side · side`` latents of the plane through three samples' latents, in rows.

    The first is in the upper left corner, the second at the right, the third below; the fourth corner completes the
    parallelogram (with the mean length of the second and the third where latents lie on a sphere).
    """
    a, b, c = corners.values[0:1], corners.values[1:2], corners.values[2:3]
    d = b + c - a
    half = torch.full((1,), 0.5, device=a.device)
    middle = model.between(b, c, half)
    if not torch.allclose(middle, (b + c) / 2, rtol=1e-4, atol=1e-5):  # not on lines, so on circles
        d = d * (b.norm() + c.norm()) / 2 / d.norm().clamp_min(1e-12)
    steps = torch.linspace(0, 1, side, device=a.device)
    across, down = steps.repeat(side), steps.repeat_interleave(side)
    many = len(across)

    def edge(one: Tensor, other: Tensor) -> Tensor:
        return model.between(one.expand(many, *one.shape[1:]), other.expand(many, *one.shape[1:]), across)

    values = model.between(edge(a, b), edge(c, d), down)
    fields, given = model.modality.fields, {}
    mixes = getattr(model.architecture, "mixes_classes", False)
    u, v = across.cpu().numpy(), down.cpu().numpy()
    for name, rows in corners.given.items():
        top = of_conditions.between(rows[0:1], rows[1:2], u, fields[name], mixes=mixes)
        if not fields[name].names:
            given[name] = (top + v * (rows[2] - rows[0])).astype(fields[name].dtype)
        elif mixes:
            eye = np.eye(len(fields[name].names), dtype=np.float32)
            shares = rows if rows.ndim == 2 else eye[rows]
            mixed = shares[0] + u[:, None] * (shares[1] - shares[0]) + v[:, None] * (shares[2] - shares[0])
            mixed = np.maximum(mixed, 0)
            given[name] = np.asarray(mixed / mixed.sum(1, keepdims=True), np.float32)
        else:
            given[name] = np.where((v > 0.5) & (v > u), rows[2], top)
    return Latents(values, given)


def distance_of(
    model: LatentModel, name: str = "", options: Mapping[str, Any] | None = None
) -> Callable[[Latents], Array]:
    """``(latents) -> (N - 1,)``: the distances of neighbouring samples, by an extractor of this name.

    Without a name it is the modality's perceptual extractor where its weights are at hand, else samples before rounding
    are compared number by number.
    """
    from gan.control.features import comparison

    features = comparison(model, name)

    def distances(latents: Latents) -> Array:
        vectors = features(latents, options)
        return np.asarray(np.linalg.norm(np.diff(vectors.astype(np.float64), axis=0), axis=1))

    return distances
