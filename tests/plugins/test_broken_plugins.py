"""Thirty kinds of broken plugin beside a healthy one: help, listing and the healthy one's training work in each.

The healthy plugin is the toy of `gan.testing` under another name. Its training beside a broken plugin that was run must
give the same bytes as its training alone.
"""

# ruff: noqa: E501  (KINDS is a table, a kind in a line)

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import gan
import numpy as np
import pytest
import torch
from gan.errors import PluginError
from gan.plugins.manager import Plugins
from gan.reporting.reporter import Reporter
from gan.testing import install

HEAD = """
import os, pathlib
pathlib.Path(os.environ["CANARY"]).touch()
from gan.contracts import ArchitectureEntry, LossEntry, ModalityEntry
from gan.hookspecs import hookimpl
LOSS = LossEntry(name="mine", summary="s", target="gan.losses:Hinge", paper="p")
"""


@dataclass(frozen=True)
class Kind:
    """One way to be broken."""

    code: str = ""
    listed: str = "unloaded"
    """Status in the listing, before anything is run."""
    loaded: str | None = "broken"
    """Status after it was run; None: it cannot be run in this process."""
    says: str = ""
    """Part of the reason."""
    name: str = "bad"
    distribution: str = "gan-bad"
    requires: tuple[str, ...] = ("gan-core",)
    metadata: str = ""
    """Appended to METADATA; replaces it when it begins with ``=``."""
    entry_points: str = ""
    """Replaces entry_points.txt."""


