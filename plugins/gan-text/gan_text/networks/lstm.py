"""The LSTM language model that is the generator of SeqGAN and of MLE, and the oracle.

Yu, Zhang, Wang, Yu: SeqGAN: Sequence Generative Adversarial Nets with Policy Gradient, AAAI 2017,
https://arxiv.org/abs/1609.05473. One LSTM layer with one bias per gate::

    i, f, o = sigmoid(x W + h U + b)    g = tanh(x W + h U + b)    c = f c + i g    h = o tanh(c)

Shapes: N sequences, T tokens, V words, E embedding, H hidden. Every sequence follows the start token 0, which is
not counted in T.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gan_text.data.fields import START
from gan_text.networks.likelihood import token_nll, weighted_nll
from gan_text.networks.sampler import SoftmaxSampler


class State(NamedTuple):
    """Recurrent state after a prefix."""

    hidden: Tensor  # (N, H)
    cell: Tensor  # (N, H)

    def repeat(self, times: int) -> State:
        """Repeat each row `times` times, consecutively."""
        return State(self.hidden.repeat_interleave(times, 0), self.cell.repeat_interleave(times, 0))


class LSTMGenerator(nn.Module):
    """Embedding, LSTM, softmax layer; V (2 E' + ...) parameters: 333,320 at V=5000, E=H=32.

    `std` is the standard deviation of the initial parameters: 0.1 for the generator, 1 for the oracle.
    """

    def __init__(self, words: int, embedding: int = 32, hidden: int = 32, std: float = 0.1) -> None:
        super().__init__()
        self.words = words
        self.width = hidden
        self.embedding = nn.Parameter(torch.empty(words, embedding))
        self.input_weight = nn.Parameter(torch.empty(embedding, 4 * hidden))  # gates in the order i, f, o, g
        self.hidden_weight = nn.Parameter(torch.empty(hidden, 4 * hidden))
        self.gate_bias = nn.Parameter(torch.empty(4 * hidden))
        self.output_weight = nn.Parameter(torch.empty(hidden, words))
        self.output_bias = nn.Parameter(torch.empty(words))
        for parameter in self.parameters():
            nn.init.normal_(parameter, 0.0, std)

    def initial(self, count: int) -> State:
        """The state before the start token."""
        zeros = self.gate_bias.new_zeros(count, self.width)
        return State(zeros, zeros)

    def advance(self, gates: Tensor, state: State) -> State:
        """One step; `gates` is the contribution of the input, ``x W + b``, ``(N, 4 H)``."""
        gates = torch.addmm(gates, state.hidden, self.hidden_weight)
        sigmoid = torch.sigmoid(gates[:, : 3 * self.width])
        i, f, o = sigmoid.chunk(3, 1)
        cell = f * state.cell + i * torch.tanh(gates[:, 3 * self.width :])
        return State(o * torch.tanh(cell), cell)

    def gate_table(self) -> Tensor:
        """``x W + b`` of every word, ``(V, 4 H)``: a lookup table for sampling."""
        return torch.addmm(self.gate_bias, self.embedding, self.input_weight)

    def hidden_states(self, tokens: Tensor) -> Tensor:
        """``(N, T)`` tokens -> ``(N, T, H)``: the state that predicts each of them."""
        before = F.pad(tokens[:, :-1], (1, 0), value=START).long()
        gates = F.embedding(before, self.embedding) @ self.input_weight + self.gate_bias
        state, hidden = self.initial(len(tokens)), []
        for step in gates.unbind(1):
            state = self.advance(step, state)
            hidden.append(state.hidden)
        return torch.stack(hidden, 1)

    def forward(self, tokens: Tensor) -> Tensor:
        """``(N, T)`` tokens -> ``(N, T, V)`` logits of each token given the ones before it."""
        return self.hidden_states(tokens) @ self.output_weight + self.output_bias

    def nll(self, tokens: Tensor) -> Tensor:
        """``(N, T)`` -> ``(N, T)``: minus the log-probability of each token, in nats."""
        if not torch.is_grad_enabled():
            hidden = self.hidden_states(tokens).flatten(0, 1)
            return token_nll(hidden, self.output_weight, self.output_bias, tokens.flatten().long()).view(tokens.shape)
        logits = self(tokens)
        return F.cross_entropy(logits.flatten(0, 1), tokens.flatten().long(), reduction="none").view(tokens.shape)

    def weighted_nll(self, tokens: Tensor, weights: Tensor) -> Tensor:
        """``(N, T)``, ``(N, T)`` -> scalar: the weighted sum of `nll`, without holding all logits in memory."""
        hidden = self.hidden_states(tokens).flatten(0, 1)
        return weighted_nll(hidden, self.output_weight, self.output_bias, tokens.flatten().long(), weights.flatten())

    def sampler(self, temperature: float = 1.0) -> SoftmaxSampler:
        """A sampler for the current weights."""
        return SoftmaxSampler(self.output_weight, self.output_bias, temperature=temperature)

    @torch.no_grad()
    def sample(self, uniforms: Tensor, *, ends: bool = False, temperature: float = 1.0) -> Tensor:
        """``(N, T)`` uniforms in [0, 1) -> ``(N, T)`` int64 tokens. With `ends`, only 0 follows a 0."""
        sampler, table = self.sampler(temperature), self.gate_table()
        count, length = uniforms.shape
        tokens = torch.zeros(count, length, dtype=torch.int64, device=uniforms.device)
        rows = 2048  # the states of this many sequences fit in the cache
        for start in range(0, count, rows):
            part = uniforms[start : start + rows]
            previous = torch.full((len(part),), START, device=uniforms.device)
            state = self.initial(len(part))
            for t in range(length):
                state = self.advance(table[previous], state)
                drawn = sampler(state.hidden, part[:, t : t + 1])[:, 0]
                previous = drawn * (previous != 0) if ends and t else drawn
                tokens[start : start + rows, t] = previous
        return tokens


def sequence_mask(lengths: Tensor, total: int) -> Tensor:
    """``(N,)`` lengths -> ``(N, T)`` float: 1 for the tokens and the end token that follows them, 0 for the rest."""
    return (torch.arange(total, device=lengths.device) <= lengths[:, None]).float()


def lengths_of(tokens: Tensor) -> Tensor:
    """Number of tokens before the first 0, ``(N, T) -> (N,)``."""
    return (tokens != 0).long().cumprod(1).sum(1)
