"""Lists the settings of a pydantic model (`Config`, `Options`): names, types, defaults and descriptions, for help."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined


@dataclass(frozen=True)
class Setting:
    """One key of a section."""

    name: str
    """With dots for a section inside a section."""
    type: str
    default: str
    """As a Python literal; empty when the setting is required."""
    description: str


def settings(model: type[BaseModel] | None, prefix: str = "") -> list[Setting]:
    """The settings of `model` in the order of its fields; none for None."""
    found: list[Setting] = []
    for name, field in (model.model_fields if model is not None else {}).items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found += settings(field.annotation, f"{prefix}{name}.")
            continue
        default = field.get_default(call_default_factory=True, validated_data={})
        text = "" if default is PydanticUndefined else repr(default)
        description = " ".join((field.description or "").split())
        found.append(Setting(prefix + name, _type(field.annotation), text, description))
    return found


def _type(annotation: Any) -> str:
    return annotation.__name__ if type(annotation) is type else str(annotation).replace("typing.", "")
