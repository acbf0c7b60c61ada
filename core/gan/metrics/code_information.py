"""The mutual information of InfoGAN's codes and samples (`gan.parts.codes`): what the reader knows of each code."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

from gan.contracts import MetricValue, Modality, Request
from gan.draws import SeededDraws, derive
from gan.errors import UsageError

if TYPE_CHECKING:
    from gan.contracts import Samples

BATCH = 64


class CodeInformation:
    """The lower bound ``E[log Q(c | G(z, c))] + H(c)`` of Chen et al. 2016, equation 5, in nats, one for each code.

    Of a class it is at most log of their number; ``details`` have that bound and the share of codes that are read
    rightly, or of a number the mean squared error. Samples are new ones, as many as the evaluation generates.
    """

    version = "1"

    def __init__(self, seed: int = 0) -> None:
        self.settings = {"seed": seed}
        self.seed = seed

    def compute(self, architecture: Any, generated: Samples, real: Samples, modality: Modality) -> list[MetricValue]:
        """Raises `UsageError` if the model was trained without codes."""
        if not hasattr(architecture, "read_codes"):
            raise UsageError("the model has no codes; train one with --set 'codes={categorical: [10]}'")
        from gan.parts.codes import code_names, information

        codes = architecture.codes
        count = len(next(iter(generated.values())))
        device = next(architecture.parameters()).device
        given = architecture.given_fields() if hasattr(architecture, "given_fields") else ()
        read, code = [], []
        for start in range(0, count, BATCH):
            size = min(BATCH, count - start)
            rng = SeededDraws.of(derive(self.seed, "codes"), start, size, device)
            latents = architecture.latents(size, rng)
            rows = {n: torch.from_numpy(real[n].take(range(start, start + size), 0, mode="wrap")) for n in given}
            request = Request(given={name: values.to(device) for name, values in rows.items()} or None)
            read.append(architecture.read_codes(architecture.decode_smooth(latents, request)))
            code.append(architecture.codes_of(latents))
        found, known = torch.cat(read), torch.cat(code)
        values, start = [], 0
        for number, (name, bound) in enumerate(zip(code_names(codes), information(codes, found, known), strict=True)):
            if number < len(codes.categorical):
                end = start + codes.categorical[number]
                right = (found[:, start:end].argmax(1) == known[:, start:end].argmax(1)).float().mean()
                details = {"most": math.log(codes.categorical[number]), "read rightly": float(right)}
                start = end
            else:
                details = {"squared error": float((found[:, start] - known[:, start]).square().mean())}
                start += 1
            values.append(MetricValue(f"I({name})", float(bound), direction="higher", details=details))
        return values
