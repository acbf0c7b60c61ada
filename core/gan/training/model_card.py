"""The model card of a trained run: the README.md of its folder, with front matter as model hubs read it.

Links and commands are relative to the folder, so that it can be moved or published.
"""

from __future__ import annotations

from typing import Any

from gan.build import ResolvedRecipe
from gan.data.pack import Pack
from gan.evaluation.receipts import RECEIPTS
from gan.recipe import Provenance, Start
from gan.reporting.result import Result
from gan.reporting.tables import markdown_table
from gan.storage.strict_yaml import dump_yaml


def model_card(result: Result, resolved: ResolvedRecipe, pack: Pack, licence: str = "") -> str:
    """The text of the model card, Markdown. `licence` is that of the training data."""
    recipe = resolved.recipe
    entry = resolved.architecture.entry
    licence = one_line(licence)
    about: dict[str, Any] = {
        "library_name": "gan",
        "tags": ["gan", resolved.modality.entry.name, recipe.plugin, recipe.architecture],
        "license": "other",
        "license_name": licence or "not stated",
        "metrics": [number["name"] for number in result.headline],
    }
    lines = [
        "---",
        dump_yaml(about).rstrip(),
        "---",
        "",
        f"# {result.title}",
        "",
        *([f"{result.verdict['sentence']}", ""] if result.verdict else []),
        *([f"![Samples]({result.pictures[0].relative_to(result.run).as_posix()})", ""] if result.pictures else []),
        f"Trained by `gan` with {resolved.architecture.info.distribution} {resolved.architecture.info.version}: "
        f"{entry.summary} ({entry.paper}).",
        "",
        f"* Data: {result.data} (sha256 {pack.fingerprint[:16]}…)"
        + (f"; {len(pack.skipped)} files were skipped, see manifest.json" if pack.skipped else ""),
        f"* Training: {result.samples:,} real samples shown, batch {recipe.training.batch}, seed {recipe.seed}, "
        f"{result.seconds:,.0f} s",
        *([_started_from(recipe.start)] if recipe.start else []),
        f"* Loss: {recipe.loss.name}" + "".join(f", {penalty.name}" for penalty in recipe.penalties),
        f"* Licence of the data: {licence or 'not stated; state it with data.licence'}",
        *([f"* Consent: {one_line(recipe.data.consent)}"] if recipe.data.consent else []),
        f"* {_labels(recipe.provenance)}",
        "",
        "## Use",
        "",
        "In this folder:",
        "",
        "```",
        result.more.replace(str(result.run), ".", 1) or "gan generate . --count 16 --seed 1 --out more",
        "gan verify samples",
        "gan run recipe.yaml",
        "```",
        "",
        "## Intended use and limits",
        "",
        f"Intended use: {one_line(recipe.card.intended_use) or 'not stated (card.intended_use); experiments.'}",
        "",
        f"Limits: {one_line(recipe.card.limits)}".rstrip() + " " * bool(recipe.card.limits) + _LIMITS.format(len(pack)),
    ]
    if result.metrics:
        lines += ["", "## Metrics", "", *markdown_table(result.summary()), ""]
        settings = recipe.evaluation
        lines.append(f"{settings.samples:,} generated samples, receipts in evaluation/{RECEIPTS}.")
        if settings.published:
            lines.append(f"Published: {settings.published_source}.")
    return "\n".join(lines) + "\n"


_LIMITS = (
    "Its samples resemble {:,} training samples and nothing else, with their gaps and biases, and may repeat parts of "
    "them; neither was measured unless a metric below says so. Do not present its samples as recordings of people or "
    "events."
)


def _started_from(start: Start) -> str:
    weights = f" (sha256 {start.weights[:16]}…)" if start.weights else ""
    frozen = f", with {start.freeze} layers of the discriminator frozen" if start.freeze else ""
    return f"* Weights at the start: those of {one_line(start.run)}{weights}{frozen}; see started_from in manifest.json"


def _labels(chosen: Provenance) -> str:
    """What the files of the run say of themselves, in one sentence."""
    said = "Its files say that a trained model generated them" if chosen.metadata else "Its files carry no metadata"
    marked = "and are marked invisibly with the key of their maker" if chosen.mark else "and are not marked invisibly"
    return f"{said} {marked}; the signed manifest of their folder lists them all (docs/provenance.md)."


def one_line(text: str) -> str:
    """A user's text without line ends, which would end a list in Markdown."""
    return " ".join(text.split())
