"""Convolution layers on rolls with the channels last, ``(N, bar, step, pitch, channel)``, fast on CPUs.

Where the stride equals the kernel, which is nearly everywhere, a convolution is one matrix product over blocks of
cells: several times faster on a CPU than the general one, with the same weights.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, relu


class Up(nn.Module):
    """A transposed convolution, batch normalisation and a ReLU, on ``(N, bar, step, pitch, channel)``."""

    def __init__(
        self, inside: int, outside: int, kernel: tuple[int, int, int], stride: tuple[int, int, int] | None = None
    ) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose3d(inside, outside, kernel, stride or kernel)
        self.norm = Norm(outside)

    def forward(self, cells: Tensor) -> Tensor:
        """The upsampled cells."""
        return relu(self.norm(spread(cells, self.conv)))


class Norm(nn.BatchNorm1d):
    """Batch normalisation of ``(…, channel)``.

    PyTorch's implementation is slow for a million rows of four channels, so rows are placed side by side until there
    are about 64 columns, whose means are then averaged.
    """

    def forward(self, cells: Tensor) -> Tensor:
        """``(…, channel)``, the same shape."""
        rows = cells.numel() // self.num_features
        beside = max(1, 64 // self.num_features)
        if not self.training or rows % beside:
            return super().forward(cells.reshape(rows, -1)).view(cells.shape)
        wide = cells.reshape(-1, beside * self.num_features).float()  # bf16 is too coarse for statistics
        mean = self._column(wide.mean(0), beside)
        centred = wide - mean.repeat(beside)
        variance = self._column(centred.square().mean(0), beside)
        with torch.no_grad():
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.num_batches_tracked is not None
            share = 0.0 if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean, share)
            self.running_var.lerp_(variance * (rows / max(rows - 1, 1)), share)
            self.num_batches_tracked.add_(1)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        normal = torch.addcmul(self.bias.repeat(beside), centred, scale.repeat(beside))
        return normal.view(cells.shape).to(cells.dtype)

    def _column(self, values: Tensor, beside: int) -> Tensor:
        return values.view(beside, self.num_features).mean(0)


class Down(nn.Module):
    """A convolution and a leaky ReLU, on ``(N, bar, step, pitch, channel)``.

    Nothing mixes samples, so that the gradient penalty is well defined.
    """

    def __init__(
        self, inside: int, outside: int, kernel: tuple[int, int, int], stride: tuple[int, int, int] | None = None
    ) -> None:
        super().__init__()
        self.conv = nn.Conv3d(inside, outside, kernel, stride or kernel)

    def forward(self, cells: Tensor) -> Tensor:
        """The downsampled cells."""
        return leaky_relu(gather(cells, self.conv), 0.2)


def spread(cells: Tensor, conv: nn.ConvTranspose3d) -> Tensor:
    """`conv` applied to cells with the channels last."""
    if conv.kernel_size != conv.stride:
        upsampled: Tensor = conv(cells.movedim(4, 1))
        return upsampled.movedim(1, 4).contiguous()
    assert conv.bias is not None
    count, bars, steps, pitches, inside = cells.shape
    a, b, c = conv.kernel_size
    weight = conv.weight.permute(0, 2, 3, 4, 1).flatten(1)  # (in, a·b·c·out)
    blocks = (cells.reshape(-1, inside) @ weight).view(count, bars, steps, pitches, a, b, c, -1)
    cells = blocks.permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(count, bars * a, steps * b, pitches, -1)
    return (cells + conv.bias.repeat(c)).view(count, bars * a, steps * b, pitches * c, -1)


def gather(cells: Tensor, conv: nn.Conv3d) -> Tensor:
    """`conv` applied to cells with the channels last."""
    assert conv.bias is not None
    a, b, c = conv.kernel_size
    if conv.kernel_size == conv.stride:
        count, bars, steps, pitches, inside = cells.shape
        blocks = cells.reshape(count, bars // a, a, steps // b, b, pitches // c, c, inside).permute(
            0, 1, 3, 5, 2, 4, 6, 7
        )
    else:
        windows = cells
        for axis, (size, step) in enumerate(zip(conv.kernel_size, conv.stride), 1):
            windows = windows.unfold(axis, size, step)
        blocks = windows.movedim(4, 7)
    weight = conv.weight.permute(0, 2, 3, 4, 1).flatten(1)  # (out, a·b·c·in)
    rows = blocks.reshape(-1, weight.shape[1])
    return torch.addmm(conv.bias, rows, weight.t()).view(*blocks.shape[:4], -1)
