"""The layers of style-based generators: equalized learning rate, filtered resampling, mapping, modulated convolutions.

Karras, Laine, Aittala, Hellsten, Lehtinen, Aila, "Analyzing and improving the image quality of StyleGAN", 2020,
arXiv:1912.04958; equation and figure numbers are of that paper. Style-based generators of several kinds of data are
built from them.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

GAIN = math.sqrt(2)
"""Factor after a leaky ReLU (slope 0.2), so that activations keep unit variance."""


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
