"""Recipes: the typed configuration of a training run (data, model, loss, optimizers, evaluation), stored as YAML.

A recipe is read, changed by ``--set``, validated, and completed by `gan.build` until it states every setting. The run
folder keeps this complete form, and ``gan run --recipe RUN/recipe.yaml`` repeats the run. All sections are in this one
file, which is long for that: together they are the format of a recipe.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from gan.errors import UsageError, nearest
from gan.storage.regular import Broken, read_named
from gan.storage.strict_yaml import dump_yaml, load_yaml

MAX_RECIPE_BYTES = 1 << 20
MAX_SHOWN = 10**15
"""Largest length or interval in real samples shown."""
MAX_BATCH = 1 << 24
MAX_COUNT = 10**7
MAX_INTEGER = (1 << 31) - 1
"""Largest integer of a setting that states no bound of its own."""
SMALLEST, LARGEST = 1e-30, 1e30
"""Smallest and largest size of a number other than 0: with smaller and larger ones float32 becomes 0 or infinite."""


class Section(BaseModel):
    """A typed section. Unknown keys are refused with the nearest known key."""

    model_config = ConfigDict(extra="forbid", validate_default=True, allow_inf_nan=False)


class Named(BaseModel):
    """A registered entry and its settings, which its own constructor checks."""

    model_config = ConfigDict(extra="allow")

    name: str = Field(description="Name of a registered entry.")

    @property
    def settings(self) -> dict[str, Any]:
        """All keys but the name."""
        return dict(self.model_extra or {})


@dataclass(frozen=True)
class Schedule:
    """A number that changes during a phase: `first` up to `after` real samples, then on to `last`, reached at `until`.

    In a recipe: ``{first: 2.0, last: 0.2, until: 200000, shape: cosine}`` in place of a number.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)

    first: float
    """Value at the beginning of the phase."""
    last: float
    """Value after `until` samples."""
    until: Annotated[int, Field(gt=0, le=MAX_SHOWN)]
    """Real samples shown in the phase after which `last` is reached."""
    shape: Literal["linear", "cosine"] = "linear"
    """linear: equal steps; cosine: half a period of a cosine, slow at both ends."""
    after: Annotated[int, Field(ge=0, le=MAX_SHOWN)] = 0
    """Real samples shown in the phase before the value begins to change; fewer than `until`."""

    def __post_init__(self) -> None:
        if self.after >= self.until:
            raise ValueError("'after' must be smaller than 'until'")

    def at(self, samples: int) -> float:
        """The value after `samples` real samples of the phase."""
        done = min(max(samples - self.after, 0) / (self.until - self.after), 1.0)
        if self.shape == "cosine":
            done = 0.5 * (1.0 - math.cos(math.pi * done))
        return self.first + (self.last - self.first) * done


_BY_SCHEDULE = Discriminator(lambda value: "schedule" if isinstance(value, (Mapping, Schedule)) else "number")
Number = Annotated[Annotated[float, Tag("number")] | Annotated[Schedule, Tag("schedule")], _BY_SCHEDULE]
"""A number, or a `Schedule` of one."""
_Samples = Annotated[
    Annotated[int, Field(ge=0, le=MAX_SHOWN), Tag("number")] | Annotated[Schedule, Tag("schedule")], _BY_SCHEDULE
]


def ends(value: float | Schedule) -> tuple[float, ...]:
    """The number itself, or the first and the last value of a schedule."""
    return (value.first, value.last) if isinstance(value, Schedule) else (value,)


def number_at(value: float | Schedule, samples: int) -> float:
    """`value`, or that of a schedule after `samples` real samples of a phase."""
    return value.at(samples) if isinstance(value, Schedule) else value


def scheduled(value: Any, where: str) -> Any:
    """`value`, or the `Schedule` that a mapping with ``first`` and ``last`` stands for. Raises `UsageError`."""
    if not isinstance(value, Mapping) or not {"first", "last"} & value.keys():
        return value
    try:
        return TypeAdapter(Schedule).validate_python(dict(value))
    except ValidationError as error:
        raise UsageError("\n".join(_complaints(Section, error, where))) from None


