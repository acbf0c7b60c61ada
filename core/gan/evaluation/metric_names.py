"""Judge samples: metrics by name, over generated and real samples.

    metrics = find_metrics(["fid[lenet5]", "precision-recall[lenet5]"], "image", plugins)
    values = measure(metrics, generated, real, modality)

A metric on features is named with an extractor, and so are its values: ``FID[lenet5]``. A plain ``FID`` is the one of
the extractor that it is defined on, the Inception network of 2015, and of no other. Several metrics on one extractor
compute the features once. A metric that fails does not take the others with it: its value is NaN and its details say
why.

A metric on the model needs the trained networks: `find_metrics` is given them where a run is judged.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gan.contracts import (
    Architecture,
    Extractor,
    FeatureMetric,
    Features,
    Metric,
    MetricValue,
    Modality,
    ModelFeatureMetric,
    ModelMetric,
)
from gan.errors import GanError, PluginError, UnknownName, UsageError

if TYPE_CHECKING:
    from gan.contracts import Samples
    from gan.plugins.manager import PluginEntry, Plugins


log = logging.getLogger(__name__)

_SPEC = re.compile(r"([a-z0-9-]+)(?:\[([a-z0-9-]+)(?:=(.+))?\])?")


@dataclass(frozen=True)
class MetricSpec:
    """What a user typed: ``fid``, ``fid[lenet5]`` or ``fid[lenet5=/path/of/weights]``."""

    metric: str
    extractor: str | None = None
    weights: Path | None = None

    @classmethod
    def parse(cls, text: str) -> MetricSpec:
        """Raises `UsageError` with the right form."""
        match = _SPEC.fullmatch(text.strip())
        if match is None:
            raise UsageError(f"'{text}' names no metric; write NAME, NAME[EXTRACTOR] or NAME[EXTRACTOR=WEIGHTS]")
        return cls(match[1], match[2], Path(match[3]).expanduser() if match[3] else None)

    def __str__(self) -> str:
        if self.extractor is None:
            return self.metric
        return f"{self.metric}[{self.extractor}{f'={self.weights}' if self.weights else ''}]"


class NamedExtractor:
    """An extractor with its name, that remembers the features of the sets that it saw last."""

    remembered = 2
    """One generated set and one real set."""

    def __init__(self, name: str, extractor: Extractor) -> None:
        self.name: str = getattr(extractor, "label", name)
        self.extractor = extractor
        self._seen: list[tuple[Samples, Features]] = []

    def __call__(self, samples: Samples, modality: Modality) -> Features:
        """The features, checked: one row a sample, finite numbers, float32. Raises `PluginError`."""
        for seen, features in self._seen:
            if seen is samples:
                return features
        features = self.look(samples, modality)
        self._seen = [*self._seen, (samples, features)][-self.remembered :]
        return features

    def look(self, samples: Samples, modality: Modality) -> Features:
        """The features, checked likewise and not remembered."""
        features = self.extractor(samples, modality)
        self._check(features, len(next(iter(samples.values()))))
        return features

    def _check(self, features: Features, count: int) -> None:
        vectors, probabilities = features.vectors, features.probabilities
        if vectors.ndim != 2 or len(vectors) != count or vectors.dtype != "float32":
            raise PluginError(
                self.name,
                f"extractor '{self.name}' gave {vectors.dtype} features {vectors.shape}, wanted float32 ({count}, d)",
            )
        if probabilities is not None and (probabilities.ndim != 2 or len(probabilities) != count):
            raise PluginError(
                self.name,
                f"extractor '{self.name}' gave probabilities {probabilities.shape}, wanted ({count}, classes)",
            )

    def identity(self) -> dict[str, str]:
        """What a receipt says of it."""
        return {
            "name": self.name,
            "version": self.extractor.version,
            "sha256": self.extractor.sha256,
            "preprocessing": self.extractor.preprocessing,
        }


class OnFeatures:
    """A metric on features together with its extractor: an ordinary `Metric`.

    `own` is the extractor that the metric is defined on, whose name is not added to the values'.
    """

    def __init__(self, metric: FeatureMetric, extractor: NamedExtractor, own: str = "") -> None:
        self.metric = metric
        self.extractor = extractor
        self.own = own
        self.version = metric.version
        self.settings: Mapping[str, Any] = getattr(metric, "settings", {})

    def compute(self, generated: Samples, real: Samples, modality: Modality) -> Sequence[MetricValue]:
        """The metric's values, named with the extractor."""
        values = self.metric.compute(self.extractor(generated, modality), self.extractor(real, modality))
        return _named(values, self.extractor, self.own)


class OnModel:
    """A metric on the model together with the trained networks, and perhaps an extractor: an ordinary `Metric`."""

    def __init__(
        self,
        metric: ModelMetric | ModelFeatureMetric,
        architecture: Any,
        extractor: NamedExtractor | None = None,
        own: str = "",
    ) -> None:
        self.metric: Any = metric
        self.architecture: Architecture = architecture
        self.extractor = extractor
        self.own = own
        self.version = metric.version
        self.settings: Mapping[str, Any] = getattr(metric, "settings", {})

    def compute(self, generated: Samples, real: Samples, modality: Modality) -> Sequence[MetricValue]:
        """The metric's values, named with the extractor where there is one."""
        import torch

        sets: tuple[Any, ...] = (generated, real, modality)
        with torch.no_grad():
            if self.extractor is None:
                found: Sequence[MetricValue] = self.metric.compute(self.architecture, *sets)
                return found
            values = self.metric.compute(self.architecture, self.extractor.look, *sets)
            return _named(values, self.extractor, self.own)


