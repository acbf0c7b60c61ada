"""A spread-spectrum mark of pixels: keyed signs on coefficients of 8 x 8 blocks, found without the original.

Cox et al., Secure Spread Spectrum Watermarking for Multimedia, IEEE TIP 1997, in the blind form with block DCT: the
luminance gets a fixed pattern of 128 x 128 pixels, repeated over the picture, whose sign is drawn for each block of the
pattern and each of the 22 coefficients with 3 ≤ u + v ≤ 6. Where a block has texture, which hides it and which
compression keeps, the pattern is stronger.

Because the pattern repeats, the products with the signs can be folded to one period and compared with the signs at all
16 x 16 block shifts by FFT, for each of 64 pixel shifts: a crop loses nothing but pixels.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dct, irfft2, rfft2

from gan.contracts import Detection
from gan.marks.chips import DECOYS, chips, decoys

Array = NDArray[Any]

BLOCK, PERIOD = 8, 16
TILE = BLOCK * PERIOD
"""Side of the pattern in pixels."""
FREQUENCIES = [(u, v) for u in range(BLOCK) for v in range(BLOCK) if 3 <= u + v <= 6]
BASIS: Array = dct(np.eye(BLOCK), axis=0, norm="ortho").astype(np.float32)
"""``(frequency, place)``: orthonormal DCT-II."""
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
QUIET = 0.3
"""Size of a coefficient that rounding to whole numbers gives, below which it counts less."""
LARGEST = 1024
"""Pixels of a side that detection looks at."""
SCALES = (1.0, 2.0, 0.5)
"""Enlargements after which detection looks again: a picture that was halved, and one that was doubled."""
LARGEST_SCALED, FRAMES_SCALED = 320, 8
"""Pixels of a side, and frames of a film, that it then looks at."""
FEWEST = 32
"""Pixels of the shorter side below which nothing can be said."""
TRIES = TILE * TILE * len(SCALES)


class PixelSpectrum:
    """The mark of one key. `strength` is the mean size of the change of a coefficient, on luminance 0 … 255."""

    def __init__(self, key: bytes, strength: float) -> None:
        self.strength = strength
        self._key = key
        self._signs = chips(key, "pixels", (len(FREQUENCIES), PERIOD, PERIOD))
        waves = np.stack([np.outer(BASIS[u], BASIS[v]) for u, v in FREQUENCIES])
        pattern = np.einsum("fab,fyx->aybx", self._signs, waves)
        self._pattern: Array = np.ascontiguousarray(pattern.reshape(TILE, TILE), dtype=np.float32)

    def embed(self, pixels: Array) -> Array:
        """``(H, W)`` or ``(H, W, channels)`` uint8 -> the same, marked. Alpha, a second or fourth channel, stays."""
        height, width = pixels.shape[:2]
        coloured = pixels[..., None] if pixels.ndim == 2 else pixels
        opaque = coloured.shape[2] - (coloured.shape[2] in (2, 4))
        gain = self._gain(coloured[..., opaque // 2].astype(np.int16))
        rows, columns = gain.shape
        tiles = (-(-rows // PERIOD), -(-columns // PERIOD))
        change = np.tile(self._pattern, tiles)[: rows * BLOCK, : columns * BLOCK]
        change = change.reshape(rows, BLOCK, columns, BLOCK) * gain[:, None, :, None]
        rounded = np.rint(change, out=change).astype(np.int16).reshape(rows * BLOCK, columns * BLOCK)[:height, :width]
        whole = np.repeat(rounded, opaque, 1).reshape(height, width, opaque)  # broadcasting over 3 channels is slower
        whole += coloured[..., :opaque]
        whole = np.clip(whole, 0, 255, out=whole).astype(np.uint8)
        if opaque < coloured.shape[2]:
            whole = np.concatenate([whole, coloured[..., opaque:]], 2)
        return whole.reshape(pixels.shape)

    @cached_property
    def _decoys(self) -> Array:
        """``(DECOYS, signs)``."""
        return decoys(self._key, "pixels", self._signs.shape).reshape(DECOYS, -1)

    def _gain(self, level: Array) -> Array:
        """The strength of each block, from the differences of neighbouring pixels of the middle channel."""
        height, width = level.shape
        busy = np.zeros((-(-height // BLOCK) * BLOCK, -(-width // BLOCK) * BLOCK), np.int16)
        np.abs(level[:, 1:] - level[:, :-1], out=busy[:height, : width - 1])
        busy[: height - 1, :width] += np.abs(level[1:] - level[:-1])
        rows = busy.reshape(busy.shape[0] // BLOCK, BLOCK, -1).sum(1, dtype=np.int16)  # at most 2 · 255 · 8
        mean = rows.reshape(len(rows), -1, BLOCK).sum(2, dtype=np.int32) / np.float32(BLOCK**2)
        gain: Array = (self.strength * np.clip(np.sqrt(mean / TYPICAL), LEAST, MOST)).astype(np.float32)
        return gain

    def detect(self, frames: Iterable[Array], rate: float) -> Detection:
        """Look for the mark in pictures ``(H, W[, channels])`` uint8 of one size, the frames of one work."""
        lights = [luminance(frame[:LARGEST, :LARGEST]) for frame in frames]
        height, width = lights[0].shape
        if min(height, width) < FEWEST:
            return Detection(0.0, 1.0, rate, None, f"too small: {width} x {height} pixels, needs {FEWEST} x {FEWEST}")
        aligned, best, others = self._statistics(lights)
        found = Detection.of(aligned, best, TRIES, rate, others)
        for scale in SCALES[1:]:
            size = tuple(min(LARGEST_SCALED, round(side * scale)) for side in (width, height))
            if found.found or min(size) < FEWEST:
                continue
            box = (0, 0, size[0] / scale, size[1] / scale)
            some = [Image.fromarray(light) for light in lights[:: -(-len(lights) // FRAMES_SCALED)]]
            scaled = [np.asarray(one.resize(size, Image.Resampling.BICUBIC, box)) for one in some]
            best = max(best, self._statistics(scaled)[1])
            found = Detection.of(aligned, best, TRIES, rate, others)
        return found

    def _statistics(self, lights: list[Array]) -> tuple[float, float, Array]:
        """(z at the corner, largest z of all shifts, z at the corner with other keys).

        The coefficients that fall on one sign are added first, and z is divided by the root of the squares of those
        sums: its variance over keys is then 1 at every shift, also where a picture repeats itself or is mostly flat.
        """
        spectrum = np.zeros((PERIOD, PERIOD // 2 + 1, BLOCK, BLOCK), np.complex64)
        squares = np.zeros((BLOCK, BLOCK), np.float32)
        totals = _whitened(lights[0])
        for light in lights[1:]:
            for total, values in zip(totals, _whitened(light)):
                total += values
        corner = []
        for total, signs in zip(totals, self._signs):
            folded = _folded(total).reshape(PERIOD, BLOCK, PERIOD, BLOCK).transpose(0, 2, 1, 3)
            spectrum += np.conj(rfft2(folded, axes=(0, 1))) * rfft2(signs)[..., None, None]
            squares += np.square(folded).sum((0, 1))
            corner.append(folded[..., 0, 0])
        z = irfft2(spectrum, (PERIOD, PERIOD), axes=(0, 1)) / np.sqrt(squares + 1e-9)
        others = self._decoys @ np.stack(corner).reshape(-1)
        return float(z[0, 0, 0, 0]), float(z.max()), others / np.sqrt(squares[0, 0] + 1e-9)


TYPICAL, LEAST, MOST = 16.0, 0.5, 2.5
"""Mean difference of neighbouring pixels at which a block has the nominal strength, and the limits of its factor."""


def luminance(pixels: Array) -> Array:
    """``(H, W)`` float32 of a picture with one, two (with alpha), three or four channels."""
    if pixels.ndim == 2 or pixels.shape[2] < 3:
        return (pixels if pixels.ndim == 2 else pixels[..., 0]).astype(np.float32)
    light: Array = pixels[..., :3].astype(np.float32) @ LUMA
    return light


def _filtered(light: Array) -> list[Array]:
    """``(H - 7, W - 7)`` for each of `FREQUENCIES`: that DCT coefficient of the block at every pixel."""
    height, width = (side - BLOCK + 1 for side in light.shape)
    rows = [np.asarray(sum(BASIS[v, k] * light[:, k : k + width] for k in range(BLOCK))) for v in range(BLOCK - 1)]
    return [np.asarray(sum(BASIS[u, k] * rows[v][k : k + height] for k in range(BLOCK))) for u, v in FREQUENCIES]


def _whitened(light: Array) -> list[Array]:
    """`_filtered` with each frequency in units of its typical size in the picture, and each block then divided by the
    size of all its coefficients: textures, edges and flat areas count alike."""
    values = _filtered(light)
    for one in values:
        one /= np.median(np.abs(one[::3, ::3])) / np.float32(0.6745) + np.float32(QUIET)
    size = np.sqrt(sum(np.square(one) for one in values) / np.float32(len(values)) + np.float32(QUIET**2))
    for one in values:
        one /= size
    return values


def _folded(values: Array) -> Array:
    """The sum over all periods, ``(TILE, TILE)``."""
    height, width = (-(-side // TILE) * TILE for side in values.shape)
    whole = np.zeros((height, width), np.float32)
    whole[: values.shape[0], : values.shape[1]] = values
    folded: Array = whole.reshape(height // TILE, TILE, width // TILE, TILE).sum((0, 2))
    return folded
