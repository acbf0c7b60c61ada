"""Attributes: numbers that describe a shape, by which directions in latent spaces are found (`gan edit`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gan_3d.voxels import occupied

if TYPE_CHECKING:
    from gan.contracts import Modality, Samples

Array = np.ndarray[Any, Any]


def volume(samples: Samples, modality: Modality) -> Array:
    """``(N,)``: the share of the voxels that are occupied, 0 … 1."""
    return np.asarray(occupied(samples).mean((1, 2, 3)))


def height(samples: Samples, modality: Modality) -> Array:
    """``(N,)``: the height of the highest occupied voxel over that of the grid, 0 … 1; the last axis points up."""
    levels = occupied(samples).any((1, 2))
    steps = np.arange(1, levels.shape[1] + 1)
    return np.asarray((levels * steps).max(1) / levels.shape[1])
