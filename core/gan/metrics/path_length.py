"""Perceptual path length (PPL): how smoothly samples change along paths through a latent space.

Karras, Laine, Aila 2019, "A Style-Based Generator Architecture for Generative Adversarial Networks", section 4.1 and
appendix C; here for any latent space, any kind of data and any extractor. The paper's number is that of the squared
distance LPIPS, which an extractor gives as a squared Euclidean one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from gan.contracts import ConditionalOnInput, Features, LatentSpace, MetricValue, Modality, Request, SmoothLatentSpace
from gan.draws import SeededDraws, derive
from gan.errors import BadData, UsageError
from gan.latents import slerp

if TYPE_CHECKING:
    from gan.contracts import Samples

Array: TypeAlias = np.ndarray[Any, Any]

BATCH = 16
"""Number of paths that are computed at once."""
FEWEST = 100
"""Fewest paths for meaningful percentiles."""


def path_lengths(render: Callable[[Tensor], Array], first: Tensor, second: Tensor, at: Tensor, epsilon: float) -> Array:
    """``(n,)``: squared distance of the features ``render(latents)`` at `at` and at ``at + epsilon``, over epsilon²."""
    here, there = render(slerp(first, second, at)), render(slerp(first, second, at + epsilon))
    difference = there.astype(np.float64) - here
    squares: Array = np.einsum("ij,ij->i", difference, difference) / epsilon**2
    return squares


class PathLength:
    """PPL of any extractor, in latent space, at random positions along the paths ("full").

    There are as many paths as generated samples; those outside the 1st to the 99th percentile are excluded. The ends of
    a path share the conditions of one real sample where the architecture is conditional.
    """

    version = "1"
    label = "PPL"

    def __init__(self, epsilon: float = 1e-4, seed: int = 0) -> None:
        self.settings = {"epsilon": epsilon, "seed": seed, "space": "z", "places": "full", "kept": "1 to 99 %"}
        self.epsilon = epsilon
        self.seed = seed

    def compute(
        self,
        architecture: Any,
        extractor: Callable[[Samples, Modality], Features],
        generated: Samples,
        real: Samples,
        modality: Modality,
    ) -> list[MetricValue]:
        """One value with its standard error; lower is smoother."""
        if not isinstance(architecture, LatentSpace):
            raise UsageError("it has no latent space (`latents` and `decode`)")
        given = architecture.given_fields() if isinstance(architecture, ConditionalOnInput) else ()
        if not all(modality.fields[name].condition for name in given):
            raise UsageError("its samples follow from an input, not from latents alone")
        count = len(next(iter(generated.values())))
        if count < FEWEST:
            raise BadData(f"{count} paths, at least {FEWEST} are needed for the 1st and the 99th percentile")
        decode = _smooth(architecture, modality)
        device = next(architecture.parameters()).device  # type: ignore[attr-defined]

        def render(latents: Tensor, request: Request) -> Array:
            made = {name: values.cpu().numpy() for name, values in decode(latents, request).items()}
            return extractor(made, modality).vectors

        found = []
        for start in range(0, count, BATCH):
            wanted = min(BATCH, count - start)
            here, there, place = (
                SeededDraws.of(derive(self.seed, "path", purpose), start, wanted, device)
                for purpose in ("first", "second", "place")
            )
            first, second = architecture.latents(wanted, here), architecture.latents(wanted, there)
            rows = {name: real[name][np.arange(start, start + wanted) % len(real[name])] for name in given}
            request = Request(given={name: torch.from_numpy(rows[name]).to(device) for name in given} or None)
            found.append(path_lengths(partial(render, request=request), first, second, place.rand(), self.epsilon))
        lengths = np.concatenate(found)
        low, high = np.percentile(lengths, [1, 99], method="nearest")
        kept = lengths[(lengths >= low) & (lengths <= high)]
        error = float(kept.std(ddof=1) / math.sqrt(len(kept)))
        return [MetricValue(self.label, float(kept.mean()), error=error, direction="lower")]


def _smooth(architecture: Any, modality: Modality) -> Callable[[Tensor, Request], dict[str, Tensor]]:
    """Return a `decode` without rounding, which would hide steps of 1e-4. Raises `UsageError` if there is none."""
    if isinstance(architecture, SmoothLatentSpace):
        return architecture.decode_smooth
    rounded = [name for name, field in modality.fields.items() if field.dtype != "float32"]
    if rounded:
        raise UsageError(f"it rounds its '{rounded[0]}' and has no `decode_smooth`")
    return architecture.decode  # type: ignore[no-any-return]
