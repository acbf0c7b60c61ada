"""Rules about our own source, held by reading it: nothing is unpickled, evaluated or unpacked on trust.

`ast` sees the code whether or not a test runs it. Each rule is shown to catch what it forbids.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.rule("S2")

MODULES = {
    "pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "jsonpickle", "torch.package",
    "torch.hub", "torch.distributed.checkpoint",
}  # fmt: skip
CALLS = {
    "eval", "exec", "compile", "__import__", "builtins.eval", "builtins.exec",
    "torch.load", "torch.save", "torch.jit.load", "torch.hub.load", "torch.export.load",
    "pandas.read_pickle", "pd.read_pickle",
    "yaml.load_all", "yaml.full_load", "yaml.full_load_all", "yaml.unsafe_load", "yaml.unsafe_load_all",
    "os.system", "os.popen", "shutil.unpack_archive", "tempfile.mktemp",
    "urllib.request.urlopen", "urllib.request.urlretrieve", "requests.get", "ssl._create_unverified_context",
    "multiprocessing.Pool",
}  # fmt: skip
METHODS = {"extractall", "read_pickle", "load_module", "exec_module"}
KEYWORDS = {
    "allow_pickle": True,
    "weights_only": False,
    "trust_remote_code": True,
    "shell": True,
    "verify": False,
}
BY_NAME = {
    "gan/conformance/module.py",
    "gan/plugins/manager.py",
    "gan/plugins/isolation.py",
    "gan/generation/model.py",
}
"""Files that may import a module whose name is no literal: the loader of plugins. So may a package's `__init__.py`, for
its lazy names."""
INTERPRETERS = {"gan/plugins/outline.py"}
"""Files that may compile and run code: the reader of entries, which runs only the expressions of its own list, without
builtins, imports and attributes."""
PROVED = {"gan_image/extractors/base.py"}
"""Files that may read a published .pth file, with weights_only=True: its sha256 stands in the source and is checked
before the file is read, so it is that file and no other."""
SAFE_LOADERS = {"SafeLoader", "CSafeLoader"}


def packages():
    """Our packages: the core and every first-party plugin."""
    return [ROOT / "core" / "gan", *sorted(path.parent for path in ROOT.glob("plugins/gan-*/gan_*/__init__.py"))]


def sources():
    return [
        (path.relative_to(package.parent).as_posix(), path)
        for package in packages()
        for path in sorted(package.rglob("*.py"))
        if "templates" not in path.relative_to(package).parts
    ]


def dotted(node):
    """``a.b.c`` of an expression, or ``""``."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        inner = dotted(node.value)
        return f"{inner}.{node.attr}" if inner else ""
    return ""


def faults(text, name="x.py"):
    """What a source does that none of ours may do, with its line."""
    tree = ast.parse(text)
    names, safe = {}, set(SAFE_LOADERS)
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names[alias.asname or alias.name.split(".")[0]] = (
                    alias.name if alias.asname else alias.name.split(".")[0]
                )
                if alias.name in MODULES or alias.name.split(".")[0] in MODULES:
                    found.append(f"{node.lineno}: imports {alias.name}")
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                names[alias.asname or alias.name] = full
                if {node.module, full, (node.module or "").split(".")[0]} & MODULES:
                    found.append(f"{node.lineno}: imports {full}")
        elif isinstance(node, ast.ClassDef) and any(dotted(b).rsplit(".")[-1] in SAFE_LOADERS for b in node.bases):
            safe.add(node.name)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Assign, ast.AugAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(t, ast.Attribute) and t.attr == "MAX_IMAGE_PIXELS" for t in targets):
                found.append(f"{node.lineno}: changes Pillow's limit for the whole process")
        if not isinstance(node, ast.Call):
            continue
        called = dotted(node.func)
        first, _, rest = called.partition(".")
        called = names.get(first, first) + (f".{rest}" if rest else "")
        keywords = {keyword.arg: keyword.value for keyword in node.keywords}
        tensors_only = ast.unparse(keywords.get("weights_only", ast.Constant(False))) == "True"
        proved = name in PROVED and called == "torch.load" and tensors_only
        interprets = name in INTERPRETERS and called in ("exec", "compile")
        if (called in CALLS or called.removeprefix("numpy.") in CALLS) and not proved and not interprets:
            found.append(f"{node.lineno}: calls {called}")
        if isinstance(node.func, ast.Attribute) and node.func.attr in METHODS:
            found.append(f"{node.lineno}: calls .{node.func.attr}()")
        for key, forbidden in KEYWORDS.items():
            value = keywords.get(key)
            if value is not None and not (isinstance(value, ast.Constant) and value.value is not forbidden):
                found.append(f"{node.lineno}: passes {key}={ast.unparse(value)}")
        if called == "numpy.load" and "allow_pickle" not in keywords:
            found.append(f"{node.lineno}: calls numpy.load without allow_pickle=False")
        if called == "yaml.load":
            loader = dotted(keywords.get("Loader", ast.Name(""))).rsplit(".")[-1]
            if loader not in safe:
                found.append(f"{node.lineno}: calls yaml.load with the loader '{loader}'")
        lazy = name.endswith("/__init__.py")
        literal = bool(node.args) and isinstance(node.args[0], ast.Constant)
        if (
            called in ("importlib.import_module", "importlib.__import__")
            and not literal
            and not lazy
            and name not in BY_NAME
        ):
            found.append(f"{node.lineno}: imports a module whose name is no literal")
    return found


