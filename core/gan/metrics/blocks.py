"""Neighbours among many feature vectors: products in blocks on the evaluation's device, decisions in float64.

Float32 products find the pairs that matter: candidates for the nearest neighbours, and pairs so close to a radius that
float32 cannot tell on which side they are. Those few distances are computed again from the vectors in float64, so that
neighbours and comparisons are those of float64 arithmetic while products cost what float32 costs. Memory is one block
and the two sets in float32; time is quadratic.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

Array: TypeAlias = np.ndarray[Any, Any]

QUERIES, BASE = 2048, 8192
"""Rows and columns of a block."""
SPARE = 4
"""Further candidates for the nearest neighbours, among which float32 may confuse the order."""
EXACT = 1 << 16
"""Numbers of the vectors that are compared in float64 at once."""
ROUNDING = 1e-13
"""A squared distance from float64 products below this share of ``|x|² + |y|²`` is a rounding error."""
MANY = 0.01
"""Share of a block from which on it is computed in float64 as a whole: sets of many equal vectors."""
_device: ContextVar[str] = ContextVar("device of metrics", default="cpu")


@contextmanager
def computing_on(device: str) -> Iterator[None]:
    """A context in which the products of metrics are computed on a device, as torch names it."""
    token = _device.set(device)
    try:
        yield
    finally:
        _device.reset(token)


@contextmanager
def full_precision() -> Iterator[None]:
    """A context in which float32 products are float32: trainings may have allowed TF32."""
    import torch

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def product(first: Array, second: Array) -> Array:
    """``(n, d), (m, d) -> (n, m)``: products of rows in float32 on the evaluation's device."""
    import torch

    with full_precision():
        device = _device.get()
        a, b = (torch.from_numpy(np.ascontiguousarray(x, np.float32)).to(device) for x in (first, second))
        found: Array = (a @ b.T).cpu().numpy()
    return found


