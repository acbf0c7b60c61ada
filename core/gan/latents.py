"""Interpolation in latent spaces."""

from __future__ import annotations

import torch
from torch import Tensor


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
