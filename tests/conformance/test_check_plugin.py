"""The conformance kit: a healthy plugin passes everything, and each check finds the plugin that is broken in its way."""

# ruff: noqa: E501  (BROKEN and MEMORY are tables)

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from gan.conformance.checking import check_project
from gan.conformance.checking import run_checks as run
from gan.conformance.kit import Kit, Outcome
from gan.plugins.manager import Plugins
from gan.testing import check_plugin, install

BASE = """
import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from gan.contracts import (ArchitectureEntry, DatasetEntry, FieldSpec, LossEntry, MetricEntry, MetricValue, ModalityEntry,
                           PenaltyEntry, RecipeEntry)
from gan.errors import BadData
from gan.game import Phase, Player, Turn
from gan.hookspecs import hookimpl
from gan.losses import Hinge
from gan.penalties import R1
from gan.testing.mlp import MLP as GoodMLP
from gan.testing.points import Points as GoodPoints, RingModes, write_ring

def modality(**changes):
    return ModalityEntry(**{"name": "points", "summary": "s", "target": "bad_plugin:Points", "dataset": "r", **changes})

def architecture(**changes):
    return ArchitectureEntry(**{"name": "mlp", "summary": "s", "target": "bad_plugin:MLP", "modality": "points",
                                "paper": "p", "small": ("model.hidden=8", "model.layers=1"), **changes})

def dataset(**changes):
    return DatasetEntry(**{"name": "r", "summary": "s", "target": "bad_plugin:write", "modality": "points",
                           "licence": "l", **changes})

def recipe(**changes):
    return RecipeEntry(**{"name": "r", "summary": "s", "target": "bad_plugin_files:r.yaml", "architecture": "mlp",
                          "default": True, **changes})

@hookimpl
def gan_modalities():
    return [modality()]

@hookimpl
def gan_architectures():
    return [architecture()]

@hookimpl
def gan_datasets():
    return [dataset()]

@hookimpl
def gan_recipes():
    return [recipe()]

@hookimpl
def gan_losses():
    return [LossEntry(name="mine", summary="s", target="bad_plugin:Loss", paper="p")]

@hookimpl
def gan_penalties():
    return [PenaltyEntry(name="mine", summary="s", target="bad_plugin:Penalty", paper="p")]

@hookimpl
def gan_metrics():
    return [MetricEntry(name="modes", summary="s", target="bad_plugin:Modes", modality="points")]

class Points(GoodPoints):
    metrics = ("modes",)

class MLP(GoodMLP): pass
class Loss(Hinge): pass
class Penalty(R1): pass
class Modes(RingModes): pass
write = write_ring
"""
RECIPE = "plugin: bad\narchitecture: mlp\n"
CONFIG = "model_config = ConfigDict(extra='forbid')"

