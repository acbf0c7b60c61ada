"""Shell completion of plugins, recipes, architectures, runs and the keys of ``--set``; nothing heavy is imported.

Keys are read from the source code of the settings, without running it.
"""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click


def complete_plugin(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of installed plugins."""
    return _beginning((info.name for info in _plugins().infos() if info.name != "builtin"), incomplete)


def complete_recipe(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
    """Names of the plugin's recipes, and files."""
    from click.shell_completion import CompletionItem

    names = _beginning((found.entry.name for found in _entries("gan_recipes", ctx)), incomplete)
    return [*map(CompletionItem, names), CompletionItem(incomplete, type="file")]


def complete_architecture(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of the plugin's architectures."""
    return _beginning((found.entry.name for found in _entries("gan_architectures", ctx)), incomplete)


class RunPath(click.Path):
    """A run folder, or ``zoo:NAME`` for a trained model that comes with a plugin, as its folder."""

    name = "run"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The folder."""
        if not str(value).startswith("zoo:") or ctx is None:
            return super().convert(value, param, ctx)
        from gan.cli import installed
        from gan.plugins.models import found_run

        return found_run(value, installed(ctx))

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        """Run folders: those in ``runs`` and in the folder that is being typed, and models; else other folders."""
        from click.shell_completion import CompletionItem

        if incomplete.startswith("zoo:"):
            models = _entries("gan_models", ctx)
            return [CompletionItem(name) for name in _beginning((f"zoo:{m.entry.name}" for m in models), incomplete)]
        typed = Path(incomplete or "runs")
        parents = {Path("runs"), typed if incomplete.endswith("/") else typed.parent}
        runs = sorted(str(path.parent) for parent in parents for path in parent.glob("*/recipe.yaml"))
        names = _beginning(dict.fromkeys(runs), incomplete)
        return [CompletionItem(name) for name in names] or [CompletionItem(incomplete, type="dir")]


RUN = RunPath(path_type=Path)


def complete_setting(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Keys of ``--set``, with the equals sign: sections of a recipe, settings of the plugin's modality and models."""
    return _beginning((f"{key}=" for key in setting_keys(ctx, incomplete)), incomplete)


def setting_keys(ctx: click.Context, incomplete: str = "") -> Iterator[str]:
    """The keys of a recipe with dots, for the plugin and the architecture that the command line names, if it does.

    The source of a plugin is only read where its keys may begin as `incomplete` does.
    """
    classes = _classes("gan.recipe")
    for name, annotation in classes["Recipe"].items():
        section = annotation.removesuffix(" | None")
        if section in classes and section != "Named":
            yield from (f"{name}.{key}" for key in classes[section])
        elif not annotation.startswith("dict"):
            yield name
    wanted = ctx.params.get("architecture")
    for hook, section in (("gan_modalities", "modality"), ("gan_architectures", "model")):
        if not f"{section}.".startswith(incomplete.partition(".")[0]):
            continue
        keys = [
            key
            for found in _entries(hook, ctx)
            if hook == "gan_modalities" or wanted in (None, found.entry.name)
            for key in config_keys(found.entry.target)
        ]
        yield from dict.fromkeys(f"{section}.{key}" for key in keys)


def config_keys(target: str) -> list[str]:
    """The settings of a class ``"package.module:Class"``, from its member ``Config``."""
    module, _, name = target.partition(":")
    source = _parsed(module)
    if source is None:
        return []
    imported = {
        alias.asname or alias.name: (node.module, alias.name)
        for node in source.body
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
    for node in source.body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            for member in node.body:
                if isinstance(member, ast.ClassDef) and member.name == "Config":
                    return list(_annotations(member))
                if not isinstance(member, ast.Assign | ast.AnnAssign) or not isinstance(member.value, ast.Name):
                    continue
                targets = member.targets if isinstance(member, ast.Assign) else [member.target]
                if any(isinstance(target, ast.Name) and target.id == "Config" for target in targets):
                    where, config = imported.get(member.value.id, (module, member.value.id))
                    return list(_classes(where).get(config, {}))
    return []


def _classes(module: str) -> dict[str, dict[str, str]]:
    """Class -> annotated member -> its annotation, of a module's source."""
    source = _parsed(module)
    return {
        node.name: _annotations(node)
        for node in (source.body if source is not None else [])
        if isinstance(node, ast.ClassDef)
    }


def _annotations(node: ast.ClassDef) -> dict[str, str]:
    return {
        member.target.id: ast.unparse(member.annotation)
        for member in node.body
        if isinstance(member, ast.AnnAssign) and isinstance(member.target, ast.Name)
    }


def _parsed(module: str) -> ast.Module | None:
    from gan.plugins.outline import find_module

    with contextlib.suppress(ImportError, OSError, SyntaxError, ValueError):
        spec = find_module(module)
        if spec is not None and spec.origin and spec.origin.endswith(".py"):
            return ast.parse(Path(spec.origin).read_bytes())
    return None


def _plugins() -> Any:
    from gan.plugins.manager import Plugins

    return Plugins.installed()


def _entries(hook: str, ctx: click.Context) -> list[Any]:
    """The entries of the plugin that the command line names; of all plugins if it names none."""
    plugins = _plugins()
    name = ctx.params.get("plugin") or ctx.params.get("what")
    names = [name] if name else [info.name for info in plugins.infos() if info.name != "builtin"]
    known = {info.name for info in plugins.infos()}
    return [found for name in names if name in known for found in plugins.entries(hook, name)]


def _beginning(names: Any, incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
