"""Metrics of sets of images that need no network: sliced Wasserstein distance and MS-SSIM diversity."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from gan.contracts import MetricValue, Modality
from gan.errors import BadData
from numpy.typing import NDArray
from scipy.ndimage import correlate1d, gaussian_filter1d

from gan_image.modality import pictures

if TYPE_CHECKING:
    from gan.contracts import Samples

Array = NDArray[Any]

PATCH, PATCHES = 7, 128
"""Side of a patch in pixels; number of patches per image and level."""
SMALLEST = 16
"""Minimum side of the last level of a pyramid, in pixels."""
DIRECTIONS, REPEATS = 128, 4
BINOMIAL = np.array([1, 4, 6, 4, 1], np.float32) / 16
SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Weights of the scales of MS-SSIM: Wang, Simoncelli and Bovik 2003, section 3.2."""
WINDOW, SIGMA = 11, 1.5


# ------------------------------------------------------------------ sliced Wasserstein distance


def laplacian_pyramid(images: Array) -> list[Array]:
    """``(N, C, H, W)`` -> float32 levels, from fine detail to the low-pass residual: Burt and Adelson 1983.

    The side is halved while the next level has 16 pixels or more; the sum of all enlarged levels is the image.
    """
    levels = [images.astype(np.float32)]
    while min(levels[-1].shape[2:]) // 2 >= SMALLEST and not any(side % 2 for side in levels[-1].shape[2:]):
        low = _smoothed(levels[-1], 1.0)[:, :, ::2, ::2]
        levels[-1] = levels[-1] - enlarged(low)
        levels.append(low)
    return levels


def enlarged(images: Array) -> Array:
    """Double the side: insert zeros between pixels, then apply the binomial filter."""
    count, channels, height, width = images.shape
    wide = np.zeros((count, channels, 2 * height, 2 * width), np.float32)
    wide[:, :, ::2, ::2] = images
    return _smoothed(wide, 2.0)


def _smoothed(images: Array, gain: float) -> Array:
    for axis in (2, 3):
        images = correlate1d(images, gain * BINOMIAL, axis=axis, mode="mirror")
    return images


def patches(level: Array, seed: int) -> Array:
    """``(N, C, H, W)`` -> ``(N · 128, C · 49)``: random patches, normalized to mean 0 and deviation 1 per channel."""
    count, channels, height, width = level.shape
    if min(height, width) < PATCH:
        raise BadData(f"images of {width} x {height} pixels are smaller than the patches of {PATCH}")
    rng = np.random.default_rng(seed)
    top = rng.integers(height - PATCH + 1, size=(count, PATCHES))
    left = rng.integers(width - PATCH + 1, size=(count, PATCHES))
    windows = np.lib.stride_tricks.sliding_window_view(level, (PATCH, PATCH), axis=(2, 3))
    rows = windows[np.arange(count)[:, None], :, top, left].reshape(count * PATCHES, channels, -1)
    rows = rows - rows.mean(axis=(0, 2), keepdims=True)
    rows /= np.maximum(rows.std(axis=(0, 2), keepdims=True), 1e-8)
    flat: Array = rows.reshape(count * PATCHES, -1)
    return flat


def sliced_distance(first: Array, second: Array, seed: int = 0) -> float:
    """Sliced Wasserstein distance of two sets of rows ``(n, d)``, with 512 random directions.

    Rabin et al. 2011, "Wasserstein barycenter and its application to texture mixing", for sets of equal size.
    """
    rng = np.random.default_rng(seed)
    total = 0.0
    for _ in range(REPEATS):
        directions = rng.standard_normal((first.shape[1], DIRECTIONS))
        directions = (directions / np.linalg.norm(directions, axis=0)).astype(np.float32)
        sorted_first, sorted_second = (np.sort(rows @ directions, axis=0) for rows in (first, second))
        total += float(np.abs(sorted_first - sorted_second).mean())
    return total / REPEATS


class SlicedWasserstein:
    """Sliced Wasserstein distance of patches, level by level of a Laplacian pyramid, times 1,000.

    Karras et al. 2018, "Progressive growing of GANs", section 5. Fine levels measure detail, the last one shape and
    colour. Both sets are truncated to the size of the smaller one. The value decreases with more samples: compare equal
    counts only.
    """

    version = "1"
    settings = {"patch": PATCH, "patches": PATCHES, "directions": DIRECTIONS * REPEATS, "seed": 0}

    def compute(self, generated: Samples, real: Samples, modality: Modality) -> Sequence[MetricValue]:
        """The mean over the levels; the details hold each level by its side in pixels."""
        first, second = pictures(generated), pictures(real)
        count = min(len(first), len(second))
        by_level: dict[str, float] = {}
        for one, other in zip(laplacian_pyramid(first[:count]), laplacian_pyramid(second[:count]), strict=True):
            by_level[str(one.shape[3])] = 1000 * sliced_distance(patches(one, 1), patches(other, 2))
        return [MetricValue("SWD", float(np.mean(list(by_level.values()))), direction="lower", details=by_level)]