BROKEN = {  # (check, part of the reason, code that breaks it)
    "summary": ("entry", "summary is empty", "gan_modalities = hookimpl(lambda: [modality(summary=' ')])"),
    "target": ("entry", "cannot import", "gan_modalities = hookimpl(lambda: [modality(target='bad_plugin:No')])"),
    "modality's class": ("entry", "no subclass", "class Points: pass"),
    "architecture's class": ("entry", "no players, phases", "class MLP:\n    Config = generate = GoodMLP.Config"),
    "architecture without Config": ("entry", "it has no Config", "class MLP(torch.nn.Module):\n    pass"),
    "setting without words": ("settings", "Config.x has no description", f"class MLP(GoodMLP):\n    class Config(GoodMLP.Config):\n        {CONFIG}\n        x: int = 1"),
    "settings that take all": ("settings", "unknown keys", "class MLP(GoodMLP):\n    class Config(GoodMLP.Config):\n        model_config = ConfigDict(extra='ignore')"),
    "option that must be given": ("settings", "has no default", f"class MLP(GoodMLP):\n    class Options(BaseModel):\n        {CONFIG}\n        x: int = Field(description='d')"),
    "data set of nobody": ("names", "nobody offers", "gan_modalities = hookimpl(lambda: [modality(dataset='nowhere')])"),
    "data set of another kind": ("names", "other data", "gan_datasets = hookimpl(lambda: [dataset(modality='other')])"),
    "data set that downloads": ("names", "needs a download", "gan_datasets = hookimpl(lambda: [dataset(download='1 MB')])"),
    "no default recipe": ("names", "exactly one recipe", "gan_recipes = hookimpl(lambda: [recipe(default=False)])"),
    "no recipe": ("names", "no recipe", "gan_recipes = hookimpl(lambda: [])"),
    "architecture of no data": ("names", "nobody offers", "gan_architectures = hookimpl(lambda: [architecture(modality='x')])"),
    "recipe of another architecture": ("recipe", "its entry gru", "gan_recipes = hookimpl(lambda: [recipe(architecture='gru')])"),
    "data set without files": ("default data", "holds no file", "def write(folder, download): pass"),
    "field without a unit": ("default data", "has no unit", "class Points(GoodPoints):\n    fields = {'points': FieldSpec((2,), 'float32', -6., 6., '')}"),
    "facts with tuples": ("default data", "JSON changes", "class Points(GoodPoints):\n    def survey(self, files): return {'x': (1, 2)}"),
    "other dtype": ("samples keep the fields", "float64", "class Points(GoodPoints):\n    def read(self, file):\n        for s in super().read(file): yield {'points': s['points'].astype(float)}"),
    "other name": ("samples keep the fields", "has the fields ['x']", "class Points(GoodPoints):\n    def read(self, file):\n        for s in super().read(file): yield {'x': s['points']}"),
    "out of range": ("samples keep the fields", "lies in", "class Points(GoodPoints):\n    def read(self, file):\n        for s in super().read(file): yield {'points': 9 * s['points']}"),
    "reads at random": ("reading again gives the same", "other samples", "class Points(GoodPoints):\n    def read(self, file):\n        for s in super().read(file): yield {'points': np.random.rand(2).astype('f')}"),
    "writes at random": ("writing and reading", "other bytes", "class Points(GoodPoints):\n    def write(self, s, stem, options=None):\n        return super().write({'points': np.random.rand(2).astype('f')}, stem)"),
    "drifts": ("writing and reading", "has changed", "class Points(GoodPoints):\n    def write(self, s, stem, options=None):\n        return super().write({'points': s['points'] * 0.9}, stem)"),
    "no picture": ("preview", "no picture", "class Points(GoodPoints):\n    def preview(self, samples): return None"),
    "preview that changes": ("preview", "changes the samples", "class Points(GoodPoints):\n    def preview(self, samples):\n        picture = super().preview(samples)\n        samples['points'] *= 0\n        return picture"),
    "silence": ("files that are no data", "vanishes in silence", "class Points(GoodPoints):\n    def read(self, file):\n        try: yield from super().read(file)\n        except BadData: return"),
    "shared parameters": ("builds", "share a parameter", "class MLP(GoodMLP):\n    def players(self): return {'generator': Player(self), 'discriminator': Player(self)}"),
    "parameters elsewhere": ("builds", "no checkpoint would hold", "class MLP(GoodMLP):\n    def players(self): return {**super().players(), 'x': Player(torch.nn.Linear(1, 1))}"),
    "turn of nobody": ("builds", "turns of ['x']", "class MLP(GoodMLP):\n    def phases(self, l, p): return [Phase('a', [Turn('x', lambda b: {})])]"),
    "weights at random": ("builds", "other weights", "class MLP(GoodMLP):\n    def __init__(self, c, f):\n        super().__init__(c, f)\n        import os\n        self.generator[0].bias.data += int.from_bytes(os.urandom(3), 'big') / 2**24"),
    "wrong numbers": ("parameters", "its entry says", "gan_architectures = hookimpl(lambda: [architecture(parameters={'generator': 1})])"),
    "samples of another shape": ("generates", "its field is (5, 2)", "class MLP(GoodMLP):\n    def decode(self, z, r): return {'points': super().decode(z, r)['points'][:, :1]}"),
    "samples out of range": ("generates", "and its field in", "class MLP(GoodMLP):\n    def decode(self, z, r): return {'points': super().decode(z, r)['points'] + 100}"),
    "samples from the global generator": ("generates", "draw from `rng`", "class MLP(GoodMLP):\n    def latents(self, n, rng): return torch.randn(n, self.config.latent)"),
    "samples that know each other": ("generates", "depends on how many", "class MLP(GoodMLP):\n    def decode(self, z, r):\n        p = super().decode(z, r)['points']\n        return {'points': p - p.mean(0)}"),
    "given part that is changed": ("generates", "not as they were given", "class MLP(GoodMLP):\n    def given_fields(self, o=None): return ('points',)\n    def given_places(self, o=None): return {'points': (0,)}"),
    "decode of its own": ("latent space", "not what `generate` gives", "class MLP(GoodMLP):\n    def generate(self, n, rng, r): return {'points': super().generate(n, rng, r)['points'] + 1}"),
    "loss without a number": ("trains with every loss", "not finite", "class MLP(GoodMLP):\n    def phases(self, l, p):\n        (phase,) = super().phases(l, p)\n        first, *rest = phase.turns\n        bad = Turn(first.player, lambda b: {'loss': first.objective(b)['loss'] * float('nan')})\n        return [Phase('a', [bad, *rest])]"),
    "player that stands still": ("trains with every loss", "changes nothing of the player 'generator'", "class MLP(GoodMLP):\n    def phases(self, l, p):\n        (phase,) = super().phases(l, p)\n        g = phase.turns[-1]\n        return [Phase('a', [*phase.turns[:-1], Turn(g.player, lambda b: {'loss': 0 * g.objective(b)['loss']})])]"),
    "sampling with memory": ("saves and loads", "other samples than at the end", "class MLP(GoodMLP):\n    shift = 0.0\n    def phases(self, l, p):\n        (phase,) = super().phases(l, p)\n        def moved(b): self.shift = 1.0\n        t = phase.turns\n        return [Phase('a', [*t[:-1], Turn(t[-1].player, t[-1].objective, after=moved)])]\n    def decode(self, z, r): return {'points': super().decode(z, r)['points'] + self.shift}"),
    "loss of the wrong sign": ("arithmetic", "does not make the generator's loss lower", "class Loss(Hinge):\n    def generator(self, real, fake): return -super().generator(real, fake)"),
    "loss that is a mean": ("arithmetic", "not 5 finite values", "class Loss(Hinge):\n    def generator(self, real, fake): return super().generator(real, fake).mean()"),
    "penalty without gradient": ("arithmetic", "no gradient", "class Penalty(R1):\n    def __call__(self, *a): return super().__call__(*a).detach()"),
    "penalty that is a mean": ("arithmetic", "not 5 finite values", "class Penalty(R1):\n    def __call__(self, *a): return super().__call__(*a).mean()"),
    "metric at random": ("on known input", "another value", "class Modes(RingModes):\n    def compute(self, g, r, m): return [MetricValue('x', float(np.random.rand()))]"),
    "metric at random on what was made": ("on known input", "another value", "class Modes(RingModes):\n    def compute(self, g, r, m):\n        if g is r: raise BadData('wants made samples')\n        return [MetricValue('x', float(np.random.rand()))]"),
    "model metric at random": ("on known input", "same weights of mlp give another value", "class Modes(RingModes):\n    def compute(self, a, g, r, m): return [MetricValue('x', float(np.random.rand()))]\n@hookimpl\ndef gan_metrics(): return [MetricEntry(name='modes', summary='s', target='bad_plugin:Modes', modality='points', on_model=True)]"),
    "guard that raises an alarm for real samples": ("on known input", "it raises fear for real samples", "from gan.contracts import Alarm, GuardEntry\nclass Fear:\n    def judge(self, windows): return [Alarm(verdict='fear', evidence='e', advice='a')]\n@hookimpl\ndef gan_guards(): return [GuardEntry(name='fear', summary='s', target='bad_plugin:Fear')]"),
    "metric without a number": ("on known input", "not finite", "class Modes(RingModes):\n    def compute(self, g, r, m): return [MetricValue('x', float('nan'))]"),
}  # fmt: skip
MEMORY = {  # state that no checkpoint holds
    "memory beside the state": ("resumes exactly", "must be a parameter or a buffer", "class MLP(GoodMLP):\n    seen = 0\n    def latents(self, n, rng): return rng.randn(self.config.latent)\n    def phases(self, l, p):\n        (phase,) = super().phases(l, p)\n        def count(turn):\n            def objective(b):\n                self.seen += 1\n                return {n: v * self.seen for n, v in turn.objective(b).items()}\n            return Turn(turn.player, objective)\n        return [Phase('a', [count(t) for t in phase.turns])]"),
    "memory of the last batch": ("resumes exactly", "training changes `kept` of it", "class MLP(GoodMLP):\n    def phases(self, l, p):\n        (phase,) = super().phases(l, p)\n        first, *rest = phase.turns\n        def objective(b):\n            terms, last = first.objective(b), getattr(self, 'kept', torch.zeros(()))\n            self.kept = terms['loss'].detach()\n            return {'loss': terms['loss'] * (1 + last)}\n        return [Phase('a', [Turn(first.player, objective), *rest])]"),
    "memory of a closure": ("resumes exactly", "must come from `batch.rng`", "class MLP(GoodMLP):\n    def phases(self, l, p):\n        (phase,) = super().phases(l, p)\n        first, *rest = phase.turns\n        seen = []\n        def objective(b):\n            seen.append(1)\n            return {'loss': first.objective(b)['loss'] * len(seen)}\n        return [Phase('a', [Turn(first.player, objective), *rest])]"),
    "state that comes later": ("resumes exactly", "does not fit this run", "class MLP(GoodMLP):\n    def phases(self, l, p):\n        (phase,) = super().phases(l, p)\n        def late(b): self.register_buffer('late', torch.ones(()))\n        t = phase.turns\n        return [Phase('a', [*t[:-1], Turn(t[-1].player, t[-1].objective, after=late)])]"),
}  # fmt: skip


