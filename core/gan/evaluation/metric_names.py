"""Find metrics by name and compute them on generated and real samples.

    metrics = find_metrics(["fid[lenet5]", "precision-recall[lenet5]"], "image", plugins)
    values = measure(metrics, generated, real, modality)

A metric on features is named with its extractor, and so are its values: ``FID[lenet5]``. A plain ``FID`` always uses
the extractor that it is defined on, the Inception network of 2015. Several metrics on one extractor compute the
features once. When a metric fails, the others are still computed: its value is NaN and its details hold the reason.

A metric on the model needs the trained networks, which `find_metrics` is given when a run is evaluated.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gan.contracts import FeatureMetric, Metric, MetricValue, Modality, ModelFeatureMetric, ModelMetric
from gan.errors import GanError, PluginError, UnknownName, UsageError
from gan.metrics.blocks import computing_on
from gan.metrics.extractors import NamedExtractor
from gan.runtime.signals import check_stop
from gan.weights import FETCH

if TYPE_CHECKING:
    from gan.contracts import Samples
    from gan.plugins.manager import PluginEntry, Plugins

log = logging.getLogger(__name__)

_SPEC = re.compile(r"([a-z0-9-]+)(?:\[([a-z0-9-]+)(?:=(.+))?\])?")


@dataclass(frozen=True)
class MetricSpec:
    """A metric as a user types it: ``fid``, ``fid[lenet5]`` or ``fid[lenet5=/path/of/weights]``."""

    metric: str
    extractor: str | None = None
    weights: Path | None = None

    @classmethod
    def parse(cls, text: str) -> MetricSpec:
        """Parse the text. Raises `UsageError` that shows the right form."""
        match = _SPEC.fullmatch(text.strip())
        if match is None:
            raise UsageError(f"'{text}' names no metric; write NAME, NAME[EXTRACTOR] or NAME[EXTRACTOR=WEIGHTS]")
        return cls(match[1], match[2], Path(match[3]).expanduser() if match[3] else None)

    def __str__(self) -> str:
        if self.extractor is None:
            return self.metric
        return f"{self.metric}[{self.extractor}{f'={self.weights}' if self.weights else ''}]"


class BoundMetric:
    """A metric with the extractor and the trained networks that it needs, as an ordinary `Metric`.

    `own` is the extractor that the metric is defined on, whose name is not added to the values'. `device` is where
    large products are computed.
    """

    def __init__(
        self,
        metric: FeatureMetric | ModelMetric | ModelFeatureMetric,
        extractor: NamedExtractor | None = None,
        own: str = "",
        architecture: Any = None,
        device: str = "cpu",
    ) -> None:
        self.device = device
        self.metric: Any = metric
        self.extractor = extractor
        self.own = own
        self.architecture = architecture
        self.version = metric.version
        self.settings: Mapping[str, Any] = getattr(metric, "settings", {})

    def compute(self, generated: Samples, real: Samples, modality: Modality) -> Sequence[MetricValue]:
        """Compute the metric; the name of its values includes the extractor, as in ``FID[lenet5]``."""
        with computing_on(self.device):
            values = self._values(generated, real, modality)
        if self.extractor is None or self.extractor.name == self.own:
            return values
        names: Mapping[str, str] = getattr(self.extractor.extractor, "value_names", {})
        return [replace(value, name=f"{names.get(value.name, value.name)}[{self.extractor.name}]") for value in values]

    def _values(self, generated: Samples, real: Samples, modality: Modality) -> Sequence[MetricValue]:
        found: Sequence[MetricValue]
        if self.architecture is None:
            assert self.extractor is not None
            found = self.metric.compute(self.extractor(generated, modality), self.extractor(real, modality))
            return found
        import torch

        extractor = () if self.extractor is None else (self.extractor.extract,)
        with torch.no_grad():
            found = self.metric.compute(self.architecture, *extractor, generated, real, modality)
        return found


def find_metrics(
    names: Iterable[str],
    modality: str,
    plugins: Plugins,
    *,
    device: str = "cpu",
    prefer: str | None = None,
    architecture: Any = None,
) -> dict[str, Metric]:
    """Find metrics for one modality by the names that users type; names of the plugin `prefer` take precedence.

    `architecture` is the trained model, for metrics on the model; None when only files are evaluated.
    Raises `UnknownName`; `UsageError` where an extractor is missing, superfluous or for another modality, or where a
    model is missing; and what loading the extractor's weights raises.
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
            on_model = plugin_entry.entry.on_model
            metrics[str(spec)] = BoundMetric(metric, architecture=_known(architecture, spec)) if on_model else metric
            continue
        spec = replace(spec, extractor=spec.extractor or _own_extractor(plugin_entry, modality, plugins))
        key = (str(spec.extractor), spec.weights)
        if key not in extractors:
            extractors[key] = load_extractor(*key, modality, plugins, device, prefer)
        model = _known(architecture, spec) if plugin_entry.entry.on_model else None
        metric = plugins.load(plugin_entry)()
        metrics[str(spec)] = BoundMetric(metric, extractors[key], plugin_entry.entry.defined_on, model, device)
    return metrics


