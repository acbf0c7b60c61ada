"""The model card: the README.md of a run folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gan.evaluation.receipts import RECEIPTS
from gan.reporting.tables import markdown_table

if TYPE_CHECKING:
    from gan.build import ResolvedRecipe
    from gan.data.pack import Pack

from gan.reporting.result import Result


def model_card(result: Result, parts: ResolvedRecipe, pack: Pack) -> str:
    """The run folder's README.md."""
    recipe = parts.recipe
    entry = parts.architecture.entry
    lines = [
        f"# {result.title}",
        "",
        f"Trained by `gan` with {parts.architecture.info.distribution} {parts.architecture.info.version}: "
        f"{entry.summary} ({entry.paper}).",
        "",
        f"* Data: {result.data} (sha256 {pack.fingerprint[:16]}…)"
        + (f"; {len(pack.skipped)} files were skipped, see manifest.json" if pack.skipped else ""),
        f"* Training: {result.samples:,} real samples shown, batch {recipe.training.batch}, seed {recipe.seed}, "
        f"{result.seconds:,.0f} s",
        f"* Loss: {recipe.loss.name}" + "".join(f", {penalty.name}" for penalty in recipe.penalties),
        "* Everything that it writes is made by a machine; the files say so where their format allows it.",
        "",
        "## Use",
        "",
        "```",
        f"gan generate {result.run} --count 16 --seed 0 --out samples",
        f"gan run --recipe {result.run}/recipe.yaml",
        "```",
    ]
    if result.metrics:
        lines += ["", "## Metrics", "", *markdown_table(result.summary()), ""]
        settings = recipe.evaluation
        lines.append(f"{settings.samples:,} generated samples, receipts in evaluation/{RECEIPTS}.")
        if settings.published:
            lines.append(f"Published: {settings.published_source}.")
    return "\n".join(lines) + "\n"