@pytest.fixture
def outcomes(tmp_path, monkeypatch, cache):
    """A function that runs the kit in this process on `BASE` changed by a piece of code."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "bad_plugin_files").mkdir()
    (tmp_path / "bad_plugin_files" / "__init__.py").touch()
    (tmp_path / "bad_plugin_files" / "r.yaml").write_text(RECIPE)

    def check(code: str = "") -> list[Outcome]:
        (tmp_path / "bad_plugin.py").write_text(BASE + code + "\n")
        plugins = Plugins()
        plugins.register("bad", "bad_plugin")
        found: list[Outcome] = []
        run(
            Kit(
                plugins, "bad", {}, lambda event, outcome, subject: found.append(outcome) if outcome else None, tmp_path
            )
        )
        return found

    yield check
    for name in ("bad_plugin", "bad_plugin_files"):
        sys.modules.pop(name, None)


def test_a_healthy_plugin_passes_every_check(outcomes):
    found = outcomes()
    wrong = [o for o in found if o.status == "failed" and o.check != "import is light"]
    assert wrong == []
    checks = {outcome.check for outcome in found if outcome.status == "passed"}
    assert {check for check, _, _ in (BROKEN | MEMORY).values()} - {"parameters"} <= checks


@pytest.mark.parametrize(("check", "reason", "code"), BROKEN.values(), ids=BROKEN)
def test_each_check_finds_what_is_broken_in_its_way(outcomes, check, reason, code):
    failed = [o for o in outcomes(code) if o.status == "failed" and o.check != "import is light"]
    assert any(o.check == check and reason in o.reason for o in failed), failed
    assert all("\n" not in o.reason for o in failed)


@pytest.mark.rule("R6")
@pytest.mark.parametrize(("check", "reason", "code"), MEMORY.values(), ids=MEMORY)
def test_a_memory_that_no_checkpoint_holds_is_found(outcomes, check, reason, code):
    (failed,) = [o for o in outcomes(code) if o.status == "failed" and o.check == check]
    assert reason in failed.reason
    assert "\n" not in failed.reason


@pytest.mark.rule("R6")
def test_a_memory_that_changes_nothing_yet_is_noted(outcomes):
    """A counter whose effect would come later than the check's few iterations."""
    code = """
class MLP(GoodMLP):
    seen = 0
    def phases(self, l, p):
        (phase,) = super().phases(l, p)
        first, *rest = phase.turns
        def objective(b):
            self.seen += 1
            return {n: v * (1 + self.seen // 1000) for n, v in first.objective(b).items()}
        return [Phase('a', [Turn(first.player, objective), *rest])]
"""
    (noted,) = [o for o in outcomes(code) if o.check == "resumes exactly"]
    assert noted.status == "noted"
    assert "training changes `seen`" in noted.reason
    assert "register_buffer" in noted.reason


