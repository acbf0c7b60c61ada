"""Recipes: everything that defines a training run, as YAML, typed.

A recipe is read, changed by ``--set``, validated, and completed by `gan.build` until every setting stands in
it; that complete form is what a run folder keeps, and ``gan run --recipe RUN/recipe.yaml`` does it again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from gan.errors import UsageError, nearest

MAX_RECIPE_BYTES = 1 << 20


class Section(BaseModel):
    """A typed section; a key that it does not know is refused with the nearest one that it does."""

    model_config = ConfigDict(extra="forbid", validate_default=True, allow_inf_nan=False)


class Named(BaseModel):
    """A registered thing and its settings, which its own constructor checks."""

    model_config = ConfigDict(extra="allow")

    name: str = Field(description="Name of a registered entry.")

    @property
    def settings(self) -> dict[str, Any]:
        """All keys but the name."""
        return dict(self.model_extra or {})


class Data(Section):
    """Where the real samples come from."""

    source: str | None = Field(
        None, description="Folder, file or zip archive, or the name of a data set; none: the modality's default."
    )
    holdout: float = Field(0.0, ge=0, lt=1, description="Share of the files that is kept from training for evaluation.")
    balance: bool = Field(
        False,
        description="Show every folder or archive directly inside the source equally often, by repeating the samples "
        "of the smaller ones; for collections of different sizes.",
    )


class Training(Section):
    """How long, how many at once, on what."""

    samples: int = Field(100_000, gt=0, description="Length in real samples shown, of the phases that state none.")
    minutes: float | None = Field(
        None, gt=0, description="Stop after so many minutes even when `samples` are not reached; none: never."
    )
    batch: int = Field(64, gt=0, description="Real samples in one update, over all processes.")
    micro_batch: int | None = Field(
        None,
        gt=0,
        description="Samples that go through the networks at once on each process, a divisor of its share of `batch`; "
        "less memory, the gradient of the whole batch. None: all of them, halved when memory runs out.",
    )
    ema_half_life: int = Field(
        0, ge=0, description="Half-life of the averaged weights, in real samples shown; 0: no averaging."
    )
    ema_rampup: float = Field(
        0.05, ge=0, le=1, description="The half-life is at most this share of the samples shown so far; 0: no ramp-up."
    )
    tick: int | None = Field(
        None, gt=0, description="Real samples between two records in metrics.jsonl; none: a fiftieth of the run."
    )
    preview_ticks: int = Field(10, ge=0, description="Ticks between two previews; 0: none but the last.")
    checkpoint_ticks: int = Field(5, gt=0, description="Ticks between two checkpoints.")
    keep_checkpoints: int = Field(3, gt=0, description="How many checkpoints stay on the disk.")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, mps …")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="Of the networks' arithmetic; auto: bf16 on a GPU that has it, else fp32."
    )
    channels_last: bool = Field(False, description="Store image-like tensors with the channel axis last.")
    compile: bool = Field(False, description="Compile the players' networks; pays back after some hundred steps.")
    max_skips: int = Field(
        20, ge=0, description="Updates in a row that may be skipped for a gradient that is not finite."
    )


class Evaluation(Section):
    """What a training measures, and what it ends with."""

    metrics: list[str] | None = Field(
        None, description="Metrics, NAME or NAME[EXTRACTOR], for example fid[raw]; none: the modality's."
    )
    samples: int = Field(256, gt=0, description="Generated samples that the metrics look at.")
    real_samples: int | None = Field(
        None, ge=0, description="Real samples that they look at; none: as many as generated ones; 0: all."
    )
    every: int | None = Field(
        None, gt=0, description="Real samples shown between two measurements; none: only before and after training."
    )
    best: str | None = Field(
        None, description="Value whose best checkpoint is kept in the folder `best`, for example FID[raw]."
    )
    patience: int | None = Field(
        None, gt=0, description="Measurements without a better `best` after which training ends; none: never."
    )
    published: dict[str, float] = Field(
        default_factory=dict, description="Values that others report for this method and these data, by name."
    )
    published_source: str = Field("", description="Where the published values stand.")
    artefacts: int = Field(8, ge=0, description="Samples written as files at the end.")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.best is not None and self.every is None:
            raise ValueError("best needs every: how often it is measured")
        if self.patience is not None and self.best is None:
            raise ValueError("patience needs best: the value that has to get better")
        if self.published and not self.published_source:
            raise ValueError("published needs published_source: where the values stand")
        return self


class PhaseLength(Section):
    """Length and batch of one phase; what is not said stays as the architecture says."""

    samples: int | None = Field(None, gt=0, description="Real samples shown.")
    batch: int | None = Field(None, gt=0, description="Real samples in one update; none: `training.batch`.")


class Recipe(Section):
    """A training run."""

    format: Literal[1] = Field(1, description="Version of this form.")
    plugin: str = Field(description="The plugin that offers the architecture.")
    architecture: str = Field(description="The method.")
    modality: dict[str, Any] = Field(default_factory=dict, description="Settings of the kind of data.")
    data: Data = Field(default_factory=Data, description="The real samples.")
    model: dict[str, Any] = Field(default_factory=dict, description="Settings of the architecture.")
    loss: Named = Field(default_factory=lambda: Named(name="non-saturating"), description="The adversarial objective.")
    penalties: list[Named] = Field(default_factory=list, description="Regularisers with their weights.")
    optimizers: dict[str, dict[str, Any]] = Field(default_factory=dict, description="Settings by player.")
    phases: dict[str, PhaseLength] = Field(default_factory=dict, description="Lengths by phase.")
    training: Training = Field(default_factory=Training, description="How long, how many at once, on what.")
    evaluation: Evaluation = Field(default_factory=Evaluation, description="What the training ends with.")
    seed: int = Field(0, ge=0, lt=1 << 63, description="Everything random follows from it.")

    @field_validator("loss", mode="before")
    @classmethod
    def _loss_by_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @field_validator("penalties", mode="before")
    @classmethod
    def _penalties_by_name(cls, value: Any) -> Any:
        if isinstance(value, list):
            return [{"name": item} if isinstance(item, str) else item for item in value]
        return value


M = TypeVar("M", bound=BaseModel)


def validated(model: type[M], values: Mapping[str, Any], where: str) -> M:
    """An instance of `model`, or a `UsageError` that names every wrong key, its reason and the nearest known key."""
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        raise UsageError("\n".join(_complaints(model, error, where))) from None


def _complaints(model: type[BaseModel], error: ValidationError, where: str) -> list[str]:
    lines = []
    for problem in error.errors(include_url=False):
        path = ".".join([*([where] if where else []), *map(str, problem["loc"])])
        if problem["type"] == "extra_forbidden":
            known = _keys_at(model, problem["loc"][:-1])
            close = nearest(str(problem["loc"][-1]), known)
            hint = f"did you mean '{close}'?" if close else f"known: {', '.join(sorted(known))}"
            lines.append(f"unknown key '{path}'; {hint}")
        else:
            shown = repr(problem["input"]) if not isinstance(problem["input"], dict) else "this"
            message = problem["msg"][0].lower() + problem["msg"][1:]
            missing = problem["type"] == "missing"
            lines.append(f"'{path}' is missing" if missing else f"'{path}' cannot be {shown[:80]}: {message}")
    return lines[:3] + ([f"and {len(lines) - 3} more"] if len(lines) > 3 else [])


def _keys_at(model: type[BaseModel], path: Sequence[int | str]) -> list[str]:
    here: Any = model
    for key in path:
        if isinstance(key, int) or key not in getattr(here, "model_fields", {}):
            continue
        annotation = here.model_fields[key].annotation
        inner = [annotation, *getattr(annotation, "__args__", ())]
        here = next((a for a in inner if isinstance(a, type) and issubclass(a, BaseModel)), here)
    return list(here.model_fields)


class _Loader(yaml.SafeLoader):
    """Plain values only; a key that stands twice is refused, and so are anchors and aliases."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(problem="aliases are not allowed")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.MarkedYAMLError(problem=f"the key '{key}' stands twice", problem_mark=key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def parse_yaml(text: str, where: str) -> Any:
    """Plain values of a YAML text. Raises `UsageError` with the place."""
    if len(text) > MAX_RECIPE_BYTES:
        raise UsageError(f"{where}: larger than {MAX_RECIPE_BYTES:,} bytes")
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506  (a SafeLoader)
    except (yaml.YAMLError, RecursionError, TypeError) as error:
        place = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error)
        line = f" line {place.line + 1}" if place is not None else ""
        raise UsageError(f"{where}{line}: {problem}") from None


