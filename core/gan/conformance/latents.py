"""Checks of latent spaces: what an architecture declares by the protocols of `gan.contracts.latent`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gan.conformance.kit import Failed
from gan.contracts import (
    Between,
    CriticFeatures,
    LatentParts,
    LinearMaps,
    Request,
    SmoothLatentSpace,
    StyleSpace,
)

NEAR = 1e-3
"""Difference of values that rounding may cause, as a share of their largest value."""


def check_abilities(architecture: Any, latents: Tensor, request: Request, decoded: Mapping[str, Tensor]) -> None:
    """Check the protocols that an architecture implements, on latents and their samples. Raises `Failed`."""
    values = latents
    if isinstance(architecture, StyleSpace):
        with torch.no_grad():
            values = architecture.styles_of(latents, request)
            again = architecture.decode(values, request)
        if values.ndim != latents.ndim + 1 or len(values) != len(latents):
            raise Failed(f"`styles_of` returned {tuple(values.shape)} for latents {tuple(latents.shape)}")
        if any(not _near(again[name].float(), decoded[name].float(), 2e-2) for name in decoded):
            raise Failed("`decode(styles_of(latents))` is not `decode(latents)`")
    if isinstance(architecture, Between):
        ends = values[:1], values[1:2]
        for at, end in zip((0.0, 1.0), ends, strict=True):
            if not _near(architecture.between(*ends, torch.tensor([at])), end):
                raise Failed(f"`between` is not at its ends where at = {at:g}")
    if isinstance(architecture, LatentParts):
        for name, mask in architecture.latent_parts().items():
            if mask.dtype != torch.bool or mask.broadcast_to(values.shape[1:]).shape != values.shape[1:]:
                raise Failed(f"the mask of the part '{name}' does not broadcast to latents {tuple(values.shape[1:])}")
    if isinstance(architecture, LinearMaps):
        width = values.shape[-1] if isinstance(architecture, StyleSpace) else values[0].numel()
        maps = architecture.linear_maps()
        if any(matrix.ndim != 2 or matrix.shape[1] != width for matrix in maps) or not maps:
            raise Failed(f"`linear_maps` must be matrices (outputs, {width})")
    if isinstance(architecture, SmoothLatentSpace):
        leaf = values.detach().clone().requires_grad_()
        smooth = architecture.decode_smooth(leaf, request)
        total = torch.stack([made.float().sum() for made in smooth.values()]).sum()
        gradient = torch.autograd.grad(total, leaf)[0]
        if not torch.isfinite(gradient).all():
            raise Failed("the gradient of `decode_smooth` is not finite")
        if isinstance(architecture, CriticFeatures):
            features = architecture.critic_features({name: made.detach() for name, made in smooth.items()})
            if not features or any(len(each) != len(values) for each in features):
                raise Failed(f"`critic_features` must return activations of the {len(values)} samples")


def _near(one: Tensor, other: Tensor, share: float = NEAR) -> bool:
    return bool((one - other).abs().mean() <= share * other.abs().max().clamp_min(1e-6))
