"""The base class of the feature extractors, and their conversion of colours, resizing and loading of weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from gan.contracts import Features, Modality
from gan.errors import BadData
from gan.weights import find_weights
from torch import Tensor, nn

from gan_image.modality import pictures

if TYPE_CHECKING:
    from gan.contracts import Samples

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in a grey value: ITU-R BT.601."""


def rgb(batch: Tensor) -> Tensor:
    """``(n, 1 | 3 | 4, h, w)`` 0 … 255 -> ``(n, 3, h, w)``: grey is repeated, transparency is blended with white."""
    if batch.shape[1] == 1:
        return batch.expand(-1, 3, -1, -1)
    if batch.shape[1] == 4:
        cover = batch[:, 3:] / 255
        return batch[:, :3] * cover + 255 * (1 - cover)
    return batch


def grey(batch: Tensor) -> Tensor:
    """``(n, 1 | 3 | 4, h, w)`` 0 … 255 -> ``(n, 1, h, w)``."""
    if batch.shape[1] == 1:
        return batch
    weights = torch.tensor(LUMA, device=batch.device).view(1, 3, 1, 1)
    return (rgb(batch) * weights).sum(1, keepdim=True)


def resized(batch: Tensor, side: int) -> Tensor:
    """Resize to ``(n, c, side, side)``: bilinear with half-pixel centres, and antialiasing as in Pillow."""
    if batch.shape[-2:] == (side, side):
        return batch
    return nn.functional.interpolate(batch, (side, side), mode="bilinear", align_corners=False, antialias=True)


class NetworkExtractor(ABC):
    """A network with fixed weights. Subclasses define the file of weights, the network and its preprocessing."""

    version: ClassVar[str] = "1"
    preprocessing: ClassVar[str]
    file: ClassVar[str]
    """Usual name of the file with the weights."""
    sha256: str
    batch: ClassVar[int] = 64
    """Batch size."""

    def __init__(self, weights: Path | None = None, device: str = "cpu") -> None:
        network = self.build(find_weights(self.file, self.sha256, weights))
        self.device = torch.device(device)
        network = network.requires_grad_(False).eval().to(self.device)
        self.network: nn.Module = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @abstractmethod
    def build(self, file: Path) -> nn.Module:
        """Build the network with its weights; its output is ``(vectors, logits or None)``."""

    @abstractmethod
    def prepare(self, batch: Tensor) -> Tensor:
        """``(n, channels, h, w)`` float32 0 … 255 -> the network's input."""

    def features(self, samples: Mapping[str, Tensor]) -> tuple[Tensor, Tensor | None]:
        """The same with gradients; see `gan.contracts.DifferentiableExtractor`."""
        images = samples["image" if "image" in samples else "target"].to(self.device).float()
        found: tuple[Tensor, Tensor | None] = self.network(self.prepare(images))
        return found

    def __call__(self, samples: Samples, modality: Modality) -> Features:
        """Vectors ``(N, d)`` and, if the network is a classifier, probabilities ``(N, classes)``."""
        images = pictures(samples)
        vectors, probabilities = [], []
        with torch.inference_mode():
            for start in range(0, len(images), self.batch):
                part = torch.from_numpy(np.array(images[start : start + self.batch])).to(self.device)
                found, logits = self.network(self.prepare(part.float()).contiguous(memory_format=torch.channels_last))
                vectors.append(found.float().cpu().numpy())
                if logits is not None:
                    probabilities.append(logits.float().softmax(1).cpu().numpy())
        if not vectors:
            raise BadData("there are no images")
        return Features(np.concatenate(vectors), np.concatenate(probabilities) if probabilities else None)


def npz_state(file: Path) -> dict[str, Tensor]:
    """Load the arrays of an ``.npz`` file as tensors, without unpickling."""
    with np.load(file, allow_pickle=False) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def pth_state(file: Path) -> dict[str, Tensor]:
    """Load the tensors of a ``.pth`` file whose SHA-256 is known, without unpickling objects."""
    state: dict[str, Tensor] = torch.load(file, map_location="cpu", weights_only=True)
    return state
