"""Sampling options of text generation: prompt, temperature, top-k, top-p; one uniform random number per token.

A text depends only on the weights, the prompt, the options and its own random numbers, not on the rest of its batch.
Filters: Fan et al. 2018 (top-k), Holtzman et al. 2020 (top-p), by the processors of transformers.
"""

from __future__ import annotations

from typing import Any

import torch
from gan.contracts import FieldSpec, Mark, Request
from gan.draws import Draws
from gan.errors import UsageError
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional as F

from gan_text.data.fields import START
from gan_text.networks.lstm import LSTMGenerator, lengths_of
from gan_text.networks.sampler import SoftmaxSampler


class SamplingOptions(BaseModel):
    """Options of one call of `generate`."""

    model_config = ConfigDict(extra="forbid")

    prompt: str = Field("", description="Text to continue; every sample begins with it.")
    temperature: float = Field(
        1.0, ge=0.01, le=100, description="Divides the logits: below 1 texts are likelier, above 1 more varied."
    )
    top_k: int = Field(0, ge=0, le=1 << 24, description="Sample from the k likeliest tokens only; 0: from all.")
    top_p: float = Field(
        1.0, gt=0, le=1, description="Sample from the likeliest tokens whose probabilities add up to this; 1: from all."
    )
    max_length: int | None = Field(
        None,
        gt=0,
        le=1 << 20,
        description="Maximum length of a text in tokens, including the prompt; none: that of the training texts.",
    )


def options_of(request: Request) -> SamplingOptions:
    """The options of a request, or the defaults."""
    return request.options if request.options is not None else SamplingOptions()


def prompt_tokens(options: SamplingOptions, field: FieldSpec) -> list[int]:
    """The prompt as tokens."""
    if not options.prompt:
        return []
    encode = getattr(field, "encode", None)
    if encode is None:
        raise UsageError("--prompt: this run's tokens are numbers that do not stand for text; omit it")
    tokens: list[int] = encode(options.prompt)
    return tokens


def text_length(options: SamplingOptions, field: FieldSpec, prompt: list[int], *, longer: bool = False) -> int:
    """Number of tokens to generate; raises `UsageError` if the prompt leaves no room."""
    most = field.shape[0]
    wanted = most if options.max_length is None else options.max_length
    if wanted > most and not longer:
        raise UsageError(f"--max-length {wanted}: this architecture generates at most {most} tokens")
    if options.max_length is None and longer:
        wanted = max(most, len(prompt) + most // 2)
    if len(prompt) >= wanted:
        raise UsageError(f"--prompt has {len(prompt)} tokens and a text {wanted}; shorten it or raise --max-length")
    return wanted


def filters(options: SamplingOptions) -> Any:
    """The logits processors of transformers for the options."""
    from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    found = LogitsProcessorList()
    if options.temperature != 1.0:
        found.append(TemperatureLogitsWarper(options.temperature))
    if options.top_k:
        found.append(TopKLogitsWarper(options.top_k))
    if options.top_p < 1.0:
        found.append(TopPLogitsWarper(options.top_p))
    return found


def choose(logits: Tensor, uniforms: Tensor) -> Tensor:
    """``(N, V)`` logits and ``(N,)`` uniforms in [0, 1) -> ``(N,)`` tokens, by inversion in double precision."""
    cumulative = torch.softmax(logits.double(), 1).cumsum(1)
    target = uniforms.double() * cumulative[:, -1]
    target = torch.minimum(target, torch.nextafter(cumulative[:, -1], torch.zeros_like(target)))
    return torch.searchsorted(cumulative, target[:, None], right=True)[:, 0]


def sample_lstm(
    generator: LSTMGenerator, count: int, rng: Draws, request: Request, field: FieldSpec, ends: bool
) -> dict[str, Tensor]:
    """Sample `count` texts from the LSTM generator, as samples of the modality."""
    options = options_of(request)
    prompt = prompt_tokens(options, field)
    length, total = text_length(options, field, prompt), field.shape[0]
    uniforms = rng.rand(total)
    plain = not options.top_k and options.top_p == 1.0 and request.mark is None
    sampler = generator.sampler(options.temperature) if plain else None
    tokens = torch.zeros(count, total, dtype=torch.int64, device=rng.device)
    table, state = generator.gate_table(), generator.initial(count)
    previous = torch.full((count,), START, device=rng.device)
    alive = torch.ones(count, dtype=torch.int64, device=rng.device)
    for t in range(length):
        state = generator.advance(table[previous], state)
        if t < len(prompt):
            previous = torch.full_like(previous, prompt[t])
        else:
            drawn = _next(generator, sampler, state.hidden, uniforms[:, t], options, request.mark, previous)
            previous = drawn * (alive if ends else 1)
            alive = alive * (previous != 0)
        tokens[:, t] = previous
    lengths = lengths_of(tokens) if ends else torch.full((count,), length, device=rng.device)
    return {"tokens": tokens.to(getattr(torch, field.dtype)), "length": lengths.to(torch.int32)}


def _next(
    generator: LSTMGenerator,
    sampler: SoftmaxSampler | None,
    hidden: Tensor,
    uniforms: Tensor,
    options: SamplingOptions,
    mark: Mark | None,
    previous: Tensor,
) -> Tensor:
    if sampler is not None:
        return sampler(hidden, uniforms[:, None])[:, 0]
    logits = F.linear(hidden, generator.output_weight.T, generator.output_bias)
    if mark is not None:
        logits = mark.embed(logits, previous=previous)
    return choose(filters(options)(None, logits), uniforms)
