"""Runs the conformance kit in a child process with a time limit and reports the outcomes.

The child writes one JSON line when a check begins and one when it ends, so that a plugin that hangs, kills the process
or prints still gets a report.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from gan.conformance.kit import Kit, Outcome
from gan.errors import UsageError

TIMEOUT = 900.0
"""Time limit in seconds for all checks of a plugin."""


@dataclass
class Report:
    """The outcomes of all checks of one plugin."""

    plugin: str
    outcomes: list[Outcome] = field(default_factory=list)
    output: str = ""
    """The last lines that the child printed, for debugging."""

    @property
    def failures(self) -> list[Outcome]:
        """The failed outcomes."""
        return [outcome for outcome in self.outcomes if outcome.status == "failed"]

    @property
    def passed(self) -> bool:
        """Whether nothing failed and something was checked."""
        return bool(self.outcomes) and not self.failures

    def counts(self) -> dict[str, int]:
        """Outcomes by status."""
        statuses = ("passed", "failed", "noted", "skipped")
        return {status: sum(outcome.status == status for outcome in self.outcomes) for status in statuses}

    def text(self) -> str:
        """For people: every outcome that did not pass, then a summary."""
        lines = [
            f"{outcome.status:7}  {outcome.subject}, {outcome.check}: {outcome.reason}"
            for outcome in self.outcomes
            if outcome.status != "passed"
        ]
        seconds = sum(outcome.seconds for outcome in self.outcomes)
        sums = ", ".join(f"{count} {status}" for status, count in self.counts().items() if count)
        return "\n".join([*lines, f"{self.plugin}: {sums or 'nothing was checked'} in {seconds:.0f} s"])

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        outcomes = [asdict(outcome) for outcome in self.outcomes]
        return {"plugin": self.plugin, "passed": self.passed, **self.counts(), "outcomes": outcomes}


def check_plugin(
    plugin: str | ModuleType,
    *,
    settings: Mapping[str, Iterable[str]] | None = None,
    architectures: Iterable[str] = (),
    timeout: float = TIMEOUT,
) -> Report:
    """Check a plugin against everything that `gan.contracts` requires. A plugin's test calls it::

        def test_conformance():
            report = check_plugin("sketch")
            assert report.passed, report.text()

    `plugin` is the name of an installed plugin or its module. `settings` make architectures small: ``{"gru":
    ["model.hidden=8"]}``; ``"*"`` stands for every architecture. Of the architectures only those named in
    `architectures` are checked, or all. Takes seconds to minutes, in a child process.
    """
    name, module = (plugin, "") if isinstance(plugin, str) else (_name(plugin), plugin.__name__)
    return _run(name, module, settings=settings, architectures=architectures, timeout=timeout)


def _run(
    name: str,
    module: str,
    *,
    settings: Mapping[str, Iterable[str]] | None = None,
    architectures: Iterable[str] = (),
    timeout: float = TIMEOUT,
    path: Path | None = None,
) -> Report:
    """Run the kit in a child. `module` is registered as the plugin `name` when nothing of that name is installed;
    `path` is searched for modules first."""
    report = Report(name)
    with tempfile.TemporaryDirectory(prefix="gan-check-") as folder:
        events = Path(folder, "events.jsonl")
        events.touch()
        request = {
            "name": name,
            "module": module,
            "settings": {key: list(values) for key, values in (settings or {}).items()},
            "architectures": list(architectures),
            "events": str(events),
            "folder": folder,
        }
        searched = [str(path)] if path is not None else []
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*searched, *filter(None, sys.path)])}
        environment.setdefault("OMP_NUM_THREADS", "1")  # more threads only slow such small networks down
        with open(Path(folder, "output"), "w+", encoding="utf-8", errors="replace") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "gan.conformance.checking", json.dumps(request)],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment,
            )  # fmt: skip
            clock = time.monotonic()
            try:
                code: int | None = process.wait(timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                code = None
            seconds = time.monotonic() - clock
            output.seek(0)
            report.output = output.read()[-4000:]
        _collect(report, events.read_text(encoding="utf-8"), code, seconds)
    return report


def _collect(report: Report, events: str, code: int | None, seconds: float) -> None:
    """Read the outcomes from the child's lines; a check that began and did not end is reported as a failure."""
    running = "start"
    for line in events.splitlines():
        event = json.loads(line)
        if event["event"] == "started":
            running = event["subject"]
        elif event["event"] == "done":
            report.outcomes.append(Outcome(**event["outcome"]))
            running = ""
        elif event["event"] == "end":
            return
    if code is None:
        reason = f"still running after {seconds:.0f} s and was stopped in: {running}"
    else:
        last = next((line for line in reversed(report.output.splitlines()) if line.strip()), "")
        reason = f"ended the process (exit code {code}) in: {running}" + (
            f"; its last output: {last[:200]}" if last else ""
        )
    report.outcomes.append(Outcome("process", f"plugin {report.plugin}", "failed", reason))


def _name(module: ModuleType) -> str:
    """The plugin's name for a module: that of its entry point, else the module's without ``gan_``."""
    from gan.plugins.manager import Plugins

    for info in Plugins.installed().infos():
        if info.module == module.__name__:
            return info.name
    return module.__name__.rpartition(".")[2].removeprefix("gan_").replace("_", "-")


def check_project(path: Path, **options: Any) -> Report:
    """`check_plugin` for a project folder, which need not be installed: its pyproject.toml names the plugin."""
    import tomllib

    from gan.plugins.manager import Plugins

    file = path / "pyproject.toml" if path.is_dir() else path
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
        ((name, module), *_) = values["project"]["entry-points"]["gan"].items()
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: {error}") from None
    except (KeyError, ValueError, AttributeError, TypeError):
        raise UsageError(f"{file} has no [project.entry-points.gan] with a plugin") from None
    if any(info.name == name for info in Plugins.installed().infos()):
        module = ""
    return _run(str(name), str(module), path=file.parent, **options)


def _child(request: dict[str, Any]) -> None:
    from gan.plugins.manager import Plugins

    with open(request["events"], "a", encoding="utf-8") as events:

        def report(event: str, outcome: Outcome | None, subject: str) -> None:
            said = {"event": event, "subject": subject, "outcome": None if outcome is None else asdict(outcome)}
            events.write(json.dumps(said) + "\n")
            events.flush()

        plugins = Plugins.installed()
        name, module = request["name"], request["module"]
        if module and not any(info.name == name and info.module == module for info in plugins.infos()):
            plugins.register(name, module)
        only = tuple(request["architectures"])
        run_checks(Kit(plugins, name, request["settings"], report, Path(request["folder"]), only=only))
        report("end", None, "")


def run_checks(kit: Kit) -> None:
    """Run every check; later checks use results of earlier ones."""
    from gan.conformance import module

    if not module.check_module(kit):
        return
    from gan.conformance import architectures, arithmetic, entries, modalities

    entries.check_entries(kit)
    modalities.check_modalities(kit)
    modalities.check_marks(kit)
    architectures.check_architectures(kit)
    arithmetic.check_arithmetic(kit)


if __name__ == "__main__":
    _child(json.loads(sys.argv[1]))