OBJECTIVE = """
class MLP(GoodMLP):
    def __init__(self, c, f):
        super().__init__(c, f)
        self.register_buffer('mean', torch.zeros(2))
        self.norm = torch.nn.BatchNorm1d(2)
    def phases(self, l, p):
        (phase,) = super().phases(l, p)
        first, *rest = phase.turns
        def objective(b):
            {observe}
            return first.objective(b)
        return [Phase('a', [Turn(first.player, objective, learn={learn}), *rest])]
"""
LEARNED = {
    "buffer that changes inside": ("learned state", "noted", "an objective changes `mean` by itself", OBJECTIVE.format(observe="self.mean.lerp_(b['points'].mean(0), 0.1)", learn=None)),
    "statistics of torch's layers": ("learned state", "skipped", "no turn learns", OBJECTIVE.format(observe="self.norm(b['points'])", learn=None)),
    "mean in place of a sum": ("learned state", "failed", "`m`, which the objective of 'discriminator' observes, differs", OBJECTIVE.format(observe="b.observe('m', b['points'].mean(0))", learn="lambda o, r: self.mean.copy_(o['m'])").replace("        self.norm = torch.nn.BatchNorm1d(2)\n", "")),
    "settling that draws by itself": ("settles", "failed", "draw from `rng` only", OBJECTIVE.format(observe="pass", learn=None) + "    def settle(self, rng): self.norm(rng.randn(2) + __import__('os').urandom(1)[0])"),
    "settling that changes more": ("settles", "failed", "`settle` changes `mean`", OBJECTIVE.format(observe="pass", learn=None) + "    def settle(self, rng):\n        self.mean += 1\n        self.norm(rng.randn(2))"),
    "settling of nothing": ("settles", "noted", "runs no BatchNorm layer", OBJECTIVE.format(observe="pass", learn=None) + "    def settle(self, rng): pass"),
    "settling as it should be": ("settles", "passed", "", OBJECTIVE.format(observe="pass", learn=None) + "    def settle(self, rng): self.norm(rng.randn(2))"),
}  # fmt: skip


