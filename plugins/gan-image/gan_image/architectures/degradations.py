"""The degradations of Real-ESRGAN: what a camera, a phone and the web do to an image, twice, on the training's device.

Wang, Xie, Dong, Shan: Real-ESRGAN: Training real-world blind super-resolution with pure synthetic data, 2021,
arXiv:2107.10833, section 3. A round blurs, resizes, adds noise and compresses as JPEG; the second one ends with the
size of the small image and a sinc filter (ringing). Every image has kernels, sizes, noise and quality of its own: sizes
differ within a batch, so a resized image lies in the corner of a tensor of the largest size, its last row and column
repeated. All random numbers are rows of `gan.draws.Draws`: degradations are a function of (seed, position), and nothing
waits for the device.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from gan.draws import Draws
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, interpolate, pad

KERNEL = 21
"""Side of the largest blur kernel; sides are odd, from 7 on."""
KINDS = (0.45, 0.70, 0.82, 0.85, 0.97)
"""Cumulative probabilities of the kinds of blur: isotropic and anisotropic Gaussian, both generalized, isotropic
plateau; the rest is anisotropic plateau (table 1 of the supplement)."""
SINC = 0.1
"""Share of sinc kernels among the blurs of a round."""
GREY_NOISE = 0.4
QUALITY = (30.0, 95.0)
LAST_SINC = 0.8


@dataclass(frozen=True)
class Round:
    """The ranges of one round, for images in 0 … 1."""

    blur: float
    """Share of images that are blurred."""
    sigma: tuple[float, float]
    """Deviation of the blur, in pixels."""
    up: float
    down: float
    """Shares of images that are enlarged and made smaller; the others keep their size."""
    sizes: tuple[float, float]
    """Smallest and largest factor of the size."""
    gaussian: tuple[float, float]
    """Deviation of Gaussian noise, in grey values of 255."""
    poisson: tuple[float, float]
    """Factor on Poisson noise of 256 counts."""


ROUNDS = (
    Round(1.0, (0.2, 3.0), 0.2, 0.7, (0.15, 1.5), (1.0, 30.0), (0.05, 3.0)),
    Round(0.8, (0.2, 1.5), 0.3, 0.4, (0.3, 1.2), (1.0, 25.0), (0.05, 2.5)),
)


@torch.no_grad()
def degraded(images: Tensor, rng: Draws, factor: int, rounds: int = 2) -> Tensor:
    """``(N, C, S, S)`` in -1 … 1 -> ``(N, C, S / factor, S / factor)`` in -1 … 1, of 256 levels; `rounds` is 1 or 2.

    A fourth channel, alpha, is only made smaller.
    """
    side = images.shape[-1]
    colours, alpha = (images[:, :3] + 1) / 2, images[:, 3:]
    small = side // factor
    x, sizes = colours, torch.full((len(images),), float(side), device=images.device)
    for index in range(rounds):
        kind = ROUNDS[index]
        x = filtered(x, _round_kernels(rng, kind))
        # the second round resizes relative to the size of the result
        x, sizes = resized(x, sizes, *_new_sizes(rng, kind, float(side if index == 0 else small)))
        x = noisy(x, rng, kind)
        if index + 1 < rounds:
            x = compressed(x, _between(rng, *QUALITY)[:, 0])
    kernels = torch.where(rng.rand(1, 1) < LAST_SINC, sinc_kernels(rng), _identity(images.device))
    quality = _between(rng, *QUALITY)[:, 0]
    first = (rng.rand(1) < 0.5)[:, :, None, None]  # JPEG first, or resizing and the filter first
    x = torch.where(first, compressed(x, quality), x)
    x, _ = resized(x, sizes, torch.full_like(sizes, small), rng.randint(3, 1)[:, 0], small)
    x = filtered(x, kernels)
    x = torch.where(first, x, compressed(x, quality))
    x = (x.clamp(0, 1) * 255).round() / 127.5 - 1
    return torch.cat([x, avg_pool2d(alpha, factor)], 1) if alpha.shape[1] else x


def _between(rng: Draws, low: float, high: float) -> Tensor:
    """``(N, 1)`` from U(low, high)."""
    return low + (high - low) * rng.rand(1)


# ---------------------------------------------------------------------- blur


def _identity(device: torch.device) -> Tensor:
    middle = torch.arange(KERNEL, device=device) == KERNEL // 2
    return (middle[:, None] & middle).float()


def _places(rng: Draws) -> tuple[Tensor, Tensor, Tensor]:
    """x and y ``(K, K)`` from the centre, and which of them lie in a kernel of a random odd side, ``(N, K, K)``."""
    line = torch.arange(KERNEL, device=rng.device) - KERNEL // 2
    y, x = torch.meshgrid(line.float(), line.float(), indexing="ij")
    reach = 3 + rng.randint(KERNEL // 2 - 2, 1, 1)  # 3 … 10: sides 7 … 21
    inside = torch.maximum(x.abs(), y.abs()) <= reach
    return x, y, inside


def gaussian_kernels(rng: Draws, sigma: tuple[float, float]) -> Tensor:
    """``(N, K, K)``, sum 1: exp(-½ d^β), or 1 / (1 + d^β) for plateaus, where d = xᵀΣ⁻¹x."""
    x, y, inside = _places(rng)
    kind = rng.rand(1)
    first, second = _between(rng, *sigma), _between(rng, *sigma)
    angle = (rng.rand(1) * 2 - 1) * math.pi
    one, two, three, four, five = KINDS
    isotropic = (kind < one) | ((kind >= two) & (kind < three)) | ((kind >= four) & (kind < five))
    second = torch.where(isotropic, first, second)
    generalized, plateau = (kind >= two) & (kind < four), kind >= four
    shape = torch.where(generalized, _between(rng, 0.5, 4.0), torch.where(plateau, _between(rng, 1.0, 2.0), 1.0))
    cosine, sine = angle.cos()[:, :, None], angle.sin()[:, :, None]
    along, across = cosine * x + sine * y, cosine * y - sine * x
    d = (along / first[:, :, None]).square() + (across / second[:, :, None]).square()
    d = d.pow(shape[:, :, None])
    kernel = torch.where(plateau[:, :, None], 1 / (1 + d), (-0.5 * d).exp()) * inside
    return kernel / kernel.sum((1, 2), keepdim=True)


def sinc_kernels(rng: Draws) -> Tensor:
    """``(N, K, K)``, sum 1: the circular low-pass filter ω J₁(ωr) / (2πr) with ω from U(π/3, π), or from π/5 on for
    sides of 13 and more."""
    x, y, inside = _places(rng)
    wide = inside[:, KERNEL // 2, KERNEL // 2 + 6][:, None]  # 6 from the centre: a side of 13
    low = torch.where(wide, math.pi / 5, math.pi / 3)
    cutoff = (low + (math.pi - low) * rng.rand(1))[:, :, None]
    r = (x.square() + y.square()).sqrt()
    safe = torch.where(r > 0, r, 1.0)
    kernel = cutoff * torch.special.bessel_j1(cutoff * safe) / (2 * math.pi * safe)
    kernel = torch.where(r > 0, kernel, cutoff.square() / (4 * math.pi)) * inside
    return kernel / kernel.sum((1, 2), keepdim=True)


def _round_kernels(rng: Draws, kind: Round) -> Tensor:
    kernels = torch.where(rng.rand(1, 1) < SINC, sinc_kernels(rng), gaussian_kernels(rng, kind.sigma))
    return torch.where(rng.rand(1, 1) < kind.blur, kernels, _identity(rng.device))


def filtered(images: Tensor, kernels: Tensor) -> Tensor:
    """Images ``(N, C, H, W)``, each convolved with its kernel ``(N, K, K)``; edges are repeated."""
    count, channels, height, width = images.shape
    x = pad(images, (KERNEL // 2,) * 4, mode="replicate").view(1, count * channels, height + 20, width + 20)
    weight = kernels[:, None, None].expand(-1, channels, -1, -1, -1).reshape(-1, 1, KERNEL, KERNEL)
    return conv2d(x, weight, groups=count * channels).view_as(images)


# ---------------------------------------------------------------------- size


def _new_sizes(rng: Draws, kind: Round, base: float) -> tuple[Tensor, Tensor, int]:
    """Sides ``(N,)`` in whole pixels, modes ``(N,)``, and the largest possible side."""
    which, amount = rng.rand(1)[:, 0], rng.rand(1)[:, 0]
    low, high = kind.sizes
    larger = 1 + (high - 1) * amount
    smaller = low + (1 - low) * amount
    change = torch.where(which < kind.up, larger, torch.where(which < kind.up + kind.down, smaller, 1.0))
    return (base * change).floor().clamp_min(4), rng.randint(3, 1)[:, 0], math.ceil(base * high)


def resized(images: Tensor, sizes: Tensor, wanted: Tensor, modes: Tensor, largest: int) -> tuple[Tensor, Tensor]:
    """``(N, C, S, S)`` whose image n has `sizes` ``(N,)`` pixels a side -> ``(N, C, largest, largest)`` with `wanted`,
    and these.

    Modes: 0 the mean over the area of a pixel, 1 bilinear, 2 bicubic (Keys 1981, a = -¾), both without antialiasing, as
    in the published pipeline. What lies behind the last row or column repeats it.
    """
    weights = _weights(sizes, wanted, modes, images.shape[-1], largest)[:, None]
    return weights @ images @ weights.transpose(2, 3), wanted


def _weights(sizes: Tensor, wanted: Tensor, modes: Tensor, before: int, after: int) -> Tensor:
    """``(N, after, before)``: the weights of old pixels in new ones along one axis."""
    old, scale = sizes[:, None, None], (sizes / wanted)[:, None, None]
    row = torch.minimum(torch.arange(after, device=sizes.device)[None, :, None], wanted[:, None, None] - 1)
    column = torch.arange(before, device=sizes.device)[None, None]
    start, end = row * scale, (row + 1) * scale
    area = (torch.minimum(column + 1.0, end) - torch.maximum(column.float(), start)).clamp_min(0) / scale
    centre = (row + 0.5) * scale - 0.5
    base = centre.floor()
    t = centre - base
    cubic = modes[:, None, None] == 2
    taps = (
        torch.where(cubic, _keys(1 + t), 0.0),
        torch.where(cubic, _keys(t), 1 - t),
        torch.where(cubic, _keys(1 - t), t),
        torch.where(cubic, _keys(2 - t), 0.0),
    )
    found = torch.zeros(len(sizes), after, before, device=sizes.device)
    for offset, tap in zip((-1, 0, 1, 2), taps, strict=True):
        place = torch.minimum((base + offset).clamp_min(0), old - 1)
        found += tap * (column == place)
    return torch.where(modes[:, None, None] == 0, area, found)


def _keys(x: Tensor, a: float = -0.75) -> Tensor:
    """The kernel of cubic convolution at distances 0 … 2."""
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    return torch.where(x <= 1, near, ((a * x - 5 * a) * x + 8 * a) * x - 4 * a)


# ---------------------------------------------------------------------- noise


def noisy(images: Tensor, rng: Draws, kind: Round) -> Tensor:
    """Gaussian or Poisson noise, of each colour or of grey. Poisson noise is approximated by normal noise of the same
    variance, which differs for the darkest pixels only."""
    gaussian = (rng.rand(1) < 0.5)[:, :, None, None]
    grey = (rng.rand(1) < GREY_NOISE)[:, :, None, None]
    sigma = _between(rng, *kind.gaussian)[:, :, None, None] / 255
    scale = _between(rng, *kind.poisson)[:, :, None, None]
    noise = torch.where(grey, rng.randn(1, *images.shape[2:]), rng.randn(*images.shape[1:]))
    light = torch.where(grey, images.mean(1, keepdim=True), images).clamp(0, 1)
    deviation = torch.where(gaussian, sigma, scale * (light / 256).sqrt())
    return (images + noise * deviation).clamp(0, 1)


# ---------------------------------------------------------------------- JPEG

LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61), (12, 12, 14, 19, 26, 58, 60, 55), (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62), (18, 22, 37, 56, 68, 109, 103, 77), (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101), (72, 92, 95, 98, 112, 100, 103, 99),
)  # fmt: skip
CHROMINANCE = (
    (17, 18, 24, 47, 99, 99, 99, 99), (18, 21, 26, 66, 99, 99, 99, 99), (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99), *(((99,) * 8,) * 4),
)  # fmt: skip
"""The tables of ITU-T T.81, annex K."""


def compressed(images: Tensor, quality: Tensor) -> Tensor:
    """``(N, 1 | 3, H, W)`` in 0 … 1 as after JPEG of a quality ``(N,)`` 1 … 100, colours at half the resolution."""
    height, width = images.shape[-2:]
    x = pad(images * 255, (0, -width % 16, 0, -height % 16), mode="replicate")
    factor = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality)[:, None, None]

    def table(values: tuple[tuple[int, ...], ...]) -> Tensor:
        scaled = ((torch.tensor(values, device=x.device) * factor + 50) / 100).floor()
        return scaled.clamp(1, 255)

    if x.shape[1] == 1:
        x = _quantized(x - 128, table(LUMINANCE)) + 128
    else:
        red, green, blue = x.unbind(1)
        luma = 0.299 * red + 0.587 * green + 0.114 * blue
        chroma = torch.stack([(blue - luma) / 1.772, (red - luma) / 1.402], 1)
        luma = _quantized(luma[:, None] - 128, table(LUMINANCE))[:, 0] + 128
        chroma = interpolate(_quantized(avg_pool2d(chroma, 2), table(CHROMINANCE)), scale_factor=2.0, mode="bilinear")
        cb, cr = chroma.unbind(1)
        green = luma - (0.114 * 1.772 * cb + 0.299 * 1.402 * cr) / 0.587
        x = torch.stack([luma + 1.402 * cr, green, luma + 1.772 * cb], 1)
    return (x[..., :height, :width].round() / 255).clamp(0, 1)


def _quantized(x: Tensor, table: Tensor) -> Tensor:
    """``(N, C, H, W)`` with the cosine coefficients of blocks of 8x8 rounded to multiples of ``(N, 8, 8)``."""
    count, channels, height, width = x.shape
    basis, step = _cosines(x.device), table[:, None, None, None]
    blocks = x.view(count, channels, height // 8, 8, width // 8, 8).transpose(3, 4)
    coefficients = (basis @ blocks @ basis.T / step).round() * step
    restored: Tensor = (basis.T @ coefficients @ basis).transpose(3, 4).reshape(x.shape)
    return restored


def _cosines(device: torch.device) -> Tensor:
    """``(8, 8)``: the orthonormal basis of the discrete cosine transform."""
    k = torch.arange(8, device=device)
    basis = ((2 * k + 1) * k[:, None] * (math.pi / 16)).cos() / 2
    return torch.where(k[:, None] == 0, basis / math.sqrt(2), basis)