class _Pair:
    """Two sets on the device, moved so that the second has the mean 0: fewer digits cancel near the origin."""

    def __init__(self, queries: Array, base: Array) -> None:
        self.queries, self.base = queries, base
        self.centre = centre = base.mean(axis=0, dtype=np.float64)
        self.rows, self.row_norms = _moved(queries, centre)
        own = base is queries
        self.columns, self.column_norms = (self.rows, self.row_norms) if own else _moved(base, centre)
        self.error = 4 * math.sqrt(queries.shape[1]) * 2.0**-24
        """Error of a squared distance as a share of ``|x|² + |y|²``: many times that of a float32 product."""

    def blocks(self) -> Iterator[tuple[slice, slice, Tensor]]:
        """(rows, columns, squared distances) of all blocks, column by column within a row of blocks."""
        import torch

        with full_precision(), torch.no_grad():
            for top in range(0, len(self.rows), QUERIES):
                rows = slice(top, min(top + QUERIES, len(self.rows)))
                for left in range(0, len(self.columns), BASE):
                    columns = slice(left, min(left + BASE, len(self.columns)))
                    found = torch.addmm(self.column_norms[columns], self.rows[rows], self.columns[columns].T, alpha=-2)
                    yield rows, columns, found.add_(self.row_norms[rows, None])

    def exact(self, rows: Array, columns: Array) -> Array:
        """Squared distances in float64 of the pairs ``(rows[i], columns[i])``."""
        found = np.empty(len(rows))
        step = max(1, EXACT // self.queries.shape[1])
        for at in range(0, len(rows), step):
            part = slice(at, at + step)
            difference = self.queries[rows[part]].astype(np.float64) - self.base[columns[part]]
            found[part] = np.einsum("ij,ij->i", difference, difference)
        return found

    def exact_block(self, rows: slice, columns: slice) -> Array:
        """Squared distances of a block from products in float64; those of doubles are 0."""
        first, second = self.queries[rows] - self.centre, self.base[columns] - self.centre
        scale = np.einsum("ij,ij->i", first, first)[:, None] + np.einsum("ij,ij->i", second, second)
        found: Array = scale - 2 * (first @ second.T)
        found[found < ROUNDING * scale] = 0.0
        return found


def _moved(rows: Array, centre: Array) -> tuple[Tensor, Tensor]:
    import torch

    moved, norms = np.empty(rows.shape, np.float32), np.empty(len(rows), np.float32)
    for at in range(0, len(rows), 1024):
        part = rows[at : at + 1024] - centre
        moved[at : at + 1024], norms[at : at + 1024] = part, np.einsum("ij,ij->i", part, part)
    device = _device.get()
    return torch.from_numpy(moved).to(device), torch.from_numpy(norms).to(device)


def nearest(queries: Array, base: Array | None, k: int) -> tuple[Array, Array]:
    """Squared distances ``(n, k)`` float64, ascending, and indices ``(n, k)`` of the k nearest rows of `base`.

    None stands for the other rows of `queries`.
    """
    import torch

    own = base is None
    base = queries if base is None else base
    pair = _Pair(queries, base)
    candidates = min(k + SPARE, len(base) - own)
    distances, indices = np.empty((len(queries), k)), np.empty((len(queries), k), np.int64)
    best: list[tuple[Tensor, Tensor]] = []
    for rows, columns, found in pair.blocks():
        if own:
            first, last = max(rows.start, columns.start), min(rows.stop, columns.stop)
            inside = torch.arange(first, max(first, last), device=found.device)
            found[inside - rows.start, inside - columns.start] = torch.inf
        value, index = found.topk(min(candidates, found.shape[1]), dim=1, largest=False, sorted=False)
        best.append((value, index + columns.start))
        if columns.stop < len(base):
            continue
        value, index = (torch.cat(parts, 1) for parts in zip(*best))
        index = index.gather(1, value.topk(candidates, dim=1, largest=False, sorted=False).indices)
        best = []
        near = np.sort(index.cpu().numpy(), axis=1)
        at = np.arange(rows.start, rows.stop).repeat(candidates)
        squares = pair.exact(at, near.reshape(-1)).reshape(near.shape)
        order = squares.argsort(axis=1, kind="stable")[:, :k]
        distances[rows], indices[rows] = np.take_along_axis(squares, order, 1), np.take_along_axis(near, order, 1)
    return distances, indices


def within(queries: Array, base: Array, *, query_radii: Array | None, base_radii: Array | None) -> dict[str, Array]:
    """Counts of the pairs whose squared distance is at most a squared radius.

    Where `base_radii` are given: ``"balls"`` ``(n,)``, the balls of `base` around each query, and ``"visitors"``
    ``(m,)``, the queries in each ball of `base`. Where `query_radii` are: ``"reached"`` ``(m,)``, the balls of the
    queries around each row of `base`.
    """
    import torch

    pair = _Pair(queries, base)
    device = pair.rows.device
    radii = {
        name: torch.from_numpy(values.astype(np.float32)).to(device)
        for name, values in (("queries", query_radii), ("base", base_radii))
        if values is not None
    }
    counts = {
        "balls": np.zeros(len(queries), np.int64),
        "visitors": np.zeros(len(base), np.int64),
        "reached": np.zeros(len(base), np.int64),
    }

    def add_block(name: str, rows: slice, columns: slice, inside: Tensor) -> None:
        by_column = inside.sum(0).cpu().numpy()
        if name == "queries":
            counts["reached"][columns] += by_column
        else:
            counts["visitors"][columns] += by_column
            counts["balls"][rows] += inside.sum(1).cpu().numpy()

    def add_pairs(name: str, rows: Array, columns: Array) -> None:
        if name == "queries":
            np.add.at(counts["reached"], columns, 1)
        else:
            np.add.at(counts["visitors"], columns, 1)
            np.add.at(counts["balls"], rows, 1)

    exact_radii = {"queries": query_radii, "base": base_radii}
    for rows, columns, found in pair.blocks():
        doubt = pair.error * float(pair.row_norms[rows].max() + pair.column_norms[columns].max())
        many = MANY * found.numel()
        for name, squares in radii.items():
            radius, border = exact_radii[name], squares[rows, None] if name == "queries" else squares[columns]
            assert radius is not None
            near = found <= border + doubt
            dense = int(near.sum()) > many
            if dense:
                sure = found < border - doubt
                near &= ~sure
                if int(near.sum()) > many:
                    edge = radius[rows, None] if name == "queries" else radius[columns]
                    add_block(name, rows, columns, torch.from_numpy(pair.exact_block(rows, columns) <= edge))
                    continue
                add_block(name, rows, columns, sure)
            places = near.nonzero(as_tuple=True)
            unsure = (found[places] >= (border - doubt).expand_as(found)[places]).cpu().numpy()
            at, to = (place.cpu().numpy() for place in places)
            at, to, inside = at + rows.start, to + columns.start, ~unsure
            inside[unsure] = pair.exact(at[unsure], to[unsure]) <= radius[(at if name == "queries" else to)[unsure]]
            add_pairs(name, at[inside], to[inside])
    return counts
