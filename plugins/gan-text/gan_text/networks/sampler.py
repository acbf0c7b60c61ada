"""Sampling of tokens from wide softmax layers by inversion of the cumulative distribution.

`torch.multinomial` draws one exponential variate for every word of the vocabulary and every row; inversion needs one
uniform number per row. Rows are processed in blocks of a few hundred, so that the logits of a block stay in the cache.
The cumulative distribution has two levels: sums over groups of words, then the words of one group.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

BLOCK_BYTES = 2 << 20
"""Size of the logits of one block of rows."""
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
        self._weight = weight.new_zeros(width, padded, dtype=torch.float32)
        scale = LOG2_E / temperature  # 2^x is several times faster on a CPU than e^x
        self._weight[:, :words] = weight.detach() * scale
        self._bias = weight.new_full((padded,), -math.inf, dtype=torch.float32)  # padding, never sampled
        self._bias[:words] = bias.detach() * scale
        self._rows = max(16, BLOCK_BYTES // (4 * padded))
        self._buffer = weight.new_empty(self._rows, padded, dtype=torch.float32)
        bound = math.inf
        if reach is not None:
            bound = float((reach * self._weight[:, :words].abs().sum(0) + self._bias[:words].abs()).max())
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
        mass = self._buffer[:rows]
        torch.addmm(self._bias, hidden, self._weight, out=mass)
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


def _below(value: Tensor, limit: Tensor) -> Tensor:
    """`value`, at most the largest float below `limit`, so that rounding cannot select a word of probability 0."""
    return torch.minimum(value, torch.nextafter(limit, torch.zeros_like(limit)))
