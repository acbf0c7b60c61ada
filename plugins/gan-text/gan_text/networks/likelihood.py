"""Weighted log-likelihood loss of wide softmax layers, computed in blocks of rows.

The logits of a batch (1,280 tokens of 5,000 words: 26 MB) are never held at once: the gradients of a block are computed
while its logits are in the cache, because the loss is a weighted sum whose weights are known in advance.
"""

from __future__ import annotations

from typing import Any

import torch
from gan import game
from torch import Tensor

from gan_text.networks.sampler import LOG2_E, SAFE_LOGIT, block_rows


class _WeightedNLL(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        words, rows = weight.shape[1], block_rows(weight.shape[1], weight.device)
        buffer = hidden.new_empty(min(rows, len(hidden)), words)
        bounded = not game.asynchronous(hidden.device) and bool(
            hidden.abs().max() * weight.abs().sum(0).max() + bias.abs().max() < SAFE_LOGIT
        )
        extended = torch.cat([hidden, hidden.new_ones(len(hidden), 1)], 1)  # a column of ones, whose weight is the bias
        full = torch.cat([weight, bias[None]], 0) * LOG2_E  # in bits: 2^x is faster than e^x
        grad_hidden, grad_full = torch.empty_like(hidden), torch.zeros_like(full)
        total = hidden.new_zeros(())
        for start in range(0, len(hidden), rows):
            stop = min(start + rows, len(hidden))
            part, chosen, share = extended[start:stop], targets[start:stop, None], weights[start:stop]
            mass = torch.mm(part, full, out=buffer[: stop - start])
            own = mass.gather(1, chosen)[:, 0]
            if not bounded:
                highest = mass.amax(1, keepdim=True)
                own = own - highest[:, 0]
                mass -= highest
            sums = mass.exp2_().sum(1)
            total += (share * (sums.log2() - own)).sum()
            mass *= (share / sums)[:, None]  # now the gradient with respect to the logits …
            mass.scatter_add_(1, chosen, -share[:, None])  # … minus the share of the chosen word
            grad_hidden[start:stop] = mass @ weight.T
            grad_full.addmm_(part.T, mass)
        ctx.save_for_backward(grad_hidden, grad_full)
        return total / LOG2_E

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        grad_hidden, grad_full = ctx.saved_tensors
        return grad * grad_hidden, grad * grad_full[:-1], grad * grad_full[-1], None, None


@torch.no_grad()
def token_nll(hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """``(R, H)``, ``(H, V)``, ``(V,)``, ``(R,)`` -> ``(R,)``: nats of each target, without gradients."""
    rows = block_rows(weight.shape[1], weight.device)
    buffer = hidden.new_empty(min(rows, len(hidden)), weight.shape[1])
    found = torch.empty_like(hidden[:, 0])
    for start in range(0, len(hidden), rows):
        stop = min(start + rows, len(hidden))
        logits = torch.addmm(bias, hidden[start:stop], weight, out=buffer[: stop - start])
        own = logits.gather(1, targets[start:stop, None])[:, 0]
        highest = logits.amax(1)
        sums = logits.sub_(highest[:, None]).exp_().sum(1)
        found[start:stop] = sums.log() + highest - own
    return found


def weighted_nll(hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """``sum_r weights_r · -log softmax(hidden_r @ weight + bias)[targets_r]``, a scalar in nats.

    `hidden` ``(R, H)``, `weight` ``(H, V)``, `bias` ``(V,)``, `targets` ``(R,)`` int64, `weights` ``(R,)``. Once
    differentiable with respect to the first three.
    """
    with torch.autocast(hidden.device.type, enabled=False):
        apply: Any = _WeightedNLL.apply  # torch leaves it untyped
        value: Tensor = apply(hidden.float(), weight, bias, targets, weights.detach().float())
    return value
