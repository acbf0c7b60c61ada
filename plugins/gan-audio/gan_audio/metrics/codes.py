"""How a codec uses its codes: bit rates, the share of codes in use, their entropy."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from gan.contracts import MetricValue
from gan.errors import UsageError

from gan_audio.networks.codebooks import code_statistics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gan.contracts import Modality, Samples


class CodebookUse:
    """Statistics of the codes of sounds that a model has encoded; means over its codebooks."""

    version = "1"

    def compute(
        self, architecture: Any, generated: Samples, real: Samples, modality: Modality
    ) -> Sequence[MetricValue]:
        """``kbit/s``, ``codebook use`` (share of codes that occur) and ``code entropy`` in bits; ``details`` have them
        for each codebook, and the bit rate that the entropies would allow."""
        codebooks = getattr(architecture, "codebooks", None)
        if codebooks is None or "codes" not in generated:
            raise UsageError("codebook-use needs a model that encodes sounds (codec, vqvae)")
        codes = torch.from_numpy(generated["codes"])
        found = [code_statistics(codes[:, stage], codebooks.codes) for stage in range(codes.shape[1])]
        use, entropy = ([float(pair[place]) for pair in found] for place in (0, 1))
        frames = generated["codes"].shape[2] * int(modality.config.rate) / generated["sound"].shape[2]
        rate = len(found) * frames * math.log2(codebooks.codes) / 1000
        return [
            MetricValue("kbit/s", rate, details={"by entropy": sum(entropy) * frames / 1000}),
            MetricValue("codebook use", sum(use) / len(use), direction="higher", details={"each": use}),
            MetricValue("code entropy", sum(entropy) / len(entropy), direction="higher", details={"each": entropy}),
        ]


class CodeBits:
    """Bits that the transformers over a model's codes need for a code of real sounds.

    `details` have the entropy of the codes alone: a transformer that learned anything of what follows what is below it.
    """

    version = "1"

    def compute(
        self, architecture: Any, generated: Samples, real: Samples, modality: Modality
    ) -> Sequence[MetricValue]:
        """``bits (NAME)`` of each transformer; lower is better."""
        if not hasattr(architecture, "code_bits"):
            raise UsageError("code-bits needs a model with a transformer over codes (jukebox)")
        device = next(architecture.parameters()).device
        fields = {name: torch.from_numpy(values).to(device) for name, values in real.items()}
        return [
            MetricValue(f"bits ({name})", bits, direction="lower", details={"entropy of codes": entropy})
            for name, bits, entropy in architecture.code_bits(fields)
        ]