# ------------------------------------------------------------------ multi-scale structural similarity


def ms_ssim(first: Array, second: Array, scales: int | None = None) -> Array:
    """MS-SSIM of two arrays ``(N, 1, H, W)`` 0 … 255 -> ``(N,)``: 1 for equal images, about 0 for unrelated ones.

    Wang, Simoncelli and Bovik 2003, "Multi-scale structural similarity for image quality assessment", equation 7,
    window of 11 pixels with a Gaussian of 1.5, K1 = 0.01, K2 = 0.03. Five scales need 176 pixels; smaller images have
    fewer, whose weights are rescaled to sum to 1. Negative structure counts as 0.
    """
    side = min(first.shape[2:])
    if side < WINDOW:
        raise BadData(f"images of {first.shape[3]} x {first.shape[2]} pixels are smaller than the window of {WINDOW}")
    scales = scales or min(len(SCALES), 1 + int(math.log2(side / WINDOW)))
    weights = np.array(SCALES[:scales]) / sum(SCALES[:scales])
    first, second = first.astype(np.float64), second.astype(np.float64)
    result = np.ones(len(first))
    for scale, weight in enumerate(weights):
        luminance, structure = _similarity(first, second)
        part = luminance * structure if scale == scales - 1 else structure
        result *= np.maximum(part.mean(axis=(1, 2, 3)), 0) ** weight
        first, second = _halved(first), _halved(second)
    return result


def _similarity(first: Array, second: Array) -> tuple[Array, Array]:
    """(luminance, contrast and structure) at every place, without padding."""

    def mean(values: Array) -> Array:
        edge = WINDOW // 2
        for axis in (2, 3):
            values = gaussian_filter1d(values, SIGMA, axis=axis, radius=edge)
        return values[:, :, edge : values.shape[2] - edge, edge : values.shape[3] - edge]

    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mean_1, mean_2 = mean(first), mean(second)
    variances = mean(first * first) - mean_1**2 + mean(second * second) - mean_2**2
    covariance = mean(first * second) - mean_1 * mean_2
    luminance = (2 * mean_1 * mean_2 + c1) / (mean_1**2 + mean_2**2 + c1)
    return luminance, (2 * covariance + c2) / (variances + c2)


def _halved(images: Array) -> Array:
    """2x2 average pooling; an odd last row or column is dropped."""
    height, width = (side // 2 * 2 for side in images.shape[2:])
    whole = images[:, :, :height, :width]
    return (whole[:, :, ::2, ::2] + whole[:, :, 1::2, ::2] + whole[:, :, ::2, 1::2] + whole[:, :, 1::2, 1::2]) / 4


class MultiScaleSSIM:
    """Similarity within a set: mean MS-SSIM of random pairs of grey images.

    Odena et al. 2017, "Conditional image synthesis with auxiliary classifier GANs", section 4.2. A value above
    that of the real images means less variety. Pairs repeat in small sets.
    """

    version = "1"

    def __init__(self, pairs: int = 1000, seed: int = 0) -> None:
        self.settings = {"pairs": pairs, "seed": seed}

    def compute(self, generated: Samples, real: Samples, modality: Modality) -> Sequence[MetricValue]:
        """One value and that of the real images; the error accounts for pairs that share images."""
        value, error = self._of(pictures(generated))
        own, _ = self._of(pictures(real))
        return [MetricValue("MS-SSIM", value, own, error=error)]

    def _of(self, images: Array) -> tuple[float, float]:
        count = len(images)
        if count < 2:
            raise BadData(f"{count} images, at least 2 are needed")
        rng = np.random.default_rng(self.settings["seed"])
        pairs = self.settings["pairs"]
        first = rng.integers(count, size=pairs)
        second = (first + 1 + rng.integers(count - 1, size=pairs)) % count
        found = np.concatenate([ms_ssim(a, b) for a, b in _parts(images, first, second)])
        return float(found.mean()), float(found.std() * math.sqrt(1 / pairs + 2 / count))


def _parts(images: Array, first: Array, second: Array) -> Iterator[tuple[Array, Array]]:
    for start in range(0, len(first), 100):
        part = slice(start, start + 100)
        yield _grey(images[first[part]]), _grey(images[second[part]])


def _grey(images: Array) -> Array:
    """Luma of ITU-R 601; transparency is ignored."""
    if images.shape[1] == 1:
        return images
    grey: Array = (images[:, :3] * np.array([0.299, 0.587, 0.114]).reshape(1, 3, 1, 1)).sum(axis=1, keepdims=True)
    return grey
