"""Generate docs/plugins/reference.md from the source: every hook, entry and contract, with signatures and docstrings.

    python docs/make_plugin_reference.py

`tests/test_plugin_docs.py` fails if the page is out of date.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "plugins" / "reference.md"
CORE = ROOT / "core" / "gan"

HEAD = """# Reference of hooks and contracts

Generated from the source by `docs/make_plugin_reference.py`; do not edit.

A plugin's entry module implements hooks, marked with `gan.hookspecs.hookimpl`. A hook returns entries. An entry names
its target as text, and the target implements a contract. [Compatibility](compatibility.md) lists the modules that a
plugin may import.
"""

SECTIONS = {
    "Entries": (
        "contracts/entries.py",
        "Entry ModalityEntry ArchitectureEntry LossEntry PenaltyEntry AugmentationEntry MetricEntry "
        "MarkEntry ExtractorEntry AttributeEntry GuardEntry DatasetEntry RecipeEntry ModelEntry TrackerEntry "
        "WeightsFile Download",
    ),
    "Modalities": ("contracts/modality.py", "FieldSpec Continued Given Modality"),
    "Architectures": (
        "contracts/architecture.py",
        "Request Architecture GenerationSettings AnyData Streams ConditionalOnInput GivenInPart InTiles Tiles "
        "Likelihood Settles",
    ),
    "Latent spaces": (
        "contracts/latent.py",
        "LatentSpace SmoothLatentSpace StyleSpace Between LatentParts LinearMaps CriticFeatures",
    ),
    "Losses, penalties and augmentations": (
        "contracts/objectives.py",
        "Loss Critic Penalty ScorePenalty Augmentation AdaptiveAugmentation",
    ),
    "Metrics": (
        "contracts/metrics.py",
        "MetricValue Metric Features Extractor DifferentiableExtractor FeatureMetric ModelMetric ModelFeatureMetric",
    ),
    "Guards": ("contracts/guards.py", "Guard Measures Window Alarm Remedy"),
    "Marks": ("contracts/marks.py", "Mark Detection tail"),
    "Marks of pixels": ("marks/pixels.py", "PixelSpectrum"),
    "Marks of sound": ("marks/waveform.py", "WaveformSpectrum"),
    "Keyed signs": ("marks/chips.py", "chips"),
    "The game": ("game.py", "Optimizer Player Batch Turn Phase"),
    "The two-player game": (
        "adversarial.py",
        "adversarial_turns plus augmented observe_scores probe_scores CriticOutput Scored",
    ),
    "Random numbers": ("draws.py", "Draws"),
    "Latents": ("latents.py", "slerp straight truncated_normal class_shares embedded"),
    "Files": ("source.py", "SourceFile Companion"),
    "Settings": ("recipe.py", "Section Schedule"),
    "Pretrained weights": ("weights.py", "find_weights"),
    "Errors": ("errors.py", "GanError UsageError BadData"),
    "For tests": ("conformance/checking.py", "check_plugin Report"),
}


def page() -> str:
    """Return the text of the page."""
    parts = [HEAD, "## Hooks\n"]
    parts += [_function(node, "hookspecs") for node in _top("hookspecs.py") if isinstance(node, ast.FunctionDef)]
    for title, (file, names) in SECTIONS.items():
        module = "gan." + file.removesuffix(".py").replace("/", ".")
        nodes = {node.name: node for node in _top(file) if isinstance(node, (ast.ClassDef, ast.FunctionDef))}
        parts.append(f"## {title}\n\nModule `{module}`.\n")
        for name in names.split():
            node = nodes[name]
            parts.append(_class(node) if isinstance(node, ast.ClassDef) else _function(node))
    return "\n".join(parts).rstrip() + "\n"


def _top(file: str) -> list[ast.stmt]:
    return ast.parse((CORE / file).read_text(encoding="utf-8")).body


def _function(node: ast.FunctionDef, module: str = "") -> str:
    hook = module == "hookspecs"
    title = f"### {node.name}\n\n" if hook or not module else ""
    return f"{title}```python\n{_signature(node)}\n```\n\n{_docstring(node)}\n"


def _class(node: ast.ClassDef) -> str:
    bases = [ast.unparse(base) for base in node.bases if ast.unparse(base) not in ("ABC", "Protocol")]
    lines = [f"### {node.name}" + (f" ({', '.join(bases)})" if bases else ""), "", _docstring(node), ""]
    for statement, following in _pairs(node.body):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            default = f" = {ast.unparse(statement.value)}" if statement.value is not None else ""
            text = ""
            if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
                text = ": " + " ".join(inspect.cleandoc(str(following.value.value)).split())
            lines.append(f"* `{statement.target.id}: {ast.unparse(statement.annotation)}{default}`{text}")
        elif isinstance(statement, ast.FunctionDef) and (
            not statement.name.startswith("_") or statement.name == "__call__"
        ):
            text = " ".join(_docstring(statement).split())
            lines.append(f"* `{_signature(statement)}`: {text}" if text else f"* `{_signature(statement)}`")
    return "\n".join(lines) + "\n"


def _signature(node: ast.FunctionDef) -> str:
    result = f" -> {ast.unparse(node.returns)}" if node.returns is not None else ""
    kind = "property " if any(ast.unparse(d) == "property" for d in node.decorator_list) else "def "
    return f"{kind}{node.name}({ast.unparse(node.args)}){result}"


def _docstring(node: ast.FunctionDef | ast.ClassDef) -> str:
    return ast.get_docstring(node) or ""


def _pairs(body: list[ast.stmt]) -> Iterator[tuple[ast.stmt, ast.stmt | None]]:
    for number, statement in enumerate(body):
        yield statement, body[number + 1] if number + 1 < len(body) else None


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
