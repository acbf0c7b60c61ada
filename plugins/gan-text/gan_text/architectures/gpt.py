"""GPT: a causal transformer language model, trained from scratch or from a pretrained checkpoint (one player).

Radford et al.: Language Models are Unsupervised Multitask Learners, 2019 (GPT-2): pre-norm blocks, learned positions,
tied head, weights from N(0, 0.02), residual projections from N(0, 0.02 / sqrt(2 layers)). The network, its key-value
cache, generation and sampling filters are those of transformers, so that any causal language model that transformers
loads can be trained further (``model.pretrained``).

Shapes: N sequences, T tokens, V words. Token 0 precedes the first token, and follows the last where texts may end.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from gan.contracts import FieldSpec, Loss, Mark, Penalty, Request
from gan.draws import Draws
from gan.errors import UsageError
from gan.game import Batch, Optimizer, Phase, Player, Turn
from gan.weights import restoring
from pydantic import BaseModel, ConfigDict, Field, model_validator
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    DynamicCache,
    GenerationConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LogitsProcessor,
    SuppressTokensLogitsProcessor,
)

from gan_text.data.fields import START, ends_early, vocabulary_size
from gan_text.networks.lstm import lengths_of, sequence_mask
from gan_text.pretrained import located, missing
from gan_text.sampling import SamplingOptions, choose, filters, options_of, prompt_tokens, text_length


class Choice(LogitsProcessor):
    """The last logits processor of a generation: samples one token for each row, with that row's uniform random number.

    Greedy decoding then picks it. The sampling of transformers uses one random stream for the whole batch, so that a
    text would depend on the others.
    """

    def __init__(self, uniforms: Tensor, offset: int) -> None:
        self.uniforms = uniforms
        self.offset = offset  # length of the input that the generation began with

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """``(N, L)`` tokens and ``(N, V)`` scores -> scores that are finite for one token per row."""
        chosen = choose(scores, self.uniforms[:, input_ids.shape[1] - self.offset])
        return torch.full_like(scores, -torch.inf).scatter(1, chosen[:, None], 0.0)


class Marking(LogitsProcessor):
    """The first logits processor of a generation that a user wants marked: raises the scores of the mark's tokens."""

    def __init__(self, mark: Mark) -> None:
        self.mark = mark

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """``(N, L)`` tokens and ``(N, V)`` scores -> ``(N, V)`` scores."""
        marked: Tensor = self.mark.embed(scores, previous=input_ids[:, -1])
        return marked


