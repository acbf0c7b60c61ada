"""Attributes: numbers that describe an image, by which directions in latent spaces are found (`gan edit`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gan_image.modality import pictures

if TYPE_CHECKING:
    from gan.contracts import Modality, Samples

Array = np.ndarray[Any, Any]
LUMA = np.array([0.299, 0.587, 0.114])
"""Weights of red, green and blue in a grey value: ITU-R BT.601."""


def _colours(samples: Samples) -> Array:
    """``(N, 3, H, W)`` 0 … 255; grey is repeated, transparency is left out."""
    images = pictures(samples).astype(np.float64)
    return images[:, :3] if images.shape[1] >= 3 else np.repeat(images, 3, 1)


def _grey(samples: Samples) -> Array:
    return np.asarray(np.einsum("nchw,c->nhw", _colours(samples), LUMA))


def brightness(samples: Samples, modality: Modality) -> Array:
    """``(N,)``: the mean grey value, 0 … 255."""
    return np.asarray(_grey(samples).mean((1, 2)))


def contrast(samples: Samples, modality: Modality) -> Array:
    """``(N,)``: the standard deviation of the grey values."""
    return np.asarray(_grey(samples).std((1, 2)))


def saturation(samples: Samples, modality: Modality) -> Array:
    """``(N,)``: the mean difference of the largest and the smallest of red, green and blue; 0 for grey images."""
    colours = _colours(samples)
    return np.asarray((colours.max(1) - colours.min(1)).mean((1, 2)))


def warmth(samples: Samples, modality: Modality) -> Array:
    """``(N,)``: the mean of red minus blue."""
    colours = _colours(samples)
    return np.asarray((colours[:, 0] - colours[:, 2]).mean((1, 2)))
