"""Checks of entries: names that exist, targets of the right type, settings with descriptions."""

from __future__ import annotations

from typing import Any

from gan.conformance.kit import Failed, Kit, Skipped
from gan.contracts import ENTRY_TYPES, Modality, kind
from gan.errors import UnknownName

NO_CONFIG = "it has no Config: a pydantic model of its settings, which may have no fields"


def check_entries(kit: Kit) -> None:
    """Check every entry of the plugin."""
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
        if not hasattr(target, "Config"):
            raise Failed(NO_CONFIG)
        missing = [name for name in ("players", "phases", "generate") if not hasattr(target, name)]
        if missing:
            raise Failed(f"its target has no {', '.join(missing)}")


def _check_settings(target: Any) -> None:
    from pydantic import BaseModel

    for title in ("Config", "Options"):
        model = getattr(target, title, None)
        if model is None:
            if title == "Config":
                raise Failed(NO_CONFIG)
            continue
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            raise Failed(f"{title} is not a pydantic model")
        if model.model_config.get("extra") != "forbid":
            raise Failed(f'{title} ignores unknown keys; set model_config = ConfigDict(extra="forbid")')
        for name, setting in model.model_fields.items():
            if not (setting.description or "").strip():
                raise Failed(f"{title}.{name} has no description (its meaning and unit)")
            if title == "Options" and setting.is_required():
                raise Failed(f"{title}.{name} has no default; every option must have one")
        model.model_json_schema()


def _check_names(kit: Kit) -> None:
    for plugin_entry in kit.offered("gan_modalities"):
        name, dataset = plugin_entry.entry.name, plugin_entry.entry.dataset
        found = _known(kit, "gan_datasets", dataset, f"modality '{name}'").entry
        if found.modality != name:
            raise Failed(f"the default dataset '{dataset}' of modality '{name}' holds {found.modality} data")
        if found.download not in ("", "none"):
            raise Failed(f"the default dataset '{dataset}' of '{name}' needs a download")
    for hook in (
        "gan_architectures",
        "gan_augmentations",
        "gan_metrics",
        "gan_extractors",
        "gan_attributes",
        "gan_datasets",
    ):
        for plugin_entry in kit.offered(hook):
            if plugin_entry.entry.modality is not None:
                _known(kit, "gan_modalities", plugin_entry.entry.modality, f"{kind(hook)} '{plugin_entry.entry.name}'")
    recipes = kit.offered("gan_recipes")
    defaults = [plugin_entry.entry.name for plugin_entry in recipes if plugin_entry.entry.default]
    if recipes and len(defaults) != 1:
        raise Failed(f"exactly one recipe must be the default, not {len(defaults)} ({', '.join(defaults) or 'none'})")
    if kit.offered("gan_architectures") and not recipes:
        raise Failed(f"it has architectures and no recipe, so `gan run --plugin {kit.plugin}` cannot work")


def _known(kit: Kit, hook: str, name: str, who: str) -> Any:
    try:
        return kit.plugins.find(hook, name, prefer=kit.plugin)
    except UnknownName as error:
        raise Failed(f"{who} names an entry that nobody offers: {error}") from None


def _check_recipe(kit: Kit, plugin_entry: Any) -> None:
    from gan.build import recipe_values, resolve

    if plugin_entry.info.name != kit.plugin:
        raise Skipped("it belongs to another plugin")
    values = recipe_values(kit.plugins, kit.plugin, None, plugin_entry.entry.name)
    if values.get("plugin") != kit.plugin:
        raise Failed(f"it says plugin: {values.get('plugin')}")
    if values.get("architecture") != plugin_entry.entry.architecture:
        raise Failed(f"it says architecture: {values.get('architecture')}, its entry {plugin_entry.entry.architecture}")
    resolve(values, kit.plugins)