def read_values(path: Path) -> dict[str, Any]:
    """The mapping in a recipe file, not yet typed."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UsageError(f"no recipe file {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: {error}") from None
    values = parse_yaml(text, str(path))
    if not isinstance(values, dict):
        raise UsageError(f"{path}: a recipe is a mapping of keys to values")
    return values


def with_settings(values: Mapping[str, Any], settings: Iterable[str]) -> dict[str, Any]:
    """`values` changed by ``key.sub=value`` texts; a value is read as YAML, list items are named by their index."""
    import copy

    changed = copy.deepcopy(dict(values))
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"--set {setting}: write KEY=VALUE, for example --set training.batch=32")
        _assign(changed, key.strip().split("."), parse_yaml(text, f"--set {setting}"), setting)
    return changed


def _assign(values: dict[str, Any], path: list[str], value: Any, setting: str) -> None:
    here: Any = values
    for depth, key in enumerate(path):
        last = depth == len(path) - 1
        if isinstance(here, list):
            if not key.isdigit() or int(key) >= len(here):
                raise UsageError(f"--set {setting}: '{key}' is no index of the {len(here)} items")
            if last:
                here[int(key)] = value
            here = here[int(key)]
        elif isinstance(here, dict):
            if last:
                here[key] = value
            elif not isinstance(here.get(key), (dict, list)):
                here[key] = {"name": here[key]} if isinstance(here.get(key), str) else {}
            here = here[key]
        else:
            raise UsageError(f"--set {setting}: '{'.'.join(path[:depth])}' has no keys")


def dump(recipe: Recipe) -> str:
    """The recipe as YAML, every setting written out."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=100)
