"""The checks of the conformance kit. `gan.testing.check_plugin` runs them in a process of its own.

A check is a function of the `Kit` and of what it looks at. It raises `Failed` with a reason for people, `Skipped` where
it does not apply, `Noted` for what is allowed and could be better; any other exception is the plugin's fault too.
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
    """The plugin does not keep what the check holds it to."""


class Skipped(Exception):
    """The check does not apply."""


class Noted(Exception):
    """Allowed, but could be better."""


@dataclass(frozen=True)
class Outcome:
    """What one check found."""

    check: str
    subject: str
    """What was looked at: ``"architecture mlp"``."""
    status: str
    """passed, failed, skipped or noted."""
    reason: str = ""
    seconds: float = 0.0
    """Of CPU time."""


@dataclass(frozen=True)
class Scene:
    """What an architecture made beside real samples, for metrics that the default data do not suit."""

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
    """Architecture -> ``key=value`` that make it small; ``"*"``: of every architecture."""
    report: Callable[[str, Outcome | None, str], None]
    """Called with (``started`` or ``done``, outcome, subject)."""
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="gan-check-")))
    modalities: dict[str, Any] = field(default_factory=dict)
    """Name -> `gan.conformance.modalities.Subject` of what could be read."""
    scenes: list[Scene] = field(default_factory=list)
    """Of every architecture that could make something."""

    @property
    def info(self) -> PluginInfo:
        """The plugin."""
        return self.plugins.info(self.plugin)

    def offered(self, hook: str) -> list[PluginEntry]:
        """The plugin's own entries."""
        return self.plugins.entries(hook, self.plugin)

    @contextmanager
    def check(self, name: str, subject: str) -> Iterator[None]:
        """Run the body as a check: what it raises becomes an outcome."""
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
    """The exception in one line, with the place in the plugin where it comes from."""
    if isinstance(error, (Failed, GanError)):
        return " ".join(str(error).split())
    frames = traceback.extract_tb(error.__traceback__)
    kit = str(Path(__file__).parent)
    theirs = [frame for frame in frames if not str(frame.filename).startswith(kit)]
    place = f" ({Path(theirs[-1].filename).name}, line {theirs[-1].lineno})" if theirs else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}{place}"
