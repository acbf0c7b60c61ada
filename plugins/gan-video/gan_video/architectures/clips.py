"""What the architectures share: the shape of clips, their pixels, generators of frames and critics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise

import torch
from gan.contracts import FieldSpec
from gan.errors import UsageError
from gan.game import Batch
from torch import Tensor, nn
from torch.nn.utils import parametrizations


def clip_shape(fields: Mapping[str, FieldSpec], architecture: str) -> tuple[int, int, int]:
    """(frames, channels, side) of the field ``video``. Raises `UsageError` for sides other than 4·2^n with n ≥ 2."""
    frames, channels, side, _ = fields["video"].shape
    if side < 16 or side & (side - 1):
        raise UsageError(
            f"{architecture} generates frames of 16, 32, 64, 128 … pixels, not {side}; set modality.resolution"
        )
    return frames, channels, side


def real_clips(batch: Batch) -> Tensor:
    """``(N, frames, channels, R, R)`` in -1 … 1."""
    return batch["video"].float() / 127.5 - 1


def pixels_of(made: Tensor) -> Tensor:
    """-1 … 1 -> uint8."""
    return (made.float() * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8)


def frame_generator(code: int, width: int, channels: int, stages: int, groups: int = 0) -> nn.Sequential:
    """MoCoGAN's image generator, as in the authors' code: transposed convolutions from 1 to 4·2^n pixels. With `groups`
    it has group normalization (Wu and He 2018, arXiv:1803.08494) in place of batch normalization."""
    widths = [width * 2 ** (stages - 1 - stage) for stage in range(stages)]

    def after(size: int) -> list[nn.Module]:
        return [nn.GroupNorm(groups, size) if groups else nn.BatchNorm2d(size), nn.ReLU(inplace=True)]

    layers: list[nn.Module] = [nn.ConvTranspose2d(code, widths[0], 4, 1, 0, bias=False), *after(widths[0])]
    for before, size in pairwise(widths):
        layers += [nn.ConvTranspose2d(before, size, 4, 2, 1, bias=False), *after(size)]
    layers += [nn.ConvTranspose2d(widths[-1], channels, 4, 2, 1, bias=False), nn.Tanh()]
    return nn.Sequential(*layers)


def frame_styles(generator: nn.Sequential, content: int) -> nn.ModuleList:
    """Layers that give scales and shifts of all normalized features of `frame_generator` but the first, from a content
    code (Huang and Belongie 2017, arXiv:1703.06868)."""
    layers = [layer for layer in generator if isinstance(layer, nn.ConvTranspose2d)]
    return nn.ModuleList(nn.Linear(content, 2 * layer.out_channels) for layer in layers[1:-1])


def drawn_frames(generator: nn.Sequential, codes: Tensor, styles: Iterable[nn.Module], content: Tensor) -> Tensor:
    """Codes of frames ``(N, F, code)`` and contents ``(N, content)`` -> frames ``(N, F, channels, R, R)``."""
    x = codes.flatten(0, 1)[..., None, None]
    style_after = {3 * stage + 1: style for stage, style in enumerate(styles, 1)}  # convolution, normalization, ReLU
    for index, layer in enumerate(generator):
        x = layer(x)
        if index in style_after:
            style = style_after[index](content).repeat_interleave(codes.shape[1], 0)
            scale, shift = style[..., None, None].chunk(2, 1)
            x = x * (1 + scale) + shift
    return x.view(*codes.shape[:2], *x.shape[1:])


def clip_critic(
    axes: int, channels: int, width: int, stages: int, outputs: int, spectral: bool, patch: bool
) -> nn.Sequential:
    """The critic of frames (two axes) or of clips (three axes, of which time is neither padded nor strided).

    A patch critic has one stage less and ends with a strided convolution that gives a map of scores.
    """

    def conv(before: int, after: int, stride: int, padding: int) -> nn.Module:
        layer: nn.Module
        if axes == 2:
            layer = nn.Conv2d(before, after, 4, stride, padding, bias=False)
        else:
            layer = nn.Conv3d(before, after, 4, (1, stride, stride), (0, padding, padding), bias=False)
        return parametrizations.spectral_norm(layer) if spectral else layer

    widths = [width * 2**stage for stage in range(stages - 1 if patch else stages)]
    layers: list[nn.Module] = [conv(channels, widths[0], 2, 1), nn.LeakyReLU(0.2)]
    for before, after in pairwise(widths):
        layers.append(conv(before, after, 2, 1))
        if not spectral:
            layers.append(nn.BatchNorm2d(after) if axes == 2 else nn.BatchNorm3d(after))
        layers.append(nn.LeakyReLU(0.2))
    layers.append(conv(widths[-1], outputs, 2, 1) if patch else conv(widths[-1], outputs, 1, 0))
    return nn.Sequential(*layers)


def projected(output: Tensor, shares: Tensor) -> Tensor:
    """``(N, 1 + classes, …)`` of a critic -> ``(N, 1, …)``: the score plus that of the class, weighted by the shares
    ``(N, classes)``. After a convolution it is ``s(x) + ⟨y, V h(x)⟩`` (Miyato and Koyama 2018, arXiv:1802.05637)."""
    of_class = torch.einsum("nc...,nc->n...", output[:, 1:], shares.to(output))
    return output[:, :1] + of_class[:, None]
