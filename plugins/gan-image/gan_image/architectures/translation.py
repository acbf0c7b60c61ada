"""Networks for image-to-image translation, the pool of past images, and data augmentation by jitter.

The networks are those of Zhu et al. 2017 (CycleGAN, arXiv:1703.10593, appendix 7.2) and Isola et al. 2017 (pix2pix,
arXiv:1611.07004, section 6.1). Convolutions have a bias only before instance normalization, which has no gain here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from gan.contracts import FieldSpec, Tiles
from gan.draws import Draws
from gan.errors import UsageError
from torch import Tensor, nn
from torch.nn import functional as F

Normalisation = Literal["instance", "batch"]
Upsampling = Literal["transposed", "nearest"]


TILE_BYTES = 1 << 28
"""Memory of one activation of the outermost layer, which sets the size of a tile."""


def translation_tiles(multiple: int, reach: int, width: int) -> Tiles:
    """The tiles of a translator whose outermost layer has `width` channels, for images that are larger than a tile."""
    side = max(1, math.isqrt(TILE_BYTES // (4 * width)) // multiple) * multiple
    return Tiles(side=side, reach=-(-reach // multiple) * multiple, multiple=multiple)


def translation_shape(fields: Mapping[str, FieldSpec], architecture: str) -> tuple[int, int]:
    """(channels, resolution) of samples that have a source and a target; raises `UsageError` for others."""
    if "source" not in fields or "target" not in fields:
        raise UsageError(
            f"'{architecture}' translates source into target; set modality.layout to side-by-side, folders or unpaired"
        )
    channels, _, side = fields["source"].shape
    return channels, side


def _norm(kind: Normalisation | Literal["none"], channels: int) -> nn.Module:
    if kind == "none":
        return nn.Identity()
    return nn.InstanceNorm2d(channels) if kind == "instance" else nn.BatchNorm2d(channels)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with reflection padding and a skip connection."""

    def __init__(self, width: int, norm: Normalisation, dropout: float) -> None:
        super().__init__()
        bias = norm == "instance"
        self.body = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(width, width, 3, bias=bias),
            _norm(norm, width),
            nn.ReLU(inplace=True),
            *([nn.Dropout(dropout)] if dropout else []),
            nn.ReflectionPad2d(1),
            nn.Conv2d(width, width, 3, bias=bias),
            _norm(norm, width),
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(N, width, H, W)`` -> the same shape."""
        added: Tensor = x + self.body(x)
        return added


class ResnetGenerator(nn.Module):
    """Two strided convolutions, residual blocks, two transposed convolutions; sides must be multiples of 4.

    With `upsample` nearest, pixels are repeated before convolutions in place of the transposed ones (`UnetGenerator`).

    Nine blocks for 256 pixels, six for 128 (Zhu et al. 2017, appendix 7.2). `features` gives layers of the encoder:
    layer 0 is the image, 1 and 2 are outputs of the strided convolutions, 2 + k is that of the k-th residual block.
    """

    def __init__(
        self,
        channels: int,
        width: int = 64,
        blocks: int = 9,
        norm: Normalisation = "instance",
        dropout: float = 0.0,
        upsample: Upsampling = "transposed",
    ) -> None:
        super().__init__()
        bias = norm == "instance"
        self.widths = [channels, 2 * width, 4 * width, *[4 * width] * blocks]
        """Channels of each layer that `features` can give."""

        def normal(after: int) -> list[nn.Module]:
            return [_norm(norm, after), nn.ReLU(inplace=True)]

        def down(before: int) -> nn.Module:
            return nn.Conv2d(before, 2 * before, 3, 2, 1, bias=bias)

        def up(before: int) -> list[nn.Module]:
            after = before // 2
            if upsample == "transposed":
                return [nn.ConvTranspose2d(before, after, 3, 2, 1, output_padding=1, bias=bias), *normal(after)]
            larger = [nn.Upsample(scale_factor=2), nn.ReflectionPad2d(1), nn.Conv2d(before, after, 3, bias=bias)]
            return [*larger, *normal(after)]

        body = [ResidualBlock(4 * width, norm, dropout) for _ in range(blocks)]
        self.encoder = nn.ModuleList(
            [
                nn.Sequential(
                    nn.ReflectionPad2d(3), nn.Conv2d(channels, width, 7, bias=bias), *normal(width), down(width)
                ),
                nn.Sequential(*normal(2 * width), down(2 * width)),
                nn.Sequential(*normal(4 * width), body[0]),
                *body[1:],
            ]
        )
        self.decoder = nn.Sequential(
            *up(4 * width), *up(2 * width), nn.ReflectionPad2d(3), nn.Conv2d(width, channels, 7), nn.Tanh()
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(N, channels, H, W)`` -> the same shape, in -1 … 1."""
        return self.seeing(x, ())[0]

    def seeing(self, x: Tensor, layers: Sequence[int]) -> tuple[Tensor, list[Tensor]]:
        """The translation, and the encoder's features at `layers`."""
        seen = self._stages(x, len(self.encoder))
        translated: Tensor = self.decoder(seen[-1])
        return translated, [seen[layer] for layer in layers]

    def features(self, x: Tensor, layers: Sequence[int]) -> list[Tensor]:
        """The encoder's features at `layers`, without computing later layers."""
        seen = self._stages(x, max(layers))
        return [seen[layer] for layer in layers]

    def _stages(self, x: Tensor, last: int) -> list[Tensor]:
        seen = [x]
        for stage in self.encoder[:last]:
            seen.append(stage(seen[-1]))
        return seen


