"""Metrics of paired translation: L1, PSNR, SSIM and cycle error; pixel values are scaled to 0 … 1."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from gan.contracts import MetricValue, Modality
from gan.errors import BadData
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter1d

if TYPE_CHECKING:
    from gan.contracts import Samples

Pictures = NDArray[np.float64]


def l1(first: Pictures, second: Pictures) -> Pictures:
    """Mean absolute difference of two arrays ``(N, C, H, W)`` -> ``(N,)``."""
    found: Pictures = np.abs(first - second).mean(axis=(1, 2, 3))
    return found


def psnr(first: Pictures, second: Pictures) -> Pictures:
    """Peak signal-to-noise ratio in dB: 10 log10(1 / mean square difference), at most 100 dB."""
    square = np.square(first - second).mean(axis=(1, 2, 3))
    found: Pictures = np.minimum(100.0, -10.0 * np.log10(np.maximum(square, 1e-30)))
    return found


def ssim(first: Pictures, second: Pictures) -> Pictures:
    """Structural similarity, -1 … 1: Wang et al. 2004, "Image quality assessment", equation 13, with its
    window (11 pixels, Gaussian of 1.5, without padding), K1 = 0.01, K2 = 0.03; the mean over places and channels.
    """
    if min(first.shape[2:]) < 11:
        raise BadData(f"images of {first.shape[3]} x {first.shape[2]} pixels are smaller than the window of 11")

    def mean(values: Pictures) -> Pictures:
        for axis in (2, 3):
            values = gaussian_filter1d(values, 1.5, axis=axis, radius=5)
        return values[:, :, 5:-5, 5:-5]

    c1, c2 = 0.01**2, 0.03**2
    mean_1, mean_2 = mean(first), mean(second)
    variance_1 = mean(first * first) - mean_1 * mean_1
    variance_2 = mean(second * second) - mean_2 * mean_2
    covariance = mean(first * second) - mean_1 * mean_2
    value = (2 * mean_1 * mean_2 + c1) * (2 * covariance + c2)
    value /= (mean_1 * mean_1 + mean_2 * mean_2 + c1) * (variance_1 + variance_2 + c2)
    found: Pictures = value.mean(axis=(1, 2, 3))
    return found


def enlarged(images: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Square images ``(N, C, s, s)`` bicubically resized to ``(N, C, side, side)``."""
    resized = [
        [Image.fromarray(channel).resize((side, side), Image.Resampling.BICUBIC) for channel in image]
        for image in images
    ]
    return np.stack([np.stack([np.asarray(channel) for channel in image]) for image in resized])


class PairedMetric(ABC):
    """The mean over all images of a comparison of a translation with its target.

    Subclasses define `name`, which direction is `better`, and `between`.
    """

    version = "1"
    name: str
    better: Literal["lower", "higher"]

    @abstractmethod
    def between(self, first: NDArray[np.uint8], second: NDArray[np.uint8]) -> Pictures:
        """Compare two arrays ``(N, C, H, W)`` uint8 -> ``(N,)``."""

    def compute(self, generated: Samples, real: Samples, modality: Modality) -> Sequence[MetricValue]:
        """One value; the details hold that of the untranslated image, or of the bicubically enlarged one where targets
        are larger. Needs pairs; the field that is equal in both sets is the input."""
        fields = modality.fields
        if "target" not in fields or fields["target"].group:
            raise BadData(f"'{self.name}' needs pairs: modality.layout side-by-side or folders")
        given = next((name for name in ("source", "target") if np.array_equal(generated[name], real[name])), None)
        if given is None:
            raise BadData(f"'{self.name}' needs the translations of the real sources, in the same order")
        output = "target" if given == "source" else "source"
        found = self.between(generated[output], real[output])
        plain, label = real[given], given
        if plain.shape != real[output].shape:
            plain, label = enlarged(plain, real[output].shape[-1]), "bicubic"
        return [
            MetricValue(
                self.name,
                float(found.mean()),
                error=float(found.std(ddof=1) / math.sqrt(len(found))) if len(found) > 1 else None,
                direction=self.better,
                details={label: float(self.between(plain, real[output]).mean())},
            )
        ]


class L1(PairedMetric):
    """Mean absolute difference from the target, 0 … 1."""

    name, better = "L1", "lower"

    def between(self, first: NDArray[np.uint8], second: NDArray[np.uint8]) -> Pictures:
        """`l1`."""
        return l1(_scaled(first), _scaled(second))


class PSNR(PairedMetric):
    """Peak signal-to-noise ratio against the target, in dB."""

    name, better = "PSNR", "higher"

    def between(self, first: NDArray[np.uint8], second: NDArray[np.uint8]) -> Pictures:
        """`psnr`."""
        return psnr(_scaled(first), _scaled(second))


class SSIM(PairedMetric):
    """Structural similarity to the target."""

    name, better = "SSIM", "higher"

    def between(self, first: NDArray[np.uint8], second: NDArray[np.uint8]) -> Pictures:
        """`ssim`."""
        return ssim(_scaled(first), _scaled(second))


class CycleError:
    """Mean absolute difference of an image and its reconstruction after translation there and back, on the scale
    -1 … 1 of the networks, as in the loss of Zhu et al. 2017."""

    version = "1"

    def compute(self, generated: Samples, real: Samples, modality: Modality) -> Sequence[MetricValue]:
        """One value."""
        if "reconstruction" not in generated:
            raise BadData("the architecture does not provide a reconstruction")
        given = "source" if np.array_equal(generated["source"], real["source"]) else "target"
        found = 2 * l1(_scaled(generated["reconstruction"]), _scaled(generated[given]))
        return [MetricValue("cycle error", float(found.mean()), direction="lower")]


def _scaled(pictures: NDArray[Any]) -> Pictures:
    return pictures.astype(np.float64) / 255.0
