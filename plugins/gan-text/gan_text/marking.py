"""The invisible mark of texts: a green list of tokens, which the sampler prefers and which only the key tells.

Kirchenbauer, Geiping, Wen, Katz, Miers, Goldstein: A Watermark for Large Language Models, 2023, arXiv:2301.10226
(section 3.2: soft list, one preceding token as the context). Here the list is not a permutation drawn by a generator of
random numbers but a hash of key, context and token (splitmix64, Steele et al. 2014), so that it is the same on every
device. Each pair of context and token counts once (Fernandez et al. 2023, arXiv:2308.00113).

The mark acts in the samplers of this package. It is found with the vocabulary of the run.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from gan.contracts import Detection, Mark
from gan.errors import BadData
from gan.marks import DECOYS

from gan_text.modality import Text, decoded

if TYPE_CHECKING:
    from gan.contracts import Modality
    from gan.source import SourceFile
    from torch import Tensor

Array = np.ndarray[Any, Any]

SHARE = 0.25
"""Share γ of the vocabulary that is green."""
FEWEST = 25
"""Different pairs of tokens below which nothing can be said."""
_GOLDEN, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_LIMIT = int(SHARE * (1 << 53))


class GreenList(Mark):
    """The strength δ is added to the logits of green tokens, in nats, before temperature and filters."""

    suffixes = (".txt", ".jsonl")
    strength = 2.0
    in_sampling = True
    needs_modality = True

    def __init__(self, key: bytes, strength: float | None = None) -> None:
        super().__init__(key, strength)
        self._seed = int.from_bytes(hashlib.sha256(key + b"\0tokens").digest()[:8], "little")

    def embed(self, content: Tensor, **about: Any) -> Any:
        """Logits ``(N, V)`` of the next token and ``previous``, ``(N,)`` tokens -> logits, green ones raised."""
        import torch

        words = torch.arange(content.shape[1], device=content.device)
        context = _mixed_torch(about["previous"].long() + _signed(self._seed))
        values = _mixed_torch(context[:, None] ^ words) >> 11 & (1 << 53) - 1
        return content + self.amount * (values < _LIMIT)

    def green(self, previous: Array, tokens: Array) -> Array:
        """Whether each of `tokens` ``(n,)`` is green after the one in `previous`."""
        with np.errstate(over="ignore"):
            context = _mixed(previous.astype(np.uint64) + np.uint64(self._seed))
            found: Array = _mixed(context ^ tokens.astype(np.uint64)) >> np.uint64(11) < np.uint64(_LIMIT)
            return found

    def detect(self, file: SourceFile, modality: Modality | None = None) -> Detection:
        """Count the green tokens of a text. Raises `BadData` if it is no text."""
        if not isinstance(modality, Text):
            note = "needs the vocabulary of the run that wrote it: --run RUN"
            return Detection(0.0, 1.0, self.false_positive_rate, None, note)
        content = decoded(file)
        texts = [content.removesuffix("\n")]
        if file.suffix == ".jsonl":
            texts = _records(content, modality.config.field, file.name)
        if modality.config.lower:
            texts = [text.lower() for text in texts]
        return self.detect_tokens([modality.vocabulary.encode(text) for text in texts])

    def detect_tokens(self, texts: list[Array]) -> Detection:
        """Count the green tokens of texts, ``(T,)`` integers each. The first token of a text has no known context."""
        pairs = np.concatenate([np.stack([text[:-1], text[1:]], 1) for text in texts if len(text) > 1] or [_NONE])
        pairs = np.unique(pairs[(pairs != 0).all(1)], axis=0)  # token 0 begins and ends texts
        count = len(pairs)
        if count < FEWEST:
            note = f"too short: {count} different pairs of tokens, needs {FEWEST}"
            return Detection(0.0, 1.0, self.false_positive_rate, None, note)
        green = self.green(pairs[:, 0], pairs[:, 1]).sum()
        others = [one.green(pairs[:, 0], pairs[:, 1]).sum() for one in self._decoys]
        z, *decoys = ((np.array([green, *others]) - SHARE * count) / math.sqrt(count * SHARE * (1 - SHARE))).tolist()
        return Detection(z, binomial_tail(int(green), count), self.false_positive_rate, z, "", tuple(decoys))

    @functools.cached_property
    def _decoys(self) -> list[GreenList]:
        """The same with keys that nothing was marked with."""
        return [GreenList(hashlib.sha256(self.key + bytes([n])).digest()) for n in range(DECOYS)]


_NONE = np.zeros((0, 2), np.int64)


def binomial_tail(successes: int, count: int) -> float:
    """Probability of at least so many green tokens of `count` by chance, exactly."""
    from scipy.stats import binom

    return float(binom.sf(successes - 1, count, SHARE))


def _records(content: str, field: str, name: str) -> list[str]:
    try:
        return [str(json.loads(line)[field]) for line in content.splitlines() if line.strip()]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadData(f"has no records with the field '{field}' ({error})", name) from None


def _mixed(x: Array) -> Array:
    """splitmix64 of uint64."""
    x = x + np.uint64(_GOLDEN)
    x = (x ^ x >> np.uint64(30)) * np.uint64(_FIRST)
    x = (x ^ x >> np.uint64(27)) * np.uint64(_SECOND)
    mixed: Array = x ^ x >> np.uint64(31)
    return mixed


def _mixed_torch(x: Tensor) -> Tensor:
    """`_mixed` of int64, whose arithmetic wraps around; shifts must not carry the sign."""
    x = x + _signed(_GOLDEN)
    x = (x ^ x >> 30 & (1 << 34) - 1) * _signed(_FIRST)
    x = (x ^ x >> 27 & (1 << 37) - 1) * _signed(_SECOND)
    return x ^ x >> 31 & (1 << 33) - 1


def _signed(number: int) -> int:
    """The int64 with the bits of a uint64."""
    return number - (1 << 64) if number >> 63 else number