def _named(values: Sequence[MetricValue], extractor: NamedExtractor, own: str) -> Sequence[MetricValue]:
    """``FID`` -> ``FID[lenet5]``, but for the extractor that the metric is defined on."""
    if extractor.name == own:
        return values
    return [replace(value, name=f"{value.name}[{extractor.name}]") for value in values]


def find_metrics(
    names: Iterable[str],
    modality: str,
    plugins: Plugins,
    *,
    device: str = "cpu",
    prefer: str | None = None,
    architecture: Any = None,
) -> dict[str, Metric]:
    """Metrics by the names that users type, for one kind of data; `prefer` is the plugin whose names come first.

    `architecture` is what has made the samples, for metrics on the model; None: files that nobody knows the model of.
    Raises `UnknownName`, `UsageError` where an extractor is missing, needless or of another kind of data or a model is
    missing, and what finding its weights raises.
    """
    extractors: dict[tuple[str, Path | None], NamedExtractor] = {}
    metrics: dict[str, Metric] = {}
    for text in names:
        spec = MetricSpec.parse(text)
        plugin_entry = plugins.find("gan_metrics", spec.metric, prefer=prefer)
        _check_kind(plugin_entry, modality)
        if not plugin_entry.entry.on_features:
            if spec.extractor is not None:
                raise UsageError(f"metric '{spec.metric}' takes no extractor; write {spec.metric}")
            metric = plugins.load(plugin_entry)()
            metrics[str(spec)] = OnModel(metric, _known(architecture, spec)) if plugin_entry.entry.on_model else metric
            continue
        spec = replace(spec, extractor=spec.extractor or _own_extractor(plugin_entry, modality, plugins))
        key = (str(spec.extractor), spec.weights)
        if key not in extractors:
            extractors[key] = _extractor(*key, modality, plugins, device, prefer)
        metric, extractor, own = plugins.load(plugin_entry)(), extractors[key], plugin_entry.entry.defined_on
        if plugin_entry.entry.on_model:
            metrics[str(spec)] = OnModel(metric, _known(architecture, spec), extractor, own)
        else:
            metrics[str(spec)] = OnFeatures(metric, extractor, own)
    return metrics


def _known(architecture: Any, spec: MetricSpec) -> Any:
    if architecture is None:
        raise UsageError(f"metric '{spec.metric}' asks the trained model: evaluate a run folder, not files without one")
    return architecture


def extractors_of(modality: str, plugins: Plugins) -> list[PluginEntry]:
    """The extractors that read one kind of data."""
    return [
        plugin_entry
        for plugin_entry in plugins.entries("gan_extractors")
        if plugin_entry.entry.modality in (None, modality)
    ]


def _own_extractor(plugin_entry: PluginEntry, modality: str, plugins: Plugins) -> str:
    """A bare name means the extractor that the metric is defined on; where that cannot read the data, or there is none,
    one must be named."""
    known = [found.entry.name for found in extractors_of(modality, plugins)]
    metric, own = plugin_entry.entry.name, plugin_entry.entry.defined_on
    if own and own in known:
        return str(own)
    raise UsageError(
        f"metric '{metric}' needs an extractor for {modality}: write {metric}[NAME], known: {', '.join(known)}"
    )


def _extractor(
    name: str, weights: Path | None, modality: str, plugins: Plugins, device: str, prefer: str | None
) -> NamedExtractor:
    plugin_entry = plugins.find("gan_extractors", name, prefer=prefer)
    if plugin_entry.entry.modality not in (None, modality):
        known = [found.entry.name for found in extractors_of(modality, plugins)]
        raise UnknownName(f"extractor for {modality}", name, known)
    factory = plugins.load(plugin_entry)
    try:
        return NamedExtractor(name, factory(weights, device))
    except (GanError, MemoryError):
        raise
    except Exception as error:
        raise PluginError(
            plugin_entry.info.name,
            f"extractor '{name}' of {plugin_entry.info.title} failed: {type(error).__name__}: {error}",
        ) from error


def _check_kind(plugin_entry: PluginEntry, modality: str) -> None:
    kind = plugin_entry.entry.modality
    if kind not in (None, modality):
        raise UsageError(f"metric '{plugin_entry.entry.name}' is for {kind} data, not {modality}")


def extractors_in(metrics: Mapping[str, Metric]) -> list[NamedExtractor]:
    """The extractors that metrics use, each once."""
    found = [metric.extractor for metric in metrics.values() if isinstance(metric, OnFeatures)]
    return list({id(extractor): extractor for extractor in found}.values())


def measure(metrics: Mapping[str, Metric], generated: Samples, real: Samples, modality: Modality) -> list[MetricValue]:
    """The values of all metrics, in order; see `measure_each`."""
    return [value for values in measure_each(metrics, generated, real, modality).values() for value in values]


def measure_each(
    metrics: Mapping[str, Metric], generated: Samples, real: Samples, modality: Modality
) -> dict[str, list[MetricValue]]:
    """The values of every metric, by its name.

    Both sets hold the modality's fields with a leading axis. A metric that raises, or gives something else than
    values, becomes one value named after it that is NaN, with the reason in ``details["error"]``.
    """
    measured: dict[str, list[MetricValue]] = {}
    for name, metric in metrics.items():
        try:
            found = list(metric.compute(generated, real, modality))
            wrong = [type(value).__name__ for value in found if not isinstance(value, MetricValue)]
            if wrong:
                raise TypeError(f"gives {wrong[0]} where MetricValue is promised")
        except Exception as error:  # whatever a metric raises must not cost the training its end
            if not isinstance(error, GanError):
                log.debug("metric %s failed", name, exc_info=True)
            reason = str(error) if isinstance(error, GanError) else f"{type(error).__name__}: {error}"
            found = [MetricValue(name, math.nan, details={"error": reason})]
        measured[name] = found
    return measured
