"""Sampling of tokens from wide softmax layers by inversion of the cumulative distribution.

`torch.multinomial` draws one exponential variate for every word of the vocabulary and every row; inversion needs one
uniform number per row. Rows are processed in blocks of a few hundred, so that the logits of a block stay in the cache.
The cumulative distribution has two levels: sums over groups of words, then the words of one group.
"""

from __future__ import annotations

import math

import torch
from gan import game
from torch import Tensor
from torch.nn import functional as F

BLOCK_BYTES = 4 << 20
"""Size of the logits of one block of rows, which lies in the cache of a processor …"""
GPU_BLOCK_BYTES = 1 << 29
"""… and on a GPU, where few large operations are faster than many small ones."""
LOG2_E = math.log2(math.e)
SAFE_LOGIT = 60.0
"""Below this bound exp() and its sum are finite in float32, so that the row maximum need not be subtracted."""


class SoftmaxSampler:
    """Samples from ``softmax(h @ weight + bias)``, row by row.

    `weight` is ``(H, V)`` and `bias` ``(V,)``; they are copied, so the sampler does not follow later updates.
    `reach` bounds ``|h|`` in every component (1 for an LSTM's output); None: unknown.
    """

    def __init__(self, weight: Tensor, bias: Tensor, *, reach: float | None = 1.0, temperature: float = 1.0) -> None:
        width, words = weight.shape
        self.words = words
        self.group = max(8, 8 * round(math.sqrt(words) / 8))
        self.groups = -(-words // self.group)
        padded = self.group * self.groups
        self._weight = weight.new_zeros(width + 1, padded, dtype=torch.float32)  # the last row is the bias
        scale = LOG2_E / temperature  # 2^x is several times faster on a CPU than e^x
        self._weight[:-1, :words] = weight.detach() * scale
        self._weight[-1, :words] = bias.detach() * scale
        self._weight[-1, words:] = -math.inf  # padding, never sampled
        self._rows = block_rows(padded, weight.device)
        self._buffer: Tensor | None = None
        bound = math.inf
        if reach is not None and not game.asynchronous(weight.device):
            sums = self._weight[:-1, :words].abs().sum(0)
            bound = float((reach * sums + self._weight[-1, :words].abs()).max())
        self._bounded = bound < SAFE_LOGIT * LOG2_E

    @torch.no_grad()
    def __call__(self, hidden: Tensor, uniforms: Tensor) -> Tensor:
        """``(R, H)`` and ``(R, K)`` uniforms in [0, 1) -> ``(R, K)`` int64: K independent draws a row."""
        drawn = torch.empty(uniforms.shape, dtype=torch.int64, device=uniforms.device)
        for start in range(0, len(hidden), self._rows):
            stop = min(start + self._rows, len(hidden))
            drawn[start:stop] = self._draw(hidden[start:stop], uniforms[start:stop])
        return drawn

    def _draw(self, hidden: Tensor, uniforms: Tensor) -> Tensor:
        rows = len(hidden)
        if self._buffer is None or len(self._buffer) < rows:
            self._buffer = hidden.new_empty(rows, self._weight.shape[1], dtype=torch.float32)
        mass = self._buffer[:rows]
        torch.mm(F.pad(hidden, (0, 1), value=1.0), self._weight, out=mass)
        if not self._bounded:
            mass -= mass.amax(1, keepdim=True)
        mass.exp2_()
        grouped = mass.view(rows, self.groups, self.group)
        coarse = grouped.sum(2).cumsum(1)  # (R, G)
        target = _below(uniforms * coarse[:, -1:], coarse[:, -1:])
        group = torch.searchsorted(coarse, target, right=True)  # (R, K): the first group whose sum passes the target
        before = coarse.gather(1, (group - 1).clamp(min=0)) * (group > 0)
        chosen = grouped[torch.arange(rows, device=mass.device)[:, None], group]  # (R, K, L)
        fine = chosen.cumsum(2)
        rest = _below((target - before)[..., None], fine[..., -1:])
        return group * self.group + torch.searchsorted(fine, rest, right=True)[..., 0]


def block_rows(words: int, device: torch.device) -> int:
    """Rows of a block of logits over `words` words."""
    return max(16, (GPU_BLOCK_BYTES if game.asynchronous(device) else BLOCK_BYTES) // (4 * words))


def _below(value: Tensor, limit: Tensor) -> Tensor:
    """`value`, at most the largest float below `limit`, so that rounding cannot select a word of probability 0."""
    return torch.minimum(value, torch.nextafter(limit, torch.zeros_like(limit)))