# fmt: off
KINDS = {
    "missing library": Kind("import no_such_library", "broken", "broken", "No module named 'no_such_library'"),
    "missing library, deep": Kind("import importlib\nimportlib.import_module('no_such')", says="No module named 'no_such'"),
    "syntax error": Kind("def f(:", "broken", "broken", "SyntaxError"),
    "no module": Kind("", "broken", "broken", "No module named 'gan_nowhere'", entry_points="[gan]\nbad = gan_nowhere\n"),
    "raises at import": Kind("raise RuntimeError('boom')", "broken", "broken", "RuntimeError"),
    "raises in a function": Kind("def f():\n    raise OSError('boom')\nf()", says="OSError: boom"),
    "raises a base exception": Kind("class Odd(BaseException): pass\ndef f():\n    raise Odd('boom')\nf()", says="Odd: boom"),
    "ends the program": Kind("import sys\nsys.exit(0)", "broken", "broken", "end the program"),
    "ends the program, hidden": Kind("def f():\n    raise SystemExit(7)\nf()", says="SystemExit: 7"),
    "interrupts at import": Kind("raise KeyboardInterrupt", "broken", "broken", "KeyboardInterrupt"),
    "interrupts at import, hidden": Kind("def f():\n    raise KeyboardInterrupt('no')\nf()", says="KeyboardInterrupt: no"),
    "kills the process": Kind("import os\nf = os._exit\nf(9)", loaded=None),
    "never imports": Kind("while True:\n    pass", loaded=None),
    "imports slowly": Kind("import time\ntime.sleep(600)", loaded=None),
    "recursion without end": Kind("def f():\n    return f()\nf()", says="RecursionError"),
    "hook raises": Kind("@hookimpl\ndef gan_losses():\n    return 1 / 0", says="ZeroDivisionError"),
    "hook raises midway": Kind("@hookimpl\ndef gan_losses():\n    yield LOSS\n    raise KeyError('x')", says="KeyError: 'x'"),
    "hook returns text": Kind("@hookimpl\ndef gan_losses():\n    return 'hinge'", says="gan_losses returned str"),
    "hook returns nothing": Kind("@hookimpl\ndef gan_losses():\n    pass", says="gan_losses returned NoneType"),
    "hook gives classes": Kind("@hookimpl\ndef gan_losses():\n    return [dict]", says="gave type"),
    "hook gives another's entries": Kind("@hookimpl\ndef gan_metrics():\n    return [LOSS]", says="gave LossEntry"),
    "hook never ends": Kind(
        "import dataclasses\n@hookimpl\ndef gan_losses():\n    n = 0\n    while True:\n        n += 1\n"
        "        yield dataclasses.replace(LOSS, name=f'l{n}')",
        says="more than",
    ),
    "hook with arguments": Kind("@hookimpl\ndef gan_losses(trainer):\n    return []", says="trainer"),
    "misspelt hook": Kind("@hookimpl\ndef gan_loses():\n    return [LOSS]", loaded="ok", says="did you mean 'gan_losses'"),
    "unmarked hook": Kind("def gan_losses():\n    return [LOSS]", loaded="ok", says="not marked with @hookimpl"),
    "no hook": Kind("x = 1", loaded="ok", says="offers nothing"),
    "bad entry name": Kind(
        "@hookimpl\ndef gan_losses():\n    yield LossEntry(name='../x', summary='s', target='a:B', paper='p')",
        says="lower-case letters",
    ),
    "name twice": Kind("@hookimpl\ndef gan_losses():\n    return [LOSS, LOSS]", says="'mine' twice"),
    "entry without fields": Kind("@hookimpl\ndef gan_losses():\n    yield LossEntry(name='x')", says="TypeError"),
    "needs another core": Kind("", "incompatible", "incompatible", "needs gan-core>=99", requires=("gan-core>=99",)),
    "needs another Python": Kind("", "incompatible", "incompatible", "needs Python >=3.99", metadata="Requires-Python: >=3.99\n"),
    "malformed requirement": Kind("", "broken", "broken", "metadata", requires=("gan-core >>> 1",)),
    "metadata of bytes": Kind("", "broken", "broken", "metadata", metadata="=\x00\xff"),
    "malformed entry point": Kind("", "broken", "broken", "does not name a module", entry_points="[gan]\nbad = os.system('x')\n"),
    "takes the core's name": Kind("", "conflict", "conflict", "belongs to gan-core", name="builtin"),
    "takes a published name": Kind("", "conflict", "conflict", "belongs to gan-image", name="image", distribution="gan-evil"),
    "takes names of entries": Kind(
        "from gan.testing.toy import *\n@hookimpl\ndef gan_losses():\n"
        "    yield LossEntry(name='non-saturating', summary='s', target='os:getcwd', paper='p')",
        loaded="ok",
    ),
    "changes everything global": Kind(
        "import os, sys, random, signal, warnings, logging, gc\nimport numpy, torch\n"
        "random.seed(1); numpy.random.seed(1); torch.manual_seed(1)\n"
        "torch.set_default_dtype(torch.float64); torch.set_grad_enabled(False); torch.set_num_threads(2)\n"
        "torch.use_deterministic_algorithms(True); torch.set_default_device('meta')\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN); signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "sys.setrecursionlimit(77); os.environ['OMP_NUM_THREADS'] = '99'; os.environ.pop('HOME', None)\n"
        "warnings.simplefilter('error'); os.chdir('/'); os.umask(0); logging.disable(logging.CRITICAL)\n"
        "sys.path.insert(0, '/nowhere'); sys.excepthook = print; gc.disable(); numpy.seterr(all='raise')",
        loaded="ok",
    ),
    "prints": Kind("import os\nprint('noise')\nos.write(1, b'noise')\nos.system('echo noise')", loaded="ok"),
}
# fmt: on


