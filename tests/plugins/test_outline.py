"""Reading an entry module without running it: what is understood, and what is left open."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import textwrap

import pytest
from gan.contracts import ENTRY_TYPES, LossEntry
from gan.plugins.manager import Plugins
from gan.plugins.outline import outline

HEAD = "from gan.contracts import LossEntry\nfrom gan.hookspecs import hookimpl\n"
A = LossEntry(name="a", summary="s", target="m:A", paper="p")
B = LossEntry(name="b", summary="s", target="m:B", paper="p")


@pytest.fixture
def read(tmp_path, monkeypatch):
    """A function that puts a module on the path and reads its outline."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(body: str, name: str = "gan_read"):
        (tmp_path / f"{name}.py").write_text(HEAD + textwrap.dedent(body))
        return outline(name)

    return write


READABLE = {
    "yields": """
        @hookimpl
        def gan_losses():
            '''Two.'''
            yield LossEntry(name="a", summary="s", target="m:A", paper="p")
            yield LossEntry(name="b", summary="s", target="m:B", paper="p")
    """,
    "list": """
        PAPER = "p"
        @hookimpl
        def gan_losses():
            return [LossEntry(name=n, summary="s", target=f"m:{n.upper()}", paper=PAPER) for n in ("a", "b")]
    """,
    "loop over a mapping": """
        NAMES = {"a": "A", "b": "B"}
        @hookimpl(tryfirst=True)
        def gan_losses():
            for name, target in NAMES.items():
                where = "m:" + target
                yield LossEntry(name=name, summary="s", target=where, paper="p" if name == "a" else "p")
    """,
    "module's list": """
        LOSSES = [LossEntry(name="a", summary="s", target="m:A", paper="p")]
        @hookimpl
        def gan_losses():
            yield from LOSSES + [LossEntry(name="b", summary="s", target="m:B", paper="p")]
    """,
    "list in a list": """
        FIRST = (LossEntry(name="a", summary="s", target="m:A", paper="p"),)
        @hookimpl
        def gan_losses():
            return [*FIRST, LossEntry(name="b", summary="s", target="m:B", paper="p")]
    """,
}


@pytest.mark.parametrize("body", READABLE.values(), ids=READABLE)
def test_literal_entries_are_read(read, body):
    found = read(body)
    assert (found.entries, found.complete, found.fault, found.odd) == ({"gan_losses": [A, B]}, True, "", [])


OPEN = {
    "call": "import os\n@hookimpl\ndef gan_losses():\n    return make(os.environ)",
    "star": "from os.path import *",
    "import": "from os.path import join as gan_losses",
    "assigned": "gan_losses = hookimpl(lambda: [])",
    "conditional": "if len('x'):\n    @hookimpl\n    def gan_losses():\n        return []",
    "two decorators": "@hookimpl\n@staticmethod\ndef gan_losses():\n    return []",
    "twice": "@hookimpl\ndef gan_losses():\n    return []\n@hookimpl\ndef gan_losses():\n    return [1]",
    "doubled text": "A = 'x' * 2\nB = 'x' + 'x'\n" + "B = B + B\n" * 40 + "@hookimpl\ndef gan_losses():\n    return B",
    "doubled list": "A = [1]\n" + "A = [*A, *A]\n" * 40 + "@hookimpl\ndef gan_losses():\n    return A",
    "nested text": "A = [1]\n" + "A = [A, A]\n" * 40 + "@hookimpl\ndef gan_losses():\n    return [f'{A}']",
    "nested loops": "A = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0]\n@hookimpl\ndef gan_losses():\n"
    "    return [[[[[[0 for a in A] for b in A] for c in A] for d in A] for e in A] for f in A]",
    "attribute": "@hookimpl\ndef gan_losses():\n    return [LossEntry.__class__]",
    "builtin": "@hookimpl\ndef gan_losses():\n    return [__builtins__['open']]",
    "changes a constant": "X = []\n@hookimpl\ndef gan_losses():\n    X[0] = 1\n    return X",
    "wrong type": "@hookimpl\ndef gan_losses():\n    return ['a']",
    "endless": "X = [0] \n@hookimpl\ndef gan_losses():\n    return [[x for x in X + X + X] for y in X]",
    "changed list": "X = []\nX.append(1)\n@hookimpl\ndef gan_losses():\n    return X",
    "changed item": "X = [LossEntry(name='a', summary='s', target='m:A', paper='p')]\nX[0] = 1\n"
    "@hookimpl\ndef gan_losses():\n    return X",
}


@pytest.mark.parametrize("body", OPEN.values(), ids=OPEN)
def test_what_only_running_tells_is_left_open(read, body):
    found = read(body)
    assert not found.complete
    assert not found.fault


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ("import no_such_library", "ModuleNotFoundError: No module named 'no_such_library'"),
        ("from no_such_library.inner import x", "No module named 'no_such_library'"),
        ("def f(:", "SyntaxError: invalid syntax (line 3)"),
        ("raise RuntimeError('x')", "its module raises RuntimeError"),
        ("import sys\nsys.exit(3)", "tries to end the program"),
    ],
)
def test_an_import_that_cannot_work_is_known_before(read, body, fault):
    assert fault in read(body).fault


def test_statements_after_a_return_are_not_reached(read):
    found = read("@hookimpl\ndef gan_losses():\n    return []\n    yield 1")
    assert (found.entries, found.complete) == ({"gan_losses": []}, True)


def test_an_optional_import_is_no_fault(read):
    found = read("try:\n    import no_such_library\nexcept ImportError:\n    pass")
    assert found.fault == ""


def test_a_missing_module_is_a_fault():
    assert outline("gan_nowhere").fault == "ModuleNotFoundError: No module named 'gan_nowhere'"
    assert outline("gan.nowhere").fault == "ModuleNotFoundError: No module named 'gan.nowhere'"


def test_misspelt_hooks_and_heavy_imports_are_odd(read):
    found = read("import torch\n@hookimpl\ndef gan_loses():\n    return []\ndef gan_metrics():\n    return []")
    assert "torch" in found.odd[0]
    assert "did you mean 'gan_losses'" in found.odd[1]
    assert "'gan_metrics' is not marked" in found.odd[2]


def test_nothing_is_run(read, tmp_path):
    mark = tmp_path / "ran"
    read(f"@hookimpl\ndef gan_losses():\n    return open({str(mark)!r}, 'w')\nX = open({str(mark)!r}, 'w')")
    assert not mark.exists()


def test_the_outline_of_every_installed_plugin_is_what_it_gives():
    """Ours are written so that they can be read; what is read is what running them gives."""
    plugins = Plugins.installed()
    ours = [i for i in plugins.infos() if i.name == "builtin" or "gan-core" in _requires(i.distribution)]
    assert len(ours) > 0
    for info in ours:
        found = outline(info.module)
        assert (found.complete, found.fault, found.odd) == (True, "", []), info.name
        given = {
            hook: [plugin_entry.entry for plugin_entry in plugins.entries(hook, info.name)] for hook in ENTRY_TYPES
        }
        read = {hook: found.entries.get(hook, []) for hook in ENTRY_TYPES}
        assert read == given, info.name
        assert all(dataclasses.is_dataclass(entry) for entries in read.values() for entry in entries)


def _requires(distribution: str) -> str:
    return " ".join(importlib.metadata.requires(distribution) or [])