@pytest.mark.parametrize(("check", "status", "reason", "code"), LEARNED.values(), ids=LEARNED)
def test_learned_state_and_settling_are_checked(outcomes, check, status, reason, code):
    (found,) = [o for o in outcomes(code) if o.check == check]
    assert (found.status, reason in found.reason) == (status, True), found


ENTRY = "from gan.contracts import LossEntry\nfrom gan.hookspecs import hookimpl\n"
IMPORTS = {
    "heavy": ("import is light", "imports torch", "import torch"),
    "slow": ("import is light", "CPU time", "import time\nwhile time.process_time() < 3: pass"),
    "seeds": ("import changes nothing global", "generator of `random`", "import random\nrandom.seed(1)"),
    "environment": ("import changes nothing global", "the environment", "import os\nos.environ['X_Y'] = '1'"),
    "prints": ("import changes nothing global", "prints 'hello", "print('hello')"),
    "misspelt": ("hooks", "did you mean 'gan_losses'", "@hookimpl\ndef gan_loses():\n    return []"),
    "raises": ("import", "ZeroDivisionError", "def f(): return 1 / 0\nf()"),
    "syntax": ("import", "SyntaxError", "def f(:"),
    "not literal": ("source can be read", "not literal", "@hookimpl\ndef gan_losses():\n    return list(())"),
    "open core": ("metadata", "upper bound", "@hookimpl\ndef gan_losses():\n    return []"),
    "no licence": ("licence", "names no licence", "@hookimpl\ndef gan_losses():\n    return []"),
}
MODULE = """
import sys
from gan.plugins.manager import Plugins
from gan.conformance.kit import Kit
from gan.conformance.module import check_module
plugins = Plugins.installed()
def report(event, outcome, subject):
    if outcome:
        print(outcome.status, outcome.check, outcome.reason, sep="|", file=sys.stderr)
check_module(Kit(plugins, "bad", {}, report))
"""


