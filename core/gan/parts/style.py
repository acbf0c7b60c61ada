"""Style-based generators and their discriminators: equalized learning rate, filtered resampling, mapping, modulated
convolutions, the skip generator and the residual discriminator.

Karras, Laine, Aittala, Hellsten, Lehtinen, Aila, "Analyzing and improving the image quality of StyleGAN", 2020,
arXiv:1912.04958; equation and figure numbers are of that paper. Style-based generators of several kinds of data are
built from them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from gan.draws import Draws

GAIN = math.sqrt(2)
"""Factor after a leaky ReLU (slope 0.2), so that activations keep unit variance."""
W_AVERAGE_DECAY = 0.995
"""Decay of the average of w per update of the generator (Karras et al. 2019, section 2.3)."""


class Linear(nn.Module):
    """A fully connected layer with equalized learning rate (Karras et al. 2018, section 4.1): weights are stored with
    variance 1 / lr_factor² and scaled when used."""

    def __init__(self, inputs: int, outputs: int, *, bias: float = 0.0, lr_factor: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / lr_factor)
        self.bias = nn.Parameter(torch.full((outputs,), bias / lr_factor))
        self.scale = lr_factor / math.sqrt(inputs)
        self.lr_factor = lr_factor

    def forward(self, x: Tensor) -> Tensor:
        """``(N, inputs) -> (N, outputs)``."""
        return functional.linear(x, self.weight * self.scale, self.bias * self.lr_factor)


class Convolution(nn.Module):
    """A convolution with equalized learning rate that keeps the size, or halves it after a low-pass filter."""

    filter: Tensor

    def __init__(self, inputs: int, outputs: int, kernel: int, *, bias: bool = True, down: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.scale = 1 / math.sqrt(inputs * kernel**2)
        self.padding = kernel // 2
        self.down = down
        self.register_buffer("filter", low_pass_filter(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, inputs, R, R) -> (N, outputs, R, R)``, or R/2 with `down`."""
        weight = self.weight * self.scale
        if not self.down:
            return functional.conv2d(x, weight, self.bias, padding=self.padding)
        if self.padding == 0:  # 1x1: filtering only the pixels that are kept is the same and cheaper
            return functional.conv2d(downsample(x, self.filter), weight, self.bias)
        return functional.conv2d(low_pass(x, self.filter, padding=2), weight, self.bias, stride=2)


def activate(x: Tensor) -> Tensor:
    """Leaky ReLU with slope 0.2, times √2."""
    return functional.leaky_relu(x, 0.2) * GAIN


def unit_moment(x: Tensor) -> Tensor:
    """``(N, C)``: each row divided by its root mean square."""
    return x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()


def low_pass_filter() -> Tensor:
    """``(4, 4)``: the binomial filter [1, 3, 3, 1] in both directions, with sum 1."""
    line = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    return torch.outer(line, line)


def low_pass(x: Tensor, kernel: Tensor, *, padding: int, gain: float = 1.0, stride: int = 1) -> Tensor:
    """Convolve each channel with the 4x4 `kernel`: ``(N, C, H, H) -> (N, C, H + 2·padding - 3, …)`` for stride 1."""
    channels = x.shape[1]
    weight = (kernel * gain).to(x.dtype).expand(channels, 1, 4, 4)
    return functional.conv2d(x, weight, padding=padding, stride=stride, groups=channels)


def downsample(x: Tensor, kernel: Tensor) -> Tensor:
    """Filter and halve the resolution."""
    return low_pass(x, kernel, padding=1, stride=2)


def upsample(x: Tensor, kernel: Tensor) -> Tensor:
    """Insert zeros and filter: doubles the resolution."""
    channels = x.shape[1]
    weight = (kernel * 4).to(x.dtype).expand(channels, 1, 4, 4)
    return functional.conv_transpose2d(x, weight, padding=1, stride=2, groups=channels)


