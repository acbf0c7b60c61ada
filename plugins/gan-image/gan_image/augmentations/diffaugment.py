"""DiffAugment: colour, translation and cutout for every image that a discriminator sees.

Zhao, Liu, Lin, Zhu, Han, "Differentiable augmentation for data-efficient GAN training", 2020, arXiv:2006.10738.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from gan.draws import Draws
from gan.recipe import Schedule
from torch import Tensor
from torch.nn import functional


def augmented(
    images: Tensor, rng: Draws, *, colour: bool = True, translation: bool = True, cutout: bool = True
) -> Tensor:
    """Augment ``(N, C, H, W)`` in -1 … 1; with C = 4 the last channel is alpha, and colour leaves it as it is."""
    if colour:
        images = recoloured(images, rng)
    if translation:
        images = translated(images, rng)
    if cutout:
        images = cut_out(images, rng)
    return images


def recoloured(images: Tensor, rng: Draws) -> Tensor:
    """Brightness + U(-½, ½); then distances from each pixel's grey times U(0, 2), and from the mean times U(½, 1½)."""
    brightness, saturation, contrast = (rng.rand(3) - 0.5)[:, :, None, None, None].unbind(1)
    x, alpha = images[:, :3], images[:, 3:]
    x = x + brightness
    grey = x.mean(1, keepdim=True)
    x = (x - grey) * (saturation * 2 + 1) + grey
    mean = x.mean((1, 2, 3), keepdim=True)
    x = (x - mean) * (contrast + 1) + mean
    return torch.cat([x, alpha], 1) if alpha.shape[1] else x


def translated(images: Tensor, rng: Draws, ratio: float = 0.125) -> Tensor:
    """Moved by whole pixels, up to `ratio` of the size in each direction; black (0) comes in."""
    count, _, height, width = images.shape
    far_y, far_x = round(height * ratio), round(width * ratio)
    move_y, move_x = rng.randint(2 * far_y + 1, 1), rng.randint(2 * far_x + 1, 1)
    padded = functional.pad(images, (far_x, far_x, far_y, far_y))
    rows = torch.arange(height, device=images.device) + move_y
    columns = torch.arange(width, device=images.device) + move_x
    each = torch.arange(count, device=images.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[each, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def cut_out(images: Tensor, rng: Draws, ratio: float = 0.5) -> Tensor:
    """A rectangle of `ratio` times the size around a random pixel becomes 0."""
    _, _, height, width = images.shape
    tall, wide = round(height * ratio), round(width * ratio)
    top = rng.randint(height + 1 - tall % 2, 1) - tall // 2
    left = rng.randint(width + 1 - wide % 2, 1) - wide // 2
    rows = torch.arange(height, device=images.device)
    columns = torch.arange(width, device=images.device)
    inside_y = (rows >= top) & (rows < top + tall)
    inside_x = (columns >= left) & (columns < left + wide)
    return images * ~(inside_y[:, :, None] & inside_x[:, None, :])[:, None]


OPERATIONS = ("colour", "translation", "cutout")


class DiffAugment:
    """The operations of `policy`, in the order of the paper, for a share of `strength` of the images (paper: all)."""

    def __init__(
        self, *, policy: str | Sequence[str] = "colour, translation, cutout", strength: float | Schedule = 1.0
    ) -> None:
        names = [name.strip() for name in policy.split(",")] if isinstance(policy, str) else list(policy)
        unknown = [name for name in names if name not in OPERATIONS]
        if unknown or not names:
            raise ValueError(f"policy names '{', '.join(unknown)}'; known are {', '.join(OPERATIONS)}")
        self.operations = {name: name in names for name in OPERATIONS}
        self.strength = strength

    def __call__(self, samples: Tensor, rng: Draws, strength: Tensor) -> Tensor:
        """Augmented images ``(N, C, R, R)``."""
        applies = (rng.rand(1) < strength)[:, :, None, None]
        return torch.where(applies, augmented(samples, rng, **self.operations), samples)
