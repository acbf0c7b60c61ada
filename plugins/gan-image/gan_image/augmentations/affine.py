"""Small affine changes of an image: what a hand, a camera or a scanner changes, and not what the image shows."""

from __future__ import annotations

import math

import torch
from gan.draws import Draws
from gan.recipe import Schedule
from torch import Tensor

from gan_image.augmentations.ada import matrix_of, resampled, rotation, scaling, shift


class Affine:
    """Every image is turned, scaled, sheared and moved, each by an amount drawn uniformly.

    `degrees`: largest turn; `scale`: largest factor of the size, and of width against height; `shear`: largest shift of
    the upper border against the middle, as a share of half the height; `move`: largest shift, as a share of the size.
    A strength below 1 makes all of them smaller. Borders are mirrored.
    """

    def __init__(
        self,
        *,
        strength: float | Schedule = 1.0,
        degrees: float = 20.0,
        scale: float = 1.25,
        shear: float = 0.4,
        move: float = 0.08,
    ) -> None:
        if not 0 <= degrees <= 180 or not 1 <= scale <= 4 or not 0 <= shear <= 2 or not 0 <= move <= 0.5:
            raise ValueError("degrees must be within 0 … 180, scale 1 … 4, shear 0 … 2 and move 0 … 0.5")
        self.strength = strength
        self.degrees, self.scale, self.shear, self.move = degrees, scale, shear, move

    def __call__(self, samples: Tensor, rng: Draws, strength: Tensor) -> Tensor:
        """Changed images ``(N, C, H, W)`` in -1 … 1."""
        height, width = samples.shape[2:]
        size, stretch, turn, lean, x, y = ((2 * rng.rand(6) - 1) * strength)[:, :, None].unbind(1)
        size, stretch = (torch.exp2(each * math.log2(self.scale)) for each in (size, stretch))
        zero, one = torch.zeros_like(turn), torch.ones_like(turn)
        matrix = (
            scaling(size * stretch, size / stretch)
            @ rotation(turn * math.radians(self.degrees))
            @ matrix_of([[one, lean * self.shear, zero], [zero, one, zero], [zero, zero, one]])
            @ shift(x * self.move * width, y * self.move * height)
        )
        return resampled(samples, matrix)