class PictureNorm(nn.BatchNorm2d):
    """Batch normalization that uses the statistics of each single image in evaluation mode, as for a batch of one,
    which is how pix2pix is tested (Isola et al. 2017, section 3.4)."""

    def forward(self, input: Tensor) -> Tensor:
        """``(N, C, H, W)`` -> the same shape."""
        if self.training:
            return super().forward(input)
        return F.instance_norm(input, weight=self.weight, bias=self.bias, eps=self.eps)


class UnetGenerator(nn.Module):
    """An encoder down to one pixel and a decoder with skip connections (Isola et al. 2017, section 6.1.1).

    Level i halves the sides and has ``width · min(8, 2^i)`` channels; 256 pixels need eight levels. Dropout of one half
    is applied to the inner ``levels - 5`` levels of the decoder; its noise comes from the caller's random numbers, so
    that samples are reproducible.

    `upsample` is how the decoder doubles the sides: by transposed convolutions of 4x4, as published, or by repeating
    pixels before convolutions of 3x3, which leave no chessboard (Odena, Dumoulin, Olah 2016, "Deconvolution and
    checkerboard artifacts"). With `latent`, a latent vector of that size shifts the channels that enter each level of
    the decoder, which is the same as concatenating it at every place (Zhu et al. 2017, arXiv:1711.11586, section 3.4)
    but for the borders.
    """

    def __init__(
        self,
        channels: int,
        side: int,
        width: int = 64,
        norm: Normalisation = "batch",
        by_picture: bool = False,
        upsample: Upsampling = "transposed",
        latent: int = 0,
    ) -> None:
        super().__init__()
        levels = side.bit_length() - 1
        if side != 1 << levels or levels < 5:
            raise UsageError(f"a U-Net translates 32, 64, 128 or 256 … pixels, not {side}; set modality.resolution")
        bias = norm == "instance"
        normal = PictureNorm if by_picture and norm == "batch" else lambda count: _norm(norm, count)
        widths = [width * min(8, 2**level) for level in range(levels)]
        self.dropped = range(4, levels - 1)
        self.down = nn.ModuleList()
        self.up = nn.ModuleList()
        self.shift = nn.ModuleList()

        def up(before: int, after: int, *, bias: bool) -> list[nn.Module]:
            if upsample == "transposed":
                return [nn.ConvTranspose2d(before, after, 4, 2, 1, bias=bias)]
            return [nn.Upsample(scale_factor=2), nn.Conv2d(before, after, 3, 1, 1, bias=bias)]

        for level, after in enumerate(widths):
            before = widths[level - 1] if level else channels
            outermost, innermost = level == 0, level == levels - 1
            encoder: list[nn.Module] = [] if outermost else [nn.LeakyReLU(0.2)]
            encoder.append(nn.Conv2d(before, after, 4, 2, 1, bias=bias))
            if not outermost and not innermost:
                encoder.append(normal(after))
            self.down.append(nn.Sequential(*encoder))
            inputs = after if innermost else 2 * after
            decoder: list[nn.Module] = [nn.ReLU()]
            if outermost:
                decoder += [*up(inputs, channels, bias=True), nn.Tanh()]
            else:
                decoder += [*up(inputs, before, bias=bias), normal(before)]
            self.up.append(nn.Sequential(*decoder))
            if latent:
                self.shift.append(nn.Linear(latent, inputs, bias=False))

    def forward(self, x: Tensor, rng: Draws | None = None, latents: Tensor | None = None) -> Tensor:
        """``(N, channels, side, side)`` -> the same shape, in -1 … 1; without `rng` there is no dropout. `latents` are
        ``(N, latent)``; None: zeros."""
        return self.decode(self.encode(x), rng, latents)

    def encode(self, x: Tensor) -> list[Tensor]:
        """``(N, channels, side, side)`` -> the outputs of all levels of the encoder."""
        passed = []
        for down in self.down:
            x = down(x)
            passed.append(x)
        return passed

    def decode(self, passed: Sequence[Tensor], rng: Draws | None = None, latents: Tensor | None = None) -> Tensor:
        """The outputs of `encode` -> ``(N, channels, side, side)`` in -1 … 1."""
        x: Tensor = self.up[-1](self._shifted(passed[-1], -1, latents))
        for level in range(len(self.up) - 2, -1, -1):
            x = self.up[level](self._shifted(torch.cat([passed[level], x], 1), level, latents))
            if rng is not None and level in self.dropped:
                x = x * (2.0 * (rng.rand(*x.shape[1:]) < 0.5))
        return x

    def _shifted(self, x: Tensor, level: int, latents: Tensor | None) -> Tensor:
        if latents is None or not len(self.shift):
            return x
        shifted: Tensor = x + self.shift[level](latents)[:, :, None, None]
        return shifted