@pytest.fixture
def beside(tmp_path, monkeypatch):
    """A function that installs the healthy plugin and one of a kind into one folder on the path."""
    site = tmp_path / "site"
    for name in ("GAN_PLUGINS", "GAN_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CANARY", str(tmp_path / "canary"))
    monkeypatch.setenv("GAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(str(site))
    install(site, "healthy", {"gan_healthy.py": HEALTHY, "gan_healthy_files/small.yaml": RECIPE})
    (site / "gan_healthy_files" / "__init__.py").touch()

    def add(kind: Kind) -> Path:
        install(
            site, kind.name, {"gan_bad.py": HEAD + kind.code}, module="gan_bad",
            distribution=kind.distribution, requires=kind.requires,
        )  # fmt: skip
        (info,) = site.glob(f"{kind.distribution.replace('-', '_')}-*.dist-info")
        if kind.metadata.startswith("="):
            (info / "METADATA").write_bytes(kind.metadata[1:].encode("latin-1"))
        elif kind.metadata:
            with open(info / "METADATA", "a") as file:
                file.write(kind.metadata)
        if kind.entry_points:
            (info / "entry_points.txt").write_text(kind.entry_points)
        return site

    yield add
    for module in ("gan_bad", "gan_healthy", "gan_healthy_files"):
        sys.modules.pop(module, None)


HEALTHY = """
from gan.testing.toy import gan_modalities, gan_architectures, gan_datasets, gan_metrics
from gan.contracts import RecipeEntry
from gan.hookspecs import hookimpl

@hookimpl
def gan_recipes():
    yield RecipeEntry(
        name="small", summary="s", target="gan_healthy_files:small.yaml", architecture="mlp", default=True
    )
"""
RECIPE = """
plugin: healthy
architecture: mlp
model: {hidden: 8}
training: {samples: 64, batch: 16, device: cpu, preview_ticks: 0}
evaluation: {samples: 16, artefacts: 1}
"""


def train(plugins: Plugins, out: Path) -> str:
    """Train the healthy plugin's recipe; the sha256 of its last weights."""
    from gan.build import recipe_values
    from gan.training.session import start

    result = start(recipe_values(plugins, "healthy"), plugins, Reporter(), out=out)
    assert result.samples == 64
    digest = hashlib.sha256()
    for path in sorted(max(out.glob("checkpoints/*")).glob("*.safetensors")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The weights of the healthy plugin's training without a broken one."""
    return {}


def gan_command(*arguments: str, site: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(site)}
    code = "from gan.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], env=environment, capture_output=True, text=True, timeout=60
    )


def state() -> dict[str, object]:
    """Everything global that a plugin might have changed."""
    mask = os.umask(0)
    os.umask(mask)
    return {
        "random": random.getstate(),
        "numpy": np.random.get_state()[1].tobytes(),
        "torch": torch.get_rng_state().numpy().tobytes(),
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "grad": torch.is_grad_enabled(),
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "recursion": sys.getrecursionlimit(),
        "environment": dict(os.environ),
        "warnings": list(warnings.filters),
        "folder": os.getcwd(),
        "umask": mask,
        "path": list(sys.path),
        "hook": sys.excepthook,
        "numpy errors": np.geterr(),
    }


SEVERAL = """
import contextlib, io, json
from gan.cli import main
said = []
for arguments in ["--help"], ["plugins", "--json"], ["plugins"]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(arguments)
        except SystemExit as end:
            said.append([end.code, out.getvalue(), err.getvalue()])
print(json.dumps(said))
"""


@pytest.mark.rule("P1", "P2", "P3")
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_help_and_listing_run_nothing_and_name_the_broken_one(beside, tmp_path, kind):
    site = beside(kind)
    environment = {**os.environ, "PYTHONPATH": str(site)}
    process = subprocess.run([sys.executable, "-c", SEVERAL], env=environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    said = json.loads(process.stdout)
    assert [code for code, _, _ in said] == [0, 0, 0], said
    assert "Traceback" not in process.stdout + process.stderr
    (_, listing, _), (_, table, warned) = said[1:]
    infos = {(info["name"], info["distribution"]): info for info in json.loads(listing)}
    assert infos["healthy", "gan-healthy"]["status"] == "unloaded"
    bad = next(info for (_, title), info in infos.items() if title in (kind.distribution, "gan_bad"))
    assert (bad["name"], bad["status"]) == (kind.name, kind.listed)
    assert not (tmp_path / "canary").exists()
    if kind.listed != "unloaded":
        assert kind.says in bad["reason"]
        (line,) = [line for line in warned.splitlines() if line.startswith(f"warning: plugin {bad['distribution']}")]
        assert f"--no-plugin {kind.name}" in line
        assert kind.listed in table


@pytest.mark.rule("P1", "P5")
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_the_healthy_one_trains_the_same_beside_it(beside, tmp_path, kind, alone, capfd):
    if not alone:
        alone[gan.__version__] = train(Plugins.installed(), tmp_path / "alone")
    beside(kind)
    before = state()
    plugins = Plugins.installed()
    if kind.loaded is not None:
        capfd.readouterr()
        plugins.entries("gan_losses")
        assert capfd.readouterr().out == ""
        (bad,) = [i for i in plugins.infos() if i.distribution == kind.distribution or "gan_bad" in i.distribution]
        assert bad.status == kind.loaded, bad.reason
        assert kind.says in bad.reason
        assert "\n" not in bad.warning()
        if kind.loaded == "broken":
            assert bad.warning() in plugins.warnings()
    assert state() == before
    assert train(plugins, tmp_path / "beside") == alone[gan.__version__]


@pytest.mark.rule("P2", "P5")
def test_a_plugin_that_is_not_asked_for_is_not_run_by_a_training(beside, tmp_path):
    beside(KINDS["kills the process"])
    train(Plugins.installed(), tmp_path / "run")
    assert not (tmp_path / "canary").exists()


def test_the_reason_of_the_one_asked_for_is_told_in_a_line(beside):
    site = beside(KINDS["raises in a function"])
    run = gan_command("run", "--plugin", "bad", site=site)
    assert run.returncode == 2
    assert run.stderr.splitlines() == ["error: plugin 'bad' (gan-bad 1.0) cannot be used: OSError: boom"]


@pytest.mark.rule("P4")
@pytest.mark.parametrize("name", ["bad", "gan-bad"])
def test_no_plugin_keeps_it_from_being_run(beside, tmp_path, name):
    site = beside(KINDS["raises in a function"])
    run = gan_command("--no-plugin", name, "run", "--plugin", "bad", site=site)
    assert run.returncode == 2
    assert "switched off by --no-plugin" in run.stderr
    assert not (tmp_path / "canary").exists()


def test_a_known_plugin_that_is_missing_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr("gan.plugins.registry.owners", lambda: {"sketch": "gan-sketch"})
    with pytest.raises(PluginError, match="known but not installed; install it: gan plugins install sketch"):
        Plugins().require("sketch")


MISTAKES = """
from gan.contracts import ArchitectureEntry, ModalityEntry
from gan.game import Turn
from gan.hookspecs import hookimpl
from gan.testing.mlp import MLP
from gan.testing.points import Points
from gan.testing.toy import gan_datasets, gan_metrics
from gan_healthy import gan_recipes
import os

@hookimpl
def gan_modalities():
    yield ModalityEntry(name="points", summary="s", target="gan_bad:BadPoints", dataset="ring")

@hookimpl
def gan_architectures():
    yield ArchitectureEntry(name="mlp", summary="s", target="gan_bad:BadMLP", modality="points", paper="p")

def stumble(where, position):
    if os.environ.get("STUMBLES_IN") == where and position >= 32:
        raise RuntimeError("stumbled")

class BadPoints(Points):
    previews = 0
    def preview(self, samples):
        self.previews += 1
        stumble("preview", 32 if self.previews > 2 else 0)  # two before the training: generated and real ones
        return super().preview(samples)

class BadMLP(MLP):
    def phases(self, loss, penalties):
        (phase,) = super().phases(loss, penalties)
        last = phase.turns[-1]
        def objective(batch):
            stumble("objective", batch.position)
            return last.objective(batch)
        phase.turns[-1] = Turn(last.player, objective)
        return [phase]
"""


@pytest.mark.rule("P6")
@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("objective", "bad/mlp: phase 'adversarial', player 'generator', at 32 samples: the objective failed"),
        ("preview", "bad/points, preview at 32 samples"),
    ],
)
def test_a_mistake_in_mid_training_is_named_and_the_run_goes_on_when_it_is_mended(
    beside, tmp_path, monkeypatch, where, said
):
    from gan.build import recipe_values
    from gan.errors import PluginError
    from gan.training.session import resume, start

    beside(Kind())
    (tmp_path / "site" / "gan_bad.py").write_text(MISTAKES)
    plugins = Plugins.installed()
    training = {"samples": 64, "batch": 16, "device": "cpu", "preview_ticks": 2, "tick": 16, "checkpoint_ticks": 1}
    values = {**recipe_values(plugins, "healthy"), "plugin": "bad", "training": training}
    start(values, plugins, Reporter(), out=tmp_path / "whole")
    monkeypatch.setenv("STUMBLES_IN", where)
    with pytest.raises(PluginError) as caught:
        start(values, plugins, Reporter(), out=tmp_path / "run")
    assert str(caught.value).startswith(said)
    assert "RuntimeError: stumbled" in str(caught.value)
    assert (caught.value.plugin, caught.value.exit_code) == ("bad", 2)
    monkeypatch.delenv("STUMBLES_IN")
    assert resume(tmp_path / "run", plugins, Reporter()).samples == 64
    ends = [max(path.glob("checkpoints/*")) for path in (tmp_path / "whole", tmp_path / "run")]
    one, other = [next(end.glob("architecture*.safetensors")).read_bytes() for end in ends]
    assert one == other
