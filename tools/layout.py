"""Counts what the layout of the packages promises and fails when a promise is broken; `make lint` prints it.

    python tools/layout.py

Promises: at most 16 modules at the top of `gan`, no circle of imports, no import that runs upward through the layers
of `pyproject.toml`. Every import counts: those inside functions and those for type checking, too. import-linter checks
the same layers; this adds the counts and the circles inside one layer.
"""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
MOST_AT_THE_TOP = 16


def packages() -> dict[str, Path]:
    """Package name -> folder, of the core and of every first-party plugin."""
    found = {"gan": ROOT / "core" / "gan"}
    for path in sorted(ROOT.glob("plugins/gan-*/gan_*/__init__.py")):
        found[path.parent.name] = path.parent
    return found


def modules(package: str, folder: Path) -> dict[str, Path]:
    """Module name -> file."""
    found = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        if "templates" not in parts:
            found[".".join([package, *(part for part in parts if part != "__init__")])] = path
    return found


def imported(path: Path, names: dict[str, Path]) -> Iterator[str]:
    """The modules of the same package that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield from (name for name in ((inner,) if inner in names else (node.module,)) if name in names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in names)


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that import each other (Tarjan's strongly connected components of more than one)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in graph[name]:
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            group = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(group) > 1:
                found.append(sorted(group))

    for name in graph:
        if name not in index:
            visit(name)
    return found


def layers() -> dict[str, int]:
    """Module or room -> its height, from the `layers` contracts of import-linter; 0 is the lowest."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    heights = {}
    for contract in settings["tool"]["importlinter"]["contracts"]:
        if contract["type"] == "layers":
            for container in contract["containers"]:
                for height, layer in enumerate(reversed(contract["layers"])):
                    for member in layer.replace("|", ":").split(":"):
                        heights[f"{container}.{member.strip(' ()')}"] = height
    return heights


def height_of(module: str, heights: dict[str, int]) -> int | None:
    """The height of the nearest named parent of a module."""
    while module:
        if module in heights:
            return heights[module]
        module = module.rpartition(".")[0]
    return None


def main() -> int:
    """Print the counts; 1 when a promise is broken."""
    heights, broken = layers(), False
    for package, folder in packages().items():
        names = modules(package, folder)
        graph = {name: set(imported(path, names)) - {name} for name, path in names.items()}
        rings = circles(graph)
        upward = []
        for name, others in graph.items():
            for other in others:
                here, there = height_of(name, heights), height_of(other, heights)
                if here is not None and there is not None and there > here:
                    upward.append(f"{name} -> {other}")
        top = list(folder.glob("*.py"))
        too_many = package == "gan" and len(top) > MOST_AT_THE_TOP
        lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in names.values())
        print(
            f"{package}: {len(top)} modules at the top, {len(names)} in all, {lines:,} lines, "
            f"{len(rings)} circles, {len(upward)} upward imports"
        )
        for ring in rings:
            print("  circle:", ", ".join(ring))
        for line in upward:
            print("  upward:", line)
        if too_many:
            print(f"  more than {MOST_AT_THE_TOP} modules at the top:", ", ".join(sorted(p.stem for p in top)))
        broken = broken or bool(rings or upward or too_many)
    return int(broken)


if __name__ == "__main__":
    sys.exit(main())
