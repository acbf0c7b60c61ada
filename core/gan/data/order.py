"""The seeded order in which a training reads the samples of a dataset: what a dataloader's sampler does elsewhere.

The order is a function of (seed, position), so that resuming needs no state of workers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gan.data.windows import DRAWS
from gan.draws import derive


class Order:
    """The samples that the training reads at a position: a new permutation of all samples for every epoch.

    `sizes` are the numbers of samples of each group of fields (`Pack.sizes`), or one number; each group has its own
    epochs. In `windowed` groups (`Pack.windowed`) each sample is a window that begins at random (`gan.data.windows`).
    """

    def __init__(self, sizes: int | Sequence[int], seed: int, windowed: Sequence[bool] = ()) -> None:
        self._sizes = [sizes] if isinstance(sizes, int) else list(sizes)
        self._windowed = list(windowed) or [False] * len(self._sizes)
        self._seed = seed
        self._passes: list[dict[int, np.ndarray[Any, Any]]] = [{} for _ in self._sizes]

    def indices(self, position: int, count: int) -> np.ndarray[Any, Any]:
        """Indices of the samples `position` … ``position + count - 1`` of an endless sequence of epochs.

        int64 ``(count,)``, or ``(count, groups)`` where there are several groups.
        """
        columns = [self._column(group, position, count) for group in range(len(self._sizes))]
        return columns[0] if len(columns) == 1 else np.stack(columns, axis=1)

    def _column(self, group: int, position: int, count: int) -> np.ndarray[Any, Any]:
        parts = []
        while count > 0:
            number, offset = divmod(position, self._sizes[group])
            part = self._pass(group, number)[offset : offset + count]
            parts.append(part)
            position += len(part)
            count -= len(part)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _pass(self, group: int, number: int) -> np.ndarray[Any, Any]:
        passes = self._passes[group]
        if number not in passes:
            purpose = ("order", number, group) if group else ("order", number)
            generator = np.random.Generator(np.random.Philox(derive(self._seed, *purpose)))
            if len(passes) > 1:
                passes.pop(min(passes))
            size = self._sizes[group]
            passes[number] = generator.permutation(size)
            if self._windowed[group]:
                passes[number] += size * generator.integers(1, DRAWS, size, endpoint=True)
        return passes[number]