def test_our_source_keeps_the_rules():
    found = [f"{name}:{fault}" for name, path in sources() for fault in faults(path.read_text(encoding="utf-8"), name)]
    assert found == []


def test_a_proved_file_is_read_as_tensors_only():
    for name in PROVED:
        assert faults("import torch; torch.load(p, weights_only=True)", name) == []
        assert faults("import torch; torch.load(p)", name) != []


def test_every_package_is_read():
    names = {name for name, _ in sources()}
    assert {"gan/storage/checkpoint.py", "gan/source.py", "gan/recipe.py"} <= names
    folders = {path.name.replace("-", "_") for path in (ROOT / "plugins").glob("gan-*") if path.is_dir()}
    assert {name.split("/")[0] for name in names} == {"gan", *folders}


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from pickle import loads",
        "import joblib as j",
        "from torch import package",
        "import torch; torch.load(p)",
        "import torch as t; t.load(p, weights_only=True)",
        "from torch import load as l; l(p)",
        "import torch; torch.save(x, p)",
        "import torch.distributed.checkpoint as dcp",
        "import numpy as np; np.load(p)",
        "import numpy as np; np.load(p, allow_pickle=True)",
        "import numpy as np; np.load(p, allow_pickle=flag)",
        "from numpy import load; load(p)",
        "import yaml; yaml.load(t)",
        "import yaml; yaml.load(t, Loader=yaml.Loader)",
        "import yaml; yaml.load(t, Loader=yaml.UnsafeLoader)",
        "import yaml\nclass L(yaml.Loader): pass\nyaml.load(t, Loader=L)",
        "import yaml; yaml.unsafe_load(t)",
        "eval(t)",
        "exec(t)",
        "__import__(t)",
        "import tarfile; tarfile.open(p).extractall(d)",
        "import zipfile\nwith zipfile.ZipFile(p) as z: z.extractall()",
        "import shutil; shutil.unpack_archive(p)",
        "import subprocess; subprocess.run(c, shell=True)",
        "import os; os.system(c)",
        "from os import system; system(c)",
        "import importlib; importlib.import_module(name)",
        "from importlib import import_module; import_module(config['_target_'])",
        "from PIL import Image; Image.MAX_IMAGE_PIXELS = None",
        "load(p, weights_only=False)",
        "AutoModel.from_pretrained(n, trust_remote_code=True)",
        "import urllib.request; urllib.request.urlopen(u)",
        "get(u, verify=False)",
    ],
)
def test_the_rules_catch(text):
    assert faults(text) != []


@pytest.mark.parametrize(
    "text",
    [
        "import numpy as np; np.load(p, allow_pickle=False)",
        "import yaml\nclass L(yaml.SafeLoader): pass\nyaml.load(t, Loader=L)",
        "import yaml; yaml.safe_load(t)",
        "import re; re.compile('a')",
        "model.eval(); self.load(p); torch.compile(m)",
        "import importlib; importlib.import_module('gan.api')",
        "import subprocess; subprocess.run(['git'], shell=False)",
    ],
)
def test_the_rules_leave_alone(text):
    assert faults(text) == []
