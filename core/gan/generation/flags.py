"""The flags of a run in `gan generate` and `gan translate`, described for ``--help``.

A training stores the description in the run folder, so that ``gan generate RUN --help`` imports no architecture.
"""

from __future__ import annotations

import contextlib
from typing import Any

from gan.build import ResolvedRecipe
from gan.contracts import (
    ConditionalOnInput,
    LatentParts,
    LatentSpace,
    LinearMaps,
    Modality,
    SmoothLatentSpace,
    StyleSpace,
)
from gan.errors import GanError
from gan.generation.conditions import Conditions
from gan.plugins.settings import settings


def describe_latents(architecture: Any, modality: Modality) -> str:
    """What the latent space of an architecture, or of its class, allows, as a sentence."""
    conditions = {name for name, spec in modality.fields.items() if spec.condition}
    if not _has(architecture, LatentSpace):
        return "This run has no latent space: no paths, edits or projections."
    sefa = "sefa, " if _has(architecture, LinearMaps) else ""
    allowed = [
        "gan generate with --interpolate, --path, --loop, --film, --plane and --latents",
        f"gan edit by {sefa}ganspace, labels and scores",
    ]
    if _has(architecture, SmoothLatentSpace):
        allowed.append("gan project" + (" into w and w+" if _has(architecture, StyleSpace) else ""))
    if _has(architecture, LatentParts):
        names = () if isinstance(architecture, type) else tuple(architecture.latent_parts())
        if isinstance(architecture, type) or names:
            allowed.append("--styles and --layers" + (f" of {', '.join(names)}" if names else ""))
    if conditions and getattr(architecture, "mixes_classes", False):
        allowed.append("mixtures of classes (0.7*A+0.3*B)")
    space = "styles w" if _has(architecture, StyleSpace) else "latents z"
    return f"Its {space} allow {'; '.join(allowed)}."


def _has(architecture: Any, protocol: Any) -> bool:
    is_class = isinstance(architecture, type)
    return issubclass(architecture, protocol) if is_class else isinstance(architecture, protocol)


def _takes_input(kind: Any, modality: Modality, architecture: Any) -> bool:
    """Whether samples can be made from an input; of the class alone it is only known whether some of its can."""
    if not _has(kind, ConditionalOnInput):
        return False
    if architecture is None:
        return True
    chosen: Any = getattr(kind, "Options", None)
    named = [chosen(given="0")] if "given" in getattr(chosen, "model_fields", ()) else []
    for options in (None, *named):  # where users choose the given tracks, it is refused for runs that take none
        with contextlib.suppress(GanError):
            if any(not modality.fields[name].condition for name in architecture.given_fields(options)):
                return True
    return False


def describe_flags(
    resolved: ResolvedRecipe, modality: Modality, conditions: Conditions, architecture: Any = None
) -> dict[str, Any]:
    """Plain values: the run's ``title``, ``flags`` as [name, description], ``latents`` (what its latent space allows),
    ``versions`` of the distributions used. `architecture` is the built one, if there is one, which can name its parts.
    """
    rows: list[tuple[str, str]] = []
    for name in conditions.ranges:
        values = conditions.describe(name, modality.fields[name])
        rows.append((name, f"Condition of the samples; the training data have {values}."))
    takes_input = _takes_input(resolved.architecture_class, modality, architecture)
    if modality.whole_input and takes_input:
        rows.append((modality.whole_input, "A file to use as a whole as input."))
    of_input = modality.GivenOptions if takes_input else None
    for model in (getattr(resolved.architecture_class, "Options", None), of_input, modality.Options):
        rows += [(f.name, f.description) for f in settings(model) if takes_input or f.name != "given"]
    return {
        "title": resolved.title,
        "flags": [list(row) for row in rows],
        "latents": describe_latents(architecture or resolved.architecture_class, modality),
        "versions": resolved.distributions,
    }
