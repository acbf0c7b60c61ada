"""README, docs and the plugins' pages use only commands, flags, settings and names that exist."""

from __future__ import annotations

import itertools
import re
from functools import cache

import click
import pytest
from doc_names import PAGES, ROOT, commands, dotted_names, resolve
from gan.cli import group
from gan.plugins.manager import Plugins
from gan.recipe import Recipe

TEXTS = {page: (ROOT / page).read_text(encoding="utf-8") for page in PAGES}
INVENTED = {"sketch", "somebody"}
"""Names of plugins that the pages only imagine."""


@cache
def targets(hook: str) -> tuple:
    plugins = Plugins.installed()
    return tuple(plugins.load(entry) for entry in plugins.entries(hook))


@cache
def names(hook: str) -> frozenset[str]:
    return frozenset(entry.entry.name for entry in Plugins.installed().entries(hook))


def fields(*models) -> set[str]:
    return {name for model in models if model is not None for name in model.model_fields}


@cache
def options_of_runs() -> frozenset[str]:
    """Flags of `gan generate` and `gan translate` that a run's architecture and kind of data add."""
    found = fields(*(getattr(target, "Options", None) for target in targets("gan_architectures")))
    for modality in targets("gan_modalities"):
        found |= fields(modality.Options, modality.GivenOptions) | set(modality.conditions) | {modality.whole_input}
    found |= {"class", "code_1", "code_2"}  # the condition that has classes, and InfoGAN's codes
    return frozenset("--" + name.replace("_", "-") for name in found if name)


@cache
def of_plugin(hook: str, plugin: str) -> dict:
    """Name -> entry, of one plugin."""
    return {found.entry.name: found for found in Plugins.installed().entries(hook, plugin)}


def check_setting(text: str, plugin: str = "", architecture: str = "") -> None:
    """`text` is ``KEY=VALUE`` of ``--set``, for the plugin and the architecture that the command names."""
    section, _, key = text.partition("=")[0].partition(".")
    assert section in Recipe.model_fields, text
    key = key.partition(".")[0]
    if section in ("model", "modality"):
        hook = {"model": "gan_architectures", "modality": "gan_modalities"}[section]
        known = targets(hook)
        if plugin:
            entries = of_plugin(hook, plugin)
            chosen = [entries[architecture]] if section == "model" and architecture else entries.values()
            known = tuple(Plugins.installed().load(found) for found in chosen)
        assert key in fields(*(target.Config for target in known)), text
    elif section in ("training", "data", "evaluation"):
        assert key in fields(Recipe.model_fields[section].annotation), text


def check_command(arguments: list[str]) -> None:
    command: click.Command = group
    context = click.Context(group)
    rest = list(arguments)
    while rest and isinstance(command, click.Group) and not rest[0].startswith("-"):
        found = command.get_command(context, rest[0])
        assert found is not None, f"no command {rest[0]!r} in {command.name}"
        command = found
        rest.pop(0)
    plugin, architecture = named(command, rest)
    flags = {flag: parameter for parameter in command.params for flag in parameter.opts + parameter.secondary_opts}
    from_runs = options_of_runs() if command.name in ("generate", "translate") else frozenset()
    for place, word in enumerate(rest):
        flag = word.partition("=")[0]
        value = rest[place + 1] if place + 1 < len(rest) else ""
        if not flag.startswith("--") or flag == "--help":
            continue
        assert flag in flags or flag in from_runs, f"{command.name} has no {flag}"
        if flag == "--set" and "=" in value:
            check_setting(value, plugin, architecture)
        hook = {"--recipe": "gan_recipes", "--architecture": "gan_architectures"}.get(flag)
        if hook and "/" not in value and value.islower():
            known = of_plugin(hook, plugin) if plugin else names(hook)
            anyones = {
                e.entry.name for e in Plugins.installed().entries(hook) if getattr(e.entry, "modality", 0) is None
            }
            assert value in known or value in anyones, f"no {hook} named {value}"
        if flag == "--plugin" and value.islower() and value not in INVENTED:
            assert value in {info.name for info in Plugins.installed().infos()}, f"no plugin {value}"


def named(command: click.Command, words: list[str]) -> tuple[str, str]:
    """The plugin and the architecture that a ``gan run`` trains; empty where the command does not say."""
    if command.name != "run":
        return "", ""
    given = dict(itertools.pairwise(words))
    first = words[0] if words and not words[0].startswith("-") else ""
    is_name = first and first.islower() and not set("./") & set(first)
    assert not is_name or first in known_plugins() | INVENTED, f"no plugin {first}"
    plugin = given.get("--plugin", first)
    if plugin in INVENTED or not plugin.islower() or "." in plugin or plugin not in known_plugins():
        return "", ""
    recipe = of_plugin("gan_recipes", plugin).get(given.get("--recipe", ""))
    return plugin, given.get("--architecture") or (recipe.entry.architecture if recipe else "")


@cache
def known_plugins() -> frozenset[str]:
    return frozenset(info.name for info in Plugins.installed().infos())


@pytest.mark.parametrize("page", PAGES)
def test_commands_exist(page):
    for arguments in commands(TEXTS[page]):
        try:
            check_command(arguments)
        except AssertionError as error:
            raise AssertionError(f"gan {' '.join(arguments)}: {error}") from None


def test_the_commands_are_found():
    found = [
        arguments[0] for page in ("README.md", "plugins/gan-text/README.md") for arguments in commands(TEXTS[page])
    ]
    assert {"run", "resume", "generate", "translate", "evaluate", "compare", "data", "plugins", "page"} <= set(found)
    assert len(found) > 30


@pytest.mark.parametrize(
    "command",
    [
        "run image --recipe frames", "run --plugin music --architecture dcgan", "run imag --nonsense",
        "run --plugin image --recipe dcgan-digits --set model.bars=3", "run text --set modality.resolution=32",
        "data check x --plugin y", "run --nonsense", "evaluat x", "plugins shaw", "run --set training.sample=3",
    ],
)  # fmt: skip
def test_what_does_not_exist_is_noticed(command):
    with pytest.raises(AssertionError):
        check_command(command.split())


@pytest.mark.parametrize("page", PAGES)
def test_names_exist(page):
    for name in sorted(dotted_names(TEXTS[page])):
        assert resolve(name) is not None


@pytest.mark.parametrize("page", [*PAGES, "CHANGELOG.md"])
def test_links_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if "://" not in target:
            assert ((ROOT / page).parent / target).exists(), target
