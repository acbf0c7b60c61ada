"""What extractors of sounds share: waveforms at the rate of a network, and arrays copied into its parameters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from gan.errors import BadData
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from gan.contracts import Modality, Samples


def mono_at(samples: Samples, modality: Modality, rate: int) -> Iterator[NDArray[np.float32]]:
    """Yield each sound as ``(samples,)`` in -1 … 1: the mean of its channels, resampled by soxr.

    Raises `BadData` if the samples have no sounds.
    """
    import soxr

    if "sound" not in samples:
        raise BadData(f"the samples hold no sounds (fields: {', '.join(samples)})")
    for sound in samples["sound"]:
        wave = (sound.mean(0) / 32_768).astype(np.float32)
        yield soxr.resample(wave, int(modality.config.rate), rate)


def copy_into(target: Tensor | None, values: NDArray[np.float32]) -> None:
    """Copy an array into a parameter or a buffer. Raises `ValueError` if it has another shape."""
    if target is None or target.shape != values.shape:
        raise ValueError(f"an array of shape {values.shape} where {None if target is None else tuple(target.shape)} is")
    with torch.no_grad():
        target.copy_(torch.from_numpy(np.array(values)))
