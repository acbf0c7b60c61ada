"""Judge samples: metrics over generated and real samples.

    values = measure({"fid": metric}, generated, real, modality)

A metric that fails does not take the others with it: its value is NaN and its details say why.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from gan.contracts import Metric, MetricValue, Modality
from gan.errors import GanError

if TYPE_CHECKING:
    from gan.contracts import Samples

log = logging.getLogger(__name__)


def measure(metrics: Mapping[str, Metric], generated: Samples, real: Samples, modality: Modality) -> list[MetricValue]:
    """The values of all metrics, in order.

    Both sets hold the modality's fields with a leading axis. A metric that raises, or gives something else than
    values, becomes one value named after it that is NaN, with the reason in ``details["error"]``.
    """
    values: list[MetricValue] = []
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
        values.extend(found)
    return values
