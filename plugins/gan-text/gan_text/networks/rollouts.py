"""Monte Carlo rollouts in batches: the rewards of SeqGAN's policy gradient.

The value of a prefix y_1…y_t is the mean score of K completions that the rollout policy samples (Yu et al. 2017,
equation 4), which takes T·K generations per step. To make this fast,

* the recurrent state of every prefix is computed once for all of its K rollouts;
* the first tokens of the K rollouts of a prefix are sampled from one softmax;
* tokens are sampled by `SoftmaxSampler`, one block of rows at a time, which stays in the cache;
* the discriminator's convolutions over embeddings become sums of rows of tables (`TokenTables`);
* windows that lie entirely in a prefix are evaluated once for its K completions and for all longer prefixes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from gan_text.data.fields import START
from gan_text.networks.lstm import LSTMGenerator, State


class TokenTables:
    """Convolutions over token embeddings, as sums of table rows.

    A filter bank of width w over embedded tokens is ``sum_k E[y_{p+k}] W_k``: with the tables ``E W_k``, one for every
    offset k, a window costs w row reads. The tables are built once for each state of the discriminator.

    `embedding` is ``(V, E)``; `banks` are ``(weight (n, E, w), bias (n,))`` as `torch.nn.Conv1d` keeps them.
    """

    def __init__(
        self,
        embedding: Tensor,
        banks: list[tuple[Tensor, Tensor]],
        dtype: torch.dtype = torch.float32,
        pooling: Literal["max", "sum"] = "max",
    ) -> None:
        self._pooling = pooling
        self._banks = []
        for weight, bias in banks:
            filters, _, width = weight.shape
            table = (embedding @ weight.permute(1, 2, 0).flatten(1)).to(dtype)  # (V, w n)
            self._banks.append((width, table.view(-1, filters), bias.detach()))

    def features(self, tokens: Tensor, start: int = 0, known: Tensor | None = None) -> Tensor:
        """``(R, T)`` tokens -> ``(R, sum of n)``: each bank's response, after ReLU and the maximum or sum over time.

        Only windows that end at position `start` (counted from 0) or later are evaluated; `known` holds the features
        of the earlier windows.
        """
        sizes = [len(bias) for _, _, bias in self._banks]
        found = tokens.new_zeros(len(tokens), sum(sizes), dtype=torch.float32) if known is None else known.clone()
        for (width, table, bias), part in zip(self._banks, torch.split(found, sizes, 1)):
            late = tokens[:, max(0, start + 1 - width) :]
            if late.shape[1] < width:
                continue
            rows = late.unfold(1, width, 1) * width + torch.arange(width, device=tokens.device)  # (R, windows, w)
            responses = F.embedding_bag(rows.flatten(0, 1), table, mode="sum").view(*rows.shape[:2], -1)
            if self._pooling == "max":
                torch.maximum(
                    part, responses.amax(1) + bias, out=part
                )  # features are never below 0, which implies the ReLU
            else:
                part += F.relu(responses + bias).sum(1)
        return found

    def prefix_features(self, tokens: Tensor) -> list[Tensor]:
        """``(N, T)`` tokens -> T - 1 of ``(N, sum of n)``: the features of the first token, of the first two …"""
        found: list[Tensor] = []
        for t in range(tokens.shape[1] - 1):
            found.append(self.features(tokens[:, : t + 1], t, found[-1] if found else None))
        return found


@torch.no_grad()
def prefix_states(policy: LSTMGenerator, tokens: Tensor) -> list[State]:
    """The state after each of the first T - 1 tokens of ``(N, T)``."""
    table = policy.gate_table()
    state = policy.advance(table[torch.full_like(tokens[:, 0], START)], policy.initial(len(tokens)))
    states = []
    for t in range(tokens.shape[1] - 1):
        state = policy.advance(table[tokens[:, t]], state)
        states.append(state)
    return states


@torch.no_grad()
def rollout_values(
    policy: LSTMGenerator,
    tokens: Tensor,
    uniforms: Tensor,
    judge: Callable[[Tensor, Tensor, int], Tensor],
    *,
    rollouts: int,
    ends: bool = False,
    block: int = 1024,
) -> Tensor:
    """The mean value of each prefix's completions, ``(N, T - 1)``: column t - 1 belongs to the prefix y_1…y_t.

    `tokens` is ``(N, T)``; `uniforms` ``(N, K · T (T - 1) / 2)`` in [0, 1); ``judge(sequences (R, T), rows (R,), t)``
    gives a value ``(R,)`` for each completed sequence, whose first t tokens are those of ``tokens[rows]``.
    With `ends`, only 0 follows a 0. Blocks of `block` completions are sampled and judged while they lie in the cache.
    """
    count, length = tokens.shape
    if uniforms.shape[1] != rollouts * length * (length - 1) // 2:
        raise ValueError(f"{uniforms.shape[1]} uniforms a row, {rollouts * length * (length - 1) // 2} are needed")
    sampler, table, states = policy.sampler(), policy.gate_table(), prefix_states(policy, tokens)
    values = torch.empty(count, length - 1, device=tokens.device)
    per_block = max(1, block // rollouts)  # sequences whose K completions make one block
    used = 0
    for t in range(1, length):
        steps = length - t
        mine = uniforms[:, used : used + rollouts * steps].view(count, rollouts, steps)
        used += rollouts * steps
        for start in range(0, count, per_block):
            rows = torch.arange(start, min(start + per_block, count), device=tokens.device)
            state = State(states[t - 1].hidden[rows], states[t - 1].cell[rows])
            completed = tokens[rows].repeat_interleave(rollouts, 0)  # (R K, T)
            rng = mine[rows]  # (R, K, steps)
            drawn = sampler(state.hidden, rng[:, :, 0]).flatten()
            state = state.repeat(rollouts)
            for s in range(t, length):
                if s > t:
                    state = policy.advance(table[drawn], state)
                    drawn = sampler(state.hidden, rng[:, :, s - t].reshape(-1, 1))[:, 0]
                if ends:
                    drawn = drawn * (completed[:, s - 1] != 0)
                completed[:, s] = drawn
            judged = judge(completed, rows.repeat_interleave(rollouts), t)
            values[rows, t - 1] = judged.view(-1, rollouts).mean(1)
    return values