def _known(architecture: Any, spec: MetricSpec) -> Any:
    if architecture is None:
        raise UsageError(f"metric '{spec.metric}' needs the trained model: evaluate a run folder instead of files")
    return architecture


def extractors_of(modality: str, plugins: Plugins) -> list[PluginEntry]:
    """The extractors that can read one modality."""
    return [
        plugin_entry
        for plugin_entry in plugins.entries("gan_extractors")
        if plugin_entry.entry.modality in (None, modality)
    ]


def _own_extractor(plugin_entry: PluginEntry, modality: str, plugins: Plugins) -> str:
    """The extractor of a metric that was named without one: the extractor that the metric is defined on.

    Raises `UsageError` where there is none, or it cannot read the modality.
    """
    known = [found.entry.name for found in extractors_of(modality, plugins)]
    metric, own = plugin_entry.entry.name, plugin_entry.entry.defined_on
    if own and own in known:
        return str(own)
    raise UsageError(
        f"metric '{metric}' needs an extractor for {modality}: write {metric}[NAME], known: {', '.join(known)}"
    )


def load_extractor(
    name: str, weights: Path | str | None, modality: str, plugins: Plugins, device: str, prefer: str | None
) -> NamedExtractor:
    """The extractor of this name, with its weights. Raises `UnknownName`, and what loading the weights raises."""
    weights = Path(weights).expanduser() if weights else None
    plugin_entry = plugins.find("gan_extractors", name, prefer=prefer)
    if plugin_entry.entry.modality not in (None, modality):
        known = [found.entry.name for found in extractors_of(modality, plugins)]
        raise UnknownName(f"extractor for {modality}", name, known)
    factory = plugins.load(plugin_entry)
    try:
        return NamedExtractor(name, factory(weights, device))
    except UsageError as error:  # weights that are not here; their remedy names this extractor, if it can be fetched
        fetch = FETCH.replace("EXTRACTOR", name) if plugin_entry.entry.files else ""
        raise UsageError(str(error).replace(FETCH, fetch).replace("[NAME=", f"[{name}=")) from error
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
    """The distinct extractors that the metrics on features use."""
    bound = [m for m in metrics.values() if isinstance(m, BoundMetric) and m.architecture is None]
    return list({id(m.extractor): m.extractor for m in bound if m.extractor is not None}.values())


def measure(metrics: Mapping[str, Metric], generated: Samples, real: Samples, modality: Modality) -> list[MetricValue]:
    """Compute all metrics and return their values in order; see `measure_each`."""
    return [value for values in measure_each(metrics, generated, real, modality).values() for value in values]


def measure_each(
    metrics: Mapping[str, Metric], generated: Samples, real: Samples, modality: Modality
) -> dict[str, list[MetricValue]]:
    """Compute all metrics and return the values of each by its name.

    Both sets hold the modality's fields with a leading axis. A metric that raises, or returns anything but values,
    gets one NaN value named after it, with the reason in ``details["error"]``.
    """
    measured: dict[str, list[MetricValue]] = {}
    for name, metric in metrics.items():
        check_stop()
        try:
            found = list(metric.compute(generated, real, modality))
            wrong = [type(value).__name__ for value in found if not isinstance(value, MetricValue)]
            if wrong:
                raise TypeError(f"returned {wrong[0]} instead of MetricValue")
        except Exception as error:  # a failing metric must not fail the training
            if not isinstance(error, GanError):
                log.debug("metric %s failed", name, exc_info=True)
            reason = str(error) if isinstance(error, GanError) else f"{type(error).__name__}: {error}"
            found = [MetricValue(name, math.nan, details={"error": reason})]
        measured[name] = found
    return measured
