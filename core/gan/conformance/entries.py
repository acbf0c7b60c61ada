"""Checks of entries: names that lead somewhere, targets of the promised kind, settings that are described."""

from __future__ import annotations

from typing import Any

from gan.conformance.kit import Failed, Kit, Skipped
from gan.contracts import ENTRY_TYPES, Modality, kind
from gan.errors import UnknownName


def check_entries(kit: Kit) -> None:
    """All entries of the plugin."""
    for hook in ENTRY_TYPES:
        for plugin_entry in kit.offered(hook):
            subject = f"{kind(hook)} {plugin_entry.entry.name}"
            with kit.check("entry", subject):
                for text in ("summary", "paper", "licence"):
                    if getattr(plugin_entry.entry, text, "x").strip() == "":
                        raise Failed(f"its {text} is empty")
                if hook == "gan_recipes":
                    kit.plugins.resource(plugin_entry)
                else:
                    _check_kind(hook, kit.plugins.load(plugin_entry))
            if hook in ("gan_modalities", "gan_architectures"):
                with kit.check("settings", subject):
                    _check_settings(kit.plugins.load(plugin_entry))
    with kit.check("names", f"plugin {kit.plugin}"):
        _check_names(kit)
    for plugin_entry in kit.offered("gan_recipes"):
        with kit.check("recipe", f"recipe {plugin_entry.entry.name}"):
            _check_recipe(kit, plugin_entry)


def _check_kind(hook: str, target: Any) -> None:
    if not callable(target):
        raise Failed(f"its target is a {type(target).__name__}, which cannot be called")
    if hook == "gan_modalities" and not (isinstance(target, type) and issubclass(target, Modality)):
        raise Failed("its target is no subclass of gan.contracts.Modality")
    if hook == "gan_architectures":
        missing = [name for name in ("Config", "players", "phases", "generate") if not hasattr(target, name)]
        if missing:
            raise Failed(f"its target has no {', '.join(missing)}")


def _check_settings(target: Any) -> None:
    from pydantic import BaseModel

    for title in ("Config", "Options"):
        model = getattr(target, title, None)
        if model is None:
            if title == "Config":
                raise Failed("it has no Config: a pydantic model of its settings, which may be empty")
            continue
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            raise Failed(f"{title} is no pydantic model")
        if model.model_config.get("extra") != "forbid":
            raise Failed(f'{title} takes unknown keys in silence: model_config = ConfigDict(extra="forbid")')
        for name, setting in model.model_fields.items():
            if not (setting.description or "").strip():
                raise Failed(f"{title}.{name} has no description (what it means, in which unit)")
            if title == "Options" and setting.is_required():
                raise Failed(f"{title}.{name} has no default; options may be left out")
        model.model_json_schema()


def _check_names(kit: Kit) -> None:
    for plugin_entry in kit.offered("gan_modalities"):
        found = _known(kit, "gan_datasets", plugin_entry.entry.dataset, f"modality '{plugin_entry.entry.name}'")
        if found.entry.modality != plugin_entry.entry.name:
            raise Failed(
                f"modality '{plugin_entry.entry.name}' trains on '{plugin_entry.entry.dataset}', "
                f"{found.entry.modality} data"
            )
        if found.entry.download not in ("", "none"):
            raise Failed(
                f"the default data '{plugin_entry.entry.dataset}' of '{plugin_entry.entry.name}' needs a download"
            )
    for hook in ("gan_architectures", "gan_metrics", "gan_extractors", "gan_datasets"):
        for plugin_entry in kit.offered(hook):
            if plugin_entry.entry.modality is not None:
                _known(kit, "gan_modalities", plugin_entry.entry.modality, f"{kind(hook)} '{plugin_entry.entry.name}'")
    recipes = kit.offered("gan_recipes")
    defaults = [plugin_entry.entry.name for plugin_entry in recipes if plugin_entry.entry.default]
    if recipes and len(defaults) != 1:
        raise Failed(f"exactly one recipe is the default one, not {len(defaults)} ({', '.join(defaults) or 'none'})")
    if kit.offered("gan_architectures") and not recipes:
        raise Failed(f"it has architectures and no recipe, so `gan run --plugin {kit.plugin}` cannot work")


def _known(kit: Kit, hook: str, name: str, who: str) -> Any:
    try:
        return kit.plugins.find(hook, name, prefer=kit.plugin)
    except UnknownName as error:
        raise Failed(f"{who} names what nobody offers: {error}") from None


def _check_recipe(kit: Kit, plugin_entry: Any) -> None:
    from gan.build import recipe_values, resolve

    if plugin_entry.info.name != kit.plugin:
        raise Skipped("of another plugin")
    values = recipe_values(kit.plugins, kit.plugin, None, plugin_entry.entry.name)
    if values.get("plugin") != kit.plugin:
        raise Failed(f"it says plugin: {values.get('plugin')}")
    if values.get("architecture") != plugin_entry.entry.architecture:
        raise Failed(f"it says architecture: {values.get('architecture')}, its entry {plugin_entry.entry.architecture}")
    resolve(values, kit.plugins)
