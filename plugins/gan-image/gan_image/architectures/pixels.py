"""Between stored bytes and what networks see."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from gan.contracts import FieldSpec
from gan.errors import UsageError
from torch import Tensor, nn


def to_network(pixels: Tensor) -> Tensor:
    """uint8 0 … 255 -> float32 -1 … 1."""
    return pixels.to(torch.float32) / 127.5 - 1.0


def to_pixels(values: Tensor) -> Tensor:
    """float -1 … 1 -> uint8 0 … 255, rounded; what lies outside is cut."""
    return ((values.to(torch.float32) + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8)


def initialise(network: nn.Module, std: float = 0.02) -> None:
    """The start of DCGAN, pix2pix and CycleGAN: weights N(0, 0.02), normalisation gains N(1, 0.02), biases 0."""
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            nn.init.normal_(module.weight, 0.0, std)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)) and module.affine:
            nn.init.normal_(module.weight, 1.0, std)
            nn.init.zeros_(module.bias)


def image_shape(fields: Mapping[str, FieldSpec], architecture: str) -> tuple[int, int]:
    """(channels, resolution) of a modality whose samples are single pictures without labels."""
    if "image" not in fields:
        raise UsageError(f"'{architecture}' draws single pictures; set modality.layout to single")
    if "label" in fields:
        raise UsageError(f"'{architecture}' knows no classes; set modality.labels to false")
    channels, _, side = fields["image"].shape
    return channels, side


def stages(side: int, architecture: str) -> int:
    """n of a resolution 4·2^n, n >= 1."""
    n = side.bit_length() - 3
    if side < 8 or side != 4 << n:
        raise UsageError(f"'{architecture}' draws 8, 16, 32, 64 … pixels, not {side}; set modality.resolution")
    return n