@pytest.mark.parametrize(("check", "reason", "code"), IMPORTS.values(), ids=IMPORTS)
def test_each_check_of_the_module_finds_what_is_broken_in_its_way(tmp_path, check, reason, code):
    install(tmp_path, "bad", {"gan_bad.py": ENTRY + code + "\n"})
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    process = subprocess.run([sys.executable, "-c", MODULE], env=environment, capture_output=True, text=True)
    lines = [line.split("|", 2) for line in process.stderr.splitlines() if line.count("|") >= 2]
    assert any(s in ("failed", "noted") and c == check and reason in r for s, c, r in lines), process.stderr


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import os\nf = os._exit\nf(9)", "ended the process (exit code 9) in: import, plugin bad"),
        ("import time\ntime.sleep(60)", "was stopped in: import, plugin bad"),
    ],
)
def test_a_plugin_that_ends_or_hangs_gets_a_report(tmp_path, monkeypatch, code, reason):
    install(tmp_path, "bad", {"gan_bad.py": code})
    monkeypatch.syspath_prepend(str(tmp_path))
    start = time.monotonic()
    report = check_plugin("bad", timeout=5)
    assert time.monotonic() - start < 50
    assert not report.passed
    assert reason in report.text()


def test_the_report_of_the_toy_is_whole(tmp_path, monkeypatch):
    """The toy through the front door: a module, a child process, text and JSON."""
    from gan.testing import toy

    monkeypatch.setenv("GAN_CACHE", str(tmp_path))
    report = check_plugin(toy)
    assert report.passed, report.text() + report.output
    said = json.loads(json.dumps(report.to_json()))
    assert said["passed"]
    assert said["failed"] == 0
    assert {o["check"] for o in said["outcomes"]} >= {"import", "resumes exactly", "saves and loads", "preview"}


def test_only_the_named_architectures_are_checked(tmp_path, monkeypatch):
    from gan.testing import toy

    monkeypatch.setenv("GAN_CACHE", str(tmp_path))
    report = check_plugin(toy, architectures=["absent"])
    assert [(o.subject, o.check) for o in report.failures] == [("architecture absent", "is offered")]
    assert not {o.subject for o in report.outcomes} & {"architecture mlp"}


def test_a_project_folder_without_a_plugin_is_refused(tmp_path):
    from gan.errors import UsageError

    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    with pytest.raises(UsageError, match=r"no \[project.entry-points.gan\]"):
        check_project(tmp_path)
    with pytest.raises(UsageError, match="No such file"):
        check_project(Path(tmp_path, "nowhere"))


def test_the_base_of_these_tests_is_python():
    compile(textwrap.dedent(BASE), "BASE", "exec")
