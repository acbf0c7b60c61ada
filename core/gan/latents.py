"""Latent vectors: interpolation, truncation, and classes given as shares."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def slerp(first: Tensor, second: Tensor, at: Tensor) -> Tensor:
    """Spherical linear interpolation of latents ``(n, …)`` at positions `at` ``(n,)`` in 0 … 1 (Shoemake 1985).

    Lengths are interpolated linearly. Where the latents are parallel or one is 0, the interpolation is linear.
    """
    a, b = first.flatten(1), second.flatten(1)
    length_a, length_b = a.norm(dim=1, keepdim=True), b.norm(dim=1, keepdim=True)
    share = at.to(a.dtype)[:, None]
    tiny = torch.finfo(a.dtype).tiny
    unit_a, unit_b = a / length_a.clamp_min(tiny), b / length_b.clamp_min(tiny)
    angle = (unit_a * unit_b).sum(1, keepdim=True).clamp(-1, 1).acos()
    sine = angle.sin()
    turned = ((1 - share) * angle).sin() * unit_a + (share * angle).sin() * unit_b
    length = torch.lerp(length_a, length_b, share)
    straight = torch.lerp(a, b, share)
    turns = (sine > 1e-6) & (length_a > 0) & (length_b > 0)
    return torch.where(turns, length * turned / sine.clamp_min(1e-6), straight).view_as(first)


def straight(first: Tensor, second: Tensor, at: Tensor) -> Tensor:
    """Linear interpolation of ``(n, …)`` at positions `at` ``(n,)`` in 0 … 1; for styles and uniform latents."""
    return torch.lerp(first, second, at.to(first.dtype).view(-1, *[1] * (first.ndim - 1)))


def truncated_normal(latents: Tensor, limit: float) -> Tensor:
    """Samples from N(0, 1) as samples from N(0, 1) truncated to ±`limit`, by the inverse of its distribution function
    (the truncation trick: Brock et al. 2019, arXiv:1809.11096, section 3.1).

    Unlike drawing again, it maps each latent to one result, so that a sample keeps its seed.
    """
    high = torch.special.ndtr(torch.tensor(float(limit), dtype=torch.float64))
    share = torch.special.ndtr(latents.double()) * (2 * high - 1) + (1 - high)
    found: Tensor = torch.special.ndtri(share)
    return found.to(latents.dtype)


def class_shares(labels: Tensor, classes: int) -> Tensor:
    """``(N, classes)`` float32: one-hot rows of classes ``(N,)``, or shares ``(N, classes)`` as they are."""
    if labels.ndim == 2:
        return labels.float()
    return (labels[:, None] == torch.arange(classes, device=labels.device)).float()  # one_hot waits for the device


def embedded(embedding: nn.Embedding, labels: Tensor) -> Tensor:
    """``(N, d)``: the embeddings of classes ``(N,)``, or their mean weighted by shares ``(N, classes)``."""
    if labels.ndim == 2:
        return labels.to(embedding.weight.dtype) @ embedding.weight
    found: Tensor = embedding(labels.long())
    return found
