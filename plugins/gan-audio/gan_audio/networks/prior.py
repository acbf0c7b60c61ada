"""Autoregressive transformers over codes: Jukebox's prior, and its upsamplers, which see the codes of the level above.

Dhariwal et al. 2020, arXiv:2005.00341, section 4: the label takes the place of a start token; what is known of each
position (its time in the recording, the codes above it) is added before and after the transformer; input and output
share their embeddings. The transformer is GPT-2 of transformers, whose attention is dense, instead of a sparse one.
"""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass
from typing import Any

import torch
from gan.latents import embedded
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import (
    DynamicCache,
    GPT2Config,
    GPT2Model,
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopPLogitsWarper,
)

BINS = 64
"""Entries of the tables of times."""


@dataclass(frozen=True)
class Known:
    """What a prior knows of a window of codes besides those before: None where it was built without it."""

    label: Tensor | None = None
    """Classes ``(N,)`` int64, or shares ``(N, classes)``."""
    above: Tensor | None = None
    """Codes of the level above in the same window, ``(N, T / ratio)``."""
    begin: Tensor | None = None
    """Seconds of the recording before the window, ``(N,)``."""
    duration: Tensor | None = None
    """Seconds of the recording, ``(N,)``."""


class Prior(nn.Module):
    """``p(codes | what is known)`` of windows of up to `context` codes.

    `seconds` of a code are needed for times, of which `longest` seconds are told apart; `above` makes vectors of the
    codes of the level above, ``(N, T / ratio) -> (N, width, T)``.
    """

    def __init__(
        self,
        codes: int,
        context: int,
        width: int,
        layers: int,
        heads: int,
        dropout: float,
        *,
        classes: int = 0,
        seconds: float = 0.0,
        longest: float = 0.0,
        above: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.context, self.seconds, self.longest = context, seconds, longest
        self.model: Any = GPT2Model(
            GPT2Config(
                vocab_size=codes, n_positions=context, n_embd=width, n_layer=layers, n_head=heads,
                embd_pdrop=dropout, attn_pdrop=dropout, resid_pdrop=dropout, bos_token_id=None, eos_token_id=None,
            )
        )  # fmt: skip
        names = inspect.signature(self.model.forward).parameters
        self._cache = "cache" if "cache" in names else "past_key_values"  # its name differs between versions
        self.start = nn.Parameter(0.02 * torch.randn(width))
        self.labels = nn.Embedding(classes, width) if classes else None
        self.times = nn.ModuleList(nn.Embedding(BINS, width) for _ in range(3)) if longest else None
        self.above, self.norm = above, nn.LayerNorm(width) if above is not None else None
        for table in (self.labels, *(self.times or ())):
            if isinstance(table, nn.Embedding):
                nn.init.normal_(table.weight, std=0.02)

    def forward(self, codes: Tensor, known: Known) -> Tensor:
        """``(N, T)`` codes -> ``(N, T, codes)`` logits of each given those before it."""
        first, beside = self.first(len(codes), known), self.beside(codes.shape[1], known)
        inputs = torch.cat([first, self.model.wte(codes[:, :-1])], 1) + beside
        return self._logits(self._through(inputs, DynamicCache(config=self.model.config)) + beside)

    def nll(self, codes: Tensor, known: Known) -> Tensor:
        """Mean nats of a code, ``(N, T)`` -> ``(N,)``."""
        logits = self(codes, known).float()
        return cross_entropy(logits.transpose(1, 2), codes, reduction="none").mean(1)

    def first(self, count: int, known: Known) -> Tensor:
        """The input in the place of a start token, ``(N, 1, width)``."""
        first = self.start.expand(count, 1, -1)
        if self.labels is not None and known.label is not None:
            first = first + embedded(self.labels, known.label)[:, None]
        return first

    def beside(self, length: int, known: Known) -> Tensor:
        """What is added at each of `length` positions, ``(N, length, width)``, or zeros ``(1, length, width)``."""
        total = self.start.new_zeros(1, length, len(self.start))
        if self.above is not None and self.norm is not None and known.above is not None:
            total = total + self.norm(self.above(known.above).transpose(1, 2))[:, :length]
        if self.times is not None and known.begin is not None and known.duration is not None:
            steps = torch.arange(length, device=total.device) * self.seconds
            now = known.begin[:, None] + steps
            whole = known.duration[:, None].clamp_min(1e-3).expand_as(now)
            shares = (whole / self.longest, now / self.longest, now / whole)
            for table, share in zip(self.times, shares, strict=True):
                total = total + table((share * BINS).long().clamp(0, BINS - 1))
        return total

    @torch.no_grad()
    def sample(
        self, before: Tensor, uniforms: Tensor, known: Known, temperature: float = 1.0, top_p: float = 1.0
    ) -> Tensor:
        """Continue a window: ``(N, P)`` codes and ``(N, T)`` uniforms in [0, 1) -> ``(N, T)`` codes, P + T ≤ `context`.

        Row i depends on row i only.
        """
        count, past = before.shape
        first, beside = self.first(count, known), self.beside(past + uniforms.shape[1], known)
        filters = LogitsProcessorList()
        if temperature != 1.0:
            filters.append(TemperatureLogitsWarper(temperature))
        if top_p < 1.0:
            filters.append(TopPLogitsWarper(top_p))
        cache = DynamicCache(config=self.model.config)
        inputs = torch.cat([first, self.model.wte(before)], 1) + beside[:, : past + 1]
        found: list[Tensor] = []
        for step, uniform in enumerate(uniforms.unbind(1)):
            hidden = self._through(inputs, cache)[:, -1] + beside[:, past + step]
            scores: Any = filters(None, self._logits(hidden).float())  # type: ignore[arg-type]
            found.append(choose(scores, uniform))
            if step + 1 < uniforms.shape[1]:
                inputs = self.model.wte(found[-1])[:, None] + beside[:, past + step + 1, None]
        return torch.stack(found, 1)

    def _through(self, inputs: Tensor, cache: DynamicCache) -> Tensor:
        hidden: Tensor = self.model(inputs_embeds=inputs, use_cache=True, **{self._cache: cache}).last_hidden_state
        return hidden

    def _logits(self, hidden: Tensor) -> Tensor:
        logits: Tensor = hidden @ self.model.wte.weight.T
        return logits


def choose(logits: Tensor, uniforms: Tensor) -> Tensor:
    """``(N, V)`` logits and ``(N,)`` uniforms in [0, 1) -> ``(N,)`` codes, by inversion in double precision."""
    cumulative = torch.softmax(logits.double(), 1).cumsum(1)
    target = uniforms.double() * cumulative[:, -1]
    target = torch.minimum(target, torch.nextafter(cumulative[:, -1], torch.zeros_like(target)))
    return torch.searchsorted(cumulative, target[:, None], right=True)[:, 0]


def entropy(codes: Tensor, number: int) -> float:
    """The entropy of the distribution of codes from 0 … `number` - 1, in bits."""
    shares = torch.bincount(codes.flatten(), minlength=number).double() / codes.numel()
    return float(torch.special.entr(shares).sum() / math.log(2))
