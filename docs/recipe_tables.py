"""What the site adds to docs/recipes.md: the recipes of this repository's plugins, and every setting of a recipe."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from gan.plugins.manager import Plugins
from gan.plugins.settings import settings
from gan.recipe import Recipe
from gan.storage.strict_yaml import load_yaml

ROOT = Path(__file__).parents[1]
OURS = sorted(path.parent.name for path in ROOT.glob("plugins/*/pyproject.toml"))


def recipes(plugins: Plugins) -> Iterator[str]:
    """A table of the recipes of each plugin."""
    yield "## Recipes\n"
    for info in plugins.infos():
        found = plugins.entries("gan_recipes", info.name) if info.distribution in OURS else []
        if not found:
            continue
        yield f"### {info.name}\n\n| recipe | architecture | ends after | |\n|---|---|---|---|"
        for entry in found:
            name = f"**{entry.entry.name}** (default)" if entry.entry.default else entry.entry.name
            training = load_yaml(plugins.resource(entry)).get("training", {})
            limit = f", or {training['minutes']:g} minutes" if training.get("minutes") else ""
            samples = f"{training['samples']:,} samples" if "samples" in training else "its phases"
            yield f"| {name} | {entry.entry.architecture} | {samples}{limit} | {_cell(entry.entry.summary)} |"
        yield ""


def tables(plugins: Plugins) -> Iterator[str]:
    """A table of the settings of each section; those of modalities and architectures by plugin."""
    yield "## Settings of every recipe\n"
    yield from _table([("", Recipe)])
    hooks = {"modality": "gan_modalities", "model": "gan_architectures"}
    for info in plugins.infos():
        if info.distribution not in OURS:
            continue
        for section, hook in hooks.items():
            for entry in plugins.entries(hook, info.name):
                yield f"## {info.name}: {section} of {entry.entry.name}\n"
                yield from _table([(f"{section}.", plugins.load(entry).Config)])


def _table(models: list[tuple[str, type]]) -> Iterator[str]:
    yield "| setting | default | |\n|---|---|---|"
    for prefix, model in models:
        for found in settings(model, prefix):
            yield f"| `{found.name}` | {_code(found.default)} | {_cell(found.description)} |"
    yield ""


def _code(text: str) -> str:
    return f"`{text.replace('|', chr(92) + '|')}`" if text else "required"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "\\<").replace("*", "\\*")


def text() -> str:
    """Both, as Markdown."""
    plugins = Plugins.installed()
    return "\n".join([*recipes(plugins), *tables(plugins)])
