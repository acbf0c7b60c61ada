"""What a user chose for a run, by name: options of its architecture, conditions of its data, options of its files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gan.errors import UsageError, nearest

if TYPE_CHECKING:
    from gan.generation.model import Model


def spelt(name: str) -> str:
    """The flag of a field: ``--cut-off`` for ``cut_off``."""
    return "--" + name.replace("_", "-")


@dataclass
class Flags:
    """The values of a run's flags, by what they belong to."""

    options: dict[str, Any] = field(default_factory=dict)
    """Settings of the architecture's `Options`."""
    conditions: dict[str, Any] = field(default_factory=dict)
    """Values of conditions."""
    input_options: dict[str, Any] = field(default_factory=dict)
    """Settings of the modality's `GivenOptions`."""
    output_options: Any = None
    """An instance of the modality's `Options`."""

    @property
    def sampling(self) -> dict[str, Any]:
        """What sampling takes: the options of the architecture and the conditions, by name."""
        return {"options": self.options, "conditions": self.conditions}


def split_flags(model: Model, given: Mapping[str, Any], others: Iterable[str] = ()) -> Flags:
    """Assign each flag to what it belongs to; ``--class`` is the one condition with classes. Raises `UsageError` for an
    unknown flag, with the nearest one, also among `others`: those of the command itself."""
    from gan.recipe import validated

    output_model = model.modality.Options
    option_models = (getattr(model.architecture, "Options", None), model.modality.GivenOptions, output_model)
    of_architecture, of_input, of_output = (() if one is None else one.model_fields for one in option_models)
    conditions = model.condition_fields()
    found, rest = Flags(), {}
    classes = [name for name, spec in conditions.items() if spec.names]
    if "class" in given and len(classes) == 1 and classes[0] not in given:
        given = {classes[0] if name == "class" else name: value for name, value in given.items()}
    for name, value in given.items():
        if name in conditions:
            found.conditions[name] = value
        elif name in of_architecture:
            found.options[name] = value
        elif name in of_input:
            found.input_options[name] = value
        elif name in of_output:
            rest[name] = value
        elif name in model.modality.conditions:
            model.read_conditions({name: value})  # raises: the run was trained without it
        else:
            whole = [model.modality.whole_input] if model.modality.whole_input else []
            names = [*whole, *conditions, *of_architecture, *of_input, *of_output]
            close = nearest(name, [*names, *others])
            known = ", ".join(map(spelt, names)) or "none"
            hint = f"did you mean {spelt(close)}?" if close else f"its options: {known}"
            raise UsageError(f"{model.name} has no option {spelt(name)}; {hint}")
    found.output_options = validated(output_model, rest, "") if output_model is not None else None
    return found
