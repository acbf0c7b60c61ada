"""Conversion between pixels and network values, weight initialization and shape checks for image networks."""

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
    """float -1 … 1 -> uint8 0 … 255, rounded and clamped."""
    return ((values.to(torch.float32) + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8)


def edges(images: Tensor) -> tuple[Tensor, Tensor]:
    """Differences of neighbours across and down."""
    return images[..., 1:] - images[..., :-1], images[..., 1:, :] - images[..., :-1, :]


def initialise(network: nn.Module, std: float = 0.02) -> None:
    """Initialize as in DCGAN, pix2pix and CycleGAN: weights N(0, 0.02), normalization gains N(1, 0.02), biases 0."""
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            nn.init.normal_(module.weight, 0.0, std)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)) and module.affine:
            nn.init.normal_(module.weight, 1.0, std)
            nn.init.zeros_(module.bias)


def image_shape(fields: Mapping[str, FieldSpec], architecture: str) -> tuple[int, int]:
    """(channels, resolution) of samples that are single images without labels; raises `UsageError` for others."""
    shape = picture_shape(fields, architecture)
    if "label" in fields:
        raise UsageError(f"'{architecture}' does not support classes; set modality.labels to false")
    return shape


def picture_shape(fields: Mapping[str, FieldSpec], architecture: str) -> tuple[int, int]:
    """(channels, resolution) of samples that are single images, with or without labels; raises `UsageError` for
    others."""
    if "image" not in fields:
        raise UsageError(f"'{architecture}' generates single images; set modality.layout to single")
    channels, _, side = fields["image"].shape
    return channels, side


def stages(side: int, architecture: str) -> int:
    """n of a resolution 4·2^n, n >= 1; raises `UsageError` for others."""
    n = side.bit_length() - 3
    if side < 8 or side != 4 << n:
        raise UsageError(f"'{architecture}' generates 8, 16, 32, 64 … pixels, not {side}; set modality.resolution")
    return n