class Data(Section):
    """Where the real samples come from."""

    source: str | None = Field(
        None,
        min_length=1,
        max_length=4096,
        description="Folder, file or zip archive, or the name of a dataset; none: the modality's default.",
    )
    holdout: float = Field(0.0, ge=0, lt=1, description="Share of the files held out from training for evaluation.")
    balance: bool = Field(
        False,
        description="Show every folder or archive directly inside the source equally often, by repeating the samples "
        "of the smaller ones; for collections of different sizes.",
    )
    licence: str = Field(
        "", max_length=10_000, description="Licence of the data, for the model card; empty: that of the named dataset."
    )
    consent: str = Field(
        "",
        max_length=10_000,
        description="Who agreed to what, where the data show people or carry their voices; it is recorded.",
    )


class Provenance(Section):
    """What the files that a run writes say about where they come from."""

    metadata: bool = Field(
        True,
        description="Say in every file, or beside it, that it was generated, by what, and with which seed. The signed "
        "manifest of their folder says it in any case, and that this was switched off.",
    )
    mark: bool | str = Field(
        False,
        description="Mark the files invisibly with the user's key: false, true (the mark of the modality's plugin), or "
        "the name of a mark.",
    )
    strength: float | None = Field(None, gt=0, le=1e3, description="Strength of the mark; none: the mark's own.")
    date: bool = Field(False, description="Add the date (UTC); files then differ from those of another day.")
    c2pa: bool = Field(
        False, description="Add a C2PA manifest to files of a format that it knows; needs gan-core[provenance]."
    )


class Card(Section):
    """What the model card says and nobody can compute."""

    intended_use: str = Field("", max_length=10_000, description="What the model is meant for.")
    limits: str = Field("", max_length=10_000, description="What it must not be used for, and what it cannot do.")


class Training(Section):
    """Length, batch size, averaging, records and device of the training."""

    samples: int = Field(
        100_000, gt=0, le=MAX_SHOWN, description="Real samples shown in phases that state no length of their own."
    )
    minutes: float | None = Field(
        None, gt=0, le=1e7, description="Stop after this many minutes even if `samples` is not reached; none: never."
    )
    batch: int = Field(64, gt=0, le=MAX_BATCH, description="Real samples in one update, over all processes.")
    micro_batch: int | None = Field(
        None,
        gt=0,
        le=MAX_BATCH,
        description="Samples in one forward pass on each process, a divisor of its share of `batch`: "
        "needs less memory, the same gradient. None: all of them, halved when memory runs out.",
    )
    ema_half_life: _Samples = Field(
        0, description="Half-life of the averaged weights, in real samples shown, or a schedule; 0: no averaging."
    )
    ema_rampup: float = Field(
        0.05, ge=0, le=1, description="The half-life is at most this share of the samples shown so far; 0: no ramp-up."
    )
    tick: int | None = Field(
        None,
        gt=0,
        le=MAX_SHOWN,
        description="Real samples between two records in metrics.jsonl; none: a fiftieth of the run.",
    )
    preview_ticks: int = Field(10, ge=0, le=MAX_COUNT, description="Ticks between two previews; 0: only the last one.")
    checkpoint_ticks: int = Field(5, gt=0, le=MAX_COUNT, description="Ticks between two checkpoints.")
    keep_checkpoints: int = Field(3, gt=0, le=MAX_COUNT, description="Number of checkpoints to keep.")
    device: str = Field("auto", min_length=1, max_length=100, description="auto, cpu, cuda, cuda:1, mps …")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="Of the networks' arithmetic; auto: bf16 on a GPU that supports it, else fp32."
    )
    channels_last: bool | None = Field(
        None, description="Store image-like tensors with the channel axis last; none: on CUDA devices."
    )
    draws: Literal["auto", "generators", "counters"] = Field(
        "auto",
        description="Random numbers by generators of PyTorch, or by counters, which give the same on every device; "
        "auto: counters except on the CPU.",
    )
    compile: bool = Field(False, description="Compile the players' networks; worthwhile from some hundred steps on.")
    watch: Literal["off", "warn", "act"] = Field(
        "warn",
        description="Watch for collapse, vanishing gradients and divergence; warn: say what is wrong and what to try; "
        "act: try remedies one after another (docs/watching.md).",
    )
    watch_features: str = Field(
        "raw", min_length=1, max_length=4096, description="Extractor of the features that `watch` compares samples by."
    )
    max_skips: int = Field(
        20, ge=0, le=MAX_COUNT, description="Consecutive updates that may be skipped because a gradient is not finite."
    )

    @field_validator("watch", mode="before")
    @classmethod
    def _off_is_a_word(cls, value: Any) -> Any:
        return "off" if value is False else value  # as YAML 1.1 reads it


