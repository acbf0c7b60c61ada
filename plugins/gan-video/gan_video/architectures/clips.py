"""What the architectures share: the shape of clips, and their pixels."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from gan.contracts import FieldSpec
from gan.errors import UsageError
from gan.game import Batch
from torch import Tensor


def clip_shape(fields: Mapping[str, FieldSpec], architecture: str) -> tuple[int, int, int]:
    """(frames, channels, side) of the field ``video``. Raises `UsageError` for sides other than 4·2^n with n ≥ 2."""
    frames, channels, side, _ = fields["video"].shape
    if side < 16 or side & (side - 1):
        raise UsageError(
            f"{architecture} generates frames of 16, 32, 64, 128 … pixels, not {side}; set modality.resolution"
        )
    return frames, channels, side


def real_clips(batch: Batch) -> Tensor:
    """``(N, frames, channels, R, R)`` in -1 … 1."""
    return batch["video"].float() / 127.5 - 1


def pixels_of(made: Tensor) -> Tensor:
    """-1 … 1 -> uint8."""
    return (made.float() * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8)