class GPT(nn.Module):
    """GPT-2 from a configuration, or a pretrained causal language model."""

    class Config(BaseModel):
        """Size of the network."""

        model_config = ConfigDict(extra="forbid")

        layers: int = Field(4, gt=0, description="Number of transformer blocks.")
        heads: int = Field(4, gt=0, description="Attention heads per block; must divide `width`.")
        width: int = Field(128, gt=0, description="Size of the token embeddings.")
        context: int = Field(0, ge=0, description="Context length in tokens; 0: the length of a sample.")
        dropout: float = Field(
            0.0,
            ge=0,
            lt=1,
            description="Dropout probability after the embedding, in attention and in each block; 0: off.",
        )
        pretrained: str = Field(
            "",
            description="Folder, NAME or NAME@COMMIT of a transformers model to fine-tune; the settings above are then "
            "ignored.",
        )

        @model_validator(mode="after")
        def _divides(self) -> GPT.Config:
            if self.width % self.heads:
                raise ValueError(f"heads = {self.heads} does not divide width = {self.width}")
            return self

    Options = SamplingOptions
    generation_batch = 64

    def __init__(self, config: Config, fields: Mapping[str, FieldSpec]) -> None:
        super().__init__()
        self.field = fields["tokens"]
        self.length = self.field.shape[0]
        self.ends = ends_early(fields)
        self.words = vocabulary_size(fields)
        self.pretrained = bool(config.pretrained)
        self.model: Any = self._loaded(config.pretrained) if config.pretrained else self._new(config)
        self.context = int(self.model.config.max_position_embeddings)
        if self.context < self.length:
            raise UsageError(f"modality.length = {self.length} exceeds the model's context of {self.context} tokens")
        self._keep_ties_out_of_checkpoints()

    def _new(self, config: Config) -> Any:
        return GPT2LMHeadModel(
            GPT2Config(
                vocab_size=self.words, n_positions=max(config.context, self.length),
                n_embd=config.width, n_layer=config.layers, n_head=config.heads,
                embd_pdrop=config.dropout, attn_pdrop=config.dropout, resid_pdrop=config.dropout,
                bos_token_id=START, eos_token_id=START,
            )
        )  # fmt: skip

    @torch.no_grad()
    def _loaded(self, name: str) -> Any:
        where = located(name, "model.pretrained")
        try:
            if restoring():  # its weights replace these, so that the sizes suffice
                sizes = AutoConfig.from_pretrained(**where)
                family: Any = AutoModelForCausalLM
                return family.from_config(sizes, dtype=torch.float32, trust_remote_code=False)
            model: Any = AutoModelForCausalLM.from_pretrained(**where, use_safetensors=True, dtype=torch.float32)
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise missing(name, "model.pretrained", "model", error) from error
        end = model.config.eos_token_id
        layers = [layer for layer in (model.get_input_embeddings(), model.get_output_embeddings()) if layer is not None]
        if not isinstance(end, int) or len(layers[0].weight) < self.words:
            raise UsageError(
                f"model.pretrained: '{name}' does not match the tokens of the data; set modality.tokens=pretrained and "
                f"modality.pretrained={name}"
            )
        weights = {id(layer.weight): layer.weight for layer in layers}
        for (
            weight
        ) in weights.values():  # the end-of-text token becomes token 0, as in `gan_text.data.vocabulary.Subwords`
            weight[[START, end]] = weight[[end, START]]
        return model

    def _keep_ties_out_of_checkpoints(self) -> None:
        """Save and load a tied weight under its first name only."""
        first: dict[int, str] = {}
        ties: dict[str, str] = {}
        for name, weight in self.named_parameters(remove_duplicate=False):
            if first.setdefault(id(weight), name) != name:
                ties[name] = first[id(weight)]

        def drop(module: nn.Module, state: dict[str, Any], prefix: str, metadata: Any) -> None:
            for name in ties:
                state.pop(prefix + name, None)

        def restore(module: nn.Module, state: dict[str, Any], prefix: str, *rest: Any) -> None:
            for name, source in ties.items():
                if prefix + source in state:
                    state.setdefault(prefix + name, state[prefix + source])

        self.register_state_dict_post_hook(drop)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(restore)  # type: ignore[no-untyped-call]

    def players(self) -> dict[str, Player]:
        """AdamW with learning rate 1e-3, decay 0.1 and clipping at 1, as in nanoGPT; 5e-5 for a pretrained model."""
        step = 5e-5 if self.pretrained else 1e-3
        settings = Optimizer(
            name="adamw", lr=step, betas=(0.9, 0.99), weight_decay=0.1, clip_norm=1.0, schedule="cosine", final=0.1
        )
        return {"generator": Player(self.model, settings)}

    def phases(self, loss: Loss, penalties: Mapping[str, Penalty]) -> list[Phase]:
        """One phase of maximum likelihood whose length the recipe sets; the adversarial loss is not used."""
        return [Phase("mle", [Turn("generator", self.likelihood)])]

    def _new_cache(self) -> dict[str, Any]:
        """An empty key-value cache as an argument of the model, whose name differs between versions."""
        names = inspect.signature(self.model.forward).parameters
        return {"cache" if "cache" in names else "past_key_values": DynamicCache(config=self.model.config)}

    def logits(self, tokens: Tensor, model: Any = None) -> Tensor:
        """``(N, T)`` tokens -> ``(N, T, V)`` logits of each token given the ones before it, by `model` or this one."""
        before = F.pad(tokens[:, :-1].long(), (1, 0), value=START)
        # with a cache, though an empty one, transformers does not look for packed texts, which would read the tokens
        network = self.model if model is None else model
        found: Tensor = network(input_ids=before, use_cache=True, **self._new_cache()).logits
        return found[..., : self.words]

    def nll(self, samples: Mapping[str, Tensor], model: Any = None) -> tuple[Tensor, Tensor]:
        """Negative log-likelihood of the given texts in nats, and their token counts with the end: ``(N,), (N,)``; by
        `model` or this one."""
        tokens = samples["tokens"].long()
        logits = self.logits(tokens, model).float()
        nll = F.cross_entropy(logits.flatten(0, 1), tokens.flatten(), reduction="none").view(tokens.shape)
        mask = sequence_mask(samples["length"], tokens.shape[1]) if self.ends else torch.ones_like(nll)
        return (nll * mask).sum(1), mask.sum(1)

    def likelihood(self, batch: Batch) -> dict[str, Tensor]:
        """Mean nats per token of a batch of real texts."""
        nats, tokens = self.nll(batch.fields)
        return {"nll": nats.sum() / tokens.sum()}

    def generate(self, count: int, rng: Draws, request: Request) -> dict[str, Tensor]:
        """Generate `count` texts; ``--max-length`` may exceed T and the context."""
        return self.written(rng.rand(self.length_of(options_of(request))), request)

    def length_of(self, options: SamplingOptions) -> int:
        """Number of tokens to generate."""
        return text_length(options, self.field, prompt_tokens(options, self.field), longer=True)

    def written(self, uniforms: Tensor, request: Request) -> dict[str, Tensor]:
        """The texts of ``(N, length)`` uniforms in [0, 1), as samples of the modality."""
        options, length = options_of(request), uniforms.shape[1]
        tokens = self.write(uniforms, length, prompt_tokens(options, self.field), options, request.mark)
        lengths = lengths_of(tokens) if self.ends else torch.full((len(tokens),), length, device=tokens.device)
        return {"tokens": tokens.to(getattr(torch, self.field.dtype)), "length": lengths.to(torch.int32)}

    def write(
        self, uniforms: Tensor, length: int, prompt: list[int], options: SamplingOptions, mark: Mark | None = None
    ) -> Tensor:
        """``(N, length)`` uniforms in [0, 1) -> ``(N, max(length, T))`` int64 tokens, padded with 0."""
        count, device = len(uniforms), uniforms.device
        tokens = torch.zeros(count, max(length, self.length), dtype=torch.int64, device=device)
        tokens[:, : len(prompt)] = torch.tensor(prompt, dtype=torch.int64, device=device)
        done = len(prompt)
        while done < length:
            done += self._continue(tokens, done, length, uniforms, options, mark)
        lengths = lengths_of(tokens) if self.ends else torch.full((count,), length, device=device)
        return tokens * (torch.arange(tokens.shape[1], device=device) < lengths[:, None])

    def sample(
        self, uniforms: Tensor, temperature: float = 1.0, model: Any = None, prompts: Tensor | None = None
    ) -> Tensor:
        """``(N, T)`` uniforms in [0, 1) -> ``(N, T)`` int64 tokens by `model` or this one, without options and without
        reading on the host. They begin with `prompts` ``(N, P)``, if there are any.

        `write` asks after each token whether all texts have ended.
        """
        network = self.model if model is None else model
        cache = self._new_cache()
        tokens = torch.full((len(uniforms), 1), START, dtype=torch.int64, device=uniforms.device)
        found: list[Tensor] = []
        if prompts is not None and prompts.shape[1]:
            tokens, uniforms = torch.cat([tokens, prompts], 1), uniforms[:, prompts.shape[1] :]
            found.append(prompts)
        for step in uniforms.unbind(1):
            scores = network(input_ids=tokens, use_cache=True, **cache).logits[:, -1].float()
            if self.words < scores.shape[1]:
                scores = scores[:, : self.words]
            if not self.ends and getattr(self.field, "encode", None) is not None:  # token 0 is not a word here
                scores[:, START] = -torch.inf
            tokens = choose(scores / temperature, step)[:, None]
            found.append(tokens)
        made = torch.cat(found, 1)
        return made * (made != 0).long().cumprod(1) if self.ends else made

    def _continue(
        self, tokens: Tensor, done: int, length: int, uniforms: Tensor, options: SamplingOptions, mark: Mark | None
    ) -> int:
        """Append tokens after the first `done` until the text or the context is full; returns how many."""
        start = torch.full_like(tokens[:, :1], START)
        known = torch.cat([start, tokens[:, :done]], 1)
        if known.shape[1] >= self.context:  # keep half a context of the past, to leave room
            known = known[:, -max(1, self.context // 2) :]
        steps = min(length - done, self.context - known.shape[1])
        processors = filters(options)
        if not self.ends and getattr(self.field, "encode", None) is not None:  # token 0 is not a word here
            processors.insert(0, SuppressTokensLogitsProcessor([START], device=str(tokens.device)))
        if mark is not None:
            processors.insert(0, Marking(mark))
        processors.append(Choice(uniforms[:, done:], known.shape[1]))
        settings = GenerationConfig(  # type: ignore[no-untyped-call]
            do_sample=False, max_new_tokens=steps, use_cache=True,
            pad_token_id=START, bos_token_id=START, eos_token_id=START if self.ends else None,
        )  # fmt: skip
        found = self.model.generate(
            known, attention_mask=torch.ones_like(known), generation_config=settings, logits_processor=processors
        )[:, known.shape[1] :]
        tokens[:, done : done + found.shape[1]] = found
        return steps
