"""Attributes: numbers that describe a clip, by which directions in latent spaces are found (`gan edit`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from gan.contracts import Modality, Samples

Array = np.ndarray[Any, Any]


def motion(samples: Samples, modality: Modality) -> Array:
    """``(N,)``: the mean absolute change of a pixel from one frame to the next, 0 … 255."""
    return np.asarray(np.abs(np.diff(samples["video"].astype(np.float64), axis=1)).mean((1, 2, 3, 4)))


def brightness(samples: Samples, modality: Modality) -> Array:
    """``(N,)``: the mean of all pixels, 0 … 255."""
    return np.asarray(samples["video"].mean((1, 2, 3, 4), dtype=np.float64))
