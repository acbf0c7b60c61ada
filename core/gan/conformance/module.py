"""Checks of the distribution and the entry module: metadata, licence, import, hooks."""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.metadata
import io
import logging
import os
import random
import signal
import sys
import time
import warnings
from typing import Any

from gan.conformance.kit import Failed, Kit, Noted, Skipped
from gan.plugins.discovery import CORE, normal
from gan.plugins.outline import HEAVY, outline

IMPORT_SECONDS = 0.3
"""CPU time that importing an entry module may take, without what the core imports."""


def check_module(kit: Kit) -> bool:
    """Check metadata, import and hooks; whether the plugin can be imported, so that more can be checked."""
    info = kit.info
    subject = f"plugin {kit.plugin}"
    usable = info.status in ("unloaded", "ok")
    with kit.check("status", subject):
        if not usable:
            raise Failed(info.reason)
    if not usable:
        return False
    _check_metadata(kit, subject)
    for name in ("gan.contracts", "gan.hookspecs", "pluggy", "numpy", "random"):  # not counted against the plugin
        importlib.import_module(name)
    before, modules, out = _state(), set(sys.modules), io.StringIO()
    clock = time.process_time()
    usable = False
    with kit.check("import", subject), contextlib.redirect_stdout(out):
        importlib.import_module(info.module.partition(":")[0])
        usable = True
    seconds = time.process_time() - clock
    if not usable:
        return False
    with kit.check("import is light", subject):
        heavy = sorted({name.partition(".")[0] for name in set(sys.modules) - modules} & HEAVY)
        if heavy:
            raise Failed(f"importing {info.module} imports {', '.join(heavy)}; import it where it is used")
        if seconds > IMPORT_SECONDS:
            raise Failed(f"importing {info.module} takes {seconds:.2f} s of CPU time; at most {IMPORT_SECONDS} s")
    with kit.check("import changes nothing global", subject):
        after = _state()
        changed = [name for name in before if before[name] != after[name]]
        if changed:
            raise Failed(f"importing {info.module} changes: {', '.join(changed)}")
        if out.getvalue():
            raise Failed(f"importing {info.module} prints {out.getvalue()[:60]!r}")
    with kit.check("hooks", subject):
        kit.plugins.require(kit.plugin)
        if kit.info.reason:
            raise Failed(kit.info.reason)
    with kit.check("source can be read", subject):
        read = outline(info.module)
        if not read.complete:
            raise Noted("its entries are not literal, so that `gan plugins` cannot list them without importing it")
    return kit.info.status == "ok"


def _check_metadata(kit: Kit, subject: str) -> None:
    info = kit.info
    try:
        metadata: Any = importlib.metadata.metadata(info.distribution)
    except importlib.metadata.PackageNotFoundError:
        metadata = None
    if metadata is None:
        for name in ("metadata", "licence"):
            with kit.check(name, subject):
                raise Skipped("it is not an installed distribution")
        return
    with kit.check("metadata", subject):
        if not info.summary:
            raise Failed("the distribution has no summary (description in pyproject.toml)")
        from packaging.requirements import Requirement

        requires = map(Requirement, importlib.metadata.requires(info.distribution) or [])
        core = [requirement for requirement in requires if normal(requirement.name) == CORE]
        if not core:
            raise Failed(f"the distribution does not require {CORE}; add the range of versions it works with")
        bounds = {specifier.operator for requirement in core for specifier in requirement.specifier}
        if not bounds & {"<", "<=", "==", "~="}:
            raise Noted(f"'{core[0]}' has no upper bound: write {CORE}>=0.1,<0.2, so that a new core cannot break it")
    with kit.check("licence", subject):
        classifiers = metadata.get_all("Classifier") or []
        if not (
            metadata.get("License-Expression")
            or metadata.get("License")
            or any(line.startswith("License ::") for line in classifiers)
        ):
            raise Failed("the distribution names no licence (license in pyproject.toml)")
        if not metadata.get_all("License-File"):
            raise Noted("the distribution contains no licence text (license-files in pyproject.toml)")


def _state() -> dict[str, Any]:
    """Global state that an import must not change, comparable with ``==``."""
    import numpy

    mask = os.umask(0o077)
    os.umask(mask)
    state: dict[str, Any] = {
        "the generator of `random`": random.getstate(),
        "the generator of numpy": str(numpy.random.get_state()),
        "numpy's error handling": numpy.geterr(),
        "the environment": dict(os.environ),
        "the working directory": os.getcwd(),
        "the umask": mask,
        "the recursion limit": sys.getrecursionlimit(),
        "sys.path": list(sys.path),
        "sys.excepthook": sys.excepthook,
        "garbage collection": (gc.isenabled(), gc.get_threshold()),
        "signal handlers": {int(n): str(signal.getsignal(n)) for n in signal.valid_signals()},
        "warning filters": [str(entry) for entry in warnings.filters],
        "logging": (list(map(str, logging.root.handlers)), logging.root.level, logging.root.manager.disable),
    }
    if "torch" in sys.modules:
        torch = sys.modules["torch"]
        state["the generator of torch"] = torch.get_rng_state().tolist()
        state["torch's default dtype"] = torch.get_default_dtype()
        state["torch's gradients"] = torch.is_grad_enabled()
    return state