def patch_discriminator(
    channels: int, width: int = 64, layers: int = 3, norm: Normalisation | Literal["none"] = "batch"
) -> nn.Sequential:
    """PatchGAN discriminator: ``(N, channels, H, W) -> (N, 1, h, w)`` scores of overlapping patches.

    With three layers a patch has 70 pixels; `layers` = 0 is the pixel discriminator of 1x1 convolutions.
    """
    bias = norm != "batch"
    if layers == 0:
        return nn.Sequential(
            nn.Conv2d(channels, width, 1),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(width, 2 * width, 1, bias=bias),
            _norm(norm, 2 * width),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(2 * width, 1, 1, bias=bias),
        )
    network: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(0.2, inplace=True)]
    before = width
    for layer in range(1, layers + 1):
        after = width * min(8, 2**layer)
        stride = 2 if layer < layers else 1
        network += [
            nn.Conv2d(before, after, 4, stride, 1, bias=bias),
            _norm(norm, after),
            nn.LeakyReLU(0.2, inplace=True),
        ]
        before = after
    network.append(nn.Conv2d(before, 1, 4, 1, 1))
    return nn.Sequential(*network)


class ImagePool(nn.Module):
    """A buffer of past generated images for the discriminator (Shrivastava et al. 2017, section 2.3).

    Until the pool is full, new images are stored and returned. Then, with probability one half, a stored image is
    returned and replaced by the new one; otherwise the new one is returned. The pool is part of the checkpoint; each
    distributed process has its own.
    """

    transfers = False
    """A run that starts from the weights of another one (``gan run --from``) begins with an empty pool."""
    pictures: Tensor
    filled: Tensor

    def __init__(self, size: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("pictures", torch.zeros(size, *shape))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def show(self, pictures: Tensor, rng: Draws) -> Tensor:
        """``(N, *shape)`` new images -> as many to show, as if they came one by one; nothing waits for the device."""
        if not self.size:
            return pictures
        swap = rng.rand() < 0.5
        count, new = len(pictures), pictures.to(self.pictures.dtype)
        index = torch.arange(count, device=pictures.device)
        filling = self.filled + index < self.size
        places = torch.where(filling, self.filled + index, rng.randint(self.size))
        writes = (filling | swap) & (places[:, None] == places)  # (reader, writer): writer n stores where reader looks
        writer = torch.where(writes, index, -1)
        before = writer.masked_fill(index >= index[:, None], -1).amax(1)  # the last writer among earlier images
        last = writer.amax(1)
        stored = self.pictures.index_select(0, places)
        axes = (slice(None), *[None] * (pictures.ndim - 1))
        old = torch.where((before >= 0)[axes], new[before], stored)
        shown = torch.where((swap & ~filling)[axes], old, new)
        # images for one place write the same value there
        self.pictures.index_copy_(0, places, torch.where((last >= 0)[axes], new[last], stored))
        self.filled.add_(count).clamp_(max=self.size)
        return shown.to(pictures.dtype)


def jitter(pictures: list[Tensor], rng: Draws, share: float, flip: bool) -> list[Tensor]:
    """Augment images ``(N, C, S, S)``: enlarge by `share` (bicubic), crop to S at a random place and, with `flip`,
    mirror with probability one half. The same random numbers apply to row n of every tensor: pairs stay aligned."""
    side = pictures[0].shape[-1]
    larger = round(side * (1 + share))
    if larger > side:
        top, left = (rng.randint(larger - side + 1) for _ in range(2))
    mirrored = rng.rand(1, 1, 1) < 0.5 if flip else None
    found = []
    for picture in pictures:
        if larger > side:
            whole = F.interpolate(picture, (larger, larger), mode="bicubic", align_corners=False).clamp(-1, 1)
            places = whole.unfold(2, side, 1).unfold(3, side, 1)  # (N, C, tops, lefts, S, S), a view
            picture = places[torch.arange(len(picture), device=picture.device), :, top, left]
        if mirrored is not None:
            picture = torch.where(mirrored, picture.flip(3), picture)
        found.append(picture)
    return found