class MappingNetwork(nn.Module):
    """Maps latents and labels to styles, ``(N, latent), (N, classes) -> (N, style)`` (Karras et al. 2019, section 2).

    Without latents (``latent=0``) it embeds labels for the discriminator's projection.
    """

    def __init__(self, latent: int, classes: int, style: int, layers: int, *, embedding: int | None = None) -> None:
        super().__init__()
        embedding = embedding or latent
        self.embed = Linear(classes, embedding) if classes else None
        widths = [latent + (embedding if classes else 0), *[style] * layers]
        self.layers = nn.ModuleList(Linear(a, b, lr_factor=0.01) for a, b in pairwise(widths))

    def forward(self, latents: Tensor | None, labels: Tensor | None = None) -> Tensor:
        """Latents and labels (one-hot or zero rows) are scaled to unit second moment and concatenated; in float32."""
        given = labels if latents is None else latents
        assert given is not None
        with torch.autocast(given.device.type, enabled=False):
            parts = [] if latents is None else [unit_moment(latents)]
            if self.embed is not None:
                assert labels is not None
                parts.append(unit_moment(self.embed(labels)))
            x = torch.cat(parts, 1)
            for layer in self.layers:
                x = activate(layer(x))
        return x


class ModulatedConvolution(nn.Module):
    """A convolution whose weights are scaled by styles per image and input channel (section 2.2, equations 1 and 3).

    With demodulation, each output channel is divided by its expected standard deviation. `grouped` and `scaled` compute
    the same function.
    """

    filter: Tensor

    def __init__(
        self, inputs: int, outputs: int, kernel: int, style: int, *, demodulate: bool = True, up: bool = False
    ) -> None:
        super().__init__()
        self.affine = Linear(style, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        # Demodulation undoes any common factor of the weights; without it, they are equalized here.
        self.scale = 1.0 if demodulate else 1 / math.sqrt(inputs * kernel**2)
        self.demodulate = demodulate
        self.up = up
        self.register_buffer("filter", low_pass_filter(), persistent=False)

    def forward(self, x: Tensor, w: Tensor, form: str = "auto") -> Tensor:
        """``(N, inputs, R, R), (N, style) -> (N, outputs, R, R)``, or 2R with `up`."""
        styles = self.affine(w) * self.scale
        if form == "auto":
            form = faster_form(x)
        x = self.grouped(x, styles) if form == "grouped" else self.scaled(x, styles)
        return low_pass(x, self.filter, padding=1, gain=4) if self.up else x

    def grouped(self, x: Tensor, styles: Tensor) -> Tensor:
        """One convolution in which each image has a group of channels and its own weights."""
        count, channels, height, width = x.shape
        weight = self.weight * styles[:, None, :, None, None]  # (N, outputs, inputs, kernel, kernel)
        if self.demodulate:
            weight = weight * (weight.square().sum((2, 3, 4), keepdim=True) + 1e-8).rsqrt()
        x = x.reshape(1, count * channels, height, width)
        if self.up:
            weight = weight.transpose(1, 2).flatten(0, 1).to(x.dtype)
            x = functional.conv_transpose2d(x, weight, stride=2, groups=count)
        else:
            weight = weight.flatten(0, 1).to(x.dtype)
            x = functional.conv2d(x, weight, padding=weight.shape[-1] // 2, groups=count)
        return x.view(count, -1, *x.shape[2:])

    def scaled(self, x: Tensor, styles: Tensor) -> Tensor:
        """One set of weights for all images; the activations are scaled before, and demodulated after it."""
        x = x * styles[:, :, None, None].to(x.dtype)
        if self.up:
            x = functional.conv_transpose2d(x, self.weight.transpose(0, 1), stride=2)
        else:
            x = functional.conv2d(x, self.weight, padding=self.weight.shape[-1] // 2)
        if self.demodulate:
            variance = functional.linear(styles.square(), self.weight.square().sum((2, 3)))  # (N, outputs)
            x = x * (variance + 1e-8).rsqrt()[:, :, None, None].to(x.dtype)
        return x


def faster_form(x: Tensor) -> str:
    """The faster form for activations ``(N, C, R, R)``.

    On CPUs the scaled form is as fast or faster at every size (benchmarks/image/modulation.json). CUDA devices have not
    been measured: there, weights of their own are used for one image, where there is nothing to share.
    """
    return "grouped" if x.is_cuda and len(x) == 1 else "scaled"


# ----------------------------------------------------------------------------------------------------------- synthesis


class StyleSizes(Protocol):
    """Sizes of `StyleGenerator` and `StyleDiscriminator`: settings of an architecture."""

    @property
    def latent(self) -> int:
        """Size of z."""

    @property
    def style(self) -> int:
        """Size of w."""

    @property
    def mapping_layers(self) -> int:
        """Layers of the mapping network."""

    @property
    def modulation(self) -> str:
        """The form of modulated convolutions: ``auto``, ``grouped`` or ``scaled``."""

    @property
    def group(self) -> int:
        """Images per group of the minibatch standard deviation; 1: without."""

    def channels(self, resolution: int) -> int:
        """Channels of the feature maps at a resolution."""


class StyledLayer(nn.Module):
    """Modulated convolution, noise, bias, activation (figure 2c)."""

    noise: Tensor

    def __init__(self, inputs: int, outputs: int, style: int, *, up: bool = False, resolution: int = 0) -> None:
        """`resolution` is that of the layer's noise; 0: it has none."""
        super().__init__()
        self.convolution = ModulatedConvolution(inputs, outputs, 3, style, up=up)
        self.noise_strength = nn.Parameter(torch.zeros(())) if resolution else None
        self.bias = nn.Parameter(torch.zeros(outputs))
        if resolution:
            self.register_buffer("noise", torch.randn(resolution, resolution))
            """The noise of all images when none is drawn."""

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None = None, form: str = "auto") -> Tensor:
        """``(N, inputs, R, R), (N, style) -> (N, outputs, R, R)``, or 2R with `up`.

        `noise` is ``(N, 1, R, R)`` or ``(R, R)``, N(0, 1) for each pixel; None: the layer's own.
        """
        x = self.convolution(x, w, form)
        if self.noise_strength is not None:
            x = x + ((self.noise if noise is None else noise) * self.noise_strength).to(x.dtype)
        return activate(x + self.bias.to(x.dtype)[:, None, None])


class SynthesisBlock(nn.Module):
    """The layers of one resolution and its contribution to the image (figure 7b)."""

    def __init__(self, inputs: int, outputs: int, resolution: int, style: int, image_channels: int) -> None:
        super().__init__()
        if inputs:
            first = StyledLayer(inputs, outputs, style, up=True, resolution=resolution)
            layers = [first, StyledLayer(outputs, outputs, style, resolution=resolution)]
        else:
            layers = [StyledLayer(outputs, outputs, style, resolution=resolution)]
        self.layers = nn.ModuleList(layers)
        self.to_image = ModulatedConvolution(outputs, image_channels, 1, style, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(image_channels))

    def forward(self, x: Tensor, styles: Tensor, noise: Sequence[Tensor], form: str) -> tuple[Tensor, Tensor]:
        """Feature maps and the image's contribution; `styles` ``(N, layers + 1, style)``, the last for the image."""
        for index, layer in enumerate(self.layers):
            x = layer(x, styles[:, index], noise[index], form)
        image = self.to_image(x, styles[:, -1], form) + self.bias[:, None, None]
        return x, image.float()


class StyleGenerator(nn.Module):
    """Mapping and synthesis. There are ``2·log2(R) - 2`` styles per image: one for each layer, and one for the last
    image layer; the other image layers share the style of the next block's first layer."""

    filter: Tensor

    def __init__(self, config: StyleSizes, image_channels: int, resolution: int, classes: int = 0) -> None:
        super().__init__()
        blocks = resolution.bit_length() - 2  # resolutions 4, 8, …
        self.styles = 2 * blocks
        self.form = config.modulation
        self.mapping = MappingNetwork(config.latent, classes, config.style, config.mapping_layers)
        self.constant = nn.Parameter(torch.randn(config.channels(4), 4, 4))
        widths = [0, *(config.channels(4 << block) for block in range(blocks))]
        self.blocks = nn.ModuleList(
            SynthesisBlock(a, b, 4 << block, config.style, image_channels)
            for block, (a, b) in enumerate(pairwise(widths))
        )
        self.register_buffer("filter", low_pass_filter(), persistent=False)

    def forward(self, styles: Tensor, noise: Sequence[Tensor] | None = None) -> Tensor:
        """``(N, styles, style)`` -> images ``(N, channels, R, R)``; `noise` is one tensor a layer, None: fixed."""
        if noise is None:
            noise = self.fixed_noise()
        x = self.constant.expand(len(styles), -1, -1, -1)
        image: Tensor | None = None
        style = layer = 0
        for block in self.blocks:
            assert isinstance(block, SynthesisBlock)
            layers = len(block.layers)
            x, more = block(x, styles[:, style : style + layers + 1], noise[layer : layer + layers], self.form)
            image = more if image is None else upsample(image, self.filter) + more
            style += layers
            layer += layers
        assert image is not None
        return image

    def fixed_noise(self) -> list[Tensor]:
        """The stored noise of each layer, ``(R, R)``."""
        return [layer.noise for layer in self.modules() if isinstance(layer, StyledLayer)]

    def random_noise(self, rng: Draws) -> list[Tensor]:
        """New noise for each image and layer, ``(N, 1, R, R)``."""
        return [rng.randn(1, *noise.shape) for noise in self.fixed_noise()]


# ------------------------------------------------------------------------------------------------------- discriminator


class DiscriminatorBlock(nn.Module):
    """Two convolutions and a shortcut, of which the second and the shortcut halve the resolution (figure 7c)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = Convolution(inputs, inputs, 3)
        self.second = Convolution(inputs, outputs, 3, down=True)
        self.shortcut = Convolution(inputs, outputs, 1, bias=False, down=True)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, inputs, R, R) -> (N, outputs, R/2, R/2)``."""
        main = activate(self.second(activate(self.first(x))))
        x = (main + self.shortcut(x)) * math.sqrt(0.5)
        return x


def minibatch_deviation(x: Tensor, group: int) -> Tensor:
    """Append a channel with the standard deviation over groups of images, averaged over channels and pixels (Karras et
    al. 2018, section 3). The group is the largest divisor of N up to `group`."""
    count = len(x)
    size = next(size for size in range(min(group, count), 0, -1) if count % size == 0)
    grouped = x.reshape(size, count // size, *x.shape[1:]).float()  # image i is in group i mod (N / size)
    deviation = (grouped.var(0, unbiased=False) + 1e-8).sqrt().mean((1, 2, 3))
    return torch.cat([x, deviation.to(x.dtype).repeat(size)[:, None, None, None].expand(-1, 1, *x.shape[2:])], 1)


class StyleDiscriminator(nn.Module):
    """Residual discriminator; labels are compared with its features by projection (Miyato and Koyama 2018)."""

    def __init__(self, config: StyleSizes, image_channels: int, resolution: int, classes: int = 0) -> None:
        super().__init__()
        self.group = config.group
        widths = [config.channels(resolution >> block) for block in range(resolution.bit_length() - 2)]
        last = widths[-1]
        self.from_image = Convolution(image_channels, widths[0], 1)
        self.blocks = nn.Sequential(*(DiscriminatorBlock(a, b) for a, b in pairwise(widths)))
        self.convolution = Convolution(last + (self.group > 1), last, 3)
        self.hidden = Linear(last * 16, last)
        self.score = Linear(last, last if classes else 1)
        self.label_mapping = MappingNetwork(0, classes, last, 8, embedding=last) if classes else None

    def features(self, images: Tensor) -> list[Tensor]:
        """The activations at each resolution, and those before the score, for images ``(N, channels, R, R)``."""
        x, seen = activate(self.from_image(images)), []
        for block in self.blocks:
            x = block(x)
            seen.append(x)
        x = x.float() if self.group < 2 else nn.functional.pad(x.float(), (0, 0, 0, 0, 0, 1))  # each image by itself
        return [*seen, activate(self.hidden(activate(self.convolution(x)).flatten(1)))]

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """``(N, channels, R, R)`` and one-hot labels ``(N, classes)`` -> scores ``(N,)``."""
        x = self.blocks(activate(self.from_image(images)))
        with torch.autocast(x.device.type, enabled=False):
            x = x.float()
            if self.group > 1:
                x = minibatch_deviation(x, self.group)
            x = activate(self.convolution(x))
            x = self.score(activate(self.hidden(x.flatten(1))))
            if self.label_mapping is not None:
                target = unit_moment(self.label_mapping(None, labels))
                x = (x * target).sum(1, keepdim=True) / math.sqrt(x.shape[1])
            scores: Tensor = x.squeeze(1)
        return scores
