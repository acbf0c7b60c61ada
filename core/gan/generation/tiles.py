"""Apply a translator to an input of any size, tile by tile, without seams (`gan.contracts.InTiles`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from gan.contracts import Sample, Tiles
from gan.errors import GanError
from gan.runtime.device import out_of_memory

Array = np.ndarray[Any, Any]


def in_strips(make: Callable[[Sample], Mapping[str, Array]], given: Sample, tiles: Tiles) -> Iterator[Sample]:
    """Yield the result for `given` in strips from the first row to the last: fields of a row of tiles, joined.

    `make` maps the given fields of one tile and its surroundings to the fields made from them. Tiles begin at multiples
    of `Tiles.multiple` and see `Tiles.reach` elements more on each side, but nothing beyond the edges of the input, so
    that the result is that of the whole input where `reach` is the whole reach of the network. Tiles of half the
    side are tried where memory runs out.
    """
    height, width = next(iter(given.values())).shape[-2:]
    side, top = tiles.side, 0
    while top < height:
        try:
            strip = [_tile(make, given, tiles, side, top, left) for left in range(0, width, side)]
        except (MemoryError, RuntimeError) as error:
            smaller = side // 2 // tiles.multiple * tiles.multiple
            if not out_of_memory(error) or not smaller:
                raise
            side = smaller
            continue
        yield {name: np.concatenate([part[name] for part in strip], -1) for name in strip[0]}
        top += side


def _tile(
    make: Callable[[Sample], Mapping[str, Array]], given: Sample, tiles: Tiles, side: int, top: int, left: int
) -> Sample:
    """The fields made for the tile that begins at (top, left)."""
    cuts, inner = [], []
    for begin, length in zip((top, left), next(iter(given.values())).shape[-2:], strict=True):
        start, end = max(0, begin - tiles.reach), min(length, begin + side + tiles.reach)
        cuts.append((start, end, -(end - start) % tiles.multiple))
        inner.append(slice((begin - start) * tiles.factor, (min(length, begin + side) - start) * tiles.factor))
    window = {}
    for name, whole in given.items():
        (y0, y1, below), (x0, x1, beside) = cuts
        part = whole[..., y0:y1, x0:x1]
        if below or beside:
            part = np.pad(part, [(0, 0)] * (part.ndim - 2) + [(0, below), (0, beside)], mode="edge")
        window[name] = np.array(part)  # which can be written, as torch wants it
    made = make(window)
    sizes = tuple((y1 - y0 + more) * tiles.factor for y0, y1, more in cuts)
    for name, values in made.items():
        if values.shape[-2:] != sizes:
            raise GanError(f"a tile's '{name}' is {values.shape[-2:]}, not {sizes}, {tiles.factor} times its input")
    return {name: np.array(values[..., inner[0], inner[1]]) for name, values in made.items()}