class Evaluation(Section):
    """What is measured during and after training, and which artefacts are written."""

    metrics: list[str] | None = Field(
        None, description="Metrics, NAME or NAME[EXTRACTOR], for example fid[raw]; none: the modality's."
    )
    samples: int = Field(256, gt=0, le=MAX_COUNT, description="Generated samples used by the metrics.")
    real_samples: int | None = Field(
        None,
        ge=0,
        le=MAX_COUNT,
        description="Real samples used by the metrics; none: as many as generated ones; 0: all.",
    )
    every: int | None = Field(
        None,
        gt=0,
        le=MAX_SHOWN,
        description="Real samples shown between two measurements; none: only before and after training.",
    )
    best: str | None = Field(
        None, description="Metric value whose best checkpoint is kept in the folder `best`, for example FID[raw]."
    )
    patience: int | None = Field(
        None,
        gt=0,
        le=MAX_COUNT,
        description="Measurements without an improvement of `best` after which training ends; none: never.",
    )
    published: dict[str, float] = Field(
        default_factory=dict, description="Published values for this method and dataset, by name."
    )
    published_source: str = Field("", description="Where the published values are reported.")
    artefacts: int = Field(8, ge=0, le=100_000, description="Samples written as files at the end.")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.best is not None and self.every is None:
            raise ValueError("best needs every: how often it is measured")
        if self.patience is not None and self.best is None:
            raise ValueError("patience needs best: the value that has to improve")
        if self.published and not self.published_source:
            raise ValueError("published needs published_source: where the values are reported")
        return self


