"""The conformance kit: runs checks and collects their outcomes. `gan.testing.check_plugin` is the way in.

A check raises `Failed` with a reason, `Skipped` where it does not apply, and `Noted` for what is allowed but could be
better. Any other exception counts as a failure of the plugin.
"""

from __future__ import annotations

import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gan.errors import GanError

if TYPE_CHECKING:
    from gan.contracts import Samples
    from gan.plugins.discovery import PluginInfo
    from gan.plugins.manager import PluginEntry, Plugins


class Failed(Exception):
    """The plugin violates its contract."""


class Skipped(Exception):
    """The check does not apply."""


class Noted(Exception):
    """Allowed, but could be better."""


@dataclass(frozen=True)
class Outcome:
    """The result of one check."""

    check: str
    subject: str
    """What was checked: ``"architecture mlp"``."""
    status: str
    """passed, failed, skipped or noted."""
    reason: str = ""
    seconds: float = 0.0
    """CPU time."""


@dataclass(frozen=True)
class Scene:
    """Samples of an architecture with real ones, for metrics that do not suit the default dataset."""

    kind: str
    """Name of the modality."""
    modality: Any
    real: Samples
    generated: Samples


@dataclass
class Kit:
    """What the checks share."""

    plugins: Plugins
    plugin: str
    settings: Mapping[str, list[str]]
    """Architecture -> ``key=value`` settings that make it small; ``"*"``: for every architecture."""
    report: Callable[[str, Outcome | None, str], None]
    """Called with (``started`` or ``done``, outcome, subject)."""
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="gan-check-")))
    modalities: dict[str, Any] = field(default_factory=dict)
    """Name -> `gan.conformance.modalities.Subject`, or None for a modality that could not be read."""
    scenes: list[Scene] = field(default_factory=list)
    """One for each architecture that could generate."""
    only: tuple[str, ...] = ()
    """The architectures that are checked; none: all."""

    @property
    def info(self) -> PluginInfo:
        """The plugin."""
        return self.plugins.info(self.plugin)

    def offered(self, hook: str) -> list[PluginEntry]:
        """The plugin's own entries; of its architectures those that are checked."""
        found = self.plugins.entries(hook, self.plugin)
        chosen = self.only if hook == "gan_architectures" else ()
        return [one for one in found if not chosen or one.entry.name in chosen]

    @contextmanager
    def check(self, name: str, subject: str) -> Iterator[None]:
        """Run the body as a check: an exception becomes its outcome."""
        self.report("started", None, f"{name}, {subject}")
        before = time.process_time()
        status, reason = "passed", ""
        try:
            yield
        except Skipped as why:
            status, reason = "skipped", str(why)
        except Noted as why:
            status, reason = "noted", str(why)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001  (a plugin may raise anything, SystemExit too)
            status, reason = "failed", _reason(error)
        outcome = Outcome(name, subject, status, reason, round(time.process_time() - before, 3))
        self.report("done", outcome, subject)


def _reason(error: BaseException) -> str:
    """The exception in one line, with the line of the plugin that raised it."""
    if isinstance(error, (Failed, GanError)):
        return " ".join(str(error).split())
    frames = traceback.extract_tb(error.__traceback__)
    kit = str(Path(__file__).parent)
    theirs = [frame for frame in frames if not str(frame.filename).startswith(kit)]
    place = f" ({Path(theirs[-1].filename).name}, line {theirs[-1].lineno})" if theirs else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}{place}"
