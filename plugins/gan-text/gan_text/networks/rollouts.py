"""Monte Carlo rollouts in batches: the rewards of SeqGAN's policy gradient.

The value of a prefix y_1…y_t is the mean score of K completions that the rollout policy samples (Yu et al. 2017,
equation 4), which takes T·K generations per step. To make this fast,

* the recurrent state of every prefix is computed once for all of its K rollouts;
* the first tokens of the K rollouts of a prefix are sampled from one softmax;
* tokens are sampled by `SoftmaxSampler`, one block of rows at a time, which stays in the cache;
* the discriminator's convolutions over embeddings become sums of rows of tables (`TokenTables`);
* windows that lie entirely in a prefix are evaluated once for its K completions and for all longer prefixes, and the
  parts of the others that lie in it are summed once;
* equal completions of a prefix are judged once, where finding them waits for no device.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import accumulate
from typing import Literal, NamedTuple

import torch
from gan import game
from torch import Tensor
from torch.nn import functional as F

from gan_text.data.fields import START
from gan_text.networks.lstm import LSTMGenerator, State


class TokenTables:
    """Convolutions over token embeddings, as sums of table rows.

    A filter bank of width w over embedded tokens is ``sum_k E[y_{p+k}] W_k``: with the tables ``E W_k``, one for every
    offset k, a window costs w row reads. The tables are built once for each state of the discriminator.

    `embedding` is ``(V, E)``; `banks` are ``(weight (n, E, w), bias (n,))`` as `torch.nn.Conv1d` keeps them. `tokens`
    ``(N, T)`` are the sequences whose prefixes will be completed.
    """

    def __init__(
        self,
        embedding: Tensor,
        banks: list[tuple[Tensor, Tensor]],
        tokens: Tensor,
        dtype: torch.dtype = torch.float32,
        pooling: Literal["max", "sum"] = "max",
    ) -> None:
        self._pooling = pooling
        self._tokens = tokens.to(torch.int32)
        self._words = len(embedding)
        self._sizes = [len(bias) for _, bias in banks]
        self._banks = []
        for weight, bias in banks:
            filters, _, width = weight.shape
            rows = self._words * width
            table = embedding.new_empty(rows + (width - 1) * len(tokens), filters, dtype=dtype)
            # the last rows will hold the parts of windows that lie in a prefix
            filters_in = weight.permute(1, 2, 0).flatten(1)
            if dtype == embedding.dtype:
                torch.mm(embedding, filters_in, out=table[:rows].view(self._words, -1))
            else:
                table[:rows].view(self._words, -1).copy_(embedding @ filters_in)
            self._banks.append((width, table, bias.detach()))
        self._prefixes = [self._extended(0, self._tokens[:, :1], None, None)]
        for t in range(1, tokens.shape[1] - 1):
            self._prefixes.append(self._extended(t, self._tokens[:, : t + 1], None, self._prefixes[-1]))
        self._shared: list[_Windows | None] = []
        self._shared_at = -1

    def features(self, sequences: Tensor, rows: Tensor, t: int) -> Tensor:
        """``(R, T)``, whose first t tokens are those of ``tokens[rows]`` -> ``(R, sum of n)``: each bank's response,
        after ReLU and the maximum or sum over time."""
        if self._shared_at != t:
            self._share(t)
        rows = rows.to(torch.int32)
        return self._extended(t, sequences.to(torch.int32), rows, self._prefixes[t - 1].index_select(0, rows))

    def _share(self, t: int) -> None:
        """Sum the parts of the windows that lie in the prefixes of t tokens, once for all completions."""
        self._shared, self._shared_at = [], t
        count, length = self._tokens.shape
        for width, table, _ in self._banks:
            windows = _windows(width, t, length, self._tokens.device)
            self._shared.append(windows)
            if windows is not None and windows.straddling:
                inner = windows.inner
                assert inner is not None
                indices = self._tokens.index_select(1, inner.places) * width + inner.offsets
                begins = _begins(inner.begins, count, len(inner.places))
                parts = F.embedding_bag(indices.flatten(), table, begins, mode="sum")
                table[self._words * width :][: len(parts)].copy_(parts)

    def _extended(self, t: int, sequences: Tensor, rows: Tensor | None, known: Tensor | None) -> Tensor:
        """The features of `sequences`; `known` are those of the windows that end before position t (from 0 on).

        With `rows`, the parts of windows before t are those that `_share` has summed.
        """
        count, length = sequences.shape
        if known is None:
            known = torch.zeros(count, sum(self._sizes), device=sequences.device)
        else:
            known = known.clone() if rows is None else known
        for place, ((width, table, bias), part) in enumerate(zip(self._banks, torch.split(known, self._sizes, 1))):
            if rows is None:
                windows = _windows(width, t, length, sequences.device, shared=False)
            else:
                windows = self._shared[place]
            if windows is None:
                continue
            values = sequences * width
            if windows.straddling and rows is not None:
                values = torch.cat([values, self._words * width + rows[:, None] * windows.straddling], 1)
            indices = values.index_select(1, windows.places) + windows.offsets
            begins = _begins(windows.begins, count, len(windows.places))
            responses = F.embedding_bag(indices.flatten(), table, begins, mode="sum").view(count, -1, len(bias))
            if self._pooling == "max":
                torch.maximum(
                    part, responses.amax(1) + bias, out=part
                )  # features are never below 0, which implies the ReLU
            else:
                part += F.relu(responses + bias).sum(1)
        return known


class _Windows(NamedTuple):
    """Which table rows the windows of a bank add up."""

    places: Tensor
    """``(S,)`` int32: columns of the values: a token, or behind the tokens the part that is shared."""
    offsets: Tensor
    """``(S,)`` int32: added to the values."""
    begins: Tensor
    """``(windows,)`` int32: where each window begins among the S."""
    straddling: int
    """How many windows begin in the prefix and end behind it."""
    inner: _Windows | None = None
    """Their parts in the prefix."""


@lru_cache(4096)
def _windows(width: int, t: int, length: int, device: torch.device, *, shared: bool = True) -> _Windows | None:
    """The windows of `width` tokens that end at position t or later in `length` tokens; None if there are none.

    If `shared`, their parts before t are one row each.
    """
    first, last = max(0, t + 1 - width), length - width
    if first > last:
        return None
    straddling = max(0, min(t - 1, last) - first + 1) if shared else 0
    outer: list[list[tuple[int, int]]] = []
    inner: list[list[tuple[int, int]]] = []
    for number, begin in enumerate(range(first, last + 1)):
        window = [(begin + k, k) for k in range(width)]
        if number < straddling:
            inner.append([pair for pair in window if pair[0] < t])
            window = [(length, number), *(pair for pair in window if pair[0] >= t)]
        outer.append(window)
    parts = _listed(inner, device) if inner else None
    return _listed(outer, device)._replace(straddling=straddling, inner=parts)


def _listed(windows: list[list[tuple[int, int]]], device: torch.device) -> _Windows:
    pairs = [pair for window in windows for pair in window]
    begins = [0, *accumulate(map(len, windows))][:-1]
    places, offsets, starts = (
        torch.tensor(values, dtype=torch.int32).to(device, non_blocking=True)
        for values in ([place for place, _ in pairs], [offset for _, offset in pairs], begins)
    )
    return _Windows(places, offsets, starts, 0)


def _begins(begins: Tensor, count: int, size: int) -> Tensor:
    """Where each window of `count` rows begins, whose rows have `size` indices."""
    rows = torch.arange(count, dtype=torch.int32, device=begins.device) * size
    return (rows[:, None] + begins).flatten()


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
    block: int | None = None,
) -> Tensor:
    """The mean value of each prefix's completions, ``(N, T - 1)``: column t - 1 belongs to the prefix y_1…y_t.

    `tokens` is ``(N, T)``; `uniforms` ``(N, K · T (T - 1) / 2)`` in [0, 1); ``judge(sequences (R, T), rows (R,), t)``
    gives a value ``(R,)`` for each completed sequence, whose first t tokens are those of ``tokens[rows]``.
    With `ends`, only 0 follows a 0. Blocks of `block` completions are sampled and judged together, by default so many
    that they lie in the cache of a processor, or fill a GPU.
    """
    waits = game.asynchronous(tokens.device)
    block = block or (1 << 15 if waits else 1024)
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
            judged = (judge if waits else _once(judge))(completed, rows.repeat_interleave(rollouts), t)
            values[rows, t - 1] = judged.view(-1, rollouts).mean(1)
    return values


def _once(judge: Callable[[Tensor, Tensor, int], Tensor]) -> Callable[[Tensor, Tensor, int], Tensor]:
    """`judge` for sequences of which some are equal: it is called with one of each."""

    def judge_once(sequences: Tensor, rows: Tensor, t: int) -> Tensor:
        key = rows
        for token in sequences[:, t:].unbind(1):
            key = key * 0x9E3779B97F4A7C1 + token  # modulo 2^64: two of a thousand have one key by chance at 1e-14
        different, place = torch.unique(key, return_inverse=True)
        if len(different) == len(key):
            return judge(sequences, rows, t)
        chosen = torch.zeros_like(different).scatter_(0, place, torch.arange(len(key), device=key.device))
        return judge(sequences[chosen], rows[chosen], t)[place]

    return judge_once
