"""The pipeline of adaptive discriminator augmentation (ADA): blitting, geometry, colour, and optionally corruptions.

Karras, Aittala, Hellsten, Laine, Lehtinen, Aila, "Training generative adversarial networks with limited data", 2020,
arXiv:2006.06676, appendix B. Each operation is applied to an image with the probability p. The geometric operations are
composed to one matrix, so that an image is resampled once: enlarged twofold by an orthogonal wavelet filter, sampled
bilinearly beyond mirrored borders, and reduced by the same filter. All parameters are tensors; nothing waits for the
device, and images to which no operation is applied are returned unchanged.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from gan.draws import Draws
from gan.recipe import Schedule
from torch import Tensor, nn
from torch.nn import functional

SYM6 = (
    0.0154041093, 0.0034907121, -0.1179901111, -0.0483117426, 0.4910559419, 0.7876411410,
    0.3379294217, -0.0726375228, -0.0210602925, 0.0447249018, 0.0017677119, -0.0078007083,
)  # fmt: skip
"""Scaling filter of the wavelet sym6 (Daubechies 1992); the sum of squares is 1, so that reducing undoes enlarging."""
BEFORE = 5
"""Taps before the first of the two pixels that a pixel becomes when it is enlarged; 6 follow it."""
CENTRE = sum(index * tap for index, tap in enumerate(SYM6)) / sum(SYM6) - BEFORE
"""Where the centre of a pixel, number c, is in the enlarged image: at 2c + 0.098, as the filter is not symmetric."""
UPDATES = 4
"""Updates of the discriminator from one change of p to the next."""
REACH = 3
"""Pixels beyond its border that enlarging an image needs."""


def augmented(
    images: Tensor,
    p: Tensor,
    rng: Draws,
    *,
    blit: float = 1.0,
    geometry: float = 1.0,
    colour: float = 1.0,
    noise: float = 0.0,
    cutout: float = 0.0,
) -> Tensor:
    """Augment ``(N, C, R, R)`` in -1 … 1 with C = 1, 3 or 4 (the last is alpha and keeps its values in colour stages).

    `p` is a scalar tensor in 0 … 1. The factors on p switch the stages; a stage with the factor 0 draws nothing.
    """
    count, _, height, width = images.shape
    matrix = torch.eye(3, device=images.device).expand(count, 3, 3)
    if blit:
        matrix = matrix @ blitting(p * blit, rng, height, width)
    if geometry:
        matrix = matrix @ transformation(p * geometry, rng, height, width)
    if blit or geometry:
        images = resampled(images, matrix)
    if colour:
        images = recoloured(images, colours(p * colour, rng))
    if noise:
        deviation = fires(p * noise, rng) * rng.randn(1).abs() * 0.1
        images = images + (rng.randn(*images.shape[1:]) * deviation[:, :, None, None]).to(images.dtype)
    if cutout:
        images = images * cutout_mask(fires(p * cutout, rng), rng, height, width).to(images.dtype)
    return images


def fires(p: Tensor, rng: Draws) -> Tensor:
    """``(N, 1)`` of 0 and 1: whether an operation is applied, which has the probability p."""
    return (rng.rand(1) < p).float()


# ----------------------------------------------------------------------------------------------------------- matrices
# A matrix maps a pixel of the result to the pixel of the image from which it comes, both relative to the centre. The
# inverses of the operations are therefore multiplied in the order in which the operations are applied.


def blitting(p: Tensor, rng: Draws, height: int, width: int) -> Tensor:
    """``(N, 3, 3)``: mirror images, quarter turns, and shifts by whole pixels up to an eighth."""
    flip = fires(p, rng) * rng.randint(2, 1)
    turns = fires(p, rng) * rng.randint(4, 1)
    applies = fires(p, rng)
    move_x = (applies * (rng.rand(1) * 2 - 1) * 0.125 * width).round()
    move_y = (applies * (rng.rand(1) * 2 - 1) * 0.125 * height).round()
    return scaling(1 - 2 * flip, torch.ones_like(flip)) @ rotation(turns * (math.pi / 2)) @ shift(move_x, move_y)


def transformation(p: Tensor, rng: Draws, height: int, width: int) -> Tensor:
    """``(N, 3, 3)``: scaling, rotation, scaling of the axes against each other, rotation, shift by any amount."""
    size = torch.exp2(fires(p, rng) * rng.randn(1) * 0.2)
    either = 1 - (1 - p).clamp_min(0).sqrt()  # with two rotations, at least one is applied with the probability p
    first = fires(either, rng) * (rng.rand(1) * 2 - 1) * math.pi
    stretch = torch.exp2(fires(p, rng) * rng.randn(1) * 0.2)
    second = fires(either, rng) * (rng.rand(1) * 2 - 1) * math.pi
    applies = fires(p, rng)
    move_x = applies * rng.randn(1) * 0.125 * width
    move_y = applies * rng.randn(1) * 0.125 * height
    return (
        scaling(1 / size, 1 / size)
        @ rotation(first)
        @ scaling(1 / stretch, stretch)
        @ rotation(second)
        @ shift(move_x, move_y)
    )


def matrix_of(rows: list[list[Tensor]]) -> Tensor:
    """``(N, k, k)`` of entries ``(N, 1)``."""
    return torch.stack([torch.cat(row, 1) for row in rows], 1)


def scaling(x: Tensor, y: Tensor) -> Tensor:
    """``(N, 3, 3)`` of factors ``(N, 1)``."""
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    return matrix_of([[x, zero, zero], [zero, y, zero], [zero, zero, one]])


def rotation(angle: Tensor) -> Tensor:
    """``(N, 3, 3)`` of angles in radians ``(N, 1)``."""
    zero, one, sine, cosine = torch.zeros_like(angle), torch.ones_like(angle), angle.sin(), angle.cos()
    return matrix_of([[cosine, -sine, zero], [sine, cosine, zero], [zero, zero, one]])


def shift(x: Tensor, y: Tensor) -> Tensor:
    """``(N, 3, 3)``: the contents of an image move right by x and down by y pixels ``(N, 1)``."""
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    return matrix_of([[one, zero, -x], [zero, one, -y], [zero, zero, one]])


def resampled(images: Tensor, matrix: Tensor) -> Tensor:
    """Images ``(N, C, H, W)``, transformed by matrices ``(N, 3, 3)``; those of the identity stay as they are."""
    count, channels, height, width = images.shape
    device = images.device
    taps = torch.tensor(SYM6, device=device)
    x = functional.pad(images.float(), (REACH,) * 4, mode="reflect")
    x = functional.conv_transpose2d(
        x, taps.view(1, 1, 12, 1).expand(channels, 1, 12, 1), stride=(2, 1), groups=channels
    )
    x = functional.conv_transpose2d(
        x, taps.view(1, 1, 1, 12).expand(channels, 1, 1, 12), stride=(1, 2), groups=channels
    )
    start = 2 * REACH + BEFORE
    x = x[:, :, start : start + 2 * height, start : start + 2 * width]

    half = torch.tensor([(width - 1) / 2, (height - 1) / 2], device=device)
    columns = (torch.arange(2 * width + 10, device=device) - BEFORE - CENTRE) / 2 - half[0]
    rows = (torch.arange(2 * height + 10, device=device) - BEFORE - CENTRE) / 2 - half[1]
    places = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), 2).view(1, -1, 2)  # (1, pixels, x and y)
    places = places @ matrix[:, :2, :2].transpose(1, 2) + matrix[:, None, :2, 2] + half
    places = _mirrored(places, 2 * half)
    places = (2 * places + CENTRE + 0.5) / (2 * half + 1) - 1  # of the enlarged image, from edge to edge -1 … 1
    grid = places.view(count, len(rows), len(columns), 2)
    x = functional.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)

    x = functional.conv2d(x, taps.view(1, 1, 12, 1).expand(channels, 1, 12, 1), stride=(2, 1), groups=channels)
    x = functional.conv2d(x, taps.view(1, 1, 1, 12).expand(channels, 1, 1, 12), stride=(1, 2), groups=channels)
    same = (matrix == torch.eye(3, device=device)).flatten(1).all(1)[:, None, None, None]
    return torch.where(same, images, x.to(images.dtype))


def _mirrored(places: Tensor, last: Tensor) -> Tensor:
    """Coordinates folded into 0 … `last` by mirroring at both ends, as often as necessary."""
    period = 2 * last
    folded = torch.remainder(places, period)
    return torch.minimum(folded, period - folded)


# -------------------------------------------------------------------------------------------------------------- colour


def colours(p: Tensor, rng: Draws) -> Tensor:
    """``(N, 4, 4)``: brightness, contrast, inverted luma, hue and saturation, on colours (r, g, b, 1)."""
    brightness = fires(p, rng) * rng.randn(1) * 0.2
    contrast = torch.exp2(fires(p, rng) * rng.randn(1) * 0.5)
    inverts = fires(p, rng) * rng.randint(2, 1)
    hue = fires(p, rng) * (rng.rand(1) * 2 - 1) * math.pi
    saturation = torch.exp2(fires(p, rng) * rng.randn(1))

    device = brightness.device
    whole = torch.eye(3, device=device)
    luma = torch.full((3, 3), 1 / 3, device=device)  # projection on the grey axis v = (1, 1, 1)/√3
    cross = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]], device=device) / math.sqrt(3)  # x -> v × x
    inversion = whole - 2 * inverts[:, :, None] * luma
    cosine, sine = hue.cos()[:, :, None], hue.sin()[:, :, None]
    turn = cosine * whole + sine * cross + (1 - cosine) * luma  # Rodrigues
    spread = luma + saturation[:, :, None] * (whole - luma)
    linear = spread @ turn @ inversion * contrast[:, :, None]
    # Brightness is added first; as it is grey, hue and saturation leave what contrast and inversion make of it.
    offset = (brightness * contrast * (1 - 2 * inverts)).expand(-1, 3)
    bottom = torch.tensor([0.0, 0, 0, 1], device=device).expand(len(linear), 1, 4)
    return torch.cat([torch.cat([linear, offset[:, :, None]], 2), bottom], 1)


def recoloured(images: Tensor, matrix: Tensor) -> Tensor:
    """Images ``(N, 1 | 3 | 4, H, W)`` with colours multiplied by ``(N, 4, 4)``. Grey images have equal r, g and b, and
    take the mean of the three results."""
    channels = images.shape[1]
    if channels == 1:
        row = matrix[:, :3].mean(1)
        factor, offset = row[:, :3].sum(1), row[:, 3]
        return (images * factor[:, None, None, None] + offset[:, None, None, None]).to(images.dtype)
    colours = torch.einsum("noc,nchw->nohw", matrix[:, :3, :3], images[:, :3].float()) + matrix[:, :3, 3, None, None]
    return torch.cat([colours.to(images.dtype), images[:, 3:]], 1)


def cutout_mask(applies: Tensor, rng: Draws, height: int, width: int, size: float = 0.5) -> Tensor:
    """``(N, 1, H, W)``: 0 in a rectangle of `size` times the image around a random centre, 1 elsewhere."""
    device = applies.device
    centre = rng.rand(2)
    far_x = ((torch.arange(width, device=device) + 0.5) / width - centre[:, :1]).abs() >= size / 2
    far_y = ((torch.arange(height, device=device) + 0.5) / height - centre[:, 1:]).abs() >= size / 2
    keep = (far_y[:, :, None] | far_x[:, None, :])[:, None].float()
    return torch.where(applies[:, :, None, None] > 0, keep, 1.0)


# ------------------------------------------------------------------------------------------------------ augmentations


class Pipeline(nn.Module):
    """The pipeline with a probability p from the recipe: a number or a schedule, as R3GAN has one.

    `blit`, `geometry`, `colour`, `noise` and `cutout` are factors on p for the operations of a stage; 0 leaves it out.
    """

    strength: float | Schedule | Tensor

    def __init__(
        self,
        *,
        strength: float | Schedule = 0.3,
        blit: float = 1.0,
        geometry: float = 1.0,
        colour: float = 1.0,
        noise: float = 0.0,
        cutout: float = 0.0,
    ) -> None:
        super().__init__()
        self.stages = {"blit": blit, "geometry": geometry, "colour": colour, "noise": noise, "cutout": cutout}
        wrong = [name for name, factor in self.stages.items() if not 0 <= factor <= 1]
        if wrong:
            raise ValueError(f"{wrong[0]} is a factor on a probability, 0 … 1, not {self.stages[wrong[0]]}")
        self._set(strength)

    def _set(self, strength: float | Schedule) -> None:
        self.strength = strength

    def forward(self, samples: Tensor, rng: Draws, strength: Tensor) -> Tensor:
        """Augmented images ``(N, C, R, R)`` in -1 … 1; `strength` is p."""
        if strength.device.type == "cpu" and strength == 0:  # reading it waits for nothing, and saves the resampling
            return samples
        return augmented(samples, strength, rng, **self.stages)


class ADA(Pipeline):
    """The pipeline with a probability that follows the discriminator's overfitting (equation 1 of the paper).

    r is the mean sign of the discriminator's scores of real images. Every fourth update p is raised if r is above
    `target` and lowered if it is below, at a speed at which p needs `samples` real images from 0 to 1, up to `limit`.
    """

    strength: Tensor
    since: Tensor

    def __init__(
        self,
        *,
        target: float = 0.6,
        samples: int = 500_000,
        limit: float = 0.8,
        blit: float = 1.0,
        geometry: float = 1.0,
        colour: float = 1.0,
        noise: float = 0.0,
        cutout: float = 0.0,
    ) -> None:
        super().__init__(blit=blit, geometry=geometry, colour=colour, noise=noise, cutout=cutout)
        if not -1 <= target <= 1 or samples < 1 or not 0 < limit <= 1:
            raise ValueError("target must be within -1 … 1, samples at least 1 and limit within 0 … 1")
        self.target, self.samples, self.limit = target, samples, limit
        self.register_buffer("since", torch.zeros(4))
        """Since p was last changed: the sum of signs, the number of scores, updates, real images."""

    def _set(self, strength: float | Schedule) -> None:
        self.register_buffer("strength", torch.zeros(()))

    def observe(self, real_scores: Tensor) -> dict[str, Tensor]:
        """The sum of the signs of the scores of real images, and their number."""
        return {"signs": real_scores.sign().sum(), "scores": torch.full_like(real_scores, 1.0).sum()}

    def learn(self, observed: Mapping[str, Tensor], samples: int) -> None:
        """Count an update of the discriminator, and change p after every fourth."""
        counts = torch.stack([observed["signs"], observed["scores"]])
        self.since += torch.cat([counts, counts.new_tensor([1.0, float(samples)])])
        signs, scores, updates, shown = self.since.unbind()
        due = (updates >= UPDATES).float()
        step = (signs / scores - self.target).sign() * shown / self.samples
        self.strength += due * ((self.strength + step).clamp(0, self.limit) - self.strength)
        self.since *= 1 - due