class Codes(Section):
    """InfoGAN's codes: parts of the latent vector that the discriminator can read from a sample (`gan.parts.codes`)."""

    categorical: list[Annotated[int, Field(ge=2, le=4096)]] = Field(
        [], max_length=64, description="Numbers of classes, one for each code of classes; classes are equally frequent."
    )
    continuous: int = Field(0, ge=0, le=1024, description="Number of codes that are numbers, from U(-1, 1).")
    weight: Number = Field(
        1.0,
        description="Weight of the mutual information in both players' losses, or its schedule: with an invariance the "
        "reader finds better classes before the generator holds on to some.",
    )
    invariance: float = Field(
        0.0,
        ge=0,
        le=1e9,
        description="Weight with which a real sample and its augmented copy are to be read as the same classes.",
    )
    augmentation: Named | None = Field(
        None, description="The changes that leave the class of a sample as it is; with an invariance."
    )

    @field_validator("augmentation", mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if not self.categorical and not self.continuous:
            raise ValueError("codes need categorical (for example [10]) or continuous (for example 2)")
        if not all(0 <= value <= 1e9 for value in ends(self.weight)):
            raise ValueError("the weight of codes must be within 0 … 1e9")
        if self.invariance and (self.augmentation is None or not self.categorical):
            raise ValueError("an invariance of codes needs categorical and an augmentation (for example affine)")
        return self


class Start(Section):
    """The weights of another run from which a training starts (``gan run --from RUN``)."""

    run: str = Field(min_length=1, max_length=4096, description="The run folder.")
    checkpoint: Literal["newest", "best"] | Annotated[int, Field(ge=0, le=MAX_SHOWN)] = Field(
        "newest", description="Its checkpoint: newest, best, or a number of samples shown."
    )
    weights: str = Field(
        "", max_length=64, description="SHA-256 of the weights; the training states it, and a repetition compares it."
    )
    freeze: int = Field(
        0, ge=0, le=MAX_COUNT, description="First layers of the discriminator that keep their weights; 0: none."
    )


class PhaseLength(Section):
    """Length and batch size of one phase; unspecified values are those of the architecture."""

    samples: int | None = Field(None, gt=0, le=MAX_SHOWN, description="Real samples shown.")
    batch: int | None = Field(
        None, gt=0, le=MAX_BATCH, description="Real samples in one update; none: `training.batch`."
    )


class Recipe(Section):
    """The complete configuration of a training run."""

    format: Literal[1] = Field(1, description="Version of the recipe format.")
    plugin: str = Field(description="The plugin that provides the architecture.")
    architecture: str = Field(description="Name of the architecture.")
    modality: dict[str, Any] = Field(default_factory=dict, description="Settings of the modality.")
    data: Data = Field(default_factory=Data, description="The real samples.")
    model: dict[str, Any] = Field(default_factory=dict, description="Settings of the architecture.")
    loss: Named = Field(default_factory=lambda: Named(name="non-saturating"), description="The adversarial objective.")
    penalties: list[Named] = Field(default_factory=list, description="Regularizers with their weights.")
    augmentations: list[Named] = Field(
        default_factory=list, description="Changes of every sample that critics see, with their strengths."
    )
    codes: Codes | None = Field(None, description="Codes of InfoGAN, factors that nobody labelled; none: without.")
    start: Start | None = Field(None, description="The run whose weights the training starts from; none: new weights.")
    optimizers: dict[str, dict[str, Any]] = Field(default_factory=dict, description="Settings by player.")
    phases: dict[str, PhaseLength] = Field(default_factory=dict, description="Lengths by phase.")
    training: Training = Field(
        default_factory=Training, description="Length, batch size, averaging, records and device."
    )
    evaluation: Evaluation = Field(default_factory=Evaluation, description="What is measured and written.")
    provenance: Provenance = Field(default_factory=Provenance, description="What written files say of themselves.")
    card: Card = Field(default_factory=Card, description="Statements for the model card.")
    seed: int = Field(0, ge=0, lt=1 << 63, description="Seed of everything random.")

    @field_validator("loss", mode="before")
    @classmethod
    def _loss_by_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @field_validator("penalties", "augmentations", mode="before")
    @classmethod
    def _list_by_name(cls, value: Any) -> Any:
        if isinstance(value, list):
            return [{"name": item} if isinstance(item, str) else item for item in value]
        return value


M = TypeVar("M", bound=BaseModel)


def validated(model: type[M], values: Mapping[str, Any], where: str) -> M:
    """An instance of `model`. Raises `UsageError` that names each wrong key, the reason and the nearest known key."""
    try:
        found = model.model_validate(dict(values))
    except ValidationError as error:
        raise UsageError("\n".join(_complaints(model, error, where))) from None
    except Exception as error:  # a validator of a plugin met a value that its author did not think of
        raise UsageError(f"the settings{f' of {where}' * bool(where)} cannot be used: {error}") from error
    check_numbers(found, where)
    return found


def check_numbers(value: Any, where: str) -> None:
    """Raise `UsageError` for a number that no computation can use: NaN, infinite, too large or too small.

    `value` is a model, a mapping, a list or a plain value; `where` is its key. A field that states an upper bound of
    its own may hold integers over `MAX_INTEGER`.
    """
    if isinstance(value, BaseModel):
        for name, field in type(value).model_fields.items():
            bounded = any(hasattr(bound, "le") or hasattr(bound, "lt") for bound in field.metadata)
            inner = getattr(value, name)
            if not (bounded and isinstance(inner, int)):
                check_numbers(inner, _joined(where, name))
        for name, inner in (value.model_extra or {}).items():
            check_numbers(inner, _joined(where, name))
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            check_numbers(inner, _joined(where, str(name)))
    elif isinstance(value, (list, tuple)):
        for number, inner in enumerate(value):
            check_numbers(inner, _joined(where, str(number)))
    elif isinstance(value, Schedule):
        for name, inner in (("first", value.first), ("last", value.last)):
            check_numbers(inner, _joined(where, name))
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise UsageError(f"'{where}' cannot be {value}: it must be a finite number")
        if value and not SMALLEST <= abs(value) <= LARGEST:
            raise UsageError(f"'{where}' cannot be {value}: its size must be 0 or from {SMALLEST:g} to {LARGEST:g}")
    elif isinstance(value, int) and abs(value) > MAX_INTEGER:
        raise UsageError(f"'{where}' cannot be {shown(value)}: its size must be at most {MAX_INTEGER:,}")


def shown(value: Any) -> str:
    """A value for a message: at most 80 characters."""
    try:
        text = repr(value)
    except ValueError:  # an integer of thousands of digits
        return "an integer of thousands of digits"
    return text if len(text) <= 80 else text[:77] + "…"


def _joined(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _complaints(model: type[BaseModel], error: ValidationError, where: str) -> list[str]:
    lines = []
    for problem in error.errors(include_url=False):
        places = [str(place) for place in problem["loc"] if place not in ("number", "schedule")]
        path = ".".join([*([where] if where else []), *places])
        if problem["type"] == "extra_forbidden":
            known = _keys_at(model, problem["loc"][:-1])
            close = nearest(str(problem["loc"][-1]), known)
            hint = f"did you mean '{close}'?" if close else f"known: {', '.join(sorted(known))}"
            lines.append(f"unknown key '{path}'; {hint}")
        else:
            given = shown(problem["input"]) if not isinstance(problem["input"], dict) else "this"
            message = problem["msg"][0].lower() + problem["msg"][1:]
            missing = problem["type"] == "missing"
            lines.append(f"'{path}' is missing" if missing else f"'{path}' cannot be {given}: {message}")
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


def parse_yaml(text: str, where: str) -> Any:
    """The plain values of a YAML text. Raises `UsageError` with the line."""
    if len(text) > MAX_RECIPE_BYTES:
        raise UsageError(f"{where}: larger than {MAX_RECIPE_BYTES:,} bytes")
    try:
        return load_yaml(text)
    except ValueError as error:
        raise UsageError(f"{where}: {error}") from None


def read_values(path: Path) -> dict[str, Any]:
    """The mapping in a recipe file, not yet validated. Raises `UsageError`."""
    try:
        text = read_named(path, MAX_RECIPE_BYTES).decode("utf-8")
    except FileNotFoundError:
        raise UsageError(f"no recipe file {path}") from None
    except (Broken, OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: {error}") from None
    values = parse_yaml(text, str(path))
    if not isinstance(values, dict):
        raise UsageError(f"{path}: a recipe must be a mapping of keys to values")
    return values


def with_settings(values: Mapping[str, Any], settings: Iterable[str]) -> dict[str, Any]:
    """`values` changed by ``key.sub=value`` strings. Values are parsed as YAML; list items are addressed by index."""
    changed = copy.deepcopy(dict(values))
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"--set {setting}: write KEY=VALUE, for example --set training.batch=32")
        _assign(changed, key.strip().split("."), parse_yaml(text, f"--set {setting}"), setting)
    return changed


def merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`values` changed by a mapping: sections are merged, lists and plain values replaced.

    Keys may have dots (``"training.batch"``), as those of ``--set``. A section that names another entry than before
    (``{"loss": {"name": "hinge"}}``) replaces the old one with its settings.
    """
    changed = copy.deepcopy(dict(values))
    for key, value in changes.items():
        path = str(key).split(".")
        if len(path) > 1:
            _assign(changed, path, copy.deepcopy(value), f"{key}={shown(value)}")
            continue
        before = changed.get(key)
        named = value.get("name", 0) if isinstance(value, Mapping) else 0
        if isinstance(value, Mapping) and isinstance(before, dict) and named in (0, before.get("name")):
            changed[key] = merged(before, value)
        else:
            changed[key] = copy.deepcopy(value)
    return changed


def _assign(values: dict[str, Any], path: list[str], value: Any, setting: str) -> None:
    here: Any = values
    for depth, key in enumerate(path):
        last = depth == len(path) - 1
        if isinstance(here, list):
            if not key.isdigit() or int(key) >= len(here):
                raise UsageError(f"--set {setting}: '{key}' is not an index of the {len(here)} items")
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
    """The recipe as YAML, with every setting."""
    return dump_yaml(recipe.model_dump(mode="json"))
