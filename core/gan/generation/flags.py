"""The flags of a run in `gan generate` and `gan translate`, described for ``--help``.

A training stores the description in the run folder, so that ``gan generate RUN --help`` imports no architecture.
"""

from __future__ import annotations

from typing import Any

from gan.build import ResolvedRecipe
from gan.contracts import Modality
from gan.generation.conditions import Conditions
from gan.plugins.settings import settings


def describe_flags(resolved: ResolvedRecipe, modality: Modality, conditions: Conditions) -> dict[str, Any]:
    """Plain values: the run's ``title``, ``flags`` as [name, description], ``versions`` of the distributions used."""
    rows: list[tuple[str, str]] = []
    for name in conditions.ranges:
        values = conditions.describe(name, modality.fields[name])
        rows.append((name, f"Condition of the samples; the training data have {values}."))
    if modality.whole_input:
        rows.append((modality.whole_input, "A file to use as a whole as input."))
    for model in (getattr(resolved.architecture_class, "Options", None), modality.GivenOptions, modality.Options):
        rows += [(found.name, found.description) for found in settings(model)]
    return {"title": resolved.title, "flags": [list(row) for row in rows], "versions": resolved.distributions}
